//! The proof that a node runs what was deployed: told by the system on its disk, over SSH.
//!
//! The key and a random nonce went in by config drive; out come the nonce, the device of the root file system, and
//! the SHA-256 of its partition, which must be that of the image's partition of the same number.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::command;
use crate::folder::RunFolder;
use crate::gpt;
use crate::netns::Namespace;
use crate::plan::{self, NodePlan};
use crate::stop::Stop;

/// How long a node may take from power-on until its system answers: TCG, with the other node beside it.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

const QUESTION: &str = "cat /run/leasehold/nonce; echo; cat /run/leasehold/root-device; echo; \
                        sha256sum <\"$(cat /run/leasehold/root-device)\"";

/// An SSH key pair made for the run.
#[derive(Debug, Clone)]
pub struct SshKey {
    pub private: PathBuf,
    /// One line, as in `authorized_keys`.
    pub public: String,
}

impl SshKey {
    /// Makes one in the run's folder.
    ///
    /// # Errors
    /// When ssh-keygen is missing or fails.
    pub fn create(folder: &RunFolder) -> Result<Self> {
        let private = folder.file("ssh-key");
        let path = private.to_string_lossy();
        command::output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "leasehold-rack", "-f", &path])?;
        let public = fs::read_to_string(format!("{path}.pub"))?.trim().to_owned();
        Ok(Self { private, public })
    }
}

/// The parts of the config drive for `node`: key, nonce, and a static address on the provisioning network.
pub fn config_drive(node: &NodePlan, key: &SshKey, nonce: &str) -> Value {
    json!({
        "meta_data": {
            "hostname": node.name,
            "public_keys": {"rack": key.public},
            "meta": {"nonce": nonce},
        },
        "network_data": {
            "links": [{"id": "card", "type": "phy", "ethernet_mac_address": node.mac}],
            "networks": [{
                "id": "rack", "type": "ipv4", "link": "card",
                "ip_address": format!("{}/{}", node.deployed_address, plan::PREFIX),
            }],
            "services": [],
        },
    })
}

/// The `ssh` command line that runs `words` as root on the deployed `node`, to be spawned in the box.
pub fn ssh_arguments(folder: &Path, node: &NodePlan, key: &SshKey, words: &str) -> Vec<String> {
    ssh_arguments_to(folder, node, key, &format!("root@{}", node.deployed_address), words)
}

/// As [`ssh_arguments`], for `target` (`user@address`) as it is known on that `node`.
pub fn ssh_arguments_to(folder: &Path, node: &NodePlan, key: &SshKey, target: &str, words: &str) -> Vec<String> {
    let known_hosts = folder.join(format!("{}-known-hosts", node.name));
    let mut arguments = vec!["-F".to_owned(), "/dev/null".to_owned(), "-n".to_owned(), "-i".to_owned()];
    arguments.push(key.private.to_string_lossy().into_owned());
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "ConnectTimeout=5",
        "ServerAliveInterval=10",
        // The small system makes a new host key at every start; the cable is ours.
        "StrictHostKeyChecking=no",
        "UpdateHostKeys=no",
        "LogLevel=ERROR",
        &format!("UserKnownHostsFile={}", known_hosts.display()),
    ] {
        arguments.extend(["-o".to_owned(), option.to_owned()]);
    }
    arguments.extend([target.to_owned(), words.to_owned()]);
    arguments
}

/// What the system on the disk said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub nonce: String,
    pub root_device: String,
    pub root_sha256: String,
}

