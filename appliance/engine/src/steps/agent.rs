//! Steps that the agent on the machine carries out.
//!
//! A command is recognised by its name among those that the agent remembers: after a restart of the appliance the
//! one that runs, or is done, is taken up instead of being given twice.

use super::Outcome;
use crate::agent_client::{AgentClient, AgentError};
use crate::{Engine, Wipe};
use leasehold_domain::command::Command;
use leasehold_domain::job::{Job, JobKind, StepName};
use leasehold_domain::listed::Part;
use leasehold_domain::node::{AgentContact, Node};
use leasehold_wire::agent::{CommandResult, CommandStatus, ImageInfo};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Between two looks at a running command.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// An agent that does not answer for so long is lost: the machine hangs, or it was switched off by hand.
const LOST_AFTER: Duration = Duration::from_secs(300);

/// The agent that called for this job.
pub(super) fn contact(engine: &Engine, job: &Job) -> Result<AgentContact, String> {
    let view = engine.view();
    let node = view.node(job.node).ok_or("The node was removed.")?;
    let agent = node.agent.as_ref().filter(|agent| agent.job == job.id);
    agent.cloned().ok_or_else(|| "No agent has called for this job.".to_owned())
}

/// Gives a command, or takes up the one that was given before, and follows it to its end. `nth`: which occurrence of
/// the command in this boot it is, counted from 0.
pub(super) async fn carry_out(
    engine: &Engine,
    job: &Job,
    step: StepName,
    name: &str,
    nth: usize,
    params: &Map<String, Value>,
) -> Result<CommandResult, String> {
    let token = engine.tickets.boot_token(job);
    let method = name.rsplit('.').next().unwrap_or(name);
    let mut silent_since: Option<tokio::time::Instant> = None;
    let mut told = String::new();
    loop {
        let agent = contact(engine, job)?;
        let client = AgentClient::new(&agent, token.clone());
        let seen = async {
            let commands = client.commands().await?;
            match commands.into_iter().filter(|command| command.command_name == method).nth(nth) {
                Some(command) => Ok(command),
                None => client.start(name, params.clone()).await,
            }
        };
        match seen.await {
            Ok(command) => {
                silent_since = None;
                match command.command_status {
                    CommandStatus::Succeeded => return Ok(command),
                    CommandStatus::Failed | CommandStatus::VersionMismatch => {
                        return Err(command.error_text().unwrap_or_else(|| format!("{name} failed without a reason")));
                    }
                    CommandStatus::Running => report_progress(engine, job, step, &command, &mut told).await,
                }
            }
            Err(AgentError::Refused { detail, .. }) => return Err(detail),
            Err(AgentError::Busy { .. }) => silent_since = None,
            Err(error @ AgentError::Silent { .. }) => {
                let since = *silent_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() > LOST_AFTER {
                    return Err(format!("{error}, for {} s now", since.elapsed().as_secs()));
                }
                tracing::info!(node = %job.node, %error, "trying again");
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Writes progress into the timeline, in tenths: each is a commit.
async fn report_progress(engine: &Engine, job: &Job, step: StepName, command: &CommandResult, told: &mut String) {
    let Some(progress) = &command.leasehold_progress else { return };
    let detail = match (progress.done * 10).checked_div(progress.total) {
        Some(tenths) => format!("{} {} %", progress.text, tenths.min(10) * 10),
        None => progress.text.clone(),
    };
    if detail != *told {
        let report = Command::StepProgress { job: job.id, step, detail: detail.clone() };
        if let Err(error) = engine.tell(report).await {
            tracing::info!(%error, "progress was not recorded");
        }
        *told = detail;
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What Ironic passes of a node to an agent's steps.
pub(super) fn node_for_agent(node: &Node) -> Value {
    json!({
        "uuid": node.id.to_string(),
        "properties": node.settings.properties,
        "instance_info": node.settings.instance_info,
        "driver_internal_info": {},
    })
}

/// Wipes the disks: the steps that a user or a deploy template named, or the automatic wipe as configured.
pub(super) async fn wipe(engine: &Engine, job: &Job) -> Outcome {
    let node = super::node_of(engine, job)?;
    let automatic = match engine.settings.wipe {
        Wipe::Full => "erase_devices",
        Wipe::Metadata => "erase_devices_metadata",
    };
    let command = match job.kind {
        JobKind::Deploy => "deploy.execute_deploy_step",
        _ => "clean.execute_clean_step",
    };
    // A BMC's steps may come between: the agent that runs now has those up to the next start.
    let named = match job.part() {
        Some(Part::Agent(range)) => job.listed().get(range).unwrap_or_default(),
        _ => &[],
    };
    let asked = match named {
        [] => vec![json!({"interface": "deploy", "step": automatic})],
        steps => steps.to_vec(),
    };
    let mut last = None;
    for (nth, step) in asked.iter().enumerate() {
        let params = object(json!({"step": step, "node": node_for_agent(&node), "ports": []}));
        let done = carry_out(engine, job, StepName::Wipe, command, nth, &params).await?;
        last = done.command_result.as_ref().and_then(describe);
    }
    let names: Vec<_> = asked.iter().filter_map(|step| step.get("step")?.as_str()).collect();
    Ok(Some(last.unwrap_or_else(|| format!("done and read back: {}", names.join(", ")))))
}

/// Our agent describes a result in words.
pub(super) fn describe(result: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    text(result).or_else(|| {
        ["clean_result", "deploy_result", "service_result", "result", "message"]
            .iter()
            .find_map(|key| text(result.get(key)?))
    })
}

/// Has the image written and the config drive put beside it.
pub(super) async fn write_image(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    let id = job.input.image.ok_or("No image was prepared for this job.")?;
    let view = engine.view();
    let image = view.image(id).ok_or("The image was deleted meanwhile.")?;
    let content = image.content.as_ref().ok_or("The image is not ready.")?;
    let base = format!("{}/images/{}", engine.settings.agent_url, engine.tickets.image_ticket(job));
    let info = ImageInfo {
        id: id.to_string(),
        urls: vec![format!("{base}/raw")],
        os_hash_algo: Some("sha256".into()),
        os_hash_value: Some(content.raw_sha256.clone()),
        disk_format: Some("raw".into()),
        image_type: Some("whole-disk".into()),
        node_uuid: Some(node.id.to_string()),
        stream_raw_images: Some(true),
        leasehold_map_url: Some(format!("{base}/map")),
        size: Some(content.raw_size),
        ..ImageInfo::default()
    };
    let params = object(json!({"image_info": info, "configdrive": job.input.config_drive}));
    let done = carry_out(engine, job, StepName::WriteImage, "standby.prepare_image", 0, &params).await?;
    let written = format!("{} MiB written and read back", content.raw_size >> 20);
    Ok(Some(done.command_result.as_ref().and_then(describe).unwrap_or(written)))
}

/// Tells the firmware of a UEFI machine where the new system is.
pub(super) async fn install_bootloader(engine: &Engine, job: &Job) -> Outcome {
    let params = object(json!({
        "root_uuid": null, "efi_system_part_uuid": null, "prep_boot_part_uuid": null, "target_boot_mode": null,
        "ignore_bootloader_failure": false,
    }));
    let done = carry_out(engine, job, StepName::InstallBootloader, "image.install_bootloader", 0, &params).await?;
    Ok(done.command_result.as_ref().and_then(describe))
}

/// Has the agent, if there is one, bring everything to the disk before the power goes.
pub(super) async fn flush(engine: &Engine, job: &Job) {
    let Ok(agent) = contact(engine, job) else { return };
    let client = AgentClient::new(&agent, engine.tickets.boot_token(job));
    if let Err(error) = client.start("standby.sync", Map::new()).await {
        tracing::info!(node = %job.node, %error, "the agent was not asked to sync; its steps do so themselves");
    }
}
