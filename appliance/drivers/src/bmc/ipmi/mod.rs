//! The IPMI driver: a [`Bmc`] over RMCP+ (IPMI 2.0, UDP port 623).
//!
//! In: a [`Config`] (address, credentials) and the calls of [`Bmc`]. Out: the BMC's answers, or a [`BmcError`]. One
//! session serves all calls until [`Bmc::close`]; a session that the BMC has forgotten is opened again once. The
//! protocol itself is in `leasehold_protocols::ipmi`; here are the socket, the clock, and what a call takes step by
//! step (`power`, `boot`, `inventory`, `sensors`, `log`).

mod boot;
mod connection;
mod failure;
mod inventory;
mod log;
mod power;
mod sensors;
mod vendor;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use super::features::VendorCall;
use super::{Bmc, BmcError, Identity, LogEntry, Sensor};
use async_trait::async_trait;
use connection::Connection;
use failure::Failure;
use leasehold_domain::power::{BootSetting, PowerState, PowerTarget};
pub use leasehold_protocols::ipmi::Privilege;
use leasehold_protocols::ipmi::{self, CipherSuite, Credentials, Retry};
use sensors::Known;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For one datagram's answer, before it is sent again.
    pub request: Duration,
    /// How often a datagram is sent.
    pub tries: u8,
    /// For one call of [`Bmc`], whatever number of requests it takes.
    pub call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { request: Duration::from_secs(1), tries: 4, call: Duration::from_secs(40) }
    }
}

/// Where a BMC is and how to speak with it.
#[derive(Clone)]
pub struct Config {
    /// A host name or an IP address.
    pub address: String,
    pub port: u16,
    /// At most 16 bytes.
    pub username: String,
    /// At most 20 bytes.
    pub password: String,
    /// 17 or 3, to insist on it; otherwise 17 is preferred and 3 taken.
    pub cipher_suite: Option<u8>,
    /// The BMC key (K_G), where one is set on the BMC.
    pub bmc_key: Option<Vec<u8>>,
    /// What the session is raised to. Everything here works as operator, too.
    pub privilege: Privilege,
    pub limits: Limits,
}

impl Config {
    /// The usual port, limits and cipher suites.
    pub fn new(address: impl Into<String>, username: impl Into<String>, password: impl Into<String>) -> Self {
        Config {
            address: address.into(),
            port: ipmi::PORT,
            username: username.into(),
            password: password.into(),
            cipher_suite: None,
            bmc_key: None,
            privilege: Privilege::Administrator,
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("username", &self.username)
            .field("cipher_suite", &self.cipher_suite)
            .finish_non_exhaustive()
    }
}

/// Where and how to connect, checked.
#[derive(Debug)]
struct Target {
    host: String,
    port: u16,
    credentials: Credentials,
    suites: Vec<CipherSuite>,
    retry: Retry,
    /// Learned: the BMC shows boot flags without their valid bit right after they were set.
    forgets_valid_bit: AtomicBool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.port == ipmi::PORT { Ok(()) } else { write!(f, " port {}", self.port) }
    }
}

/// The steps of one call on an open session.
type Steps<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A BMC that speaks IPMI 2.0.
pub struct IpmiBmc {
    target: Arc<Target>,
    call_limit: Duration,
    /// The open session. A call takes it out and puts it back; one that is given up in between drops it, which closes it.
    session: Mutex<Option<Connection>>,
    sensors: Arc<Mutex<Known>>,
}

