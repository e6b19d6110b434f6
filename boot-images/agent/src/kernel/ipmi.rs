//! The machine's own BMC through `/dev/ipmi0` (linux/ipmi.h): one request, one answer.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::fs::{File, OpenOptions};
use std::io;
use std::time::Duration;

#[repr(C)]
struct Message {
    netfn: u8,
    command: u8,
    length: u16,
    data: *mut u8,
}

#[repr(C)]
struct Request {
    address: *mut SystemInterface,
    address_length: u32,
    id: i64,
    message: Message,
}

#[repr(C)]
struct Received {
    kind: i32,
    address: *mut [u8; 32],
    address_length: u32,
    id: i64,
    message: Message,
}

/// `struct ipmi_system_interface_addr`: the BMC itself.
#[repr(C)]
struct SystemInterface {
    kind: i32,
    channel: i16,
    lun: u8,
}

const SEND_COMMAND: Opcode = opcode::read::<Request>(b'i', 13);
const RECEIVE_MSG_TRUNC: Opcode = opcode::read_write::<Received>(b'i', 11);
const SYSTEM_INTERFACE: i32 = 0x0c;
const BMC_CHANNEL: i16 = 0x0f;
const RESPONSE: i32 = 1;

/// The open device.
pub struct IpmiDevice {
    file: File,
    next_id: i64,
}

impl IpmiDevice {
    /// Opens the first IPMI device.
    ///
    /// # Errors
    /// When there is none, or its driver is not loaded.
    pub fn open() -> io::Result<IpmiDevice> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for path in ["/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0"] {
            match OpenOptions::new().read(true).write(true).open(path) {
                Ok(file) => return Ok(IpmiDevice { file, next_id: 1 }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends a request to the BMC and waits for its answer, the completion code first.
    ///
    /// # Errors
    /// When the driver refuses or the BMC does not answer within `within`.
    pub fn call(&mut self, netfn: u8, command: u8, data: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let id = self.next_id;
        self.next_id += 1;
        let mut payload = data.to_vec();
        let mut address = SystemInterface { kind: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: 0 };
        let mut request = Request {
            address: &raw mut address,
            address_length: size_of::<SystemInterface>() as u32,
            id,
            message: Message {
                netfn,
                command,
                length: u16::try_from(payload.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
                data: payload.as_mut_ptr(),
            },
        };
        // SAFETY: IPMICTL_SEND_COMMAND reads one struct ipmi_req, laid out as Request; its pointers are to `address`
        // and `payload` with their true lengths, which both outlive the call; the driver copies and keeps none.
        unsafe { ioctl(&self.file, Updater::<SEND_COMMAND, Request>::new(&mut request)) }?;
        let deadline = std::time::Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            if poll(&mut fds, Some(&timeout))? == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the BMC does not answer"));
            }
            let (kind, got, answer) = self.receive()?;
            // An answer to an earlier request that came too late, or an event, is passed over.
            if kind == RESPONSE && got == id {
                return Ok(answer);
            }
        }
    }

    fn receive(&self) -> io::Result<(i32, i64, Vec<u8>)> {
        let mut sender = [0u8; 32];
        let mut buffer = [0u8; 272];
        let mut received = Received {
            kind: 0,
            address: &raw mut sender,
            address_length: sender.len() as u32,
            id: 0,
            message: Message { netfn: 0, command: 0, length: buffer.len() as u16, data: buffer.as_mut_ptr() },
        };
        // SAFETY: IPMICTL_RECEIVE_MSG_TRUNC reads and writes one struct ipmi_recv, laid out as Received; it writes at
        // most the stated lengths to `sender` and `buffer`, which both outlive the call.
        unsafe { ioctl(&self.file, Updater::<RECEIVE_MSG_TRUNC, Received>::new(&mut received)) }?;
        let length = usize::from(received.message.length).min(buffer.len());
        Ok((received.kind, received.id, buffer[..length].to_vec()))
    }
}
