//! What must fail: each test is named after the attack and asks the running routers as the attacker would.
//!
//! In: owner, lessee and stranger at one box, and what the box keeps from each. Out: a refusal, and a state that is what
//! it was. Every test also makes the rightful request beside the attack, so that it fails when nothing is answered at all.
//!
//! Each test has a hole: the change named here, put into the program and nothing else, must turn it red. Where two checks
//! stand behind one another, the hole takes both. The holes themselves are in `tests/holes`, by these names:
//! `packaging/check holes` puts them into a copy of the program, opens one after the other and sees its tests fail. A test
//! without a hole there is a failure; who changes a test, or the place of a hole, runs it
//! (`tests/holes/run.py --only NAME`).
//!
//! | attack | test | hole: what it changes, where |
//! |---|---|---|
//! | boot-script injection by kernel parameters | [`machines`]`::boot_script_injection_by_kernel_parameters` | `kernel-params`: append `instance_info.kernel_append_params` in `domain::boot::boot_script` |
//! | … by names | `…::boot_script_injection_by_names` | `node-names`: any text is a name in `domain::node::is_node_name` |
//! | path traversal from an ISO | `…::path_traversal_from_an_iso` | `iso`: boot `instance_info.boot_iso` in `boot_script` |
//! | path traversal from a template | `…::path_traversal_from_a_template` | `template-relative`: boot `pxe_template` where it has `..`; `template-names`: any name in `DeployTemplate::check` |
//! | absolute template path | `…::absolute_template_path` | `template-absolute`: boot `pxe_template` where it begins with `/` |
//! | bootloader tricks of an image | `…::bootloader_tricks_of_an_image` | `bootloader`: boot `instance_info.bootloader` in `boot_script` |
//! | a config drive that is a URL or path | `…::a_config_drive_is_fetched_or_read_for_the_sender` | `drive`: do not read `configdrive` in `baremetal::provision` |
//! | `file:///dev/zero` | [`images`]`::an_image_url_leads_to_an_inner_address` | `file-url`: let `file://` through in `images::fetch::Fetcher::check` |
//! | format mismatch | [`images`]`::format_mismatch` | `format`: no comparison with `disk_format` in `images::import::complete_as`, `decide::image::owned` |
//! | skipped checksum | `…::skipped_checksum` | `checksum`: any text is one in `domain::image::Checksum::parse`; `node-checksum`: none is needed in `wanted_image` |
//! | image by a path or from another store | `…::an_image_is_imported_by_a_path_or_from_another_store` | `import-method`: accept any method in `image::data::import` |
//! | data by guessing a MAC | [`machines`]`::data_by_guessing_a_mac` | `guess-mac`: any job will do in `agent::expected`; `no-proof`: any token in `Tickets::authenticate` |
//! | child objects moved across owners | [`children`]`::a_child_is_moved_to_anothers_node` | `port-move`, `record-move`: no look at the new node in `ports::changed`, `check_port_change`; `records::with_new_node`, `same_owner` |
//! | … taken by the lessee | `…::a_lessee_takes_a_child_to_his_own_node` | `port-take`, `record-take`: no rule in `ports::found`, `records::of_node`, and no look at the new owner |
//! | … made at another's node | `…::a_child_is_made_at_anothers_node` | `port-make`, `record-make`: unseen nodes are there, and no rule is asked, in `ports::create`, `records::node_for_new` |
//! | … joined to another's port group | `…::a_port_joins_a_port_group_of_another` | `group`: unseen groups are there in `ports::portgroup` |
//! | … a MAC of another | `…::a_mac_of_another_is_taken_or_asked_for` | `mac`: MACs twice in `decide::port::check_port` |
//! | … an allocation of another's node | `…::an_allocation_takes_a_node_of_another` | `allocation`: every node is for everybody in `hardware::allocation::choose` |
//! | token replay after role loss | [`tokens`]`::token_replay_after_the_role_is_lost` | `tokens-live`: tokens stay in `decide::identity::end_groundless_tokens` |
//! | … after a new password | `…::token_replay_after_the_password_is_changed` | `tokens-outlive-passwords`: tokens stay in `accounts::set_password` |
//! | … of a disabled account | `…::token_replay_after_the_account_or_its_project_is_disabled` | `tokens-live` |
//! | app credential wider than its user | `…::app_credential_is_wider_than_its_user` | `wide-credential`: no comparison of roles in `create_credential` and `application_credentials::roles`; `credential-scope`: other projects in `tokens::issue` and `check_token` |
//! | project deletion with resources | `…::project_deletion_leaves_resources_to_nobody` | `project-deletion`: nothing is held in `decide::identity::delete_project` |
//! | privilege by project tree | `…::privilege_by_project_tree` | `tree`: everybody may in `identity::grants::alter`, `access::may_give` |
//! | JSON patch on `/owner`, `/lessee` | [`patches`]`::json_patch_takes_the_owner_or_the_lessee_over` | `owner-patch`: one rule for all members in `patch::rule_of` |
//! | … hidden between others | `…::a_forbidden_patch_hides_between_allowed_ones` | `first-rule`: only the first member's rule in `NodePatch::authorize` |
//! | … on `/driver_info` | `…::json_patch_sends_the_stored_password_to_another_machine` | `address`: no `patch::check_address` |
//! | … on `/uuid` | `…::json_patch_of_the_identity_of_a_node` | `any-member`: any member in `NodePatch::read`, and in the document that is patched |
//! | … on `/instance_uuid` of another | `…::json_patch_claims_the_instance_of_another` | `instance`: instances twice in `decide::node_change::check_names` |
//! | … on the whole document | `…::json_patch_replaces_the_whole_document` | `whole`: the path `/` is the document in `Operation::read` and `apply` |
//! | … that copies or moves | `…::json_patch_copies_or_moves_a_masked_value_where_it_is_shown` | `copy`: `copy` and `move` are ops in `Operation::read` |
//! | … that tests guesses | `…::json_patch_tests_guesses_of_a_secret` | `test-op`: `test` is an op in `Operation::read` |
//! | name confusion between UUID and name | [`names`]`::a_node_is_named_like_the_uuid_of_another` | `node-uuid-names`: UUIDs are names in `is_node_name` |
//! | … of projects | `…::a_project_is_named_like_the_id_of_another` | `project-ids`: ids are names in `identity::name::check_name` |
//! | case and look-alikes | `…::a_name_that_looks_like_anothers_is_taken` | `node-names` |
//! | … of accounts | `…::an_account_that_looks_like_anothers_is_made` | `account-names`: any letters in `check_name` |
//! | … of owners | `…::an_owner_of_another_spelling_is_the_same_project` | `owner-spelling`: everybody's nodes in `filter::listed_project` |
//! | header smuggling: two tokens | [`headers`]`::header_smuggling_with_two_tokens` | `two-tokens`: the first of several in `auth::only` |
//! | … two kinds of proof | `…::header_smuggling_with_the_proof_of_another_kind` | `fallback`: Basic where the token is wrong in `auth::identify` |
//! | … a proxy's words | `…::header_smuggling_of_what_a_proxy_would_say` | `proxy-header`: believe `x-user-name` in `auth::identify` |
//! | … two versions | `…::the_version_header_is_sent_twice` | `version-twice`: no masks for a version said twice in `version::asked`, `document` |
//! | … the host | `…::a_host_header_is_written_into_answers_as_markup` | `host`: any host in `identity::base::of` |
//! | microversion downgrade | [`masks`]`::microversion_downgrade_reaches_an_unmasked_member` | `old-versions`: no masks before 1.30 in `document` |
//! | … a choice of members | `…::a_choice_of_members_reaches_a_masked_one` | `chosen`, `chosen-in-lists`: no masks where `fields` is given in `nodes::show`, `list::page` |
//! | … an order, a filter | `…::an_order_or_a_filter_is_an_oracle_of_what_is_hidden` | `sort`: sort by any member in `query::node_sort_key`; `marker`: unseen nodes are markers in `list::marked` |
//! | … a change's answer | `…::a_change_answers_with_what_a_look_does_not_show` | `change-shows`: no masks in `nodes::answered` |
//! | mass assignment | [`creation`]`::mass_assignment_at_the_creation_of_a_node`, `…_a_port`, `…_accounts`, `…_an_image`, `…_a_network` | `mass-node`, `-port`, `-account`, `-image`, `-network`: unknown members pass in `patch::check_creation`, `port_document::check_creation`, `identity::body::in_map`, `images::set`, `network::members::end` |
//! | inner addresses by image URLs | [`images`]`::an_image_url_leads_to_an_inner_address` | `guard`: every address passes in `images::guard::Guard::check` |
//! | … by redirects | [`redirects`]`::an_image_url_is_redirected_to_an_inner_address` | `guard`; `redirect`: no check of redirects in `fetch::follow` |
//! | … by spelling, redirects, names that change | `engine::images::guard`, `engine::images::tests::inner` | `guard`; `spelling`: addresses as they are written in `Guard::check`; `redirect`; `second-question`: asked again in `Guard::call` |
//! | existence by words | [`hidden`]`::hidden_and_missing_things_are_told_apart` | `hidden`: 403 for 404 in `Caller::may`; `hidden-network`, `hidden-image`: in `networks::seen`, `image::access::seen` |
//! | existence by answer time: nodes | [`existence`]`::existence_of_anothers_node_by_the_work_for_the_answer` | `node-work`: no rule is asked of what nobody has in `Caller::misses` |
//! | … accounts | `…::existence_of_an_account_by_the_work_for_the_answer` | `login-work`: no Argon2 for nobody in `login::by_password` |
//! | … tokens and credentials | `…::existence_of_a_token_or_a_credential_by_the_work_for_the_answer` | `credential-work`: no Argon2 for none in `tokens::by_credential` |
//! | unseen in the audit: the request | [`recorded`]`::a_change_is_in_the_audit_without_its_request` | `request-id`: no id in `Origin::stranger` |
//! | … what is hidden | `…::a_refusal_that_hides_is_not_in_the_audit` | `hidden-audit`: no note, `scan-rows`: a row for each look, in `audit::Asked::note_hidden` |
//! | secrets by audit, log, metrics, trace | `…::a_secret_comes_out_by_audit_log_metrics_or_trace` | `secret-audit`, `secret-url`: no masks, whole URLs in `difference`; `secret-trace`: the token in `agent::heartbeat`'s trace; `secret-log`: the password in `login`'s log; `secret-metrics`: a hash in `health::metrics` |

