//! The machine as the steps see it: its disks, its firmware, and the way out. One implementation is the real one, the
//! tests have another on files.

use crate::boot::{self, Exit, Firmware};
use crate::disk::{self, Disk, Found};
use std::io;
use std::path::Path;

/// What steps may do to the machine.
pub trait Machine: Send + Sync {
    /// Every disk, by name.
    fn disks(&self) -> Vec<Found>;

    /// Opens a disk for the agent alone.
    ///
    /// # Errors
    /// When it is in use or fails.
    fn open(&self, name: &str) -> io::Result<Disk>;

    /// The partitions the kernel sees on a disk, in bytes (offset, length).
    fn partitions(&self, name: &str) -> Vec<(u64, u64)>;

    /// `None` when the machine was booted by BIOS.
    fn uefi(&self) -> Option<Option<Firmware>>;

    /// Restarts or switches off; returns only when that is refused.
    ///
    /// # Errors
    /// Why, in words.
    fn leave(&self, exit: Exit) -> Result<(), String>;
}

/// The machine the agent runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealMachine;

impl Machine for RealMachine {
    fn disks(&self) -> Vec<Found> {
        disk::list(Path::new("/sys"))
    }

    fn open(&self, name: &str) -> io::Result<Disk> {
        Disk::open(Path::new(name))
    }

    fn partitions(&self, name: &str) -> Vec<(u64, u64)> {
        disk::partitions_of(Path::new("/sys"), name)
    }

    fn uefi(&self) -> Option<Option<Firmware>> {
        boot::booted_by_uefi().then(Firmware::of_machine)
    }

    fn leave(&self, exit: Exit) -> Result<(), String> {
        boot::leave(exit).map_err(|error| error.to_string())
    }
}
