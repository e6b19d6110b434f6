//! The BMC of each node: made from its `driver_info`, kept while that stays the same, one conversation at a time.

use leasehold_domain::command::Command;
use leasehold_domain::driver;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{Node, Sealed};
use leasehold_drivers::bmc::fake::{self, FakeBmc};
use leasehold_drivers::bmc::guard::Guarded;
use leasehold_drivers::bmc::ipmi::{self, IpmiBmc, Privilege};
use leasehold_drivers::bmc::redfish::{self, RedfishBmc};
use leasehold_drivers::bmc::{Bmc, BmcError};
use leasehold_store::Sealer;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest time for one call to a BMC, however slow it is.
const CALL_LIMIT: Duration = Duration::from_secs(45);

/// Why there is no way to a node's BMC.
#[derive(Debug, thiserror::Error)]
pub enum BmcSetupError {
    #[error("the driver '{0}' is not one of ours: use one of {names}", names = driver::names())]
    Driver(String),
    #[error("driver_info has no {0}: set it with 'baremetal node set NODE --driver-info {0}=…'")]
    Missing(String),
    #[error("driver_info/{key} is not usable: {why}")]
    Bad { key: String, why: String },
    #[error("the stored password of the BMC cannot be opened: it was sealed with another key; set it again")]
    Sealed,
    #[error(transparent)]
    Fake(#[from] fake::BadSetting),
    #[error(transparent)]
    Bmc(#[from] BmcError),
}

/// What decides which BMC it is and how to reach it; another one means another connection.
#[derive(Clone, PartialEq)]
struct Way {
    driver: String,
    info: Map<String, Value>,
    secrets: BTreeMap<String, Sealed>,
    certificate: Option<String>,
}

/// All BMCs in use.
pub struct Bmcs {
    sealer: Arc<Sealer>,
    open: Mutex<HashMap<NodeId, (Way, Arc<Guarded>)>>,
}

/// What a sealed member of `driver_info` is bound to, so that it opens for its own node and field only.
pub fn secret_context<'a>(node: &'a NodeId, field: &'a str) -> [&'a [u8]; 3] {
    [b"driver_info", node.0.as_bytes(), field.as_bytes()]
}

impl Bmcs {
    /// With the appliance's key, which opens the stored passwords.
    pub fn new(sealer: Arc<Sealer>) -> Bmcs {
        Bmcs { sealer, open: Mutex::new(HashMap::new()) }
    }

    /// The node's BMC.
    pub fn of(&self, node: &Node) -> Result<Arc<dyn Bmc>, BmcSetupError> {
        let way = Way {
            driver: node.settings.driver.clone(),
            info: node.settings.driver_info.clone(),
            secrets: node.settings.driver_secrets.clone(),
            certificate: node.bmc_certificate.clone(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, bmc)) = open.get(&node.id)
            && *known == way
        {
            return Ok(bmc.clone());
        }
        let bmc = Arc::new(Guarded::new(self.connect(node)?, CALL_LIMIT));
        open.insert(node.id, (way, bmc.clone()));
        Ok(bmc)
    }

