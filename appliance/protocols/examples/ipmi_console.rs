//! A BMC's serial console (serial over LAN) on the terminal, by hand; also how [`Client`] is driven with a plain socket.
//!
//! ```text
//! ipmi_console ADDRESS:PORT USER PASSWORD [--suite 3|17]
//! ```
//!
//! What comes on standard input goes to the machine; when that ends, the console closes two seconds after the last
//! output of the machine.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use leasehold_protocols::ipmi::command::{self, ActivateSol, DeactivateSol};
use leasehold_protocols::ipmi::sol::{Heard, Pace};
use leasehold_protocols::ipmi::{CipherSuite, Client, Credentials, Event, Retry};

type Failure = Box<dyn std::error::Error>;

/// How often standard input is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long the console stays when there is nothing to say any more.
const QUIET: Duration = Duration::from_secs(2);

struct Console {
    socket: UdpSocket,
    client: Client,
    start: Instant,
}

impl Console {
    /// Carries datagrams until something has happened, or until the next look at standard input.
    fn step(&mut self) -> Result<Option<Event>, Failure> {
        while let Some(datagram) = self.client.transmit() {
            self.socket.send(&datagram)?;
        }
        if let Some(event) = self.client.event() {
            return Ok(Some(event));
        }
        let mut buffer = [0; 2048];
        match self.socket.recv(&mut buffer) {
            Ok(len) => self.client.handle(self.start.elapsed(), buffer.get(..len).unwrap_or_default()),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        self.client.tick(self.start.elapsed());
        Ok(self.client.event())
    }

    /// The next event.
    fn event(&mut self) -> Result<Event, Failure> {
        loop {
            match self.step()? {
                Some(Event::Failed(error)) => return Err(error.into()),
                Some(event) => return Ok(event),
                None => {}
            }
        }
    }

    fn ask<C: command::Command>(&mut self, command: C) -> Result<C::Reply, Failure> {
        self.client.request(self.start.elapsed(), &command)?;
        loop {
            if let Event::Reply { completion, data } = self.event()? {
                return Ok(command::read_reply(&command, completion, &data)?);
            }
        }
    }
}

fn input() -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(len @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender.send(buffer.get(..len).unwrap_or_default().to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (address, user, password, suites) = match words.as_slice() {
        [address, user, password] => (*address, *user, *password, CipherSuite::ALL.to_vec()),
        [address, user, password, "--suite", id] => {
            let suite = id.parse().ok().and_then(CipherSuite::from_id).ok_or("the suites are 3 and 17")?;
            (*address, *user, *password, vec![suite])
        }
        _ => return Err("say: ADDRESS:PORT USER PASSWORD [--suite 3|17]".into()),
    };
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(LOOK))?;
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let credentials = Credentials::new(user, password)?;
    let client = Client::open(Duration::ZERO, credentials, &suites, Retry::default(), seed);
    let mut console = Console { socket, client, start: Instant::now() };

    let Event::Ready { suite } = console.event()? else { return Err("the session did not open".into()) };
    let activation = console.ask(ActivateSol)?;
    console.client.start_sol(&activation, Pace::default());
    eprintln!("console open, cipher suite {suite}");

    let input = input();
    let mut ended = false;
    let mut quiet_since = Instant::now();
    while !ended || console.client.unsent_sol() > 0 || quiet_since.elapsed() < QUIET {
        match input.try_recv() {
            Ok(typed) => console.client.write_sol(console.start.elapsed(), &typed)?,
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => ended = true,
        }
        match console.step()? {
            Some(Event::Sol(Heard::Data(data))) => {
                quiet_since = Instant::now();
                std::io::stdout().write_all(&data)?;
                std::io::stdout().flush()?;
            }
            Some(Event::SolLost) => return Err("the BMC has ended the console".into()),
            Some(Event::Failed(error)) => return Err(error.into()),
            _ => {}
        }
    }
    console.ask(DeactivateSol)?;
    console.client.close(console.start.elapsed());
    while console.event()? != Event::Closed {}
    Ok(())
}
