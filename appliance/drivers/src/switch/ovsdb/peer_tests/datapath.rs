//! Frames of machines through the userspace datapath, in network namespaces of the test's own: who hears whom.

use super::peer::{Program, find};
use super::*;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

/// A network namespace, for as long as a process sleeps in it.
struct Space {
    sleeper: Program,
    /// It lies in a user namespace, because whoever runs this is not root.
    mapped: bool,
}

impl Space {
    /// `within`: what a command in the surrounding one begins with.
    fn new(within: &[String], mapped: bool) -> Space {
        let own = if mapped && within.is_empty() { &["--user", "--map-root-user", "--net"][..] } else { &["--net"] };
        let mut words: Vec<String> = within.to_vec();
        words.push("unshare".into());
        words.extend(own.iter().map(|&word| word.to_owned()));
        // It dies with the thread of the test.
        words.extend(["setpriv", "--pdeathsig", "KILL", "sleep", "infinity"].map(str::to_owned));
        let child = Command::new(find(&words[0])).args(&words[1..]).stdin(Stdio::null()).spawn().expect("it starts");
        let name = format!("/proc/{}/comm", child.id());
        let space = Space { sleeper: Program(child), mapped };
        let end = Instant::now() + PATIENCE;
        while std::fs::read_to_string(&name).is_ok_and(|comm| comm.trim() != "sleep") {
            assert!(Instant::now() < end, "no network namespace is made");
            std::thread::yield_now();
        }
        space
    }

    fn process(&self) -> String {
        self.sleeper.0.id().to_string()
    }

    /// What a command in it begins with.
    fn inside(&self) -> Vec<String> {
        let user: &[&str] = if self.mapped { &["--user", "--preserve-credentials"] } else { &[] };
        let enter = ["nsenter", "--target", &self.process(), "--net"].map(str::to_owned);
        enter.into_iter().chain(user.iter().map(|&word| word.to_owned())).collect()
    }

    fn run(&self, command: &[&str]) -> String {
        let inside = self.inside();
        let output = Command::new(find(&inside[0])).args(&inside[1..]).args(command).output().expect("it runs");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A machine with one network card.
struct Machine {
    space: Space,
    address: String,
}

impl Machine {
    fn plugged(switch: &Space, port: &str, number: u8) -> Machine {
        let space = Space::new(&switch.inside(), switch.mapped);
        let address = format!("192.0.2.{number}");
        switch.run(&["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", &space.process()]);
        switch.run(&["ip", "link", "set", port, "up"]);
        space.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        space.run(&["ip", "link", "set", "eth0", "up"]);
        // It asks three times who has an address: at this pace.
        space.run(&["ip", "ntable", "change", "name", "arp_cache", "dev", "eth0", "retrans", "200"]);
        Machine { space, address }
    }

    /// It asks on its wire who has the other's address, and hears an answer.
    fn hears(&self, other: &Machine) -> bool {
        self.space.run(&["ip", "neigh", "flush", "dev", "eth0"]);
        self.space.run(&["bash", "-c", &format!("echo >/dev/udp/{}/9", other.address)]);
        let end = Instant::now() + PATIENCE;
        loop {
            let known = self.space.run(&["ip", "neigh", "show", "nud", "all", "to", &other.address, "dev", "eth0"]);
            match (known.contains("lladdr"), known.contains("FAILED")) {
                (true, _) => return true,
                (_, true) => return false,
                _ => assert!(Instant::now() < end, "nothing comes of asking for {}: {known}", other.address),
            }
        }
    }
}

#[tokio::test]
async fn machines_of_one_network_hear_each_other_and_no_others_do() {
    let root = std::fs::metadata("/proc/self").expect("proc").uid() == 0;
    let wires = Space::new(&[], !root);
    let [n1, n2, serving] = [("n1", 1), ("n2", 2), ("box", 3)].map(|(port, at)| Machine::plugged(&wires, port, at));
    let peer = Peer::of_interfaces(&["n1", "n2", "box"], wires.inside());
    let switch = switch(&peer);
    let put = async |wanted: [&Wanted; 2]| {
        for (port, wanted) in ["n1", "n2"].into_iter().zip(wanted) {
            switch.set(port, wanted).await.expect("set");
        }
    };
    let (provisioning, idle) = (Wanted::alone(vlan(100)), Wanted::idle());
    switch.set("box", &access(100)).await.expect("set");

    put([&provisioning, &provisioning]).await;
    assert!(n1.hears(&serving) && n2.hears(&serving) && serving.hears(&n1), "they are served");
    assert!(!n1.hears(&n2) && !n2.hears(&n1), "one of them may be another's, and hostile");

    put([&access(10), &access(10)]).await;
    assert!(n1.hears(&n2) && n2.hears(&n1), "they are on one network of one user");
    assert!(!n1.hears(&serving));

    put([&access(10), &access(20)]).await;
    assert!(!n1.hears(&n2));

    put([&idle, &idle]).await;
    assert!(!n1.hears(&n2) && !n2.hears(&n1) && !n1.hears(&serving), "they are nobody's");

    put([&access(10), &provisioning]).await;
    assert!(!n1.hears(&n2) && !n2.hears(&n1));
}
