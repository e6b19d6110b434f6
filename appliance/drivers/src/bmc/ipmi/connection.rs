//! One session over one UDP socket: carries the protocol's datagrams, and waits for what it wants to wait for.
//!
//! The socket is connected, so that the kernel drops what comes from other addresses and ports, and tells when nobody
//! listens. A connection that is dropped sends the BMC the end of the session: sessions are few there.

use super::Target;
use super::failure::Failure;
use leasehold_protocols::ipmi::client::{Client, Event, SessionError, Step};
use leasehold_protocols::ipmi::command::{self, Command};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// More than any message of RMCP+ that this end asks for.
const DATAGRAM: usize = 2048;

#[derive(Debug)]
pub(super) struct Connection {
    socket: UdpSocket,
    client: Client,
    origin: Instant,
    target: Arc<Target>,
    /// The host answered that nobody listens at the port.
    nobody_listens: bool,
}

impl Connection {
    /// Opens a session.
    pub(super) async fn open(target: Arc<Target>) -> Result<Connection, Failure> {
        let socket = connect(&target).await?;
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| Failure::Network("there is no randomness".to_owned()))?;
        let client = Client::open(Duration::ZERO, target.credentials.clone(), &target.suites, target.retry, seed);
        let mut connection =
            Connection { socket, client, origin: Instant::now(), target: target.clone(), nobody_listens: false };
        match connection.event().await? {
            Event::Ready { suite } => {
                tracing::debug!(bmc = %target, %suite, "session open");
                Ok(connection)
            }
            event => Err(connection.failure(event)),
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn ask<C: Command>(&mut self, command: &C) -> Result<C::Reply, Failure> {
        if self.client.request(self.origin.elapsed(), command).is_err() {
            // A call before this one was given up between question and answer, or the session has ended.
            let error = SessionError::NoAnswer { step: Step::Command(command.command()), heard: true };
            return Err(Failure::Session { error, noise: None });
        }
        loop {
            match self.event().await? {
                Event::Reply { completion, data } => return Ok(command::read_reply(command, completion, &data)?),
                Event::Sol(_) | Event::SolLost => {}
                event => return Err(self.failure(event)),
            }
        }
    }

    /// The answer to a command that a BMC need not know: `None` when it refuses.
    pub(super) async fn ask_optional<C: Command>(&mut self, command: &C) -> Result<Option<C::Reply>, Failure> {
        match self.ask(command).await {
            Ok(reply) => Ok(Some(reply)),
            Err(Failure::Command(error)) => {
                tracing::debug!(bmc = %self.target, %error, "an optional command was refused");
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Ends the session and waits for the BMC's word, or until it does not come.
    pub(super) async fn close(mut self) {
        self.client.close(self.origin.elapsed());
        while let Ok(event) = self.event().await {
            if matches!(event, Event::Closed | Event::Failed(_)) {
                break;
            }
        }
    }

    /// Carries datagrams until something has happened.
    async fn event(&mut self) -> Result<Event, Failure> {
        let mut buffer = [0; DATAGRAM];
        loop {
            while let Some(datagram) = self.client.transmit() {
                self.send(&datagram).await?;
            }
            if let Some(event) = self.client.event() {
                return Ok(event);
            }
            let Some(deadline) = self.client.deadline() else {
                return Err(Failure::Nonsense("the session waits for nothing"));
            };
            let deadline = self.origin + deadline;
            match tokio::time::timeout_at(deadline, self.socket.recv(&mut buffer)).await {
                Ok(Ok(len)) => {
                    self.client.handle(self.origin.elapsed(), buffer.get(..len).unwrap_or_default());
                }
                Ok(Err(error)) => self.noticed(&error)?,
                Err(_) => {}
            }
            // Also after a datagram: a peer that never stops sending must not stop the clock.
            if Instant::now() >= deadline {
                self.client.tick(self.origin.elapsed());
            }
        }
    }

    async fn send(&mut self, datagram: &[u8]) -> Result<(), Failure> {
        match self.socket.send(datagram).await {
            Ok(_) => Ok(()),
            Err(error) => self.noticed(&error),
        }
    }

    /// A refused port is noted and waited out: a BMC that restarts looks like that for a moment.
    fn noticed(&mut self, error: &std::io::Error) -> Result<(), Failure> {
        if error.kind() == ErrorKind::ConnectionRefused {
            self.nobody_listens = true;
            return Ok(());
        }
        Err(Failure::Network(error.to_string()))
    }

    fn failure(&self, event: Event) -> Failure {
        match event {
            Event::Failed(SessionError::NoAnswer { heard: false, .. }) if self.nobody_listens => {
                Failure::Network(format!(
                    "the host is there, but nothing listens at UDP port {}: is IPMI over LAN switched on?",
                    self.target.port
                ))
            }
            Event::Failed(error) => {
                let noise = match self.client.dropped() {
                    (0, _) | (_, None) => None,
                    (count, Some(why)) => Some((count, why.to_owned())),
                };
                let noise = noise.filter(|_| matches!(error, SessionError::NoAnswer { heard: false, .. }));
                Failure::Session { error, noise }
            }
            _ => Failure::Nonsense("an event out of its turn"),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(datagram) = self.client.abandon() {
            // UDP: it goes into the socket's buffer, or the BMC ends the session by itself after a minute.
            let _ = self.socket.try_send(&datagram);
        }
    }
}

async fn connect(target: &Target) -> Result<UdpSocket, Failure> {
    let addresses = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(|why| Failure::Network(format!("its name cannot be resolved: {why}")))?;
    let mut last = "its name has no address".to_owned();
    for address in addresses {
        match connect_to(address).await {
            Ok(socket) => return Ok(socket),
            Err(why) => last = why.to_string(),
        }
    }
    Err(Failure::Network(last))
}

async fn connect_to(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}
