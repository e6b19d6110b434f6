//! The boot override of a system: what to send for a wish, and what a BMC's answer means.

use super::lenient;
use super::quirks::Quirks;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// `BootSourceOverrideEnabled`: for the next boot only.
pub const ENABLED_ONCE: &str = "Once";
/// `BootSourceOverrideEnabled`: for every boot.
pub const ENABLED_CONTINUOUS: &str = "Continuous";
/// `BootSourceOverrideEnabled`: the firmware's own order.
pub const ENABLED_DISABLED: &str = "Disabled";

const TARGET_NONE: &str = "None";

/// `Boot` of a `ComputerSystem` (or of its settings resource).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Boot {
    #[serde(rename = "BootSourceOverrideEnabled", deserialize_with = "lenient::text")]
    pub enabled: Option<String>,
    #[serde(rename = "BootSourceOverrideTarget", deserialize_with = "lenient::text")]
    pub target: Option<String>,
    #[serde(rename = "BootSourceOverrideMode", deserialize_with = "lenient::text")]
    pub mode: Option<String>,
    #[serde(rename = "BootSourceOverrideEnabled@Redfish.AllowableValues", deserialize_with = "lenient::texts")]
    pub allowed_enabled: Option<Vec<String>>,
    #[serde(rename = "BootSourceOverrideTarget@Redfish.AllowableValues", deserialize_with = "lenient::texts")]
    pub allowed_targets: Option<Vec<String>>,
    #[serde(rename = "BootSourceOverrideMode@Redfish.AllowableValues", deserialize_with = "lenient::texts")]
    pub allowed_modes: Option<Vec<String>>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `BootSourceOverrideMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareMode {
    Uefi,
    Legacy,
}

impl FirmwareMode {
    /// Redfish's spelling.
    pub fn name(self) -> &'static str {
        match self {
            FirmwareMode::Uefi => "UEFI",
            FirmwareMode::Legacy => "Legacy",
        }
    }

    fn from_name(name: &str) -> Option<FirmwareMode> {
        [FirmwareMode::Uefi, FirmwareMode::Legacy].into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }
}

/// A wished override, in Redfish's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootRequest {
    /// `Pxe`, `Hdd`, `Cd`, `BiosSetup`; of no weight with [`ENABLED_DISABLED`].
    pub target: &'static str,
    /// [`ENABLED_ONCE`], [`ENABLED_CONTINUOUS`] or [`ENABLED_DISABLED`].
    pub enabled: &'static str,
    /// The mode wished for; `None` leaves it as it is.
    pub mode: Option<FirmwareMode>,
}

/// Why a BMC cannot be asked for an override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootPatchError {
    #[error("it offers no boot override for {wanted}, but for {}", .offered.join(", "))]
    Target { wanted: &'static str, offered: Vec<String> },
    #[error("it offers no boot override that is {wanted}, but {}", .offered.join(", "))]
    Enabled { wanted: &'static str, offered: Vec<String> },
    #[error("it cannot start the machine in {wanted} mode, but in {}", .offered.join(", "))]
    Mode { wanted: &'static str, offered: Vec<String> },
}

/// The bodies to PATCH a system with, the next one to be sent only if the BMC refuses the one before.
///
/// The mode is sent when it changes, or always where the BMC loses it otherwise ([`Quirks::mode_with_every_target`]);
/// never to a BMC that shows none: it has only one, and refuses the member.
pub fn boot_patch(boot: &Boot, request: BootRequest, quirks: &Quirks) -> Result<Vec<Value>, BootPatchError> {
    if request.enabled == ENABLED_DISABLED {
        // The standard wants no target here; some BMCs keep the old one without it, some refuse it.
        let disabled = json!({"BootSourceOverrideEnabled": ENABLED_DISABLED});
        let both = json!({"BootSourceOverrideEnabled": ENABLED_DISABLED, "BootSourceOverrideTarget": TARGET_NONE});
        return Ok([both, disabled].map(|boot| json!({"Boot": boot})).to_vec());
    }
    offered(&boot.allowed_enabled, request.enabled)
        .map_err(|offered| BootPatchError::Enabled { wanted: request.enabled, offered })?;
    let mut body = json!({
        "BootSourceOverrideEnabled": request.enabled,
        "BootSourceOverrideTarget": offered_target(boot, request.target)?,
    });
    if let (Some(wanted), Some(current)) = (request.mode, boot.mode.as_deref()) {
        let changes = FirmwareMode::from_name(current) != Some(wanted);
        if changes {
            offered(&boot.allowed_modes, wanted.name())
                .map_err(|offered| BootPatchError::Mode { wanted: wanted.name(), offered })?;
        }
        if changes || quirks.mode_with_every_target {
            body["BootSourceOverrideMode"] = wanted.name().into();
        }
    } else if let (true, Some(current)) = (quirks.mode_with_every_target, boot.mode.as_deref()) {
        body["BootSourceOverrideMode"] = current.into();
    }
    Ok(vec![json!({"Boot": body})])
}

/// The bodies that change the firmware mode alone, the next one to be sent only if the BMC refuses the one before:
/// some take it only together with an override, which then stays as it is.
///
/// # Errors
/// [`BootPatchError::Mode`] when the BMC offers other modes only.
pub fn mode_patch(boot: &Boot, mode: FirmwareMode) -> Result<Vec<Value>, BootPatchError> {
    offered(&boot.allowed_modes, mode.name())
        .map_err(|offered| BootPatchError::Mode { wanted: mode.name(), offered })?;
    let alone = json!({"BootSourceOverrideMode": mode.name()});
    let kept = |value: &Option<String>, otherwise: &str| value.clone().unwrap_or_else(|| otherwise.to_owned());
    let whole = json!({
        "BootSourceOverrideEnabled": kept(&boot.enabled, ENABLED_DISABLED),
        "BootSourceOverrideTarget": kept(&boot.target, TARGET_NONE),
        "BootSourceOverrideMode": mode.name(),
    });
    Ok([alone, whole].map(|boot| json!({"Boot": boot})).to_vec())
}

/// The spelling under which this BMC has the target.
fn offered_target(boot: &Boot, wanted: &'static str) -> Result<&'static str, BootPatchError> {
    match offered(&boot.allowed_targets, wanted) {
        Ok(()) => Ok(wanted),
        Err(_) if wanted == "Cd" && offered(&boot.allowed_targets, "UsbCd").is_ok() => Ok("UsbCd"),
        Err(offered) => Err(BootPatchError::Target { wanted, offered }),
    }
}

/// A list that is absent or empty forbids nothing.
fn offered(allowed: &Option<Vec<String>>, wanted: &str) -> Result<(), Vec<String>> {
    match allowed {
        Some(values) if !values.is_empty() && !values.iter().any(|value| value == wanted) => Err(values.clone()),
        _ => Ok(()),
    }
}

/// The override that a BMC shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override<'a> {
    /// The target as the BMC spells it; `None` when there is no override.
    pub target: Option<&'a str>,
    pub persistent: bool,
    pub mode: Option<FirmwareMode>,
}

/// What the BMC's `Boot` says about the next boots.
pub fn override_in_force(boot: &Boot) -> Override<'_> {
    let enabled = boot.enabled.as_deref().unwrap_or(ENABLED_DISABLED);
    let target = boot.target.as_deref().filter(|target| !target.is_empty() && *target != TARGET_NONE);
    let target = target.filter(|_| enabled != ENABLED_DISABLED);
    Override {
        target,
        persistent: target.is_some() && enabled == ENABLED_CONTINUOUS,
        mode: boot.mode.as_deref().and_then(FirmwareMode::from_name),
    }
}

/// What reading an override back after setting it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// It is as asked.
    Same,
    /// The target is as asked, but it is said to count for every boot, not for the next one only.
    LastsLonger,
    /// The BMC took the request and did something else; the text continues "it …".
    Different(String),
}

/// Compares what was asked for with what the BMC shows afterwards.
pub fn read_back(boot: &Boot, request: BootRequest) -> ReadBack {
    let now = override_in_force(boot);
    let shown = now.target.unwrap_or(TARGET_NONE);
    if request.enabled == ENABLED_DISABLED {
        return match now.target {
            None => ReadBack::Same,
            Some(target) => ReadBack::Different(format!("was told to drop the boot override and still shows {target}")),
        };
    }
    let same_target = shown == request.target || (request.target == "Cd" && shown == "UsbCd");
    if !same_target {
        return ReadBack::Different(format!("was told to boot from {} and shows {shown}", request.target));
    }
    if let (Some(wanted), Some(mode)) = (request.mode, now.mode)
        && wanted != mode
    {
        return ReadBack::Different(format!("was told to boot in {} mode and shows {}", wanted.name(), mode.name()));
    }
    match (request.enabled == ENABLED_CONTINUOUS, now.persistent) {
        (false, true) => ReadBack::LastsLonger,
        (true, false) => ReadBack::Different(format!(
            "was told to boot from {} from now on and shows it for the next boot only",
            request.target
        )),
        _ => ReadBack::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(value: Value) -> Boot {
        serde_json::from_value(value).unwrap()
    }

    fn pxe_once(mode: Option<FirmwareMode>) -> BootRequest {
        BootRequest { target: "Pxe", enabled: ENABLED_ONCE, mode }
    }

    fn patch(boot: &Boot, request: BootRequest) -> Value {
        boot_patch(boot, request, &Quirks::default()).unwrap()[0]["Boot"].clone()
    }

    #[test]
    fn the_mode_is_sent_only_when_it_changes() {
        let legacy = boot(json!({"BootSourceOverrideMode": "Legacy"}));
        let uefi = boot(json!({"BootSourceOverrideMode": "UEFI"}));
        let wish = pxe_once(Some(FirmwareMode::Uefi));
        assert_eq!(patch(&legacy, wish)["BootSourceOverrideMode"], "UEFI");
        assert!(patch(&uefi, wish).get("BootSourceOverrideMode").is_none());
        assert!(patch(&Boot::default(), wish).get("BootSourceOverrideMode").is_none());
    }

    #[test]
    fn a_forgetful_bmc_gets_the_mode_every_time() {
        let quirks = Quirks { mode_with_every_target: true, ..Quirks::default() };
        let uefi = boot(json!({"BootSourceOverrideMode": "UEFI"}));
        for wish in [pxe_once(None), pxe_once(Some(FirmwareMode::Uefi))] {
            assert_eq!(boot_patch(&uefi, wish, &quirks).unwrap()[0]["Boot"]["BootSourceOverrideMode"], "UEFI");
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_with_what_is() {
        let only_disk = boot(json!({"BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Hdd"]}));
        let refusal = boot_patch(&only_disk, pxe_once(None), &Quirks::default()).unwrap_err().to_string();
        assert_eq!(refusal, "it offers no boot override for Pxe, but for None, Hdd");
        let once = boot(json!({"BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled", "Once"]}));
        let always = BootRequest { enabled: ENABLED_CONTINUOUS, ..pxe_once(None) };
        assert!(matches!(boot_patch(&once, always, &Quirks::default()), Err(BootPatchError::Enabled { .. })));
        let uefi = boot(json!({
            "BootSourceOverrideMode": "UEFI", "BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI"]
        }));
        let legacy = pxe_once(Some(FirmwareMode::Legacy));
        assert!(matches!(boot_patch(&uefi, legacy, &Quirks::default()), Err(BootPatchError::Mode { .. })));
    }

    #[test]
    fn the_mode_alone_keeps_the_override() {
        let pxe = boot(json!({"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe",
            "BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI"]}));
        let bodies = mode_patch(&pxe, FirmwareMode::Uefi).unwrap();
        assert_eq!(bodies[0], json!({"Boot": {"BootSourceOverrideMode": "UEFI"}}));
        assert_eq!(bodies[1]["Boot"]["BootSourceOverrideTarget"], "Pxe");
        assert_eq!(bodies[1]["Boot"]["BootSourceOverrideEnabled"], "Once");
        assert!(matches!(mode_patch(&pxe, FirmwareMode::Legacy), Err(BootPatchError::Mode { .. })));
    }

    #[test]
    fn a_virtual_cd_may_be_the_only_cd() {
        let usb = boot(json!({"BootSourceOverrideTarget@Redfish.AllowableValues": ["Pxe", "UsbCd"]}));
        let wish = BootRequest { target: "Cd", ..pxe_once(None) };
        assert_eq!(patch(&usb, wish)["BootSourceOverrideTarget"], "UsbCd");
    }

    #[test]
    fn no_override_is_asked_for_in_two_ways() {
        let wish = BootRequest { enabled: ENABLED_DISABLED, ..pxe_once(None) };
        let bodies = boot_patch(&Boot::default(), wish, &Quirks::default()).unwrap();
        assert_eq!(bodies[0]["Boot"]["BootSourceOverrideTarget"], "None");
        assert_eq!(bodies[1], json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}}));
    }

    #[test]
    fn a_disabled_override_has_no_target() {
        let left_over = boot(json!({"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "Pxe"}));
        assert_eq!(override_in_force(&left_over), Override { target: None, persistent: false, mode: None });
        let none = boot(json!({"BootSourceOverrideEnabled": "Continuous", "BootSourceOverrideTarget": "None"}));
        assert_eq!(override_in_force(&none).target, None);
        assert!(!override_in_force(&none).persistent);
    }

    #[test]
    fn reading_back_tells_longer_from_different() {
        let shows = |enabled: &str, target: &str| {
            boot(json!({"BootSourceOverrideEnabled": enabled, "BootSourceOverrideTarget": target}))
        };
        assert_eq!(read_back(&shows("Once", "Pxe"), pxe_once(None)), ReadBack::Same);
        assert_eq!(read_back(&shows("Continuous", "Pxe"), pxe_once(None)), ReadBack::LastsLonger);
        assert!(matches!(read_back(&shows("Once", "Hdd"), pxe_once(None)), ReadBack::Different(_)));
        let always = BootRequest { enabled: ENABLED_CONTINUOUS, ..pxe_once(None) };
        assert!(matches!(read_back(&shows("Once", "Pxe"), always), ReadBack::Different(_)));
        let none = BootRequest { enabled: ENABLED_DISABLED, ..pxe_once(None) };
        assert_eq!(read_back(&shows("Continuous", "None"), none), ReadBack::Same);
        assert!(matches!(read_back(&shows("Once", "Pxe"), none), ReadBack::Different(_)));
    }
}
