//! Open vSwitch by its database (OVSDB, RFC 7047).
//!
//! A change is one transaction that holds only while the port is as it was read, and nothing else was changed since then
//! ([`change`]). It also raises `next_cfg`, and the daemon that moves frames (`ovs-vswitchd`) says by `cur_cfg` up to which
//! change it has come: so a port counts as set when the daemon, not only the database, has it, and the database shows it
//! when it is asked again. Changes of one switch come one after the other.
//!
//! What the database does not show: OpenFlow rules that somebody put in by hand. Bridges with a controller, or that wait
//! for one, are refused, because VLANs of ports decide nothing there.

mod address;
mod change;
mod databases;
mod link;
#[cfg(test)]
mod peer_tests;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

use super::{Checked, PortState, Switch, SwitchError, Vlan, Wanted};
use async_trait::async_trait;
use leasehold_protocols::ovsdb::{Operation, Outcome, Schema, TransactError, outcomes, transact};
use link::{Link, LinkError};
use serde_json::{Value, json};
use snapshot::{FoundPort, Snapshot, selects};
use std::sync::Arc;
use std::time::Duration;
use tls::Tls;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

pub use address::{Address, NoAddress};
pub use databases::Databases;
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
    /// Whoever changes a port has it, from his first look to his last.
    turn: Mutex<()>,
    /// Which switches there are beside this one.
    databases: Arc<Databases>,
}

impl OvsdbSwitch {
    /// Opens nothing yet. `databases`: one for all switches.
    ///
    /// # Errors
    /// When what is said cannot be used, such as a certificate that cannot be read.
    pub fn new(config: Config, databases: Arc<Databases>) -> Result<OvsdbSwitch, SwitchError> {
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
        Ok(OvsdbSwitch { config, tls, link: Mutex::new(None), turn: Mutex::new(()), databases })
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

    /// One transaction. The inner error: the `wait` of this place in it did not hold, so that nothing came about.
    async fn transact(
        &self,
        operations: &[Operation],
        patience: Duration,
    ) -> Result<Result<Vec<Outcome>, usize>, SwitchError> {
        let reply = self.call("transact", transact(DATABASE, operations), patience).await?;
        match outcomes(&reply, operations.len()) {
            Ok(outcomes) => Ok(Ok(outcomes)),
            Err(TransactError::Failed { at, error }) if error.error == TIMED_OUT => Ok(Err(at)),
            Err(TransactError::Failed { error, .. }) => {
                Err(SwitchError::Refused { switch: self.config.name.clone(), detail: error.to_string() })
            }
            Err(error @ TransactError::Nonsense(_)) => Err(self.protocol(error.to_string())),
        }
    }

    /// One that waits for nothing.
    async fn select(&self, operations: &[Operation]) -> Result<Vec<Outcome>, SwitchError> {
        let read = self.transact(operations, self.config.limits.answer).await?;
        read.map_err(|_| self.protocol("it waited where it was not to wait".to_owned()))
    }

    async fn snapshot(&self) -> Result<Snapshot, SwitchError> {
        let read = self.select(&selects()).await?;
        let snapshot = Snapshot::read(&read, self.config.bridge.as_deref(), self.config.idle)
            .map_err(|what| self.protocol(format!("its database shows {what}")))?;
        if let Some(root) = &snapshot.root {
            let (switch, bridge) = (self.config.name.as_str(), self.config.bridge.as_deref());
            self.databases.claim(&root.id, bridge, switch).map_err(|other| SwitchError::Unsupported {
                switch: switch.to_owned(),
                detail: format!("it is the same as '{other}', and a port must not have two names: configure it once"),
            })?;
        }
        Ok(snapshot)
    }

    fn find<'a>(&self, snapshot: &'a Snapshot, wanted: &str) -> Result<&'a FoundPort, SwitchError> {
        let unknown = || SwitchError::UnknownPort { switch: self.config.name.clone(), port: wanted.to_owned() };
        snapshot.find(wanted).ok_or_else(unknown)
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
        for (table, column) in [
            ("Port", "vlan_mode"),
            ("Port", "tag"),
            ("Port", "trunks"),
            ("Port", "protected"),
            (DATABASE, "next_cfg"),
            (DATABASE, "cur_cfg"),
        ] {
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

    async fn set(&self, port: &str, wanted: &Wanted) -> Result<PortState, SwitchError> {
        let _turn = self.turn.lock().await;
        self.change(port, wanted).await
    }

    async fn close(&self) {
        *self.link.lock().await = None;
    }
}
