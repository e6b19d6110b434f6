//! The TFTP server: one thread, one event loop, one socket per transfer, the packets by `protocols::tftp`.
//! In: the addresses to listen on, the boot file tree, and a callback for boot-trace events.
//! Out: files to firmware, in batches that the kernel cuts into packets (GSO), straight from the shared mapping.
//! Each transfer has a port of its own (RFC 1350, section 4) on the address that was asked. Transfers are bounded in
//! total and per client address; their state is a few hundred bytes, so hundreds at once are nothing special.

mod gso;
mod socket;
mod table;
mod timers;
mod worker;

use crate::files::BootFiles;
use crate::trace::TraceSink;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use thiserror::Error;

/// An address to answer on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address of the boot interface and the port, 69 but in tests. Not 0.0.0.0: answers must come from the
    /// address that was asked, and an interface that is not named must not be served.
    pub address: SocketAddrV4,
    /// Where given, only packets that came in by this interface are served (needs CAP_NET_RAW on old kernels).
    pub interface: Option<String>,
}

/// What the server may use.
#[derive(Debug, Clone)]
pub struct TftpConfig {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Transfers at once in total; each takes a socket.
    pub most_transfers: usize,
    /// Transfers at once to one address. Several machines may share one behind a relay that translates.
    pub most_per_client: usize,
    /// Greatest window granted, in blocks.
    pub windowsize: u16,
    /// Greatest block granted, in bytes; what the client's link carries in one frame is an upper bound anyway.
    pub blksize: u16,
}

impl TftpConfig {
    /// The usual bounds on these addresses.
    #[must_use]
    pub fn new(listen: Vec<Listen>) -> Self {
        TftpConfig { listen, most_transfers: 512, most_per_client: 16, windowsize: 64, blksize: 65464 }
    }
}

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum TftpError {
    /// No single address to answer from.
    #[error("TFTP cannot listen on {0}: name the address of each boot interface, as answers must come from it")]
    Unspecific(SocketAddrV4),
    /// The address cannot be had.
    #[error("TFTP cannot listen on {address}: {source}{}", hint(.source))]
    Bind { address: SocketAddrV4, source: io::Error },
    /// The kernel refuses what every event loop needs.
    #[error("TFTP cannot start: {0}")]
    Start(#[from] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ". Another TFTP server has it; stop that one",
        io::ErrorKind::PermissionDenied => ". Ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => ". No interface of this machine has that address",
        _ => "",
    }
}

/// A running server. Dropping it ends all transfers and its thread.
#[derive(Debug)]
pub struct TftpServer {
    addresses: Vec<SocketAddrV4>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl TftpServer {
    /// Binds all addresses and starts serving.
    ///
    /// # Errors
    /// [`TftpError`]; nothing has been started then.
    pub fn start(config: &TftpConfig, files: Arc<BootFiles>, trace: TraceSink) -> Result<Self, TftpError> {
        let mut listeners = Vec::new();
        for listen in &config.listen {
            if listen.address.ip().is_unspecified() {
                return Err(TftpError::Unspecific(listen.address));
            }
            let bound = socket::listen(listen.address, listen.interface.as_deref());
            listeners.push(bound.map_err(|source| TftpError::Bind { address: listen.address, source })?);
        }
        let addresses = listeners.iter().map(socket::Listener::address).collect();
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?;
        let worker = worker::Worker::new(config, listeners, &stop, files, trace)?;
        let thread = std::thread::Builder::new().name("tftp".to_owned()).spawn(move || worker.run())?;
        Ok(TftpServer { addresses, stop, thread: Some(thread) })
    }

    /// The addresses it listens on, in the order of the configuration, with the ports that were really taken.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }

    /// Whether the server still serves; false would be a defect and is for the health check.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for TftpServer {
    fn drop(&mut self) {
        // Cannot fail but by a counter at its limit, and then the thread has been woken anyway.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
