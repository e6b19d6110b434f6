//! One conversation at a time with each BMC, a deadline for each call, and sessions that end when nobody needs them.
//!
//! In: calls of [`Bmc`] from anywhere, at once, given up at any moment. Out: the same calls one after the other on the
//! driver within. A session stays open for [`LINGER`] after the last call, so that a caller who watches the power does
//! not open one for each look. Also here: the two waits that need nothing but [`Bmc`], soft-then-hard power off and
//! waiting for a power state.

use super::features::{BiosSetting, FirmwareComponent, FirmwareTask, Indicator, Light, LightName, VendorCall};
use super::{Bmc, BmcError, Identity, LogEntry, Sensor};
use async_trait::async_trait;
use leasehold_domain::power::{BootMode, BootSetting, PowerState, PowerTarget};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a session is kept for the next call.
pub const LINGER: Duration = Duration::from_secs(5);
/// How long the end of a session may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at the power.
const POLL: Duration = Duration::from_secs(2);
/// How long a machine may take to be off after its power was cut.
const CUT_LIMIT: Duration = Duration::from_secs(60);
/// How the BMC is called where only the driver within knows its address.
pub(super) const ADDRESS: &str = "its address";

/// A BMC that can be called by many.
pub struct Guarded {
    shared: Arc<Shared>,
    call_limit: Duration,
}

struct Shared {
    inner: Arc<dyn Bmc>,
    turn: Arc<Mutex<()>>,
    /// Calls begun so far: whoever finds it unchanged knows that nobody came meanwhile.
    begun: AtomicU64,
    /// Calls that wait or run.
    present: AtomicU64,
    linger: Duration,
}

impl Guarded {
    /// `call_limit` is the longest a call may take, waiting for others included.
    pub fn new(inner: Arc<dyn Bmc>, call_limit: Duration) -> Self {
        Self::with_linger(inner, call_limit, LINGER)
    }

    /// With another time for which a session is kept.
    pub fn with_linger(inner: Arc<dyn Bmc>, call_limit: Duration, linger: Duration) -> Self {
        let (begun, present) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Shared { inner, turn: Arc::default(), begun, present, linger };
        Guarded { shared: Arc::new(shared), call_limit }
    }

    async fn call<'a, T, F>(&'a self, call: impl FnOnce(&'a dyn Bmc) -> F) -> Result<T, BmcError>
    where
        F: Future<Output = Result<T, BmcError>> + Send + 'a,
    {
        // Every way out, also the caller's going away, leads through `Caller::drop`.
        let mut caller = Caller::new(self.shared.clone());
        let deadline = Instant::now() + self.call_limit;
        let seconds = self.call_limit.as_secs_f32();
        let Ok(turn) = timeout_at(deadline, self.shared.turn.clone().lock_owned()).await else {
            let detail = format!("it was busy with other calls for {seconds} s");
            return Err(BmcError::Unreachable { address: ADDRESS.to_owned(), detail });
        };
        caller.turn = Some(turn);
        match timeout_at(deadline, call(self.shared.inner.as_ref())).await {
            Ok(result) => result,
            Err(_) => Err(BmcError::Unreachable {
                address: ADDRESS.to_owned(),
                detail: format!("not done within {seconds} s"),
            }),
        }
    }
}

/// One call, waiting or running. When the last one leaves, and no other comes for a while, the session is closed.
struct Caller {
    shared: Arc<Shared>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Caller {
    fn new(shared: Arc<Shared>) -> Self {
        shared.present.fetch_add(1, Ordering::SeqCst);
        shared.begun.fetch_add(1, Ordering::SeqCst);
        Caller { shared, turn: None }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // The next caller may start now; the close below takes its own turn.
        drop(self.turn.take());
        let begun = self.shared.begun.load(Ordering::SeqCst);
        if self.shared.present.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        // Without a runtime the program is ending, and drivers close what they hold when they are dropped.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let shared = self.shared.clone();
        runtime.spawn(async move {
            sleep(shared.linger).await;
            let _turn = shared.turn.lock().await;
            // A call that has come meanwhile closes after itself.
            if shared.begun.load(Ordering::SeqCst) == begun {
                let _ = timeout(CLOSE_LIMIT, shared.inner.close()).await;
            }
        });
    }
}

#[async_trait]
impl Bmc for Guarded {
    async fn identity(&self) -> Result<Identity, BmcError> {
        self.call(|bmc| bmc.identity()).await
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        self.call(|bmc| bmc.power()).await
    }

