//! A virtual rack: two bare machines on real firmware, their BMCs and their switch, in network namespaces of its own.
//!
//! In: the options of `leasehold-rack` (see `main.rs`), a built `leasehold`, boot images. Out: a running rack that
//! `try` and `check` drive, and on every way out nothing of it left. Firmware (QEMU), BMC faces (ipmi_sim,
//! sushy-tools) and switch (Open vSwitch) are third-party programs; what wires and drives them is here. `plan` has
//! every address; `rack` builds and tears down; `machine` is the power agent of a node; `flow` is the demonstration.

pub mod appliance;
pub mod bmc;
pub mod client;
pub mod command;
pub mod compare;
pub mod daemon;
pub mod flow;
pub mod folder;
pub mod forward;
pub mod gpt;
pub mod guest;
pub mod image;
pub mod kvm;
pub mod machine;
pub mod netns;
pub mod nvram;
pub mod plan;
pub mod power_socket;
pub mod proof;
pub mod qmp;
pub mod rack;
pub mod say;
pub mod scenarios;
pub mod stop;
pub mod sweep;
pub mod switch;
mod sys;
pub mod table;
pub mod trial;
pub mod wiring;
