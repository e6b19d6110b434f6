//! The rows of Open vSwitch's database that say on which VLANs its ports are, and what they mean.
//!
//! What a column means is said in ovs-vswitchd.conf.db(5), and what counts in doubt by `bridge.c`: no `vlan_mode` is
//! `access` where there is a tag and `trunk` where there is none, and a trunk without a list is one of all VLANs.

use crate::switch::{Actual, Membership, PortState, Trunk, Vlan, Wanted};
use leasehold_protocols::ovsdb::{Atom, Datum, Operation, Outcome, Row, RowId};
use std::collections::{BTreeMap, BTreeSet};

/// The columns by which it is set how a port stands; nothing else of it is ever written.
const STANDING: [&str; 4] = ["vlan_mode", "tag", "trunks", "protected"];

/// What is read, all at one moment, in the order of [`Snapshot::read`].
pub(super) fn selects() -> Vec<Operation> {
    let select = |table: &str, columns: &[&str]| Operation::Select {
        table: table.to_owned(),
        rows: Vec::new(),
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
    };
    vec![
        select("Open_vSwitch", &["_uuid", "next_cfg", "cur_cfg"]),
        select("Bridge", &["_uuid", "name", "ports", "controller", "fail_mode", "mirrors"]),
        select("Port", &["_uuid", "name", "interfaces", "vlan_mode", "tag", "trunks", "protected"]),
        select("Interface", &["_uuid", "name", "error", "ofport", "link_state"]),
    ]
}

/// The database at one moment.
pub(super) struct Snapshot {
    pub(super) ports: Vec<FoundPort>,
    /// The one row of the whole switch.
    pub(super) root: Option<Root>,
    /// Bridges that copy frames.
    mirrored: Vec<String>,
}

/// The switch as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) id: RowId,
    /// Rises with every change that somebody waits for.
    pub(super) next_cfg: i64,
}

/// A port of a bridge.
#[derive(Clone)]
pub(super) struct FoundPort {
    pub(super) id: RowId,
    pub(super) name: String,
    pub(super) bridge: RowId,
    pub(super) bridge_name: String,
    /// What a change is based on: name and standing as they were read.
    pub(super) read: Row,
    interfaces: Vec<Interface>,
    actual: Actual,
    protected: bool,
    /// What decides in this bridge, if it is not the VLANs of its ports.
    controlled: Option<&'static str>,
}

#[derive(Clone)]
struct Interface {
    name: String,
    link: Option<bool>,
    error: Option<String>,
    works: bool,
}

impl Snapshot {
    /// From the outcomes of [`selects`]. `bridge`: the only one that counts. An error says what does not make sense.
    pub(super) fn read(outcomes: &[Outcome], bridge: Option<&str>, idle: Vlan) -> Result<Snapshot, &'static str> {
        let [roots, bridges, ports, interfaces] = outcomes else { return Err("an answer to something else") };
        let root = match roots.rows.as_slice() {
            [] => None,
            [row] => {
                let next_cfg = row.integer("next_cfg").ok_or("no number of its configuration")?;
                Some(Root { id: row.uuid("_uuid").ok_or("a switch without a UUID")?.clone(), next_cfg })
            }
            _ => return Err("several switches"),
        };
        let mut by_id = BTreeMap::new();
        for row in &interfaces.rows {
            by_id.insert(row.uuid("_uuid").ok_or("an interface without a UUID")?, row);
        }
        let (mut owners, mut mirrored) = (BTreeMap::new(), Vec::new());
        for row in &bridges.rows {
            let name = row.text("name").ok_or("a bridge without a name")?;
            let counts = bridge.is_none_or(|only| only == name);
            if counts && !row.set("mirrors").ok_or("a bridge without a column of mirrors")?.is_empty() {
                mirrored.push(name.to_owned());
            }
            for port in row.set("ports").ok_or("a bridge without ports")? {
                let Atom::Uuid(port) = port else { return Err("a port that is no row") };
                if owners.insert(port, (row, counts)).is_some() {
                    return Err("a port in two bridges");
                }
            }
        }
        let (mut found, mut plugged) = (Vec::new(), BTreeSet::new());
        for row in &ports.rows {
            let id = row.uuid("_uuid").ok_or("a port without a UUID")?;
            let Some((owner, counts)) = owners.get(id) else { continue };
            let mut own = Vec::new();
            for interface in row.set("interfaces").ok_or("a port without interfaces")? {
                let Atom::Uuid(interface) = interface else { return Err("an interface that is no row") };
                if !plugged.insert(interface) {
                    return Err("an interface in two ports");
                }
                own.push(Interface::read(by_id.get(interface).ok_or("an interface that is not there")?)?);
            }
            if !counts {
                continue;
            }
            found.push(FoundPort::read(row, owner, own, idle)?);
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Snapshot { ports: found, root, mirrored })
    }

    /// What keeps idle ports from being alone.
    pub(super) fn warnings(&self, idle: Vlan) -> Vec<String> {
        let copied = |bridge: &String| format!("bridge '{bridge}' has a mirror: copies of frames go where it says");
        let mut warnings: Vec<_> = self.mirrored.iter().map(copied).collect();
        // The bridge's own port hears everything, as the box that the switch runs on does anyway.
        for port in self.ports.iter().filter(|port| !port.is_local()) {
            let name = &port.name;
            if port.actual == Actual::Member(Membership::Idle) {
                if !port.protected {
                    warnings.push(format!("port '{name}' is idle and not protected: it hears other idle ports"));
                }
            } else if port.hears(idle) {
                warnings
                    .push(format!("port '{name}' is on the idle VLAN {idle}, too ({}): list its VLANs", port.actual));
            }
            if let Some(what) = port.controlled {
                warnings.push(format!("{what} decides where frames of port '{name}' go, not its VLANs"));
            }
        }
        warnings
    }

    /// The port of this name, letter for letter. By what else a port might be meant (an interface of it, a MAC address)
    /// none is found: two names for one port would let one machine have another's.
    pub(super) fn find(&self, wanted: &str) -> Option<&FoundPort> {
        self.ports.iter().find(|port| port.name == wanted)
    }
}

