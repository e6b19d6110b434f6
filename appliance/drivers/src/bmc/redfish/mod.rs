//! The Redfish driver: a [`Bmc`] over HTTPS (DMTF DSP0266).
//!
//! In: a [`Config`] (address, credentials, which system, what makes the certificate trustworthy) and the calls of
//! [`Bmc`]. Out: the BMC's answers, or a [`BmcError`] with what the BMC itself said. One session serves all calls
//! until [`Bmc::close`]; everything that comes from the wire is bounded in time and size (`http`), tied to one
//! certificate (`tls`), read leniently (`leasehold_protocols::redfish`) and followed by `@odata.id` (`service`).

mod address;
mod bios;
mod bios_change;
mod boot;
mod firmware;
mod health;
mod http;
mod lights;
mod media;
mod power;
mod secure_boot;
mod service;
mod session;
mod tls;
mod update;

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod feature_tests;
#[cfg(test)]
mod sushy_tests;
#[cfg(test)]
mod tests;

use super::features::{BiosSetting, FirmwareComponent, FirmwareTask, Indicator, Light, LightName, VendorCall};
use super::{Bmc, BmcError, Identity, LogEntry, Sensor};
use address::Endpoint;
use async_trait::async_trait;
use leasehold_domain::power::{BootMode, BootSetting, PowerState, PowerTarget};
use serde_json::Value;
use session::Session;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tls::Trust;
use tokio::sync::Mutex;

/// The SHA-256 of a certificate's DER encoding.
pub type Fingerprint = [u8; 32];

/// Where a BMC is and how to speak with it.
#[derive(Clone)]
pub struct Config {
    /// `https://192.0.2.7`, `https://bmc1.example:8443`, `http://…`; without a scheme HTTPS is meant.
    pub address: String,
    pub username: String,
    pub password: String,
    /// The path or the id of the system; needed only where the BMC manages several.
    pub system_id: Option<String>,
    /// The certificate that the BMC had at enrolment. It decides alone: names, dates and issuer do not count.
    pub pin: Option<Fingerprint>,
    /// A file of CA certificates (PEM) to verify the BMC's certificate and name with, where there is no pin. With
    /// neither, the first certificate that is seen must stay the same for the life of the driver, and the caller
    /// decides about it ([`RedfishBmc::seen_fingerprint`], [`RedfishBmc::fetch_certificate_fingerprint`]).
    pub verify_ca: Option<PathBuf>,
    /// Send Basic authentication with every request, also to a BMC that has sessions.
    pub basic_only: bool,
    pub limits: Limits,
}

impl Config {
    /// A configuration with the usual limits and no trust decided.
    pub fn new(address: impl Into<String>, username: impl Into<String>, password: impl Into<String>) -> Self {
        Config {
            address: address.into(),
            username: username.into(),
            password: password.into(),
            system_id: None,
            pin: None,
            verify_ca: None,
            basic_only: false,
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("username", &self.username)
            .field("system_id", &self.system_id)
            .field("pin", &self.pin.map(hex::encode))
            .field("verify_ca", &self.verify_ca)
            .finish_non_exhaustive()
    }
}

/// How long and how much. The defaults suit slow BMCs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the TCP connection and the TLS handshake.
    pub connect: Duration,
    /// For one request and its whole answer.
    pub request: Duration,
    /// For one call of [`Bmc`], whatever number of requests it takes.
    pub call: Duration,
    /// The largest body that is read, in bytes.
    pub body: usize,
    /// The pause before a busy BMC is asked again, and before a change that does not show yet is looked for again.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(8),
            request: Duration::from_secs(30),
            call: Duration::from_secs(90),
            body: 2 << 20,
            pause: Duration::from_secs(1),
        }
    }
}

/// A BMC that speaks Redfish.
pub struct RedfishBmc {
    endpoint: Arc<Endpoint>,
    limits: Limits,
    trust: Arc<Trust>,
    session: Mutex<Session>,
}

