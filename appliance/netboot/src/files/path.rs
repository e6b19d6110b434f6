//! The paths that clients send, brought into the one form in which the manifest names files.
//!
//! Firmware is careless with slashes: shim asks for `//grubx64.efi`, many loaders for `/file`, some for `./file`.
//! Those are the same file. Everything that could mean another place is refused rather than interpreted.

use thiserror::Error;

/// The longest path in bytes.
const LONGEST: usize = 512;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathRefused {
    /// Nothing but slashes and dots.
    #[error("the path names no file")]
    Empty,
    /// More than 512 bytes.
    #[error("the path is longer than {LONGEST} bytes")]
    TooLong,
    /// A component `..`.
    #[error("the path contains \"..\"; files outside the boot file tree are not served")]
    Parent,
    /// A backslash, which some systems take for a slash.
    #[error("the path contains a backslash; write it with slashes")]
    Backslash,
    /// A NUL or another control character.
    #[error("the path contains a control character")]
    Control,
    /// Not UTF-8.
    #[error("the path is not UTF-8 text")]
    NotText,
}

/// The path without leading, doubled or trailing slashes and without `.` components.
///
/// # Errors
/// [`PathRefused`] where the path could mean a place outside the root or is not a path at all.
pub fn normalize(path: &[u8]) -> Result<String, PathRefused> {
    if path.len() > LONGEST {
        return Err(PathRefused::TooLong);
    }
    let text = std::str::from_utf8(path).map_err(|_| PathRefused::NotText)?;
    if text.chars().any(char::is_control) {
        return Err(PathRefused::Control);
    }
    if text.contains('\\') {
        return Err(PathRefused::Backslash);
    }
    let mut out = String::with_capacity(text.len());
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." => return Err(PathRefused::Parent),
            name => {
                if !out.is_empty() {
                    out.push('/');
                }
                out.push_str(name);
            }
        }
    }
    if out.is_empty() { Err(PathRefused::Empty) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn careless_slashes_are_the_same_file() {
        for path in ["ipxe/x.efi", "/ipxe/x.efi", "//ipxe//x.efi", "./ipxe/./x.efi", "/ipxe/x.efi/"] {
            assert_eq!(normalize(path.as_bytes()).as_deref(), Ok("ipxe/x.efi"));
        }
        assert_eq!(normalize(b"a..b/..c/c..").as_deref(), Ok("a..b/..c/c.."));
    }

    #[test]
    fn ways_out_are_refused() {
        for (path, why) in [
            (&b"../etc/shadow"[..], PathRefused::Parent),
            (b"/a/../../etc/shadow", PathRefused::Parent),
            (b"a/..", PathRefused::Parent),
            (b"..", PathRefused::Parent),
            (b"..\\..\\boot.ini", PathRefused::Backslash),
            (b"\\\\server\\share", PathRefused::Backslash),
            (b"a\0b", PathRefused::Control),
            (b"a\nb", PathRefused::Control),
            (b"\xff\xfe", PathRefused::NotText),
            (b"\xc0\xae\xc0\xae/x", PathRefused::NotText),
            (b"", PathRefused::Empty),
            (b"///./", PathRefused::Empty),
            (&[b'a'; 513], PathRefused::TooLong),
        ] {
            assert_eq!(normalize(path), Err(why), "{}", String::from_utf8_lossy(path));
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below_the_root(path in prop::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b'\\'), Just(b'a'), any::<u8>()], 0..40)
        ) {
            if let Ok(path) = normalize(&path) {
                prop_assert!(!path.starts_with('/') && !path.ends_with('/'));
                for component in path.split('/') {
                    prop_assert!(!matches!(component, "" | "." | ".."));
                }
                prop_assert!(!path.contains(['\\', '\0']));
                prop_assert_eq!(normalize(path.as_bytes()), Ok(path.clone()));
            }
        }
    }
}
