//! Builds what machines boot: iPXE loaders, the deploy ramdisk, and a small system image.
//!
//! In: Debian packages (through the machine's own apt), our static programs, the scripts beside this package.
//! Out: plain files in a data folder with a manifest of their hashes; the same inputs give the same bytes.
//! No privileges, loop devices or mounts are needed: file systems and tables are written as bytes.
//! Every failure names the program, package or file that is missing and what to do about it.

mod archive;
mod debian;
mod disk;
mod elf;
mod kernel;
mod loaders;
mod manifest;
mod packages;
mod ramdisk;
mod rescue;
mod system;
mod tools;
mod tree;
mod userland;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::packages::Packages;

/// Builds boot loaders, the deploy ramdisk and the small system image from Debian packages.
#[derive(Parser)]
#[command(name = "leasehold-boot-images", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Folder that keeps downloaded packages between runs.
    #[arg(long, global = true, default_value = "target/boot-images-cache")]
    cache: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// iPXE for BIOS and UEFI: DIR/ipxe/…
    Loaders(Out),
    /// Kernel, initramfs, the archives of further drivers and for rescues: DIR/agent/x86_64/…
    Ramdisk {
        #[command(flatten)]
        agent: Agent,
        #[command(flatten)]
        out: Out,
    },
    /// A small system that boots from disk by BIOS and UEFI, as one raw image, and its FILE.sha256.
    System {
        #[command(flatten)]
        first_boot: FirstBoot,
        /// The image to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// A real Debian with systemd, SSH and cloud-init, for BIOS and UEFI, as one raw image, and its FILE.sha256.
    Debian {
        /// The kernel's package; linux-image-cloud-amd64 is smaller and knows virtual machines only.
        #[arg(long, default_value = "linux-image-amd64")]
        kernel: String,
        /// The image to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Writes DIR/manifest.json over everything in DIR.
    Manifest(Out),
    /// Loaders and ramdisk into DIR, the system image into FILE.
    All {
        #[command(flatten)]
        agent: Agent,
        #[command(flatten)]
        first_boot: FirstBoot,
        #[command(flatten)]
        out: Out,
        /// The system image to write.
        #[arg(long)]
        system: PathBuf,
    },
}

#[derive(Args)]
struct Out {
    /// The data folder.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct Agent {
    /// The deploy agent, a static binary.
    #[arg(long)]
    agent: PathBuf,
}

#[derive(Args)]
struct FirstBoot {
    /// The program that applies the config drive, a static binary
    /// (cargo build -p leasehold-first-boot --profile agent --target x86_64-unknown-linux-musl).
    #[arg(long, default_value = "target/x86_64-unknown-linux-musl/agent/leasehold-first-boot")]
    first_boot: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leasehold-boot-images: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let packages = Packages::open(&cli.cache)?;
    match cli.command {
        Command::Loaders(Out { out }) => {
            loaders::build(&packages, &out)?;
            manifest::write(&out)
        }
        Command::Ramdisk { agent, out: Out { out } } => {
            ramdisk::build(&packages, &agent.agent, &out)?;
            manifest::write(&out)
        }
        Command::System { first_boot, out } => system::build(&packages, &first_boot.first_boot, &out),
        Command::Debian { kernel, out } => debian::build(&packages, &kernel, &out),
        Command::Manifest(Out { out }) => manifest::write(&out),
        Command::All { agent, first_boot, out: Out { out }, system } => {
            loaders::build(&packages, &out)?;
            ramdisk::build(&packages, &agent.agent, &out)?;
            manifest::write(&out)?;
            system::build(&packages, &first_boot.first_boot, &system)
        }
    }
}
