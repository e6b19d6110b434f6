//! Serves a simulated BMC over UDP, for `ipmitool` and for racks without BMCs:
//!
//! ```text
//! bmc_sim [--listen ADDR:PORT] [--user NAME] [--password TEXT] [--suite 3|17]... [--power on|off]
//! ipmitool -I lanplus -C 17 -H 127.0.0.1 -p PORT -U admin -P password chassis power status
//! ```
//!
//! Says where it listens, then every change of power, boot flags and sessions. The serial line repeats what is typed.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use leasehold_protocols::ipmi::CipherSuite;
use leasehold_protocols::ipmi::sim::{Config, Machine, Sim};

struct Options {
    listen: SocketAddr,
    config: Config,
    machine: Machine,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        config: Config::default(),
        machine: Machine::default(),
    };
    let mut suites = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let user = options.config.users.first_mut().ok_or("no user")?;
        match name.as_str() {
            "--listen" => options.listen = value.parse().map_err(|why| format!("--listen {value}: {why}"))?,
            "--user" => user.name = value,
            "--password" => user.password = value,
            "--suite" => {
                let suite = value.parse().ok().and_then(CipherSuite::from_id);
                suites.push(suite.ok_or_else(|| format!("--suite {value}: 3 and 17 are known"))?);
            }
            "--power" => options.machine.power_on = value == "on",
            _ => return Err(format!("{name} is not known")),
        }
    }
    if !suites.is_empty() {
        options.config.suites = suites;
    }
    Ok(options)
}

fn seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
    Ok(seed)
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = options()?;
    let socket = UdpSocket::bind(options.listen)?;
    let address = socket.local_addr()?;
    options.config.port = address.port();
    println!("listening on {address}");

    let start = Instant::now();
    let mut sim: Sim<SocketAddr> = Sim::new(options.config, options.machine, seed()?);
    let mut shown = String::new();
    let mut buffer = [0; 2048];
    loop {
        let state = format!(
            "power {}, boot {:?}, {} sessions{}",
            if sim.machine.power_on { "on" } else { "off" },
            sim.machine.boot,
            sim.open_sessions(),
            if sim.has_console() { ", console" } else { "" },
        );
        if state != shown {
            println!("{state}");
            shown = state;
        }
        let now = start.elapsed();
        let wait = sim.deadline().map(|at| at.saturating_sub(now).max(Duration::from_millis(1)));
        socket.set_read_timeout(wait)?;
        match socket.recv_from(&mut buffer) {
            Ok((len, peer)) => sim.handle(start.elapsed(), peer, buffer.get(..len).unwrap_or_default()),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        sim.tick(start.elapsed());
        let typed = sim.read_serial();
        if !typed.is_empty() {
            let echo = [b"you typed: ", typed.as_slice(), b"\r\n"].concat();
            sim.write_serial(start.elapsed(), &echo);
        }
        while let Some((peer, datagram)) = sim.transmit() {
            // A peer that has gone away is no reason to end.
            let _ = socket.send_to(&datagram, peer);
        }
    }
}
