//! A switch without hardware: keeps what is set in memory, and fails where it is told to.

use super::{Actual, Checked, Membership, PortState, Switch, SwitchError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The switch. Its name in errors is `fake`.
#[derive(Debug, Default)]
pub struct FakeSwitch {
    ports: Mutex<BTreeMap<String, Actual>>,
    /// What the next calls fail with, the first first.
    failures: Mutex<Vec<SwitchError>>,
}

impl FakeSwitch {
    /// With ports of these names, on all VLANs.
    pub fn new<'a>(ports: impl IntoIterator<Item = &'a str>) -> FakeSwitch {
        let ports = ports.into_iter().map(|name| (name.to_owned(), Actual::Other("all VLANs".to_owned()))).collect();
        FakeSwitch { ports: Mutex::new(ports), failures: Mutex::default() }
    }

    /// One more call fails, with this.
    pub fn fail(&self, error: SwitchError) {
        lock(&self.failures).push(error);
    }

    fn state(&self, port: &str, wanted: Option<&Membership>) -> Result<PortState, SwitchError> {
        let mut failures = lock(&self.failures);
        if !failures.is_empty() {
            return Err(failures.remove(0));
        }
        let mut ports = lock(&self.ports);
        let unknown = || SwitchError::UnknownPort { switch: "fake".to_owned(), port: port.to_owned() };
        let actual = ports.get_mut(port).ok_or_else(unknown)?;
        if let Some(wanted) = wanted {
            *actual = Actual::Member(wanted.clone());
        }
        let actual = actual.clone();
        Ok(PortState { name: port.to_owned(), actual, protected: true, link: None, trouble: None })
    }
}

#[async_trait]
impl Switch for FakeSwitch {
    async fn check(&self) -> Result<Checked, SwitchError> {
        Ok(Checked { version: "without hardware".to_owned(), warnings: Vec::new() })
    }

    async fn ports(&self) -> Result<Vec<PortState>, SwitchError> {
        let names: Vec<_> = lock(&self.ports).keys().cloned().collect();
        names.iter().map(|name| self.state(name, None)).collect()
    }

    async fn port(&self, port: &str) -> Result<PortState, SwitchError> {
        self.state(port, None)
    }

    async fn set(&self, port: &str, wanted: &Membership) -> Result<PortState, SwitchError> {
        self.state(port, Some(wanted))
    }

    async fn close(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
