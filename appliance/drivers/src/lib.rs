//! How the appliance talks to hardware: BMCs (`bmc`) and switches (`switch`).
//!
//! In: an address, credentials, what is wanted. Out: what the device says, or a typed error that a technician
//! understands. Drivers keep no durable state and know neither jobs nor policy.

pub mod bmc;
pub mod switch;
pub mod tls;
