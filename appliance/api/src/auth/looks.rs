//! Looks at passwords: slow on purpose, few at a time, and shared fairly between the networks that they come from.

use super::passwords::AT_ONCE;
use crate::error::ApiError;
use crate::limits::counts::{Counts, Place};
use crate::limits::fair::{Entered, Places};
use crate::limits::network_of;
use axum::http::StatusCode;
use std::net::IpAddr;
use std::sync::Arc;

/// Passwords of one network that are looked at, or wait to be, at a time: one who guesses leaves room for the others.
const OF_NETWORK: usize = 8;
/// And of all networks: what waits takes memory.
const OF_ALL: usize = 1024;

/// Who looks at passwords, and who waits to.
#[derive(Debug)]
pub(super) struct Looks {
    waiting: Arc<Counts<IpAddr>>,
    turns: Places,
}

/// A look at a password; over when dropped.
#[derive(Debug)]
pub(crate) struct Look {
    _place: Place<IpAddr>,
    _turn: Entered,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks { waiting: Counts::new(OF_ALL, OF_NETWORK), turns: Places::new(AT_ONCE) }
    }
}

impl Looks {
    /// Waits for a turn, which goes round between the networks that wait; 503 where too many of this one do.
    pub(super) async fn take(&self, address: Option<IpAddr>) -> Result<Look, ApiError> {
        let network = network_of(address);
        let busy = |_| {
            let text = "Too many logins at a time, or from this address: try again in a moment.";
            ApiError { retry_after: Some(1), ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text) }
        };
        let place = self.waiting.take(Some(network)).map_err(busy)?;
        Ok(Look { _place: place, _turn: self.turns.enter(network).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn who_guesses_from_one_address_is_not_in_the_way_of_others() {
        let looks = Looks::default();
        let (eve, ada) = (Some(IpAddr::from([192, 0, 2, 66])), Some(IpAddr::from([192, 0, 2, 1])));
        let mut running = Vec::new();
        for _ in 0..AT_ONCE {
            running.push(looks.take(eve).await.expect("free"));
        }
        let mut of_eve: Vec<_> = (AT_ONCE..OF_NETWORK).map(|_| Box::pin(looks.take(eve))).collect();
        for look in &mut of_eve {
            assert!(look.now_or_never().is_none());
        }
        let refused = looks.take(eve).await.expect_err("all of hers are taken");
        assert_eq!((refused.status, refused.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
        let mut of_ada = Box::pin(looks.take(ada));
        assert!((&mut of_ada).now_or_never().is_none());
        // The one who goes next is the one who has had nothing yet, though she came last.
        running.pop();
        assert!((&mut of_ada).now_or_never().is_some_and(|look| look.is_ok()));
        // Who gives up frees what she waited for.
        drop((of_eve, running));
        assert!(looks.take(eve).await.is_ok());
    }
}
