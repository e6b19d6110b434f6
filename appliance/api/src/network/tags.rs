//! `/v2.0/{networks,subnets,ports}/{id}/tags`: words that people hang on objects.

use super::fault::{Asker, Fault};
use super::members::Body;
use super::target::OnNetwork;
use super::{may, networks, ports, subnets};
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use leasehold_domain::View;
use leasehold_domain::command::Command;
use leasehold_domain::network::{
    About, Network, NetworkCommand, NetworkSettings, Subnet, SubnetSettings, TenantPort, TenantPortSettings,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An object that has tags.
enum Tagged {
    Network(Arc<Network>),
    Subnet(Arc<Subnet>),
    Port(Arc<TenantPort>),
}

impl Tagged {
    fn seen(view: &View, asker: &Asker, kind: &str, ident: &str) -> Result<Tagged, Fault> {
        match kind {
            "networks" => networks::seen(view, asker, ident).map(Tagged::Network),
            "subnets" => subnets::seen(view, asker, ident).map(Tagged::Subnet),
            "ports" => ports::seen(view, asker, ident).map(Tagged::Port),
            _ => Err(Fault::not_found("Resource", kind)),
        }
    }

    fn about(&self) -> &About {
        match self {
            Tagged::Network(network) => &network.settings.about,
            Tagged::Subnet(subnet) => &subnet.settings.about,
            Tagged::Port(port) => &port.settings.about,
        }
    }

    fn may(&self, view: &View, asker: &Asker, action: &str) -> Result<(), Fault> {
        let (name, network) = match self {
            Tagged::Network(network) => ("network", network.id),
            Tagged::Subnet(subnet) => ("subnet", subnet.settings.network),
            Tagged::Port(port) => ("port", port.settings.network),
        };
        may(asker, &format!("{action}_{name}:tags"), &OnNetwork::of(view, &self.about().project, network))
    }

    /// The command that leaves the object with these tags.
    fn with(&self, tags: BTreeSet<String>) -> NetworkCommand {
        let about = About { tags, ..self.about().clone() };
        match self {
            Tagged::Network(network) => NetworkCommand::ChangeNetwork {
                id: network.id,
                revision: network.revision,
                settings: Box::new(NetworkSettings { about, ..network.settings.clone() }),
            },
            Tagged::Subnet(subnet) => NetworkCommand::ChangeSubnet {
                id: subnet.id,
                revision: subnet.revision,
                settings: Box::new(SubnetSettings { about, ..subnet.settings.clone() }),
            },
            Tagged::Port(port) => NetworkCommand::ChangePort {
                id: port.id,
                revision: port.revision,
                settings: Box::new(TenantPortSettings { about, ..port.settings.clone() }),
                addresses: None,
            },
        }
    }

    async fn put(&self, api: &Api, asker: &Asker, tags: BTreeSet<String>) -> Result<(), Fault> {
        api.submit(Command::Network(self.with(tags)), asker.actor()).await?;
        Ok(())
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Path((kind, ident)): Path<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let object = Tagged::seen(&view, &asker, &kind, &ident)?;
    object.may(&view, &asker, "get")?;
    Ok(Json(json!({"tags": object.about().tags})))
}

pub(super) async fn replace(
    State(api): State<Api>,
    asker: Asker,
    Path((kind, ident)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let object = Tagged::seen(&view, &asker, &kind, &ident)?;
    object.may(&view, &asker, "update")?;
    let Json(body) = body?;
    let tags: Option<BTreeSet<String>> = body
        .get("tags")
        .and_then(Value::as_array)
        .and_then(|tags| tags.iter().map(|tag| tag.as_str().map(str::to_owned)).collect());
    let tags = tags.ok_or_else(|| Fault::bad_request("Invalid tags body: {\"tags\": [\"…\"]} is expected."))?;
    object.put(&api, &asker, tags.clone()).await?;
    Ok(Json(json!({"tags": tags})))
}

pub(super) async fn clear(
    State(api): State<Api>,
    asker: Asker,
    Path((kind, ident)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let object = Tagged::seen(&view, &asker, &kind, &ident)?;
    object.may(&view, &asker, "delete")?;
    object.put(&api, &asker, BTreeSet::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path((kind, ident, tag)): Path<(String, String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let object = Tagged::seen(&view, &asker, &kind, &ident)?;
    object.may(&view, &asker, "get")?;
    if object.about().tags.contains(&tag) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Fault::not_found("Tag", &tag))
}

pub(super) async fn add(
    State(api): State<Api>,
    asker: Asker,
    Path((kind, ident, tag)): Path<(String, String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let object = Tagged::seen(&view, &asker, &kind, &ident)?;
    object.may(&view, &asker, "update")?;
    let mut tags = object.about().tags.clone();
    tags.insert(tag);
    object.put(&api, &asker, tags).await?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path((kind, ident, tag)): Path<(String, String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let object = Tagged::seen(&view, &asker, &kind, &ident)?;
    object.may(&view, &asker, "delete")?;
    let mut tags = object.about().tags.clone();
    if !tags.remove(&tag) {
        return Err(Fault::not_found("Tag", &tag));
    }
    object.put(&api, &asker, tags).await?;
    Ok(StatusCode::NO_CONTENT)
}
