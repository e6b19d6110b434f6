//! A hand tool for a Redfish BMC: what the driver sees and does, from the command line.
//!
//! `cargo run -p leasehold-drivers --example redfish -- URL USER PASSWORD COMMAND`, where the password may be `-` to
//! read it from the first line of standard input.

#![allow(clippy::print_stdout, reason = "a command-line tool")]

use anyhow::{Context, bail};
use leasehold_domain::power::{BootDevice, BootMode, BootSetting, PowerTarget};
use leasehold_drivers::bmc::Bmc;
use leasehold_drivers::bmc::features::{Light, LightName, VendorCall};
use leasehold_drivers::bmc::redfish::{Config, RedfishBmc};
use std::process::ExitCode;

const USAGE: &str = "usage: redfish [--pin SHA256|--ca FILE] [--system ID] URL USER PASSWORD|- COMMAND
  identity                                      who the machine is
  power [on|off|reboot|soft]                    shows or changes the power state
  boot [pxe|disk|cdrom|bios|none [once|always] [uefi|bios]]
                                                shows or sets the boot device
  mode [uefi|bios]                              shows or sets the firmware's mode
  secure-boot [on|off]                          shows or sets whether the firmware checks what it starts
  bios                                          the firmware's settings
  firmware                                      what firmware runs where
  lights                                        the lights and what they can do
  light NAME@PART [on|off|blinking]             shows or switches one
  nmi                                           interrupts the operating system
  eject [cd|dvd|usb|floppy]                     takes images out of virtual drives
  sensors                                       all readings
  log [N]                                       the newest N entries of the event log (20)
  fingerprint                                   SHA-256 of the certificate, to be pinned";

#[tokio::main]
async fn main() -> ExitCode {
    match converse().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of reasons alone: a technician has no use for a backtrace.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn converse() -> anyhow::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| -> anyhow::Result<Option<String>> {
        let Some(at) = words.iter().position(|word| word == name) else { return Ok(None) };
        words.remove(at);
        if at < words.len() { Ok(Some(words.remove(at))) } else { bail!("{name} needs a value\n{USAGE}") }
    };
    let (pin, ca, system) = (option("--pin")?, option("--ca")?, option("--system")?);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [url, user, password, command @ ..] = &words[..] else { bail!("{USAGE}") };
    let mut config = Config::new(*url, *user, read_password(password)?);
    config.system_id = system;
    config.verify_ca = ca.map(Into::into);
    config.pin = pin.map(|pin| parse_pin(&pin)).transpose()?;
    let trusting = config.pin.is_none() && config.verify_ca.is_none();
    let bmc = RedfishBmc::new(config)?;
    let result = run(&bmc, command).await;
    bmc.close().await;
    if let (true, Some(seen)) = (trusting, bmc.seen_fingerprint()) {
        eprintln!("the certificate was not verified; to hold the BMC to it: --pin {}", spelled(&seen));
    }
    result
}

