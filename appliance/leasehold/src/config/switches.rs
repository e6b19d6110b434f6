//! The switches that machines are plugged into: `[[switches]]`.

use super::ConfigError;
use leasehold_domain::mac::Mac;
use leasehold_drivers::switch::ovsdb::{Address, ClientCertificate, Config, Databases, Limits, OvsdbSwitch, Trust};
use leasehold_drivers::switch::{SwitchError, Vlan};
use leasehold_engine::switches::KnownSwitch;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The keys of a row.
pub(super) const KEYS: &[&str] = &[
    "name",
    "kind",
    "address",
    "switch_id",
    "ports",
    "physical_network",
    "bridge",
    "pin",
    "ca",
    "certificate",
    "key",
    "idle_vlan",
    "provisioning_vlan",
    "cleaning_vlan",
];

/// A switch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    /// What ports of nodes call it: `local_link_connection/switch_info`.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// `tcp:HOST:PORT`, `ssl:HOST:PORT` or `unix:/PATH`.
    pub(crate) address: String,
    /// The other thing that they may call it: `local_link_connection/switch_id`.
    #[serde(default)]
    pub(crate) switch_id: Option<String>,
    /// What machines are plugged into, by the switch's own names. No other port is ever set.
    pub(crate) ports: Vec<String>,
    /// The cabling that it belongs to: it carries networks with the same `provider:physical_network`, or with none.
    #[serde(default)]
    pub(crate) physical_network: Option<String>,
    /// The only bridge whose ports count; all where none is named.
    #[serde(default)]
    pub(crate) bridge: Option<String>,
    /// `ssl:`: the SHA-256 of its certificate, in hexadecimal digits.
    #[serde(default)]
    pub(crate) pin: Option<String>,
    /// `ssl:`, instead of a pin: a PEM file of CAs.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    /// `ssl:`: the box's own certificate and key, PEM files.
    #[serde(default)]
    pub(crate) certificate: Option<PathBuf>,
    #[serde(default)]
    pub(crate) key: Option<PathBuf>,
    /// What nobody listens on: ports of machines that are free.
    pub(crate) idle_vlan: u16,
    /// Where the box boots machines.
    pub(crate) provisioning_vlan: u16,
    /// The same, between two users; `None`: the provisioning VLAN.
    #[serde(default)]
    pub(crate) cleaning_vlan: Option<u16>,
}

/// How a switch is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Open vSwitch, by its database.
    Ovsdb,
}

/// What cannot be said by types alone.
pub(super) fn check(switches: &[Switch]) -> Result<(), ConfigError> {
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let (mut idle, mut used) = (BTreeSet::new(), BTreeSet::new());
    let mut databases: Vec<(Address, Option<&str>, &str)> = Vec::new();
    for switch in switches {
        let read = switch.read()?;
        if !names.insert(&switch.name) {
            return Err(wrong("name", format!("there are two switches '{}'", switch.name)));
        }
        if read.id.is_some_and(|id| !ids.insert(id)) {
            return Err(wrong("switch_id", format!("that of '{}' is another's, too", switch.name)));
        }
        let (address, bridge) = (read.config.address, switch.bridge.as_deref());
        let same = |other: &&(Address, Option<&str>, &str)| {
            other.0 == address && bridge.zip(other.1).is_none_or(|(one, other)| one == other)
        };
        if let Some((.., other)) = databases.iter().find(same) {
            let why = format!("'{}' is the same switch as '{other}', and a port must not have two names", switch.name);
            return Err(wrong("address", why));
        }
        databases.push((address, bridge, &switch.name));
        idle.insert(switch.idle_vlan);
        used.extend([read.provisioning.number(), read.cleaning.number()]);
    }
    // Switches are connected to each other.
    match idle.intersection(&used).next() {
        Some(vlan) => Err(wrong("idle_vlan", format!("{vlan} is another switch's provisioning or cleaning VLAN"))),
        None => Ok(()),
    }
}

