//! What a person in front of the machine sees: plain sentences on every console the kernel uses, and how far the
//! work is, which the command service shows as well. A slow or unplugged serial line never holds the work up.

use leasehold_wire::agent::Progress;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A progress line is written at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// The consoles, shared by all threads.
#[derive(Clone)]
pub struct Console {
    inner: Arc<Inner>,
}

struct Inner {
    outputs: Mutex<Vec<Box<dyn Write + Send>>>,
    progress: Mutex<Option<Shown>>,
}

struct Shown {
    progress: Progress,
    printed: Instant,
}

impl Console {
    /// Every console of the running kernel (`/sys/class/tty/console/active`), or standard error where there is none.
    #[must_use]
    pub fn of_kernel() -> Console {
        let mut outputs: Vec<Box<dyn Write + Send>> = Vec::new();
        let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        for name in active.split_ascii_whitespace() {
            if let Ok(device) = open_terminal(&format!("/dev/{name}")) {
                outputs.push(Box::new(device));
            }
        }
        if outputs.is_empty() {
            outputs.push(Box::new(std::io::stderr()));
        }
        Console::to(outputs)
    }

    /// Standard error only: for a person who runs the agent by hand.
    #[must_use]
    pub fn of_stderr() -> Console {
        Console::to(vec![Box::new(std::io::stderr())])
    }

    /// To the given outputs; none for silence.
    #[must_use]
    pub fn to(outputs: Vec<Box<dyn Write + Send>>) -> Console {
        Console { inner: Arc::new(Inner { outputs: Mutex::new(outputs), progress: Mutex::new(None) }) }
    }

    /// One sentence.
    pub fn say(&self, text: &str) {
        let line = format!("Leasehold: {text}\r\n");
        for output in lock(&self.inner.outputs).iter_mut() {
            // A console that cannot take a line now loses the line, not the machine's time.
            let _ = output.write_all(line.as_bytes());
            let _ = output.flush();
        }
    }

    /// How far the work is. Shown on the consoles every few seconds, and readable at any time ([`Self::progress`]).
    pub fn advance(&self, text: &str, done: u64, total: u64) {
        let line = {
            let mut slot = lock(&self.inner.progress);
            let now = Instant::now();
            let progress = Progress { text: text.to_owned(), done, total };
            match slot.as_mut() {
                Some(shown) if shown.progress.text == text && now - shown.printed < PROGRESS_EVERY => {
                    shown.progress = progress;
                    None
                }
                _ => {
                    *slot = Some(Shown { progress, printed: now });
                    Some(match total {
                        0 => format!("{text} …"),
                        _ => format!("{text} … {} %", u128::from(done) * 100 / u128::from(total)),
                    })
                }
            }
        };
        if let Some(line) = line {
            self.say(&line);
        }
    }

    /// The work that [`Self::advance`] spoke of last, until [`Self::finish`].
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        lock(&self.inner.progress).as_ref().map(|shown| shown.progress.clone())
    }

    /// No work is under way any more.
    pub fn finish(&self) {
        *lock(&self.inner.progress) = None;
    }
}

/// Not as controlling terminal, and never waiting for a line that takes no bytes.
fn open_terminal(path: &str) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An output for tests that keeps what was said.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Kept(pub(crate) Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
impl Kept {
    pub(crate) fn console(&self) -> Console {
        Console::to(vec![Box::new(self.clone())])
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_kept_and_not_repeated_too_often() {
        let kept = Kept::default();
        let console = kept.console();
        console.advance("writing image", 0, 200);
        console.advance("writing image", 86, 200);
        assert_eq!(console.progress(), Some(Progress { text: "writing image".into(), done: 86, total: 200 }));
        console.advance("checking image", 100, 200);
        assert_eq!(kept.text(), "Leasehold: writing image … 0 %\r\nLeasehold: checking image … 50 %\r\n");
        console.finish();
        assert_eq!(console.progress(), None);
    }
}
