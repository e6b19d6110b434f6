//! Changes of BIOS settings and firmware against sushy-tools, the virtual rack's Redfish BMC.
//!
//! Needs the Python of `packaging/prepare` (`LEASEHOLD_RACK_PYTHON`, which `packaging/check` sets); without it there is
//! nothing to test against.

use super::*;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const UUID: &str = "6f0ca1b2-0000-4000-8000-0123456789ab";

struct Peer {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The power of a machine that is not there, as the rack's agents tell it.
fn power_agent(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (mut power, mut boot) = ("off", json!({"device": "none", "persistent": false, "mode": "uefi"}));
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let asked: Value = serde_json::from_str(&line).unwrap();
            match asked["op"].as_str() {
                Some("power") => power = if asked["target"] == "off" { "off" } else { "on" },
                Some("boot") => boot = asked.clone(),
                _ => {}
            }
            writeln!(stream, "{}", json!({"power": power, "boot": boot})).unwrap();
        }
    });
}

fn peer() -> Option<Peer> {
    let python = std::env::var_os("LEASEHOLD_RACK_PYTHON").map(PathBuf::from).filter(|path| path.is_file())?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/rack/bmc/redfish_bmc.py");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("power.sock");
    power_agent(&socket);
    let mut command = Command::new(python);
    command.arg(program).args(["--listen", "127.0.0.1", "--port", "0", "--user", "admin", "--password", "secret"]);
    command.args(["--name", "node1", "--uuid", UUID]).arg("--socket").arg(&socket).current_dir(folder.path());
    let mut process = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let address =
        log.by_ref().map_while(Result::ok).find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()));
    // Its log must be read on, or it stands still.
    std::thread::spawn(move || log.for_each(drop));
    Some(Peer { process, address: address.expect("it comes up"), _folder: folder })
}

fn wanted(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

#[tokio::test]
async fn settings_and_firmware_change_at_a_real_redfish_service() {
    let Some(peer) = peer() else { return };
    let bmc = RedfishBmc::new(Config::new(&peer.address, "admin", "secret")).unwrap();
    let value = async |name: &str| {
        let all = bmc.bios_settings().await.unwrap();
        all.into_iter().find(|setting| setting.name == name).and_then(|setting| setting.value)
    };
    assert_eq!(value("ProcTurboMode").await.as_deref(), Some("Enabled"));

    bmc.set_bios_settings(wanted(&[("ProcTurboMode", json!("Disabled")), ("NumCores", json!("4"))])).await.unwrap();
    assert_eq!(value("NumCores").await.as_deref(), Some("10"), "until the machine starts");
    bmc.set_power(PowerTarget::On).await.unwrap();
    assert_eq!(value("ProcTurboMode").await.as_deref(), Some("Disabled"));
    assert_eq!(value("NumCores").await.as_deref(), Some("4"));

    let refused = bmc.set_bios_settings(wanted(&[("ProcTurboMode", json!("Fast"))])).await.unwrap_err().to_string();
    assert!(refused.contains("The BIOS attribute ProcTurboMode cannot be Fast."), "{refused}");
    let refused = bmc.set_bios_settings(wanted(&[("Turbo", json!("Fast"))])).await.unwrap_err().to_string();
    assert!(refused.contains("there is no BIOS setting \"Turbo\""), "{refused}");

    bmc.reset_bios().await.unwrap();
    bmc.set_power(PowerTarget::Off).await.unwrap();
    bmc.set_power(PowerTarget::On).await.unwrap();
    assert_eq!(value("ProcTurboMode").await.as_deref(), Some("Enabled"));

    let version = async || bmc.identity().await.unwrap().bios_version;
    assert_eq!(version().await.as_deref(), Some("1.0"));
    let task = bmc.update_firmware("bios".into(), "http://127.0.0.1/bios.bin".into()).await.unwrap();
    let task = task.expect("it tells where it tells more");
    assert_eq!(bmc.firmware_task(task).await, Ok(FirmwareTask::Done));
    assert_eq!(version().await.as_deref(), Some("1.1"));
    bmc.close().await;
}
