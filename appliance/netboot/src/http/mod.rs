//! The HTTP server of the boot network: boot files by `sendfile`, and each machine's boot script.
//! In: a listening socket on a provisioning interface, the boot file tree, and a [`ScriptSource`] that decides.
//! Out: `GET|HEAD /boot/<path>` a file of the tree, with ranges; `/boot/script/<mac>` and `/boot/script` a script as
//! plain text; 404 with a sentence for everything else; one boot-trace event per request.
//! hyper speaks the protocol; how the bytes of a file get past it into `sendfile` is told in `transport.rs`.

mod answer;
mod body;
mod connections;
mod lanes;
mod range;
mod route;
mod timer;
mod transport;

pub use connections::serve;

use crate::files::BootFiles;
use crate::trace::TraceSink;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// What is served, to whom it is told, and within which bounds.
pub struct BootSite {
    /// The boot file tree.
    pub files: Arc<BootFiles>,
    /// Who writes the boot scripts.
    pub scripts: Arc<dyn ScriptSource>,
    /// Who hears of each request.
    pub trace: TraceSink,
    /// The bounds.
    pub limits: HttpLimits,
}

/// Bounds on what clients may take. The boot network is open to whoever is plugged in.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Connections at once, in total.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_client: usize,
    /// Greatest size of a request's head in bytes; at least 8192.
    pub head_bytes: usize,
    /// Most header fields of a request.
    pub head_fields: usize,
    /// Longest time for the head of a request to arrive, and for a connection to be idle.
    pub head_time: Duration,
    /// Longest time in which a client takes nothing at all of an answer.
    pub stall_time: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            connections: 1024,
            connections_per_client: 64,
            head_bytes: 16 << 10,
            head_fields: 64,
            head_time: Duration::from_secs(30),
            stall_time: Duration::from_secs(60),
        }
    }
}

/// A request for a boot script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptRequest {
    /// The MAC address in the path, if there was one.
    pub mac: Option<[u8; 6]>,
    /// Where the request came from; none for IPv6.
    pub client_ip: Option<Ipv4Addr>,
    /// The query's pairs, decoded, in their order. iPXE templates put facts about the machine here.
    pub query: Vec<(String, String)>,
}

/// What a [`ScriptSource`] has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptAnswer {
    /// The script, sent as it is.
    Script(String),
    /// There is none for this machine; the sentence says why, for the person at its screen.
    NotFound(String),
}

/// Decides what a booting machine gets. Called on the server's threads for each request: it must answer from memory.
pub trait ScriptSource: Send + Sync {
    /// The script for `request`.
    fn script(&self, request: &ScriptRequest) -> ScriptAnswer;
}

#[cfg(test)]
mod tests;
