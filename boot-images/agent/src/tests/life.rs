//! A machine's whole way through the agent: inspection, lookup, cleaning, deployment, boot entry, restart.

use super::{
    Answer, FileMachine, MIB, Request, TestServer, dirty_disk, json, noise, packed, part, pin_of, sha256, system_image,
};
use crate::agent::{Setting, run};
use crate::boot::Exit;
use crate::console::Kept;
use crate::disk::{Disk, Gpt};
use crate::http::Client;
use crate::image::Pace;
use crate::parameters;
use crate::pulse::Pulse;
use crate::tls;
use leasehold_wire::agent::{CommandList, CommandResult, CommandStatus, Heartbeat, Inspection};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TOKEN: &str = "one-time-secret-of-this-boot-0123456789";
const DEADLINE: Duration = Duration::from_secs(60);

/// Target and body of a request.
type Seen = (String, Vec<u8>);

struct Bench {
    server: TestServer,
    machine: Arc<FileMachine>,
    heartbeats: Receiver<Heartbeat>,
    rescues: Receiver<String>,
    /// The appliance takes no more heartbeats of this boot.
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    said: Kept,
    pulse: Pulse,
    thread: JoinHandle<Result<(), String>>,
    folder: tempfile::TempDir,
}

/// A machine with one disk of 40 MiB and one of 24 MiB (too small with a config drive), and an appliance whose first
/// lookups are answered as `lookups` says.
fn bench(parameters: &str, lookups: Vec<Answer>, image: fn(&Path) -> Vec<u8>) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let interface = root.join("sys/class/net/nosuchif7");
    std::fs::create_dir_all(interface.join("device")).unwrap();
    std::fs::write(interface.join("type"), "1").unwrap();
    std::fs::write(interface.join("address"), "52:54:00:00:00:07").unwrap();
    let firmware = folder.path().join("efivars");
    std::fs::create_dir(&firmware).unwrap();
    let disks = vec![dirty_disk(folder.path(), "a", 40 * MIB), dirty_disk(folder.path(), "b", 24 * MIB)];
    let (sender, rescues) = channel();
    let (left, sender) = (Mutex::default(), Mutex::new(sender));
    let machine = Arc::new(FileMachine { disks, sector: 512, firmware: Some(firmware), left, rescues: sender });

    let (map, data) = packed(&image(folder.path()));
    let map = serde_json::to_vec(&map).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (beats, heartbeats) = channel();
    let beats = Mutex::new(beats);
    let (log, lookups) = (Arc::clone(&seen), Mutex::new(VecDeque::from(lookups)));
    let over = Arc::new(AtomicBool::new(false));
    let no_more = Arc::clone(&over);
    let server = TestServer::start(move |request: &Request| {
        log.lock().unwrap().push((request.head.target.clone(), request.body.clone()));
        let path = request.head.target.split('?').next().unwrap();
        match path {
            "/" => json(200, json!({"default_version": {"id": "v1", "version": "1.115"}})),
            "/v1/continue_inspection" => json(202, json!({"uuid": "node-1"})),
            "/v1/lookup" => lookups.lock().unwrap().pop_front().unwrap_or_else(|| {
                json(
                    200,
                    json!({"node": {"uuid": "node-1"}, "config": {"heartbeat_timeout": 300, "agent_token": "******"}}),
                )
            }),
            "/v1/heartbeat/node-1" if no_more.load(Ordering::SeqCst) => {
                json(401, json!({"error_message": {"faultstring": "The agent token is not valid"}}))
            }
            "/v1/heartbeat/node-1" => {
                assert_eq!(request.head.field("x-openstack-ironic-api-version"), Some("1.72"));
                beats.lock().unwrap().send(serde_json::from_slice(&request.body).unwrap()).unwrap();
                Answer { status: 202, ..Answer::default() }
            }
            "/images/map" => part(request, &map),
            "/images/data" => part(request, &data),
            _ => Answer { status: 404, ..Answer::default() },
        }
    });
    let line = format!("ipa-api-url={} leasehold-pin={} {parameters}", server.url, hex::encode(server.pin));
    let said = Kept::default();
    let pulse = Pulse::default();
    let setting = Setting {
        parameters: parameters::parse(&line.replace("APPLIANCE", &server.url)).unwrap(),
        machine: Arc::clone(&machine) as Arc<dyn crate::machine::Machine>,
        console: said.console(),
        root,
        port: 0,
        pace: Pace { tries: 3, pause: Duration::from_millis(1), streams: 2 },
        pulse: pulse.clone(),
    };
    let thread = std::thread::spawn(move || run(setting));
    Bench { server, machine, heartbeats, rescues, over, seen, said, pulse, thread, folder }
}

