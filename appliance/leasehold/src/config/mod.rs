//! The configuration file: what it may say, what it means when it says nothing, and clear words where it is wrong.
//!
//! In: TOML text. Out: a [`Config`] with every default filled in, or a [`ConfigError`] that names the key. Unknown keys
//! are errors that name the nearest known one: a misspelt setting must not be a setting that silently is not there.

mod events;
mod keys;
mod lease;
mod limits;
mod switches;

use events::Events;
use jiff::SignedDuration;
use lease::Lease;
use leasehold_api::auth::Settings;
use leasehold_api::policy::Source;
use leasehold_engine::images::{Network, NoNetwork};
use limits::Limits;
use serde::Deserialize;
use serde::de::Error as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
pub(crate) use switches::{Switch, known as known_switches};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the database, images, certificate and keys are.
    pub(crate) state_folder: PathBuf,
    /// Loaders and ramdisk for booting machines, with their manifest.
    pub(crate) boot_files: PathBuf,
    pub(crate) public: Public,
    pub(crate) local: Local,
    #[serde(rename = "interface")]
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) switches: Vec<Switch>,
    pub(crate) images: Images,
    pub(crate) limits: Limits,
    pub(crate) tenants: Tenants,
    pub(crate) cleaning: Cleaning,
    pub(crate) lease: Lease,
    pub(crate) power: Power,
    pub(crate) agent: Agent,
    pub(crate) identity: Identity,
    pub(crate) policy: Policy,
    pub(crate) audit: Audit,
    pub(crate) events: Events,
    pub(crate) log: Log,
}

/// The listener for users.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Public {
    pub(crate) listen: SocketAddr,
    /// Names under which users reach the box, for its certificate.
    pub(crate) names: Vec<String>,
    /// A certificate and key (PEM) of one's own; without them the box makes a certificate at its first start.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Only for trials: no TLS. Refused unless `listen` is a loopback address.
    pub(crate) plain_http: bool,
}

/// The socket for the local command line, and a port for clients without credentials.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Local {
    /// `None`: `leasehold.sock` in the state folder.
    pub(crate) socket: Option<PathBuf>,
    /// For clients on this box without credentials; refused unless it is a loopback address. `None`: nowhere.
    pub(crate) open_listen: Option<SocketAddr>,
    /// The user that they are.
    pub(crate) open_as: Option<String>,
}

/// A network interface of the box and what it is for. One that is not named here never gets a DHCP answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
    /// Boot: first and last address for machines; without it, the upper half of the interface's network.
    #[serde(default)]
    pub(crate) range: Option<[Ipv4Addr; 2]>,
    /// Boot: default router to tell machines; none if left out.
    #[serde(default)]
    pub(crate) router: Option<Ipv4Addr>,
    /// Boot: name servers to tell machines.
    #[serde(default)]
    pub(crate) dns: Vec<Ipv4Addr>,
    /// Boot: how long an address is lent, in seconds.
    #[serde(default = "one_hour")]
    pub(crate) lease_seconds: u32,
    /// Boot: whether machines that are nobody's node get an address.
    #[serde(default = "yes")]
    pub(crate) unknown_machines: bool,
}

fn one_hour() -> u32 {
    3600
}

fn yes() -> bool {
    true
}

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Machines boot from here: DHCP, TFTP, HTTP boot, agents.
    Boot,
    /// BMCs are reached through it. No service listens on it.
    Bmc,
    /// Tenant VLANs arrive on it tagged. No service listens on it yet.
    Trunk,
    /// Users reach the box through it.
    Public,
}

/// Images in the data folder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Images {
    /// `file://` URLs may name files below this folder.
    pub(crate) import_folder: Option<PathBuf>,
    pub(crate) max_size_gib: u64,
    /// Space that images leave free, in MiB.
    pub(crate) reserve_mib: u64,
    /// The most that images may take, in GiB; `None`: all but the reserve.
    pub(crate) quota_gib: Option<u64>,
    /// Networks that images may be fetched from although they lie in those of BMCs or machines.
    #[serde(deserialize_with = "networks")]
    pub(crate) fetch_from: Vec<Network>,
}

fn networks<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let read = |text: String| {
        text.parse().map_err(|why: NoNetwork| D::Error::custom(format!("'{text}' is no network: {why}")))
    };
    texts.into_iter().map(read).collect()
}

