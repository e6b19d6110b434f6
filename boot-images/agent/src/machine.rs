//! The machine as the steps see it: its disks, its firmware, and the way out. One implementation is the real one, the
//! tests have another on files.

use crate::boot::{self, Exit, Firmware};
use crate::disk::{self, Disk, Found};
use crate::rescue::{self, PasswordHash};
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

    /// Lets the machine's user in by his password. Returns what he should know; asked again, it does nothing twice.
    ///
    /// # Errors
    /// Why, in words.
    fn open_rescue(&self, hash: &PasswordHash) -> Result<String, String>;

    /// The appliance is done with the machine: from now on its cards have the addresses of its user's networks.
    ///
    /// # Errors
    /// Why, in words.
    fn hand_over(&self) -> Result<(), String>;

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

    fn open_rescue(&self, hash: &PasswordHash) -> Result<String, String> {
        rescue::open(hash)
    }

    fn hand_over(&self) -> Result<(), String> {
        rescue::hand_over()
    }

    fn leave(&self, exit: Exit) -> Result<(), String> {
        boot::leave(exit).map_err(|error| error.to_string())
    }
}