/// The appliance's side of the command service.
struct Commander {
    client: Client,
    url: String,
}

impl Commander {
    fn of(beat: &Heartbeat) -> Commander {
        let trust = tls::Trust::Pin(pin_of(beat.agent_verify_ca.as_deref().unwrap()));
        Commander { client: Client::new(tls::client(trust).unwrap()), url: beat.callback_url.clone() }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if method == "POST" { body.to_string().into_bytes() } else { Vec::new() };
        let answer = self.client.call(method, &format!("{}{path}", self.url), &[], &body, 1 << 20).unwrap();
        (answer.head.status, serde_json::from_slice(&answer.body).unwrap())
    }

    fn command(&self, name: &str, params: Value) -> CommandResult {
        let path = format!("/v1/commands/?wait=true&agent_token={TOKEN}");
        let (status, value) = self.call("POST", &path, &json!({"name": name, "params": params}));
        assert_eq!(status, 200, "{value}");
        serde_json::from_value(value).unwrap()
    }

    fn good(&self, name: &str, params: Value) -> Value {
        let result = self.command(name, params);
        assert_eq!(result.command_status, CommandStatus::Succeeded, "{:?}", result.error_text());
        result.command_result.unwrap_or_default()
    }
}

fn image_512(folder: &Path) -> Vec<u8> {
    system_image(folder, 512)
}

fn config_drive() -> (Vec<u8>, String) {
    use base64::Engine;
    use std::io::Write;
    let mut drive = noise(7, 300_000);
    drive[0x8001..0x8006].copy_from_slice(b"CD001");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&drive).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap());
    (drive, text)
}

