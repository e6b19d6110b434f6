//! Domains and projects.

use super::super::Room;
use super::{changed, missing, taken};
use crate::command::Answer;
use crate::facet::Facet;
use crate::id::ProjectId;
use crate::identity::{DEFAULT_DOMAIN, IdentityKey, IdentityRow, Place, Project, User, check_name, check_text};
use crate::lease::{Lease, Offer};
use crate::network::About;
use crate::refusal::Refusal;
use std::sync::Arc;
use uuid::Uuid;

/// Levels of projects below a domain.
const DEEPEST: usize = 5;
/// Tags of a project, and letters of one.
const TAGS: usize = 50;
const TAG: usize = 60;
/// Of each kind of resource, so many are named when a deletion is refused.
const NAMED: usize = 20;

impl Room<'_> {
    pub(super) fn create_project(&mut self, project: &Project) -> Result<Answer, Refusal> {
        self.check_project(project)?;
        let directory = self.directory();
        if directory.project(project.id).is_some() {
            return Err(taken(kind(project), &project.id_text()));
        }
        if let Some(parent) = project.parent {
            let above = directory.project(parent).ok_or_else(|| missing("Project", parent.0))?;
            if above.domain != project.domain {
                return Err(Refusal::Invalid("A project lies in the domain of its parent.".into()));
            }
            if project.enabled && !directory.is_open(parent) {
                return Err(Refusal::Forbidden("A project below a disabled one cannot be enabled.".into()));
            }
            if directory.ancestors(parent).count() >= DEEPEST {
                return Err(Refusal::Forbidden(format!("Projects are nested at most {DEEPEST} deep.")));
            }
        } else if project.domain != project.id {
            return Err(Refusal::Invalid("A domain lies in no other.".into()));
        }
        Ok(self.put(IdentityRow::Project(Arc::new(project.clone()))))
    }

    pub(super) fn change_project(&mut self, before: &Arc<Project>, after: &Project) -> Result<Answer, Refusal> {
        let present = self.directory().project(before.id).ok_or_else(|| missing(kind(before), before.id.0))?;
        if present != before {
            return Err(changed(kind(before), &before.name));
        }
        if (after.id, after.domain, after.parent) != (before.id, before.domain, before.parent) {
            return Err(Refusal::Forbidden("A project cannot be moved to another parent or domain.".into()));
        }
        self.check_project(after)?;
        if before.id == DEFAULT_DOMAIN && !after.enabled {
            return Err(Refusal::Forbidden("The default domain cannot be disabled: the appliance lives in it.".into()));
        }
        let opened = after.enabled && !before.enabled;
        if opened && after.parent.is_some_and(|parent| !self.directory().is_open(parent)) {
            return Err(Refusal::Forbidden("A project below a disabled one cannot be enabled.".into()));
        }
        Ok(self.put(IdentityRow::Project(Arc::new(after.clone()))))
    }

    fn check_project(&self, project: &Project) -> Result<(), Refusal> {
        let what = kind(project);
        if project.id != DEFAULT_DOMAIN {
            check_name(&what.to_lowercase(), &project.name, 64)?;
        } else if project.name != "Default" {
            return Err(Refusal::Forbidden("The default domain keeps its name.".into()));
        }
        check_text("A description", &project.description, 4000)?;
        if project.tags.len() > TAGS {
            return Err(Refusal::Invalid(format!("A project has at most {TAGS} tags.")));
        }
        for tag in &project.tags {
            check_text("A tag", tag, TAG)?;
        }
        let known = if project.is_domain() {
            self.directory().domain_by_name(&project.name)
        } else {
            self.directory().project_by_name(project.domain, &project.name)
        };
        match known {
            Some(other) if other.id != project.id => Err(taken(what, &project.name)),
            _ => Ok(()),
        }
    }

    pub(super) fn delete_project(&mut self, id: ProjectId) -> Result<Answer, Refusal> {
        let project = self.directory().project(id).ok_or_else(|| missing("Project", id.0))?.clone();
        if id == DEFAULT_DOMAIN {
            return Err(Refusal::Forbidden("The default domain cannot be deleted: the appliance lives in it.".into()));
        }
        if project.is_domain() && project.enabled {
            return Err(Refusal::Forbidden("Disable the domain first: only a disabled domain can be deleted.".into()));
        }
        let held = self.held_by(&project);
        if !held.is_empty() {
            return Err(Refusal::InUse(format!(
                "{} {} still has {}: delete them or give them away first.",
                kind(&project),
                project.name,
                held.join("; ")
            )));
        }
        let place = Place::Project(id);
        let ended: Vec<_> = self.directory().assignments().filter(|held| held.place == place).copied().collect();
        let homeless: Vec<_> =
            self.directory().users().filter(|user| user.default_project == Some(id)).cloned().collect();
        let credentials: Vec<_> = self
            .directory()
            .users()
            .flat_map(|user| self.directory().credentials_of(user.id))
            .filter(|credential| credential.project == id)
            .map(|credential| credential.id)
            .collect();
        for assignment in ended {
            self.delete(IdentityKey::Assignment(assignment));
        }
        for credential in credentials {
            self.delete(IdentityKey::Credential(credential));
        }
        for user in homeless {
            self.put(IdentityRow::User(Arc::new(User { default_project: None, ..(*user).clone() })));
        }
        self.delete(IdentityKey::Project(id));
        Ok(Answer::Done)
    }

    /// What still belongs to a project or domain, in words: one entry for each kind.
    fn held_by(&self, project: &Project) -> Vec<String> {
        let directory = self.directory();
        let id = project.id_text();
        let owned = |owner: &Option<String>| owner.as_deref() == Some(id.as_str());
        let nodes = || self.view.nodes_of(Facet::Project(id.clone()), None);
        let mut held = Vec::new();
        let mut note = |what: &str, names: Vec<String>| {
            if !names.is_empty() {
                let more = if names.len() > NAMED { ", …" } else { "" };
                let shown: Vec<_> = names.iter().take(NAMED).map(String::as_str).collect();
                held.push(format!("{} {what} ({}{more})", names.len(), shown.join(", ")));
            }
        };
        note("projects", directory.children(project.id).map(|child| child.name.clone()).collect());
        note("nodes", nodes().filter(|node| owned(&node.settings.owner)).map(|node| node.title()).collect());
        note("leased nodes", nodes().filter(|node| owned(&node.settings.lessee)).map(|node| node.title()).collect());
        // Also those that have not begun, and those that were given to others.
        let book = &self.view.lease;
        let lease_name = |lease: &Arc<Lease>| named(lease.label.name.as_deref().unwrap_or_default(), lease.id.0);
        note("leases", book.leases_of(&id).map(lease_name).collect());
        note("leases that it gave", book.leases_by_owner(&id).map(lease_name).collect());
        let offer_name = |offer: &Arc<Offer>| named(offer.label.name.as_deref().unwrap_or_default(), offer.id.0);
        note("offers", book.offers_of(&id).map(offer_name).collect());
        let plane = &self.view.network;
        let of = |about: &About| about.project == id;
        let networks = plane.networks().filter(|row| of(&row.settings.about));
        note("networks", networks.map(|row| named(&row.settings.about.name, row.id.0)).collect());
        let subnets = plane.subnets().filter(|row| of(&row.settings.about));
        note("subnets", subnets.map(|row| named(&row.settings.about.name, row.id.0)).collect());
        let ports = plane.ports().filter(|row| of(&row.settings.about));
        note("network ports", ports.map(|row| named(&row.settings.about.name, row.id.0)).collect());
        let images = self.view.images().filter(|image| owned(&image.card.owner) && !image.is_cache());
        note("images", images.map(|image| named(image.name.as_deref().unwrap_or_default(), image.id.0)).collect());
        let hardware = &self.view.hardware;
        let allocations = hardware.allocations.of_owner(&id);
        note("allocations", allocations.map(|row| row.id.0.to_string()).collect());
        let runbooks = hardware.runbooks.of_owner(&id);
        note("runbooks", runbooks.map(|row| row.id.0.to_string()).collect());
        if project.is_domain() {
            let users = directory.users().filter(|user| user.domain == project.id);
            note("users", users.map(|user| user.name.clone()).collect());
            let groups = directory.groups().filter(|group| group.domain == project.id);
            note("groups", groups.map(|group| group.name.clone()).collect());
        }
        held
    }
}

/// A thing by its name, or by its id where it has none.
fn named(name: &str, id: Uuid) -> String {
    if name.is_empty() { id.to_string() } else { name.to_owned() }
}

fn kind(project: &Project) -> &'static str {
    if project.is_domain() { "Domain" } else { "Project" }
}
