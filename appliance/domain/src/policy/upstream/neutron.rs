//! Neutron's rules for networks, subnets, ports and trunks, with those per attribute. Paths are those below
//! `/v2.0` of the network endpoint.
//!
//! Targets: `project_id`, `network:project_id` (the project of the network that a subnet or port is on), `shared`,
//! `router:external` (of that network), `device_owner`. Upstream turns tokens for the whole system away before it asks the
//! rule; here they are let to it, so that the administrator of the box needs no second token. They pass as
//! administrators or not at all.

use super::{Row, Scopes};

/// Administrators.
const ADMIN: &str = "rule:admin_only";
/// Members of the project whose it is.
const MEMBER: &str = "(rule:admin_only) or (role:member and project_id:%(project_id)s)";
/// Readers of the project whose it is.
const READER: &str = "(rule:admin_only) or (role:reader and project_id:%(project_id)s)";
/// Other services.
const SERVICE: &str = "(rule:admin_only) or (rule:service_api)";
/// Members of the project whose it is, and other services.
const MEMBER_OR_SERVICE: &str = "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:service_api";
/// Members of the project whose network it is.
const NETWORK_MEMBER: &str = "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner";
/// The same, and anybody on a shared network.
const NETWORK_MEMBER_OR_SHARED: &str =
    "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner or rule:shared";
/// Addresses that a port may also use: members of the project whose network it is.
const ADDRESS_PAIRS: &str = "(rule:admin_only) or (role:member and rule:network_owner) or rule:service_api";
/// Members of the project whose subnet or network it is.
const SUBNET_MEMBER: &str =
    "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and rule:network_owner)";

const fn row(name: &'static str, check: &'static str, calls: &'static str) -> Row {
    Row::new(name, check, Scopes::SYSTEM_OR_PROJECT, calls)
}

