//! Images: how long the appliance packs one, and how long the deploy agent's own code takes to write it to a disk.
//!
//! In: a made image of 2 GiB with 460 MiB in it, of which about half can be compressed. Out: seconds. The agent fetches
//! from the real program over TLS, writes to a sparse file that stands for a zeroed disk, syncs, reads every block back and
//! checks it; the pipelines beside it fetch from nginx without TLS, sync, and check nothing.

mod deploying;

use crate::Plan;
use crate::appliance::{Appliance, OURS, noise, write_boot_files};
use crate::figures::{Column, Figures, column};
use crate::lab::{Lab, SERVER, SERVER_INTERFACE};
use crate::process::Server;
use anyhow::{Context, Result, bail, ensure};
use leasehold_agent::console::Console;
use leasehold_agent::disk::Disk;
use leasehold_agent::http::Client;
use leasehold_agent::image::{Pace, Source, validate, write_blocks};
use leasehold_agent::tls::{Trust, client};
use leasehold_wire::agent::ImageInfo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const COLUMNS: &[Column] = &[column("seconds", 2), column("server CPU s", 2), column("MB stored", 0)];
const SIZE: u64 = 2 << 30;
const HELD: u64 = 460 << 20;
/// Pieces of content, evenly spread.
const PIECE: u64 = 20 << 20;

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let lab = Lab::new(plan)?;
    let given = lab.folder("images")?.join("given.raw");
    let sha256 = make(&given)?;
    let boot_files = lab.folder("boot-files")?;
    write_boot_files(&boot_files, &[("none", vec![0; 10])])?;
    let mut figures = Figures::new("Images: 2 GiB with 460 MiB in it", COLUMNS);
    let mut last = None;
    for round in 0..plan.rounds {
        eprintln!("packing, round {} of {}", round + 1, plan.rounds);
        last = Some(pack(&lab, &mut figures, &given, &boot_files, &sha256)?);
        let zstd = lab.path().join("given.zst");
        let began = Instant::now();
        let done = Command::new("zstd").args(["-q", "-f", "-3", "-T0"]).arg(&given).arg("-o").arg(&zstd).status();
        match done {
            Ok(status) if status.success() => {
                let stored = fs::metadata(&zstd)?.len() as f64 / 1e6;
                figures.record(
                    "hash and pack",
                    "zstd -3 -T0 (no hash)",
                    &[began.elapsed().as_secs_f64(), f64::NAN, stored],
                );
            }
            _ => figures.note("zstd is not installed."),
        }
    }
    let (appliance, image) = last.context("there was no round")?;
    let ticket = deploying::start_job(&appliance.state, &image)?;
    let running = appliance.start(&lab)?;
    let pin = pin_of(&appliance.state)?;
    let nginx = nginx(&lab, &given)?;
    if nginx.is_none() {
        figures.note("nginx is not installed: nothing to compare the writing with.");
    }
    for (wire, rate) in [("veth", None), ("1 Gbit/s", Some("1gbit"))] {
        if let Some(rate) = rate {
            let shaped = lab.server.output(
                "tc",
                &[
                    "qdisc",
                    "add",
                    "dev",
                    SERVER_INTERFACE,
                    "root",
                    "tbf",
                    "rate",
                    rate,
                    "burst",
                    "256kb",
                    "latency",
                    "20ms",
                ],
            );
            if let Err(error) = shaped {
                figures.note(format!("No 1 Gbit/s here: {error:#}"));
                break;
            }
        }
        for _ in 0..plan.rounds {
            let case = format!("write, {wire}");
            let disk = fresh_disk(&lab)?;
            let (before, ticket, wanted, path) = (running.server.cpu(), ticket.clone(), sha256.clone(), disk.clone());
            let seconds = lab.client.run(move || write(&path, &ticket, &wanted, pin))??;
            figures.record(&case, OURS, &[seconds, running.server.cpu() - before, f64::NAN]);
            ensure!(hash(&disk)? == sha256, "the disk does not hold the image");
            for (name, file, line) in PIPELINES {
                let Some(server) = &nginx else { continue };
                let disk = fresh_disk(&lab)?;
                let line = line
                    .replace("URL", &format!("http://{SERVER}:81/{file}"))
                    .replace("DISK", &disk.display().to_string());
                let (before, began) = (server.cpu(), Instant::now());
                lab.client.output("sh", &["-c", &line])?;
                figures.record(&case, name, &[began.elapsed().as_secs_f64(), server.cpu() - before, f64::NAN]);
            }
        }
    }
    figures.note("The ratio is of times: below 1 ours is faster.");
    figures.print(OURS)
}

const PIPELINES: &[(&str, &str, &str)] = &[
    (
        "curl raw → dd O_DIRECT",
        "given.raw",
        "curl -s URL | dd of=DISK bs=1M iflag=fullblock oflag=direct conv=notrunc,fsync status=none",
    ),
    (
        "curl zstd → zstd -d → dd sparse",
        "given.zst",
        "curl -s URL | zstd -q -d | dd of=DISK bs=1M iflag=fullblock conv=notrunc,sparse,fsync status=none",
    ),
];

