//! Network interfaces, from `/sys/class/net`.

use super::lldp::Neighbours;
use super::text;
use crate::kernel;
use leasehold_wire::agent::Interface;
use std::fs;
use std::path::Path;

const ETHERNET: &str = "1";
const INFINIBAND: &str = "32";

/// Every real interface, by name.
#[must_use]
pub fn interfaces(root: &Path, neighbours: &Neighbours) -> Vec<Interface> {
    let inet6 = fs::read_to_string(root.join("proc/net/if_inet6")).unwrap_or_default();
    names(root).into_iter().map(|name| describe(root, &name, &inet6, neighbours)).collect()
}

/// Switches every interface on, hearing multicast, and gives the names of those that can be listened on.
#[must_use]
pub fn listening_names(root: &Path) -> Vec<String> {
    let mut names = names(root);
    names.retain(|name| {
        let on = kernel::interface_flags(name).and_then(|flags| kernel::set_interface_flags(name, flags.listening()));
        on.is_ok()
    });
    names
}

/// Interfaces with hardware behind them; where none has (a container), all that are like Ethernet.
fn names(root: &Path) -> Vec<String> {
    let folder = root.join("sys/class/net");
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        let kind = text(&folder.join(name).join("type"));
        name != "lo" && matches!(kind.as_deref(), Some(ETHERNET | INFINIBAND))
    });
    names.sort_by_key(|name| (name.len(), name.clone()));
    let hardware: Vec<String> =
        names.iter().filter(|name| folder.join(name).join("device").exists()).cloned().collect();
    if hardware.is_empty() { names } else { hardware }
}

fn describe(root: &Path, name: &str, inet6: &str, neighbours: &Neighbours) -> Interface {
    let folder = root.join("sys/class/net").join(name);
    let device = fs::canonicalize(folder.join("device")).ok();
    let address = text(&folder.join("address")).map(|address| address.to_ascii_lowercase());
    let infiniband = text(&folder.join("type")).as_deref() == Some(INFINIBAND);
    let (mac_address, client_id) = match address {
        Some(address) if infiniband => infiniband_names(&address),
        other => (other, None),
    };
    let of_device = |what: &str| text(&folder.join("device").join(what));
    Interface {
        name: name.to_owned(),
        mac_address,
        ipv4_address: kernel::ipv4_address(name).map(|address| address.to_string()),
        ipv6_address: ipv6_address(inet6, name),
        has_carrier: Some(text(&folder.join("carrier")).as_deref() == Some("1")),
        lldp: neighbours.of(name),
        vendor: of_device("vendor"),
        product: of_device("device"),
        client_id,
        biosdevname: None,
        speed_mbps: text(&folder.join("speed")).and_then(|speed| speed.parse::<i64>().ok()?.try_into().ok()),
        pci_address: device.as_deref().and_then(pci_address),
        driver: fs::read_link(folder.join("device/driver"))
            .ok()
            .and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
    }
}

/// The last component that is a PCI address: what is behind it (virtio, USB) has none of its own.
fn pci_address(device: &Path) -> Option<String> {
    let mut parts = device.components().filter_map(|part| part.as_os_str().to_str());
    let is_pci = |part: &str| {
        let bytes = part.as_bytes();
        bytes.len() == 12 && bytes[4] == b':' && bytes[7] == b':' && bytes[10] == b'.'
    };
    parts.rfind(|part| is_pci(part)).map(str::to_owned)
}

/// An InfiniBand address has 20 bytes; the last eight are the port's. DHCP knows it by a client id made of them
/// (RFC 4390), and the MAC that PXE shows leaves out the middle two.
fn infiniband_names(address: &str) -> (Option<String>, Option<String>) {
    let parts: Vec<&str> = address.split(':').collect();
    match parts.get(12..20) {
        Some(port) => {
            let mac = [&port[..3], &port[5..]].concat().join(":");
            (Some(mac), Some(format!("ff:00:00:00:00:00:02:00:00:02:c9:00:{}", port.join(":"))))
        }
        None => (Some(address.to_owned()), None),
    }
}

/// Lines of `/proc/net/if_inet6`: address, index, prefix, scope, flags, name. Global ones go before link-local ones.
fn ipv6_address(lines: &str, name: &str) -> Option<String> {
    let mut found: Vec<(u8, String)> = Vec::new();
    for line in lines.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [address, _, _, scope, _, interface] = fields[..]
            && interface == name
            && let Ok(bits) = u128::from_str_radix(address, 16)
            && let Ok(scope) = u8::from_str_radix(scope, 16)
        {
            found.push((scope, std::net::Ipv6Addr::from(bits).to_string()));
        }
    }
    found.into_iter().min().map(|(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn interfaces_are_described() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("sys/devices/pci0000:00/0000:00:03.0/virtio0/vendor", "0x1af4\n");
        put("sys/class/net/nosuchif0/address", "52:54:00:AA:00:01\n");
        put("sys/class/net/nosuchif0/type", "1\n");
        put("sys/class/net/nosuchif0/carrier", "1\n");
        put("sys/class/net/nosuchif0/speed", "-1\n");
        symlink(root.join("sys/devices/pci0000:00/0000:00:03.0/virtio0"), root.join("sys/class/net/nosuchif0/device"))
            .unwrap();
        put("sys/class/net/bridge9/type", "1\n");
        put("sys/class/net/lo/type", "772\n");
        put(
            "proc/net/if_inet6",
            "fe800000000000005054000000000001 02 40 20 80 nosuchif0\n20010db8000000000000000000000005 02 40 00 00 nosuchif0\n",
        );
        let found = interfaces(root, &Neighbours::default());
        assert_eq!(found.len(), 1);
        let one = &found[0];
        assert_eq!(one.mac_address.as_deref(), Some("52:54:00:aa:00:01"));
        assert_eq!(one.pci_address.as_deref(), Some("0000:00:03.0"));
        assert_eq!((one.vendor.as_deref(), one.has_carrier, one.speed_mbps), (Some("0x1af4"), Some(true), None));
        assert_eq!(one.ipv6_address.as_deref(), Some("2001:db8::5"));
    }

    #[test]
    fn infiniband_has_two_names() {
        let address = "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0c:31:7f";
        let (mac, client) = infiniband_names(address);
        assert_eq!(mac.as_deref(), Some("00:02:c9:0c:31:7f"));
        assert_eq!(client.as_deref(), Some("ff:00:00:00:00:00:02:00:00:02:c9:00:00:02:c9:03:00:0c:31:7f"));
    }
}
