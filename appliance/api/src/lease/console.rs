//! Tokens for the serial console over web sockets: not here yet.

use super::fault::{Asker, Fault};
use axum::http::StatusCode;

pub(super) async fn not_yet(_: Asker) -> Fault {
    let message = "This box has no console over web sockets yet, so there are no tokens for one: ask for the serial \
                   console with 'baremetal node console enable' and 'baremetal node console show'.";
    Fault::new(StatusCode::NOT_IMPLEMENTED, message)
}