impl Interface {
    fn read(row: &Row) -> Result<Interface, &'static str> {
        let text = |column: &str| match row.optional(column) {
            Some(Some(Atom::String(text))) => Some(text.clone()),
            _ => None,
        };
        let ofport = row.optional("ofport").ok_or("an interface without ofport")?;
        Ok(Interface {
            name: row.text("name").ok_or("an interface without a name")?.to_owned(),
            link: text("link_state").map(|state| state == "up"),
            error: text("error").filter(|error| !error.is_empty()),
            works: matches!(ofport, Some(Atom::Integer(number)) if *number > 0),
        })
    }
}

impl FoundPort {
    fn read(row: &Row, owner: &Row, interfaces: Vec<Interface>, idle: Vlan) -> Result<FoundPort, &'static str> {
        let mut read = Row::default();
        for column in STANDING.into_iter().chain(["name"]) {
            let datum = row.0.get(column).ok_or("a port without its VLANs")?;
            read.0.insert(column.to_owned(), datum.clone());
        }
        let controller = owner.set("controller").ok_or("a bridge without a controller column")?;
        let secure = matches!(owner.optional("fail_mode"), Some(Some(Atom::String(mode))) if mode == "secure");
        Ok(FoundPort {
            id: row.uuid("_uuid").ok_or("a port without a UUID")?.clone(),
            name: row.text("name").ok_or("a port without a name")?.to_owned(),
            bridge: owner.uuid("_uuid").ok_or("a bridge without a UUID")?.clone(),
            bridge_name: owner.text("name").ok_or("a bridge without a name")?.to_owned(),
            actual: membership(row, idle).ok_or("a port's VLANs are none")?,
            protected: match row.optional("protected") {
                Some(Some(Atom::Boolean(protected))) => *protected,
                _ => return Err("a port that is neither protected nor not"),
            },
            controlled: match (controller, secure) {
                ([_, ..], _) => Some("an OpenFlow controller"),
                ([], true) => Some("OpenFlow rules (fail_mode is secure)"),
                ([], false) => None,
            },
            read,
            interfaces,
        })
    }

    /// Frames of this VLAN come out of it.
    fn hears(&self, vlan: Vlan) -> bool {
        let number = i64::from(vlan.number());
        let is_it = |atom: &Atom| *atom == Atom::Integer(number);
        let holds = |column: &str| self.read.set(column).is_some_and(|members| members.iter().any(is_it));
        let alone = match self.read.optional("vlan_mode") {
            Some(Some(Atom::String(mode))) => mode == "access" || mode == "dot1q-tunnel",
            _ => self.read.set("tag").is_some_and(|tag| !tag.is_empty()),
        };
        let listed = self.read.set("trunks").is_some_and(|trunks| !trunks.is_empty());
        holds("tag") || !alone && (!listed || holds("trunks"))
    }

    /// It is the same port, in the same place, and stands as before.
    pub(super) fn is_as(&self, before: &FoundPort) -> bool {
        self.id == before.id && self.bridge == before.bridge && self.read == before.read
    }

    /// It is the port by which the box that the switch runs on is connected to it.
    pub(super) fn is_local(&self) -> bool {
        self.name == self.bridge_name
    }

    /// Why VLANs of ports are not what decides where frames go.
    pub(super) fn controlled(&self) -> Option<&'static str> {
        self.controlled
    }

    /// Why it moves no frames.
    pub(super) fn broken(&self) -> Option<String> {
        let broken = self.interfaces.iter().find(|interface| interface.error.is_some() || !interface.works)?;
        let why = broken.error.clone().unwrap_or_else(|| "the switch has not taken it up".to_owned());
        Some(format!("interface {}: {why}", broken.name))
    }

    /// As it is told.
    pub(super) fn state(&self) -> PortState {
        let links = self.interfaces.iter().map(|interface| interface.link);
        let controlled = self.controlled.map(|what| format!("{what} decides where its frames go, not its VLANs"));
        PortState {
            name: self.name.clone(),
            actual: self.actual.clone(),
            protected: self.protected,
            link: links.reduce(|one, other| if one == Some(true) { one } else { other }).flatten(),
            trouble: self.broken().or(controlled),
        }
    }
}

