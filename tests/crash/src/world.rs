//! One box and one node on networks of their own, with all that the scenarios do to them.

use crate::api::{Api, BAREMETAL, IDENTITY, LEASE, text};
use crate::appliance::{Appliance, Site};
use crate::dhcp;
use crate::image::{self, Image, NONCE};
use crate::node::{self, Node, Place, Running, Standing};
use anyhow::{Context, Result, bail, ensure};
use leasehold_rack::netns::Namespace;
use leasehold_rack::stop::Stop;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the administrator chooses instead of the one-time password.
const ADMINISTRATORS_PASSWORD: &str = "killed again and again";

/// That of the users that he makes.
const MEMBERS_PASSWORD: &str = "mine for as long as the lease";

pub(crate) const NODE: &str = "node0";
pub(crate) const BOX_ADDRESS: &str = "10.77.0.1";
/// Each box has a network namespace of its own: no port is ever taken.
pub(crate) const API: &str = "127.0.0.1:8080";
/// A deployment of the simulated node, restart of the program included.
pub(crate) const WORK_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// How long a simulated machine may be silent after a restart, in seconds; it boots within three.
const SILENCE: u64 = 8;
const KERNEL: &str = "agent/x86_64/vmlinuz";

/// What all worlds share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) image: Image,
    pub(crate) stop: Stop,
    /// Points whose name does not hold this are left out.
    pub(crate) only: String,
}

/// A box and a node.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) node: Node,
    pub(crate) common: Common,
    disk: PathBuf,
    /// `None` while the program is down.
    pub(crate) appliance: Option<Appliance>,
    api: Option<Api>,
    /// The lease that the node is under.
    lease: Option<String>,
}

/// Everything of a world that a scenario begins with.
#[derive(Clone)]
pub(crate) struct Snapshot {
    folder: PathBuf,
    standing: Standing,
    lease: Option<String>,
}

/// Makes the boot files that all boxes serve, and the image.
///
/// # Errors
/// The disk's.
pub(crate) fn common(program: PathBuf, folder: &Path, stop: &Stop, only: Option<&str>) -> Result<Common> {
    let mut files = Vec::new();
    for (seed, (path, size)) in (10..).zip([(KERNEL, 300_000), ("agent/x86_64/initramfs", 700_000)]) {
        let mut bytes = vec![0; size];
        image::noise(seed, &mut bytes);
        let file = folder.join("boot").join(path);
        fs::create_dir_all(file.parent().context("a folder")?)?;
        fs::write(file, &bytes)?;
        files.push(json!({"path": path, "size": size, "sha256": hex::encode(Sha256::digest(&bytes))}));
    }
    fs::write(folder.join("boot/manifest.json"), json!({"version": 1, "files": files}).to_string())?;
    let import = folder.join("import");
    fs::create_dir_all(&import)?;
    Ok(Common {
        program,
        folder: folder.to_owned(),
        image: Image::make(&import)?,
        stop: stop.clone(),
        only: only.unwrap_or_default().to_owned(),
    })
}

impl World {
    /// Makes one in the folder `name`, with nothing running.
    ///
    /// # Errors
    /// When the kernel refuses namespaces, or the disk is full.
    pub(crate) fn make(common: &Common, name: &str) -> Result<World> {
        let folder = common.folder.join(name);
        fs::create_dir_all(&folder)?;
        let of_box = Arc::new(Namespace::create("box")?);
        let of_node = Arc::new(Namespace::create("node")?);
        of_box.ip(&["link", "add", "prov0", "type", "veth", "peer", "name", dhcp::CARD, "netns", &of_node.path()])?;
        of_node.ip(&["link", "set", dhcp::CARD, "address", node::MAC])?;
        of_box.ip(&["address", "add", &format!("{BOX_ADDRESS}/24"), "dev", "prov0"])?;
        of_box.ip(&["link", "set", "prov0", "up"])?;
        of_node.ip(&["link", "set", dhcp::CARD, "up"])?;
        // A card without an address has no route back to a sender; the kernel must hear it all the same.
        for name in ["all", dhcp::CARD] {
            let setting = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
            of_node.run(move || fs::write(setting, "0"))??;
        }
        let disk = folder.join("disk");
        image::make_used_disk(&disk)?;
        let place = Place {
            network: of_node,
            server: BOX_ADDRESS.into(),
            disk: disk.clone(),
            root: folder.join("machine"),
            log: folder.join("machine.log"),
            image: common.image.clone(),
        };
        let node = Node::start(&of_box, place)?;
        let site = Site { program: common.program.clone(), network: of_box, folder };
        let world = World { site, node, common: common.clone(), disk, appliance: None, api: None, lease: None };
        world.write_config(&world.site.config(), API)?;
        Ok(world)
    }

