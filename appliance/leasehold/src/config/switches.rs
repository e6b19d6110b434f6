//! The switches that machines are plugged into: `[[switches]]`.

use super::ConfigError;
use leasehold_drivers::switch::ovsdb::{Address, ClientCertificate, Config, Limits, OvsdbSwitch, Trust};
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
    for switch in switches {
        switch.read()?;
        if !names.insert(&switch.name) {
            return Err(wrong("name", format!("there are two switches '{}'", switch.name)));
        }
        let id = switch.switch_id.as_ref().map(|id| id.to_ascii_lowercase());
        if id.is_some_and(|id| !ids.insert(id)) {
            return Err(wrong("switch_id", format!("that of '{}' is another's, too", switch.name)));
        }
    }
    Ok(())
}

fn wrong(key: &str, why: String) -> ConfigError {
    ConfigError::Value { key: format!("switches.{key}"), why }
}

impl Switch {
    /// As the engine takes it. Its certificates are read now.
    pub(crate) fn known(&self) -> anyhow::Result<KnownSwitch> {
        let (config, provisioning, cleaning) = self.read()?;
        let driver = OvsdbSwitch::new(config).map_err(|error: SwitchError| anyhow::anyhow!("{error}"))?;
        let (name, id) = (self.name.clone(), self.switch_id.clone());
        Ok(KnownSwitch { name, id, provisioning, cleaning, driver: Arc::new(driver) })
    }

    fn read(&self) -> Result<(Config, Vlan, Vlan), ConfigError> {
        if self.name.trim().is_empty() || self.name.trim() != self.name {
            return Err(wrong("name", "is empty, or begins or ends with a space".into()));
        }
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
        Ok((config, provisioning, cleaning))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const GOOD: &str = "[[switches]]\nname = \"tor1\"\nkind = \"ovsdb\"\naddress = \"tcp:192.0.2.1:6640\"\n\
                        idle_vlan = 4000\nprovisioning_vlan = 100\n";

    fn refused(change: impl Fn(&str) -> String) -> String {
        Config::parse(&change(GOOD)).expect_err("refused").to_string()
    }

    #[test]
    fn a_switch_is_read() {
        let config = Config::parse(GOOD).expect("a configuration");
        let known = config.switches[0].known().expect("a switch");
        assert_eq!(
            (known.name.as_str(), known.provisioning, known.cleaning),
            ("tor1", known.cleaning, known.provisioning)
        );
        assert!(Config::default().switches.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let twice = refused(|good| good.repeat(2));
        assert_eq!(twice, "switches.name: there are two switches 'tor1'");
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
        assert!(refused(|good| good.replace("= 100", "= 4095")).starts_with("switches.provisioning_vlan"));
    }
}
