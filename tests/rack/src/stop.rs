//! The wish to stop (Ctrl-C, SIGTERM, SIGHUP), seen by every wait of the program.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Shared by all threads; once requested it stays so.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

/// The error that a wait ends with when a stop was requested.
#[derive(Debug, thiserror::Error)]
#[error("stopped on request")]
pub struct Stopped;

impl Stop {
    /// A token that SIGINT, SIGTERM and SIGHUP request. Call it once, before other threads exist.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let token = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, installed) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async move {
                use tokio::signal::unix::{SignalKind, signal};
                let kinds =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
                let (Ok(mut int), Ok(mut term), Ok(mut hup)) = kinds else {
                    let _ = ready.send(false);
                    return;
                };
                let _ = ready.send(true);
                loop {
                    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
                    token.request();
                }
            });
        })?;
        if !installed.recv().unwrap_or(false) {
            bail!("the signal handlers cannot be installed");
        }
        Ok(stop)
    }

    /// Asks everybody to stop.
    pub fn request(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`Stopped`] when a stop was requested.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Stopped.into()) } else { Ok(()) }
    }

    /// Waits for the request, at most `duration`; true when it came.
    pub fn wait(&self, duration: Duration) -> bool {
        let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(guard, duration, |requested| !*requested);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Asks `ready` every `every` until it gives a value; `what` names the thing waited for in the error.
    ///
    /// # Errors
    /// `ready`'s own, [`Stopped`], or that `what` did not happen within `limit`.
    pub fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        every: Duration,
        mut ready: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = ready()? {
                return Ok(value);
            }
            if Instant::now() >= deadline {
                bail!("{what} did not happen within {} s", limit.as_secs());
            }
            if self.wait(every) {
                return Err(Stopped.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_a_wait_at_once() {
        let stop = Stop::default();
        let other = stop.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.request();
        assert!(waiter.join().unwrap());
        assert!(stop.check().is_err());
    }

    #[test]
    fn until_names_what_did_not_happen() {
        let stop = Stop::default();
        let error = stop.until::<()>("the sunrise", Duration::ZERO, Duration::from_millis(1), || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("the sunrise"), "{error}");
        let value = stop.until("now", Duration::ZERO, Duration::from_millis(1), || Ok(Some(7))).unwrap();
        assert_eq!(value, 7);
    }
}
