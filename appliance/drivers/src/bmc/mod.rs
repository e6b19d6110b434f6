//! One face for every BMC: power, boot device, identity, sensors, event log, and what only some can do ([`features`]).
//!
//! In: [`Bmc`] calls from the engine. Out: the BMC's answer or a [`BmcError`]. A driver (`redfish`, `ipmi`, `fake`)
//! implements the trait with its own timeouts; one conversation at a time per BMC is the business of
//! [`guard::Guarded`], so that a slow BMC can never hold up another node.

pub mod driver_info;
pub mod fake;
pub mod features;
pub mod guard;
pub mod ipmi;
pub mod redfish;

use async_trait::async_trait;
use features::{BiosSetting, FirmwareComponent, FirmwareTask, Indicator, Light, LightName, VendorCall};
use leasehold_domain::power::{BootMode, BootSetting, PowerState, PowerTarget};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a BMC says about the machine it belongs to. Everything is optional: BMCs differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial: Option<String>,
    /// The system's UUID (SMBIOS type 1), lower case with dashes.
    pub system_uuid: Option<String>,
    pub bmc_firmware: Option<String>,
    pub bios_version: Option<String>,
}

/// One sensor's reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    pub name: String,
    /// The reading in `unit`; `None` when the sensor has no reading now (a powered-off fan, say).
    pub value: Option<f64>,
    /// `Celsius`, `RPM`, `V`, `W`, …
    pub unit: String,
    /// The BMC's own judgement: `ok`, `warning`, `critical`; `None` when it gives none.
    pub health: Option<String>,
}

/// One entry of the BMC's event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    pub id: String,
    /// RFC 3339 where the BMC knows the time.
    pub time: Option<String>,
    pub severity: Option<String>,
    pub message: String,
}

/// Why a BMC did not do what was asked. The text is for the person at the rack: what, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BmcError {
    /// Nothing answered at the address in time. Worth a later try.
    #[error("the BMC at {address} does not answer ({detail}): check its power, cable, address and VLAN")]
    Unreachable { address: String, detail: String },
    /// It answered and refuses our credentials.
    #[error("the BMC at {address} refuses the credentials: check user name and password ({detail})")]
    Credentials { address: String, detail: String },
    /// Its TLS certificate is not the one that was pinned when the node was enrolled.
    #[error(
        "the BMC at {address} shows another certificate ({got}) than the one pinned at enrolment ({pinned}): \
         if it was replaced on purpose, clear the pin; otherwise something else answers at this address"
    )]
    Certificate { address: String, pinned: String, got: String },
    /// It answered something that makes no sense.
    #[error("the BMC at {address} answers in a way that cannot be used: {detail}")]
    Protocol { address: String, detail: String },
    /// It understood and said no.
    #[error("the BMC at {address} refuses: {detail}")]
    Refused { address: String, detail: String },
    /// This BMC or driver has no way to do that.
    #[error("the BMC at {address} cannot do that: {detail}")]
    Unsupported { address: String, detail: String },
}

impl BmcError {
    /// The same for readers who are not shown where the BMC is.
    pub fn without_address(mut self) -> BmcError {
        let (BmcError::Unreachable { address, .. }
        | BmcError::Credentials { address, .. }
        | BmcError::Certificate { address, .. }
        | BmcError::Protocol { address, .. }
        | BmcError::Refused { address, .. }
        | BmcError::Unsupported { address, .. }) = &mut self;
        guard::ADDRESS.clone_into(address);
        self
    }
}

/// A BMC. Calls may be retried: each says what is wanted, and asking twice is harmless.
#[async_trait]
pub trait Bmc: Send + Sync {
    /// Who the machine is. Also the check that address and credentials work at all.
    async fn identity(&self) -> Result<Identity, BmcError>;
    /// The power state right now.
    async fn power(&self) -> Result<PowerState, BmcError>;
    /// Asks for a power change and returns when the BMC has accepted it; the caller watches [`Bmc::power`].
    /// `SoftOff` only asks the operating system (ACPI); `SoftReboot` is not sent to drivers.
    async fn set_power(&self, target: PowerTarget) -> Result<(), BmcError>;
    /// The boot override that is set now.
    async fn boot_device(&self) -> Result<BootSetting, BmcError>;
    /// Sets the boot override, once or persistent, in the given firmware mode.
    async fn set_boot_device(&self, setting: BootSetting) -> Result<(), BmcError>;
    /// All sensors that have a reading or a health.
    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError>;
    /// The newest entries of the event log, newest first, at most `limit`.
    async fn event_log(&self, limit: usize) -> Result<Vec<LogEntry>, BmcError>;
    /// Ends what the driver holds open on the BMC (sessions). Called when a conversation is over.
    async fn close(&self);

