//! What `driver_info` may say to `ipmi` and `redfish`: every member that Ironic's hardware types of these names read, what
//! it means, and whether it is done here.
//!
//! In: a driver and a node's `driver_info`. Out: the members for people ([`of`]), and what a node asks for in vain
//! ([`unmet`]), which `validate` says. Nothing is refused for a member that is not done: nodes are enrolled with the same
//! files as at Ironic, whose ramdisk every node names. A member that nobody reads is kept as it is, as in Ironic.
//!
//! Source: the `get_properties` of Ironic's interfaces, and where its code asks `driver_info` beyond them.

use leasehold_domain::driver::{Interface, truth};
use serde_json::{Map, Value};

/// A member of `driver_info`.
#[derive(Debug)]
pub struct Property {
    pub name: &'static str,
    /// For people: what it is, its values and its default.
    pub text: &'static str,
    drivers: &'static [&'static str],
    /// Whose business it is, and where `validate` speaks of it.
    interfaces: &'static [Interface],
    effect: Effect,
}

/// What comes of a member.
#[derive(Debug)]
enum Effect {
    /// It is read where the way to the BMC is made, and what is not usable is said there.
    Done,
    /// Some values ask for what is done anyway. For any other: what is done instead.
    Only(fn(&Value) -> bool, &'static str),
    /// As before, and without it there is no way to the BMC that its keeper would want.
    Must(fn(&Value) -> bool, &'static str),
    /// What is done instead of it, whatever it says.
    Never(&'static str),
}

/// What a node asks for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    pub name: &'static str,
    interfaces: &'static [Interface],
    /// The interface cannot be used so. Otherwise it works, in another way than was asked for.
    pub fatal: bool,
    /// What is done instead, in a sentence that names the member.
    pub reason: String,
}

impl Unmet {
    /// Whether it is the business of this interface.
    pub fn concerns(&self, interface: Interface) -> bool {
        self.interfaces.contains(&interface)
    }
}

/// The members that this driver knows.
pub fn of(driver: &str) -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter().filter(move |property| property.drivers.contains(&driver))
}

/// What `driver_info` asks of this driver and does not get. Members without a value ask for nothing.
pub fn unmet(driver: &str, info: &Map<String, Value>) -> Vec<Unmet> {
    let given = |property: &'static Property| {
        let value = info.get(property.name).filter(|value| !value.is_null() && value.as_str() != Some(""))?;
        let (fatal, instead) = match &property.effect {
            Effect::Done => return None,
            Effect::Only(is_met, _) | Effect::Must(is_met, _) if is_met(value) => return None,
            Effect::Only(_, instead) | Effect::Never(instead) => (false, instead),
            Effect::Must(_, instead) => (true, instead),
        };
        let reason = format!("driver_info/{} is not followed: {instead}.", property.name);
        Some(Unmet { name: property.name, interfaces: property.interfaces, fatal, reason })
    };
    of(driver).filter_map(given).collect()
}

impl Property {
    /// The text for people, with what is done instead of it where it is never done.
    pub fn told(&self) -> String {
        match &self.effect {
            Effect::Done => self.text.to_owned(),
            Effect::Only(_, instead) | Effect::Must(_, instead) | Effect::Never(instead) => {
                format!("{} Here: {instead}.", self.text)
            }
        }
    }
}

fn is_true(value: &Value) -> bool {
    truth(value) == Some(true)
}

fn is_false(value: &Value) -> bool {
    truth(value) == Some(false)
}

fn is_text(value: &Value) -> bool {
    value.is_string()
}

/// The value in lower case; a number as it is written.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        other => other.to_string(),
    }
}

const BOTH: &[&str] = &["ipmi", "redfish"];
const IPMI: &[&str] = &["ipmi"];
const REDFISH: &[&str] = &["redfish"];

const BMC: &[Interface] = &[Interface::Power, Interface::Management];
const MANAGEMENT: &[Interface] = &[Interface::Management];
const CONSOLE: &[Interface] = &[Interface::Console];
const FIRMWARE: &[Interface] = &[Interface::Firmware];
const BOOT: &[Interface] = &[Interface::Boot];
const RESCUE: &[Interface] = &[Interface::Rescue];
const DEPLOY: &[Interface] = &[Interface::Deploy];
const NETWORK: &[Interface] = &[Interface::Network];

