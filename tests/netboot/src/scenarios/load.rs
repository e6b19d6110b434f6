//! Many transfers at once.

use crate::world::{CARD, SERVER, World};
use anyhow::{Context, Result};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TRANSFERS: usize = 100;
const LOADER: &str = "ipxe/x86_64/snponly.efi";
const LIMIT: Duration = Duration::from_secs(60);

/// Children that are ended with their owner.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(super) fn run(world: &mut World) -> Result<String> {
    let station = world.station("many", [2, 0x77, 0, 0, 8, 1])?;
    // Each transfer has an address of its own, as each machine of a rack has: what one address may have at once is bounded.
    let address = |number: usize| format!("10.77.0.{}", 20 + number);
    for number in 0..TRANSFERS {
        station.space.ip(&["address", "add", &format!("{}/24", address(number)), "dev", CARD])?;
    }
    let begin = Instant::now();
    let file = |number: usize| world.folder.file(&format!("fetched-{number}"));
    let mut children = Children(Vec::new());
    for number in 0..TRANSFERS {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "60",
            "--tftp-blksize",
            if number % 2 == 0 { "1428" } else { "512" },
            "--interface",
        ]);
        command
            .arg(address(number))
            .arg("-o")
            .arg(file(number))
            .arg(format!("tftp://{SERVER}/{LOADER}"))
            .stdin(Stdio::null());
        children.0.push(station.space.spawn(command)?);
    }
    for (number, child) in children.0.iter_mut().enumerate() {
        let left = LIMIT.saturating_sub(begin.elapsed());
        let status = world.until("the end of all transfers", left, || Ok(child.try_wait()?))?;
        anyhow::ensure!(status.success(), "transfer {number}: {status}");
        world.same(&file(number), LOADER).with_context(|| format!("transfer {number}"))?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let mib = (TRANSFERS * world.boot_file(LOADER)?.len()) as f64 / f64::from(1 << 20);
    Ok(format!("{mib:.0} MiB in {seconds:.1} s"))
}
