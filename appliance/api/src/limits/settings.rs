//! What is bounded, and where the bounds are when nobody says.

use super::rate::Rate;
use std::time::Duration;

/// The bounds of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests of a user who has shown who he is.
    pub user_rate: Rate,
    /// Requests from an address of which it is not known whose they are: discovery, logins, what is refused with 401.
    pub address_rate: Rate,
    /// Requests at a time: of all, of one user, and from one address as long as it is not known whose they are.
    pub requests: usize,
    pub user_requests: usize,
    pub address_requests: usize,
    /// Uploads, downloads and feeds at a time: of all, and of one user. They are none of the requests above: they last long.
    pub streams: usize,
    pub user_streams: usize,
    /// Changes of one user that are with the committer at a time; his others wait.
    pub user_changes: usize,
    /// Calls of agents at a time, without their images. There is no bound for an address: a rack may stand behind one.
    pub agent_requests: usize,
    /// Connections at a time: of a listener, and from one address to the listener for users.
    pub connections: usize,
    pub address_connections: usize,
    /// Rows of a page, which is also what a list has when nothing is said.
    pub page_rows: usize,
    /// Bytes of a body, by service. The bodies of images are bounded by what images may have.
    pub bare_metal_body: usize,
    pub identity_body: usize,
    pub network_body: usize,
    pub image_body: usize,
    /// Bytes of a request's headers, names and values together.
    pub header_bytes: usize,
    /// Bytes of path and query.
    pub target_bytes: usize,
    /// How long a TLS handshake or the head of a request may take.
    pub head_time: Duration,
    /// How long a connection may be without a request.
    pub idle_time: Duration,
    /// How long nothing may come of a body, or be taken of an answer.
    pub stall_time: Duration,
    /// Requests that are computed at a time.
    pub parallel: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            user_rate: Rate { per_second: 300, burst: 3000 },
            address_rate: Rate { per_second: 50, burst: 1000 },
            requests: 1024,
            user_requests: 128,
            address_requests: 128,
            streams: 1024,
            user_streams: 32,
            user_changes: 32,
            agent_requests: 2048,
            connections: 4096,
            address_connections: 512,
            page_rows: 1000,
            // A config drive is the largest thing in one.
            bare_metal_body: leasehold_engine::config_drive::MAX_PACKED + (1 << 20),
            identity_body: 64 << 10,
            network_body: 256 << 10,
            image_body: 1 << 20,
            header_bytes: 32 << 10,
            target_bytes: 16 << 10,
            head_time: Duration::from_secs(15),
            idle_time: Duration::from_secs(75),
            stall_time: Duration::from_secs(90),
            parallel: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}
