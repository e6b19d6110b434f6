//! Asks a BMC by IPMI, by hand: the driver without the rest of the program.
//!
//! ```text
//! ipmi ADDRESS[:PORT] USER PASSWORD [--suite 3|17] COMMAND
//! COMMAND: identity | power | sensors | log | boot
//!          on | off | soft | reboot | soft-then-hard SECONDS
//!          boot pxe|disk|cdrom|bios|none [persistent] [uefi]
//!          nmi | reset-bmc cold|warm | raw BYTES
//! ```

use anyhow::{Context, bail};
use leasehold_domain::power::{BootDevice, BootMode, BootSetting, PowerTarget};
use leasehold_drivers::bmc::Bmc;
use leasehold_drivers::bmc::features::{RawRequest, VendorCall};
use leasehold_drivers::bmc::guard::{Guarded, power_off_soft_then_hard};
use leasehold_drivers::bmc::ipmi::{Config, IpmiBmc};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program for the terminal")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let suite = match words.iter().position(|word| *word == "--suite") {
        Some(at) => {
            let id = words.get(at + 1).context("--suite needs a number")?.parse()?;
            words.drain(at..at + 2);
            Some(id)
        }
        None => None,
    };
    let [address, user, password, command @ ..] = words.as_slice() else {
        bail!("say: ADDRESS[:PORT] USER PASSWORD [--suite 3|17] COMMAND");
    };
    let mut config = Config::new(*address, *user, *password);
    if let Some((host, port)) = address.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
    {
        config.address = host.to_owned();
        config.port = port.parse()?;
    }
    config.cipher_suite = suite;
    let bmc = Guarded::new(Arc::new(IpmiBmc::new(config)?), Duration::from_secs(45));
    let start = Instant::now();
    match command {
        ["identity"] => println!("{:#?}", bmc.identity().await?),
        ["power"] => println!("{}", bmc.power().await?.name()),
        ["sensors"] => {
            for sensor in bmc.sensors().await? {
                let value = sensor.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
                println!("{:20} {value:>10} {:8} {}", sensor.name, sensor.unit, sensor.health.unwrap_or_default());
            }
        }
        ["log"] => {
            for entry in bmc.event_log(20).await? {
                let (time, severity) = (entry.time.unwrap_or_default(), entry.severity.unwrap_or_default());
                println!("{:>5} {time:20} {severity:8} {}", entry.id, entry.message);
            }
        }
        ["boot"] => println!("{:?}", bmc.boot_device().await?),
        ["boot", device, options @ ..] => {
            let device = BootDevice::from_name(device).context("no such device")?;
            let mode = if options.contains(&"uefi") { BootMode::Uefi } else { BootMode::Bios };
            let persistent = options.contains(&"persistent");
            bmc.set_boot_device(BootSetting { device, persistent, mode: Some(mode) }).await?;
            println!("{:?}", bmc.boot_device().await?);
        }
        ["nmi"] => bmc.inject_nmi().await?,
        ["reset-bmc", how @ ("cold" | "warm")] => bmc.vendor(VendorCall::ResetBmc { warm: *how == "warm" }).await?,
        ["raw", bytes @ ..] => bmc.vendor(VendorCall::SendRaw(RawRequest::read(&bytes.join(" "))?)).await?,
        ["soft-then-hard", seconds] => {
            let patience = Duration::from_secs(seconds.parse()?);
            println!("{:?}", power_off_soft_then_hard(&bmc, patience).await?);
        }
        [change] => {
            let target = match *change {
                "on" => PowerTarget::On,
                "off" => PowerTarget::Off,
                "soft" => PowerTarget::SoftOff,
                "reboot" => PowerTarget::Reboot,
                _ => bail!("no such command"),
            };
            bmc.set_power(target).await?;
            println!("{}", bmc.power().await?.name());
        }
        _ => bail!("no such command"),
    }
    println!("({} ms)", start.elapsed().as_millis());
    bmc.close().await;
    Ok(())
}
