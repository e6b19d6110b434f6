//! Images: how long the appliance packs one, and how long the deploy agent's own code takes to write it to a disk.
//!
//! In: images of 2 GiB with 460 MiB in them ([`content`]), and the Debian image where `LEASEHOLD_DEBIAN_IMAGE` names it. Out: seconds. The agent fetches
//! from the real program over TLS, writes to a sparse file that stands for a zeroed disk, syncs, reads every block back and
//! checks it; the pipelines beside it fetch from nginx without TLS, sync, and check nothing.

mod content;
mod deploying;

use crate::Plan;
use crate::appliance::{Appliance, OURS, write_boot_files};
use crate::figures::{Column, Figures, column};
use crate::lab::{Lab, SERVER, SERVER_INTERFACE};
use crate::process::Server;
use anyhow::{Context, Result, bail, ensure};
use content::Content;
use leasehold_agent::console::Console;
use leasehold_agent::disk::Disk;
use leasehold_agent::http::Client;
use leasehold_agent::image::{Pace, Source, validate, write_blocks};
use leasehold_agent::tls::{Trust, client};
use leasehold_wire::agent::ImageInfo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const COLUMNS: &[Column] = &[column("seconds", 2), column("server CPU s", 2), column("MB stored", 0)];
/// What a disk has beyond its image.
const SPARE: u64 = 64 << 20;

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let lab = Lab::new(plan)?;
    let boot_files = lab.folder("boot-files")?;
    write_boot_files(&boot_files, &[("none", vec![0; 10])])?;
    let mut figures = Figures::new("Images: 2 GiB with 460 MiB in it", COLUMNS);
    for content in content::all(&lab)? {
        measure(plan, &lab, &mut figures, &boot_files, &content)?;
        fs::remove_file(&content.path)?;
    }
    figures.note("The ratio is of times: below 1 ours is faster.");
    figures.print(OURS)
}

fn measure(plan: &Plan, lab: &Lab, figures: &mut Figures, boot_files: &Path, content: &Content) -> Result<()> {
    let packed = lab.path().join("given.zst");
    let mut last = None;
    for round in 0..plan.rounds {
        eprintln!("{}: packing, round {} of {}", content.name, round + 1, plan.rounds);
        last = Some(pack(lab, figures, content, boot_files)?);
        let began = Instant::now();
        let done =
            Command::new("zstd").args(["-q", "-f", "-3", "-T0"]).arg(&content.path).arg("-o").arg(&packed).status();
        match done {
            Ok(status) if status.success() => {
                let stored = fs::metadata(&packed)?.len() as f64 / 1e6;
                let row = [began.elapsed().as_secs_f64(), f64::NAN, stored];
                figures.record(&format!("{}: hash and pack", content.name), "zstd -3 -T0 (no hash)", &row);
            }
            _ => figures.note("zstd is not installed."),
        }
    }
    let (appliance, image) = last.context("there was no round")?;
    let ticket = deploying::start_job(&appliance.state, &image)?;
    let running = appliance.start(lab)?;
    let pin = pin_of(&appliance.state)?;
    let nginx = nginx(lab, &content.path, &packed)?;
    if nginx.is_none() {
        figures.note("nginx is not installed: nothing to compare the writing with.");
    }
    for (wire, rate) in [("veth", None), ("1 Gbit/s", Some("1gbit"))] {
        if let Some(rate) = rate
            && let Err(error) =
                lab.server.output("tc", &shaping("add", &["tbf", "rate", rate, "burst", "256kb", "latency", "20ms"]))
        {
            figures.note(format!("No 1 Gbit/s here: {error:#}"));
            break;
        }
        for _ in 0..plan.rounds {
            let case = format!("{}: write, {wire}", content.name);
            write_once(lab, figures, &case, content, &running.server, (&ticket, pin))?;
            for (name, file, line) in PIPELINES {
                let Some(server) = &nginx else { continue };
                let disk = fresh_disk(lab, content)?;
                let line = line
                    .replace("URL", &format!("http://{SERVER}:81/{file}"))
                    .replace("DISK", &disk.display().to_string());
                let (before, began) = (server.cpu(), Instant::now());
                lab.client.output("sh", &["-c", &line])?;
                figures.record(&case, name, &[began.elapsed().as_secs_f64(), server.cpu() - before, f64::NAN]);
            }
        }
        if rate.is_some() {
            lab.server.output("tc", &shaping("del", &[]))?;
        }
    }
    running.server.stop()?;
    nginx.map_or(Ok(()), Server::stop)
}

fn shaping<'a>(verb: &'a str, how: &[&'a str]) -> Vec<&'a str> {
    [&["qdisc", verb, "dev", SERVER_INTERFACE, "root"], how].concat()
}

/// Ours, once, and whether the disk then holds the image.
fn write_once(
    lab: &Lab,
    figures: &mut Figures,
    case: &str,
    content: &Content,
    server: &Server,
    (ticket, pin): (&str, [u8; 32]),
) -> Result<()> {
    let disk = fresh_disk(lab, content)?;
    let (before, ticket, wanted, path) = (server.cpu(), ticket.to_owned(), content.sha256.clone(), disk.clone());
    let seconds = lab.client.run(move || write(&path, &ticket, &wanted, pin))??;
    figures.record(case, OURS, &[seconds, server.cpu() - before, f64::NAN]);
    let size = fs::metadata(&content.path)?.len();
    ensure!(content::hash_of(&disk, size)? == content.sha256, "the disk does not hold the image");
    Ok(())
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

/// Has a fresh appliance import the image; gives it, ended, and the image's id.
fn pack(lab: &Lab, figures: &mut Figures, content: &Content, files: &Path) -> Result<(Appliance, String)> {
    let (given, sha256) = (&content.path, &content.sha256);
    let appliance = Appliance::new(lab, "ours", Some(files))?;
    appliance.configure(&format!("[images]\nimport_folder = {:?}\n", given.parent().context("a folder")?))?;
    let running = appliance.start(lab)?;
    let mut client = appliance.client(lab)?;
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
    figures.record(
        &format!("{}: hash and pack", content.name),
        OURS,
        &[seconds, running.server.cpu() - before, stored],
    );
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
fn fresh_disk(lab: &Lab, content: &Content) -> Result<PathBuf> {
    let path = lab.path().join("disk");
    let _ = fs::remove_file(&path);
    File::create(&path)?.set_len(fs::metadata(&content.path)?.len() + SPARE)?;
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

fn nginx(lab: &Lab, given: &Path, packed: &Path) -> Result<Option<Server>> {
    let Some(program) = lab.program("nginx") else { return Ok(None) };
    let home = lab.folder("nginx")?;
    let root = home.join("root");
    fs::create_dir(&root)?;
    std::os::unix::fs::symlink(given, root.join("given.raw"))?;
    std::os::unix::fs::symlink(packed, root.join("given.zst"))?;
    let server = crate::http::start_nginx(lab, &program, &home, "0.0.0.0:81")?;
    Ok(Some(server))
}
