//! Wires the boot servers to the rest: interfaces to pools, events to the trace, scripts to jobs.

mod script;
mod trace;

use crate::config::{Config, ConfigError, Interface};
use async_trait::async_trait;
use if_addrs::{IfAddr, Ifv4Addr};
use leasehold_domain::address::{Pool, Subnet};
use leasehold_domain::boot::{BootSource, UnknownMachines};
use leasehold_domain::command::{Actor, Command};
use leasehold_engine::Engine;
use leasehold_netboot::dhcp::{BootConfig, Commit, DhcpServer, Parts};
use leasehold_netboot::files::BootFiles;
use leasehold_netboot::http::{BootSite, HttpLimits};
use leasehold_netboot::tftp::{Listen, TftpConfig, TftpServer};
use leasehold_store::Store;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use tokio::task::JoinSet;

pub(crate) use script::Scripts;

/// Where agents call and fetch images: TLS on the provisioning address.
pub(crate) const AGENT_PORT: u16 = 8444;
/// Boot files by HTTP.
const HTTP_PORT: u16 = 80;
const TFTP_PORT: u16 = 69;

/// An interface that machines boot from, with its address.
#[derive(Clone, Debug)]
pub(crate) struct BootInterface {
    pub(crate) config: Interface,
    pub(crate) address: Ipv4Addr,
    pub(crate) network: Subnet,
}

/// Every named interface exists; those for booting have an address.
pub(crate) fn check_interfaces(config: &Config) -> Result<(), ConfigError> {
    for interface in &config.interfaces {
        if !std::path::Path::new("/sys/class/net").join(&interface.name).exists() {
            let why = format!("there is no interface '{}': name one that 'ip link' shows", interface.name);
            return Err(ConfigError::Value { key: "interface.name".into(), why });
        }
    }
    boot_interfaces(config).map(|_| ())
}

/// The interfaces that machines boot from.
pub(crate) fn boot_interfaces(config: &Config) -> Result<Vec<BootInterface>, ConfigError> {
    let wrong = |why: String| ConfigError::Value { key: "interface.name".into(), why };
    let found = if_addrs::get_if_addrs().map_err(|error| wrong(format!("interfaces cannot be listed: {error}")))?;
    let with_address = |interface: &Interface| {
        let v4 = found.iter().filter(|entry| entry.name == interface.name).find_map(|entry| match &entry.addr {
            IfAddr::V4(address) => Some(address.clone()),
            IfAddr::V6(_) => None,
        });
        let Ifv4Addr { ip, prefixlen, .. } = v4.ok_or_else(|| {
            wrong(format!(
                "'{0}' has no IPv4 address: give it one (ip address add 10.77.0.1/24 dev {0})",
                interface.name
            ))
        })?;
        Ok(BootInterface { config: interface.clone(), address: ip, network: Subnet::around(ip, prefixlen) })
    };
    config.boot_interfaces().map(with_address).collect()
}

impl BootInterface {
    fn pool(&self) -> Pool {
        let [first, last] = self.config.range.unwrap_or_else(|| upper_half(self.network));
        Pool {
            network: self.network,
            server: self.address,
            first,
            last,
            router: self.config.router,
            dns: self.config.dns.clone(),
            domain: None,
            lease_seconds: self.config.lease_seconds,
            vlan: None,
            // Another server may serve the same wire: its clients are not refused what is its to give.
            authoritative: false,
        }
    }

    fn source(&self) -> BootSource {
        let base = format!("http://{}/boot", self.address);
        BootSource {
            tftp: self.address,
            script_url: format!("{base}/script"),
            files_url: base,
            unknown: UnknownMachines::NoBoot,
        }
    }

    /// The base URL for agents.
    pub(crate) fn agent_url(&self) -> String {
        format!("https://{}:{AGENT_PORT}", self.address)
    }
}

/// The upper half of a network, without its broadcast address.
fn upper_half(network: Subnet) -> [Ipv4Addr; 2] {
    let (first, last) = (u32::from(network.address()), u32::from(network.broadcast()));
    [Ipv4Addr::from(first + (last - first) / 2 + 1), Ipv4Addr::from(last.saturating_sub(1))]
}

/// The servers at work; dropping them ends them.
pub(crate) struct Servers {
    _dhcp: Option<DhcpServer>,
    _tftp: Option<TftpServer>,
    _http: JoinSet<()>,
}

/// Starts DHCP, TFTP and HTTP boot on every boot interface.
pub(crate) async fn start(
    engine: &Engine,
    interfaces: &[BootInterface],
    files: Arc<BootFiles>,
    scripts: &Scripts,
) -> anyhow::Result<Servers> {
    if interfaces.is_empty() {
        return Ok(Servers { _dhcp: None, _tftp: None, _http: JoinSet::new() });
    }
    let sink = trace::sink(engine);
    let configs = interfaces
        .iter()
        .map(|interface| BootConfig {
            interface: interface.config.name.clone(),
            pools: vec![interface.pool()],
            source: interface.source(),
            unknown_machines: interface.config.unknown_machines,
            probe: BootConfig::PROBE,
        })
        .collect();
    let store = engine.store.clone();
    let parts = Parts {
        view: Arc::new(move || store.view()),
        commit: Arc::new(Committer(engine.store.clone())),
        trace: sink.clone(),
        clock: Arc::new(jiff::Timestamp::now),
    };
    let listen = interfaces
        .iter()
        .map(|interface| Listen {
            address: SocketAddrV4::new(interface.address, TFTP_PORT),
            interface: Some(interface.config.name.clone()),
        })
        .collect();
    let tftp = TftpServer::start(&TftpConfig::new(listen), files.clone(), sink.clone())?;
    let mut http = JoinSet::new();
    for interface in interfaces {
        let address = SocketAddrV4::new(interface.address, HTTP_PORT);
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.map_err(|error| anyhow::anyhow!("HTTP boot cannot listen on {address}: {error}"))?;
        let site = BootSite {
            files: files.clone(),
            scripts: Arc::new(scripts.of(interface)),
            trace: sink.clone(),
            limits: HttpLimits::default(),
        };
        http.spawn(async move {
            let Err(error) = leasehold_netboot::http::serve(listener, Arc::new(site)).await;
            tracing::error!(%error, %address, "HTTP boot has stopped");
        });
    }
    let dhcp = DhcpServer::start(configs, parts)?;
    Ok(Servers { _dhcp: Some(dhcp), _tftp: Some(tftp), _http: http })
}

/// Makes DHCP's commands durable.
struct Committer(Store);

#[async_trait]
impl Commit for Committer {
    async fn commit(&self, commands: Vec<Command>) -> Vec<Result<(), String>> {
        let done = self.0.submit_all(commands, &Actor::System("dhcp")).await;
        done.into_iter().map(|one| one.map(|_| ()).map_err(|error| error.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_range_the_upper_half_is_given_away() {
        let network: Subnet = "10.77.0.0/24".parse().expect("a network");
        let expected = [Ipv4Addr::new(10, 77, 0, 128), Ipv4Addr::new(10, 77, 0, 254)];
        assert_eq!(upper_half(network), expected);
    }
}