/// All of them, as the engine takes them. Their certificates are read now.
pub(crate) fn known(switches: &[Switch]) -> anyhow::Result<Vec<KnownSwitch>> {
    let databases = Arc::<Databases>::default();
    switches.iter().map(|switch| switch.known(&databases)).collect()
}

fn wrong(key: &str, why: String) -> ConfigError {
    ConfigError::Value { key: format!("switches.{key}"), why }
}

impl Switch {
    fn known(&self, databases: &Arc<Databases>) -> anyhow::Result<KnownSwitch> {
        let Read { config, id, idle, provisioning, cleaning } = self.read()?;
        let driver = OvsdbSwitch::new(config, databases.clone());
        let driver = driver.map_err(|error: SwitchError| anyhow::anyhow!("{error}"))?;
        Ok(KnownSwitch {
            name: self.name.clone(),
            id,
            ports: self.ports.iter().cloned().collect(),
            physical_network: self.physical_network.clone(),
            idle,
            provisioning,
            cleaning,
            driver: Arc::new(driver),
        })
    }

    fn read(&self) -> Result<Read, ConfigError> {
        name("name", &self.name)?;
        if self.ports.is_empty() {
            return Err(wrong("ports", "names no port: list those that machines are plugged into".into()));
        }
        let mut ports = BTreeSet::new();
        for port in &self.ports {
            name("ports", port)?;
            if !ports.insert(port) {
                return Err(wrong("ports", format!("'{port}' is listed twice")));
            }
        }
        self.physical_network.as_deref().map_or(Ok(()), |text| name("physical_network", text))?;
        let id = self.switch_id.as_deref().map(switch_id).transpose()?;
        let vlan = |key: &str, number: u16| {
            Vlan::new(number).ok_or_else(|| wrong(key, format!("{number} is no VLAN: 1 to 4094")))
        };
        let idle = vlan("idle_vlan", self.idle_vlan)?;
        let provisioning = vlan("provisioning_vlan", self.provisioning_vlan)?;
        let cleaning = self.cleaning_vlan.map_or(Ok(provisioning), |number| vlan("cleaning_vlan", number))?;
        if idle == provisioning || idle == cleaning {
            return Err(wrong("idle_vlan", "nobody may listen there: it must be no other VLAN".into()));
        }
        let address: Address = self.address.parse().map_err(|error| wrong("address", format!("{error}")))?;
        let trust = match (&self.pin, &self.ca) {
            (Some(_), Some(_)) => return Err(wrong("pin", "pin and ca exclude each other: give one".into())),
            (Some(pin), None) => {
                let bytes = hex::decode(pin.replace(':', "")).ok().and_then(|bytes| bytes.try_into().ok());
                let bytes =
                    bytes.ok_or_else(|| wrong("pin", "is not the 64 hexadecimal digits of a SHA-256".into()))?;
                Some(Trust::Pinned(bytes))
            }
            (None, ca) => ca.clone().map(Trust::Ca),
        };
        if matches!(address, Address::Ssl { .. }) != trust.is_some() {
            return Err(wrong(
                "pin",
                "an address that is ssl: needs a pin or a ca, and no other has any use for them".into(),
            ));
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(wrong("certificate", "certificate and key belong together: give both or neither".into()));
        }
        let own = self.certificate.clone().zip(self.key.clone());
        let config = Config {
            name: self.name.clone(),
            address,
            trust,
            certificate: own.map(|(certificate, key)| ClientCertificate { certificate, key }),
            bridge: self.bridge.clone(),
            idle,
            limits: Limits::default(),
        };
        Ok(Read { config, id, idle, provisioning, cleaning })
    }
}

/// A switch, read.
struct Read {
    config: Config,
    id: Option<String>,
    idle: Vlan,
    provisioning: Vlan,
    cleaning: Vlan,
}

/// Names are compared letter for letter, and noted with a line's end between them.
fn name(key: &str, text: &str) -> Result<(), ConfigError> {
    if text.is_empty() || text.trim() != text || text.contains(char::is_control) {
        return Err(wrong(key, "is empty, begins or ends with a space, or holds a control character".into()));
    }
    Ok(())
}

