//! The appliance's own rules: `appliance:…`, for calls that no service upstream has.

use super::{Row, Scopes};

/// Members of the project whose webhook it is; of those of the whole box, its administrators.
const fn webhook(name: &'static str, calls: &'static str) -> Row {
    let check = "(role:admin and system_scope:all) or (role:member and project_id:%(project_id)s)";
    Row::new(name, check, Scopes::SYSTEM_OR_PROJECT, calls)
}

pub(super) const ROWS: &[Row] = &[
    Row::new("appliance:audit:list", "role:reader and system_scope:all", Scopes::SYSTEM, "GET /appliance/v1/audit"),
    Row::new("appliance:event:list", "role:reader", Scopes::SYSTEM_OR_PROJECT, "GET /appliance/v1/events"),
    // Asked of each event, with its owner and lessee. How a node is kept is told to whom baremetal:node:history:get allows.
    Row::new(
        "appliance:event:get",
        "role:reader and (system_scope:all or project_id:%(node.owner)s or project_id:%(node.lessee)s)",
        Scopes::SYSTEM_OR_PROJECT,
        "GET /appliance/v1/events",
    ),
    Row::new("appliance:webhook:list", "role:member", Scopes::SYSTEM_OR_PROJECT, "GET /appliance/v1/webhooks"),
    webhook("appliance:webhook:get", "GET /appliance/v1/webhooks/{webhook}, GET /appliance/v1/webhooks/{webhook}/dead"),
    webhook("appliance:webhook:create", "POST /appliance/v1/webhooks"),
    webhook("appliance:webhook:delete", "DELETE /appliance/v1/webhooks/{webhook}"),
    webhook("appliance:webhook:redeliver", "POST /appliance/v1/webhooks/{webhook}/redeliver"),
    Row::new("appliance:calendar", "role:reader", Scopes::SYSTEM_OR_PROJECT, "GET /appliance/v1/calendar"),
    Row::new(
        "appliance:calendar:feed",
        "role:reader and project_id:%(project_id)s",
        Scopes::PROJECT,
        "GET|POST|DELETE /appliance/v1/calendar/feed",
    ),
    Row::new(
        "appliance:usage",
        "role:reader and system_scope:all or role:reader and project_id:%(project_id)s",
        Scopes::SYSTEM_OR_PROJECT,
        "GET /appliance/v1/usage",
    ),
    Row::new(
        "appliance:images",
        "role:admin and system_scope:all",
        Scopes::SYSTEM,
        "GET|POST /appliance/v1/images, GET|DELETE /appliance/v1/images/{image}",
    ),
    Row::new(
        "appliance:lease_quotas:get",
        "role:reader and system_scope:all or role:reader and project_id:%(project_id)s",
        Scopes::SYSTEM_OR_PROJECT,
        "GET /appliance/v1/quotas, GET /appliance/v1/quotas/{project}",
    ),
    Row::new(
        "appliance:lease_quotas:set",
        "role:admin and system_scope:all",
        Scopes::SYSTEM,
        "PUT|DELETE /appliance/v1/quotas/{project}",
    ),
];
