//! The agent against an appliance of the test's own: real sockets and TLS on loopback, disks that are files.
mod life;
mod transfer;

use crate::disk::tests::table;
use crate::disk::{Disk, ESP_TYPE, Found};
use crate::http::{Framing, RequestHead, framing_of_request, head_end};
use crate::machine::Machine;
use leasehold_wire::image_map::{Block, ImageMap, VERSION};
use ring::digest::{SHA256, digest};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// A request as the test's server sees it.
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// First and last byte asked for.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (from, to) = self.head.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse().unwrap(), to.parse().ok()))
    }
}

/// What the server does.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection is cut after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

pub(crate) fn json(status: u16, value: serde_json::Value) -> Answer {
    Answer { status, body: value.to_string().into_bytes(), ..Answer::default() }
}

/// As a proper server does ranges.
pub(crate) fn part(request: &Request, whole: &[u8]) -> Answer {
    match request.range() {
        None => Answer { status: 200, body: whole.to_vec(), ..Answer::default() },
        Some((from, _)) if from >= whole.len() => Answer { status: 416, ..Answer::default() },
        Some((from, to)) => {
            let to = to.unwrap_or(usize::MAX).min(whole.len() - 1);
            let field = ("Content-Range".to_owned(), format!("bytes {from}-{to}/{}", whole.len()));
            Answer { status: 206, fields: vec![field], body: whole[from..=to].to_vec(), cut: None }
        }
    }
}

/// A server on loopback, with TLS; ends with the process.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) pin: [u8; 32],
}

impl TestServer {
    pub(crate) fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> TestServer {
        let identity = crate::tls::identity(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let pin = pin_of(&identity.certificate_pem);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, config) = (Arc::clone(&handler), Arc::clone(&identity.config));
                std::thread::spawn(move || serve(stream, config, &*handler));
            }
        });
        TestServer { url, pin }
    }

    pub(crate) fn client(&self) -> crate::http::Client {
        crate::http::Client::new(crate::tls::client(crate::tls::Trust::Pin(self.pin)).unwrap())
    }
}

/// The SHA-256 of the certificate in a PEM text.
pub(crate) fn pin_of(pem: &str) -> [u8; 32] {
    use base64::Engine;
    let inner: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(inner).unwrap();
    digest(&SHA256, &der).as_ref().try_into().unwrap()
}

fn serve(tcp: std::net::TcpStream, config: Arc<ServerConfig>, handler: &dyn Fn(&Request) -> Answer) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, tcp);
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = head_end(&bytes) {
                break end;
            }
            more(&mut stream, &mut bytes)?;
        };
        let head = RequestHead::parse(&bytes[..end]).ok()?;
        let Ok(Framing::Length(length)) = framing_of_request(&head) else { return None };
        let whole = end + usize::try_from(length).ok()?;
        while bytes.len() < whole {
            more(&mut stream, &mut bytes)?;
        }
        let rest = bytes.split_off(whole);
        let request = Request { head, body: bytes.split_off(end) };
        bytes = rest;
        let answer = handler(&request);
        let fields: String = answer.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("HTTP/1.1 {} X\r\n{fields}Content-Length: {}\r\n\r\n", answer.status, answer.body.len());
        stream.write_all(head.as_bytes()).ok()?;
        let sent = answer.cut.unwrap_or(usize::MAX).min(answer.body.len());
        stream.write_all(&answer.body[..sent]).ok()?;
        stream.flush().ok()?;
        if answer.cut.is_some() || request.head.field("connection") == Some("close") {
            stream.conn.send_close_notify();
            let _ = stream.flush();
            return Some(());
        }
    }
}

fn more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0u8; 16384];
    let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
    bytes.extend_from_slice(&chunk[..count]);
    Some(())
}

/// Bytes that do not compress and are the same in every run.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

const MIB: usize = 1 << 20;

