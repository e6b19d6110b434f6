//! The rack on paper: every address, name and size, in one place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Interface of the box on the provisioning network; its switch port is not protected.
pub const PROVISIONING_INTERFACE: &str = "prov0";
/// The box's address there.
pub const PROVISIONING_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Interface of the box on the BMC network.
pub const BMC_INTERFACE: &str = "bmc0";
/// The box's address there.
pub const BMC_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// Interface of the box towards its users.
pub const PUBLIC_INTERFACE: &str = "pub0";
/// The box's address there: the appliance's URL inside the rack.
pub const PUBLIC_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
/// Where the user sits: connections to the forwarded port come from here.
pub const USER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);
/// Length of every network's prefix.
pub const PREFIX: u8 = 24;
/// TCP port of the appliance on its public address.
pub const PUBLIC_PORT: u16 = 443;
/// Port on 127.0.0.1 of the host that leads to the appliance, unless the user says otherwise.
pub const HOST_PORT: u16 = 8780;

/// Memory of a node, MiB.
pub const NODE_MEMORY_MIB: u32 = 1024;
/// Size of a node's disk, bytes. The file is sparse.
pub const NODE_DISK_BYTES: u64 = 4 << 30;

/// User name on both BMCs.
pub const BMC_USER: &str = "admin";

/// How a node's firmware boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS; network boot by iPXE from the card's option ROM.
    Bios,
    /// OVMF; network boot by its own PXE client.
    Uefi,
}

impl Firmware {
    /// The boot mode as the power agent's protocol writes it.
    pub fn mode(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        }
    }
}

/// The protocol of a node's BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BmcKind {
    /// IPMI 2.0 over LAN (ipmi_sim), UDP.
    Ipmi,
    /// Redfish over HTTPS (sushy-tools), TCP.
    Redfish,
}

/// One node of the rack.
#[derive(Debug, Clone, Copy)]
pub struct NodePlan {
    /// Its name; also its tap's and its switch port's name.
    pub name: &'static str,
    /// Place in the rack, from 0.
    pub index: u8,
    pub firmware: Firmware,
    pub bmc: BmcKind,
    /// Address of its BMC.
    pub bmc_address: Ipv4Addr,
    /// UDP (IPMI) or TCP (Redfish) port of its BMC.
    pub bmc_port: u16,
    /// MAC address of its network card.
    pub mac: &'static str,
    /// SMBIOS UUID.
    pub uuid: &'static str,
    /// Serial number of the machine (SMBIOS) and, with `-disk`, of its disk.
    pub serial: &'static str,
    /// The static address that the deployed system gets by its config drive.
    pub deployed_address: Ipv4Addr,
}

/// The nodes of the rack.
pub const NODES: [NodePlan; 2] = [
    NodePlan {
        name: "node0",
        index: 0,
        firmware: Firmware::Bios,
        bmc: BmcKind::Ipmi,
        bmc_address: Ipv4Addr::new(10, 78, 0, 10),
        bmc_port: 623,
        mac: "52:54:00:77:00:10",
        uuid: "7b1d3c52-0a5e-4c1c-9d0e-5a6f77000010",
        serial: "RACK-0010",
        deployed_address: Ipv4Addr::new(10, 77, 0, 50),
    },
    NodePlan {
        name: "node1",
        index: 1,
        firmware: Firmware::Uefi,
        bmc: BmcKind::Redfish,
        bmc_address: Ipv4Addr::new(10, 78, 0, 11),
        bmc_port: 443,
        mac: "52:54:00:77:00:11",
        uuid: "7b1d3c52-0a5e-4c1c-9d0e-5a6f77000011",
        serial: "RACK-0011",
        deployed_address: Ipv4Addr::new(10, 77, 0, 51),
    },
];

/// The appliance's public listener inside the rack.
pub fn public_listener() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(PUBLIC_ADDRESS), PUBLIC_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_given_out_twice() {
        let mut seen = HashSet::new();
        for node in NODES {
            for thing in [
                node.name.to_owned(),
                node.mac.to_owned(),
                node.uuid.to_owned(),
                node.serial.to_owned(),
                node.bmc_address.to_string(),
                node.deployed_address.to_string(),
            ] {
                assert!(seen.insert(thing.clone()), "{thing} is given out twice");
            }
        }
    }

    #[test]
    fn bmcs_and_deployed_systems_are_on_their_networks() {
        for node in NODES {
            assert_eq!(node.bmc_address.octets()[..3], BMC_ADDRESS.octets()[..3]);
            assert_eq!(node.deployed_address.octets()[..3], PROVISIONING_ADDRESS.octets()[..3]);
        }
    }
}