/// What each project may have; -1: any number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tenants {
    pub(crate) networks: i64,
    pub(crate) subnets: i64,
    pub(crate) ports: i64,
    pub(crate) images: i64,
    /// All images of a project, as they were given, in GiB.
    pub(crate) image_gib: i64,
}

impl Default for Tenants {
    fn default() -> Tenants {
        let usual = leasehold_api::tenants::Tenants::default();
        let (networks, subnets, ports, images) = (usual.networks, usual.subnets, usual.ports, usual.images);
        Tenants { networks, subnets, ports, images, image_gib: -1 }
    }
}

/// What happens between two uses of a node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cleaning {
    pub(crate) wipe: Wipe,
}

/// How thorough the automatic wipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wipe {
    Full,
    Metadata,
}

/// Watching and switching power.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Power {
    /// How often each BMC is asked for the power state, in seconds.
    pub(crate) sync_seconds: u64,
    /// How long an operating system may take to shut down before its power is cut, in seconds.
    pub(crate) soft_off_seconds: u64,
}

/// The deploy agent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Agent {
    /// Further kernel parameters, each `key` or `key=value`.
    pub(crate) kernel_parameters: Vec<String>,
    /// After a restart of the appliance: how long a machine on its way to the agent may stay silent before it is
    /// started again, in seconds.
    pub(crate) silence_seconds: u64,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policy {
    /// The policy file; empty: OpenStack's defaults alone.
    pub(crate) file: PathBuf,
}

/// Who speaks to the box, and how long he is known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Identity {
    /// How long a token is good, in seconds.
    pub(crate) token_seconds: u32,
    /// How long a browser's session is good, in seconds.
    pub(crate) session_seconds: u32,
    /// How long a one-time link is good, in hours.
    pub(crate) link_hours: u32,
    /// The region that the catalog names.
    pub(crate) region: String,
}

/// How long it is kept who did what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Audit {
    pub(crate) keep_days: u32,
    /// The most that it takes, in MiB; the oldest entries go first.
    pub(crate) max_mib: u64,
}

/// The log on standard error.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or per part: `info,leasehold_netboot=debug`.
    pub(crate) filter: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            state_folder: "/var/lib/leasehold".into(),
            boot_files: "/usr/lib/leasehold/boot".into(),
            public: Public::default(),
            local: Local::default(),
            interfaces: Vec::new(),
            switches: Vec::new(),
            images: Images::default(),
            limits: Limits::default(),
            tenants: Tenants::default(),
            cleaning: Cleaning::default(),
            lease: Lease::default(),
            power: Power::default(),
            agent: Agent::default(),
            identity: Identity::default(),
            policy: Policy::default(),
            audit: Audit::default(),
            events: Events::default(),
            log: Log::default(),
        }
    }
}

impl Default for Public {
    fn default() -> Public {
        let listen = SocketAddr::from(([0, 0, 0, 0], 8443));
        Public { listen, names: Vec::new(), certificate: None, key: None, plain_http: false }
    }
}

impl Default for Images {
    fn default() -> Images {
        Images { import_folder: None, max_size_gib: 512, reserve_mib: 1024, quota_gib: None, fetch_from: Vec::new() }
    }
}

impl Default for Cleaning {
    fn default() -> Cleaning {
        Cleaning { wipe: Wipe::Full }
    }
}

impl Default for Power {
    fn default() -> Power {
        Power { sync_seconds: 60, soft_off_seconds: 120 }
    }
}

impl Default for Agent {
    fn default() -> Agent {
        Agent { kernel_parameters: Vec::new(), silence_seconds: 600 }
    }
}

/// Where the package puts the policy file.
const POLICY_FILE: &str = "/etc/leasehold/policy.yaml";

impl Default for Policy {
    fn default() -> Policy {
        Policy { file: POLICY_FILE.into() }
    }
}

impl Policy {
    /// Where the rules are. The file that the package puts there may be missing, where nothing was installed; one that
    /// somebody names may not.
    pub(crate) fn source(&self) -> Source {
        match self.file.as_os_str().to_str() {
            Some("") => Source::Upstream,
            Some(POLICY_FILE) => Source::FileOrShipped(self.file.clone()),
            _ => Source::File(self.file.clone()),
        }
    }
}

impl Default for Identity {
    fn default() -> Identity {
        Identity { token_seconds: 3600, session_seconds: 12 * 3600, link_hours: 72, region: "RegionOne".into() }
    }
}

