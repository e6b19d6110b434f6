//! esi-leap 1.0's rules: `esi_leap:…`. Paths are those below the lease endpoint.
//!
//! Targets: `offer.project_id`, `lease.owner_id`, `lease.project_id`. Whether a node is the caller's to offer is not asked
//! here but where offers are made.

use super::{Row, Scopes};

const fn row(name: &'static str, check: &'static str, calls: &'static str) -> Row {
    Row::new(name, check, Scopes::ANY, calls)
}

/// The rules, in upstream's order.
pub(super) const ROWS: &[Row] = &[
    row("is_admin", "role:admin or role:esi_leap_admin", ""),
    row("is_owner", "role:owner or role:esi_leap_owner", ""),
    row("is_lessee", "role:lessee or role:esi_leap_lessee", ""),
    row("is_offer_owner", "project_id:%(offer.project_id)s", ""),
    row("is_lease_owner", "project_id:%(lease.owner_id)s", ""),
    row("is_lease_lessee", "project_id:%(lease.project_id)s", ""),
    row("esi_leap:lease:lease_admin", "rule:is_admin", "POST|GET /v1/leases, GET|DELETE|PATCH /v1/leases/{lease}"),
    row("esi_leap:lease:create", "rule:is_admin or rule:is_owner", "POST /v1/leases"),
    row("esi_leap:lease:update", "rule:is_admin", "PATCH /v1/leases/{lease}"),
    row("esi_leap:lease:get", "rule:is_admin or rule:is_lease_owner or rule:is_lease_lessee", "GET /v1/leases/{lease}"),
    row("esi_leap:lease:get_all", "rule:is_admin or rule:is_owner or rule:is_lessee", "GET /v1/leases"),
    row(
        "esi_leap:lease:delete",
        "rule:is_admin or rule:is_lease_owner or rule:is_lease_lessee",
        "DELETE /v1/leases/{lease}",
    ),
    row(
        "esi_leap:offer:offer_admin",
        "rule:is_admin",
        "POST|GET /v1/offers, GET|DELETE /v1/offers/{offer}, POST /v1/offers/{offer}/claim",
    ),
    row("esi_leap:offer:create", "rule:is_admin or rule:is_owner", "POST /v1/offers"),
    row("esi_leap:offer:get", "rule:is_admin or rule:is_owner or rule:is_lessee", "GET /v1/offers/{offer}"),
    row("esi_leap:offer:get_all", "rule:is_admin or rule:is_owner or rule:is_lessee", "GET /v1/offers"),
    row("esi_leap:offer:delete", "rule:is_admin or rule:is_offer_owner", "DELETE /v1/offers/{offer}"),
    row("esi_leap:offer:claim", "rule:is_admin or rule:is_owner or rule:is_lessee", "POST /v1/offers/{offer}/claim"),
    row("esi_leap:node:node_admin", "rule:is_admin", "GET /v1/nodes"),
    row("esi_leap:node:get_all", "rule:is_admin or rule:is_owner or rule:is_lessee", "GET /v1/nodes"),
    row("esi_leap:event:event_admin", "rule:is_admin", "GET /v1/events"),
    row("esi_leap:event:get_all", "rule:is_admin or rule:is_owner or rule:is_lessee", "GET /v1/events"),
];
