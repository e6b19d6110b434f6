//! The appliance's own rules: `appliance:…`, for calls that no service upstream has.

use super::{Row, Scopes};

pub(super) const ROWS: &[Row] = &[
    Row::new("appliance:audit:list", "role:reader and system_scope:all", Scopes::SYSTEM, "GET /appliance/v1/audit"),
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
