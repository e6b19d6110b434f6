//! The client's side: messages as firmware, iPXE and operating systems send them. Tests, the load generator and
//! simulated machines speak through it; the options of iPXE and of UEFI, and their
//! order, are those that QEMU's ROMs and OVMF were seen to send.

use std::net::Ipv4Addr;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A legacy PXE ROM of a network card.
    BiosPxe,
    /// iPXE in BIOS: QEMU's ROM, or loaded by one.
    IpxeBios,
    /// UEFI's PXE on x86-64 (OVMF).
    UefiPxe,
    /// UEFI's HTTP Boot on x86-64 (OVMF).
    UefiHttp,
    /// iPXE as a UEFI program.
    IpxeUefi,
    /// UEFI's PXE on 64-bit ARM.
    Arm64Pxe,
    /// The client of a Linux system.
    Linux,
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessage {
    pub xid: u32,
    pub secs: u16,
    /// 0x8000 asks for broadcast answers.
    pub flags: u16,
    pub ciaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub mac: [u8; 6],
    /// In the order of the wire.
    pub options: Vec<(u8, Vec<u8>)>,
}

/// Option 175 of iPXE in a virtual machine's ROM, for BIOS and for UEFI.
const IPXE_BIOS: [u8; 48] = [
    0xb1, 0x05, 0x01, 0x1a, 0xf4, 0x10, 0x00, 0xeb, 0x03, 0x01, 0x00, 0x00, 0x17, 0x01, 0x01, 0x22, 0x01, 0x01, 0x13,
    0x01, 0x01, 0x11, 0x01, 0x01, 0x27, 0x01, 0x01, 0x19, 0x01, 0x01, 0x29, 0x01, 0x01, 0x10, 0x01, 0x02, 0x21, 0x01,
    0x01, 0x15, 0x01, 0x01, 0x18, 0x01, 0x01, 0x12, 0x01, 0x01,
];
const IPXE_UEFI: [u8; 36] = [
    0xb1, 0x05, 0x01, 0x1a, 0xf4, 0x10, 0x00, 0xeb, 0x03, 0x01, 0x00, 0x00, 0x17, 0x01, 0x01, 0x24, 0x01, 0x01, 0x13,
    0x01, 0x01, 0x11, 0x01, 0x01, 0x27, 0x01, 0x01, 0x29, 0x01, 0x01, 0x15, 0x01, 0x01, 0x12, 0x01, 0x01,
];
const IPXE_PARAMETERS: [u8; 23] =
    [1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203];
const PXE_PARAMETERS: [u8; 35] = [
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129,
    130, 131, 132, 133, 134, 135,
];
const HTTP_PARAMETERS: [u8; 27] =
    [1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 235, 67, 97];

impl ClientMessage {
    /// A DISCOVER.
    #[must_use]
    pub fn discover(firmware: Firmware, mac: [u8; 6], xid: u32) -> ClientMessage {
        let mut options: Vec<(u8, Vec<u8>)> = vec![(53, vec![1])];
        let mut put = |code: u8, value: &[u8]| options.push((code, value.to_vec()));
        let machine = [&[0; 11][..], &mac].concat();
        let hardware_id = [&[1][..], &mac].concat();
        match firmware {
            Firmware::BiosPxe => {
                put(55, &PXE_PARAMETERS);
                put(57, &1260_u16.to_be_bytes());
                put(97, &machine);
                put(93, &[0, 0]);
                put(94, &[1, 2, 1]);
                put(60, b"PXEClient:Arch:00000:UNDI:002001");
            }
            Firmware::IpxeBios | Firmware::IpxeUefi => {
                let bios = firmware == Firmware::IpxeBios;
                put(57, &1472_u16.to_be_bytes());
                put(93, &[0, if bios { 0 } else { 7 }]);
                put(94, if bios { &[1, 2, 1] } else { &[1, 3, 10] });
                let class = if bios { "PXEClient:Arch:00000:UNDI:002001" } else { "PXEClient:Arch:00007:UNDI:003010" };
                put(60, class.as_bytes());
                put(77, b"iPXE");
                put(55, &IPXE_PARAMETERS);
                put(175, if bios { &IPXE_BIOS } else { &IPXE_UEFI });
                put(61, &hardware_id);
                put(97, &machine);
            }
            Firmware::UefiPxe | Firmware::UefiHttp | Firmware::Arm64Pxe => {
                put(57, &1472_u16.to_be_bytes());
                put(55, if firmware == Firmware::UefiHttp { &HTTP_PARAMETERS } else { &PXE_PARAMETERS });
                put(97, &machine);
                put(94, &[1, 3, 1]);
                let (arch, class) = match firmware {
                    Firmware::UefiHttp => (16, "HTTPClient:Arch:00016:UNDI:003001"),
                    Firmware::Arm64Pxe => (11, "PXEClient:Arch:00011:UNDI:003001"),
                    _ => (7, "PXEClient:Arch:00007:UNDI:003001"),
                };
                put(93, &[0, arch]);
                put(60, class.as_bytes());
            }
            Firmware::Linux => {
                put(61, &hardware_id);
                put(55, &[1, 3, 6, 12, 15, 28, 42]);
                put(57, &576_u16.to_be_bytes());
            }
        }
        let broadcast = !matches!(firmware, Firmware::IpxeBios | Firmware::IpxeUefi | Firmware::Linux);
        ClientMessage {
            xid,
            secs: 0,
            flags: if broadcast { 0x8000 } else { 0 },
            ciaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            mac,
            options,
        }
    }

