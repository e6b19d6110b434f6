//! Which path leads to which handler: nodes, ports, drivers and what belongs to them.

use super::{bios, details, drivers, history, indicators, list, management, nodes, ports, provision, ramdisk};
use super::{states, vendor, vifs};
use crate::Api;
use axum::Router;
use axum::routing::{any, delete, get, post, put};

/// Nodes and what belongs to one.
pub(super) fn of_nodes() -> Router<Api> {
    let one = Router::new()
        .route("/", get(nodes::show).patch(nodes::change).delete(nodes::remove))
        .route("/validate", get(details::validate))
        .route("/inventory", get(details::inventory))
        .route("/history", get(history::list))
        .route("/history/{entry}", get(history::show))
        .route("/children", get(list::children))
        .route("/ports", get(ports::list_of_node))
        .route("/ports/detail", get(ports::list_detail_of_node))
        .route("/traits", get(details::traits).put(details::set_traits).delete(details::clear_traits))
        .route("/traits/{name}", put(details::add_trait).delete(details::remove_trait))
        .route("/bios", get(bios::list))
        .route("/bios/{setting}", get(bios::show))
        .route("/firmware", get(bios::firmware))
        .route("/vifs", get(vifs::list).post(vifs::attach).delete(nodes::no_vif))
        .route("/vifs/{vif}", delete(vifs::detach))
        .route("/maintenance", put(states::set_maintenance).delete(states::clear_maintenance))
        .route("/states", get(states::show))
        .route("/states/provision", put(provision::provision))
        .route("/states/power", put(states::power))
        .route("/states/console", get(states::console).put(states::set_console))
        .route("/states/{name}", any(states::no_such_state))
        .route("/states/raid", put(states::set_raid))
        .route("/states/boot_mode", put(states::set_boot_mode))
        .route("/states/secure_boot", put(states::set_secure_boot))
        .route("/management/boot_device", get(management::boot_device).put(management::set_boot_device))
        .route("/management/boot_device/supported", get(management::supported_boot_devices))
        .route("/management/inject_nmi", put(management::inject_nmi))
        .route("/management/indicators", get(indicators::list))
        .route("/management/indicators/{name}", get(indicators::show).put(indicators::set))
        .route("/vmedia", any(management::virtual_media))
        .route("/vendor_passthru", any(vendor::call))
        .route("/vendor_passthru/methods", get(vendor::methods))
        .route("/vendor_passthru/{method}", any(vendor::named_call));
    Router::new()
        .route("/nodes", get(list::list).post(nodes::create))
        .route("/nodes/", get(list::list).post(nodes::create))
        .route("/nodes/detail", get(list::list_detail))
        .nest("/nodes/{node}", one)
        .route("/nodes/states/console/{node}", get(states::console).put(states::set_console))
        .route("/shards", get(list::shards))
}

/// Ports of nodes.
pub(super) fn of_ports() -> Router<Api> {
    Router::new()
        .route("/ports", get(ports::list).post(ports::create))
        .route("/ports/", get(ports::list).post(ports::create))
        .route("/ports/detail", get(ports::list_detail))
        .route("/ports/{port}", get(ports::show).patch(ports::change).delete(ports::remove))
}

/// The box itself and what it can drive; calls of others than users.
pub(super) fn of_the_box() -> Router<Api> {
    Router::new()
        .route("/drivers", get(drivers::list))
        .route("/drivers/{name}", get(drivers::show))
        .route("/drivers/{name}/properties", get(drivers::properties))
        .route("/drivers/{name}/raid/logical_disk_properties", get(drivers::raid_properties))
        .route("/drivers/{name}/vendor_passthru", any(drivers::vendor_call))
        .route("/drivers/{name}/vendor_passthru/methods", get(drivers::vendor_methods))
        .route("/conductors", get(drivers::conductors))
        .route("/conductors/{hostname}", get(drivers::conductor))
        .route("/events", post(ramdisk::events))
        .route("/lookup", get(ramdisk::lookup))
        .route("/heartbeat", post(ramdisk::heartbeat))
        .route("/heartbeat/{node}", post(ramdisk::heartbeat))
}
