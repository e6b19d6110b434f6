//! Accepting connections, within bounds, and running hyper on each.

use super::answer::answer;
use super::lanes::Lanes;
use super::timer::ConnectionTimer;
use super::transport::{RecentFiles, Transport};
use super::{BootSite, HttpLimits};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long to wait when no more descriptors are to be had.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(200);
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 48\r\n\
    Retry-After: 1\r\nConnection: close\r\n\r\ntoo many connections; the machine should retry.\n";

/// Serves `site` on `listener` until the future is dropped, which ends all connections.
///
/// # Errors
/// The listening socket itself is broken, or no thread can be had.
pub async fn serve(listener: TcpListener, site: Arc<BootSite>) -> io::Result<Infallible> {
    let seats = Arc::new(Seats::default());
    let limits = site.limits;
    let mut lanes = Lanes::start(move |stream, seat| connection(stream, Arc::clone(&site), seat))?;
    loop {
        let (stream, address) = match listener.accept().await {
            Ok((stream, address)) => (stream, address.ip().to_canonical()),
            Err(error) => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::BADF | rustix::io::Errno::INVAL | rustix::io::Errno::NOTSOCK) => {
                    return Err(error);
                }
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM) => {
                    tracing::warn!(%error, "boot HTTP cannot take more connections for now");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                    continue;
                }
                // The client left while it waited in the queue.
                _ => continue,
            },
        };
        match Seats::take(&seats, address, &limits) {
            Some(seat) => lanes.give(stream, seat),
            None => {
                // A fresh socket has room for this; what does not go out is not worth waiting for.
                let _ = stream.try_write(TOO_MANY);
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<BootSite>, seat: Seat) {
    let address = seat.1;
    // Without it the end of an answer waits for the client's delayed ACK: 40 ms each.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let client_ip: Option<Ipv4Addr> = match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let recent = Arc::new(RecentFiles::default());
    let limits = site.limits;
    let io = TokioIo::new(Transport::new(stream, Arc::clone(&recent), limits.stall_time));
    let service = service_fn(move |request| {
        let response = answer(&site, client_ip, &recent, &request);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = http1::Builder::new()
        .timer(ConnectionTimer::new(limits.head_time))
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes.max(8192))
        .max_headers(limits.head_fields)
        .serve_connection(io, service)
        .await;
    if let Err(error) = served {
        // What it meant for an answer is in the trace; the rest is clients that speak no HTTP or leave.
        tracing::debug!(%address, %error, "boot HTTP connection ended");
    }
}

/// How many connections there are, and from whom.
#[derive(Debug, Default)]
struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    of: HashMap<IpAddr, usize>,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
struct Seat(Arc<Seats>, IpAddr);

impl Seats {
    fn take(seats: &Arc<Self>, address: IpAddr, limits: &HttpLimits) -> Option<Seat> {
        let mut taken = seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.of.get(&address).copied().unwrap_or(0);
        if taken.total >= limits.connections || own >= limits.connections_per_client {
            return None;
        }
        taken.total += 1;
        taken.of.insert(address, own + 1);
        Some(Seat(Arc::clone(seats), address))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= 1;
        if let Some(own) = taken.of.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.1);
            }
        }
    }
}