    /// The same client's REQUEST for what `server` offered (RFC 2131 §4.3.2, SELECTING).
    #[must_use]
    pub fn select(&self, server: Ipv4Addr, address: Ipv4Addr) -> ClientMessage {
        let mut message = self.clone();
        message.set(53, &[3]);
        message.set(54, &server.octets());
        message.set(50, &address.octets());
        message
    }

    /// The same client's REQUEST for the address it had before a restart (INIT-REBOOT).
    #[must_use]
    pub fn reboot(&self, address: Ipv4Addr) -> ClientMessage {
        let mut message = self.clone();
        message.set(53, &[3]);
        message.set(50, &address.octets());
        message
    }

    /// The same client's REQUEST to go on with the address it uses (RENEWING by unicast, REBINDING by broadcast).
    #[must_use]
    pub fn renew(&self, address: Ipv4Addr) -> ClientMessage {
        let mut message = self.clone();
        message.set(53, &[3]);
        message.ciaddr = address;
        message
    }

    /// The same client gives its address back.
    #[must_use]
    pub fn release(&self, server: Ipv4Addr, address: Ipv4Addr) -> ClientMessage {
        let mut message = self.renew(address);
        message.set(53, &[7]);
        message.set(54, &server.octets());
        message
    }

    /// The same client found somebody else at the address.
    #[must_use]
    pub fn decline(&self, server: Ipv4Addr, address: Ipv4Addr) -> ClientMessage {
        let mut message = self.select(server, address);
        message.set(53, &[4]);
        message
    }

    /// The same client, with an address from elsewhere, asks for the rest.
    #[must_use]
    pub fn inform(&self, address: Ipv4Addr) -> ClientMessage {
        let mut message = self.renew(address);
        message.set(53, &[8]);
        message
    }

    /// Sets an option, in its place if it is there.
    pub fn set(&mut self, code: u8, value: &[u8]) {
        match self.options.iter_mut().find(|(known, _)| *known == code) {
            Some((_, old)) => *old = value.to_vec(),
            None => self.options.push((code, value.to_vec())),
        }
    }

    /// Leaves an option out.
    pub fn remove(&mut self, code: u8) {
        self.options.retain(|(known, _)| *known != code);
    }

    /// The datagram's payload. A value longer than 255 bytes is split (RFC 3396).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.ciaddr.octets());
        bytes.extend([0; 8]);
        bytes.extend(self.giaddr.octets());
        bytes.extend(self.mac);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        for (code, value) in &self.options {
            let mut pieces = value.chunks(255);
            let first = pieces.next().unwrap_or_default();
            for piece in std::iter::once(first).chain(pieces) {
                bytes.push(*code);
                bytes.push(u8::try_from(piece.len()).unwrap_or(u8::MAX));
                bytes.extend(piece);
            }
        }
        bytes.push(255);
        if bytes.len() < 300 {
            bytes.resize(300, 0);
        }
        bytes
    }
}
