//! What each project may have where nothing else is set for it, and on which wires its machines stand.

use leasehold_domain::address::Subnet;

/// Limits; negative: any number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants {
    pub networks: i64,
    pub subnets: i64,
    pub ports: i64,
    pub images: i64,
    /// Bytes of all images of a project, as they were given.
    pub image_bytes: i64,
    /// The networks that machines get their addresses in from this box.
    pub wires: Vec<Subnet>,
}

impl Default for Tenants {
    /// Neutron's and Glance's defaults.
    fn default() -> Tenants {
        Tenants { networks: 100, subnets: 100, ports: 500, images: 100, image_bytes: -1, wires: Vec::new() }
    }
}