    // What follows only some drivers have (`leasehold_domain::driver::Ability`); the API asks no other for it.

    /// Interrupts the operating system in a way that it cannot ignore (NMI), to make it write down its state.
    async fn inject_nmi(&self) -> Result<(), BmcError> {
        Err(without("non-maskable interrupts"))
    }
    /// The lights by which the machine and its parts are found in the rack.
    async fn indicators(&self) -> Result<Vec<Indicator>, BmcError> {
        Err(without("lights"))
    }
    /// What one of them does now.
    async fn indicator(&self, _light: LightName) -> Result<Light, BmcError> {
        Err(without("lights"))
    }
    /// Makes one of them do that; [`Light::Unknown`] is nothing to ask for.
    async fn set_indicator(&self, _light: LightName, _state: Light) -> Result<(), BmcError> {
        Err(without("lights"))
    }
    /// The mode in which the firmware starts next; `None`: the BMC does not say.
    async fn boot_mode(&self) -> Result<Option<BootMode>, BmcError> {
        Err(without("firmware modes"))
    }
    /// Sets the mode for the boots to come and reads it back.
    async fn set_boot_mode(&self, _mode: BootMode) -> Result<(), BmcError> {
        Err(without("firmware modes"))
    }
    /// Whether the next boot checks signatures; `None`: the BMC does not say.
    async fn secure_boot(&self) -> Result<Option<bool>, BmcError> {
        Err(without("secure boot"))
    }
    /// Switches the check of signatures on or off for the boots to come and reads it back.
    async fn set_secure_boot(&self, _on: bool) -> Result<(), BmcError> {
        Err(without("secure boot"))
    }
    /// The settings of the firmware as they are in force.
    async fn bios_settings(&self) -> Result<Vec<BiosSetting>, BmcError> {
        Err(without("BIOS settings"))
    }
    /// Gives settings of the firmware other values, which come into force at the machine's next start. What is known to
    /// be impossible is refused before the BMC hears of any.
    async fn set_bios_settings(&self, _wanted: BTreeMap<String, Value>) -> Result<(), BmcError> {
        Err(without("changes of BIOS settings"))
    }
    /// All settings of the firmware are to be as they left the factory, from the machine's next start on.
    async fn reset_bios(&self) -> Result<(), BmcError> {
        Err(without("changes of BIOS settings"))
    }
    /// What the BMC says of the last change of the settings, if it says anything.
    async fn bios_outcome(&self) -> Result<Option<String>, BmcError> {
        Err(without("changes of BIOS settings"))
    }
    /// Has the BMC fetch new firmware from `url` and write it to the part that [`Bmc::firmware`] calls `component`. Out:
    /// where the BMC tells how far it is, unless it keeps that to itself. Asked twice, it may write it twice.
    async fn update_firmware(&self, _component: String, _url: String) -> Result<Option<String>, BmcError> {
        Err(without("updates of firmware"))
    }
    /// How far an update is.
    async fn firmware_task(&self, _task: String) -> Result<FirmwareTask, BmcError> {
        Err(without("updates of firmware"))
    }
    /// The parts with firmware, and its versions.
    async fn firmware(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        Err(without("firmware versions"))
    }
    /// A call of this kind of BMC's own. Not repeated by itself: nobody knows what it does.
    async fn vendor(&self, _call: VendorCall) -> Result<(), BmcError> {
        Err(without("this vendor method"))
    }
}

/// The error of a driver that has no such calls at all.
fn without(what: &str) -> BmcError {
    BmcError::Unsupported { address: guard::ADDRESS.to_owned(), detail: format!("its driver knows no {what}") }
}
