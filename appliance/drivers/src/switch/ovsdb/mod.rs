//! Open vSwitch by its database (OVSDB, RFC 7047).
//!
//! A change is one transaction that holds only while the port is as it was read. It also raises `next_cfg`, and the
//! daemon that moves frames (`ovs-vswitchd`) says by `cur_cfg` up to which change it has come: so a port counts as set
//! when the daemon, not only the database, has it, and the database shows it when it is asked again.
//!
//! What the database does not show: OpenFlow rules that somebody put in by hand. Bridges with a controller, or that wait
//! for one, are refused, because VLANs of ports decide nothing there.

mod address;
mod link;
#[cfg(test)]
mod peer_tests;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

use super::{Actual, Checked, Membership, PortState, Switch, SwitchError, Vlan};
use async_trait::async_trait;
use leasehold_protocols::ovsdb::{
    Condition, Datum, Mutation, Operation, Outcome, Row, Schema, TransactError, Until, outcomes, transact,
};
use link::{Link, LinkError};
use serde_json::{Value, json};
use snapshot::{FoundPort, Search, Snapshot, columns, selects};
use std::time::{Duration, Instant};
use tls::Tls;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

pub use address::{Address, NoAddress};
pub use tls::{ClientCertificate, Trust};

const DATABASE: &str = "Open_vSwitch";

/// How long the parts of a conversation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until there is a connection, with its TLS.
    pub connect: Duration,
    /// Until the database answers.
    pub answer: Duration,
    /// Until the daemon has carried a change out.
    pub apply: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let seconds = Duration::from_secs;
        Limits { connect: seconds(5), answer: seconds(10), apply: seconds(20) }
    }
}

/// What is said of a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What people call it; in every error.
    pub name: String,
    pub address: Address,
    /// Needed for `ssl:`, of no use otherwise.
    pub trust: Option<Trust>,
    /// Our own certificate, for `ssl:`.
    pub certificate: Option<ClientCertificate>,
    /// The only bridge whose ports count; `None`: all.
    pub bridge: Option<String>,
    /// The VLAN that nobody listens on.
    pub idle: Vlan,
    pub limits: Limits,
}

/// A switch.
pub struct OvsdbSwitch {
    config: Config,
    tls: Option<Tls>,
    /// The connection in use; another is made when it has ended.
    link: Mutex<Option<Link>>,
}

impl OvsdbSwitch {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When what is said cannot be used, such as a certificate that cannot be read.
    pub fn new(config: Config) -> Result<OvsdbSwitch, SwitchError> {
        let unsupported = |detail: String| SwitchError::Unsupported { switch: config.name.clone(), detail };
        let tls = match (&config.address, &config.trust) {
            (Address::Ssl { host, .. }, Some(trust)) => {
                Some(Tls::new(host, trust, config.certificate.as_ref()).map_err(unsupported)?)
            }
            (Address::Ssl { .. }, None) => {
                return Err(unsupported("its address is ssl:, and neither a pin nor a CA is named".to_owned()));
            }
            (_, Some(_)) => {
                return Err(unsupported("a pin or a CA is named, and its address is not ssl:".to_owned()));
            }
            (_, None) => None,
        };
        Ok(OvsdbSwitch { config, tls, link: Mutex::new(None) })
    }

    /// The connection, or a new one.
    async fn link(&self) -> Result<Link, SwitchError> {
        let mut kept = self.link.lock().await;
        if let Some(link) = kept.as_ref().filter(|link| !link.has_ended()) {
            return Ok(link.clone());
        }
        let limit = self.config.limits.connect;
        let late = |_| self.unreachable(format!("no connection within {} s", limit.as_secs_f32()));
        let link = tokio::time::timeout(limit, self.connect()).await.map_err(late)??;
        *kept = Some(link.clone());
        Ok(link)
    }

    async fn connect(&self) -> Result<Link, SwitchError> {
        let broke = |error: std::io::Error| self.unreachable(format!("{}: {error}", self.config.address));
        let (host, port) = match &self.config.address {
            Address::Unix(path) => return Ok(Link::start(UnixStream::connect(path).await.map_err(broke)?)),
            Address::Tcp { host, port } | Address::Ssl { host, port } => (host.as_str(), *port),
        };
        let tcp = TcpStream::connect((host, port)).await.map_err(broke)?;
        tcp.set_nodelay(true).map_err(broke)?;
        let Some(tls) = &self.tls else { return Ok(Link::start(tcp)) };
        match tls.connector.connect(tls.name.clone(), tcp).await {
            Ok(stream) => Ok(Link::start(stream)),
            Err(error) => {
                let switch = self.config.name.clone();
                match tls::explain(&error) {
                    (true, detail) => Err(SwitchError::Certificate { switch, detail }),
                    (false, detail) => Err(SwitchError::Unreachable { switch, detail }),
                }
            }
        }
    }

