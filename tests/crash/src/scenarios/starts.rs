//! Starts that must fail: with one clear reason, nothing changed, and whoever runs going on.

use crate::api::BAREMETAL;
use crate::lanes;
use crate::report::Report;
use crate::world::{API, BOX_ADDRESS, World};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A start that fails does so at once.
const LIMIT: Duration = Duration::from_secs(10);
const OTHER_API: &str = "127.0.0.1:8081";

/// # Errors
/// When the world cannot be prepared.
pub(crate) fn run(worlds: &mut [World], report: &Report) -> Result<String> {
    let Some(world) = worlds.first_mut() else { bail!("there is no world") };
    lanes::alone(world, |world| {
        world.kill();
        world.start()?;
        let before = everything(world)?;
        report.point("a second start on the same state folder", second_start(world));
        world.kill();
        for (name, outcome) in [
            ("the users' port is taken", taken_tcp(world, API)),
            ("the agents' port is taken", taken_tcp(world, &format!("{BOX_ADDRESS}:8444"))),
            ("the port of HTTP boot is taken", taken_tcp(world, &format!("{BOX_ADDRESS}:80"))),
            ("the port of TFTP is taken", taken_udp(world, &format!("{BOX_ADDRESS}:69"))),
        ] {
            report.point(name, outcome);
        }
        configurations(world, report)?;
        report.point("a damaged database", damaged(world));
        world.start()?;
        let after = everything(world)?;
        let same = if before == after { Ok(()) } else { Err(anyhow::anyhow!("{before}\nbecame\n{after}")) };
        report.point("nothing has changed", same);
        world.kill();
        Ok(String::new())
    })
}

fn everything(world: &mut World) -> Result<String> {
    Ok(world.api()?.get(&format!("{BAREMETAL}/nodes/detail"))?.to_string())
}

/// A start with this configuration ends by itself, with an error of which one line holds all the words.
fn must_fail(world: &World, config: &Path, words: &[&str]) -> Result<()> {
    let mut command = world.site.command(config)?;
    command.stderr(Stdio::piped());
    let mut child = world.site.network.spawn(command)?;
    let mut stderr = child.stderr.take().context("a pipe")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("it goes on running");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let said = reader.join().map_err(|_| anyhow::anyhow!("its words were lost"))??;
    ensure!(!status.success(), "it ended with success");
    ensure!(!said.contains("panicked"), "it panicked: {said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("leasehold: ")).collect();
    ensure!(lines.len() == 1, "it is told in {} lines: {said}", lines.len());
    // Where a line of a file is shown, it follows.
    let (_, told) = said.split_once("leasehold: ").context("it said nothing")?;
    for word in words {
        ensure!(told.contains(word), "'{word}' is not told: {told}");
    }
    Ok(())
}

fn second_start(world: &mut World) -> Result<()> {
    let pid = world.appliance.as_ref().map(|appliance| appliance.pid()).context("it runs")?;
    let config = other_config(world)?;
    world.write_config(&config, OTHER_API)?;
    let state = world.site.state().display().to_string();
    must_fail(world, &config, &[&state, &format!("by the process {pid}"), "stop that one first"])?;
    ensure!(world.api()?.get("/healthz").is_ok(), "the first one does not go on");
    world.show().map(drop)
}

fn taken_tcp(world: &World, address: &str) -> Result<()> {
    let _taken = TcpListener::bind(address)?;
    must_fail(world, &world.site.config(), &[address])
}

fn taken_udp(world: &World, address: &str) -> Result<()> {
    let _taken = UdpSocket::bind(address)?;
    must_fail(world, &world.site.config(), &[address])
}

fn other_config(world: &World) -> Result<PathBuf> {
    let path = world.site.folder.join("other.toml");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(path),
    }
}

/// Configurations that cannot be used.
fn configurations(world: &World, report: &Report) -> Result<()> {
    let missing = world.site.folder.join("missing.toml");
    report.point("no configuration file", must_fail(world, &missing, &["missing.toml", "cannot be read"]));
    report.point("a folder as configuration", must_fail(world, &world.site.folder, &["cannot be read"]));
    let good = fs::read_to_string(world.site.config())?;
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    let boot = world.common.folder.join("boot").display().to_string();
    let bad: [(&str, Vec<u8>, &[&str]); 8] = [
        ("a configuration that is no text", vec![0xff, 0xfe, 0x00], &["cannot be read"]),
        ("a configuration that is no TOML", b"state_folder = \"/x".to_vec(), &["TOML"]),
        (
            "a misspelt key",
            with("plain_http", "plian_http").into(),
            &["plian_http", "did you mean 'public.plain_http'"],
        ),
        ("a value of another kind", with("reserve_mib = 1", "reserve_mib = \"much\"").into(), &["reserve_mib"]),
        ("an interface that is not there", with("prov0", "prov7").into(), &["prov7", "ip link"]),
        ("plain HTTP for everybody", with(API, "0.0.0.0:8080").into(), &["loopback"]),
        ("no boot files", with(&boot, "/nonexistent").into(), &["/nonexistent", "cannot read"]),
        ("a state folder that cannot be", with("/state\"", "/leasehold.toml\"").into(), &["state folder"]),
    ];
    for (name, text, words) in bad {
        let path = other_config(world)?;
        fs::write(&path, text)?;
        report.point(name, must_fail(world, &path, words));
    }
    Ok(())
}

/// The database is not the appliance's any more: it is told, and left as it is for whoever repairs it.
fn damaged(world: &World) -> Result<()> {
    let file = world.site.state().join("leasehold.redb");
    let good = fs::read(&file)?;
    let garbage = vec![0x5a; good.len()];
    fs::write(&file, &garbage)?;
    let outcome = must_fail(world, &world.site.config(), &["leasehold.redb"]);
    let untouched = fs::read(&file)? == garbage;
    fs::write(&file, good)?;
    outcome?;
    ensure!(untouched, "it changed a database that it could not read");
    Ok(())
}