/// A bootable-looking image of 24 MiB: GPT, an EFI system partition with loaders, a root with data and holes.
pub(crate) fn system_image(folder: &Path, sector: u32) -> Vec<u8> {
    let mut bytes = vec![0u8; 24 * MIB];
    let fat = crate::boot::tests::image(&[("EFI", "BOOT", "BOOTX64.EFI")]);
    bytes[MIB..MIB + fat.len()].copy_from_slice(&fat);
    bytes[12 * MIB..15 * MIB + 777].copy_from_slice(&noise(3, 3 * MIB + 777));
    bytes[20 * MIB..21 * MIB].copy_from_slice(&noise(4, MIB));
    let path = folder.join("image");
    std::fs::write(&path, &bytes).unwrap();
    let disk = Disk::open_file(&path, sector).unwrap();
    crate::disk::tests::protective_mbr(&disk);
    let at = |mib: usize| (mib * MIB) as u64 / u64::from(sector);
    table(24 << 20, sector, &[(at(1), at(9) - 1, "esp", ESP_TYPE), (at(10), at(22) - 1, "root", [5; 16])])
        .write(&disk)
        .unwrap();
    std::fs::read(&path).unwrap()
}

/// The map and the frames of an image, in blocks of 1 MiB.
pub(crate) fn packed(image: &[u8]) -> (ImageMap, Vec<u8>) {
    let mut data = Vec::new();
    let mut blocks = Vec::new();
    for (index, raw) in image.chunks(MIB).enumerate() {
        if raw.iter().all(|byte| *byte == 0) {
            continue;
        }
        let frame = zstd::bulk::compress(raw, 1).unwrap();
        blocks.push(Block {
            offset: (index * MIB) as u64,
            length: raw.len() as u32,
            sha256: sha256(raw),
            stored_offset: data.len() as u64,
            stored_length: frame.len() as u32,
        });
        data.extend_from_slice(&frame);
    }
    let (size, stored_size) = (image.len() as u64, data.len() as u64);
    (ImageMap { version: VERSION, size, sha256: sha256(image), block_size: MIB as u32, stored_size, blocks }, data)
}

/// A disk file full of old data.
pub(crate) fn dirty_disk(folder: &Path, name: &str, size: usize) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, noise(99, MIB).repeat(size / MIB)).unwrap();
    path
}

/// A machine whose disks are files.
pub(crate) struct FileMachine {
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) sector: u32,
    pub(crate) firmware: Option<PathBuf>,
    pub(crate) left: Mutex<Vec<crate::boot::Exit>>,
    /// By which hashes its user was let in, and that it was handed over.
    pub(crate) rescues: Mutex<std::sync::mpsc::Sender<String>>,
}

impl Machine for FileMachine {
    fn disks(&self) -> Vec<Found> {
        let found = self.disks.iter().map(|path| {
            let disk = leasehold_wire::agent::Disk {
                name: path.display().to_string(),
                size: std::fs::metadata(path).unwrap().len(),
                ..Default::default()
            };
            Found { disk, removable: false, read_only: false }
        });
        found.collect()
    }

    fn open(&self, name: &str) -> io::Result<Disk> {
        Disk::open_file(Path::new(name), self.sector)
    }

    fn partitions(&self, _name: &str) -> Vec<(u64, u64)> {
        Vec::new()
    }

    fn uefi(&self) -> Option<Option<crate::boot::Firmware>> {
        self.firmware.as_deref().map(|folder| Some(crate::boot::Firmware::in_folder(folder)))
    }

    fn open_rescue(&self, hash: &crate::rescue::PasswordHash) -> Result<String, String> {
        self.rescues.lock().unwrap().send(hash.expose().to_owned()).unwrap();
        Ok("let in".to_owned())
    }

    fn hand_over(&self) -> Result<(), String> {
        self.rescues.lock().unwrap().send("handed over".to_owned()).map_err(|error| error.to_string())
    }

    fn leave(&self, exit: crate::boot::Exit) -> Result<(), String> {
        self.left.lock().unwrap().push(exit);
        Ok(())
    }
}
