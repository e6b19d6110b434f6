//! The node that somebody at the rack means: by name, UUID, or the MAC address on its label.

use crate::error::ApiError;
use leasehold_domain::View;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::Node;
use std::sync::Arc;
use uuid::Uuid;

pub(crate) fn find<'a>(view: &'a View, ident: &str) -> Result<&'a Arc<Node>, ApiError> {
    let by_id = Uuid::parse_str(ident).ok().and_then(|uuid| view.node(NodeId(uuid)));
    by_id
        .or_else(|| view.node_by_name(ident))
        .or_else(|| ident.parse().ok().and_then(|mac| view.node_by_mac(mac)))
        .ok_or_else(|| no_node(ident))
}

pub(crate) fn no_node(ident: &str) -> ApiError {
    ApiError::not_found(format!("There is no node with name, UUID or MAC address '{ident}'."))
}
