//! New firmware: the BMC fetches it from a URL (`UpdateService.SimpleUpdate`) and tells in a task how far it is.

use super::http::{Ask, Reply};
use super::service::said;
use super::session::Session;
use crate::bmc::BmcError;
use crate::bmc::features::FirmwareTask;
use http::{Method, StatusCode, header};
use leasehold_protocols::redfish;
use serde_json::{Value, json};

impl Session {
    pub(super) async fn update_firmware(&mut self, component: &str, url: &str) -> Result<Option<String>, BmcError> {
        let Some(service) = self.root().await?.update_service.path().map(str::to_owned) else {
            return Err(self.endpoint.unsupported("it has no service for updates of firmware"));
        };
        let (service, _) = self.get::<Value>(&service).await?;
        let action = service.pointer("/Actions/#UpdateService.SimpleUpdate").cloned().unwrap_or_default();
        let Some(target) = action.get("target").and_then(Value::as_str).map(str::to_owned) else {
            return Err(self.endpoint.unsupported("it does not fetch firmware itself (SimpleUpdate)"));
        };
        self.check_protocol(&action, url)?;
        let part = self.part_path(component).await?;
        // Who it is for stands in the image; it is said where one BMC manages several machines, as Ironic does, and where
        // the BMC asks.
        let said_at_once = match self.root().await?.systems.path().map(str::to_owned) {
            Some(systems) => self.members(&systems).await?.len() > 1,
            None => false,
        };
        let without = json!({ "ImageURI": url });
        let with = part.map(|part| json!({"ImageURI": url, "Targets": [part]}));
        let first = with.as_ref().filter(|_| said_at_once).unwrap_or(&without);
        let (mut ask, mut reply) = self.start(&target, first).await?;
        let asks_for_it =
            reply.status == StatusCode::BAD_REQUEST && String::from_utf8_lossy(&reply.body).contains("Targets");
        if let (Some(with), true) = (&with, asks_for_it && !said_at_once) {
            (ask, reply) = self.start(&target, with).await?;
        }
        match reply.status.is_success() {
            true => Ok(task_of(&reply).and_then(|path| self.endpoint.path_of(&path).ok())),
            false => Err(self.refusal(&ask, &reply)),
        }
    }

    async fn start(&mut self, target: &str, body: &Value) -> Result<(Ask, Reply), BmcError> {
        let ask = Ask::new(Method::POST, self.endpoint.path_of(target)?).json(body);
        let reply = self.request(&ask).await?;
        Ok((ask, reply))
    }

    /// A BMC that lists how it can fetch a file is not asked for anything else.
    fn check_protocol(&self, action: &Value, url: &str) -> Result<(), BmcError> {
        let allowed = action.get("TransferProtocol@Redfish.AllowableValues").and_then(Value::as_array);
        let names: Vec<&str> = allowed.into_iter().flatten().filter_map(Value::as_str).collect();
        let scheme = url.split("://").next().unwrap_or_default();
        if names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(scheme)) {
            return Ok(());
        }
        let detail = format!("it fetches no firmware by {scheme}; it does by {}", names.join(", "));
        Err(self.endpoint.unsupported(detail))
    }

    /// What stands for the part in `Targets`.
    async fn part_path(&mut self, component: &str) -> Result<Option<String>, BmcError> {
        match component {
            "bios" => self.system_path().await.map(Some),
            "bmc" => {
                let (system, _) = self.system().await?;
                Ok(system.links.managed_by.iter().find_map(|link| link.path()).map(str::to_owned))
            }
            // A card's image says which it is for.
            _ => Ok(None),
        }
    }

    pub(super) async fn firmware_task(&mut self, task: &str) -> Result<FirmwareTask, BmcError> {
        let ask = Ask::new(Method::GET, self.endpoint.path_of(task)?);
        let reply = self.request(&ask).await?;
        Ok(match reply.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => FirmwareTask::Forgotten,
            // A monitor: as long as it works, it says 202 (DSP0266, 12.2).
            StatusCode::ACCEPTED => state_of(&reply).unwrap_or_else(|| FirmwareTask::Working("accepted".to_owned())),
            status if status.is_success() => state_of(&reply).unwrap_or(FirmwareTask::Done),
            _ => return Err(self.refusal(&ask, &reply)),
        })
    }
}

/// Where the task is found: in the answer itself, or where that points.
fn task_of(reply: &Reply) -> Option<String> {
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let body = body.filter(|body| {
        body.get("TaskState").is_some()
            || body.get("@odata.type").and_then(Value::as_str).is_some_and(|kind| kind.contains("Task."))
    });
    let own = body.and_then(|body| body.get("@odata.id")?.as_str().map(str::to_owned));
    own.or_else(|| {
        // The Location often carries the BMC's own idea of its name; only the path counts here.
        let location: http::Uri = reply.header(header::LOCATION)?.parse().ok()?;
        Some(location.path().to_owned())
    })
}

/// What a task says. `None`: the answer is none.
fn state_of(reply: &Reply) -> Option<FirmwareTask> {
    let body: Value = redfish::parse(&reply.body).ok()?;
    let state = body.get("TaskState")?.as_str()?;
    let percent = body.get("PercentComplete").and_then(Value::as_u64).map(|percent| format!("{percent} %"));
    let words =
        said(body.get("Messages")).or(percent).map_or_else(|| state.to_owned(), |more| format!("{state}: {more}"));
    let critical = body.get("TaskStatus").and_then(Value::as_str) == Some("Critical");
    Some(match state {
        "Completed" if !critical => FirmwareTask::Done,
        "Completed" | "Exception" | "Killed" | "Cancelled" => FirmwareTask::Failed(words),
        "New" | "Pending" | "Starting" | "Suspended" | "Interrupted" => FirmwareTask::Waiting(words),
        _ => FirmwareTask::Working(words),
    })
}
