//! The work itself, one function a command: cleaning, writing an image, the boot entry.
//! In: a checked command, the machine, the network. Out: what the command gives back, or a failure with its reason.
//! `clean` erases, `prepare` deploys, `bootloader` tells the firmware, and has it forget. None of them knows HTTP requests or threads of
//! the command service.
mod bootloader;
mod clean;
mod prepare;

pub use bootloader::{forget_systems, install_bootloader};
pub use clean::{STEPS_VERSION, erase_devices, erase_metadata, steps};
pub use prepare::{Prepared, prepare_image};