    /// A configuration with the API on `listen`.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write_config(&self, path: &Path, listen: &str) -> Result<()> {
        // TOML's basic strings are JSON's for every path that this program makes.
        let quoted = |path: &Path| Value::from(path.to_string_lossy().into_owned()).to_string();
        let text = format!(
            "state_folder = {}\nboot_files = {}\n\n[[interface]]\nname = \"prov0\"\nroles = [\"boot\"]\n\n\
             [public]\nlisten = \"{listen}\"\nplain_http = true\n\n[power]\nsoft_off_seconds = 1\n\n[agent]\nsilence_seconds = {SILENCE}\n\n\
             [images]\nimport_folder = {}\nreserve_mib = 1\n",
            quoted(&self.site.state()),
            quoted(&self.common.folder.join("boot")),
            quoted(&self.common.folder.join("import")),
        );
        Ok(fs::write(path, text)?)
    }

    /// Starts the program.
    ///
    /// # Errors
    /// When it does not become ready.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.appliance = None;
        self.appliance = Some(self.site.start()?);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(appliance) = self.appliance.take() {
            appliance.kill();
        }
    }

    /// A client for the administrator, who chooses a password of his own when he still has the one-time one.
    ///
    /// # Errors
    /// When the appliance does not take it.
    pub(crate) fn api(&mut self) -> Result<Api> {
        if let Some(api) = &self.api {
            return Ok(api.clone());
        }
        // The folder may be a mount that only the box sees.
        let file = self.site.state().join("admin-password");
        let base = format!("http://{API}");
        if let Ok(old) = self.site.network.run(move || fs::read_to_string(file))? {
            let old = old.trim();
            let change = json!({"old": old, "new": ADMINISTRATORS_PASSWORD});
            Api::new(&base, "admin", old)?.good("POST", "/appliance/v1/password", Some(&change))?;
        }
        let api = Api::new(&base, "admin", ADMINISTRATORS_PASSWORD)?;
        self.api = Some(api.clone());
        Ok(api)
    }

    /// A user's commands: the node, its port, what it is to run.
    ///
    /// # Errors
    /// When the appliance refuses.
    pub(crate) fn enrol(&mut self) -> Result<()> {
        let api = self.api()?;
        let node = json!({
            "name": NODE,
            "driver": "ipmi",
            "driver_info": {
                "ipmi_address": node::BMC.0, "ipmi_port": node::BMC.1,
                "ipmi_username": node::USER, "ipmi_password": node::PASSWORD,
            },
            "instance_info": self.image(),
        });
        let node = api.good("POST", &format!("{BAREMETAL}/nodes"), Some(&node))?;
        let port = json!({"node_uuid": text(&node, "uuid")?, "address": node::MAC});
        api.good("POST", &format!("{BAREMETAL}/ports"), Some(&port)).map(drop)
    }

    /// What the node is to run.
    fn image(&self) -> Value {
        json!({
            "image_source": format!("file://{}", self.common.image.path.display()),
            "image_os_hash_algo": "sha256",
            "image_os_hash_value": self.common.image.sha256,
        })
    }

    /// The node's owner offers it, and a lessee claims it and says what it is to run: what the owner said before is gone,
    /// as the node was taken from him and wiped.
    ///
    /// # Errors
    /// When the appliance refuses, or the lessee does not get it in time.
    pub(crate) fn lend(&mut self) -> Result<()> {
        let api = self.api()?;
        let owner = project(&api, "owner")?;
        let patch = json!([{"op": "add", "path": "/owner", "value": owner}]);
        api.good("PATCH", &format!("{BAREMETAL}/nodes/{NODE}"), Some(&patch))?;
        let offer = api.good("POST", &format!("{LEASE}/offers"), Some(&json!({"resource_uuid": NODE})))?;
        let claim = format!("{LEASE}/offers/{}/claim", text(&offer, "uuid")?);
        let lessee = member(&api, "lessee", &project(&api, "lessee")?)?;
        let lease = lessee.good("POST", &claim, Some(&json!({"name": "for a week"})))?;
        let lease = text(&lease, "uuid")?.to_owned();
        let stop = self.common.stop.clone();
        stop.until("that the node is the lessee's", WORK_LIMIT, LOOK_EVERY, || {
            Ok((self.show()?["properties"]["lease_uuid"] == lease.as_str()).then_some(()))
        })?;
        self.lease = Some(lease);
        ensure!(self.show()?["instance_info"] == json!({}), "the lessee has what the owner said of the node");
        let patch = json!([{"op": "add", "path": "/instance_info", "value": self.image()}]);
        api.good("PATCH", &format!("{BAREMETAL}/nodes/{NODE}"), Some(&patch)).map(drop)
    }

    /// The next start may be a first one, with another password.
    pub(crate) fn forget_password(&mut self) {
        self.api = None;
    }

    /// The node as the appliance shows it.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn show(&mut self) -> Result<Value> {
        self.api()?.get(&format!("{BAREMETAL}/nodes/{NODE}"))
    }

    /// Asks for a provision state; the status of the answer.
    ///
    /// # Errors
    /// When nothing is answered.
    pub(crate) fn ask_for(&mut self, work: &Work) -> Result<(u16, Value)> {
        if let Work::Return = work {
            let lease = self.lease.as_deref().context("there is no lease")?;
            let path = format!("{LEASE}/leases/{lease}");
            // As esi-leap it says 200 to what goes on from there.
            let (status, answer) = self.api()?.ask("DELETE", &path, None)?;
            return Ok((if status == 200 { 202 } else { status }, answer));
        }
        let path = format!("{BAREMETAL}/nodes/{NODE}/states/provision");
        self.api()?.ask("PUT", &path, Some(&work.body()))
    }

    /// Waits until the node rests in the state that the work ends in, and looks whether it is true.
    ///
    /// # Errors
    /// When it rests elsewhere, does not rest in time, or the machine is not what the appliance says.
    pub(crate) fn must_end(&mut self, work: &Work) -> Result<()> {
        let stop = self.common.stop.clone();
        let mut last = String::new();
        let done = stop.until(&format!("'{}'", work.ends_in()), WORK_LIMIT, LOOK_EVERY, || {
            let node = self.show()?;
            last = format!("{} → {}, {}", node["provision_state"], node["target_provision_state"], node["last_error"]);
            at_rest(&node, work.ends_in())
        });
        done.with_context(|| {
            format!("the node is last seen in {last}; the program's log ends:\n{}", self.site.log_tail())
        })?;
        self.proof(work)
    }

    /// Whether the machine is what the work was to make of it.
    ///
    /// # Errors
    /// What it is instead.
    pub(crate) fn proof(&mut self, work: &Work) -> Result<()> {
        if let Work::Return = work {
            self.must_be_nobodys()?;
        }
        match work {
            Work::Deploy(nonce) => match self.node.running() {
                Running::Disk(Ok(found)) => {
                    ensure!(found == *nonce, "the machine runs another deployment: {found} instead of {nonce}");
                }
                other => bail!("the node is active, but its machine runs {other:?}"),
            },
            Work::Undeploy | Work::Clean | Work::Return => {
                image::must_be_empty(&self.disk)?;
                ensure!(self.node.running() == Running::Nothing, "the cleaned machine is still on");
            }
            Work::Rescue => {
                ensure!(self.node.running() == Running::Network, "the machine does not run the rescue system");
                let hash = fs::read_to_string(node::rescue_file(&self.disk)).context("nobody was let in")?;
                ensure!(hash.starts_with("$6$"), "the user was let in by {hash}");
            }
            Work::Unrescue => match self.node.running() {
                Running::Disk(Ok(_)) => {}
                other => bail!("the node is active again, but its machine runs {other:?}"),
            },
            Work::Manage | Work::Inspect => {}
        }
        Ok(())
    }

    /// The lease is over, and nothing on the node's record tells of its lessee.
    fn must_be_nobodys(&mut self) -> Result<()> {
        let node = self.show()?;
        ensure!(node["lessee"].is_null(), "it is back, and still {}'s", node["lessee"]);
        ensure!(node["properties"]["lease_uuid"].is_null(), "it is back, and names lease {}", node["properties"]);
        ensure!(node["maintenance"] == false && node["fault"].is_null(), "it is set aside: {}", node["fault"]);
        let lease = self.lease.clone().context("there is no lease")?;
        let lease = self.api()?.get(&format!("{LEASE}/leases/{lease}"))?;
        ensure!(lease["status"] == "deleted", "its node is back, and the lease is '{}'", lease["status"]);
        Ok(())
    }

    /// Keeps a copy of everything. The program must be down.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn snapshot(&self, name: &str) -> Result<Snapshot> {
        let folder = self.common.folder.join(name);
        copy_folder(&self.site.state(), &folder.join("state"))?;
        fs::copy(&self.disk, folder.join("disk"))?;
        Ok(Snapshot { folder, standing: self.node.standing(), lease: self.lease.clone() })
    }

    /// Puts everything as it was. The program must be down.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.kill();
        self.node.restore(&snapshot.standing);
        self.lease.clone_from(&snapshot.lease);
        match fs::remove_dir_all(self.site.state()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        copy_folder(&snapshot.folder.join("state"), &self.site.state())?;
        fs::copy(snapshot.folder.join("disk"), &self.disk)?;
        self.api = None;
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Before the node and the namespaces.
        self.kill();
    }
}

