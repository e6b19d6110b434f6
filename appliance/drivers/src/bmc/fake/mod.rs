//! A machine that is not there: `fake-hardware`, for trying the appliance and for tests of its clients.
//!
//! In: the calls of [`Bmc`] and the settings of the node ([`Settings`]). Out: answers as a BMC would give them, after the
//! delay and with the failure that was set. Power and boot device are kept in memory; the engine gives it the power
//! that is on record when it is made.

mod settings;

pub use settings::{BadSetting, Settings, Work};

use super::{Bmc, BmcError, Identity, LogEntry, Sensor};
use async_trait::async_trait;
use leasehold_domain::power::{BootDevice, BootSetting, PowerState, PowerTarget};
use std::sync::{Mutex, PoisonError};

/// What messages call it.
const ADDRESS: &str = "fake-hardware";

/// The BMC of a machine that is not there.
#[derive(Debug)]
pub struct FakeBmc {
    settings: Settings,
    state: Mutex<(PowerState, BootSetting)>,
}

impl FakeBmc {
    /// With the power that the machine had last.
    pub fn new(settings: Settings, power: Option<PowerState>) -> FakeBmc {
        let boot = BootSetting { device: BootDevice::Pxe, persistent: false, mode: None };
        FakeBmc { settings, state: Mutex::new((power.unwrap_or(PowerState::Off), boot)) }
    }

    async fn work(&self, work: Work) -> Result<(), BmcError> {
        let done = self.settings.work(work).await;
        done.map_err(|detail| BmcError::Refused { address: ADDRESS.to_owned(), detail })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut (PowerState, BootSetting)) -> T) -> T {
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Bmc for FakeBmc {
    async fn identity(&self) -> Result<Identity, BmcError> {
        self.work(Work::Verify).await?;
        Ok(Identity { model: Some("no machine".into()), ..Identity::default() })
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        Ok(self.with(|(power, _)| *power))
    }

    async fn set_power(&self, target: PowerTarget) -> Result<(), BmcError> {
        self.work(Work::Power).await?;
        self.with(|(power, _)| *power = target.ends_in());
        Ok(())
    }

    async fn boot_device(&self) -> Result<BootSetting, BmcError> {
        self.work(Work::Management).await?;
        Ok(self.with(|(_, boot)| *boot))
    }

    async fn set_boot_device(&self, setting: BootSetting) -> Result<(), BmcError> {
        self.work(Work::Management).await?;
        self.with(|(_, boot)| *boot = setting);
        Ok(())
    }

    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        Ok(Vec::new())
    }

    async fn event_log(&self, _: usize) -> Result<Vec<LogEntry>, BmcError> {
        Ok(Vec::new())
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn bmc(info: Value) -> FakeBmc {
        let Value::Object(info) = info else { unreachable!("an object") };
        FakeBmc::new(Settings::read(&info).expect("usable"), Some(PowerState::On))
    }

    #[tokio::test]
    async fn it_keeps_what_it_is_told() {
        let bmc = bmc(json!({}));
        assert_eq!(bmc.power().await, Ok(PowerState::On));
        bmc.set_power(PowerTarget::SoftOff).await.expect("done");
        assert_eq!(bmc.power().await, Ok(PowerState::Off));
        let disk = BootSetting { device: BootDevice::Disk, persistent: true, mode: None };
        bmc.set_boot_device(disk).await.expect("done");
        assert_eq!(bmc.boot_device().await, Ok(disk));
    }

    #[tokio::test]
    async fn a_failure_changes_nothing() {
        let bmc = bmc(json!({"fake_power_fail": "fuse"}));
        let error = bmc.set_power(PowerTarget::Off).await.expect_err("it is to fail");
        assert!(error.to_string().contains("fuse"), "{error}");
        assert_eq!(bmc.power().await, Ok(PowerState::On));
    }
}
