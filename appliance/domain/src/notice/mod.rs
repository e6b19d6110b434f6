//! Who is told of what happens, beside those who ask: receivers of webhooks, and how far each of them was told.
//!
//! In: what projects want, and how deliveries went. Out: rows. The events themselves lie in the store's log; here are only
//! their places in it. [`Notices`] holds all of it; the decisions are in `decide::notice`.

mod command;
mod rows;
mod webhook;

pub use command::NoticeCommand;
pub use rows::{NoticeKey, NoticeRow, Notices};
pub use webhook::{DeadLetter, Delivery, Failing, Webhook};