    async fn set_power(&self, target: PowerTarget) -> Result<(), BmcError> {
        self.call(move |bmc| bmc.set_power(target)).await
    }

    async fn boot_device(&self) -> Result<BootSetting, BmcError> {
        self.call(|bmc| bmc.boot_device()).await
    }

    async fn set_boot_device(&self, setting: BootSetting) -> Result<(), BmcError> {
        self.call(move |bmc| bmc.set_boot_device(setting)).await
    }

    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        self.call(|bmc| bmc.sensors()).await
    }

    async fn event_log(&self, limit: usize) -> Result<Vec<LogEntry>, BmcError> {
        self.call(move |bmc| bmc.event_log(limit)).await
    }

    async fn inject_nmi(&self) -> Result<(), BmcError> {
        self.call(|bmc| bmc.inject_nmi()).await
    }

    async fn indicators(&self) -> Result<Vec<Indicator>, BmcError> {
        self.call(|bmc| bmc.indicators()).await
    }

    async fn indicator(&self, light: LightName) -> Result<Light, BmcError> {
        self.call(move |bmc| bmc.indicator(light)).await
    }

    async fn set_indicator(&self, light: LightName, state: Light) -> Result<(), BmcError> {
        self.call(move |bmc| bmc.set_indicator(light, state)).await
    }

    async fn boot_mode(&self) -> Result<Option<BootMode>, BmcError> {
        self.call(|bmc| bmc.boot_mode()).await
    }

    async fn set_boot_mode(&self, mode: BootMode) -> Result<(), BmcError> {
        self.call(move |bmc| bmc.set_boot_mode(mode)).await
    }

    async fn secure_boot(&self) -> Result<Option<bool>, BmcError> {
        self.call(|bmc| bmc.secure_boot()).await
    }

    async fn set_secure_boot(&self, on: bool) -> Result<(), BmcError> {
        self.call(move |bmc| bmc.set_secure_boot(on)).await
    }

    async fn bios_settings(&self) -> Result<Vec<BiosSetting>, BmcError> {
        self.call(|bmc| bmc.bios_settings()).await
    }

    async fn set_bios_settings(&self, wanted: BTreeMap<String, Value>) -> Result<(), BmcError> {
        self.call(move |bmc| bmc.set_bios_settings(wanted)).await
    }

    async fn reset_bios(&self) -> Result<(), BmcError> {
        self.call(|bmc| bmc.reset_bios()).await
    }

    async fn bios_outcome(&self) -> Result<Option<String>, BmcError> {
        self.call(|bmc| bmc.bios_outcome()).await
    }

    async fn update_firmware(&self, component: String, url: String) -> Result<Option<String>, BmcError> {
        self.call(move |bmc| bmc.update_firmware(component, url)).await
    }

    async fn firmware_task(&self, task: String) -> Result<FirmwareTask, BmcError> {
        self.call(move |bmc| bmc.firmware_task(task)).await
    }

    async fn firmware(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        self.call(|bmc| bmc.firmware()).await
    }

    async fn vendor(&self, call: VendorCall) -> Result<(), BmcError> {
        self.call(move |bmc| bmc.vendor(call)).await
    }

