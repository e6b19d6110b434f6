//! HTTP on the boot network: scripts, big files, ranges; against nginx with sendfile.
//!
//! The scripts of ours are made anew for each request, and each request leaves an event in the boot trace; nginx gives a
//! file of the same length, with its log switched off.

use crate::Plan;
use crate::appliance::{Appliance, OURS, noise, write_boot_files};
use crate::figures::{Column, Figures, column, percentile};
use crate::lab::{Lab, SERVER};
use crate::process::Server;
use anyhow::{Context, Result, ensure};
use rustix::net::RecvFlags;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const COLUMNS: &[Column] =
    &[column("rate", 0), column("CPU µs each", 1), column("CPU s/GB", 2), column("p50 µs", 0), column("p99 µs", 0)];
const BIG: &str = "big.bin";
const BIG_SIZE: usize = 64 << 20;
const SCRIPT: &str = "/boot/script/02:be:00:00:00:01";
const RANGE: usize = 64 << 10;
/// Connections at once of small requests.
const CONNECTIONS: usize = 16;
/// Of big files.
const STREAMS: usize = 4;
const BIG_FETCHES: usize = 100;

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let lab = Lab::new(plan)?;
    let files = lab.folder("boot-files")?;
    write_boot_files(&files, &[(BIG, noise(BIG_SIZE))])?;
    let mut figures = Figures::new("HTTP on the boot network", COLUMNS);
    let mut script_length = 200;
    for round in 0..plan.rounds {
        eprintln!("HTTP, round {} of {}", round + 1, plan.rounds);
        let running = Appliance::new(&lab, "ours", Some(&files))?.start(&lab)?;
        script_length = lab.client.run(|| request_once(SCRIPT))??;
        measure(plan, &lab, &mut figures, OURS, &running.server)?;
        running.server.stop()?;
        match lab.program("nginx") {
            Some(program) => {
                let server = nginx(&lab, &program, &files, script_length)?;
                measure(plan, &lab, &mut figures, "nginx", &server)?;
                server.stop()?;
            }
            None => figures.note("nginx is not installed."),
        }
    }
    figures.note(format!("A script has {script_length} bytes. Rates are requests/s, for big files MB/s."));
    figures.print(OURS)
}

fn measure(plan: &Plan, lab: &Lab, figures: &mut Figures, name: &str, server: &Server) -> Result<()> {
    let span = plan.span;
    let small = |figures: &mut Figures, case: &str, head: fn(usize) -> String| -> Result<()> {
        let before = server.cpu();
        let (count, bytes, mut micros, took) = lab.client.run(move || flood(head, span))??;
        let cpu = server.cpu() - before;
        let (half, most) = (percentile(&mut micros, 0.5), percentile(&mut micros, 0.99));
        let gigabytes = bytes as f64 / 1e9;
        figures.record(
            case,
            name,
            &[
                count as f64 / took,
                cpu * 1e6 / count as f64,
                if bytes > 1 << 30 { cpu / gigabytes } else { f64::NAN },
                half,
                most,
            ],
        );
        Ok(())
    };
    small(figures, "scripts, 16 connections", script)?;
    small(figures, "ranges of 64 KiB, 16 connections", ranged)?;
    let before = server.cpu();
    let took = lab.client.run(big_files)??;
    let (cpu, gigabytes) = (server.cpu() - before, (BIG_SIZE * BIG_FETCHES) as f64 / 1e9);
    figures.record(
        "100 × 64 MiB, 4 connections",
        name,
        &[gigabytes * 1e3 / took, f64::NAN, cpu / gigabytes, f64::NAN, f64::NAN],
    );
    Ok(())
}

fn script(_: usize) -> String {
    format!("GET {SCRIPT} HTTP/1.1\r\nHost: {SERVER}\r\n\r\n")
}

fn ranged(number: usize) -> String {
    // A stride that is coprime to the number of ranges, so that all are asked for, in a mixed order.
    let from = number * 397 % (BIG_SIZE / RANGE) * RANGE;
    format!("GET /boot/{BIG} HTTP/1.1\r\nHost: {SERVER}\r\nRange: bytes={from}-{}\r\n\r\n", from + RANGE - 1)
}