#[test]
fn from_inspection_to_restart() {
    let parameters = format!(
        "ipa-agent-token={TOKEN} BOOTIF=01-52-54-00-00-00-99 ipa-inspection-callback-url=APPLIANCE/v1/continue_inspection?t=1"
    );
    let bench =
        bench(&parameters, vec![json(404, json!({"error_message": {"faultstring": "no such node"}}))], image_512);
    let beat = bench.heartbeats.recv_timeout(DEADLINE).unwrap();
    assert_eq!(beat.agent_token.as_deref(), Some(TOKEN));
    assert!(beat.callback_url.starts_with("https://127.0.0.1:"));
    assert_eq!(beat.agent_status, None);
    {
        let seen = bench.seen.lock().unwrap();
        let targets: Vec<&str> = seen.iter().map(|(target, _)| target.as_str()).collect();
        let lookup = "/v1/lookup?addresses=52%3A54%3A00%3A00%3A00%3A99%2C52%3A54%3A00%3A00%3A00%3A07&node_uuid=node-1";
        assert_eq!(targets[..4], ["/", "/v1/continue_inspection?t=1", lookup, lookup]);
        let inspection: Inspection = serde_json::from_slice(&seen[1].1).unwrap();
        assert_eq!(inspection.boot_interface.as_deref(), Some("52:54:00:00:00:99"));
        assert_eq!(inspection.inventory.interfaces[0].mac_address.as_deref(), Some("52:54:00:00:00:07"));
    }
    assert!(bench.said.text().contains("no such node"), "{}", bench.said.text());

    let commander = Commander::of(&beat);
    // Strangers get nothing.
    for path in ["/v1/commands/", "/v1/commands/?agent_token=wrong", "/v1/commands/x?agent_token="] {
        assert_eq!(commander.call("GET", path, &Value::Null).0, 401, "{path}");
    }
    assert_eq!(commander.call("POST", "/v1/commands/", &json!({"name": "standby.power_off", "params": {}})).0, 401);
    assert_eq!(commander.call("GET", "/v1/status", &Value::Null).0, 200);
    let with_token = |path: &str| format!("{path}?agent_token={TOKEN}");
    assert_eq!(commander.call("GET", &with_token("/v1/commands/nothing"), &Value::Null).0, 404);
    for (body, status) in [
        (json!({"name": "standby.sync"}), 400),
        (json!({"name": "standby.sync", "params": []}), 400),
        (json!({"name": "standby.fly", "params": {}}), 400),
        (json!({"name": "raid.fly", "params": {}}), 404),
        (json!({"name": "standby.prepare_image", "params": {"image_info": {"urls": []}}}), 400),
    ] {
        assert_eq!(commander.call("POST", &with_token("/v1/commands/"), &body).0, status, "{body}");
    }

    let node = json!({"uuid": "node-1", "properties": {}, "instance_info": {}});
    let offer = commander.good("clean.get_clean_steps", json!({"node": node, "ports": []}));
    let version = offer["hardware_manager_version"].clone();
    assert_eq!(offer["clean_steps"]["leasehold"][0]["step"], "erase_devices_metadata");
    let step = json!({"step": "erase_devices_metadata", "interface": "deploy", "priority": 99});
    let mismatch = json!({"step": step, "node": node, "ports": [], "clean_version": {"generic": "1"}});
    assert_eq!(commander.command("clean.execute_clean_step", mismatch).command_status, CommandStatus::VersionMismatch);
    let cleaned = commander
        .good("clean.execute_clean_step", json!({"step": step, "node": node, "ports": [], "clean_version": version}));
    assert_eq!(cleaned["clean_step"], step);
    // A command that ended is followed by a heartbeat.
    bench.heartbeats.recv_timeout(DEADLINE).unwrap();
    // What the disks' user left in the firmware goes with them.
    let firmware = bench.machine.firmware.as_ref().unwrap();
    let once = firmware.join("BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    std::fs::write(&once, [7, 0, 0, 0, 9, 0]).unwrap();
    let erase = json!({"step": {"step": "erase_devices"}, "node": node, "ports": []});
    let erased = commander.good("clean.execute_clean_step", erase);
    let text = erased["clean_result"].as_str().unwrap();
    assert!(
        text.contains("zero") && text.contains("removed from the firmware: BootNext") && !once.exists(),
        "{erased}"
    );
    for disk in &bench.machine.disks {
        assert!(std::fs::read(disk).unwrap().iter().all(|byte| *byte == 0));
    }
    let unknown = json!({"step": {"step": "fly"}, "node": node, "ports": []});
    assert_eq!(commander.command("clean.execute_clean_step", unknown).command_status, CommandStatus::Failed);

    // The hints want the disk that is too small: refused. Then without hints.
    let image = std::fs::read(bench.folder.path().join("image")).unwrap();
    let (drive, text) = config_drive();
    let info = json!({
        "id": "img", "urls": [format!("{}/nothing", bench.server.url)], "os_hash_algo": "sha256",
        "os_hash_value": sha256(&image), "disk_format": "raw", "leasehold_map_url": format!("{}/images/map", bench.server.url),
    });
    let small = bench.machine.disks[1].display().to_string();
    let hinted = json!({"uuid": "node-1", "instance_info": {"root_device": {"name": small}}});
    let refused =
        commander.command("standby.prepare_image", json!({"image_info": info, "configdrive": text, "node": hinted}));
    let why = refused.error_text().unwrap();
    assert!(why.contains("fewer than") && why.contains("nothing was written"), "{why}");
    let done = commander.good("standby.prepare_image", json!({"image_info": info, "configdrive": text, "node": node}));
    let large = &bench.machine.disks[0];
    assert!(done["result"].as_str().unwrap().starts_with("prepare_image: image (img) written to device"), "{done}");

    let written = std::fs::read(large).unwrap();
    // Between the tables the image is on the disk byte by byte; the old data behind it is not visible as a file system.
    assert!(written[34 * 512..image.len() - 33 * 512] == image[34 * 512..image.len() - 33 * 512]);
    let disk = Disk::open_file(large, 512).unwrap();
    let gpt = Gpt::read(&disk).unwrap().unwrap();
    let config = gpt.partitions().into_iter().find(|partition| partition.label == "config-2").unwrap();
    let at = usize::try_from(config.first * 512).unwrap();
    assert!(written[at..at + drive.len()] == drive);
    assert_eq!(&written[written.len() - 512..written.len() - 504], b"EFI PART");

    let entry = commander.good("image.install_bootloader", json!({"root_uuid": null, "target_boot_mode": "uefi"}));
    assert!(entry["result"].as_str().unwrap().contains("\\EFI\\BOOT\\BOOTX64.EFI"), "{entry}");
    assert!(std::fs::read_dir(bench.machine.firmware.as_ref().unwrap()).unwrap().count() == 2);
    commander.good("standby.sync", json!({}));
    let (status, list) = commander.call("GET", &with_token("/v1/commands/"), &Value::Null);
    let list: CommandList = serde_json::from_value(list).unwrap();
    assert_eq!((status, list.commands.len()), (200, 9));
    assert!(!serde_json::to_string(&list).unwrap().contains(&text[..40]), "parameters are not shown");

    commander.good("standby.run_image", json!({}));
    assert_eq!(bench.thread.join().unwrap(), Ok(()));
    assert_eq!(*bench.machine.left.lock().unwrap(), [Exit::Restart]);
    assert!(bench.pulse.rest(DEADLINE));
}

#[test]
fn a_failed_deployment_leaves_no_table_and_says_why() {
    // An image without partition table.
    let bench = bench(&format!("ipa-agent-token={TOKEN}"), vec![], |folder| {
        let image = noise(11, 8 * MIB);
        std::fs::write(folder.join("image"), &image).unwrap();
        image
    });
    let beat = bench.heartbeats.recv_timeout(DEADLINE).unwrap();
    let commander = Commander::of(&beat);
    let image = std::fs::read(bench.folder.path().join("image")).unwrap();
    let info = json!({"id": "img", "checksum": sha256(&image), "leasehold_map_url": format!("{}/images/map", bench.server.url)});
    let failed = commander.command("standby.prepare_image", json!({"image_info": info}));
    assert_eq!(failed.command_status, CommandStatus::Failed);
    assert!(failed.error_text().unwrap().contains("no partition table"), "{failed:?}");
    assert!(bench.said.text().contains("prepare_image failed"), "{}", bench.said.text());
    // The smallest disk that fits was chosen.
    let disk = std::fs::read(&bench.machine.disks[1]).unwrap();
    assert!(disk[..MIB].iter().all(|byte| *byte == 0) && disk[disk.len() - MIB..].iter().all(|byte| *byte == 0));
    // An alarm reaches the appliance.
    bench.heartbeats.recv_timeout(DEADLINE).unwrap();
    bench.pulse.raise("internal error".to_owned());
    let beat = bench.heartbeats.recv_timeout(DEADLINE).unwrap();
    assert_eq!(
        (beat.agent_status.as_deref(), beat.agent_status_message.as_deref()),
        (Some("error"), Some("internal error"))
    );
    commander.good("standby.power_off", json!({}));
    assert_eq!(bench.thread.join().unwrap(), Ok(()));
    assert_eq!(*bench.machine.left.lock().unwrap(), [Exit::PowerOff]);
}

/// The user is let in; the agent takes commands until the appliance has noted it, then it closes for good.
#[test]
fn a_rescue_is_opened_and_handed_over() {
    let bench = bench(&format!("ipa-agent-token={TOKEN}"), vec![], image_512);
    let commander = Commander::of(&bench.heartbeats.recv_timeout(DEADLINE).unwrap());
    let in_the_clear = json!({"name": "rescue.finalize_rescue", "params": {"rescue_password": "a word"}});
    let with_token = format!("/v1/commands/?agent_token={TOKEN}");
    let (status, why) = commander.call("POST", &with_token, &in_the_clear);
    assert!(status == 400 && !why.to_string().contains("a word"), "{why}");
    let hash = "$6$salt$hash";
    let params = json!({"rescue_password": hash, "hashed": true});
    let opened = commander.good("rescue.finalize_rescue", params.clone());
    assert_eq!(opened["result"], "finalize_rescue: let in");
    assert_eq!(bench.rescues.recv_timeout(DEADLINE).unwrap(), hash);
    // An appliance that was killed before it could note it asks again: the work is not done twice.
    bench.heartbeats.recv_timeout(DEADLINE).unwrap();
    assert_eq!(commander.good("rescue.finalize_rescue", params), opened);
    bench.over.store(true, Ordering::SeqCst);
    assert_eq!(bench.rescues.recv_timeout(DEADLINE).unwrap(), "handed over");
    let refused = commander.client.call("GET", &format!("{}/v1/status", commander.url), &[], &[], 1000);
    assert!(refused.is_err(), "the agent still answers");
    let said = bench.said.text();
    assert!(said.contains("let in") && !said.contains(hash), "{said}");
    bench.pulse.end();
    assert_eq!(bench.thread.join().unwrap(), Ok(()));
    assert!(bench.machine.left.lock().unwrap().is_empty());
}

/// A service offers what leaves the user's data alone.
#[test]
fn a_service_leaves_the_disks_alone() {
    let bench = bench(&format!("ipa-agent-token={TOKEN}"), vec![], image_512);
    let commander = Commander::of(&bench.heartbeats.recv_timeout(DEADLINE).unwrap());
    let offer = commander.good("service.get_service_steps", json!({"node": {"uuid": "node-1"}, "ports": []}));
    assert_eq!(offer["service_steps"]["leasehold"][0]["step"], "clean_uefi_nvram");
    let step = |name: &str| json!({"step": {"step": name, "interface": "deploy"}, "ports": []});
    let erase = commander.command("service.execute_service_step", step("erase_devices"));
    assert_eq!(erase.command_status, CommandStatus::Failed);
    assert!(erase.error_text().unwrap().contains("it has clean_uefi_nvram"), "{erase:?}");
    // Nothing is deployed on these disks: firmware is not told of a system that is not there.
    let nothing = commander.command("service.execute_service_step", step("clean_uefi_nvram"));
    assert!(nothing.error_text().unwrap().contains("no EFI system partition"), "{nothing:?}");
    let image = std::fs::read(bench.folder.path().join("image")).unwrap();
    std::fs::write(&bench.machine.disks[1], image).unwrap();
    let done = commander.good("service.execute_service_step", step("clean_uefi_nvram"));
    assert!(done["service_result"].as_str().unwrap().contains("\\EFI\\BOOT\\BOOTX64.EFI first"), "{done}");
    bench.pulse.end();
    assert_eq!(bench.thread.join().unwrap(), Ok(()));
}

#[test]
fn without_a_token_nothing_is_taken() {
    let bench = bench("", vec![], image_512);
    let why = bench.thread.join().unwrap().unwrap_err();
    assert!(why.contains("ipa-agent-token"), "{why}");
    assert!(bench.heartbeats.try_recv().is_err());
}

#[test]
fn commands_in_the_clear_only_where_asked_for() {
    let bench = bench(&format!("ipa-agent-token={TOKEN} ipa-agent-tls=0"), vec![], image_512);
    let beat = bench.heartbeats.recv_timeout(DEADLINE).unwrap();
    assert!(beat.callback_url.starts_with("http://") && beat.agent_verify_ca.is_none());
    let client = Client::new(tls::client(tls::Trust::Nobody).unwrap());
    let url = format!("{}/v1/commands/?agent_token={TOKEN}", beat.callback_url);
    assert_eq!(client.call("GET", &url, &[], &[], 1000).unwrap().head.status, 200);
    bench.pulse.end();
    assert_eq!(bench.thread.join().unwrap(), Ok(()));
}