/// The rules, in upstream's order.
pub(super) const ROWS: &[Row] = &[
    // What others are made of.
    row("context_is_admin", "role:admin", "").scoped(Scopes::ANY),
    row("service_api", "role:service", "").scoped(Scopes::ANY),
    row("owner", "project_id:%(project_id)s", "").scoped(Scopes::ANY),
    row("admin_or_owner", "rule:context_is_admin or rule:owner", "").scoped(Scopes::ANY),
    row("context_is_advsvc", "role:advsvc", "").scoped(Scopes::ANY),
    row("admin_or_network_owner", "rule:context_is_admin or project_id:%(network:project_id)s", "").scoped(Scopes::ANY),
    row("admin_owner_or_network_owner", "rule:owner or rule:admin_or_network_owner", "").scoped(Scopes::ANY),
    row("network_owner", "project_id:%(network:project_id)s", "").scoped(Scopes::ANY),
    row("admin_only", "rule:context_is_admin", "").scoped(Scopes::ANY),
    row("regular_user", "", "").scoped(Scopes::ANY),
    row("shared", "field:networks:shared=True", "").scoped(Scopes::ANY),
    row("default", "rule:admin_or_owner", "").scoped(Scopes::ANY),
    row("external", "field:networks:router:external=True", "").scoped(Scopes::ANY),
    row("network_device", "field:port:device_owner=~^network:", "").scoped(Scopes::ANY),
    row("external_network", "field:subnets:router:external=True", "").scoped(Scopes::ANY),
    // Networks.
    row("create_network", MEMBER, "POST /networks"),
    row("create_network:shared", ADMIN, "POST /networks"),
    row("create_network:router:external", ADMIN, "POST /networks"),
    row("create_network:is_default", ADMIN, "POST /networks"),
    row("create_network:port_security_enabled", MEMBER, "POST /networks"),
    row("create_network:segments", ADMIN, "POST /networks"),
    row("create_network:provider:network_type", ADMIN, "POST /networks"),
    row("create_network:provider:physical_network", ADMIN, "POST /networks"),
    row("create_network:provider:segmentation_id", ADMIN, "POST /networks"),
    row("create_network:tags", MEMBER, "POST /networks/{id}/tags").formerly("create_networks_tags"),
    row(
        "get_network",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:service_api or \
             rule:shared or rule:external or rule:context_is_advsvc",
        "GET /networks, GET /networks/{id}",
    ),
    row("get_network:segments", ADMIN, "GET /networks, GET /networks/{id}"),
    row("get_network:provider:network_type", ADMIN, "GET /networks, GET /networks/{id}"),
    row("get_network:provider:physical_network", ADMIN, "GET /networks, GET /networks/{id}"),
    row("get_network:provider:segmentation_id", ADMIN, "GET /networks, GET /networks/{id}"),
    row(
        "get_network:tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared or rule:external \
             or rule:context_is_advsvc",
        "GET /networks/{id}/tags, GET /networks/{id}/tags/{tag}",
    )
    .formerly("get_networks_tags"),
    row("update_network", MEMBER, "PUT /networks/{id}"),
    row("update_network:segments", ADMIN, "PUT /networks/{id}"),
    row("update_network:shared", ADMIN, "PUT /networks/{id}"),
    row("update_network:provider:network_type", ADMIN, "PUT /networks/{id}"),
    row("update_network:provider:physical_network", ADMIN, "PUT /networks/{id}"),
    row("update_network:provider:segmentation_id", ADMIN, "PUT /networks/{id}"),
    row("update_network:router:external", ADMIN, "PUT /networks/{id}"),
    row("update_network:is_default", ADMIN, "PUT /networks/{id}"),
    row("update_network:port_security_enabled", MEMBER, "PUT /networks/{id}"),
    row("update_network:tags", MEMBER, "PUT /networks/{id}/tags, PUT /networks/{id}/tags/{tag}")
        .formerly("update_networks_tags"),
    row("delete_network", MEMBER, "DELETE /networks/{id}"),
    row("delete_network:tags", MEMBER, "DELETE /networks/{id}/tags, DELETE /networks/{id}/tags/{tag}")
        .formerly("delete_networks_tags"),
    // Ports.
    row("get_port_binding", SERVICE, "GET /ports/{port}/bindings/"),
    row("create_port_binding", "rule:service_api", "POST /ports/{port}/bindings/"),
    row("delete_port_binding", "rule:service_api", "DELETE /ports/{port}/bindings/"),
    // Ports.
    row("create_port", NETWORK_MEMBER_OR_SHARED, "POST /ports"),
    row("create_port:device_id", MEMBER_OR_SERVICE, "POST /ports"),
    row(
        "create_port:device_owner",
        "not rule:network_device or (rule:admin_only) or (rule:service_api) or role:member and \
             rule:network_owner",
        "POST /ports",
    ),
    row("create_port:mac_address", NETWORK_MEMBER, "POST /ports"),
    row("create_port:fixed_ips", NETWORK_MEMBER_OR_SHARED, "POST /ports"),
    row("create_port:fixed_ips:ip_address", NETWORK_MEMBER, "POST /ports"),
    row("create_port:fixed_ips:subnet_id", NETWORK_MEMBER_OR_SHARED, "POST /ports"),
    row("create_port:port_security_enabled", NETWORK_MEMBER, "POST /ports"),
    row("create_port:binding:host_id", SERVICE, "POST /ports"),
    row("create_port:binding:profile", "rule:service_api", "POST /ports"),
    row("create_port:binding:vnic_type", MEMBER_OR_SERVICE, "POST /ports"),
    row("create_port:allowed_address_pairs", ADDRESS_PAIRS, "POST /ports"),
    row("create_port:allowed_address_pairs:mac_address", ADDRESS_PAIRS, "POST /ports"),
    row("create_port:allowed_address_pairs:ip_address", ADDRESS_PAIRS, "POST /ports"),
    row("create_port:hints", ADMIN, "POST /ports"),
    row("create_port:trusted", ADMIN, "POST /ports"),
    row(
        "create_port:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:context_is_advsvc",
        "POST /ports/{id}/tags",
    )
    .formerly("create_ports_tags"),
    row(
        "get_port",
        "(rule:admin_only) or (rule:service_api) or role:reader and rule:network_owner or role:reader and \
             project_id:%(project_id)s",
        "GET /ports, GET /ports/{id}",
    ),
    row("get_port:binding:vif_type", SERVICE, "GET /ports, GET /ports/{id}"),
    row("get_port:binding:vif_details", SERVICE, "GET /ports, GET /ports/{id}"),
    row("get_port:binding:host_id", SERVICE, "GET /ports, GET /ports/{id}"),
    row("get_port:binding:profile", SERVICE, "GET /ports, GET /ports/{id}"),
    row("get_port:resource_request", ADMIN, "GET /ports, GET /ports/{id}"),
    row("get_port:hints", ADMIN, "GET /ports, GET /ports/{id}"),
    row("get_port:trusted", ADMIN, "GET /ports, GET /ports/{id}"),
    row(
        "get_port:tags",
        "rule:context_is_advsvc or (rule:admin_only) or (role:reader and rule:network_owner) or \
             role:reader and project_id:%(project_id)s",
        "GET /ports/{id}/tags, GET /ports/{id}/tags/{tag}",
    )
    .formerly("get_ports_tags"),
    row(
        "update_port",
        "(rule:admin_only) or (rule:service_api) or role:member and project_id:%(project_id)s",
        "PUT /ports/{id}",
    ),
    row("update_port:device_id", MEMBER_OR_SERVICE, "PUT /ports/{id}"),
    row(
        "update_port:device_owner",
        "not rule:network_device or (rule:admin_only) or (rule:service_api) or role:member and \
             rule:network_owner",
        "PUT /ports/{id}",
    ),
    row(
        "update_port:mac_address",
        "(rule:admin_only) or (rule:service_api) or role:manager and rule:network_owner",
        "PUT /ports/{id}",
    ),
    row("update_port:fixed_ips", NETWORK_MEMBER, "PUT /ports/{id}"),
    row("update_port:fixed_ips:ip_address", NETWORK_MEMBER, "PUT /ports/{id}"),
    row("update_port:fixed_ips:subnet_id", NETWORK_MEMBER_OR_SHARED, "PUT /ports/{id}"),
    row("update_port:port_security_enabled", NETWORK_MEMBER, "PUT /ports/{id}"),
    row("update_port:binding:host_id", SERVICE, "PUT /ports/{id}"),
    row("update_port:binding:profile", "rule:service_api", "PUT /ports/{id}"),
    row(
        "update_port:binding:vnic_type",
        "(rule:admin_only) or (rule:service_api) or role:member and project_id:%(project_id)s",
        "PUT /ports/{id}",
    ),
    row("update_port:allowed_address_pairs", ADDRESS_PAIRS, "PUT /ports/{id}"),
    row("update_port:allowed_address_pairs:mac_address", ADDRESS_PAIRS, "PUT /ports/{id}"),
    row("update_port:allowed_address_pairs:ip_address", ADDRESS_PAIRS, "PUT /ports/{id}"),
    row("update_port:data_plane_status", "rule:admin_only or role:data_plane_integrator", "PUT /ports/{id}"),
    row("update_port:hints", ADMIN, "PUT /ports/{id}"),
    row("update_port:trusted", ADMIN, "PUT /ports/{id}"),
    row(
        "update_port:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:context_is_advsvc",
        "PUT /ports/{id}/tags, PUT /ports/{id}/tags/{tag}",
    )
    .formerly("update_ports_tags"),
    row(
        "delete_port",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner or role:member and \
             project_id:%(project_id)s",
        "DELETE /ports/{id}",
    ),
    row(
        "delete_port:tags",
        "rule:context_is_advsvc or role:member and project_id:%(project_id)s or (rule:admin_only) or \
             (role:member and rule:network_owner)",
        "DELETE /ports/{id}/tags, DELETE /ports/{id}/tags/{tag}",
    )
    .formerly("delete_ports_tags"),
    row("create_port:pvlan_type", MEMBER, "POST /ports"),
    row("create_port:pvlan_community", MEMBER, "POST /ports"),
    row("update_port:pvlan_type", MEMBER, "PUT /ports/{id}"),
    row("update_port:pvlan_community", MEMBER, "PUT /ports/{id}"),
    row("get_port:pvlan_type", READER, "GET /ports, GET /ports/{id}"),
    row("get_port:pvlan_community", READER, "GET /ports, GET /ports/{id}"),
    row("create_network:pvlan", MEMBER, "POST /networks"),
    row("update_network:pvlan", MEMBER, "PUT /networks/{id}"),
    row("get_network:pvlan", READER, "GET /networks, GET /networks/{id}"),
    // Subnets.
    row("create_subnet", "(rule:admin_only) or (role:member and rule:network_owner)", "POST /subnets"),
    row("create_subnet:segment_id", ADMIN, "POST /subnets"),
    row("create_subnet:service_types", ADMIN, "POST /subnets"),
    row("create_subnet:tags", SUBNET_MEMBER, "POST /subnets/{id}/tags").formerly("create_subnets_tags"),
    row(
        "get_subnet",
        "role:reader and project_id:%(project_id)s or rule:shared or rule:external_network or \
             (rule:admin_only) or (role:reader and rule:network_owner) or rule:service_api",
        "GET /subnets, GET /subnets/{id}",
    ),
    row("get_subnet:segment_id", ADMIN, "GET /subnets, GET /subnets/{id}"),
    row(
        "get_subnet:tags",
        "role:reader and project_id:%(project_id)s or rule:shared or rule:external_network or \
             (rule:admin_only) or (role:reader and rule:network_owner)",
        "GET /subnets/{id}/tags, GET /subnets/{id}/tags/{tag}",
    )
    .formerly("get_subnets_tags"),
    row("update_subnet", SUBNET_MEMBER, "PUT /subnets/{id}"),
    row("update_subnet:segment_id", ADMIN, "PUT /subnets/{id}"),
    row("update_subnet:service_types", ADMIN, "PUT /subnets/{id}"),
    row("update_subnet:tags", SUBNET_MEMBER, "PUT /subnets/{id}/tags, PUT /subnets/{id}/tags/{tag}")
        .formerly("update_subnets_tags"),
    row("delete_subnet", SUBNET_MEMBER, "DELETE /subnets/{id}"),
    row("delete_subnet:tags", SUBNET_MEMBER, "DELETE /subnets/{id}/tags, DELETE /subnets/{id}/tags/{tag}")
        .formerly("delete_subnets_tags"),
    // Trunks.
    row("create_trunk", MEMBER, "POST /trunks"),
    row("create_trunk:tags", MEMBER, "POST /trunks/{id}/tags").formerly("create_trunks_tags"),
    row("get_trunk", READER, "GET /trunks, GET /trunks/{id}"),
    row("get_trunk:tags", READER, "GET /trunks/{id}/tags, GET /trunks/{id}/tags/{tag}").formerly("get_trunks_tags"),
    row("update_trunk", MEMBER, "PUT /trunks/{id}"),
    row("update_trunk:tags", MEMBER, "PUT /trunks/{id}/tags, PUT /trunks/{id}/tags/{tag}")
        .formerly("update_trunks_tags"),
    row("delete_trunk", MEMBER, "DELETE /trunks/{id}"),
    row("delete_trunk:tags", MEMBER, "DELETE /trunks/{id}/tags, DELETE /trunks/{id}/tags/{tag}")
        .formerly("delete_trunks_tags"),
    row("get_subports", READER, "GET /trunks/{id}/get_subports"),
    row("add_subports", MEMBER, "PUT /trunks/{id}/add_subports"),
    row("remove_subports", MEMBER, "PUT /trunks/{id}/remove_subports"),
];
