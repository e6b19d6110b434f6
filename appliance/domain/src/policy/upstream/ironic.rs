//! Ironic 39's rules: `baremetal:…`. Paths are those below the bare-metal endpoint.
//!
//! Targets: `node.owner`, `node.lessee` of the node that is meant or whose part is meant; `allocation.owner`,
//! `runbook.owner`.

use super::{Row, Scopes};

/// Whoever reads the whole system.
const SYSTEM_READER: &str =
    "(role:reader and system_scope:all) or (role:service and system_scope:all) or rule:service_role";
/// Whoever works on the whole system.
const SYSTEM_MEMBER: &str = "(role:member and system_scope:all) or rule:service_role";
/// The administrator of the whole system.
const SYSTEM_ADMIN: &str = "role:admin and system_scope:all";
/// Lists what he may see.
const LISTS: &str = "(role:reader) or (role:service)";
/// Readers of the owner and of the lessee.
const SEES_NODE: &str = "((role:reader and system_scope:all) or (role:service and system_scope:all) or rule:service_role) or \
         (role:reader and (project_id:%(node.owner)s or project_id:%(node.lessee)s)) or (role:service and \
         project_id:%(node.owner)s)";
/// Readers of the owner, not of the lessee.
const OWNER_READS: &str = "((role:reader and system_scope:all) or (role:service and system_scope:all) or rule:service_role) or \
         (role:service and system_scope:all) or (role:reader and project_id:%(node.owner)s) or (role:service \
         and project_id:%(node.owner)s)";
/// Members of the owner and of the lessee.
const EITHER_WORKS: &str = "((role:member and system_scope:all) or rule:service_role) or (role:member and \
         (project_id:%(node.owner)s or project_id:%(node.lessee)s)) or (role:service and system_scope:all)";
/// Members of the owner.
const OWNER_WORKS: &str = "((role:member and system_scope:all) or rule:service_role) or (role:service and system_scope:all) or \
         (role:member and project_id:%(node.owner)s) or (role:service and project_id:%(node.owner)s)";
/// Members of the owner; managers of the lessee.
const OWNER_WORKS_OR_LESSEE_MANAGES: &str = "((role:member and system_scope:all) or rule:service_role) or (role:service and system_scope:all) or \
         (role:member and project_id:%(node.owner)s) or (role:admin and project_id:%(node.lessee)s) or \
         (role:manager and project_id:%(node.lessee)s) or (role:service and project_id:%(node.owner)s)";
/// Managers of the owner.
const OWNER_MANAGES: &str = "((role:member and system_scope:all) or rule:service_role) or (role:service and system_scope:all) or \
         (role:admin and project_id:%(node.owner)s) or (role:manager and project_id:%(node.owner)s) or \
         (role:service and project_id:%(node.owner)s)";
/// Makes and removes parts of a node: managers of the owner.
const OWNER_MAKES: &str = "(role:admin and system_scope:all) or (role:service and system_scope:all) or (role:admin and \
         project_id:%(node.owner)s) or (role:manager and project_id:%(node.owner)s) or (role:service and \
         project_id:%(node.owner)s)";
/// Managers of the owner and of the lessee.
const EITHER_MANAGES: &str = "((role:member and system_scope:all) or rule:service_role) or (role:service and system_scope:all) or \
         (role:admin and project_id:%(node.owner)s) or (role:manager and project_id:%(node.owner)s) or \
         (role:admin and project_id:%(node.lessee)s) or (role:manager and project_id:%(node.lessee)s) or \
         (role:service and project_id:%(node.owner)s)";
/// Members of the project whose allocation it is.
const ALLOCATION_WORKS: &str = "((role:member and system_scope:all) or rule:service_role) or (role:member and \
         project_id:%(allocation.owner)s)";
/// Managers of the project whose runbook it is.
const RUNBOOK_MANAGES: &str = "((role:member and system_scope:all) or rule:service_role) or (role:manager and \
         project_id:%(runbook.owner)s) or role:service";

