//! Who lets whom have which node, and when: offers, leases, and what time makes of them.
//!
//! In: commands of owners and lessees, and the moments at which something begins or ends. Out: rows, events, and the
//! jobs by which a node is handed over and taken back. Times are half-open ([`Span`]); those of one level do not meet.
//! [`Book`] holds what is not over; the decisions are in `decide::lease`.

mod command;
mod contract;
mod due;
pub mod figures;
mod past;
mod quota;
mod rows;
pub mod search;
mod span;
mod terms;
mod waiting;
mod word;

pub use command::{LeaseCommand, NewLease, NewOffer};
pub use contract::{Label, Lease, LeaseState, Offer, OfferState, Watch, Wish};
pub(crate) use due::may_be_given;
pub use due::{Due, due};
pub use past::{Past, Used};
pub use quota::{Limits, Quota, Usage, usage_of};
pub(crate) use quota::{back_to_back, check_longest, check_tree, class_of, of_class};
pub use rows::{Book, Edge, LeaseKey, LeaseRow, Level};
pub use span::{Empty, Span, to_the_microsecond};
pub use terms::Terms;
pub use waiting::{Kept, Waiting, WaitingState};
pub use word::OwnersWord;
