//! A batch: commands decided one after the other, each on what the ones before it left, then written as one.
//!
//! A command's rows are made in full before any of it counts: a command that is refused, panics, or has a value that
//! cannot be written leaves no trace in its batch.

use crate::audit::{self, AuditEntry};
use crate::codec;
use crate::error::{Fault, SubmitError};
use crate::event_log::{self, Cursor, Recorded};
use crate::journal::{self, Entry, Fold};
use crate::live;
use crate::schema::Counters;
use crate::store::Rules;
use crate::tables::{self, Op};
use leasehold_domain::view::{Change, View};
use leasehold_domain::{Answer, Command, Context};
use redb::WriteTransaction;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How much history a commit leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) events: event_log::Limit,
    pub(crate) audit: audit::Limit,
    pub(crate) jobs_per_node: usize,
}

pub(crate) struct Batch {
    /// The state after the commands so far.
    pub(crate) view: View,
    pub(crate) counters: Counters,
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Recorded>,
    /// Changes of bindings, for the journal; none of `ops` is about them.
    pub(crate) bindings: Vec<Entry>,
    /// Bindings that the journal has and the database is to get with this batch.
    pub(crate) fold: Option<Fold>,
    ops: Vec<Op>,
    event_rows: Vec<event_log::Row>,
    audit_rows: Vec<(u64, Vec<u8>)>,
}

/// What one command adds.
struct Part {
    /// `None`: nothing but bindings change, which cannot go wrong.
    view: Option<View>,
    counters: Counters,
    changes: Vec<Change>,
    events: Vec<Recorded>,
    bindings: Vec<Entry>,
    ops: Vec<Op>,
    event_rows: Vec<event_log::Row>,
    audit_row: Option<(u64, Vec<u8>)>,
    answer: Answer,
}

impl Batch {
    /// A batch on this state; `counters` are those of the last commit.
    pub(crate) fn on(view: View, counters: Counters) -> Batch {
        Batch {
            view,
            counters: Counters { batch: counters.batch + 1, ..counters },
            changes: Vec::new(),
            events: Vec::new(),
            bindings: Vec::new(),
            fold: None,
            ops: Vec::new(),
            event_rows: Vec::new(),
            audit_rows: Vec::new(),
        }
    }

    /// There is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.is_bindings_only()
    }

    /// Nothing in it is for the database alone.
    pub(crate) fn is_bindings_only(&self) -> bool {
        self.ops.is_empty() && self.event_rows.is_empty() && self.audit_rows.is_empty()
    }

    /// Decides one command and takes it into the batch.
    pub(crate) fn decide(
        &mut self,
        rules: Rules,
        command: &Command,
        context: &Context,
        limits: Limits,
    ) -> Result<Answer, SubmitError> {
        let part = catch_unwind(AssertUnwindSafe(|| self.prepare(rules, command, context, limits)));
        let part = part.unwrap_or_else(|_| {
            tracing::error!(command = command.name(), actor = %context.actor, "a decision panicked");
            Err(SubmitError::Failed { reason: "the appliance met a defect in itself; the log has the details".into() })
        })?;
        match part.view {
            Some(view) => self.view = view,
            None => part.changes.iter().for_each(|change| self.view.apply(change)),
        }
        self.counters = part.counters;
        self.changes.extend(part.changes);
        self.events.extend(part.events);
        self.bindings.extend(part.bindings);
        self.ops.extend(part.ops);
        self.event_rows.extend(part.event_rows);
        self.audit_rows.extend(part.audit_row);
        Ok(part.answer)
    }

    fn prepare(&self, rules: Rules, command: &Command, context: &Context, limits: Limits) -> Result<Part, SubmitError> {
        let decision = rules(&self.view, command, context)?;
        let unwritable = |error: codec::CodecError| {
            tracing::error!(command = command.name(), %error, "a decision cannot be written");
            SubmitError::Failed { reason: error.to_string() }
        };
        let mut counters = self.counters;
        let mut ops = Vec::new();
        let bindings: Vec<Entry> = decision.changes.iter().filter_map(Entry::of).collect();
        // A clone is cheap, but what is changed in it is copied: at the rate of DHCP that would be felt.
        let mut view = (bindings.len() != decision.changes.len()).then(|| self.view.clone());
        for change in &decision.changes {
            let Some(view) = &mut view else { break };
            live::apply(view, change, limits.jobs_per_node, &mut ops).map_err(unwritable)?;
        }
        let mut events = Vec::new();
        let mut event_rows = Vec::new();
        for event in decision.events {
            let number = counters.next_event;
            counters.next_event += 1;
            event_rows.push(event_log::Row::new(number, &event).map_err(unwritable)?);
            events.push(Recorded { cursor: Cursor(number), event: Arc::new(event) });
        }
        let audit_row = if audit::is_audited(&context.actor) {
            let entry = audit::entry(&self.view, command, context, &decision.changes);
            Some(next_entry(&mut counters, &entry).map_err(unwritable)?)
        } else {
            None
        };
        let changes = decision.changes;
        Ok(Part { view, counters, changes, events, bindings, ops, event_rows, audit_row, answer: decision.answer })
    }

    /// Takes along what the journal has of these addresses, as the view has it now.
    pub(crate) fn fold(&mut self, fold: Fold) -> Result<(), Fault> {
        for address in &fold.addresses {
            self.ops.push(live::binding(&self.view, *address, &mut self.counters.next_order)?);
        }
        self.fold = Some(fold);
        Ok(())
    }

    /// Adds a row to the audit that belongs to no command of the batch.
    pub(crate) fn add_audit(&mut self, entry: &AuditEntry) {
        match next_entry(&mut self.counters, entry) {
            Ok(row) => self.audit_rows.push(row),
            Err(error) => tracing::error!(%error, "an audit row cannot be written"),
        }
    }

    /// Writes all of it, and trims what is beyond the limits: at most twice what came in, so that a commit stays short.
    pub(crate) fn write(&self, transaction: &WriteTransaction, limits: Limits) -> Result<(), Fault> {
        tables::carry_out(transaction, &self.ops)?;
        event_log::append(transaction, &self.event_rows, self.counters.next_event, limits.events)?;
        audit::append(transaction, &self.audit_rows, limits.audit)?;
        if let Some(through) = self.fold.as_ref().and_then(|fold| fold.through) {
            journal::write_folded(transaction, through)?;
        }
        self.counters.write(transaction)
    }
}

/// An entry as the audit's next row, bound to the one before it.
fn next_entry(counters: &mut Counters, entry: &AuditEntry) -> Result<(u64, Vec<u8>), codec::CodecError> {
    let number = counters.next_audit;
    let (link, row) = audit::encode(&counters.audit_head, number, entry)?;
    counters.next_audit += 1;
    counters.audit_head = link;
    Ok((number, row))
}
