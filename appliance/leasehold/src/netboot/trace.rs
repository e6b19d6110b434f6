//! Boot events from the servers, stamped and put into the trace of the machine they belong to.

use jiff::Timestamp;
use leasehold_domain::address::Hold;
use leasehold_domain::mac::Mac;
use leasehold_engine::Engine;
use leasehold_netboot::trace::{BootEvent, BootWhat, TraceSink};
use leasehold_store::TraceEntry;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A sink that stamps each event, finds its machine, and keeps it.
pub(super) fn sink(engine: &Engine) -> TraceSink {
    let engine = engine.clone();
    Arc::new(move |event: BootEvent| {
        let view = engine.view();
        let mac = event.mac.map(Mac).or_else(|| event.client_ip.and_then(|address| mac_at(&view, address)));
        let node = mac.and_then(|mac| view.node_by_mac(mac)).map(|node| node.id);
        let (what, mut detail) = words(&event.what);
        if let Some(address) = event.client_ip {
            detail["from"] = address.to_string().into();
        }
        tracing::debug!(?mac, what, %detail, "boot event");
        engine.trace.push(TraceEntry { at: Timestamp::now(), mac, node, what: what.to_owned(), detail });
    })
}

/// The machine to which this address was acknowledged: TFTP and HTTP know addresses only.
fn mac_at(view: &leasehold_domain::View, address: Ipv4Addr) -> Option<Mac> {
    match view.binding(address)?.hold {
        Hold::Bound { mac, .. } => Some(mac),
        Hold::Declined => None,
    }
}

/// The event's stable name and its particulars.
fn words(what: &BootWhat) -> (&'static str, Value) {
    let hardware = |mac: &Option<[u8; 6]>| mac.map(|mac| Mac(mac).to_string());
    match what {
        BootWhat::TftpStart { file, size } => ("tftp-start", json!({"file": file, "bytes": size})),
        BootWhat::TftpSizeAsked { file, size } => ("tftp-size-asked", json!({"file": file, "bytes": size})),
        BootWhat::TftpDone { file, bytes, millis } => (
            "tftp-done",
            json!({"file": file, "bytes": bytes, "millis": millis, "kib_per_second": speed(*bytes, *millis)}),
        ),
        BootWhat::TftpFailed { file, why } => ("tftp-failed", json!({"file": file, "why": why})),
        BootWhat::HttpServed { path, status, bytes, millis, user_agent } => (
            "http-served",
            json!({"path": path, "status": status, "bytes": bytes, "millis": millis, "user_agent": user_agent,
                "kib_per_second": speed(*bytes, *millis)}),
        ),
        BootWhat::HttpBroken { path, status, bytes, expected, millis, user_agent } => (
            "http-broken",
            json!({"path": path, "status": status, "bytes": bytes, "expected": expected, "millis": millis,
                "user_agent": user_agent}),
        ),
        BootWhat::DhcpDiscover { arch, class } => ("dhcp-discover", json!({"arch": arch, "class": class})),
        BootWhat::DhcpOffer { address, boot_file, note } => {
            ("dhcp-offer", json!({"address": address, "boot_file": boot_file, "note": note}))
        }
        BootWhat::DhcpAck { address } => ("dhcp-ack", json!({"address": address})),
        BootWhat::DhcpNak { why } => ("dhcp-nak", json!({"why": why})),
        BootWhat::DhcpIgnored { why } => ("dhcp-ignored", json!({"why": why})),
        BootWhat::DhcpReleased { address } => ("dhcp-released", json!({"address": address})),
        BootWhat::AddressTaken { address, by } => ("address-taken", json!({"address": address, "by": hardware(by)})),
        BootWhat::RivalServer { address, hardware: mac, interface, seen } => {
            tracing::warn!(%address, interface, seen, "another DHCP server answers on a boot interface: switch it off there");
            (
                "rival-dhcp-server",
                json!({"address": address, "hardware": hardware(mac), "interface": interface, "seen": seen}),
            )
        }
    }
}

fn speed(bytes: u64, millis: u64) -> u64 {
    bytes / millis.max(1) * 1000 / 1024
}