    /// Waits for the running call and closes at once.
    async fn close(&self) {
        let _turn = self.shared.turn.lock().await;
        let _ = timeout(CLOSE_LIMIT, self.shared.inner.close()).await;
    }
}

/// Why the power is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    #[error(transparent)]
    Bmc(#[from] BmcError),
    /// The BMC accepted the change, and the machine has not followed.
    #[error("the machine still has '{}' {} s after its BMC was asked to change that", state.name(), waited.as_secs())]
    Stays { state: PowerState, waited: Duration },
}

impl From<PowerError> for BmcError {
    fn from(error: PowerError) -> BmcError {
        match error {
            PowerError::Bmc(error) => error,
            stays => BmcError::Refused { address: ADDRESS.to_owned(), detail: stays.to_string() },
        }
    }
}

/// How a machine came to be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerOff {
    /// It was.
    Already,
    /// Its operating system shut down.
    Soft,
    /// The operating system did not, or could not be asked; the power was cut.
    Hard,
}

/// Asks the operating system to shut down, watches for `patience`, and cuts the power of a machine that is still on.
///
/// # Errors
/// [`PowerError`] when the BMC does not take the cut, or the machine is on after it.
pub async fn power_off_soft_then_hard(bmc: &dyn Bmc, patience: Duration) -> Result<PowerOff, PowerError> {
    soft_then_hard(bmc, patience, POLL, CUT_LIMIT).await
}

async fn soft_then_hard(
    bmc: &dyn Bmc,
    patience: Duration,
    poll: Duration,
    cut: Duration,
) -> Result<PowerOff, PowerError> {
    if bmc.power().await? == PowerState::Off {
        return Ok(PowerOff::Already);
    }
    match bmc.set_power(PowerTarget::SoftOff).await {
        Ok(()) => {
            if wait(bmc, PowerState::Off, patience, poll).await.is_ok() {
                return Ok(PowerOff::Soft);
            }
        }
        Err(error @ (BmcError::Credentials { .. } | BmcError::Certificate { .. })) => return Err(error.into()),
        // It cannot be asked, or not now: what is wanted is a machine that is off.
        Err(error) => tracing::debug!(%error, "no soft power off"),
    }
    bmc.set_power(PowerTarget::Off).await?;
    wait(bmc, PowerState::Off, cut, poll).await?;
    Ok(PowerOff::Hard)
}

/// Waits until the machine has the power state, at most for `deadline`. A BMC that does not answer in between is asked
/// again: many are silent while they switch.
///
/// # Errors
/// [`PowerError::Stays`] when the time is over, [`PowerError::Bmc`] when the BMC refuses or was silent to the end.
pub async fn wait_for_power(bmc: &dyn Bmc, state: PowerState, deadline: Duration) -> Result<(), PowerError> {
    wait(bmc, state, deadline, POLL).await
}