    async fn call(&self, method: &'static str, params: Value, patience: Duration) -> Result<Value, SwitchError> {
        let answer = self.link().await?.call(method, params, patience).await;
        let switch = self.config.name.clone();
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(LinkError::Peer(error)) => return Err(SwitchError::Refused { switch, detail: error.to_string() }),
            Err(LinkError::Nonsense(detail)) => SwitchError::Protocol { switch, detail },
            Err(LinkError::Gone(detail)) => SwitchError::Unreachable { switch, detail },
        };
        // Whatever comes on it later is too late.
        self.close().await;
        Err(error)
    }

    /// One transaction. `None`: a `wait` in it did not hold, so that nothing came about.
    async fn transact(
        &self,
        operations: &[Operation],
        patience: Duration,
    ) -> Result<Option<Vec<Outcome>>, SwitchError> {
        let reply = self.call("transact", transact(DATABASE, operations), patience).await?;
        match outcomes(&reply, operations.len()) {
            Ok(outcomes) => Ok(Some(outcomes)),
            Err(TransactError::Failed { error, .. }) if error.error == TIMED_OUT => Ok(None),
            Err(TransactError::Failed { error, .. }) => {
                Err(SwitchError::Refused { switch: self.config.name.clone(), detail: error.to_string() })
            }
            Err(error @ TransactError::Nonsense(_)) => Err(self.protocol(error.to_string())),
        }
    }

    /// One that waits for nothing.
    async fn select(&self, operations: &[Operation]) -> Result<Vec<Outcome>, SwitchError> {
        let read = self.transact(operations, self.config.limits.answer).await?;
        read.ok_or_else(|| self.protocol("it waited where it was not to wait".to_owned()))
    }

    async fn snapshot(&self) -> Result<Snapshot, SwitchError> {
        let read = self.select(&selects()).await?;
        Snapshot::read(&read, self.config.bridge.as_deref(), self.config.idle)
            .map_err(|what| self.protocol(format!("its database shows {what}")))
    }

    fn find<'a>(&self, snapshot: &'a Snapshot, wanted: &str) -> Result<&'a FoundPort, SwitchError> {
        let (switch, port) = (self.config.name.clone(), wanted.to_owned());
        match snapshot.find(wanted) {
            Search::Found(port) => Ok(port),
            Search::Unknown => Err(SwitchError::UnknownPort { switch, port }),
            Search::Ambiguous(candidates) => Err(SwitchError::AmbiguousPort { switch, port, candidates }),
        }
    }

    /// What must not be done, whoever asks.
    fn check_wanted(&self, found: &FoundPort, wanted: &Membership) -> Result<(), SwitchError> {
        let switch = self.config.name.clone();
        let idle = self.config.idle;
        let heard = match wanted {
            Membership::Idle => false,
            Membership::Access(vlan) => *vlan == idle,
            Membership::Trunk(trunk) => trunk.native() == idle || trunk.tagged().contains(&idle),
        };
        if heard {
            let detail = format!("VLAN {idle} is its idle VLAN, which nothing listens on");
            return Err(SwitchError::Unsupported { switch, detail });
        }
        if found.is_local() {
            let detail = format!("port '{}' is the bridge's own, not a machine's", found.name);
            return Err(SwitchError::Unsupported { switch, detail });
        }
        if let Some(what) = found.controlled() {
            let detail =
                format!("in bridge '{}' {what} decides where frames go, not VLANs of ports", found.bridge_name);
            return Err(SwitchError::Unsupported { switch, detail });
        }
        Ok(())
    }

    /// The transaction. Out: the number of the configuration that has the change in it.
    async fn write(&self, port: &str, found: &FoundPort, wanted: &Membership) -> Result<i64, SwitchError> {
        let this = || vec![Condition::equal("_uuid", Datum::one(found.id.clone()))];
        let bridge = Row([("name".to_owned(), Datum::one(found.bridge_name.as_str()))].into());
        let owner = vec![
            Condition::equal("_uuid", Datum::one(found.bridge.clone())),
            Condition::includes("ports", Datum::one(found.id.clone())),
        ];
        let wait = |table: &str, rows: Vec<Condition>, expected: Row| Operation::Wait {
            table: table.to_owned(),
            rows,
            until: Until::Equal,
            expected,
            timeout_ms: 0,
        };
        let to = columns(wanted, self.config.idle);
        let operations = [
            wait("Port", this(), found.read.clone()),
            wait("Bridge", owner, bridge),
            Operation::Update { table: "Port".to_owned(), rows: this(), to },
            // Also where nothing changes: the daemon's answer shows that it is there, and has it.
            Operation::Mutate {
                table: DATABASE.to_owned(),
                rows: Vec::new(),
                mutations: vec![Mutation::Add("next_cfg".to_owned(), 1)],
            },
            Operation::Select { table: DATABASE.to_owned(), rows: Vec::new(), columns: vec!["next_cfg".to_owned()] },
            Operation::Comment(format!("leasehold: port {} to {wanted}", found.name)),
        ];
        match self.transact(&operations, self.config.limits.answer).await? {
            None => Err(SwitchError::Changed { switch: self.config.name.clone(), port: port.to_owned() }),
            Some(done) => match done.as_slice() {
                [_, _, update, mutate, select, _] if update.count == 1 && mutate.count == 1 => {
                    let number = select.rows.first().and_then(|row| row.integer("next_cfg"));
                    number.ok_or_else(|| self.protocol("no number of its configuration".to_owned()))
                }
                _ => Err(self.protocol("a change met another number of rows than one".to_owned())),
            },
        }
    }

    /// Waits until the daemon has come as far as this configuration.
    async fn applied(&self, port: &str, number: i64) -> Result<(), SwitchError> {
        let Limits { answer, apply, .. } = self.config.limits;
        let end = Instant::now() + apply;
        loop {
            let column = || vec!["cur_cfg".to_owned()];
            let select = Operation::Select { table: DATABASE.to_owned(), rows: Vec::new(), columns: column() };
            let read = self.select(&[select]).await?;
            let reached = read.first().and_then(|outcome| outcome.rows.first()?.integer("cur_cfg"));
            let reached = reached.ok_or_else(|| self.protocol("no number of its configuration".to_owned()))?;
            if reached >= number {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            let wait = Operation::Wait {
                table: DATABASE.to_owned(),
                rows: Vec::new(),
                until: Until::Differs,
                expected: Row([("cur_cfg".to_owned(), Datum::one(reached))].into()),
                timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            };
            if left.is_zero() || self.transact(&[wait], left + answer).await?.is_none() {
                let detail =
                    format!("ovs-vswitchd has not confirmed it within {} s: is it running?", apply.as_secs_f32());
                return Err(SwitchError::NotApplied {
                    switch: self.config.name.clone(),
                    port: port.to_owned(),
                    detail,
                });
            }
        }
    }

    /// Asks the database again.
    async fn read_back(&self, port: &str, written: &FoundPort, wanted: &Membership) -> Result<PortState, SwitchError> {
        let snapshot = self.snapshot().await?;
        let found = self.find(&snapshot, port)?;
        let state = found.state();
        let (switch, port) = (self.config.name.clone(), port.to_owned());
        if found.id != written.id {
            return Err(SwitchError::Changed { switch, port });
        }
        if state.actual != Actual::Member(wanted.clone()) {
            let (wanted, got) = (wanted.to_string(), state.actual.to_string());
            return Err(SwitchError::NotKept { switch, port, wanted, got });
        }
        // A port that moves no frames is as idle as it can be.
        match found.broken().filter(|_| *wanted != Membership::Idle) {
            Some(detail) => Err(SwitchError::Broken { switch, port, detail }),
            None => Ok(state),
        }
    }

    fn unreachable(&self, detail: String) -> SwitchError {
        SwitchError::Unreachable { switch: self.config.name.clone(), detail }
    }

    fn protocol(&self, detail: String) -> SwitchError {
        SwitchError::Protocol { switch: self.config.name.clone(), detail }
    }
}

