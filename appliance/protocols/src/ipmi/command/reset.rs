//! Starting the BMC itself anew. The machine goes on as it is.

use std::time::Duration;

use super::super::message::netfn;
use super::super::reader::Malformed;
use super::Command;

/// A BMC that starts anew may be slow to say so; asking again would start it twice.
const PATIENCE: Duration = Duration::from_secs(5);

/// Cold Reset (20.2): the BMC forgets its sessions and what it has not stored.
#[derive(Debug, Clone, Copy)]
pub struct ColdReset;

/// Warm Reset (20.3): the BMC keeps what it can. Optional; many have the cold one only.
#[derive(Debug, Clone, Copy)]
pub struct WarmReset;

impl Command for ColdReset {
    const NAME: &'static str = "Cold Reset";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x02;
    const PATIENCE: Duration = PATIENCE;
    type Reply = ();

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, _data: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

impl Command for WarmReset {
    const NAME: &'static str = "Warm Reset";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x03;
    const PATIENCE: Duration = PATIENCE;
    type Reply = ();

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, _data: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}