const fn row(name: &'static str, check: &'static str, calls: &'static str) -> Row {
    Row::new(name, check, Scopes::SYSTEM_OR_PROJECT, calls)
}

/// The rules, in upstream's order.
pub(super) const ROWS: &[Row] = &[
    // What others are made of.
    row("admin_api", "role:admin or role:administrator", "").scoped(Scopes::ANY),
    row("public_api", "is_public_api:True", "").scoped(Scopes::ANY),
    row("show_password", "!", "").scoped(Scopes::ANY),
    row("show_instance_secrets", "!", "").scoped(Scopes::ANY),
    row("service_role", "role:service and project_name:%(config.service_project_name)s", "").scoped(Scopes::ANY),
    row(
        "is_member",
        "(project_domain_id:default or project_domain_id:None) and (project_name:demo or \
             project_name:baremetal)",
        "",
    )
    .scoped(Scopes::ANY),
    row("is_observer", "rule:is_member and (role:observer or role:baremetal_observer)", "").scoped(Scopes::ANY),
    row("is_admin", "rule:admin_api or (rule:is_member and role:baremetal_admin)", "").scoped(Scopes::ANY),
    row("is_node_owner", "project_id:%(node.owner)s", "").scoped(Scopes::ANY),
    row("is_node_lessee", "project_id:%(node.lessee)s", "").scoped(Scopes::ANY),
    row("is_allocation_owner", "project_id:%(allocation.owner)s", "").scoped(Scopes::ANY),
    // Nodes.
    row(
        "baremetal:node:create",
        "(role:admin and system_scope:all) or (role:service and system_scope:all)",
        "POST /v1/nodes",
    ),
    row("baremetal:node:create:self_owned_node", "(role:admin) or (role:service)", "POST /v1/nodes"),
    row("baremetal:node:list", LISTS, "GET /v1/nodes, GET /v1/nodes/detail"),
    row("baremetal:node:list_all", SYSTEM_READER, "GET /v1/nodes, GET /v1/nodes/detail"),
    row("baremetal:node:get", SEES_NODE, "GET /v1/nodes/{node}"),
    row("baremetal:node:get:filter_threshold", SYSTEM_READER, "GET /v1/nodes/{node}").formerly("baremetal:node:get"),
    row("baremetal:node:get:last_error", OWNER_READS, "GET /v1/nodes/{node}").formerly("baremetal:node:get"),
    row("baremetal:node:get:reservation", OWNER_READS, "GET /v1/nodes/{node}").formerly("baremetal:node:get"),
    row("baremetal:node:get:driver_internal_info", OWNER_READS, "GET /v1/nodes/{node}").formerly("baremetal:node:get"),
    row("baremetal:node:get:driver_info", OWNER_READS, "GET /v1/nodes/{node}").formerly("baremetal:node:get"),
    row("baremetal:node:update:driver_info", OWNER_WORKS, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:properties", OWNER_WORKS, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:chassis_uuid", SYSTEM_ADMIN, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:instance_uuid", OWNER_WORKS, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:lessee", OWNER_WORKS, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:owner", SYSTEM_MEMBER, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:driver_interfaces", OWNER_MANAGES, "PATCH /v1/nodes/{node}")
        .formerly("baremetal:node:update"),
    row("baremetal:node:update:network_data", OWNER_WORKS, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:conductor_group", SYSTEM_MEMBER, "PATCH /v1/nodes/{node}")
        .formerly("baremetal:node:update"),
    row("baremetal:node:update:name", OWNER_WORKS, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update:retired", OWNER_WORKS, "PATCH /v1/nodes/{node}").formerly("baremetal:node:update"),
    row("baremetal:node:update", EITHER_WORKS, "PATCH /v1/nodes/{node}"),
    row("baremetal:node:update_extra", EITHER_WORKS, "PATCH /v1/nodes/{node}"),
    row("baremetal:node:update_instance_info", OWNER_WORKS_OR_LESSEE_MANAGES, "PATCH /v1/nodes/{node}"),
    row("baremetal:node:update_owner_provisioned", SYSTEM_ADMIN, "PATCH /v1/nodes/{node}").scoped(Scopes::SYSTEM),
    row("baremetal:node:delete", SYSTEM_ADMIN, "DELETE /v1/nodes/{node}"),
    row("baremetal:node:delete:self_owned_node", "role:admin and project_id:%(node.owner)s", "DELETE /v1/nodes/{node}"),
    row("baremetal:node:validate", OWNER_WORKS_OR_LESSEE_MANAGES, "GET /v1/nodes/{node}/validate"),
    row("baremetal:node:set_maintenance", OWNER_WORKS_OR_LESSEE_MANAGES, "PUT /v1/nodes/{node}/maintenance"),
    row("baremetal:node:clear_maintenance", OWNER_WORKS_OR_LESSEE_MANAGES, "DELETE /v1/nodes/{node}/maintenance"),
    row(
        "baremetal:node:get_boot_device",
        OWNER_MANAGES,
        "GET /v1/nodes/{node}/management/boot_device, GET /v1/nodes/{node}/management/boot_device/supported",
    ),
    row("baremetal:node:set_boot_device", OWNER_MANAGES, "PUT /v1/nodes/{node}/management/boot_device")
        .formerly("baremetal:node:set_maintenance"),
    row(
        "baremetal:node:get_indicator_state",
        SEES_NODE,
        "GET /v1/nodes/{node}/management/indicators/{component}/{indicator}, GET \
             /v1/nodes/{node}/management/indicators",
    ),
    row(
        "baremetal:node:set_indicator_state",
        OWNER_WORKS,
        "PUT /v1/nodes/{node}/management/indicators/{component}/{indicator}",
    ),
    row("baremetal:node:inject_nmi", OWNER_MANAGES, "PUT /v1/nodes/{node}/management/inject_nmi"),
    row("baremetal:node:get_states", SEES_NODE, "GET /v1/nodes/{node}/states"),
    row("baremetal:node:set_power_state", EITHER_WORKS, "PUT /v1/nodes/{node}/states/power"),
    row("baremetal:node:set_boot_mode", EITHER_WORKS, "PUT /v1/nodes/{node}/states/boot_mode")
        .formerly("baremetal:node:set_power_state"),
    row("baremetal:node:set_secure_boot", EITHER_WORKS, "PUT /v1/nodes/{node}/states/secure_boot")
        .formerly("baremetal:node:set_power_state"),
    row("baremetal:node:set_provision_state", OWNER_WORKS_OR_LESSEE_MANAGES, "PUT /v1/nodes/{node}/states/provision"),
    row(
        "baremetal:node:set_provision_state:clean_steps",
        OWNER_WORKS_OR_LESSEE_MANAGES,
        "PUT /v1/nodes/{node}/states/provision",
    ),
    row(
        "baremetal:node:set_provision_state:service_steps",
        OWNER_WORKS_OR_LESSEE_MANAGES,
        "PUT /v1/nodes/{node}/states/provision",
    ),
    row("baremetal:node:set_raid_state", OWNER_WORKS, "PUT /v1/nodes/{node}/states/raid"),
    row("baremetal:node:get_console", OWNER_WORKS, "GET /v1/nodes/{node}/states/console"),
    row("baremetal:node:set_console_state", OWNER_WORKS, "PUT /v1/nodes/{node}/states/console"),
    row("baremetal:node:vif:list", SEES_NODE, "GET /v1/nodes/{node}/vifs"),
    row("baremetal:node:vif:attach", OWNER_WORKS_OR_LESSEE_MANAGES, "POST /v1/nodes/{node}/vifs"),
    row("baremetal:node:vif:detach", OWNER_WORKS_OR_LESSEE_MANAGES, "DELETE /v1/nodes/{node}/vifs/{node_vif}"),
    row("baremetal:node:traits:list", SEES_NODE, "GET /v1/nodes/{node}/traits"),
    row("baremetal:node:traits:set", OWNER_MANAGES, "PUT /v1/nodes/{node}/traits, PUT /v1/nodes/{node}/traits/{trait}"),
    row(
        "baremetal:node:traits:delete",
        OWNER_MANAGES,
        "DELETE /v1/nodes/{node}/traits, DELETE /v1/nodes/{node}/traits/{trait}",
    ),
    row("baremetal:node:bios:get", SEES_NODE, "GET /v1/nodes/{node}/bios, GET /v1/nodes/{node}/bios/{setting}"),
    row("baremetal:node:disable_cleaning", SYSTEM_ADMIN, "PATCH /v1/nodes/{node}"),
    row(
        "baremetal:node:history:get",
        OWNER_READS,
        "GET /v1/nodes/{node}/history, GET /v1/nodes/{node}/history/{event}",
    )
    .formerly("baremetal:node:get"),
    row("baremetal:node:inventory:get", OWNER_READS, "GET /v1/nodes/{node}/inventory").formerly("baremetal:node:get"),
    row("baremetal:node:update:shard", SYSTEM_ADMIN, "PATCH /v1/nodes/{node}"),
    row("baremetal:shards:get", SYSTEM_READER, "GET /v1/shards"),
    row("baremetal:node:update:parent_node", SYSTEM_MEMBER, "PATCH /v1/nodes/{node}"),
    row("baremetal:node:update:disable_power_off", SYSTEM_ADMIN, "PATCH /v1/nodes/{node}"),
    row("baremetal:node:firmware:get", SEES_NODE, "GET /v1/nodes/{node}/firmware"),
    row("baremetal:node:vmedia:attach", EITHER_WORKS, "POST /v1/nodes/{node}/vmedia"),
    row("baremetal:node:vmedia:detach", EITHER_WORKS, "DELETE /v1/nodes/{node}/vmedia"),
    row("baremetal:node:vmedia:get", SEES_NODE, "GET /v1/nodes/{node}/vmedia"),
    // Ports and port groups.
    row(
        "baremetal:port:get",
        SEES_NODE,
        "GET /v1/ports/{port}, GET /v1/nodes/{node}/ports, GET /v1/nodes/{node}/ports/detail, GET \
             /v1/portgroups/{portgroup}/ports, GET /v1/portgroups/{portgroup}/ports/detail",
    ),
    row("baremetal:port:list", LISTS, "GET /v1/ports, GET /v1/ports/detail"),
    row("baremetal:port:list_all", SYSTEM_READER, "GET /v1/ports, GET /v1/ports/detail"),
    row("baremetal:port:create", OWNER_MAKES, "POST /v1/ports"),
    row("baremetal:port:delete", OWNER_MAKES, "DELETE /v1/ports/{port}"),
    row("baremetal:port:update", OWNER_MANAGES, "PATCH /v1/ports/{port}"),
    row(
        "baremetal:portgroup:get",
        SEES_NODE,
        "GET /v1/portgroups, GET /v1/portgroups/detail, GET /v1/portgroups/{portgroup}, GET \
             /v1/nodes/{node}/portgroups, GET /v1/nodes/{node}/portgroups/detail",
    ),
    row("baremetal:portgroup:create", OWNER_MAKES, "POST /v1/portgroups"),
    row("baremetal:portgroup:delete", OWNER_MAKES, "DELETE /v1/portgroups/{portgroup}"),
    row("baremetal:portgroup:update", OWNER_MANAGES, "PATCH /v1/portgroups/{portgroup}"),
    row("baremetal:portgroup:list", LISTS, "GET /v1/portgroups, GET /v1/portgroups/detail")
        .formerly("baremetal:portgroup:get"),
    row("baremetal:portgroup:list_all", SYSTEM_READER, "GET /v1/portgroups, GET /v1/portgroups/detail")
        .formerly("baremetal:portgroup:get"),
    // Chassis and drivers.
    row("baremetal:chassis:get", SYSTEM_READER, "GET /v1/chassis, GET /v1/chassis/detail, GET /v1/chassis/{chassis}")
        .scoped(Scopes::SYSTEM),
    row("baremetal:chassis:create", SYSTEM_ADMIN, "POST /v1/chassis").scoped(Scopes::SYSTEM),
    row("baremetal:chassis:delete", SYSTEM_ADMIN, "DELETE /v1/chassis/{chassis}").scoped(Scopes::SYSTEM),
    row("baremetal:chassis:update", SYSTEM_MEMBER, "PATCH /v1/chassis/{chassis}").scoped(Scopes::SYSTEM),
    row("baremetal:driver:get", SYSTEM_READER, "GET /v1/drivers, GET /v1/drivers/{driver}").scoped(Scopes::SYSTEM),
    row("baremetal:driver:get_properties", SYSTEM_READER, "GET /v1/drivers/{driver}/properties").scoped(Scopes::SYSTEM),
    row(
        "baremetal:driver:get_raid_logical_disk_properties",
        SYSTEM_READER,
        "GET /v1/drivers/{driver}/raid/logical_disk_properties",
    )
    .scoped(Scopes::SYSTEM),
    row(
        "baremetal:node:vendor_passthru",
        SYSTEM_ADMIN,
        "GET /v1/nodes/{node}/vendor_passthru/methods, GET|PUT|POST|PATCH|DELETE \
             /v1/nodes/{node}/vendor_passthru",
    ),
    row(
        "baremetal:driver:vendor_passthru",
        SYSTEM_ADMIN,
        "GET /v1/drivers/{driver}/vendor_passthru/methods, GET|PUT|POST|PATCH|DELETE \
             /v1/drivers/{driver}/vendor_passthru",
    )
    .scoped(Scopes::SYSTEM),
    // Agents.
    row("baremetal:node:ipa_heartbeat", "", "POST /v1/heartbeat/{node}").scoped(Scopes::ANY),
    row("baremetal:driver:ipa_lookup", "", "GET /v1/lookup").scoped(Scopes::ANY),
    row("baremetal:driver:ipa_continue_inspection", "", "POST /v1/continue_inspection").scoped(Scopes::ANY),
    // Volumes.
    row(
        "baremetal:volume:list_all",
        SYSTEM_READER,
        "GET /v1/volume/connectors, GET /v1/volume/targets, GET /v1/nodes/{node}/volume/connectors, GET \
             /v1/nodes/{node}/volume/targets",
    )
    .formerly("baremetal:volume:get"),
    row(
        "baremetal:volume:list",
        LISTS,
        "GET /v1/volume/connectors, GET /v1/volume/targets, GET /v1/nodes/{node}/volume/connectors, GET \
             /v1/nodes/{node}/volume/targets",
    )
    .formerly("baremetal:volume:get"),
    row(
        "baremetal:volume:get",
        SEES_NODE,
        "GET /v1/volume, GET /v1/volume/connectors, GET /v1/volume/connectors/{volume_connector}, GET \
             /v1/volume/targets, GET /v1/volume/targets/{volume_target}, GET /v1/nodes/{node}/volume, GET \
             /v1/nodes/{node}/volume/connectors, GET /v1/nodes/{node}/volume/targets",
    ),
    row("baremetal:volume:create", EITHER_MANAGES, "POST /v1/volume/connectors, POST /v1/volume/targets"),
    row(
        "baremetal:volume:delete",
        EITHER_MANAGES,
        "DELETE /v1/volume/connectors/{volume_connector}, DELETE /v1/volume/targets/{volume_target}",
    ),
    row(
        "baremetal:volume:update",
        OWNER_WORKS_OR_LESSEE_MANAGES,
        "PATCH /v1/volume/connectors/{volume_connector}, PATCH /v1/volume/targets/{volume_target}",
    ),
    row(
        "baremetal:volume:view_target_properties",
        "((role:reader and system_scope:all) or (role:service and system_scope:all) or rule:service_role) \
             or (role:admin)",
        "GET /v1/volume/connectors/{volume_connector}, GET /v1/volume/targets/{volume_target}",
    )
    .formerly("baremetal:volume:update"),
    // Conductors, allocations, events.
    row("baremetal:conductor:get", SYSTEM_READER, "GET /v1/conductors, GET /v1/conductors/{hostname}"),
    row(
        "baremetal:allocation:get",
        "((role:reader and system_scope:all) or (role:service and system_scope:all) or rule:service_role) \
             or (role:reader and project_id:%(allocation.owner)s)",
        "GET /v1/allocations/{allocation}, GET /v1/nodes/{node}/allocation",
    ),
    row("baremetal:allocation:list", LISTS, "GET /v1/allocations"),
    row("baremetal:allocation:list_all", SYSTEM_READER, "GET /v1/allocations"),
    row(
        "baremetal:allocation:create",
        "((role:member and system_scope:all) or rule:service_role) or (role:member)",
        "POST /v1/allocations",
    ),
    row("baremetal:allocation:create_restricted", SYSTEM_MEMBER, "POST /v1/allocations"),
    row(
        "baremetal:allocation:delete",
        ALLOCATION_WORKS,
        "DELETE /v1/allocations/{allocation}, DELETE /v1/nodes/{node}/allocation",
    ),
    row("baremetal:allocation:update", ALLOCATION_WORKS, "PATCH /v1/allocations/{allocation}"),
    row(
        "baremetal:allocation:create_pre_rbac",
        "(rule:is_member and role:baremetal_admin) or (is_admin_project:True and role:admin)",
        "PATCH /v1/allocations/{allocation}",
    )
    .scoped(Scopes::PROJECT),
    row("baremetal:events:post", SYSTEM_ADMIN, "POST /v1/events").scoped(Scopes::SYSTEM),
    // Deploy templates, runbooks, inspection rules.
    row(
        "baremetal:deploy_template:get",
        SYSTEM_READER,
        "GET /v1/deploy_templates, GET /v1/deploy_templates/{deploy_template}",
    ),
    row("baremetal:deploy_template:create", SYSTEM_ADMIN, "POST /v1/deploy_templates"),
    row("baremetal:deploy_template:delete", SYSTEM_ADMIN, "DELETE /v1/deploy_templates/{deploy_template}"),
    row("baremetal:deploy_template:update", SYSTEM_ADMIN, "PATCH /v1/deploy_templates/{deploy_template}"),
    row(
        "baremetal:runbook:get",
        "((role:reader and system_scope:all) or (role:service and system_scope:all) or rule:service_role) \
             or (role:reader and project_id:%(runbook.owner)s) or role:service",
        "GET /v1/runbooks/{runbook}",
    ),
    row("baremetal:runbook:list", LISTS, "GET /v1/runbooks"),
    row("baremetal:runbook:list_all", SYSTEM_READER, "GET /v1/runbooks"),
    row(
        "baremetal:runbook:create",
        "((role:member and system_scope:all) or rule:service_role) or role:manager or role:service",
        "POST /v1/runbooks",
    ),
    row("baremetal:runbook:delete", RUNBOOK_MANAGES, "DELETE /v1/runbooks/{runbook}"),
    row("baremetal:runbook:update", RUNBOOK_MANAGES, "PATCH /v1/runbooks/{runbook}"),
    row("baremetal:runbook:update:public", SYSTEM_MEMBER, "PATCH /v1/runbooks/{runbook}/public"),
    row("baremetal:runbook:update:owner", SYSTEM_MEMBER, "PATCH /v1/runbooks/{runbook}/owner"),
    row("baremetal:runbook:use", RUNBOOK_MANAGES, "PUT /v1/nodes/{node}/states/provision"),
    row("baremetal:inspection_rule:get", SYSTEM_READER, "GET /v1/inspection_rules, GET /v1/inspection_rules/{rule}"),
    row("baremetal:inspection_rule:list_all", SYSTEM_READER, "GET /v1/inspection_rules"),
    row("baremetal:inspection_rule:create", SYSTEM_ADMIN, "POST /v1/inspection_rules"),
    row("baremetal:inspection_rule:update", SYSTEM_ADMIN, "PATCH /v1/inspection_rules/{rule}"),
    row(
        "baremetal:inspection_rule:delete",
        SYSTEM_ADMIN,
        "DELETE /v1/inspection_rules, DELETE /v1/inspection_rules/{rule}",
    ),
];
