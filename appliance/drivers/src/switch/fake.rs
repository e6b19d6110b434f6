//! A switch without hardware: keeps what is set in memory, and fails where it is told to.

use super::{Actual, Checked, PortState, Switch, SwitchError, Wanted, in_words};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The switch. Its name in errors is `fake`.
#[derive(Debug)]
pub struct FakeSwitch {
    /// Where each is, and whether it is kept apart.
    ports: Mutex<BTreeMap<String, (Actual, bool)>>,
    /// What the next calls fail with, the first first.
    failures: Mutex<Vec<SwitchError>>,
    /// How often something was asked of it.
    asked: watch::Sender<u64>,
}

impl FakeSwitch {
    /// With ports of these names, on all VLANs, among all others.
    pub fn new<'a>(ports: impl IntoIterator<Item = &'a str>) -> FakeSwitch {
        let ports =
            ports.into_iter().map(|name| (name.to_owned(), (Actual::Other("all VLANs".to_owned()), false))).collect();
        FakeSwitch { ports: Mutex::new(ports), failures: Mutex::default(), asked: watch::Sender::new(0) }
    }

    /// One more call fails, with this.
    pub fn fail(&self, error: SwitchError) {
        lock(&self.failures).push(error);
    }

    /// Somebody changes a port by hand.
    pub fn meddle(&self, port: &str, actual: Actual) {
        lock(&self.ports).insert(port.to_owned(), (actual, false));
    }

    /// Waits until the port stands like that, in words.
    pub async fn until(&self, port: &str, standing: &str) {
        let mut asked = self.asked.subscribe();
        let stands = || lock(&self.ports).get(port).is_some_and(|(actual, kept)| in_words(actual, *kept) == standing);
        while !stands() && asked.changed().await.is_ok() {}
    }

    fn state(&self, port: &str, wanted: Option<&Wanted>) -> Result<PortState, SwitchError> {
        let mut failures = lock(&self.failures);
        if !failures.is_empty() {
            return Err(failures.remove(0));
        }
        let mut ports = lock(&self.ports);
        let unknown = || SwitchError::UnknownPort { switch: "fake".to_owned(), port: port.to_owned() };
        let stands = ports.get_mut(port).ok_or_else(unknown)?;
        if let Some(wanted) = wanted {
            *stands = (Actual::Member(wanted.membership().clone()), wanted.is_protected());
        }
        let (actual, protected) = stands.clone();
        self.asked.send_modify(|asked| *asked += 1);
        Ok(PortState { name: port.to_owned(), actual, protected, link: None, trouble: None })
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

    async fn set(&self, port: &str, wanted: &Wanted) -> Result<PortState, SwitchError> {
        self.state(port, Some(wanted))
    }

    async fn close(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
