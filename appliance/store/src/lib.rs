//! The store: the one truth, on disk and in memory, and the only crate that names redb.
//!
//! In: commands ([`Store::submit`]), boot trace entries ([`Trace::push`]), secrets to seal ([`Sealer`]).
//! Out: snapshots of all live rows ([`Store::view`]), a feed of what changed ([`Store::subscribe`]), history pages
//! (events, audit, jobs, inventory) read from disk when somebody asks, and the trace of a booting machine.
//! Each acknowledged command is on disk with its events and its audit row, or nothing of it is.

mod account;
pub mod audit;
mod base;
mod batch;
mod brief;
mod codec;
mod committer;
mod disk;
mod ended;
mod ended_trim;
mod error;
mod event_index;
mod event_log;
mod feed;
mod journal;
mod live;
mod lock;
mod metrics;
mod schema;
mod seal;
mod store;
mod tables;
pub mod trace;

pub use account::Account;
pub use audit::{AuditEntry, AuditFilter, AuditPage, AuditRow, Outcome, Source, Verified};
pub use disk::{Disk, DiskAccess, RealDisk};
pub use ended::{EndedBy, EndedPage, EndedPlace};
pub use error::{OpenError, ReadError, SubmitError};
pub use event_index::EventsBy;
pub use event_log::{Cursor, CursorError, EventPage, EventsFrom, Recorded};
pub use feed::{Feed, News, Update};
pub use metrics::Metrics;
pub use seal::{KeySource, Plain, SealError, Sealer};
pub use store::{Clock, Committed, Health, Options, Retention, Rules, Store};
pub use trace::{Trace, TraceEntry, TraceFeed, TraceNews, TraceOptions};
