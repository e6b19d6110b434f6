//! Many clients at once in one thread: a hundred threads would take the server's processor time away by their number.

use super::client::{BLOCK, Progress, Receiver};
use crate::lab::{SERVER, address_of};
use anyhow::Result;
use rustix::event::{Timespec, epoll};
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// What came of it.
pub(super) struct Outcome {
    pub(super) bytes: u64,
    /// Clients whose file was not whole in time.
    pub(super) stalled: usize,
    pub(super) seconds: f64,
}

struct Client {
    socket: UdpSocket,
    receiver: Receiver,
    request: Vec<u8>,
    heard: Instant,
    over: bool,
}

/// A transfer of `file` from each of the first `count` addresses.
pub(super) fn run(file: &str, size: u64, window: u16, count: u32, limit: Duration) -> Result<Outcome> {
    let began = Instant::now();
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut clients = Vec::new();
    for number in 0..count {
        let socket = UdpSocket::bind(SocketAddrV4::new(address_of(number), 0))?;
        socket.set_nonblocking(true)?;
        epoll::add(&poll, &socket, epoll::EventData::new_u64(u64::from(number)), epoll::EventFlags::IN)?;
        let request = Receiver::request(file, window);
        socket.send_to(&request, SocketAddrV4::new(SERVER, 69))?;
        clients.push(Client { socket, receiver: Receiver::default(), request, heard: began, over: false });
    }
    let mut events = Vec::with_capacity(256);
    let mut buffer = [0; BLOCK + 64];
    let mut looked = began;
    while clients.iter().any(|client| !client.over) && began.elapsed() < limit {
        let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
        for event in events.drain(..) {
            if let Some(client) = clients.get_mut(usize::try_from(event.data.u64())?) {
                client.read(&mut buffer)?;
            }
        }
        if looked.elapsed() > Duration::from_millis(50) {
            looked = Instant::now();
            for client in
                clients.iter_mut().filter(|client| !client.over && client.heard.elapsed() > Duration::from_secs(1))
            {
                client.heard = looked;
                match client.receiver.again() {
                    Some((ack, peer)) => client.socket.send_to(&ack, peer)?,
                    None => client.socket.send_to(&client.request, SocketAddrV4::new(SERVER, 69))?,
                };
            }
        }
    }
    let whole = |client: &&Client| client.receiver.bytes == size;
    Ok(Outcome {
        bytes: clients.iter().map(|client| client.receiver.bytes).sum(),
        stalled: clients.len() - clients.iter().filter(whole).count(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

impl Client {
    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        while !self.over {
            let Ok((length, from)) = self.socket.recv_from(buffer) else { return Ok(()) };
            self.heard = Instant::now();
            match self.receiver.take(&buffer[..length], from) {
                Progress::Nothing => {}
                Progress::Answer(ack) => {
                    self.socket.send_to(&ack, from)?;
                }
                Progress::End(ack) => {
                    self.socket.send_to(&ack, from)?;
                    self.over = true;
                }
                Progress::Refused(_) => self.over = true,
            }
        }
        Ok(())
    }
}
