//! 
pub mod tftp;
pub mod redfish;
pub mod ipmi;
pub mod dhcp;
pub mod ipxe;
