//! The BMC of the simulated node: the protocol crate's simulator on the box's loopback.

use anyhow::{Context, Result};
use leasehold_protocols::ipmi::sim::{Config, Machine, Sim};
use leasehold_rack::netns::Namespace;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) const PORT: u16 = 6230;
/// How long a look for packets lasts at most, and so the end of the thread.
const LOOK: Duration = Duration::from_millis(50);

/// A running BMC; it ends when this is dropped.
pub(crate) struct Bmc {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bmc {
    pub(crate) fn start(of_box: &Namespace) -> Result<Bmc> {
        let socket = of_box.run(|| UdpSocket::bind(("127.0.0.1", PORT)))?.context("the BMC's port")?;
        socket.set_read_timeout(Some(LOOK))?;
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let sim = Sim::new(Config { port: PORT, ..Config::default() }, Machine::default(), [7; 32]);
        let thread = std::thread::spawn(move || serve(&socket, sim, &flag));
        Ok(Bmc { ended, thread: Some(thread) })
    }
}

fn serve(socket: &UdpSocket, mut sim: Sim<SocketAddr>, ended: &AtomicBool) {
    let start = Instant::now();
    let mut buffer = [0; 2048];
    while !ended.load(Ordering::SeqCst) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            sim.handle(start.elapsed(), peer, &buffer[..length]);
        }
        sim.tick(start.elapsed());
        while let Some((peer, datagram)) = sim.transmit() {
            // A peer that has gone away asks again or not at all.
            let _ = socket.send_to(&datagram, peer);
        }
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
