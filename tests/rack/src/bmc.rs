//! The BMCs: ipmi_sim and sushy-tools, each asking its node's power agent.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command;
use crate::daemon::Daemon;
use crate::folder::RunFolder;
use crate::netns::Namespace;
use crate::plan::{self, BmcKind, NodePlan};
use crate::stop::Stop;

/// Where the BMC faces' programs are.
#[derive(Debug, Clone)]
pub struct BmcPrograms {
    /// `redfish_bmc.py` and `ipmi_chassis_control`.
    pub folder: PathBuf,
    /// A Python that has what `requirements.txt` names.
    pub python: PathBuf,
}

/// Starts the BMC of `node` in `space` and waits until it answers.
///
/// # Errors
/// When its program is missing or does not come up; with the end of its log.
pub fn start(
    folder: &RunFolder,
    space: &Namespace,
    node: &NodePlan,
    power_socket: &Path,
    password: &str,
    programs: &BmcPrograms,
    stop: &Stop,
) -> Result<Daemon> {
    let home = folder.file(&format!("{}-bmc", node.name));
    fs::create_dir_all(&home)?;
    let command = match node.bmc {
        BmcKind::Ipmi => ipmi(&home, node, power_socket, password, programs)?,
        BmcKind::Redfish => redfish(&home, node, power_socket, password, programs)?,
    };
    let mut daemon = Daemon::start(folder, space, &format!("{}-bmc", node.name), command)?;
    let what = format!("the start of {}'s BMC", node.name);
    stop.until(&what, Duration::from_secs(30), Duration::from_millis(50), || {
        daemon.check()?;
        Ok(answers(space, node, password)?.then_some(()))
    })?;
    Ok(daemon)
}

/// Whether the BMC answers: a session over IPMI, a connection over TCP.
fn answers(space: &Namespace, node: &NodePlan, password: &str) -> Result<bool> {
    match node.bmc {
        BmcKind::Ipmi => {
            let (host, port) = (node.bmc_address.to_string(), node.bmc_port.to_string());
            let arguments = [
                "-I",
                "lanplus",
                "-C",
                "3",
                "-N",
                "1",
                "-R",
                "1",
                "-H",
                &host,
                "-p",
                &port,
                "-U",
                plan::BMC_USER,
                "-P",
                password,
                "mc",
                "info",
            ];
            Ok(space.output("ipmitool", &arguments).is_ok())
        }
        BmcKind::Redfish => {
            let address = SocketAddr::from((node.bmc_address, node.bmc_port));
            space.run(move || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
        }
    }
}

/// ipmi_sim's two files: the LAN interface with its user (`lan.conf`), and the management controller (`emu`).
fn ipmi(home: &Path, node: &NodePlan, socket: &Path, password: &str, programs: &BmcPrograms) -> Result<Command> {
    let program = command::find("ipmi_sim").context("ipmi_sim is missing: run packaging/prepare")?;
    let control = programs.folder.join("ipmi_chassis_control");
    let guid = node.uuid.replace('-', "");
    let (address, port, user) = (node.bmc_address, node.bmc_port, plan::BMC_USER);
    let lan = format!(
        "name \"{name}\"\nset_working_mc 0x20\n  startlan 1\n    addr {address} {port}\n    priv_limit admin\n    \
         allowed_auths_callback none md5\n    allowed_auths_user none md5\n    allowed_auths_operator md5\n    \
         allowed_auths_admin md5\n    guid {guid}\n  endlan\n  \
         chassis_control \"{python} {control} {socket}\"\n  \
         user 2 true \"{user}\" \"{password}\" admin 10 none md5\n",
        name = node.name,
        python = programs.python.display(),
        control = control.display(),
        socket = socket.display(),
    );
    let controller = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                      sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";
    write_private(&home.join("lan.conf"), &lan)?;
    write_private(&home.join("emu"), controller)?;
    let mut command = Command::new(program);
    command.arg("-n").arg("-c").arg(home.join("lan.conf")).arg("-f").arg(home.join("emu")).arg("-s").arg(home);
    command.current_dir(home);
    Ok(command)
}

fn redfish(home: &Path, node: &NodePlan, socket: &Path, password: &str, programs: &BmcPrograms) -> Result<Command> {
    let certificate = rcgen::generate_simple_self_signed([node.bmc_address.to_string()])?;
    let (chain, key, secret) = (home.join("bmc.crt"), home.join("bmc.key"), home.join("password"));
    write_private(&chain, &certificate.cert.pem())?;
    write_private(&key, &certificate.signing_key.serialize_pem())?;
    write_private(&secret, &format!("{password}\n"))?;
    let mut command = Command::new(&programs.python);
    command.arg(programs.folder.join("redfish_bmc.py"));
    command.args(["--listen", &node.bmc_address.to_string(), "--port", &node.bmc_port.to_string()]);
    command.arg("--cert").arg(chain).arg("--key").arg(key).args(["--user", plan::BMC_USER]);
    command.arg("--password-file").arg(secret).args(["--name", node.name, "--uuid", node.uuid, "--mac", node.mac]);
    command.args(["--cpus", "1", "--memory-gib", &(plan::NODE_MEMORY_MIB / 1024).to_string()]);
    command.arg("--socket").arg(socket).current_dir(home).env("PYTHONUNBUFFERED", "1");
    Ok(command)
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(())
}

/// A password of 16 characters, what IPMI 2.0 allows for every cipher suite.
pub fn new_password() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..16].to_owned()
}
