//! Keystone's rules: `identity:…`, for tokens, the catalog, domains, projects, users, groups, roles and application
//! credentials. Paths are those at the identity endpoint.
//!
//! Targets: `user_id` (the user in the path), `target.user.id`, `target.user.domain_id`, `target.group.domain_id`,
//! `target.project.id`, `target.project.domain_id`, `target.domain.id`, `target.domain_id` (the domain that a list is of),
//! `target.role.name`, `target.role.domain_id`, `target.token.user_id`.

use super::{Row, Scopes};

/// Administrators.
const ADMIN: &str = "rule:admin_required";
/// Whoever reads the whole system.
const SYSTEM_READER: &str = "rule:admin_required or (role:reader and system_scope:all)";
/// Gives and takes roles: administrators of the domain; its managers the three common roles.
const GRANTS: &str = "(rule:admin_required) or ((role:admin and domain_id:%(target.user.domain_id)s and \
         domain_id:%(target.project.domain_id)s) or (role:admin and domain_id:%(target.user.domain_id)s and \
         domain_id:%(target.domain.id)s) or (role:admin and domain_id:%(target.group.domain_id)s and \
         domain_id:%(target.project.domain_id)s) or (role:admin and domain_id:%(target.group.domain_id)s and \
         domain_id:%(target.domain.id)s)) and (domain_id:%(target.role.domain_id)s or \
         None:%(target.role.domain_id)s) or ((role:manager and domain_id:%(target.user.domain_id)s and \
         domain_id:%(target.project.domain_id)s) or (role:manager and domain_id:%(target.user.domain_id)s and \
         domain_id:%(target.domain.id)s) or (role:manager and domain_id:%(target.group.domain_id)s and \
         domain_id:%(target.project.domain_id)s) or (role:manager and domain_id:%(target.group.domain_id)s \
         and domain_id:%(target.domain.id)s)) and rule:domain_managed_target_role";
/// Managers of the domain that the project is in.
const DOMAIN_PROJECTS: &str = "(rule:admin_required) or (role:manager and domain_id:%(target.project.domain_id)s and not \
         None:%(target.project.domain_id)s)";
/// Readers of its domain, and whoever is in the project.
const SEES_PROJECT: &str = "(rule:admin_required) or (role:reader and system_scope:all) or (role:reader and \
         domain_id:%(target.project.domain_id)s and not None:%(target.project.domain_id)s) or \
         project_id:%(target.project.id)s";
/// Readers of the domain.
const DOMAIN_READS: &str = "(rule:admin_required) or (role:reader and system_scope:all) or (role:reader and \
         domain_id:%(target.domain_id)s)";
/// Readers of the domain that the group is in.
const SEES_GROUP: &str = "(rule:admin_required) or (role:reader and system_scope:all) or (role:reader and \
         domain_id:%(target.group.domain_id)s)";
/// Managers of the domain that the group is in.
const DOMAIN_GROUPS: &str = "(rule:admin_required) or (role:manager and domain_id:%(target.group.domain_id)s)";
/// Managers of the domain that group and user are in.
const DOMAIN_GROUP_USERS: &str = "(rule:admin_required) or (role:manager and domain_id:%(target.group.domain_id)s and \
         domain_id:%(target.user.domain_id)s)";
/// Managers of the domain that the user is in.
const DOMAIN_USERS: &str = "(rule:admin_required) or (role:manager and token.domain.id:%(target.user.domain_id)s)";
/// The user himself.
const OWN_CREDENTIALS: &str = "(rule:admin_required) or (role:reader and system_scope:all) or rule:owner";

const fn row(name: &'static str, check: &'static str, calls: &'static str) -> Row {
    Row::new(name, check, Scopes::SYSTEM_OR_PROJECT, calls)
}