impl RedfishBmc {
    /// Checks the configuration; nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, BmcError> {
        let endpoint = Arc::new(Endpoint::parse(&config.address)?);
        let trust = Arc::new(Trust::new(&endpoint, config.pin, config.verify_ca.as_deref())?);
        let session = Session::new(endpoint.clone(), trust.clone(), &config)?;
        Ok(RedfishBmc { endpoint, limits: config.limits, trust, session: Mutex::new(session) })
    }

    /// The fingerprint of the certificate that the BMC shows now, whatever it is: for enrolment, where a person or a
    /// rule decides whether to pin it. Sends no credentials. The BMC has proved that it holds the private key.
    pub async fn fetch_certificate_fingerprint(&self) -> Result<Fingerprint, BmcError> {
        if !self.endpoint.https {
            let detail = "plain HTTP has no certificate: use https://".to_owned();
            return Err(BmcError::Unsupported { address: self.endpoint.to_string(), detail });
        }
        let trust = Arc::new(Trust::new(&self.endpoint, None, None)?);
        http::Connector::new(self.endpoint.clone(), trust.clone(), self.limits).connect().await?;
        trust.seen().ok_or_else(|| self.endpoint.protocol("it showed no certificate"))
    }

    /// The certificate seen by the calls so far; what a caller that trusts on first use pins.
    pub fn seen_fingerprint(&self) -> Option<Fingerprint> {
        self.trust.seen()
    }

    /// Gives a call its time.
    async fn within<T>(&self, call: impl Future<Output = Result<T, BmcError>>) -> Result<T, BmcError> {
        match tokio::time::timeout(self.limits.call, call).await {
            Ok(result) => result,
            Err(_) => Err(self.endpoint.unreachable(format!("not done within {} s", self.limits.call.as_secs_f32()))),
        }
    }
}

#[async_trait]
impl Bmc for RedfishBmc {
    async fn identity(&self) -> Result<Identity, BmcError> {
        self.within(async { self.session.lock().await.identity().await }).await
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        self.within(async { self.session.lock().await.power().await }).await
    }

    async fn set_power(&self, target: PowerTarget) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.set_power(target).await }).await
    }

    /// The override as the BMC shows it. Some (sushy-tools) show every override as persistent.
    async fn boot_device(&self) -> Result<BootSetting, BmcError> {
        self.within(async { self.session.lock().await.boot_device().await }).await
    }

    /// Sets the override and reads it back. The mode counts only together with a device.
    async fn set_boot_device(&self, setting: BootSetting) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.set_boot_device(setting).await }).await
    }

    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        self.within(async { self.session.lock().await.sensors().await }).await
    }

    async fn event_log(&self, limit: usize) -> Result<Vec<LogEntry>, BmcError> {
        self.within(async { self.session.lock().await.event_log(limit).await }).await
    }

    async fn inject_nmi(&self) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.inject_nmi().await }).await
    }

    async fn indicators(&self) -> Result<Vec<Indicator>, BmcError> {
        self.within(async { self.session.lock().await.indicators().await }).await
    }

    async fn indicator(&self, light: LightName) -> Result<Light, BmcError> {
        self.within(async { self.session.lock().await.indicator(&light).await }).await
    }

    async fn set_indicator(&self, light: LightName, state: Light) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.set_indicator(&light, state).await }).await
    }

    async fn boot_mode(&self) -> Result<Option<BootMode>, BmcError> {
        self.within(async { self.session.lock().await.boot_mode().await }).await
    }

    async fn set_boot_mode(&self, mode: BootMode) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.set_boot_mode(mode).await }).await
    }

    async fn secure_boot(&self) -> Result<Option<bool>, BmcError> {
        self.within(async { self.session.lock().await.secure_boot().await }).await
    }

    async fn set_secure_boot(&self, on: bool) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.set_secure_boot(on).await }).await
    }

    async fn bios_settings(&self) -> Result<Vec<BiosSetting>, BmcError> {
        self.within(async { self.session.lock().await.bios_settings().await }).await
    }

    async fn set_bios_settings(&self, wanted: BTreeMap<String, Value>) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.set_bios_settings(&wanted).await }).await
    }

    async fn reset_bios(&self) -> Result<(), BmcError> {
        self.within(async { self.session.lock().await.reset_bios().await }).await
    }

    async fn bios_outcome(&self) -> Result<Option<String>, BmcError> {
        self.within(async { self.session.lock().await.bios_outcome().await }).await
    }

    async fn update_firmware(&self, component: String, url: String) -> Result<Option<String>, BmcError> {
        self.within(async { self.session.lock().await.update_firmware(&component, &url).await }).await
    }

    async fn firmware_task(&self, task: String) -> Result<FirmwareTask, BmcError> {
        self.within(async { self.session.lock().await.firmware_task(&task).await }).await
    }

    async fn firmware(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        self.within(async { self.session.lock().await.firmware().await }).await
    }

    async fn vendor(&self, call: VendorCall) -> Result<(), BmcError> {
        match call {
            VendorCall::EjectMedia { kind } => {
                self.within(async { self.session.lock().await.eject_media(kind.as_deref()).await }).await
            }
            VendorCall::SendRaw(_) | VendorCall::ResetBmc { .. } => {
                Err(self.endpoint.unsupported("raw requests and resets by them are IPMI's"))
            }
        }
    }

    async fn close(&self) {
        self.session.lock().await.close().await;
    }
}

impl Drop for RedfishBmc {
    fn drop(&mut self) {
        // A driver that was dropped in the middle of a conversation leaves its session to a task of its own.
        if let Some(logout) = self.session.get_mut().detached_logout()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(logout);
        }
    }
}
