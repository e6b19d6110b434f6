//! Glance's rules for images, their members and data. Paths are those below the image endpoint.
//!
//! Targets: `project_id` and `owner` (the project whose image it is), `member_id` (the caller's project where the image is
//! shared with it), `visibility`. Tokens for the whole system are let to the rules, as for networks.

use super::{Row, Scopes};

/// Administrators.
const ADMIN: &str = "rule:context_is_admin";
/// Members of the project whose image it is.
const MEMBER: &str = "rule:context_is_admin or (role:member and project_id:%(project_id)s)";
/// Readers of the project whose image it is.
const READER: &str = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)";
/// Members of any project that sees the image.
const DOWNLOADS: &str = "rule:context_is_admin or (role:member and (project_id:%(project_id)s or project_id:%(member_id)s or \
         'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))";
/// Readers of the project whose image it is, and of one it is shared with.
const SHARERS: &str =
    "rule:context_is_admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)";

const fn row(name: &'static str, check: &'static str, calls: &'static str) -> Row {
    Row::new(name, check, Scopes::SYSTEM_OR_PROJECT, calls)
}

/// The rules, in upstream's order.
pub(super) const ROWS: &[Row] = &[
    // What others are made of.
    row("default", "", "").scoped(Scopes::ANY),
    row("context_is_admin", "role:admin", "").scoped(Scopes::ANY),
    row("service_api", "role:service or role:admin", "").scoped(Scopes::ANY),
    // Images.
    row(
        "add_image",
        "rule:context_is_admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
        "POST /v2/images",
    ),
    row("delete_image", MEMBER, "DELETE /v2/images/{image}"),
    row(
        "get_image",
        "rule:context_is_admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s \
             or 'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))",
        "GET /v2/images/{image}",
    ),
    row("get_images", READER, "GET /v2/images"),
    row("modify_image", MEMBER, "PATCH /v2/images/{image}"),
    row("publicize_image", ADMIN, "PATCH /v2/images/{image}"),
    row("communitize_image", MEMBER, "PATCH /v2/images/{image}"),
    row("download_image", DOWNLOADS, "GET /v2/images/{image}/file"),
    row("download_from_store", DOWNLOADS, "GET /v2/images/{image}/file"),
    row("upload_image", MEMBER, "PUT /v2/images/{image}/file"),
    row("delete_image_location", ADMIN, "PATCH /v2/images/{image}"),
    row("get_image_location", READER, "GET /v2/images/{image}"),
    row("set_image_location", MEMBER, "PATCH /v2/images/{image}"),
    row(
        "add_image_location",
        "rule:service_api or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
        "POST /v2/images/{image}/locations",
    ),
    row("fetch_image_location", "rule:service_api", "GET /v2/images/{image}/locations"),
    row("add_member", MEMBER, "POST /v2/images/{image}/members"),
    row("delete_member", MEMBER, "DELETE /v2/images/{image}/members/{member}"),
    row("get_member", SHARERS, "GET /v2/images/{image}/members/{member}"),
    row("get_members", SHARERS, "GET /v2/images/{image}/members"),
    row(
        "modify_member",
        "rule:context_is_admin or (role:member and project_id:%(member_id)s)",
        "PUT /v2/images/{image}/members/{member}",
    ),
    row("deactivate", MEMBER, "POST /v2/images/{image}/actions/deactivate"),
    row("reactivate", MEMBER, "POST /v2/images/{image}/actions/reactivate"),
    row("copy_image", ADMIN, "POST /v2/images/{image}/import"),
    row("get_task", "rule:default", "GET /v2/tasks/{task}"),
    row("get_tasks", "rule:default", "GET /v2/tasks"),
    row("add_task", "rule:default", "POST /v2/tasks"),
    row("modify_task", "rule:default", "DELETE /v2/tasks/{task}"),
    row("tasks_api_access", ADMIN, "GET|DELETE /v2/tasks/{task}, GET|POST /v2/tasks"),
    row("stores_info_detail", "rule:context_is_admin or rule:service_api", "GET /v2/info/stores/detail"),
];
