//! Quotas: set, and held to by whatever makes or lengthens leases.

use crate::command::Answer;
use crate::decide::Room;
use crate::id::{ProjectId, QuotaId};
use crate::identity::{id_text, parse_id};
use crate::lease::{Lease, LeaseKey, LeaseRow, Limits, Quota, Span, Usage};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::{Change, View};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Room<'_> {
    /// `id`: of a new one. `limits`: `None` takes the bounds away. What is leased already stays leased.
    pub(super) fn set_lease_quota(
        &mut self,
        id: QuotaId,
        project: &str,
        class: Option<&str>,
        limits: Option<Limits>,
    ) -> Result<Answer, Refusal> {
        let known = self.view.lease.quota(project, class).map(|quota| quota.id);
        let Some(limits) = limits else {
            let missing = || Refusal::NotFound { what: "Quota of project", name: project.to_owned() };
            self.changes.push(Change::Lease(Rows::Delete(LeaseKey::Quota(known.ok_or_else(missing)?))));
            return Ok(Answer::Done);
        };
        let row = LeaseRow::Quota(Arc::new(Quota {
            id: known.unwrap_or(id),
            project: project.to_owned(),
            class: class.map(str::to_owned),
            limits,
            updated_at: self.context.now,
        }));
        self.changes.push(Change::Lease(Rows::Put(row.clone())));
        Ok(Answer::Lease(row))
    }

    /// What this decision has made and lengthened is within the quotas of its projects and of those above them.
    pub(super) fn check_quotas(&mut self) -> Result<(), Refusal> {
        if self.view.lease.quotas().next().is_none() {
            return Ok(());
        }
        let view = self.seen();
        let mut asked: BTreeSet<(String, Option<String>)> = BTreeSet::new();
        for change in &self.changes {
            let Change::Lease(Rows::Put(LeaseRow::Lease(lease))) = change else { continue };
            let longer = self.view.lease.lease(lease.id).is_none_or(|before| before.span.end < lease.span.end);
            if longer && !lease.state.is_over() {
                let class = view.node(lease.node).and_then(|node| node.settings.resource_class.clone());
                asked.insert((lease.project.clone(), class));
                self.check_longest(&view, lease)?;
            }
        }
        asked.iter().try_for_each(|(project, class)| self.check_tree(&view, project, class.as_deref()))
    }

    /// The project's own quotas and those of each project above it.
    fn check_tree(&self, view: &View, project: &str, class: Option<&str>) -> Result<(), Refusal> {
        for above in with_those_above(view, project) {
            for class in [None, class].into_iter().take(1 + usize::from(class.is_some())) {
                let Some(quota) = view.lease.quota(&above, class) else { continue };
                let usage = Usage::of(&spans(view, &above, class), self.context.now);
                if let Some((what, most, has)) = quota.limits.exceeded(&usage) {
                    return Err(Refusal::TooMuch(format!(
                        "Project {above}{} may have {most} {what}, and would have {has}: give some back, or ask for less.",
                        of_class(class)
                    )));
                }
            }
        }
        Ok(())
    }

    /// How long one lease may be, back to back with those before and after it.
    fn check_longest(&self, view: &View, lease: &Lease) -> Result<(), Refusal> {
        let class = view.node(lease.node).and_then(|node| node.settings.resource_class.clone());
        let row = in_a_row(view, lease);
        let hours = row.length().as_secs().unsigned_abs().div_ceil(3600);
        for above in with_those_above(view, &lease.project) {
            for class in [None, class.as_deref()].into_iter().take(1 + usize::from(class.is_some())) {
                let most = view.lease.quota(&above, class).and_then(|quota| quota.limits.longest_hours);
                if let Some(most) = most.filter(|most| hours > *most) {
                    return Err(Refusal::TooMuch(format!(
                        "Project {above}{} may lease a node for {most} hours in a row, and this would be {hours}.",
                        of_class(class)
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The time that the project has the node without a pause, with this lease.
fn in_a_row(view: &View, lease: &Lease) -> Span {
    let meeting = |span| {
        let leases = view.lease.leases_meeting((lease.node, lease.parent), span);
        leases.filter(|other| other.project == lease.project)
    };
    let Span { mut start, mut end } = lease.span;
    while let Some(before) =
        meeting(Span { start: Timestamp::MIN, end: start }).last().filter(|one| one.span.end == start)
    {
        start = before.span.start;
    }
    while let Some(next) = meeting(Span { start: end, end: Timestamp::MAX }).next().filter(|one| one.span.start == end)
    {
        end = next.span.end;
    }
    Span { start, end }
}

fn of_class(class: Option<&str>) -> String {
    class.map(|class| format!(" for class '{class}'")).unwrap_or_default()
}

fn with_those_above(view: &View, project: &str) -> Vec<String> {
    let id = parse_id(project).map(ProjectId);
    let above = id.into_iter().flat_map(|id| view.identity.ancestors(id)).map(|above| id_text(above.id.0));
    std::iter::once(project.to_owned()).chain(above).collect()
}

/// The times of the leases of a project and of all below it, of nodes of this class.
fn spans(view: &View, project: &str, class: Option<&str>) -> Vec<Span> {
    let below = parse_id(project).map(|id| view.identity.below(ProjectId(id))).unwrap_or_default();
    let projects = std::iter::once(project.to_owned()).chain(below.into_iter().map(|below| id_text(below.id.0)));
    let is_of = |node| {
        let node = view.node(node);
        class.is_none_or(|class| node.is_some_and(|node| node.settings.resource_class.as_deref() == Some(class)))
    };
    let mut spans = Vec::new();
    for project in projects {
        spans.extend(view.lease.leases_of(&project).filter(|lease| is_of(lease.node)).map(|lease| lease.span));
    }
    spans
}