fn connect() -> Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddrV4::new(SERVER, 80))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Sends the request, reads the head of the answer and throws its body away; gives the body's length.
fn exchange(stream: &mut TcpStream, request: &str, buffer: &mut [u8]) -> Result<usize> {
    stream.write_all(request.as_bytes())?;
    let mut filled = 0;
    let head = loop {
        let count = stream.read(&mut buffer[filled..filled + 2048])?;
        ensure!(count > 0, "the server hung up");
        filled += count;
        if let Some(at) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(filled < 8192, "the head of the answer has no end");
    };
    let text = std::str::from_utf8(&buffer[..head])?;
    let status = text.get(9..12).unwrap_or_default();
    ensure!(status.starts_with('2'), "the server answers {status}");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.context("the answer has no length")?;
    let mut left = length.saturating_sub(filled - head);
    while left > 0 {
        // TRUNC throws TCP's bytes away unread: the client costs next to nothing, whoever serves.
        let most = left.min(1 << 20);
        let (_, count) = rustix::net::recv(&*stream, &mut buffer[..most], RecvFlags::TRUNC)?;
        ensure!(count > 0, "the server hung up");
        left -= count;
    }
    Ok(length)
}

fn buffer() -> Vec<u8> {
    vec![0; 1 << 20]
}

fn request_once(path: &str) -> Result<usize> {
    exchange(&mut connect()?, &format!("GET {path} HTTP/1.1\r\nHost: {SERVER}\r\n\r\n"), &mut buffer())
}

/// Kept-open connections that ask again and again: requests, bytes, waiting times, seconds.
fn flood(head: fn(usize) -> String, span: Duration) -> Result<(usize, usize, Vec<f64>, f64)> {
    let began = Instant::now();
    let one = move |lane: usize| -> Result<(usize, Vec<f64>)> {
        let (mut stream, mut buffer, mut bytes, mut micros) = (connect()?, buffer(), 0, Vec::new());
        let mut number = lane;
        while began.elapsed() < span {
            let asked = Instant::now();
            bytes += exchange(&mut stream, &head(number), &mut buffer)?;
            micros.push(asked.elapsed().as_secs_f64() * 1e6);
            number += CONNECTIONS;
        }
        Ok((bytes, micros))
    };
    let results: Vec<Result<_>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..CONNECTIONS).map(|lane| scope.spawn(move || one(lane))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| anyhow::bail!("a client failed"))).collect()
    });
    let (mut bytes, mut micros) = (0, Vec::new());
    for result in results {
        let (some, times) = result?;
        bytes += some;
        micros.extend(times);
    }
    Ok((micros.len(), bytes, micros, began.elapsed().as_secs_f64()))
}

/// Seconds for all of the big fetches.
fn big_files() -> Result<f64> {
    let began = Instant::now();
    let request = format!("GET /boot/{BIG} HTTP/1.1\r\nHost: {SERVER}\r\n\r\n");
    let one = || -> Result<()> {
        let (mut stream, mut buffer) = (connect()?, buffer());
        for _ in 0..BIG_FETCHES / STREAMS {
            ensure!(exchange(&mut stream, &request, &mut buffer)? == BIG_SIZE, "the file is not whole");
        }
        Ok(())
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..STREAMS).map(|_| scope.spawn(one)).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| anyhow::bail!("a client failed"))).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    Ok(began.elapsed().as_secs_f64())
}

fn nginx(lab: &Lab, program: &Path, files: &Path, script_length: usize) -> Result<Server> {
    let home = lab.folder("nginx")?;
    let root = home.join("root/boot");
    fs::create_dir_all(root.join("script"))?;
    std::os::unix::fs::symlink(files.join(BIG), root.join(BIG))?;
    fs::write(home.join("root").join(&SCRIPT[1..]), vec![b'#'; script_length])?;
    start_nginx(lab, program, &home, &format!("{SERVER}:80"))
}

/// nginx with sendfile and without logs, for `root` in `home`.
pub(crate) fn start_nginx(lab: &Lab, program: &Path, home: &Path, listen: &str) -> Result<Server> {
    let at = home.display();
    let config = format!(
        "user root; worker_processes auto; daemon off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type text/plain;\n\
         client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4;\n\
         scgi_temp_path {at}/t5; open_file_cache max=100;\n\
         server {{ listen {listen}; root {at}/root; }} }}\n"
    );
    fs::write(home.join("nginx.conf"), config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf")).arg("-e").arg(home.join("error.log"));
    let mut server = Server::start(&lab.server, lab.path(), "nginx", command)?;
    let pid = home.join("pid");
    // It writes its id when it listens.
    server.wait(|| fs::metadata(&pid).is_ok_and(|file| file.len() > 0))?;
    Ok(server)
}