/// The rules, in upstream's order.
pub(super) const ROWS: &[Row] = &[
    // What others are made of.
    row("admin_required", "role:admin or is_admin:1", "").scoped(Scopes::ANY),
    row("service_role", "role:service", "").scoped(Scopes::ANY),
    row("service_or_admin", "rule:admin_required or rule:service_role", "").scoped(Scopes::ANY),
    row("owner", "user_id:%(user_id)s", "").scoped(Scopes::ANY),
    row("admin_or_owner", "rule:admin_required or rule:owner", "").scoped(Scopes::ANY),
    row("token_subject", "user_id:%(target.token.user_id)s", "").scoped(Scopes::ANY),
    row("admin_or_token_subject", "rule:admin_required or rule:token_subject", "").scoped(Scopes::ANY),
    row("service_admin_or_token_subject", "rule:service_or_admin or rule:token_subject", "").scoped(Scopes::ANY),
    row(
        "domain_managed_target_role",
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s",
        "",
    )
    .scoped(Scopes::ANY),
    row(
        "identity:get_application_credential",
        OWN_CREDENTIALS,
        "GET /v3/users/{user}/application_credentials/{application_credential}",
    ),
    row("identity:list_application_credentials", OWN_CREDENTIALS, "GET /v3/users/{user}/application_credentials"),
    row(
        "identity:create_application_credential",
        "user_id:%(user_id)s",
        "POST /v3/users/{user}/application_credentials",
    )
    .scoped(Scopes::PROJECT),
    row(
        "identity:delete_application_credential",
        "rule:admin_or_owner",
        "DELETE /v3/users/{user}/application_credentials/{application_credential}",
    ),
    row("identity:get_auth_catalog", "", "GET /v3/auth/catalog").scoped(Scopes::ANY),
    row("identity:get_auth_projects", "", "GET /v3/auth/projects").scoped(Scopes::ANY),
    row("identity:get_auth_domains", "", "GET /v3/auth/domains").scoped(Scopes::ANY),
    row("identity:get_auth_system", "", "GET /v3/auth/system").scoped(Scopes::ANY),
    row(
        "identity:get_domain",
        "rule:admin_required or (role:reader and system_scope:all) or \
             token.domain.id:%(target.domain.id)s or token.project.domain.id:%(target.domain.id)s",
        "GET /v3/domains/{domain}",
    )
    .scoped(Scopes::ALL),
    row(
        "identity:list_domains",
        "rule:admin_required or (role:reader and system_scope:all) or (role:reader and \
             domain_id:%(target.domain.id)s)",
        "GET /v3/domains",
    )
    .scoped(Scopes::ALL),
    row("identity:create_domain", ADMIN, "POST /v3/domains"),
    row("identity:update_domain", ADMIN, "PATCH /v3/domains/{domain}"),
    row("identity:delete_domain", ADMIN, "DELETE /v3/domains/{domain}"),
    row("identity:get_endpoint", SYSTEM_READER, "GET /v3/endpoints/{endpoint}"),
    row("identity:list_endpoints", SYSTEM_READER, "GET /v3/endpoints"),
    row("identity:create_endpoint", ADMIN, "POST /v3/endpoints"),
    row("identity:update_endpoint", ADMIN, "PATCH /v3/endpoints/{endpoint}"),
    row("identity:delete_endpoint", ADMIN, "DELETE /v3/endpoints/{endpoint}"),
    row(
        "identity:check_grant",
        "(rule:admin_required) or ((role:reader and system_scope:all) or ((role:reader and \
             domain_id:%(target.user.domain_id)s and domain_id:%(target.project.domain_id)s) or (role:reader \
             and domain_id:%(target.user.domain_id)s and domain_id:%(target.domain.id)s) or (role:reader and \
             domain_id:%(target.group.domain_id)s and domain_id:%(target.project.domain_id)s) or (role:reader \
             and domain_id:%(target.group.domain_id)s and domain_id:%(target.domain.id)s)) and \
             (domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s))",
        "GET /v3/projects/{project}/users/{user}/roles/{role}, GET \
             /v3/projects/{project}/groups/{group}/roles/{role}, GET \
             /v3/domains/{domain}/users/{user}/roles/{role}, GET \
             /v3/domains/{domain}/groups/{group}/roles/{role}, GET \
             /v3/OS-INHERIT/projects/{project}/users/{user}/roles/{role}/inherited_to_projects, GET \
             /v3/OS-INHERIT/projects/{project}/groups/{group}/roles/{role}/inherited_to_projects, GET \
             /v3/OS-INHERIT/domains/{domain}/users/{user}/roles/{role}/inherited_to_projects, GET \
             /v3/OS-INHERIT/domains/{domain}/groups/{group}/roles/{role}/inherited_to_projects",
    )
    .scoped(Scopes::ALL),
    row(
        "identity:list_grants",
        "(rule:admin_required) or ((role:reader and system_scope:all) or (role:reader and \
             domain_id:%(target.user.domain_id)s and domain_id:%(target.project.domain_id)s) or (role:reader \
             and domain_id:%(target.user.domain_id)s and domain_id:%(target.domain.id)s) or (role:reader and \
             domain_id:%(target.group.domain_id)s and domain_id:%(target.project.domain_id)s) or (role:reader \
             and domain_id:%(target.group.domain_id)s and domain_id:%(target.domain.id)s))",
        "GET /v3/projects/{project}/users/{user}/roles, GET /v3/projects/{project}/groups/{group}/roles, \
             GET /v3/domains/{domain}/users/{user}/roles, GET /v3/domains/{domain}/groups/{group}/roles, GET \
             /v3/OS-INHERIT/domains/{domain}/groups/{group}/roles/inherited_to_projects, GET \
             /v3/OS-INHERIT/domains/{domain}/users/{user}/roles/inherited_to_projects",
    )
    .scoped(Scopes::ALL),
    row(
        "identity:create_grant",
        GRANTS,
        "PUT /v3/projects/{project}/users/{user}/roles/{role}, PUT \
             /v3/projects/{project}/groups/{group}/roles/{role}, PUT \
             /v3/domains/{domain}/users/{user}/roles/{role}, PUT \
             /v3/domains/{domain}/groups/{group}/roles/{role}, PUT \
             /v3/OS-INHERIT/projects/{project}/users/{user}/roles/{role}/inherited_to_projects, PUT \
             /v3/OS-INHERIT/projects/{project}/groups/{group}/roles/{role}/inherited_to_projects, PUT \
             /v3/OS-INHERIT/domains/{domain}/users/{user}/roles/{role}/inherited_to_projects, PUT \
             /v3/OS-INHERIT/domains/{domain}/groups/{group}/roles/{role}/inherited_to_projects",
    )
    .scoped(Scopes::ALL),
    row(
        "identity:revoke_grant",
        GRANTS,
        "DELETE /v3/projects/{project}/users/{user}/roles/{role}, DELETE \
             /v3/projects/{project}/groups/{group}/roles/{role}, DELETE \
             /v3/domains/{domain}/users/{user}/roles/{role}, DELETE \
             /v3/domains/{domain}/groups/{group}/roles/{role}, DELETE \
             /v3/OS-INHERIT/projects/{project}/users/{user}/roles/{role}/inherited_to_projects, DELETE \
             /v3/OS-INHERIT/projects/{project}/groups/{group}/roles/{role}/inherited_to_projects, DELETE \
             /v3/OS-INHERIT/domains/{domain}/users/{user}/roles/{role}/inherited_to_projects, DELETE \
             /v3/OS-INHERIT/domains/{domain}/groups/{group}/roles/{role}/inherited_to_projects",
    )
    .scoped(Scopes::ALL),
    row("identity:list_system_grants_for_user", SYSTEM_READER, "GET /v3/system/users/{user}/roles"),
    row("identity:check_system_grant_for_user", SYSTEM_READER, "GET /v3/system/users/{user}/roles/{role}"),
    row("identity:create_system_grant_for_user", ADMIN, "PUT /v3/system/users/{user}/roles/{role}"),
    row("identity:revoke_system_grant_for_user", ADMIN, "DELETE /v3/system/users/{user}/roles/{role}"),
    row("identity:list_system_grants_for_group", SYSTEM_READER, "GET /v3/system/groups/{group}/roles"),
    row("identity:check_system_grant_for_group", SYSTEM_READER, "GET /v3/system/groups/{group}/roles/{role}"),
    row("identity:create_system_grant_for_group", ADMIN, "PUT /v3/system/groups/{group}/roles/{role}"),
    row("identity:revoke_system_grant_for_group", ADMIN, "DELETE /v3/system/groups/{group}/roles/{role}"),
    row("identity:get_group", SEES_GROUP, "GET /v3/groups/{group}").scoped(Scopes::ALL),
    row("identity:list_groups", SEES_GROUP, "GET /v3/groups").scoped(Scopes::ALL),
    row(
        "identity:list_groups_for_user",
        "(rule:admin_required) or (role:reader and system_scope:all) or (role:reader and \
             domain_id:%(target.user.domain_id)s) or user_id:%(user_id)s",
        "GET /v3/users/{user}/groups",
    )
    .scoped(Scopes::ALL),
    row("identity:create_group", DOMAIN_GROUPS, "POST /v3/groups").scoped(Scopes::ALL),
    row("identity:update_group", DOMAIN_GROUPS, "PATCH /v3/groups/{group}").scoped(Scopes::ALL),
    row("identity:delete_group", DOMAIN_GROUPS, "DELETE /v3/groups/{group}").scoped(Scopes::ALL),
    row("identity:list_users_in_group", SEES_GROUP, "GET /v3/groups/{group}/users").scoped(Scopes::ALL),
    row("identity:remove_user_from_group", DOMAIN_GROUP_USERS, "DELETE /v3/groups/{group}/users/{user}")
        .scoped(Scopes::ALL),
    row(
        "identity:check_user_in_group",
        "(rule:admin_required) or (role:reader and system_scope:all) or (role:reader and \
             domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s)",
        "GET /v3/groups/{group}/users/{user}",
    )
    .scoped(Scopes::ALL),
    row("identity:add_user_to_group", DOMAIN_GROUP_USERS, "PUT /v3/groups/{group}/users/{user}").scoped(Scopes::ALL),
    row("identity:get_implied_role", SYSTEM_READER, "GET /v3/roles/{prior_role}/implies/{implied_role}"),
    row("identity:list_implied_roles", SYSTEM_READER, "GET /v3/roles/{prior_role}/implies"),
    row("identity:create_implied_role", ADMIN, "PUT /v3/roles/{prior_role}/implies/{implied_role}"),
    row("identity:delete_implied_role", ADMIN, "DELETE /v3/roles/{prior_role}/implies/{implied_role}"),
    row("identity:check_implied_role", SYSTEM_READER, "HEAD /v3/roles/{prior_role}/implies/{implied_role}"),
    row("identity:list_role_inference_rules", SYSTEM_READER, "GET /v3/role_inferences"),
    row("identity:get_project", SEES_PROJECT, "GET /v3/projects/{project}").scoped(Scopes::ALL),
    row("identity:list_projects", DOMAIN_READS, "GET /v3/projects").scoped(Scopes::ALL),
    row(
        "identity:list_user_projects",
        "(rule:admin_required) or (role:reader and system_scope:all) or (role:reader and \
             domain_id:%(target.user.domain_id)s) or user_id:%(target.user.id)s",
        "GET /v3/users/{user}/projects",
    )
    .scoped(Scopes::ALL),
    row("identity:create_project", DOMAIN_PROJECTS, "POST /v3/projects").scoped(Scopes::ALL),
    row("identity:update_project", DOMAIN_PROJECTS, "PATCH /v3/projects/{project}").scoped(Scopes::ALL),
    row("identity:delete_project", DOMAIN_PROJECTS, "DELETE /v3/projects/{project}").scoped(Scopes::ALL),
    row("identity:list_project_tags", SEES_PROJECT, "GET /v3/projects/{project}/tags").scoped(Scopes::ALL),
    row("identity:get_project_tag", SEES_PROJECT, "GET /v3/projects/{project}/tags/{value}").scoped(Scopes::ALL),
    row("identity:update_project_tags", DOMAIN_PROJECTS, "PUT /v3/projects/{project}/tags").scoped(Scopes::ALL),
    row("identity:create_project_tag", DOMAIN_PROJECTS, "PUT /v3/projects/{project}/tags/{value}").scoped(Scopes::ALL),
    row("identity:delete_project_tags", DOMAIN_PROJECTS, "DELETE /v3/projects/{project}/tags").scoped(Scopes::ALL),
    row("identity:delete_project_tag", DOMAIN_PROJECTS, "DELETE /v3/projects/{project}/tags/{value}")
        .scoped(Scopes::ALL),
    row("identity:get_region", "", "GET /v3/regions/{region}").scoped(Scopes::ALL),
    row("identity:list_regions", "", "GET /v3/regions").scoped(Scopes::ALL),
    row("identity:create_region", ADMIN, "POST /v3/regions, PUT /v3/regions/{region}"),
    row("identity:update_region", ADMIN, "PATCH /v3/regions/{region}"),
    row("identity:delete_region", ADMIN, "DELETE /v3/regions/{region}"),
    row(
        "identity:get_role",
        "(rule:admin_required or (role:reader and system_scope:all)) or (role:manager and \
             rule:domain_managed_target_role)",
        "GET /v3/roles/{role}",
    )
    .scoped(Scopes::ALL),
    row(
        "identity:list_roles",
        "(rule:admin_required or (role:reader and system_scope:all)) or (role:manager and not \
             domain_id:None)",
        "GET /v3/roles",
    )
    .scoped(Scopes::ALL),
    row("identity:create_role", ADMIN, "POST /v3/roles"),
    row("identity:update_role", ADMIN, "PATCH /v3/roles/{role}"),
    row("identity:delete_role", ADMIN, "DELETE /v3/roles/{role}"),
    row("identity:list_role_assignments", DOMAIN_READS, "GET /v3/role_assignments").scoped(Scopes::ALL),
    row("identity:list_role_assignments_for_tree", DOMAIN_READS, "GET /v3/role_assignments?include_subtree")
        .scoped(Scopes::ALL),
    row("identity:get_service", SYSTEM_READER, "GET /v3/services/{service}"),
    row("identity:list_services", SYSTEM_READER, "GET /v3/services"),
    row("identity:create_service", ADMIN, "POST /v3/services"),
    row("identity:update_service", ADMIN, "PATCH /v3/services/{service}"),
    row("identity:delete_service", ADMIN, "DELETE /v3/services/{service}"),
    row(
        "identity:check_token",
        "rule:admin_required or (role:reader and system_scope:all) or rule:token_subject",
        "HEAD /v3/auth/tokens",
    )
    .scoped(Scopes::ALL),
    row(
        "identity:validate_token",
        "rule:admin_required or (role:reader and system_scope:all) or rule:service_role or \
             rule:token_subject",
        "GET /v3/auth/tokens",
    )
    .scoped(Scopes::ALL),
    row("identity:revoke_token", "rule:admin_required or rule:token_subject", "DELETE /v3/auth/tokens")
        .scoped(Scopes::ALL),
    row(
        "identity:get_user",
        "(rule:admin_required) or (role:reader and system_scope:all) or (role:reader and \
             token.domain.id:%(target.user.domain_id)s) or user_id:%(target.user.id)s",
        "GET /v3/users/{user}",
    )
    .scoped(Scopes::ALL),
    row("identity:list_users", DOMAIN_READS, "GET /v3/users").scoped(Scopes::ALL),
    row("identity:list_projects_for_user", "", "GET /v3/auth/projects").scoped(Scopes::ANY),
    row("identity:list_domains_for_user", "", "GET /v3/auth/domains").scoped(Scopes::ANY),
    row("identity:create_user", DOMAIN_USERS, "POST /v3/users").scoped(Scopes::ALL),
    row("identity:update_user", DOMAIN_USERS, "PATCH /v3/users/{user}").scoped(Scopes::ALL),
    row("identity:delete_user", DOMAIN_USERS, "DELETE /v3/users/{user}").scoped(Scopes::ALL),
];
