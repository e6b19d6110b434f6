//! What happens after the image is on the disk: finding its boot loader, the firmware's boot entry, restart and power off.
//! In: a written disk, the firmware's variables. Out: a boot entry that is first in order; a machine that goes down cleanly.
//! `fat` reads just enough of an EFI system partition to see which loaders it holds; `efi` speaks to the firmware's
//! variables, `stale` takes out of them what nobody may inherit; `power` ends everything.
mod efi;
mod fat;
mod power;
mod stale;

pub use efi::{EfiError, Firmware, Outcome, Target, booted_by_uefi, find_loader, secure_boot};
pub use fat::{Entry, Fat, FatError};
pub use power::{Exit, leave};

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::fat::tests::image;
}