async fn wait(bmc: &dyn Bmc, state: PowerState, limit: Duration, poll: Duration) -> Result<(), PowerError> {
    let start = Instant::now();
    let end = start + limit;
    loop {
        // The last look may begin at the end but not outlast it by more than the driver's own limit.
        let error = match bmc.power().await {
            Ok(now) if now == state => return Ok(()),
            Ok(now) => PowerError::Stays { state: now, waited: start.elapsed() },
            Err(
                error @ (BmcError::Credentials { .. } | BmcError::Certificate { .. } | BmcError::Unsupported { .. }),
            ) => {
                return Err(error.into());
            }
            Err(error) => error.into(),
        };
        let now = Instant::now();
        if now >= end {
            return Err(error);
        }
        sleep(poll.min(end - now)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_domain::power::BootDevice;
    use std::collections::VecDeque;
    use std::sync::Mutex as Plain;
    use tokio::sync::Notify;

    /// A BMC of the tests' own: it answers power from a script, and can hold calls back.
    #[derive(Default)]
    struct Scripted {
        /// What `power` answers, one after the other; the last one stays.
        power: Plain<VecDeque<Result<PowerState, BmcError>>>,
        soft: Option<BmcError>,
        targets: Plain<Vec<PowerTarget>>,
        /// Calls under way, and the most there ever were.
        inside: AtomicU64,
        most: AtomicU64,
        closed: AtomicU64,
        entered: Notify,
        /// `identity` waits for this.
        gate: Notify,
    }

    impl Scripted {
        fn with_power(answers: &[Result<PowerState, BmcError>]) -> Self {
            Scripted { power: Plain::new(answers.iter().cloned().collect()), ..Scripted::default() }
        }

        fn closed(&self) -> u64 {
            self.closed.load(Ordering::SeqCst)
        }
    }

    struct Inside<'a>(&'a Scripted);

    impl<'a> Inside<'a> {
        fn new(bmc: &'a Scripted) -> Self {
            let now = bmc.inside.fetch_add(1, Ordering::SeqCst) + 1;
            bmc.most.fetch_max(now, Ordering::SeqCst);
            Inside(bmc)
        }
    }

    impl Drop for Inside<'_> {
        fn drop(&mut self) {
            self.0.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl Bmc for Scripted {
        async fn identity(&self) -> Result<Identity, BmcError> {
            let _inside = Inside::new(self);
            self.entered.notify_one();
            self.gate.notified().await;
            Ok(Identity::default())
        }

        async fn power(&self) -> Result<PowerState, BmcError> {
            let _inside = Inside::new(self);
            tokio::task::yield_now().await;
            let mut answers = self.power.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().unwrap().clone() }
        }

        async fn set_power(&self, target: PowerTarget) -> Result<(), BmcError> {
            self.targets.lock().unwrap().push(target);
            match (&self.soft, target) {
                (Some(error), PowerTarget::SoftOff) => Err(error.clone()),
                _ => Ok(()),
            }
        }

        async fn boot_device(&self) -> Result<BootSetting, BmcError> {
            Ok(BootSetting { device: BootDevice::None, persistent: false, mode: None })
        }

        async fn set_boot_device(&self, _: BootSetting) -> Result<(), BmcError> {
            Ok(())
        }

        async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
            Ok(Vec::new())
        }

        async fn event_log(&self, _: usize) -> Result<Vec<LogEntry>, BmcError> {
            Ok(Vec::new())
        }

        async fn close(&self) {
            let _inside = Inside::new(self);
            tokio::task::yield_now().await;
            self.closed.fetch_add(1, Ordering::SeqCst);
        }
    }

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(5);

    fn silent() -> BmcError {
        BmcError::Unreachable { address: "192.0.2.1".into(), detail: "no answer".into() }
    }

    async fn eventually(what: &str, happened: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !happened() {
            assert!(Instant::now() < deadline, "never happened: {what}");
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn calls_go_one_after_the_other_and_the_session_ends_once_after_them() {
        let inner = Arc::new(Scripted::with_power(&[Ok(PowerState::On)]));
        let bmc = Arc::new(Guarded::with_linger(inner.clone(), LONG, Duration::from_millis(50)));
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let bmc = bmc.clone();
                tokio::spawn(async move { bmc.power().await })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(PowerState::On));
        }
        eventually("the session is closed", || inner.closed() == 1).await;
        assert_eq!(inner.most.load(Ordering::SeqCst), 1, "one at a time, the close included");
    }

    #[tokio::test]
    async fn a_call_that_hangs_ends_at_its_deadline_and_lets_others_in() {
        let inner = Arc::new(Scripted::with_power(&[Ok(PowerState::On)]));
        let bmc = Guarded::with_linger(inner.clone(), Duration::from_millis(50), Duration::ZERO);
        let error = bmc.identity().await.unwrap_err();
        assert!(
            matches!(&error, BmcError::Unreachable { detail, .. } if detail.contains("not done within")),
            "{error}"
        );
        assert_eq!(bmc.power().await, Ok(PowerState::On));
        eventually("the session is closed", || inner.closed() >= 1).await;
    }

    #[tokio::test]
    async fn who_waits_too_long_for_others_is_told_so() {
        let inner = Arc::new(Scripted::with_power(&[Ok(PowerState::On)]));
        let patient = Arc::new(Guarded::with_linger(inner.clone(), LONG, Duration::ZERO));
        let hanging = tokio::spawn({
            let bmc = patient.clone();
            async move { bmc.identity().await }
        });
        inner.entered.notified().await;
        let hasty = Guarded { shared: patient.shared.clone(), call_limit: Duration::from_millis(20) };
        let error = hasty.power().await.unwrap_err();
        assert!(matches!(&error, BmcError::Unreachable { detail, .. } if detail.contains("busy")), "{error}");
        inner.gate.notify_one();
        assert!(hanging.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_caller_who_goes_away_leaves_no_lock_and_no_session() {
        let inner = Arc::new(Scripted::with_power(&[Ok(PowerState::Off)]));
        let bmc = Arc::new(Guarded::with_linger(inner.clone(), LONG, Duration::ZERO));
        let call = tokio::spawn({
            let bmc = bmc.clone();
            async move { bmc.identity().await }
        });
        inner.entered.notified().await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        eventually("the session is closed", || inner.closed() == 1).await;
        assert_eq!(bmc.power().await, Ok(PowerState::Off));
        assert_eq!(inner.most.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_machine_that_obeys_is_not_cut_off() {
        let bmc = Scripted::with_power(&[
            Ok(PowerState::On),
            Ok(PowerState::On),
            Err(silent()),
            Ok(PowerState::On),
            Ok(PowerState::Off),
        ]);
        assert_eq!(soft_then_hard(&bmc, LONG, SHORT, LONG).await, Ok(PowerOff::Soft));
        assert_eq!(*bmc.targets.lock().unwrap(), [PowerTarget::SoftOff]);
    }

    #[tokio::test]
    async fn a_machine_that_is_off_is_left_alone() {
        let bmc = Scripted::with_power(&[Ok(PowerState::Off)]);
        assert_eq!(soft_then_hard(&bmc, LONG, SHORT, LONG).await, Ok(PowerOff::Already));
        assert!(bmc.targets.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_machine_that_does_not_listen_is_cut_off() {
        let refusals = [
            None,
            Some(BmcError::Unsupported { address: "x".into(), detail: "no ACPI".into() }),
            Some(BmcError::Refused { address: "x".into(), detail: "not now".into() }),
        ];
        for soft in refusals {
            let waits = soft.is_none();
            let mut script = vec![Ok(PowerState::On); if waits { 2 } else { 1 }];
            script.push(Ok(PowerState::Off));
            let bmc = Scripted { soft, ..Scripted::with_power(&script) };
            assert_eq!(soft_then_hard(&bmc, Duration::ZERO, SHORT, LONG).await, Ok(PowerOff::Hard));
            assert_eq!(*bmc.targets.lock().unwrap(), [PowerTarget::SoftOff, PowerTarget::Off]);
        }
    }

    #[tokio::test]
    async fn wrong_credentials_end_the_wait_at_once() {
        let refused = BmcError::Credentials { address: "x".into(), detail: "no".into() };
        let bmc = Scripted { soft: Some(refused.clone()), ..Scripted::with_power(&[Ok(PowerState::On)]) };
        assert_eq!(soft_then_hard(&bmc, LONG, SHORT, LONG).await, Err(refused.clone().into()));
        let bmc = Scripted::with_power(&[Err(refused.clone())]);
        assert_eq!(wait(&bmc, PowerState::On, LONG, SHORT).await, Err(refused.into()));
    }

    #[tokio::test]
    async fn a_state_that_never_comes_is_told_with_the_time_waited() {
        let bmc = Scripted::with_power(&[Ok(PowerState::On)]);
        let error = wait(&bmc, PowerState::Off, Duration::from_millis(20), SHORT).await.unwrap_err();
        assert!(matches!(error, PowerError::Stays { state: PowerState::On, .. }), "{error}");
        assert!(BmcError::from(error).to_string().contains("power on"));
        let bmc = Scripted::with_power(&[Err(silent())]);
        assert_eq!(wait(&bmc, PowerState::Off, SHORT, SHORT).await, Err(silent().into()));
    }
}