async fn run(bmc: &RedfishBmc, command: &[&str]) -> anyhow::Result<()> {
    match command {
        ["identity"] => println!("{:#?}", bmc.identity().await?),
        ["power"] => println!("{}", bmc.power().await?.name()),
        ["power", target] => {
            let target = match *target {
                "on" => PowerTarget::On,
                "off" => PowerTarget::Off,
                "reboot" => PowerTarget::Reboot,
                "soft" => PowerTarget::SoftOff,
                other => bail!("there is no power target {other}\n{USAGE}"),
            };
            bmc.set_power(target).await?;
            println!("accepted; now: {}", bmc.power().await?.name());
        }
        ["boot"] => show(bmc.boot_device().await?),
        ["boot", device, rest @ ..] => {
            let device = BootDevice::from_name(device).with_context(|| format!("no boot device {device}\n{USAGE}"))?;
            let mut setting = BootSetting { device, persistent: false, mode: None };
            for word in rest {
                match *word {
                    "once" => setting.persistent = false,
                    "always" => setting.persistent = true,
                    "uefi" => setting.mode = Some(BootMode::Uefi),
                    "bios" => setting.mode = Some(BootMode::Bios),
                    other => bail!("{other} is not understood\n{USAGE}"),
                }
            }
            bmc.set_boot_device(setting).await?;
            show(bmc.boot_device().await?);
        }
        ["mode"] => println!("{:?}", bmc.boot_mode().await?),
        ["mode", mode] => {
            let mode = match *mode {
                "uefi" => BootMode::Uefi,
                "bios" => BootMode::Bios,
                other => bail!("there is no mode {other}\n{USAGE}"),
            };
            bmc.set_boot_mode(mode).await?;
            println!("{:?}", bmc.boot_mode().await?);
        }
        ["secure-boot"] => println!("{:?}", bmc.secure_boot().await?),
        ["secure-boot", word @ ("on" | "off")] => {
            bmc.set_secure_boot(*word == "on").await?;
            println!("{:?}", bmc.secure_boot().await?);
        }
        ["bios"] => {
            for setting in bmc.bios_settings().await? {
                let (kind, value) = (setting.kind.unwrap_or_default(), setting.value.unwrap_or_default());
                println!("{:<32} {value:<20} {kind} {:?}", setting.name, setting.allowed.unwrap_or_default());
            }
        }
        ["firmware"] => {
            for part in bmc.firmware().await? {
                println!("{:<32} {:<20} {}", part.component, part.version, part.model.unwrap_or_default());
            }
        }
        ["lights"] => {
            for found in bmc.indicators().await? {
                println!("{:<48} {:?}", found.light.to_string(), found.choices);
            }
        }
        ["light", name, state @ ..] => {
            let light = LightName::read(name).with_context(|| format!("{name} is not NAME@PART\n{USAGE}"))?;
            let state = match state {
                [] => None,
                ["on"] => Some(Light::On),
                ["off"] => Some(Light::Off),
                ["blinking"] => Some(Light::Blinking),
                _ => bail!("{USAGE}"),
            };
            if let Some(state) = state {
                bmc.set_indicator(light.clone(), state).await?;
            }
            println!("{:?}", bmc.indicator(light).await?);
        }
        ["nmi"] => bmc.inject_nmi().await?,
        ["eject", kind @ ..] => {
            let kind = kind.first().map(|kind| (*kind).to_owned());
            bmc.vendor(VendorCall::EjectMedia { kind }).await?;
        }
        ["sensors"] => {
            for sensor in bmc.sensors().await? {
                let value = sensor.value.map(|value| value.to_string()).unwrap_or_default();
                println!("{:<32} {value:>10} {:<8} {}", sensor.name, sensor.unit, sensor.health.unwrap_or_default());
            }
        }
        ["log", count @ ..] => {
            let count = count.first().map_or(Ok(20), |count| count.parse()).context("N is a number")?;
            for entry in bmc.event_log(count).await? {
                let (time, severity) = (entry.time.unwrap_or_default(), entry.severity.unwrap_or_default());
                println!("{time:<26} {severity:<9} {} {}", entry.id, entry.message);
            }
        }
        ["fingerprint"] => println!("{}", spelled(&bmc.fetch_certificate_fingerprint().await?)),
        _ => bail!("{USAGE}"),
    }
    Ok(())
}

fn show(setting: BootSetting) {
    let lasting = if setting.persistent { "always" } else { "once" };
    println!(
        "{} {lasting} {}",
        setting.device.name(),
        setting.mode.map(|mode| format!("{mode:?}")).unwrap_or_default()
    );
}

fn read_password(word: &str) -> anyhow::Result<String> {
    if word != "-" {
        return Ok(word.to_owned());
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("the password cannot be read from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn parse_pin(text: &str) -> anyhow::Result<[u8; 32]> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let bytes = hex::decode(digits).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.context("--pin is a SHA-256 in hexadecimal: 64 digits, with or without colons")
}

fn spelled(fingerprint: &[u8; 32]) -> String {
    hex::encode(fingerprint)
}