/// The columns that make a port stand so: all of them, so that nothing is left of what was there before.
pub(super) fn columns(wanted: &Wanted, idle: Vlan) -> Row {
    let number = |vlan: Vlan| i64::from(vlan.number());
    let (mode, tag, trunks) = match wanted.membership() {
        Membership::Idle => ("access", idle, Vec::new()),
        Membership::Access(vlan) => ("access", *vlan, Vec::new()),
        Membership::Trunk(trunk) => (
            "native-untagged",
            trunk.native(),
            trunk.tagged().iter().map(|vlan| Atom::Integer(number(*vlan))).collect(),
        ),
    };
    let values = [
        Datum::one(mode),
        Datum::one(number(tag)),
        Datum::Set(trunks),
        Datum::Set(vec![Atom::Boolean(wanted.is_protected())]),
    ];
    Row(STANDING.into_iter().map(str::to_owned).zip(values).collect())
}

/// What the columns of a port mean; `None`: nothing that Open vSwitch lets them be.
fn membership(row: &Row, idle: Vlan) -> Option<Actual> {
    let tag = match row.optional("tag")? {
        None => None,
        Some(Atom::Integer(tag)) => Some(*tag),
        Some(_) => return None,
    };
    let mode = match row.optional("vlan_mode")? {
        None if tag.is_some() => "access",
        None => "trunk",
        Some(Atom::String(mode)) => mode.as_str(),
        Some(_) => return None,
    };
    let mut trunks = BTreeSet::new();
    for member in row.set("trunks")? {
        let Atom::Integer(number) = member else { return None };
        trunks.insert(*number);
    }
    let vlan = |number: i64| u16::try_from(number).ok().and_then(Vlan::new);
    let member = match (mode, tag.map(vlan)) {
        ("access", Some(Some(vlan))) if vlan == idle => Some(Membership::Idle),
        ("access", Some(Some(vlan))) => Some(Membership::Access(vlan)),
        ("native-untagged", Some(Some(native))) => {
            let tagged: Option<BTreeSet<_>> = trunks.iter().map(|number| vlan(*number)).collect();
            tagged.and_then(|tagged| Trunk::new(native, tagged)).map(Membership::Trunk)
        }
        _ => None,
    };
    Some(member.map_or_else(|| Actual::Other(in_words(mode, tag, &trunks)), Actual::Member))
}

fn in_words(mode: &str, tag: Option<i64>, trunks: &BTreeSet<i64>) -> String {
    let tag = tag.map_or_else(|| "no tag".to_owned(), |tag| format!("tag {tag}"));
    let listed = match (mode, trunks.is_empty()) {
        ("access" | "dot1q-tunnel", _) => String::new(),
        (_, true) => ", all VLANs".to_owned(),
        (_, false) => {
            let listed: Vec<_> = trunks.iter().map(i64::to_string).collect();
            format!(", VLANs {}", listed.join(", "))
        }
    };
    format!("{mode} with {tag}{listed}")
}

#[cfg(test)]
mod tests;
