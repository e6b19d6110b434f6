//! Quotas: set, and held to by whatever makes or lengthens leases; and how many there may be at all.

use crate::command::Answer;
use crate::decide::Room;
use crate::id::QuotaId;
use crate::lease::{
    LeaseKey, LeaseRow, Level, Limits, Quota, Span, Terms, check_longest, check_tree, class_of, of_class,
};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
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
            let missing =
                || Refusal::NotFound { what: "Quota of project", name: format!("{project}{}", of_class(class)) };
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

    /// One more lease of this project is not more than any may have.
    pub(super) fn must_not_have_too_many(&mut self, project: &str, terms: &Terms) -> Result<(), Refusal> {
        // With those of the same reservation.
        match self.seen().lease.lease_count(project) >= terms.leases {
            true => Err(Refusal::OverQuota(format!(
                "Project {project} has {} leases that are not over, which is as many as it may have: give some back.",
                terms.leases
            ))),
            false => Ok(()),
        }
    }

    /// One more offer or lease under a lease is not more than may end with it.
    pub(super) fn must_not_have_too_many_parts(&self, level: Level, terms: &Terms) -> Result<(), Refusal> {
        let (_, Some(above)) = level else { return Ok(()) };
        let book = &self.view.lease;
        let leases = book.leases_meeting(level, Span::ALL).take(terms.parts).count();
        match leases.max(book.offers_meeting(level, Span::ALL).take(terms.parts).count()) >= terms.parts {
            true => Err(Refusal::OverQuota(format!(
                "Lease {above} was let on {} times, which is as often as it may be: end some of these first.",
                terms.parts
            ))),
            false => Ok(()),
        }
    }

    /// What this decision has made and lengthened is within the quotas of its projects and of those above them.
    pub(super) fn check_quotas(&mut self) -> Result<(), Refusal> {
        if self.view.lease.quotas().next().is_none() {
            return Ok(());
        }
        let (view, now) = (self.seen(), self.context.now);
        let mut asked: BTreeSet<(String, Option<String>)> = BTreeSet::new();
        for change in &self.changes {
            let Change::Lease(Rows::Put(LeaseRow::Lease(lease))) = change else { continue };
            let longer = self.view.lease.lease(lease.id).is_none_or(|before| before.span.end < lease.span.end);
            if longer && !lease.state.is_over() {
                asked.insert((lease.project.clone(), class_of(&view, lease)));
                check_longest(&view, lease)?;
            }
        }
        asked.iter().try_for_each(|(project, class)| check_tree(&view, project, class.as_deref(), now))
    }
}
