//! The few outside programs this tool runs, each named with the Debian package that brings it.
//!
//! In: a program and its arguments. Out: its standard output as bytes.
//! Locale and time zone are pinned, so that output is the same everywhere.
//! A missing program names its package; a failed one shows its own last lines.
//! Nothing here is asked for by a shell: arguments are passed as they are.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// An outside program and the Debian package that contains it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

pub(crate) const APT_GET: Tool = Tool { program: "apt-get", package: "apt" };
pub(crate) const APT_CONFIG: Tool = Tool { program: "apt-config", package: "apt" };
pub(crate) const APT_CACHE: Tool = Tool { program: "apt-cache", package: "apt" };
pub(crate) const DPKG_DEB: Tool = Tool { program: "dpkg-deb", package: "dpkg" };
pub(crate) const XZ: Tool = Tool { program: "xz", package: "xz-utils" };
pub(crate) const MKSQUASHFS: Tool = Tool { program: "mksquashfs", package: "squashfs-tools" };
pub(crate) const MKE2FS: Tool = Tool { program: "mke2fs", package: "e2fsprogs" };
pub(crate) const MMDEBSTRAP: Tool = Tool { program: "mmdebstrap", package: "mmdebstrap" };
pub(crate) const SYSTEMCTL: Tool = Tool { program: "systemctl", package: "systemd" };
pub(crate) const GRUB_MKIMAGE: Tool = Tool { program: "grub-mkimage", package: "grub-common" };

#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("the program {program} is not installed: apt-get install {package}")]
    Missing { program: String, package: String },
    #[error("the program {program} could not be started: {source}")]
    Start { program: String, source: io::Error },
    #[error("{program} {arguments} failed ({status}): {message}")]
    Failed { program: String, arguments: String, status: String, message: String },
}

impl Tool {
    /// Runs the program in `folder` and returns what it printed.
    ///
    /// # Errors
    /// When the program is not installed, cannot be started, or ends with a status other than 0.
    pub(crate) fn run(self, folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, ToolError> {
        let output = Command::new(self.program)
            .args(arguments)
            .current_dir(folder)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            // The tools take the time of our own constant by argument; a second source would be refused by mksquashfs.
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => {
                    ToolError::Missing { program: self.program.into(), package: self.package.into() }
                }
                _ => ToolError::Start { program: self.program.into(), source },
            })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(ToolError::Failed {
            program: self.program.into(),
            arguments: arguments.join(" "),
            status: output.status.to_string(),
            message: last_lines(&String::from_utf8_lossy(&output.stderr), 4),
        })
    }
}

/// The last `count` non-empty lines of `text`, in one line.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let tool = Tool { program: "leasehold-no-such-program", package: "some-package" };
        let error = tool.run(Path::new("."), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program leasehold-no-such-program is not installed: apt-get install some-package"
        );
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b; c");
        assert_eq!(last_lines("", 2), "");
    }
}
