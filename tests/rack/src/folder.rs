//! The folder of a run: disks, sockets and logs of everything in the rack; and the marker by which a sweep finds it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::sweep;

/// Where the markers of running racks are. `/run` is emptied by a reboot, as everything a marker names is.
pub const MARKERS: &str = "/run/leasehold-rack";

/// The environment variable by which every process of a run, and its descendants, is known.
pub const RUN_VARIABLE: &str = "LEASEHOLD_RACK_RUN";

/// A Unix socket's path has 107 bytes at most; the longest below a run's folder takes 27 of them.
const LONGEST_PATH: usize = 80;

/// What a marker file says about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The run's id.
    pub run: String,
    /// Process id of the rack.
    pub pid: u32,
    /// Its start time, clock ticks since the machine's boot: a later process with the same id has another one.
    pub started: u64,
    /// The run's folder.
    pub folder: PathBuf,
    /// Whether the folder stays when the run has ended.
    pub keep: bool,
}

/// The folder and marker of this run. Dropping it removes both, but a kept folder stays.
#[derive(Debug)]
pub struct RunFolder {
    marker: Marker,
    closed: bool,
}

impl RunFolder {
    /// Makes the folder (`keep`, or one below the system's temporary folder) and the marker.
    ///
    /// # Errors
    /// When `keep` holds files already, or a folder cannot be written.
    pub fn create(keep: Option<&Path>) -> Result<Self> {
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let folder = match keep {
            Some(folder) => {
                let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
                if taken {
                    bail!("{} is not empty: name a folder that is new or empty", folder.display());
                }
                fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
                folder.canonicalize()?
            }
            // Not TMPDIR: the paths of sockets have 108 bytes at most, and /tmp may be memory.
            None => PathBuf::from(format!("/var/tmp/leasehold-rack-{run}")),
        };
        if folder.as_os_str().len() > LONGEST_PATH {
            bail!("{} is too long a path: sockets in it need one of {LONGEST_PATH} bytes at most", folder.display());
        }
        fs::create_dir_all(MARKERS).with_context(|| format!("{MARKERS} cannot be made"))?;
        let pid = std::process::id();
        let started = sweep::start_time(pid).context("the rack's own start time is not in /proc")?;
        let marker = Marker { run, pid, started, folder, keep: keep.is_some() };
        fs::write(marker_path(&marker.run), serde_json::to_vec_pretty(&marker)?)?;
        let this = Self { marker, closed: false };
        fs::create_dir_all(this.path())?;
        fs::set_permissions(this.path(), fs::Permissions::from_mode(0o700))?;
        for folder in ["logs", "tmp"] {
            fs::create_dir_all(this.path().join(folder))?;
        }
        Ok(this)
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.marker.run
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.marker.folder
    }

    /// Whether the user wants to keep it.
    pub fn kept(&self) -> bool {
        self.marker.keep
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The log of `name`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path().join("logs").join(format!("{name}.log"))
    }

    /// Adds what every process of the run carries: its mark, and a temporary folder inside the run's.
    pub fn mark(&self, command: &mut std::process::Command) {
        command.env(RUN_VARIABLE, self.run()).env("TMPDIR", self.path().join("tmp"));
    }

    /// Removes the folder (unless kept) and the marker.
    ///
    /// # Errors
    /// When something in it cannot be removed; the marker then stays for a sweep.
    pub fn close(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.closed, true) {
            remove(&self.marker)?;
        }
        Ok(())
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// The marker file of a run.
pub fn marker_path(run: &str) -> PathBuf {
    Path::new(MARKERS).join(format!("{run}.json"))
}

/// Removes the folder and marker of a run.
///
/// # Errors
/// When something cannot be removed.
pub fn remove(marker: &Marker) -> Result<()> {
    if marker.keep {
        let _ = fs::remove_dir_all(marker.folder.join("tmp"));
    } else if marker.folder.exists() {
        fs::remove_dir_all(&marker.folder).with_context(|| format!("{} cannot be removed", marker.folder.display()))?;
    }
    match fs::remove_file(marker_path(&marker.run)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // The folder of the markers goes with the last one; while another run has one there, this fails, as it should.
    let _ = fs::remove_dir(MARKERS);
    Ok(())
}
