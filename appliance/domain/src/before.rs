//! What a change replaces: the row as it was, for whoever tells what was changed.
//!
//! In: the state before a change, and the key of a row. Out: the row that stands there.

use crate::hardware::{HardwareKey, HardwareRow};
use crate::identity::{IdentityKey, IdentityRow};
use crate::lease::{LeaseKey, LeaseRow};
use crate::network::{NetworkKey, NetworkRow};
use crate::notice::{NoticeKey, NoticeRow};
use crate::view::View;

/// The row of a room that has this key.
pub trait Lookup<Key> {
    type Row;

    fn row(&self, key: &Key) -> Option<Self::Row>;
}

impl Lookup<IdentityKey> for View {
    type Row = IdentityRow;

    fn row(&self, key: &IdentityKey) -> Option<IdentityRow> {
        let directory = &self.identity;
        match key {
            IdentityKey::Project(id) => directory.project(*id).cloned().map(IdentityRow::Project),
            IdentityKey::User(id) => directory.user(*id).cloned().map(IdentityRow::User),
            IdentityKey::Group(id) => directory.group(*id).cloned().map(IdentityRow::Group),
            IdentityKey::Membership(row) => directory.is_member(*row).then_some(IdentityRow::Membership(*row)),
            IdentityKey::Role(id) => directory.role(*id).cloned().map(IdentityRow::Role),
            IdentityKey::Implication(row) => directory.has_implication(*row).then_some(IdentityRow::Implication(*row)),
            IdentityKey::Assignment(row) => directory.has_assignment(row).then_some(IdentityRow::Assignment(*row)),
            IdentityKey::Credential(id) => directory.credential(*id).cloned().map(IdentityRow::Credential),
            IdentityKey::Token(digest) => directory.token(digest).cloned().map(IdentityRow::Token),
            IdentityKey::Invitation(digest) => directory.invitation(digest).cloned().map(IdentityRow::Invitation),
            IdentityKey::Feed(digest) => directory.feed(digest).cloned().map(IdentityRow::Feed),
        }
    }
}

impl Lookup<NetworkKey> for View {
    type Row = NetworkRow;

    fn row(&self, key: &NetworkKey) -> Option<NetworkRow> {
        let plane = &self.network;
        match key {
            NetworkKey::Network(id) => plane.network(*id).cloned().map(NetworkRow::Network),
            NetworkKey::Subnet(id) => plane.subnet(*id).cloned().map(NetworkRow::Subnet),
            NetworkKey::Port(id) => plane.port(*id).cloned().map(NetworkRow::Port),
            NetworkKey::Quota(project) => plane.quota(project).cloned().map(NetworkRow::Quota),
            NetworkKey::Trunk(id) => plane.trunk(*id).cloned().map(NetworkRow::Trunk),
        }
    }
}

impl Lookup<HardwareKey> for View {
    type Row = HardwareRow;

    fn row(&self, key: &HardwareKey) -> Option<HardwareRow> {
        let catalogue = &self.hardware;
        match key {
            HardwareKey::Chassis(id) => catalogue.chassis.get(*id).cloned().map(HardwareRow::Chassis),
            HardwareKey::Portgroup(id) => catalogue.portgroups.get(*id).cloned().map(HardwareRow::Portgroup),
            HardwareKey::Allocation(id) => catalogue.allocations.get(*id).cloned().map(HardwareRow::Allocation),
            HardwareKey::DeployTemplate(id) => {
                catalogue.deploy_templates.get(*id).cloned().map(HardwareRow::DeployTemplate)
            }
            HardwareKey::Runbook(id) => catalogue.runbooks.get(*id).cloned().map(HardwareRow::Runbook),
            HardwareKey::VolumeConnector(id) => {
                catalogue.volume_connectors.get(*id).cloned().map(HardwareRow::VolumeConnector)
            }
            HardwareKey::VolumeTarget(id) => catalogue.volume_targets.get(*id).cloned().map(HardwareRow::VolumeTarget),
            HardwareKey::InspectionRule(id) => {
                catalogue.inspection_rules.get(*id).cloned().map(HardwareRow::InspectionRule)
            }
            HardwareKey::SwitchPort(id) => catalogue.switch_ports.get(*id).cloned().map(HardwareRow::SwitchPort),
        }
    }
}

impl Lookup<LeaseKey> for View {
    type Row = LeaseRow;

    fn row(&self, key: &LeaseKey) -> Option<LeaseRow> {
        match key {
            LeaseKey::Offer(_, id) => self.lease.offer(*id).cloned().map(LeaseRow::Offer),
            LeaseKey::Lease(_, id) => self.lease.lease(*id).cloned().map(LeaseRow::Lease),
            LeaseKey::Quota(id) => self.lease.quota_by_id(*id).cloned().map(LeaseRow::Quota),
        }
    }
}

impl Lookup<NoticeKey> for View {
    type Row = NoticeRow;

    fn row(&self, key: &NoticeKey) -> Option<NoticeRow> {
        match key {
            NoticeKey::Webhook(id) => self.notices.webhook(*id).cloned().map(NoticeRow::Webhook),
            NoticeKey::Delivery(id) => self.notices.delivery(*id).cloned().map(NoticeRow::Delivery),
            NoticeKey::DeadLetter(id, event) => {
                self.notices.dead_letter(*id, *event).cloned().map(NoticeRow::DeadLetter)
            }
        }
    }
}