use super::identity::{Answer, by_password, system};
use super::tenants::{Scene, Tenant};
use super::{PASSWORD, VERSION};
use axum::http::StatusCode;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::NodeSettings;
use serde_json::{Value, json};
use uuid::Uuid;

mod children;
mod creation;
mod existence;
mod headers;
mod hidden;
mod images;
mod machines;
mod masks;
mod names;
mod patches;
mod recorded;
mod redirects;
mod tokens;

/// The password of the BMC: it is in no answer.
const SECRET: &str = "sesame-of-the-bmc";
/// A node that nobody has.
const NOWHERE: &str = "00000000-0000-0000-0000-000000000001";

impl Scene {
    /// A node with a BMC's password that is owned and lent like the scene's own: its UUID.
    async fn guarded(&self, name: &str) -> String {
        let node = json!({
            "driver": "ipmi", "name": name, "owner": self.owner.project, "lessee": self.lessee.project,
            "driver_info": {"ipmi_address": "10.0.0.9", "ipmi_username": "root", "ipmi_password": SECRET},
            "extra": {"note": "the owner's"},
        });
        let (status, node) = self.rig.call("POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node["uuid"].as_str().expect("a UUID").to_owned()
    }

    /// A node of the stranger.
    async fn strangers(&self) -> String {
        let (status, node) = self.ask(&self.stranger, "POST", "/nodes", json!({"driver": "fake-hardware"})).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node["uuid"].as_str().expect("a UUID").to_owned()
    }

    fn kept(&self, node: &str) -> NodeSettings {
        let id = NodeId(Uuid::parse_str(node).expect("a UUID"));
        self.rig.api.engine.view().node(id).expect("there").settings.clone()
    }

    /// A request to any service with a token.
    async fn with(&self, who: &Tenant, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.rig.ask(method, path, body, &[("x-auth-token", &who.token), (VERSION, "1.115")]).await;
        (answer.status, answer.body)
    }
}
