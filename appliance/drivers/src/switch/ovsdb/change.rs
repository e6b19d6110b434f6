//! One change of a port: looked at, written, carried out, read back.
//!
//! What is written holds only while `next_cfg` of the whole switch is as it was at the look. Every change raises it; so one
//! that was given up, because its answer did not come in time, and that reaches the database later all the same, comes
//! about only where no other came meanwhile, not even where the port has become again what it was.

use super::snapshot::{FoundPort, Root, columns};
use super::{DATABASE, Limits, OvsdbSwitch};
use crate::switch::{Membership, PortState, SwitchError, Wanted};
use leasehold_protocols::ovsdb::{Condition, Datum, Mutation, Operation, Row, Until};
use std::time::Instant;

/// How often a change is based on a new look, where others change other ports at the same time.
const TRIES: u32 = 10;

/// What came of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The configuration of this number has the change in it.
    At(i64),
    /// Somebody has changed something since the look, this port or another. Nothing was written.
    Overtaken,
    /// The port is not what it was at the look. Nothing was written.
    Changed,
}

impl OvsdbSwitch {
    /// All of it.
    pub(super) async fn change(&self, port: &str, wanted: &Wanted) -> Result<PortState, SwitchError> {
        let changed = || SwitchError::Changed { switch: self.config.name.clone(), port: port.to_owned() };
        let mut snapshot = self.snapshot().await?;
        let first = self.find(&snapshot, port)?.clone();
        self.check_wanted(&first, wanted)?;
        for _ in 0..TRIES {
            let found = snapshot.find(port).filter(|found| found.is_as(&first)).ok_or_else(changed)?;
            self.check_wanted(found, wanted)?;
            let root = snapshot.root.as_ref();
            let root = root.ok_or_else(|| self.protocol("its database is not set up".to_owned()))?;
            match self.write(root, found, wanted).await? {
                Written::At(number) => {
                    self.applied(port, number).await?;
                    return self.read_back(port, &first, wanted).await;
                }
                Written::Changed => return Err(changed()),
                // Another port was changed, or this one: the next look tells.
                Written::Overtaken => snapshot = self.snapshot().await?,
            }
        }
        Err(changed())
    }

    /// What must not be done, whoever asks.
    fn check_wanted(&self, found: &FoundPort, wanted: &Wanted) -> Result<(), SwitchError> {
        let switch = self.config.name.clone();
        let idle = self.config.idle;
        let heard = match wanted.membership() {
            Membership::Idle => false,
            Membership::Access(vlan) => *vlan == idle,
            Membership::Trunk(trunk) => trunk.native() == idle || trunk.tagged().contains(&idle),
        };
        if heard {
            let detail = format!("VLAN {idle} is its idle VLAN, which nothing listens on");
            return Err(SwitchError::Unsupported { switch, detail });
        }
        if found.is_local() {
            let detail = format!("port '{}' is the bridge's own, not a machine's", found.name);
            return Err(SwitchError::Unsupported { switch, detail });
        }
        if let Some(what) = found.controlled() {
            let detail =
                format!("in bridge '{}' {what} decides where frames go, not VLANs of ports", found.bridge_name);
            return Err(SwitchError::Unsupported { switch, detail });
        }
        Ok(())
    }

    /// The transaction.
    pub(super) async fn write(&self, root: &Root, found: &FoundPort, wanted: &Wanted) -> Result<Written, SwitchError> {
        let this = || vec![Condition::equal("_uuid", Datum::one(found.id.clone()))];
        let whole = || vec![Condition::equal("_uuid", Datum::one(root.id.clone()))];
        let bridge = Row([("name".to_owned(), Datum::one(found.bridge_name.as_str()))].into());
        let owner = vec![
            Condition::equal("_uuid", Datum::one(found.bridge.clone())),
            Condition::includes("ports", Datum::one(found.id.clone())),
        ];
        let wait = |table: &str, rows: Vec<Condition>, expected: Row| Operation::Wait {
            table: table.to_owned(),
            rows,
            until: Until::Equal,
            expected,
            timeout_ms: 0,
        };
        let operations = [
            wait(DATABASE, whole(), Row([("next_cfg".to_owned(), Datum::one(root.next_cfg))].into())),
            wait("Port", this(), found.read.clone()),
            wait("Bridge", owner, bridge),
            Operation::Update { table: "Port".to_owned(), rows: this(), to: columns(wanted, self.config.idle) },
            // Also where nothing changes: the daemon's answer shows that it is there, and has it.
            Operation::Mutate {
                table: DATABASE.to_owned(),
                rows: whole(),
                mutations: vec![Mutation::Add("next_cfg".to_owned(), 1)],
            },
            Operation::Select { table: DATABASE.to_owned(), rows: whole(), columns: vec!["next_cfg".to_owned()] },
            Operation::Comment(format!("leasehold: port {} to {wanted}", found.name)),
        ];
        match self.transact(&operations, self.config.limits.answer).await? {
            Err(0) => Ok(Written::Overtaken),
            Err(_) => Ok(Written::Changed),
            Ok(done) => match done.as_slice() {
                [_, _, _, update, mutate, select, _] if update.count == 1 && mutate.count == 1 => {
                    let number = select.rows.first().and_then(|row| row.integer("next_cfg"));
                    number.map(Written::At).ok_or_else(|| self.protocol("no number of its configuration".to_owned()))
                }
                _ => Err(self.protocol("a change met another number of rows than one".to_owned())),
            },
        }
    }

    /// Waits until the daemon has come as far as this configuration.
    async fn applied(&self, port: &str, number: i64) -> Result<(), SwitchError> {
        let Limits { answer, apply, .. } = self.config.limits;
        let end = Instant::now() + apply;
        loop {
            let column = || vec!["cur_cfg".to_owned()];
            let select = Operation::Select { table: DATABASE.to_owned(), rows: Vec::new(), columns: column() };
            let read = self.select(&[select]).await?;
            let reached = read.first().and_then(|outcome| outcome.rows.first()?.integer("cur_cfg"));
            let reached = reached.ok_or_else(|| self.protocol("no number of its configuration".to_owned()))?;
            if reached >= number {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            let wait = Operation::Wait {
                table: DATABASE.to_owned(),
                rows: Vec::new(),
                until: Until::Differs,
                expected: Row([("cur_cfg".to_owned(), Datum::one(reached))].into()),
                timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            };
            if left.is_zero() || self.transact(&[wait], left + answer).await?.is_err() {
                let detail =
                    format!("ovs-vswitchd has not confirmed it within {} s: is it running?", apply.as_secs_f32());
                return Err(SwitchError::NotApplied {
                    switch: self.config.name.clone(),
                    port: port.to_owned(),
                    detail,
                });
            }
        }
    }

    /// Asks the database again.
    async fn read_back(&self, port: &str, written: &FoundPort, wanted: &Wanted) -> Result<PortState, SwitchError> {
        let snapshot = self.snapshot().await?;
        let found = self.find(&snapshot, port)?;
        let state = found.state();
        let (switch, port) = (self.config.name.clone(), port.to_owned());
        if found.id != written.id {
            return Err(SwitchError::Changed { switch, port });
        }
        if !wanted.is_met_by(&state) {
            let (wanted, got) = (wanted.to_string(), state.standing());
            return Err(SwitchError::NotKept { switch, port, wanted, got });
        }
        // A port that moves no frames is as idle as it can be.
        match found.broken().filter(|_| !wanted.is_idle()) {
            Some(detail) => Err(SwitchError::Broken { switch, port, detail }),
            None => Ok(state),
        }
    }
}
