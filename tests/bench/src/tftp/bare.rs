//! The least that a sender can do: a thread for each transfer, windows by segmentation offload, one content.

use super::client::BLOCK;
use super::gso;
use crate::lab::SERVER;
use anyhow::Result;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The running loop; dropping it ends it.
pub(super) struct Bare {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    content: Vec<u8>,
    stop: AtomicBool,
    /// Processor time of ended transfers, in microseconds.
    spent: AtomicU64,
}

impl Bare {
    /// Listens in the namespace of the calling thread, which its threads inherit.
    pub(super) fn start(content: Vec<u8>) -> Result<Bare> {
        let socket = UdpSocket::bind(SocketAddrV4::new(SERVER, 69))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let shared = Arc::new(Shared { content, stop: AtomicBool::new(false), spent: AtomicU64::new(0) });
        let of_thread = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !of_thread.stop.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    let (request, shared) = (buffer[..length].to_vec(), of_thread.clone());
                    std::thread::spawn(move || {
                        let _ = transfer(&shared, &request, peer);
                        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                        let micros = used.tv_sec * 1_000_000 + used.tv_nsec / 1000;
                        shared.spent.fetch_add(micros.unsigned_abs(), Ordering::Relaxed);
                    });
                }
            }
        });
        Ok(Bare { shared, thread: Some(thread) })
    }

    /// Seconds of processor time of the transfers that have ended.
    pub(super) fn cpu(&self) -> f64 {
        // The last one ends a moment after its client.
        std::thread::sleep(Duration::from_millis(20));
        self.shared.spent.load(Ordering::Relaxed) as f64 / 1e6
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn transfer(shared: &Shared, request: &[u8], peer: SocketAddr) -> std::io::Result<()> {
    let words: Vec<&[u8]> = request[2..].split(|byte| *byte == 0).collect();
    let short = words.first().is_some_and(|file| file.starts_with(b"short"));
    let window = words.get(5).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(1_usize);
    let content = if short { &shared.content[..1_000_000] } else { &shared.content[..] };
    let socket = UdpSocket::bind(SocketAddrV4::new(SERVER, 0))?;
    socket.connect(peer)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    socket.send(format!("\0\x06blksize\0{BLOCK}\0windowsize\0{window}\0").as_bytes())?;
    gso::set_segment(&socket, BLOCK as u16 + 4)?;
    let blocks = content.len() / BLOCK + 1;
    let (mut acknowledged, mut silent) = (0, 0);
    let mut answer = [0; 600];
    let mut batch = Vec::with_capacity(64 * (BLOCK + 4));
    // The first wait is for the ACK of the options.
    let mut sent = 0;
    loop {
        match socket.recv(&mut answer) {
            Ok(4) if answer[..2] == [0, 4] => {
                silent = 0;
                let low = u16::from_be_bytes([answer[2], answer[3]]);
                acknowledged += usize::from(low.wrapping_sub(acknowledged as u16));
                if acknowledged >= blocks {
                    return Ok(());
                }
                if acknowledged > sent {
                    return Ok(());
                }
            }
            Ok(_) => return Ok(()),
            Err(_) if silent > 100 => return Ok(()),
            Err(_) => silent += 1,
        }
        sent = (acknowledged + window).min(blocks);
        for run in (acknowledged..sent).collect::<Vec<_>>().chunks(44) {
            batch.clear();
            for block in run {
                batch.extend([0, 3]);
                batch.extend(((block + 1) as u16).to_be_bytes());
                batch.extend(&content[block * BLOCK..((block + 1) * BLOCK).min(content.len())]);
            }
            socket.send(&batch)?;
        }
    }
}
