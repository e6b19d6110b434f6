//! Whether KVM can really run our guests. `/dev/kvm` alone proves nothing: on some hosts guests hang or break.
//!
//! The probe starts OVMF for a moment: it enters long mode and uses the instructions that broken nested
//! virtualisation trips over. What has not come as far as choosing a boot device by the deadline does not count.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::daemon::{Daemon, readable};
use crate::folder::RunFolder;
use crate::guest::{Accelerator, OVMF_CODE, accelerator_arguments};
use crate::netns::Namespace;
use crate::stop::{Stop, Stopped};

/// A working KVM is there in a second; this one is for a machine under load.
const LIMIT: Duration = Duration::from_secs(8);

/// The accelerator to use, and why.
///
/// # Errors
/// Only a request to stop: a probe that fails means TCG.
pub fn probe(folder: &RunFolder, space: &Namespace, stop: &Stop) -> Result<(Accelerator, String)> {
    if !Path::new("/dev/kvm").exists() {
        return Ok((Accelerator::Tcg, "no /dev/kvm".to_owned()));
    }
    match run(folder, space, stop) {
        Ok(()) => Ok((Accelerator::Kvm, "a probe guest ran".to_owned())),
        Err(error) if error.is::<Stopped>() => Err(error),
        Err(error) => {
            let why = format!("{error:#}");
            let why = why.lines().next().unwrap_or_default().trim_end_matches(':');
            Ok((Accelerator::Tcg, format!("/dev/kvm is there, but {why} (see logs/kvm-probe.log)")))
        }
    }
}

fn run(folder: &RunFolder, space: &Namespace, stop: &Stop) -> Result<()> {
    let serial = folder.file("kvm-probe-serial");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-net", "none", "-no-reboot"]);
    command.args(["-machine", "q35", "-m", "256M"]).args(accelerator_arguments(Accelerator::Kvm));
    command.args(["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}")]);
    command.arg("-serial").arg(format!("file:{}", serial.display()));
    let mut guest = Daemon::start(folder, space, "kvm-probe", command)?;
    let result = stop.until("the boot of a probe guest", LIMIT, Duration::from_millis(50), || {
        guest.check().map_err(|_| anyhow::anyhow!("a probe guest ended at once"))?;
        if fs::read_to_string(guest.log()).is_ok_and(|said| said.contains("KVM internal error")) {
            anyhow::bail!("a probe guest ended in a KVM internal error");
        }
        let console = fs::read(&serial).unwrap_or_default();
        Ok(readable(&String::from_utf8_lossy(&console)).contains("BdsDxe").then_some(()))
    });
    guest.kill();
    let _ = fs::remove_file(serial);
    result
}