/// Asks the system on `node` until it answers.
///
/// # Errors
/// When it does not answer in time; with the last error of ssh.
pub fn ask(folder: &RunFolder, space: &Namespace, node: &NodePlan, key: &SshKey, stop: &Stop) -> Result<Proof> {
    let arguments = ssh_arguments(folder.path(), node, key, QUESTION);
    let mut last = String::new();
    let result =
        stop.until(&format!("an answer of {} over SSH", node.name), ANSWER_LIMIT, Duration::from_millis(300), || {
            let _ = fs::remove_file(folder.file(&format!("{}-known-hosts", node.name)));
            let mut ssh = Command::new("ssh");
            ssh.args(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            folder.mark(&mut ssh);
            let output = space.spawn(ssh)?.wait_with_output()?;
            if output.status.success() {
                return parse(&String::from_utf8_lossy(&output.stdout)).map(Some);
            }
            last = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Ok(None)
        });
    result.with_context(|| format!("ssh to {} said: {last}", node.deployed_address))
}

/// Has the system on `node`, which is up, run `words`. Returns what it said.
///
/// # Errors
/// When it does not, with its words.
pub fn tell(folder: &RunFolder, space: &Namespace, node: &NodePlan, key: &SshKey, words: &str) -> Result<String> {
    let mut ssh = Command::new("ssh");
    ssh.args(ssh_arguments(folder.path(), node, key, words));
    ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    folder.mark(&mut ssh);
    let output = space.spawn(ssh)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} said to {words:?}: {said}", node.name);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse(answer: &str) -> Result<Proof> {
    let mut lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    let (Some(nonce), Some(device), Some(sum)) = (lines.next(), lines.next(), lines.next()) else {
        bail!("the system's answer is cut: {answer:?}");
    };
    let sum = sum.split_ascii_whitespace().next().unwrap_or_default();
    if sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("the system's answer has no SHA-256: {answer:?}");
    }
    Ok(Proof { nonce: nonce.to_owned(), root_device: device.to_owned(), root_sha256: sum.to_owned() })
}

impl Proof {
    /// Whether it is the one that `nonce` and `image` ask for.
    ///
    /// # Errors
    /// What is different.
    pub fn verify(&self, nonce: &str, image: &Path) -> Result<()> {
        if self.nonce != nonce {
            bail!("the system has nonce {:?}, this deployment's is {nonce:?}", self.nonce);
        }
        let number: u32 = self
            .root_device
            .rsplit(|character: char| !character.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse().ok())
            .with_context(|| format!("the root device {} is no partition", self.root_device))?;
        let file = File::open(image)?;
        let table = gpt::read(&file, 1)?;
        let partition = table
            .partitions
            .iter()
            .find(|partition| partition.number == number)
            .with_context(|| format!("the image has no partition {number} ({})", self.root_device))?;
        let expected = digest(&file, partition.start, partition.end)?;
        if self.root_sha256 != expected {
            bail!("{} has SHA-256 {}, in the image it is {expected}", self.root_device, self.root_sha256);
        }
        Ok(())
    }
}

fn digest(file: &File, mut position: u64, end: u64) -> Result<String> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    while position < end {
        let length = (buffer.len() as u64).min(end - position) as usize;
        file.read_exact_at(&mut buffer[..length], position)?;
        sum.update(&buffer[..length]);
        position += length as u64;
    }
    Ok(hex::encode(sum.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_or_refused() {
        let sum = "ab".repeat(32);
        let proof = parse(&format!("n-1\n/dev/vda3\n\n{sum}  -\n")).unwrap();
        assert_eq!(proof, Proof { nonce: "n-1".into(), root_device: "/dev/vda3".into(), root_sha256: sum });
        for wrong in ["", "n-1\n/dev/vda3\n", "n-1\n/dev/vda3\nnot found\n"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_proof_is_held_against_the_image() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        gpt::tests::write(image.as_file(), &[(64, 127), (128, 255)]);
        let sum = hex::encode(Sha256::digest(vec![0; 128 * 512]));
        let proof = Proof { nonce: "n".into(), root_device: "/dev/nvme0n1p2".into(), root_sha256: sum };
        proof.verify("n", image.path()).unwrap();
        assert!(proof.verify("m", image.path()).unwrap_err().to_string().contains("nonce"));
        let other = Proof { root_device: "/dev/vda9".into(), ..proof.clone() };
        assert!(other.verify("n", image.path()).unwrap_err().to_string().contains("no partition 9"));
        image.as_file().write_all_at(b"x", 200 * 512).unwrap();
        assert!(proof.verify("n", image.path()).unwrap_err().to_string().contains("SHA-256"));
    }
}
