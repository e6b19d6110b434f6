//! Simulated BMCs on loopback for the tests: the protocol crate's simulator behind a UDP socket, and ways to spoil it.

use super::*;
use leasehold_protocols::ipmi::sim::{Config as SimConfig, Machine, Sim};
use std::net::SocketAddr;
use std::sync::Mutex as Plain;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What happens to an answer before it is sent: the datagrams that are sent instead, each after its pause.
pub(super) type Spoil = Box<dyn FnMut(Vec<u8>) -> Vec<(Duration, Vec<u8>)> + Send>;

/// Sends every answer as it is.
pub(super) fn honest() -> Spoil {
    Box::new(|answer| vec![(Duration::ZERO, answer)])
}

pub(super) struct FakeBmc {
    pub(super) address: SocketAddr,
    pub(super) sim: Arc<Plain<Sim<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl FakeBmc {
    pub(super) async fn start(config: SimConfig, machine: Machine) -> FakeBmc {
        FakeBmc::spoiled(config, machine, honest()).await
    }

    pub(super) async fn spoiled(config: SimConfig, machine: Machine, mut spoil: Spoil) -> FakeBmc {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let sim = Arc::new(Plain::new(Sim::new(config, machine, [5; 32])));
        let task = tokio::spawn({
            let sim = sim.clone();
            async move {
                let start = Instant::now();
                let mut buffer = [0; 2048];
                loop {
                    let Ok((len, peer)) = socket.recv_from(&mut buffer).await else { continue };
                    let mut answers = Vec::new();
                    {
                        let mut sim = sim.lock().unwrap();
                        sim.handle(start.elapsed(), peer, &buffer[..len]);
                        while let Some((peer, answer)) = sim.transmit() {
                            answers.extend(spoil(answer).into_iter().map(|(pause, bytes)| (pause, peer, bytes)));
                        }
                    }
                    for (pause, peer, bytes) in answers {
                        let socket = socket.clone();
                        if pause.is_zero() {
                            let _ = socket.send_to(&bytes, peer).await;
                        } else {
                            tokio::spawn(async move {
                                tokio::time::sleep(pause).await;
                                let _ = socket.send_to(&bytes, peer).await;
                            });
                        }
                    }
                }
            }
        });
        FakeBmc { address, sim, task }
    }

    /// The driver's configuration for this BMC.
    pub(super) fn config(&self) -> Config {
        config(self.address)
    }

    pub(super) fn driver(&self) -> IpmiBmc {
        IpmiBmc::new(self.config()).unwrap()
    }

    pub(super) fn open_sessions(&self) -> usize {
        self.sim.lock().unwrap().open_sessions()
    }
}

impl Drop for FakeBmc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Patient enough for a machine that runs many tests at once.
pub(super) fn config(address: SocketAddr) -> Config {
    let mut config = Config::new(address.ip().to_string(), "admin", "password");
    config.port = address.port();
    config.limits = Limits { request: Duration::from_millis(500), tries: 6, call: Duration::from_secs(30) };
    config
}

/// For BMCs from which no answer is expected.
pub(super) fn hurried(address: SocketAddr) -> Config {
    let mut config = config(address);
    config.limits = Limits { request: Duration::from_millis(100), tries: 3, call: Duration::from_secs(30) };
    config
}