impl Identity {
    /// As the API takes it.
    pub(crate) fn settings(&self) -> Settings {
        let seconds = |seconds: u32| SignedDuration::from_secs(i64::from(seconds));
        Settings {
            token_lifetime: seconds(self.token_seconds),
            session_lifetime: seconds(self.session_seconds),
            link_lifetime: SignedDuration::from_hours(i64::from(self.link_hours)),
            region: self.region.clone(),
        }
    }
}

impl Default for Audit {
    fn default() -> Audit {
        Audit { keep_days: 400, max_mib: 256 }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Text, filter: "info".into() }
    }
}

/// Larger sizes are slips of the pen; in bytes they are still far from any overflow.
const MOST_GIB: u64 = 1 << 20;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the configuration {path} cannot be read: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{0}")]
    Text(String),
    #[error("unknown key '{key}'{}", nearest.as_ref().map(|near| format!("; did you mean '{near}'?")).unwrap_or_default())]
    Unknown { key: String, nearest: Option<String> },
    #[error("{key}: {why}")]
    Value { key: String, why: String },
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Config::parse(&text)
    }

    /// Reads and checks the text of a file.
    pub(crate) fn parse(text: &str) -> Result<Config, ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Text(error.to_string()))?;
        keys::check(&table)?;
        let config: Config = toml::from_str(text).map_err(|error| ConfigError::Text(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// What cannot be said by types alone.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, why: &str| Err(ConfigError::Value { key: key.into(), why: why.into() });
        if self.public.plain_http && !self.public.listen.ip().is_loopback() {
            return wrong(
                "public.plain_http",
                "plain HTTP is for loopback addresses only: passwords would be readable",
            );
        }
        if self.public.certificate.is_some() != self.public.key.is_some() {
            return wrong("public.certificate", "certificate and key belong together: give both or neither");
        }
        if self.local.open_listen.is_some_and(|address| !address.ip().is_loopback()) {
            return wrong("local.open_listen", "whoever reaches it needs no password: it must be a loopback address");
        }
        if self.local.open_listen.is_some() != self.local.open_as.is_some() {
            return wrong("local.open_as", "address and user of clients without credentials belong together");
        }
        self.limits.check()?;
        self.lease.check()?;
        switches::check(&self.switches)?;
        if self.power.sync_seconds == 0 {
            return wrong("power.sync_seconds", "must be at least 1");
        }
        for (key, gib) in
            [("images.max_size_gib", Some(self.images.max_size_gib)), ("images.quota_gib", self.images.quota_gib)]
        {
            if gib.is_some_and(|gib| gib == 0 || gib > MOST_GIB) {
                return wrong(key, &format!("must be 1 to {MOST_GIB}"));
            }
        }
        for (key, value) in [
            ("identity.token_seconds", self.identity.token_seconds),
            ("identity.session_seconds", self.identity.session_seconds),
        ] {
            if !(60..=7 * 24 * 3600).contains(&value) {
                return wrong(key, "must be 60 (a minute) to 604800 (a week)");
            }
        }
        if !(1..=720).contains(&self.identity.link_hours) {
            return wrong("identity.link_hours", "must be 1 to 720");
        }
        let region = &self.identity.region;
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return wrong("identity.region", "must be letters, digits, '-', '_' and '.'");
        }
        let never = leasehold_engine::images::never_fetched_from();
        if self.images.fetch_from.iter().any(|network| never.iter().any(|inner| network.overlaps(*inner))) {
            let why = "loopback and link-local addresses and those that are no host's stay closed, whatever is named";
            return wrong("images.fetch_from", why);
        }
        if self.images.reserve_mib > MOST_GIB << 10 {
            return wrong("images.reserve_mib", &format!("must be at most {}", MOST_GIB << 10));
        }
        if self.audit.keep_days == 0 || self.audit.max_mib == 0 || self.audit.max_mib > MOST_GIB {
            return wrong("audit", &format!("keep_days must be at least 1, max_mib 1 to {MOST_GIB}"));
        }
        self.events.check()?;
        for (at, interface) in self.interfaces.iter().enumerate() {
            if interface.name.is_empty() || interface.name.len() > 15 {
                return wrong("interface.name", "an interface name has 1 to 15 characters");
            }
            if self.interfaces[..at].iter().any(|other| other.name == interface.name) {
                return wrong(
                    "interface.name",
                    &format!("'{}' is named twice: give it all its roles at once", interface.name),
                );
            }
            if interface.roles.is_empty() {
                return wrong(
                    "interface.roles",
                    &format!("'{}' has no role: boot, bmc, trunk or public", interface.name),
                );
            }
            if interface.range.is_some_and(|[first, last]| first > last) {
                return wrong("interface.range", "the first address comes after the last");
            }
            if interface.lease_seconds < 60 {
                return wrong("interface.lease_seconds", "must be at least 60");
            }
        }
        Ok(())
    }

    /// The interfaces that machines boot from.
    pub(crate) fn boot_interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().filter(|interface| interface.roles.contains(&Role::Boot))
    }

    /// The socket for the local command line.
    pub(crate) fn socket(&self) -> PathBuf {
        self.local.socket.clone().unwrap_or_else(|| self.state_folder.join("leasehold.sock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        Config::parse(text).expect_err("a refusal").to_string()
    }

    #[test]
    fn nothing_said_is_the_default_and_safe() {
        let config = Config::parse("").expect("defaults");
        assert_eq!(config, Config::default());
        assert!(!config.public.plain_http && config.interfaces.is_empty());
        assert_eq!(config.cleaning.wipe, Wipe::Full);
    }

    #[test]
    fn the_shipped_file_is_read_and_says_the_defaults() {
        let shipped = include_str!("../../../../config/leasehold.toml");
        assert_eq!(Config::parse(shipped).expect("the shipped file"), Config::default());
    }

    #[test]
    fn a_misspelt_key_names_the_nearest() {
        assert_eq!(
            refusal("[public]\nlistn = '127.0.0.1:1'"),
            "unknown key 'public.listn'; did you mean 'public.listen'?"
        );
        assert!(refusal("stat_folder = '/x'").contains("did you mean 'state_folder'"));
        assert!(refusal("[[interface]]\nname='a'\nroles=['boot']\nrnge=[]").contains("did you mean 'interface.range'"));
    }

    #[test]
    fn passwords_in_the_clear_are_for_loopback_only() {
        assert!(refusal("[public]\nlisten='10.0.0.1:80'\nplain_http=true").contains("loopback"));
        assert!(Config::parse("[public]\nlisten='127.0.0.1:80'\nplain_http=true").is_ok());
    }

    #[test]
    fn who_needs_no_password_is_on_loopback_and_somebody() {
        assert!(refusal("[local]\nopen_listen='10.0.0.1:80'\nopen_as='robot'").contains("loopback"));
        assert!(refusal("[local]\nopen_listen='0.0.0.0:80'\nopen_as='robot'").contains("loopback"));
        assert!(refusal("[local]\nopen_listen='127.0.0.1:80'").contains("belong together"));
        assert!(refusal("[local]\nopen_as='robot'").contains("belong together"));
        assert!(Config::parse("[local]\nopen_listen='[::1]:80'\nopen_as='robot'").is_ok());
    }

    #[test]
    fn only_the_installed_policy_file_may_be_missing() {
        let source = |text: &str| Config::parse(text).expect("a configuration").policy.source();
        assert_eq!(source(""), Source::FileOrShipped(POLICY_FILE.into()));
        assert_eq!(source("[policy]\nfile = ''"), Source::Upstream);
        assert_eq!(source("[policy]\nfile = '/x'"), Source::File("/x".into()));
    }

    #[test]
    fn an_interface_has_a_role() {
        assert!(refusal("[[interface]]\nname='eth0'\nroles=[]").contains("no role"));
        assert!(refusal("[[interface]]\nname='eth0'\nroles=['boots']").contains("boots"));
    }

    #[test]
    fn mirrors_are_let_through_and_loopback_is_not() {
        let with = |list: &str| Config::parse(&format!("[images]\nfetch_from = {list}\n"));
        assert_eq!(with("[\"10.77.0.5\", \"10.78.0.64/28\", \"fd00::/64\"]").expect("read").images.fetch_from.len(), 3);
        assert!(with("[]").expect("read").images.fetch_from.is_empty());
        for (bad, words) in [
            ("[\"127.0.0.1\"]", "stay closed"),
            ("[\"0.0.0.0/0\"]", "stay closed"),
            ("[\"::/0\"]", "stay closed"),
            ("[\"169.254.0.0/24\"]", "stay closed"),
            ("[\"10.0.0.0/33\"]", "is no network"),
            ("[\"mirror.example\"]", "is no network"),
        ] {
            let refused = with(bad).expect_err(bad).to_string();
            assert!(refused.contains(words), "{bad}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z_\\[\\]=\"'0-9.\\n ]{0,200}") {
            let _either_is_fine = Config::parse(&text);
        }
    }
}
