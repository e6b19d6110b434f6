//! Open vSwitch itself: its database and its daemon, with bridges that exist only inside the daemon (`dummy`), so that
//! neither root nor any network of this machine is needed. And a proxy by which a test does something at the moment when
//! a request is under way.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// How long a program may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that ends with the test.
pub(super) struct Program(pub(super) Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A switch with a bridge `br` and ports.
pub(super) struct Peer {
    vswitchd: Mutex<Option<Program>>,
    ovsdb: Mutex<Option<Program>>,
    listen: Vec<String>,
    /// What is written before the daemon's own command, so that it runs elsewhere.
    inside: Vec<String>,
    /// Its datapath: `dummy`, of ports that exist only inside the daemon, or `netdev`, of network interfaces.
    datapath: &'static str,
    folder: tempfile::TempDir,
}

impl Peer {
    /// With ports of these names, which have no VLAN yet, and are protected.
    pub(super) fn new(ports: &[&str]) -> Arc<Peer> {
        Peer::listening(ports, |_| Vec::new())
    }

    /// The same, with further arguments of the database that say where it listens.
    pub(super) fn listening(ports: &[&str], listen: impl Fn(&Path) -> Vec<String>) -> Arc<Peer> {
        Peer::start_with(ports, listen, Vec::new(), "dummy")
    }

    /// With network interfaces of these names, where commands begin with `inside`.
    pub(super) fn of_interfaces(ports: &[&str], inside: Vec<String>) -> Arc<Peer> {
        Peer::start_with(ports, |_| Vec::new(), inside, "netdev")
    }

    fn start_with(
        ports: &[&str],
        listen: impl Fn(&Path) -> Vec<String>,
        inside: Vec<String>,
        datapath: &'static str,
    ) -> Arc<Peer> {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = listen(folder.path());
        let (vswitchd, ovsdb) = (Mutex::new(None), Mutex::new(None));
        let peer = Peer { vswitchd, ovsdb, listen, inside, datapath, folder };
        let made = peer.run("ovsdb-tool", &["create", peer.text("conf.db").as_str(), SCHEMA]);
        assert!(made.status.success(), "ovsdb-tool: {}", String::from_utf8_lossy(&made.stderr));
        peer.start_database();
        peer.control(&["--no-wait", "init"]);
        peer.start_daemon();
        peer.control(&["add-br", "br", "--", "set", "bridge", "br", &format!("datapath_type={datapath}")]);
        for port in ports {
            peer.add_port(port);
        }
        Arc::new(peer)
    }

    pub(super) fn add_port(&self, port: &str) {
        let kind = if self.datapath == "dummy" { "type=dummy" } else { "type=system" };
        let interface = ["add-port", "br", port, "--", "set", "interface", port, kind];
        self.control(&[&interface[..], &["--", "set", "port", port, "protected=true"]].concat());
    }

    pub(super) fn start_database(&self) {
        let mut server = self.command("ovsdb-server");
        server.arg("--no-chdir").arg(self.path("conf.db")).arg(format!("--remote=punix:{}", self.text("db.sock")));
        server.args(&self.listen).arg(format!("--unixctl={}", self.text("ovsdb.ctl")));
        *self.ovsdb.lock().expect("a lock") = Some(self.start(server, "ovsdb.log"));
        self.until("the database", || std::os::unix::net::UnixStream::connect(self.path("db.sock")).is_ok());
    }

    pub(super) fn start_daemon(&self) {
        let mut daemon = match self.inside.split_first() {
            None => self.command("ovs-vswitchd"),
            Some((first, rest)) => {
                let mut command = self.command(first);
                command.args(rest).arg(find("ovs-vswitchd"));
                command
            }
        };
        daemon.args(["--no-chdir", "--enable-dummy", "--disable-system"]).arg(format!("unix:{}", self.text("db.sock")));
        daemon.arg(format!("--unixctl={}", self.text("vswitchd.ctl")));
        *self.vswitchd.lock().expect("a lock") = Some(self.start(daemon, "vswitchd.log"));
        self.until("the daemon", || std::os::unix::net::UnixStream::connect(self.path("vswitchd.ctl")).is_ok());
    }

    /// Kills the daemon that moves frames.
    pub(super) fn kill_daemon(&self) {
        std::fs::remove_file(self.path("vswitchd.ctl")).expect("its socket");
        *self.vswitchd.lock().expect("a lock") = None;
    }

    /// Kills the database. Its socket goes first: who sees the connection end may start the next one at once.
    pub(super) fn kill_database(&self) {
        std::fs::remove_file(self.path("db.sock")).expect("its socket");
        *self.ovsdb.lock().expect("a lock") = None;
    }

    /// `ovs-vsctl ARGUMENTS`; what it says. It waits until the daemon has carried it out.
    pub(super) fn control(&self, arguments: &[&str]) -> String {
        let database = format!("--db=unix:{}", self.text("db.sock"));
        let all: Vec<_> = [database.as_str(), "--timeout=30"].into_iter().chain(arguments.iter().copied()).collect();
        let output = self.run("ovs-vsctl", &all);
        assert!(output.status.success(), "ovs-vsctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What is written of a port in the columns of its VLANs.
    pub(super) fn columns(&self, port: &str) -> String {
        self.control(&["get", "port", port, "vlan_mode", "tag", "trunks"]).replace('\n', " ")
    }

    /// The ports out of which the daemon itself says that a broadcast comes when it goes into `port`; the bridge's own
    /// does not count.
    pub(super) fn reaches(&self, port: &str) -> Vec<String> {
        let control = self.text("vswitchd.ctl");
        let flow = format!("in_port={port},dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff");
        let ask = |arguments: &[&str]| {
            let all: Vec<_> = ["-t", &control].into_iter().chain(arguments.iter().copied()).collect();
            let output = self.run("ovs-appctl", &all);
            assert!(output.status.success(), "ovs-appctl: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let trace = ask(&["ofproto/trace", "br", &flow]);
        let actions =
            trace.lines().find_map(|line| line.strip_prefix("Datapath actions: ")).expect("actions").to_owned();
        let shown = ask(&["dpif/show"]);
        // A line is "    p1 3/4: (dummy)": its name, and its number in the datapath after the slash.
        let number = |line: &str| {
            let (name, rest) = line.trim().split_once(' ')?;
            let number = rest.split_once('/')?.1.split_once(':')?.0;
            (name != "br").then(|| (name.to_owned(), number.to_owned()))
        };
        let numbers: Vec<_> = shown.lines().filter_map(number).collect();
        let outputs: Vec<_> = actions.split(',').collect();
        let mut reached: Vec<_> = numbers
            .into_iter()
            .filter(|(_, number)| outputs.contains(&number.as_str()))
            .map(|(name, _)| name)
            .collect();
        reached.sort();
        reached
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A line of the database's log, or what was found in it.
    pub(super) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(super) fn until(&self, what: &str, is_there: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_there() {
            assert!(
                Instant::now() < end,
                "{what} does not start: {}{}",
                self.log("ovsdb.log"),
                self.log("vswitchd.log")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(find(program));
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"] {
            command.env(variable, self.folder.path());
        }
        command.stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    fn start(&self, mut command: Command, log: &str) -> Program {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path(log)).expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        Program(command.spawn().expect("it starts"))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program).args(arguments).output().expect("it runs")
    }
}

/// Debian puts the daemons where only root looks for programs.
pub(super) fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is missing: run packaging/prepare build (Debian: openvswitch-switch)"))
}

/// What is done, once, when the so-manieth request with that text in it comes by, before the database sees it.
pub(super) struct Hook {
    pub(super) text: &'static str,
    pub(super) nth: usize,
    pub(super) act: Box<dyn FnOnce() + Send>,
}

/// Stands between a driver and the database. Out: the socket to talk to.
pub(super) fn proxy(peer: &Peer, hook: Hook) -> PathBuf {
    let (own, database) = (peer.path("proxy.sock"), peer.path("db.sock"));
    let listener = UnixListener::bind(&own).expect("a socket");
    let hook = Arc::new(Mutex::new(Some(hook)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A database that is dead accepts nobody, and neither do we.
            let Ok(server) = UnixStream::connect(&database).await else { continue };
            drop(tokio::spawn(pass(client, server, hook.clone())));
        }
    });
    own
}

async fn pass(client: UnixStream, server: UnixStream, hook: Arc<Mutex<Option<Hook>>>) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    let forth = async {
        let mut buffer = vec![0; 65536];
        loop {
            // The driver sends a request in one piece, and the next when it has the answer.
            let length = from_client.read(&mut buffer).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            if let Some(act) = due(&hook, &String::from_utf8_lossy(&buffer[..length])) {
                tokio::task::spawn_blocking(act).await.map_err(std::io::Error::other)?;
            }
            to_server.write_all(&buffer[..length]).await?;
        }
    };
    // Either end ends both.
    tokio::select! { ended = back => ended, ended = forth => ended }
}

fn due(hook: &Mutex<Option<Hook>>, request: &str) -> Option<Box<dyn FnOnce() + Send>> {
    let mut hook = hook.lock().expect("a lock");
    let waiting = hook.as_mut().filter(|hook| request.contains(hook.text))?;
    waiting.nth = waiting.nth.saturating_sub(1);
    if waiting.nth > 0 {
        return None;
    }
    hook.take().map(|hook| hook.act)
}
