//! The namespaces of the rack and the cables between them.
//!
//! `box` is where the appliance runs: `prov0` to the switch, `bmc0` to the BMCs, `pub0` to the users. `sw` is the
//! switch with the nodes' taps, `bmc` the BMCs' own network, `user` where a user of the appliance sits.

use anyhow::Result;

use crate::netns::Namespace;
use crate::plan;

/// The switch's end of the cable from `prov0`.
pub const UPLINK: &str = "uplink";
const BMC_LAN: &str = "lan0";
const USER_LAN: &str = "lan0";

/// The namespaces; dropping them ends everything in them.
#[derive(Debug)]
pub struct Wiring {
    pub appliance: Namespace,
    pub switch: Namespace,
    pub bmc: Namespace,
    pub user: Namespace,
}

impl Wiring {
    /// Makes the namespaces, cables and addresses, and a tap per node at the switch.
    ///
    /// # Errors
    /// When the kernel or `ip` refuses.
    pub fn create() -> Result<Self> {
        let wiring = Self {
            appliance: Namespace::create("box")?,
            switch: Namespace::create("sw")?,
            bmc: Namespace::create("bmc")?,
            user: Namespace::create("user")?,
        };
        let appliance = &wiring.appliance;
        cable(appliance, plan::PROVISIONING_INTERFACE, &wiring.switch, UPLINK)?;
        cable(appliance, plan::BMC_INTERFACE, &wiring.bmc, BMC_LAN)?;
        cable(appliance, plan::PUBLIC_INTERFACE, &wiring.user, USER_LAN)?;
        let address = |space: &Namespace, address: std::net::Ipv4Addr, interface: &str| {
            space.ip(&["address", "add", &format!("{address}/{}", plan::PREFIX), "broadcast", "+", "dev", interface])
        };
        address(appliance, plan::PROVISIONING_ADDRESS, plan::PROVISIONING_INTERFACE)?;
        address(appliance, plan::BMC_ADDRESS, plan::BMC_INTERFACE)?;
        address(appliance, plan::PUBLIC_ADDRESS, plan::PUBLIC_INTERFACE)?;
        address(&wiring.user, plan::USER_ADDRESS, USER_LAN)?;
        for node in plan::NODES {
            address(&wiring.bmc, node.bmc_address, BMC_LAN)?;
            wiring.switch.ip(&["tuntap", "add", "dev", node.name, "mode", "tap"])?;
            wiring.switch.ip(&["link", "set", node.name, "up"])?;
        }
        Ok(wiring)
    }

    /// The namespaces' inodes, to see afterwards that they have ended.
    pub fn inodes(&self) -> Vec<(&'static str, u64)> {
        [&self.appliance, &self.switch, &self.bmc, &self.user].map(|space| (space.name(), space.inode())).to_vec()
    }
}

/// A veth pair. TX checksum offload is off at both ends: a userspace switch and a packet socket would hand on frames
/// whose checksums nobody ever filled in, and TCP would hang while ping works.
fn cable(left: &Namespace, left_name: &str, right: &Namespace, right_name: &str) -> Result<()> {
    left.ip(&["link", "add", left_name, "type", "veth", "peer", "name", right_name, "netns", &right.path()])?;
    for (space, name) in [(left, left_name), (right, right_name)] {
        space.output("ethtool", &["-K", name, "tx", "off"])?;
        space.ip(&["link", "set", name, "up"])?;
    }
    Ok(())
}
