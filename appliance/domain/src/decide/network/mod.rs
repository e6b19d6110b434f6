//! Decisions about the network room.
//!
//! In: what was asked, the plane as it is. Out: rows. What one project asks for never touches what another has: who may
//! ask was decided before; what conflicts is decided here.

mod networks;
mod ports;
mod subnets;
#[cfg(test)]
mod tests;
mod trunks;
mod vifs;

use super::Room;
use crate::command::Answer;
use crate::network::{Kind, NetworkCommand, NetworkKey, NetworkRow, Object, Quota};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn network(&mut self, command: &NetworkCommand) -> Result<Answer, Refusal> {
        match command {
            NetworkCommand::CreateNetwork { id, settings, limit } => self.create_network(*id, settings, *limit),
            NetworkCommand::ChangeNetwork { id, revision, settings } => self.change_network(*id, *revision, settings),
            NetworkCommand::DeleteNetwork { id } => self.delete_network(*id),
            NetworkCommand::CreateSubnet { id, settings, limit } => self.create_subnet(*id, settings, *limit),
            NetworkCommand::ChangeSubnet { id, revision, settings } => self.change_subnet(*id, *revision, settings),
            NetworkCommand::DeleteSubnet { id } => self.delete_subnet(*id),
            NetworkCommand::CreatePort { id, settings, addresses, limit } => {
                self.create_tenant_port(*id, settings, addresses, *limit)
            }
            NetworkCommand::ChangePort { id, revision, settings, addresses } => {
                self.change_tenant_port(*id, *revision, settings, addresses.as_ref())
            }
            NetworkCommand::DeletePort { id } => self.delete_tenant_port(*id),
            NetworkCommand::Attach { node, port, place } => self.attach_vif(*node, *port, *place),
            NetworkCommand::Detach { node, port } => self.detach_vif(*node, *port),
            NetworkCommand::CreateTrunk { id, settings } => self.create_trunk(*id, settings),
            NetworkCommand::ChangeTrunk { id, revision, settings } => self.change_trunk(*id, *revision, settings),
            NetworkCommand::DeleteTrunk { id } => self.delete_trunk(*id),
            NetworkCommand::SetQuota(quota) => Ok(self.set_quota(quota)),
            NetworkCommand::ResetQuota { project } => self.reset_quota(project),
        }
    }

    fn put_network_row(&mut self, row: NetworkRow) -> Answer {
        self.changes.push(Change::Network(Rows::Put(row.clone())));
        Answer::Network(row)
    }

    fn delete_network_row(&mut self, key: NetworkKey) {
        self.changes.push(Change::Network(Rows::Delete(key)));
    }

    /// A new object.
    fn begun<I, S>(&self, id: I, settings: S) -> Arc<Object<I, S>> {
        Arc::new(Object { id, revision: 0, settings, created_at: self.context.now, updated_at: None })
    }

    /// The object with other settings.
    fn changed<I: Copy, S>(&self, old: &Object<I, S>, settings: S) -> Arc<Object<I, S>> {
        let updated_at = Some(self.context.now);
        Arc::new(Object { id: old.id, revision: old.revision + 1, settings, created_at: old.created_at, updated_at })
    }

    /// One more of this kind is within the project's quota.
    fn within_quota(&self, project: &str, kind: Kind, limit: i64) -> Result<(), Refusal> {
        let own = self.view.network.quota(project).and_then(|quota| quota.of(kind));
        let limit = own.unwrap_or(limit);
        let used = self.view.network.count(project, kind);
        match u64::try_from(limit) {
            Ok(limit) if used >= limit => Err(Refusal::InUse(format!(
                "Quota exceeded for resources: ['{}']: {used} of {limit} are in use.",
                kind.name()
            ))),
            _ => Ok(()),
        }
    }

    fn set_quota(&mut self, quota: &Quota) -> Answer {
        // What was set before and is not named now stays.
        let mut merged = self.view.network.quota(&quota.project).map(|old| (**old).clone()).unwrap_or_default();
        merged.project.clone_from(&quota.project);
        for kind in Kind::ALL {
            if let Some(limit) = quota.of(kind) {
                merged.set(kind, Some(limit));
            }
        }
        self.put_network_row(NetworkRow::Quota(Arc::new(merged)))
    }

    fn reset_quota(&mut self, project: &str) -> Result<Answer, Refusal> {
        if self.view.network.quota(project).is_none() {
            return Err(Refusal::NotFound { what: "Quota for project", name: project.to_owned() });
        }
        self.delete_network_row(NetworkKey::Quota(project.to_owned()));
        Ok(Answer::Done)
    }
}

/// Based on what is there now.
fn same_revision(what: &'static str, id: impl std::fmt::Display, now: u64, based_on: u64) -> Result<(), Refusal> {
    if now == based_on { Ok(()) } else { Err(Refusal::Conflict { what, name: id.to_string() }) }
}