impl IpmiBmc {
    /// Checks the configuration; nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, BmcError> {
        let host = config.address.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
        let address = if host.is_empty() { "an empty address".to_owned() } else { host.clone() };
        let unsupported = |detail: String| BmcError::Unsupported { address: address.clone(), detail };
        if host.is_empty() || host.contains(['/', ' ', '@']) {
            return Err(unsupported("give its IP address or host name alone, without scheme or path".to_owned()));
        }
        let suites = match config.cipher_suite {
            None => CipherSuite::ALL.to_vec(),
            Some(id) => vec![
                CipherSuite::from_id(id)
                    .ok_or_else(|| unsupported(format!("cipher suite {id} is not spoken here: use 17 or 3")))?,
            ],
        };
        let refused = |why: ipmi::client::CredentialsError| BmcError::Credentials {
            address: address.clone(),
            detail: why.to_string(),
        };
        let mut credentials =
            Credentials::new(&config.username, &config.password).map_err(refused)?.with_privilege(config.privilege);
        if let Some(key) = &config.bmc_key {
            credentials = credentials.with_bmc_key(key).map_err(refused)?;
        }
        let retry = Retry { timeout: config.limits.request, tries: config.limits.tries };
        Ok(IpmiBmc {
            target: Arc::new(Target {
                host,
                port: config.port,
                credentials,
                suites,
                retry,
                forgets_valid_bit: AtomicBool::new(false),
            }),
            call_limit: config.limits.call,
            session: Mutex::new(None),
            sensors: Arc::default(),
        })
    }

    /// Runs the steps of a call in the open session, or in a new one. A session that breaks although it has worked
    /// before (the BMC was restarted, or has ended it) is opened again once: every call may be repeated.
    async fn call<T>(&self, steps: impl Fn(&mut Connection) -> Steps<'_, T>) -> Result<T, BmcError> {
        let run = async {
            let mut slot = self.session.lock().await;
            if let Some(mut connection) = slot.take() {
                match steps(&mut connection).await {
                    Err(failure) if failure.ends_session() => {
                        tracing::debug!(bmc = %self.target, %failure, "the session has ended, opening another");
                    }
                    result => {
                        *slot = Some(connection);
                        return result;
                    }
                }
            }
            let mut connection = Connection::open(self.target.clone()).await?;
            let result = steps(&mut connection).await;
            if result.as_ref().err().is_none_or(|failure| !failure.ends_session()) {
                *slot = Some(connection);
            }
            result
        };
        self.within(run).await
    }

    /// For what must not be done twice: a session that has broken is replaced before, never after the steps began.
    async fn once<T>(&self, steps: impl FnOnce(&mut Connection) -> Steps<'_, T>) -> Result<T, BmcError> {
        // A question without consequences shows whether the session still lives.
        self.call(|bmc| Box::pin(power::state(bmc))).await?;
        let run = async {
            let mut slot = self.session.lock().await;
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => Connection::open(self.target.clone()).await?,
            };
            let result = steps(&mut connection).await;
            if result.as_ref().err().is_none_or(|failure| !failure.ends_session()) {
                *slot = Some(connection);
            }
            result
        };
        self.within(run).await
    }

    async fn within<T>(&self, run: impl Future<Output = Result<T, Failure>>) -> Result<T, BmcError> {
        match tokio::time::timeout(self.call_limit, run).await {
            Ok(result) => result.map_err(|failure| failure.into_error(&self.target)),
            Err(_) => Err(BmcError::Unreachable {
                address: self.target.to_string(),
                detail: format!("not done within {} s", self.call_limit.as_secs_f32()),
            }),
        }
    }
}

#[async_trait]
impl Bmc for IpmiBmc {
    async fn identity(&self) -> Result<Identity, BmcError> {
        self.call(|bmc| Box::pin(inventory::identity(bmc))).await
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        self.call(|bmc| Box::pin(power::state(bmc))).await
    }

    async fn set_power(&self, target: PowerTarget) -> Result<(), BmcError> {
        self.call(move |bmc| Box::pin(power::set(bmc, target))).await
    }

    async fn boot_device(&self) -> Result<BootSetting, BmcError> {
        self.call(|bmc| Box::pin(boot::get(bmc))).await
    }

    /// Sets the override so that it does not expire, and reads it back. Some BMCs (`ipmi_sim`) keep every override for
    /// one boot only.
    async fn set_boot_device(&self, setting: BootSetting) -> Result<(), BmcError> {
        self.call(move |bmc| Box::pin(boot::set(bmc, setting))).await
    }

    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        self.call(|bmc| {
            let known = self.sensors.clone();
            Box::pin(async move { sensors::read(bmc, &known).await })
        })
        .await
    }

    async fn event_log(&self, limit: usize) -> Result<Vec<LogEntry>, BmcError> {
        self.call(|bmc| {
            let known = self.sensors.clone();
            Box::pin(async move { log::read(bmc, &known, limit).await })
        })
        .await
    }

    /// The chassis' diagnostic interrupt. Only a machine that is on has an operating system to interrupt.
    async fn inject_nmi(&self) -> Result<(), BmcError> {
        self.once(|bmc| Box::pin(power::interrupt(bmc))).await
    }

    async fn vendor(&self, call: VendorCall) -> Result<(), BmcError> {
        let starts_anew = matches!(call, VendorCall::ResetBmc { .. });
        self.once(move |bmc| Box::pin(vendor::run(bmc, call))).await?;
        if starts_anew {
            // It has forgotten the session, or is about to: asking in it would only cost the time to notice.
            *self.session.lock().await = None;
        }
        Ok(())
    }

    async fn close(&self) {
        if let Some(connection) = self.session.lock().await.take() {
            connection.close().await;
        }
    }
}
