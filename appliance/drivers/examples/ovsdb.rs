//! Asks an Open vSwitch by its database, by hand: the driver without the rest of the program.
//!
//! ```text
//! ovsdb ADDRESS IDLE-VLAN [--pin SHA256 | --ca FILE] [--certificate FILE --key FILE] [--bridge NAME] COMMAND
//! ADDRESS: tcp:HOST:PORT | ssl:HOST:PORT | unix:/PATH
//! COMMAND: check | ports | port NAME | set NAME idle | alone NAME VLAN |
//!          set NAME VLAN [TAGGED-VLAN …]
//! ```

use anyhow::{Context, bail};
use leasehold_drivers::switch::ovsdb::{ClientCertificate, Config, Limits, OvsdbSwitch, Trust};
use leasehold_drivers::switch::{Membership, PortState, Switch, Trunk, Vlan, Wanted};
use std::sync::Arc;
use std::time::Instant;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program for the terminal")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut option = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        let value = words.get(at + 1)?.to_string();
        words.drain(at..at + 2);
        Some(value)
    };
    let trust = match (option("--pin"), option("--ca")) {
        (Some(pin), _) => {
            let bytes: Option<[u8; 32]> =
                hex::decode(pin.replace(':', "")).ok().and_then(|bytes| bytes.try_into().ok());
            Some(Trust::Pinned(bytes.context("--pin needs the 64 hexadecimal digits of a SHA-256")?))
        }
        (None, ca) => ca.map(|file| Trust::Ca(file.into())),
    };
    let own = option("--certificate").zip(option("--key"));
    let certificate = own.map(|(file, key)| ClientCertificate { certificate: file.into(), key: key.into() });
    let bridge = option("--bridge");
    let [address, idle, command @ ..] = words.as_slice() else {
        bail!(
            "say: ADDRESS IDLE-VLAN [--pin SHA256 | --ca FILE] [--certificate FILE --key FILE] [--bridge NAME] COMMAND"
        );
    };
    let config = Config {
        name: (*address).to_owned(),
        address: address.parse()?,
        trust,
        certificate,
        bridge,
        idle: vlan(idle)?,
        limits: Limits::default(),
    };
    let switch = OvsdbSwitch::new(config, Arc::default())?;
    let start = Instant::now();
    match command {
        ["check"] => {
            let checked = switch.check().await?;
            println!("{}", checked.version);
            for warning in checked.warnings {
                println!("warning: {warning}");
            }
        }
        ["ports"] => {
            for port in switch.ports().await? {
                println!("{}", line(&port));
            }
        }
        ["port", name] => println!("{}", line(&switch.port(name).await?)),
        ["set", name, "idle"] => println!("{}", line(&switch.set(name, &Wanted::idle()).await?)),
        ["alone", name, number] => println!("{}", line(&switch.set(name, &Wanted::alone(vlan(number)?)).await?)),
        ["set", name, native, tagged @ ..] => {
            let native = vlan(native)?;
            let wanted = if tagged.is_empty() {
                Membership::Access(native)
            } else {
                let tagged = tagged.iter().map(|number| vlan(number)).collect::<anyhow::Result<_>>()?;
                Membership::Trunk(Trunk::new(native, tagged).context("a VLAN comes either with a tag or without")?)
            };
            println!("{}", line(&switch.set(name, &Wanted::among(wanted)).await?));
        }
        _ => bail!("say: check | ports | port NAME | set NAME idle | alone NAME VLAN | set NAME VLAN [TAGGED-VLAN …]"),
    }
    println!("({} ms)", start.elapsed().as_millis());
    Ok(())
}

fn vlan(text: &str) -> anyhow::Result<Vlan> {
    let number = text.parse().ok().and_then(Vlan::new);
    number.with_context(|| format!("'{text}' is no VLAN: 1 to 4094"))
}

fn line(port: &PortState) -> String {
    let link = match port.link {
        Some(true) => "up",
        Some(false) => "down",
        None => "-",
    };
    let protected = if port.protected { "protected" } else { "" };
    let trouble = port.trouble.as_deref().unwrap_or_default();
    format!("{:20} {:4} {protected:9} {} {trouble}", port.name, link, port.actual)
}
