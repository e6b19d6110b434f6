//! What its owner does with a node that could not be taken back from a lessee.
//!
//! `POST /appliance/v1/nodes/{node}/quarantine/retry`: it is taken back once more.
//! `POST /appliance/v1/nodes/{node}/quarantine/release`: he works on it himself, by the bare-metal API; until a wipe of it
//! was proven nobody gets it. 202, and 400 where it is not in quarantine.

use crate::Api;
use crate::appliance::Asker;
use crate::error::ApiError;
use crate::named::find;
use crate::serve::{Connection, local_actor};
use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{JobId, NodeId};
use leasehold_domain::lease::LeaseCommand;
use uuid::Uuid;

/// Quarantine is maintenance of a kind: who may end one may do this.
const RULE: &str = "baremetal:node:clear_maintenance";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/appliance/v1/nodes/{node}/quarantine/retry", post(retry))
        .route("/appliance/v1/nodes/{node}/quarantine/release", post(release))
}

type AtSocket = Option<Extension<Connection>>;

async fn retry(
    State(api): State<Api>,
    asker: Asker,
    socket: AtSocket,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = meant(&api, &asker, socket, &ident)?;
    api.submit(Command::Lease(LeaseCommand::Retry { node, job: JobId(Uuid::new_v4()) }), actor).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn release(
    State(api): State<Api>,
    asker: Asker,
    socket: AtSocket,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = meant(&api, &asker, socket, &ident)?;
    api.submit(Command::Lease(LeaseCommand::Release { node }), actor).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The node that is named, and who gives a command about it.
fn meant(api: &Api, asker: &Asker, socket: AtSocket, ident: &str) -> Result<(NodeId, Actor), ApiError> {
    let view = api.engine.view();
    match (asker, find(&view, ident)) {
        (Some(Extension(caller)), Ok(node)) => Ok((node.id, caller.may(RULE, node, ident)?)),
        (Some(Extension(caller)), Err(_)) => Err(caller.misses(RULE, ident)),
        (None, node) => Ok((node?.id, local_actor(socket))),
    }
}
