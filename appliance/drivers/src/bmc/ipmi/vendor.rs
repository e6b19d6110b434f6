//! Calls that only IPMI has: requests that a user writes himself, and the BMC's own restart.

use super::connection::Connection;
use super::failure::Failure;
use crate::bmc::features::VendorCall;
use leasehold_protocols::ipmi::command::{ColdReset, WarmReset};

pub(super) async fn run(bmc: &mut Connection, call: VendorCall) -> Result<(), Failure> {
    match call {
        VendorCall::SendRaw(request) => {
            let answer = bmc.ask(&request).await?;
            tracing::info!(bmc = %bmc.target(), answer = hex::encode(&answer), "a raw request was carried out");
            Ok(())
        }
        VendorCall::ResetBmc { warm: true } => bmc.ask(&WarmReset).await,
        VendorCall::ResetBmc { warm: false } => bmc.ask(&ColdReset).await,
        VendorCall::EjectMedia { .. } => Err(Failure::Unsupported("IPMI knows no virtual drives")),
    }
}
