//! The rows of this room and what they are found by.

use super::allocation::Allocation;
use super::chassis::Chassis;
use super::deploy_template::DeployTemplate;
use super::inspection_rule::InspectionRule;
use super::portgroup::Portgroup;
use super::record::{Record, Table};
use super::runbook::Runbook;
use super::switch_port::SwitchPort;
use super::volume::{VolumeConnector, VolumeTarget};
use crate::id::{
    AllocationId, ChassisId, DeployTemplateId, InspectionRuleId, PortId, PortgroupId, RunbookId, VolumeConnectorId,
    VolumeTargetId,
};
use crate::rows::{Row, RowKey, Rows, key_bytes};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A row of the hardware room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HardwareRow {
    Chassis(Arc<Record<Chassis>>),
    Portgroup(Arc<Record<Portgroup>>),
    Allocation(Arc<Record<Allocation>>),
    DeployTemplate(Arc<Record<DeployTemplate>>),
    Runbook(Arc<Record<Runbook>>),
    VolumeConnector(Arc<Record<VolumeConnector>>),
    VolumeTarget(Arc<Record<VolumeTarget>>),
    InspectionRule(Arc<Record<InspectionRule>>),
    SwitchPort(Arc<Record<SwitchPort>>),
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareKey {
    Chassis(ChassisId),
    Portgroup(PortgroupId),
    Allocation(AllocationId),
    DeployTemplate(DeployTemplateId),
    Runbook(RunbookId),
    VolumeConnector(VolumeConnectorId),
    VolumeTarget(VolumeTargetId),
    InspectionRule(InspectionRuleId),
    /// By its network card.
    SwitchPort(PortId),
}

impl Row for HardwareRow {
    type Key = HardwareKey;

    fn key(&self) -> HardwareKey {
        match self {
            HardwareRow::Chassis(row) => HardwareKey::Chassis(row.id),
            HardwareRow::Portgroup(row) => HardwareKey::Portgroup(row.id),
            HardwareRow::Allocation(row) => HardwareKey::Allocation(row.id),
            HardwareRow::DeployTemplate(row) => HardwareKey::DeployTemplate(row.id),
            HardwareRow::Runbook(row) => HardwareKey::Runbook(row.id),
            HardwareRow::VolumeConnector(row) => HardwareKey::VolumeConnector(row.id),
            HardwareRow::VolumeTarget(row) => HardwareKey::VolumeTarget(row.id),
            HardwareRow::InspectionRule(row) => HardwareKey::InspectionRule(row.id),
            HardwareRow::SwitchPort(row) => HardwareKey::SwitchPort(row.id),
        }
    }
}

impl HardwareKey {
    /// What messages call the kind, and the UUID.
    pub fn title(&self) -> (&'static str, uuid::Uuid) {
        match self {
            HardwareKey::Chassis(id) => ("chassis", id.0),
            HardwareKey::Portgroup(id) => ("portgroup", id.0),
            HardwareKey::Allocation(id) => ("allocation", id.0),
            HardwareKey::DeployTemplate(id) => ("deploy-template", id.0),
            HardwareKey::Runbook(id) => ("runbook", id.0),
            HardwareKey::VolumeConnector(id) => ("volume-connector", id.0),
            HardwareKey::VolumeTarget(id) => ("volume-target", id.0),
            HardwareKey::InspectionRule(id) => ("inspection-rule", id.0),
            HardwareKey::SwitchPort(id) => ("switch-port", id.0),
        }
    }
}

impl RowKey for HardwareKey {
    fn bytes(&self) -> Vec<u8> {
        let kind = match self {
            HardwareKey::Chassis(_) => 1,
            HardwareKey::Portgroup(_) => 2,
            HardwareKey::Allocation(_) => 3,
            HardwareKey::DeployTemplate(_) => 4,
            HardwareKey::Runbook(_) => 5,
            HardwareKey::VolumeConnector(_) => 6,
            HardwareKey::VolumeTarget(_) => 7,
            HardwareKey::InspectionRule(_) => 8,
            HardwareKey::SwitchPort(_) => 9,
        };
        key_bytes(kind, &[self.title().1.as_bytes()])
    }
}

/// All rows of the room, and the indices over them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub chassis: Table<Chassis>,
    pub portgroups: Table<Portgroup>,
    pub allocations: Table<Allocation>,
    pub deploy_templates: Table<DeployTemplate>,
    pub runbooks: Table<Runbook>,
    pub volume_connectors: Table<VolumeConnector>,
    pub volume_targets: Table<VolumeTarget>,
    pub inspection_rules: Table<InspectionRule>,
    pub switch_ports: Table<SwitchPort>,
}

impl Catalogue {
    /// Makes one row as it is to be, and every index that knows of it.
    pub fn apply(&mut self, change: &Rows<HardwareRow>) {
        match change {
            Rows::Put(HardwareRow::Chassis(row)) => self.chassis.put(row),
            Rows::Put(HardwareRow::Portgroup(row)) => self.portgroups.put(row),
            Rows::Put(HardwareRow::Allocation(row)) => self.allocations.put(row),
            Rows::Put(HardwareRow::DeployTemplate(row)) => self.deploy_templates.put(row),
            Rows::Put(HardwareRow::Runbook(row)) => self.runbooks.put(row),
            Rows::Put(HardwareRow::VolumeConnector(row)) => self.volume_connectors.put(row),
            Rows::Put(HardwareRow::VolumeTarget(row)) => self.volume_targets.put(row),
            Rows::Put(HardwareRow::InspectionRule(row)) => self.inspection_rules.put(row),
            Rows::Put(HardwareRow::SwitchPort(row)) => self.switch_ports.put(row),
            Rows::Delete(HardwareKey::Chassis(id)) => self.chassis.remove(*id),
            Rows::Delete(HardwareKey::Portgroup(id)) => self.portgroups.remove(*id),
            Rows::Delete(HardwareKey::Allocation(id)) => self.allocations.remove(*id),
            Rows::Delete(HardwareKey::DeployTemplate(id)) => self.deploy_templates.remove(*id),
            Rows::Delete(HardwareKey::Runbook(id)) => self.runbooks.remove(*id),
            Rows::Delete(HardwareKey::VolumeConnector(id)) => self.volume_connectors.remove(*id),
            Rows::Delete(HardwareKey::VolumeTarget(id)) => self.volume_targets.remove(*id),
            Rows::Delete(HardwareKey::InspectionRule(id)) => self.inspection_rules.remove(*id),
            Rows::Delete(HardwareKey::SwitchPort(id)) => self.switch_ports.remove(*id),
        }
    }
}