/// RFC 7047's word for a `wait` that does not hold.
const TIMED_OUT: &str = "timed out";

#[async_trait]
impl Switch for OvsdbSwitch {
    async fn check(&self) -> Result<Checked, SwitchError> {
        let schema = self.call("get_schema", json!([DATABASE]), self.config.limits.answer).await?;
        let schema = Schema::read(schema).map_err(|error| self.protocol(error.to_string()))?;
        for (table, column) in [("Port", "vlan_mode"), ("Port", "tag"), ("Port", "trunks"), (DATABASE, "cur_cfg")] {
            if !schema.has(table, column) {
                return Err(self.protocol(format!("its database has no column '{column}' in '{table}'")));
            }
        }
        let snapshot = self.snapshot().await?;
        if let (Some(bridge), true) = (&self.config.bridge, snapshot.ports.is_empty()) {
            let detail = format!("it has no bridge '{bridge}' with ports");
            return Err(SwitchError::Unsupported { switch: self.config.name.clone(), detail });
        }
        let version = format!("Open vSwitch, database {}, {} ports", schema.version, snapshot.ports.len());
        Ok(Checked { version, warnings: snapshot.warnings(self.config.idle) })
    }

    async fn ports(&self) -> Result<Vec<PortState>, SwitchError> {
        Ok(self.snapshot().await?.ports.iter().map(FoundPort::state).collect())
    }

    async fn port(&self, port: &str) -> Result<PortState, SwitchError> {
        Ok(self.find(&self.snapshot().await?, port)?.state())
    }

    async fn set(&self, port: &str, wanted: &Membership) -> Result<PortState, SwitchError> {
        let snapshot = self.snapshot().await?;
        let found = self.find(&snapshot, port)?;
        self.check_wanted(found, wanted)?;
        let number = self.write(port, found, wanted).await?;
        self.applied(port, number).await?;
        self.read_back(port, found, wanted).await
    }

    async fn close(&self) {
        *self.link.lock().await = None;
    }
}