const OWN_RAMDISK: &str = "machines boot this appliance's own kernel and ramdisk";
const OWN_RESCUE: &str = "the rescue system is this appliance's own";
const NO_MEDIA: &str = "machines boot from the network, not from virtual media";
const NO_PROXY: &str = "the agent fetches images from this appliance alone, without a proxy";
const NO_BRIDGE: &str = "it belongs to ipmi_bridging, which is not done";
const OWN_NETWORKS: &str = "the networks in which the appliance works with machines are those of its configuration";

const fn property(
    name: &'static str,
    drivers: &'static [&'static str],
    interfaces: &'static [Interface],
    effect: Effect,
    text: &'static str,
) -> Property {
    Property { name, text, drivers, interfaces, effect }
}

use Effect::{Done, Must, Never, Only};

/// All of them.
static PROPERTIES: &[Property] = &[
    property("ipmi_address", IPMI, BMC, Done, "IP address or hostname of the BMC. Required."),
    property("ipmi_port", IPMI, BMC, Done, "UDP port of the BMC. Optional, default 623."),
    property("ipmi_username", IPMI, BMC, Done, "User name. Required."),
    property("ipmi_password", IPMI, BMC, Done, "Password. Required; sealed at rest and never shown."),
    property("ipmi_cipher_suite", IPMI, BMC, Done, "17 or 3. Optional: the best that the BMC offers."),
    property("ipmi_priv_level", IPMI, BMC, Done, "ADMINISTRATOR or OPERATOR. Optional, default ADMINISTRATOR."),
    property(
        "ipmi_hex_kg_key",
        IPMI,
        BMC,
        Done,
        "BMC key (K_G) in hexadecimal digits. Optional; sealed at rest and never shown.",
    ),
    property("ipmi_protocol_version", IPMI, BMC, Done, "2.0, the only one spoken here. Optional."),
    property("ipmi_bridging", IPMI, BMC, Done, "no, the only one done here. Optional."),
    property("ipmi_transit_channel", IPMI, BMC, Never(NO_BRIDGE), "Transit channel of bridged requests."),
    property("ipmi_transit_address", IPMI, BMC, Never(NO_BRIDGE), "Transit address of bridged requests."),
    property("ipmi_target_channel", IPMI, BMC, Never(NO_BRIDGE), "Destination channel of bridged requests."),
    property("ipmi_target_address", IPMI, BMC, Never(NO_BRIDGE), "Destination address of bridged requests."),
    property("ipmi_local_address", IPMI, BMC, Never(NO_BRIDGE), "Local IPMB address of bridged requests."),
    property(
        "ipmi_force_boot_device",
        IPMI,
        MANAGEMENT,
        Only(is_false, "the boot device is set when somebody or a job sets it, not again at each start of the machine"),
        "Whether to set the boot device anew at each start. Optional, default false.",
    ),
    property(
        "ipmi_disable_boot_timeout",
        IPMI,
        MANAGEMENT,
        Only(is_true, "the BMC is always told not to drop the boot device after 60 seconds"),
        "Whether the boot device stays set for longer than 60 seconds. Optional, default true.",
    ),
    property(
        "ipmi_terminal_port",
        IPMI,
        CONSOLE,
        Never("a console has no port of its own here"),
        "Port of the serial console.",
    ),
    property("redfish_address", REDFISH, BMC, Done, "URL or address of the BMC; https unless it says http. Required."),
    property(
        "redfish_system_id",
        REDFISH,
        BMC,
        Must(is_text, "write the path of the system as a text"),
        "Path of the system where a BMC has several. Optional.",
    ),
    property("redfish_username", REDFISH, BMC, Done, "User name. Required."),
    property("redfish_password", REDFISH, BMC, Done, "Password. Required; sealed at rest and never shown."),
    property(
        "redfish_auth_type",
        REDFISH,
        BMC,
        Only(
            |value| word(value) != "session",
            "session is done as auto, and a BMC that offers no sessions is asked with Basic",
        ),
        "auto, session or basic. Optional, default auto: a session, else Basic.",
    ),
    property(
        "redfish_verify_ca",
        REDFISH,
        BMC,
        Done,
        "Path of a CA bundle; else the certificate seen at enrolment is pinned. Optional.",
    ),
    property(
        "redfish_tls_minimum_version",
        REDFISH,
        BMC,
        Must(
            |value| matches!(word(value).as_str(), "1.1" | "1.2"),
            "a BMC may always choose between TLS 1.2 and 1.3, and none below",
        ),
        "Lowest version of TLS: 1.1, 1.2 or 1.3. Optional.",
    ),
    property(
        "redfish_tls_ciphers",
        REDFISH,
        BMC,
        Must(|_| false, "the TLS ciphers are those of TLS 1.3 and those of 1.2 with forward secrecy"),
        "OpenSSL's list of TLS ciphers. Optional.",
    ),
    property(
        "firmware_update_unresponsive_bmc_wait",
        REDFISH,
        FIRMWARE,
        Never("how long a BMC may take is the same for all nodes"),
        "Seconds to wait for a BMC that is being updated.",
    ),
    property("deploy_kernel", BOTH, BOOT, Never(OWN_RAMDISK), "Kernel that machines are worked on with."),
    property("deploy_ramdisk", BOTH, BOOT, Never(OWN_RAMDISK), "Ramdisk that machines are worked on with."),
    property("deploy_iso", REDFISH, BOOT, Never(NO_MEDIA), "Image that machines are worked on with."),
    property("rescue_kernel", BOTH, RESCUE, Never(OWN_RESCUE), "Kernel of the rescue system."),
    property("rescue_ramdisk", BOTH, RESCUE, Never(OWN_RESCUE), "Ramdisk of the rescue system."),
    property("rescue_iso", REDFISH, RESCUE, Never(OWN_RESCUE), "Image of the rescue system."),
    property(
        "kernel_append_params",
        BOTH,
        BOOT,
        Never("the ramdisk's kernel gets the parameters that it needs and no others"),
        "Parameters of the kernel.",
    ),
    property(
        "pxe_template",
        BOTH,
        BOOT,
        Never("the boot script is this appliance's own"),
        "Template of the boot configuration.",
    ),
    property(
        "force_persistent_boot_device",
        BOTH,
        BOOT,
        Only(
            |value| word(value) == "default" || is_false(value),
            "the network is set as the boot device for one start, and the disk for all, as with Default",
        ),
        "Always, Never or Default. Optional, default Default.",
    ),
    property("bootloader", REDFISH, BOOT, Never(NO_MEDIA), "Boot loader for virtual media."),
    property(
        "config_via_removable",
        REDFISH,
        BOOT,
        Only(is_false, NO_MEDIA),
        "Whether the ramdisk is configured by virtual media. Optional, default false.",
    ),
    property("external_http_url", REDFISH, BOOT, Never(NO_MEDIA), "Where BMCs find images for virtual media."),
    property("vmedia_transport_protocol", REDFISH, BOOT, Never(NO_MEDIA), "How BMCs fetch virtual media."),
    property(
        "deploy_forces_oob_reboot",
        BOTH,
        DEPLOY,
        Only(is_true, "after a deployment the machine is always restarted by its BMC"),
        "Whether the BMC restarts the machine after a deployment. Optional, default true.",
    ),
    property(
        "agent_verify_ca",
        BOTH,
        DEPLOY,
        Only(is_true, "an agent is believed by the certificate that it showed when it called, and by no other"),
        "Whether the certificate of the agent is verified. Optional, default true.",
    ),
    property(
        "image_download_source",
        BOTH,
        DEPLOY,
        Only(
            |value| word(value) == "local",
            "images are always fetched by this appliance and served by it, as with local",
        ),
        "Where the agent fetches images: local. Optional.",
    ),
    property("image_http_proxy", BOTH, DEPLOY, Never(NO_PROXY), "Proxy for images by HTTP."),
    property("image_https_proxy", BOTH, DEPLOY, Never(NO_PROXY), "Proxy for images by HTTPS."),
    property("image_no_proxy", BOTH, DEPLOY, Never(NO_PROXY), "Hosts that are asked without a proxy."),
    property(
        "fast_track",
        BOTH,
        DEPLOY,
        Only(is_false, "each job starts the machine anew"),
        "Whether a job goes on with the agent of the one before. Optional, default false.",
    ),
    property(
        "cleaning_runbook",
        BOTH,
        DEPLOY,
        Never("automated cleaning wipes the disks as the configuration says"),
        "Runbook of automated cleaning.",
    ),
    property("cleaning_network", BOTH, NETWORK, Never(OWN_NETWORKS), "Network for cleaning."),
    property("provisioning_network", BOTH, NETWORK, Never(OWN_NETWORKS), "Network for deployment."),
    property("inspection_network", BOTH, NETWORK, Never(OWN_NETWORKS), "Network for inspection."),
    property("rescuing_network", BOTH, NETWORK, Never(OWN_NETWORKS), "Network for rescue."),
    property("servicing_network", BOTH, NETWORK, Never(OWN_NETWORKS), "Network for service."),
];

#[cfg(test)]
mod tests;
