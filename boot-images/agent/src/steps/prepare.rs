//! `standby.prepare_image`: the right disk, the image on it, room for the rest of the disk, the config drive.

use crate::console::Console;
use crate::disk::{self, Disk, Gpt, Hints, Mbr};
use crate::failure::{Failure, Kind, OrFailure};
use crate::http::Client;
use crate::image::{self, Expected, Pace, Source};
use crate::machine::Machine;
use leasehold_wire::agent::{ImageInfo, LookupNode};
use ring::rand::{SecureRandom, SystemRandom};

/// What the deployment left behind, for the commands that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// For example `/dev/sda`.
    pub disk: String,
    /// What the command gives back.
    pub text: String,
}

/// Everything `prepare_image` works with.
pub(super) struct Deployment<'a> {
    machine: &'a dyn Machine,
    client: &'a Client,
    console: &'a Console,
    pace: Pace,
}

/// Writes the image and the config drive to the disk that the node's hints (or the image's size) choose.
///
/// # Errors
/// What went wrong and why. Before the first byte is written the disk is untouched; after that, the disk holds no
/// partition table.
pub fn prepare_image(
    (machine, client, console, pace): (&dyn Machine, &Client, &Console, Pace),
    node: &LookupNode,
    info: &ImageInfo,
    config_drive: Option<&str>,
) -> Result<Prepared, Failure> {
    let work = Deployment { machine, client, console, pace };
    let outcome = work.run(node, info, config_drive);
    console.finish();
    outcome
}

impl Deployment<'_> {
    fn run(&self, node: &LookupNode, info: &ImageInfo, config_drive: Option<&str>) -> Result<Prepared, Failure> {
        let expected = image::validate(info)?;
        let hints = Hints::of_node(&node.instance_info, &node.properties)
            .or_failure(Kind::DeviceNotFound, || "nothing was written".to_owned())?;
        let drive = config_drive.map(|given| image::config_drive(self.client, given)).transpose()?;
        let source = Source::open(self.client, info, &expected, self.pace)?;
        let size = source.size().unwrap_or(0);
        // The config drive's partition begins on a full MiB, and the backup table follows it.
        let extra = drive.as_ref().map_or(0, |drive| (drive.len() as u64).next_multiple_of(1 << 20) + (2 << 20));
        let disks = self.machine.disks();
        let found = disk::choose(&disks, &hints, (size + extra).max(1))
            .or_failure(Kind::DeviceNotFound, || "nothing was written".to_owned())?;
        let name = found.disk.name.clone();
        let disk = self.machine.open(&name).or_failure(Kind::ImageWrite, || name.clone())?;
        let label = if info.id.is_empty() { "image".to_owned() } else { format!("image {}", info.id) };
        self.console.say(&format!("writing {label} to {name} ({})", describe(found)));
        let written = self.write(&source, &expected, &disk).and_then(|()| {
            self.finish(&disk, drive.as_deref())?;
            Ok(())
        });
        if let Err(failure) = written {
            // Half an image must never boot. If even that fails, the first reason is still the one that matters.
            let _ = disk::wipe_partition_tables(&disk);
            return Err(failure);
        }
        let root = Mbr::read(&disk).ok().flatten().map_or(0, |mbr| mbr.signature());
        let text = format!("image ({}) written to device {name} root_uuid={root:#010x}", info.id);
        self.console.say(&format!("{label} is on {name}, read back and right"));
        Ok(Prepared { disk: name, text })
    }

    fn write(&self, source: &Source, expected: &Expected, disk: &Disk) -> Result<(), Failure> {
        match source {
            Source::Blocks { map, data, trusted } => {
                let whole = (!trusted).then_some(expected);
                image::write_blocks(self.client, map, data, disk, self.console, self.pace, whole)
            }
            Source::Raw { urls, size } => {
                image::write_raw(self.client, urls, *size, expected, disk, self.console, self.pace).map(|_| ())
            }
        }
    }

    /// Fits the partition table to the disk and puts the config drive at its end.
    fn finish(&self, disk: &Disk, drive: Option<&[u8]>) -> Result<(), Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(Kind::Deployment, format!("{}: {error}", disk.name()));
        let place = if let Some(mut gpt) = Gpt::read(disk).map_err(|error| failed(&error))? {
            if gpt.partitions().is_empty() {
                return Err(failed(&"the image has a partition table without partitions; it is no system image"));
            }
            gpt.resize(disk.size()).map_err(|error| failed(&error))?;
            let place = drive.map(|drive| gpt.config_partition(drive.len() as u64, random_id())).transpose();
            let place = place.map_err(|error| failed(&error))?;
            gpt.write(disk).map_err(|error| failed(&error))?;
            place
        } else if let Some(mut mbr) = Mbr::read(disk).map_err(|error| failed(&error))? {
            let place = drive.map(|drive| mbr.add_config_partition(disk, drive.len() as u64)).transpose();
            place.map_err(|error| failed(&error))?
        } else {
            return Err(failed(
                &"the image has no partition table (neither GPT nor MBR); give a whole-disk image that boots by itself",
            ));
        };
        if let (Some((offset, length)), Some(drive)) = (place, drive) {
            self.console.say("writing the config drive");
            let write = || -> std::io::Result<bool> {
                disk.write_at(offset, drive)?;
                disk.zero(offset + drive.len() as u64, length - drive.len() as u64, |_| {})?;
                disk.settle()?;
                let mut back = vec![0u8; drive.len()];
                disk.read_at(offset, &mut back)?;
                Ok(back == drive)
            };
            if !write().map_err(|error| failed(&error))? {
                return Err(failed(&"the disk does not give back the config drive that was written: replace the disk"));
            }
        }
        if let Err(error) = disk.reread_partitions() {
            // Everything goes over the whole disk, so only what the kernel shows of it is out of date until the restart.
            self.console
                .say(&format!("the kernel does not read the new partition table of {} yet: {error}", disk.name()));
        }
        Ok(())
    }
}

fn describe(found: &disk::Found) -> String {
    let model = found.disk.model.as_deref().unwrap_or("disk");
    format!("{model}, {} GiB", found.disk.size >> 30)
}

/// A random version 4 id, as it lies in a partition table.
fn random_id() -> [u8; 16] {
    let mut id = [0u8; 16];
    // Without random numbers there would have been no TLS; a fixed id would still be a valid one.
    let _ = SystemRandom::new().fill(&mut id);
    // The version lies in the upper half of byte 7 because the first three fields are little-endian.
    id[7] = id[7] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    id
}