/// Makes the image; gives its SHA-256.
fn make(path: &Path) -> Result<String> {
    let file = File::create(path)?;
    file.set_len(SIZE)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let (random, pieces) = (noise(8 << 20), HELD / PIECE);
    let text: Vec<u8> =
        (0..1 << 20_u32).flat_map(|line| format!("line {line} of a file in an image\n").into_bytes()).collect();
    for piece in 0..pieces {
        out.seek(SeekFrom::Start(SIZE / pieces * piece / (1 << 20) * (1 << 20)))?;
        for part in 0..PIECE >> 20 {
            let at = usize::try_from((piece * 31 + part * 7) % 7)? << 20;
            let kind = if part % 2 == 0 { &random } else { &text };
            out.write_all(&kind[at..at + (1 << 20)])?;
        }
    }
    // A disk's first block has this mark.
    out.seek(SeekFrom::Start(510))?;
    out.write_all(&[0x55, 0xaa])?;
    out.into_inner()?.sync_all()?;
    hash(path)
}

/// SHA-256 of as many bytes as the image has.
fn hash(path: &Path) -> Result<String> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?.take(SIZE), Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Has a fresh appliance import the image; gives it, ended, and the image's id.
fn pack(lab: &Lab, figures: &mut Figures, given: &Path, files: &Path, sha256: &str) -> Result<(Appliance, String)> {
    let appliance = Appliance::new(lab, "ours", Some(files))?;
    appliance.configure(&format!("[images]\nimport_folder = {:?}\n", given.parent().context("a folder")?))?;
    let running = appliance.start(lab)?;
    let mut client = appliance.client()?;
    let wish =
        json!({"name": "made", "url": format!("file://{}", given.display()), "checksum": format!("sha256:{sha256}")});
    let (before, began) = (running.server.cpu(), Instant::now());
    let image = lab.server.run(move || -> Result<Value> {
        let mut image = client.json("POST", "/appliance/v1/images", &wish)?;
        while image["status"] != "active" {
            ensure!(began.elapsed() < Duration::from_secs(120), "the image is still {}", image["status"]);
            if image["status"] == "failed" || image["status"] == "error" {
                bail!("the image was refused: {image}");
            }
            std::thread::sleep(Duration::from_millis(5));
            let id = image["id"].as_str().context("an image has an id")?.to_owned();
            image = client.json("GET", &format!("/appliance/v1/images/{id}"), &Value::Null)?;
        }
        Ok(image)
    })??;
    let seconds = began.elapsed().as_secs_f64();
    let id = image["id"].as_str().context("an image has an id")?.to_owned();
    let stored = fs::metadata(appliance.state.join("images").join(&id).join("data"))?.len() as f64 / 1e6;
    figures.record("hash and pack", OURS, &[seconds, running.server.cpu() - before, stored]);
    running.server.stop()?;
    Ok((appliance, id))
}

/// SHA-256 of the appliance's certificate, by which agents know it.
fn pin_of(state: &Path) -> Result<[u8; 32]> {
    let pem = fs::read_to_string(state.join("tls-certificate.pem"))?;
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text)?;
    Ok(Sha256::digest(der).into())
}

/// A disk that was never written.
fn fresh_disk(lab: &Lab) -> Result<PathBuf> {
    let path = lab.path().join("disk");
    let _ = fs::remove_file(&path);
    File::create(&path)?.set_len(SIZE + (64 << 20))?;
    Ok(path)
}

/// The agent's way of an image to the disk; seconds.
fn write(disk: &Path, ticket: &str, sha256: &str, pin: [u8; 32]) -> Result<f64> {
    let disk = Disk::open_file(disk, 512)?;
    let info = ImageInfo {
        id: "made".into(),
        os_hash_algo: Some("sha256".into()),
        os_hash_value: Some(sha256.to_owned()),
        leasehold_map_url: Some(format!("https://{SERVER}:8444/images/{ticket}/map")),
        ..ImageInfo::default()
    };
    let failed = |failure: leasehold_agent::failure::Failure| anyhow::anyhow!("the agent: {failure}");
    let expected = validate(&info).map_err(failed)?;
    let client = Client::new(client(Trust::Pin(pin))?);
    let pace = Pace::default();
    let began = Instant::now();
    let Source::Blocks { map, data, .. } = Source::open(&client, &info, &expected, pace).map_err(failed)? else {
        bail!("the appliance offers no map");
    };
    write_blocks(&client, &map, &data, &disk, &Console::to(Vec::new()), pace, None).map_err(failed)?;
    Ok(began.elapsed().as_secs_f64())
}

fn nginx(lab: &Lab, given: &Path) -> Result<Option<Server>> {
    let Some(program) = lab.program("nginx") else { return Ok(None) };
    let home = lab.folder("nginx")?;
    let root = home.join("root");
    fs::create_dir(&root)?;
    std::os::unix::fs::symlink(given, root.join("given.raw"))?;
    std::os::unix::fs::symlink(lab.path().join("given.zst"), root.join("given.zst"))?;
    let server = crate::http::start_nginx(lab, &program, &home, "0.0.0.0:81")?;
    Ok(Some(server))
}