/// What a user asks for.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Manage,
    Inspect,
    /// From manageable to available.
    Clean,
    /// With the nonce that goes into the config drive.
    Deploy(String),
    Undeploy,
    Rescue,
    Unrescue,
    /// A lessee gives back what he has deployed.
    Return,
}

impl Work {
    /// A deployment that can be told from every other.
    pub(crate) fn deploy() -> Work {
        Work::Deploy(uuid::Uuid::new_v4().simple().to_string())
    }

    fn body(&self) -> Value {
        match self {
            Work::Manage => json!({"target": "manage"}),
            Work::Inspect => json!({"target": "inspect"}),
            Work::Clean => json!({"target": "provide"}),
            Work::Undeploy => json!({"target": "deleted"}),
            Work::Rescue => json!({"target": "rescue", "rescue_password": "let me in"}),
            Work::Unrescue => json!({"target": "unrescue"}),
            // It is no verb of the node's.
            Work::Return => Value::Null,
            Work::Deploy(nonce) => json!({
                "target": "active",
                "configdrive": {"meta_data": {}, "user_data": format!("{NONCE}{nonce}\n")},
            }),
        }
    }

    pub(crate) fn ends_in(&self) -> &'static str {
        match self {
            Work::Manage | Work::Inspect => "manageable",
            Work::Clean | Work::Undeploy | Work::Return => "available",
            Work::Deploy(_) | Work::Unrescue => "active",
            Work::Rescue => "rescue",
        }
    }

    /// How the appliance calls the job.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Work::Manage => "verify",
            Work::Inspect => "inspect",
            Work::Clean => "clean",
            Work::Deploy(_) => "deploy",
            Work::Undeploy => "undeploy",
            Work::Rescue => "rescue",
            Work::Unrescue => "unrescue",
            Work::Return => "hand-over",
        }
    }
}