/// In the form in which the API keeps it.
fn switch_id(text: &str) -> Result<String, ConfigError> {
    if let Ok(mac) = text.parse::<Mac>() {
        return Ok(mac.to_string());
    }
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 16);
    match digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            let why = format!("'{text}' is neither a MAC address nor an OpenFlow datapath (0x and 16 digits)");
            Err(wrong("switch_id", why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::known;

    const GOOD: &str = "[[switches]]\nname = \"tor1\"\nkind = \"ovsdb\"\naddress = \"tcp:192.0.2.1:6640\"\n\
                        idle_vlan = 4000\nprovisioning_vlan = 100\nports = [\"n1\", \"n2\"]\n";

    fn refused(change: impl Fn(&str) -> String) -> String {
        Config::parse(&change(GOOD)).expect_err("refused").to_string()
    }

    #[test]
    fn a_switch_is_read() {
        let config = Config::parse(GOOD).expect("a configuration");
        let known = &known(&config.switches).expect("switches")[0];
        assert_eq!(
            (known.name.as_str(), known.provisioning, known.cleaning),
            ("tor1", known.cleaning, known.provisioning)
        );
        assert!(known.ports.contains("n2") && !known.ports.contains("n3") && known.physical_network.is_none());
        assert!(Config::default().switches.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let twice = refused(|good| good.repeat(2));
        assert_eq!(twice, "switches.name: there are two switches 'tor1'");
        let second =
            |from: &str, to: &str| refused(|good| format!("{good}{}", good.replace("tor1", "tor2").replace(from, to)));
        assert!(second("", "").starts_with("switches.address: 'tor2' is the same switch as 'tor1'"));
        assert!(second(":6640", "").starts_with("switches.address: 'tor2' is the same"), "its usual port");
        assert!(second("kind", "bridge = \"br\"\nkind").starts_with("switches.address: 'tor2' is the same"));
        // They are connected to each other.
        let other = |good: &str| good.replace("tor1", "tor2").replace("2.1:", "2.2:").replace("= 100", "= 200");
        let idle = refused(|good| format!("{good}{}", other(good).replace("= 4000", "= 100")));
        assert!(idle.starts_with("switches.idle_vlan: 100 is another switch's"), "{idle}");
        let with = |line: &str| refused(|good| format!("{good}{line}\n"));
        assert!(with("cleaning_vlan = 4000").starts_with("switches.idle_vlan: nobody may listen there"));
        assert!(with("cleaning_vlan = 0").starts_with("switches.cleaning_vlan: 0 is no VLAN"));
        assert!(with("pin = \"00\"").starts_with("switches.pin: is not the 64"));
        assert!(with("ca = \"/x\"").starts_with("switches.pin: an address that is ssl:"));
        assert!(with("key = \"/x\"").starts_with("switches.certificate: certificate and key"));
        assert_eq!(with("adress = \"x\""), "unknown key 'switches.adress'; did you mean 'switches.address'?");
        assert!(refused(|good| good.replace("tcp:", "ssl:")).contains("needs a pin or a ca"));
        assert!(refused(|good| good.replace("tcp:", "ptcp:")).contains("is no address of a database"));
        assert!(refused(|good| good.replace("tor1", "")).starts_with("switches.name"));
        assert!(refused(|good| good.replace("[\"n1\", \"n2\"]", "[]")).starts_with("switches.ports: names no port"));
        assert!(refused(|good| good.replace("n2", "n1")).starts_with("switches.ports: 'n1' is listed twice"));
        assert!(refused(|good| good.replace("n2", " n2")).starts_with("switches.ports: is empty, begins"));
        assert!(refused(|good| good.replace("ports", "#")).contains("ports"), "there is no switch without a list");
        assert!(with("switch_id = \"tor\"").starts_with("switches.switch_id: 'tor' is neither a MAC"));
        assert!(refused(|good| good.replace("= 100", "= 4095")).starts_with("switches.provisioning_vlan"));
    }
}