    /// Lets go of the BMCs of nodes that are no more.
    pub(crate) fn forget_others(&self, known: impl Fn(NodeId) -> bool) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| known(*id));
    }

    /// What `validate` says: nothing, or what is missing.
    pub fn validate(&self, node: &Node) -> Result<(), BmcSetupError> {
        self.connect(node).map(|_| ())
    }

    fn connect(&self, node: &Node) -> Result<Arc<dyn Bmc>, BmcSetupError> {
        match node.settings.driver.as_str() {
            "ipmi" => Ok(Arc::new(self.ipmi(node)?)),
            "redfish" => Ok(Arc::new(self.redfish(node)?)),
            "fake-hardware" => {
                let settings = fake::Settings::read(&node.settings.driver_info)?;
                Ok(Arc::new(FakeBmc::new(settings, node.power_state)))
            }
            other => Err(BmcSetupError::Driver(other.to_owned())),
        }
    }

    fn ipmi(&self, node: &Node) -> Result<IpmiBmc, BmcSetupError> {
        let mut config = ipmi::Config::new(
            text(node, "ipmi_address")?,
            text(node, "ipmi_username")?,
            self.secret(node, "ipmi_password")?,
        );
        if let Some(port) = number(node, "ipmi_port")? {
            config.port = port;
        }
        if let Some(suite) = number(node, "ipmi_cipher_suite")? {
            config.cipher_suite = Some(suite);
        }
        if let Some(level) = word(node, "ipmi_priv_level")? {
            config.privilege = match level.to_ascii_uppercase().as_str() {
                "ADMINISTRATOR" => Privilege::Administrator,
                "OPERATOR" => Privilege::Operator,
                _ => return Err(bad("ipmi_priv_level", format!("{level} is neither ADMINISTRATOR nor OPERATOR"))),
            };
        }
        if node.settings.driver_secrets.contains_key("ipmi_hex_kg_key") {
            let key = hex::decode(self.secret(node, "ipmi_hex_kg_key")?.trim());
            let key =
                key.map_err(|_| bad("ipmi_hex_kg_key", "it is not made of pairs of hexadecimal digits".into()))?;
            config.bmc_key = Some(key);
        }
        // What Ironic's driver can do and this one cannot must not look as if it were done.
        for (key, only) in [("ipmi_bridging", "no"), ("ipmi_protocol_version", "2.0")] {
            if let Some(other) = word(node, key)?.filter(|value| !value.eq_ignore_ascii_case(only)) {
                return Err(bad(key, format!("'{other}' is not done here, only '{only}': take it out of driver_info")));
            }
        }
        Ok(IpmiBmc::new(config)?)
    }

    fn redfish(&self, node: &Node) -> Result<RedfishBmc, BmcSetupError> {
        let mut config = redfish::Config::new(
            text(node, "redfish_address")?,
            text(node, "redfish_username")?,
            self.secret(node, "redfish_password")?,
        );
        config.system_id = text(node, "redfish_system_id").ok().map(str::to_owned);
        config.basic_only = match word(node, "redfish_auth_type")?.as_deref() {
            None | Some("auto" | "session") => false,
            Some("basic") => true,
            Some(other) => return Err(bad("redfish_auth_type", format!("'{other}' is none of auto, session, basic"))),
        };
        config.verify_ca = verify_ca(node)?;
        config.pin = match &node.bmc_certificate {
            Some(text) => Some(fingerprint(text).ok_or_else(|| BmcSetupError::Bad {
                key: "redfish_address".into(),
                why: "the pinned certificate is unreadable: set the address again".into(),
            })?),
            None => None,
        };
        Ok(RedfishBmc::new(config)?)
    }

    /// The command that pins the certificate which a Redfish BMC shows now, if it is to be: there is no CA to verify it
    /// with, and none is pinned yet. Trust on first use, when a person has enrolled the node or given it another address.
    pub async fn certificate_to_pin(&self, node: &Node) -> Result<Option<Command>, BmcSetupError> {
        if node.settings.driver != "redfish" || node.bmc_certificate.is_some() || verify_ca(node)?.is_some() {
            return Ok(None);
        }
        // As it is kept, not trimmed: the decision compares it.
        let kept = node.settings.driver_info.get("redfish_address").and_then(Value::as_str);
        let address = kept.unwrap_or_default().to_owned();
        if text(node, "redfish_address")?.starts_with("http://") {
            return Ok(None);
        }
        let shown = self.redfish(node)?.fetch_certificate_fingerprint().await?;
        Ok(Some(Command::PinCertificate { node: node.id, address, sha256: hex::encode(shown) }))
    }

    fn secret(&self, node: &Node, key: &str) -> Result<String, BmcSetupError> {
        let sealed = node.settings.driver_secrets.get(key).ok_or_else(|| BmcSetupError::Missing(key.to_owned()))?;
        let plain =
            self.sealer.open_sealed(sealed, &secret_context(&node.id, key)).map_err(|_| BmcSetupError::Sealed)?;
        plain.as_str().map(str::to_owned).ok_or(BmcSetupError::Sealed)
    }
}

fn bad(key: &str, why: String) -> BmcSetupError {
    BmcSetupError::Bad { key: key.to_owned(), why }
}

/// A text that may be missing, which clients may send as number.
fn word(node: &Node, key: &str) -> Result<Option<String>, BmcSetupError> {
    match node.settings.driver_info.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(bad(key, format!("{other} is no text"))),
    }
}

/// A number, which clients may send as text.
fn number<T: std::str::FromStr>(node: &Node, key: &str) -> Result<Option<T>, BmcSetupError> {
    let text = match node.settings.driver_info.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(other) => other.to_string(),
    };
    text.parse().map(Some).map_err(|_| bad(key, format!("'{text}' is not a number that fits")))
}

/// `redfish_verify_ca` as Ironic takes it: a path, or whether to verify at all. `False` means the pin instead.
fn verify_ca(node: &Node) -> Result<Option<PathBuf>, BmcSetupError> {
    match node.settings.driver_info.get("redfish_verify_ca") {
        None | Some(Value::Null | Value::Bool(_)) => Ok(None),
        Some(Value::String(text)) if text.starts_with('/') => Ok(Some(PathBuf::from(text))),
        Some(Value::String(text)) if matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "0" | "1") => {
            Ok(None)
        }
        Some(other) => Err(bad(
            "redfish_verify_ca",
            format!("{other} is neither the absolute path of a CA bundle nor true or false"),
        )),
    }
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

fn text<'a>(node: &'a Node, key: &str) -> Result<&'a str, BmcSetupError> {
    let value = node.settings.driver_info.get(key).and_then(Value::as_str).map(str::trim);
    value.filter(|text| !text.is_empty()).ok_or_else(|| BmcSetupError::Missing(key.to_owned()))
}
