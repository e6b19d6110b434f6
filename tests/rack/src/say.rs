//! What the person at the terminal sees: one line per step, with the seconds since the start.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Starts the clock of the lines. The first call counts.
pub fn start_clock() {
    START.get_or_init(Instant::now);
}

/// One line of progress: `  12.3 s  who       what`.
pub fn step(who: &str, what: &str) {
    plain(&format!("{}  {who:<9} {what}", seconds()));
}

/// The time of the run, as the lines show it.
pub fn seconds() -> String {
    format!("{:6.1} s", START.get_or_init(Instant::now).elapsed().as_secs_f64())
}

/// One line as it is. A closed terminal or pipe is no reason to stop: the rack still has to be torn down.
pub fn plain(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// One line for the error stream.
pub fn warn(line: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
