//! OVMF's variables as they lie in QEMU's file: enough of EDK II's variable store (`MdeModulePkg/Include/Guid/VariableFormat.h`,
//! with authentication) to see whether one is in force.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What every variable begins with.
const START: [u8; 2] = [0xaa, 0x55];
/// The name begins here: start, state, attributes, count, time, key's index, two sizes, the vendor's GUID.
const HEADER: usize = 60;
/// Written, and neither deleted nor about to be.
const ADDED: u8 = 0x3f;

/// Whether a variable of this name is in force.
///
/// # Errors
/// When the file cannot be read.
pub fn has_variable(file: &Path, name: &str) -> Result<bool> {
    let bytes = fs::read(file).with_context(|| format!("the firmware's variables in {}", file.display()))?;
    Ok(in_force(&bytes, name))
}

fn in_force(bytes: &[u8], name: &str) -> bool {
    let wanted: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let is_it = |at: usize| {
        let here = &bytes[at..];
        here[..2] == START && here[2] == ADDED && here[HEADER..].starts_with(&wanted)
    };
    // Headers lie at multiples of four.
    (0..bytes.len().saturating_sub(HEADER)).step_by(4).any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(state: u8, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        (bytes[0], bytes[1], bytes[2]) = (START[0], START[1], state);
        bytes.extend(name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        bytes
    }

    #[test]
    fn only_what_was_added_and_not_deleted_is_in_force() {
        let store = [vec![0xff; 72], variable(ADDED, "Boot0001"), variable(0x3d, "Boot0002")].concat();
        assert!(in_force(&store, "Boot0001"));
        assert!(!in_force(&store, "Boot0002") && !in_force(&store, "Boot000") && !in_force(&store, "Boot0003"));
        assert!(!in_force(&[], "Boot0001"));
    }
}