/// Whether a node has come to rest in `wanted`; an error when it rests elsewhere.
pub(crate) fn at_rest(node: &Value, wanted: &str) -> Result<Option<()>> {
    let state = text(node, "provision_state")?;
    let underway = node["target_provision_state"].as_str().is_some_and(|target| !target.is_empty());
    if state.ends_with("failed") || state == "error" || (!underway && state != wanted) {
        bail!("the node came to rest in '{state}': {}", node["last_error"]);
    }
    Ok((!underway).then_some(()))
}

/// Makes a project.
fn project(api: &Api, name: &str) -> Result<String> {
    let made = api.good("POST", &format!("{IDENTITY}/projects"), Some(&json!({"project": {"name": name}})))?;
    Ok(text(&made["project"], "id")?.to_owned())
}

/// Makes a user who is a member of the project, and of no other.
fn member(api: &Api, name: &str, project: &str) -> Result<Api> {
    let user = json!({"user": {"name": name, "password": MEMBERS_PASSWORD, "default_project_id": project}});
    let user = api.good("POST", &format!("{IDENTITY}/users"), Some(&user))?;
    let roles = api.get(&format!("{IDENTITY}/roles?name=member"))?;
    let (user, role) = (text(&user["user"], "id")?, text(&roles["roles"][0], "id")?);
    api.good("PUT", &format!("{IDENTITY}/projects/{project}/users/{user}/roles/{role}"), None)?;
    Api::new(&format!("http://{API}"), name, MEMBERS_PASSWORD)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            // Permissions too: keys are for their owner only.
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// A file that boots are served, as its URL.
pub(crate) fn kernel_url() -> String {
    format!("http://{BOX_ADDRESS}/boot/{KERNEL}")
}

/// The node's boot script.
pub(crate) fn script_url() -> String {
    format!("http://{BOX_ADDRESS}/boot/script/{}", node::MAC)
}
