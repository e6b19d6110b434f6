//! Which switch ports are not known to be idle, and whose they are.
//!
//! Written before a port is set to anything else than idle, gone when idle was read back. While it is there, its network
//! card cannot be deleted, go to another node, or be noted for another switch port: nobody else may get a switch port on
//! which somebody's network still is, and no cable is forgotten that nobody would then cut.

use super::record::{Kind, Record, Table};
use super::{Catalogue, HardwareKey, HardwareRow};
use crate::id::{NodeId, PortId};
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a refusal calls a switch port.
const SWITCH_PORT: &str = "Switch port";

/// A switch port that was set for a network card; the record has the card's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchPort {
    pub node: NodeId,
    /// The switch's name in the configuration.
    pub switch: String,
    /// The port's name on the switch.
    pub port: String,
}

impl std::fmt::Display for SwitchPort {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "port '{}' of switch '{}'", self.port, self.switch)
    }
}

impl SwitchPort {
    /// Neither name has a line's end in it.
    fn key(&self) -> String {
        format!("{}\n{}", self.switch, self.port)
    }

    /// Whose it is, whoever that is.
    pub fn holder<'a>(&self, view: &'a View) -> Option<&'a Arc<Record<SwitchPort>>> {
        view.hardware.switch_ports.find(SWITCH_PORT, &self.key())
    }
}

impl Kind for SwitchPort {
    type Id = PortId;
    const WHAT: &'static str = SWITCH_PORT;

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![(SWITCH_PORT, self.key())]
    }

    /// Its own commands look at what must hold.
    fn check(&self, _: &View, _: Option<&Record<SwitchPort>>) -> Result<(), Refusal> {
        Ok(())
    }

    fn table(catalogue: &Catalogue) -> &Table<SwitchPort> {
        &catalogue.switch_ports
    }

    fn row(record: Arc<Record<SwitchPort>>) -> HardwareRow {
        HardwareRow::SwitchPort(record)
    }

    fn row_key(id: PortId) -> HardwareKey {
        HardwareKey::SwitchPort(id)
    }
}
