//! Offers and leases that are over, for lists.

use super::fault::Fault;
use crate::Api;
use leasehold_domain::lease::{Lease, Offer};
use leasehold_store::EndedBy;
use std::sync::Arc;

/// Rows of the history that a list shows: the newest.
const MOST: usize = 1000;
/// Pages that one list looks at, of some thousands of rows each: who finds little among very many does not have all of
/// them read.
const MOST_PAGES: usize = 20;

/// The newest offers that are over, that one of these finds and `wanted` takes.
pub(super) async fn offers(
    api: &Api,
    by: Vec<EndedBy>,
    wanted: impl Fn(&Offer) -> bool + Clone + Send + 'static,
) -> Result<Vec<Arc<Offer>>, Fault> {
    let (mut rows, mut after) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = api.engine.store.ended_offers(by.clone(), after, MOST - rows.len(), wanted.clone()).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() || rows.len() >= MOST {
            break;
        }
    }
    Ok(rows)
}

/// The same of leases. `all`: else those only that are found among the last some thousands.
pub(super) async fn leases(
    api: &Api,
    by: Vec<EndedBy>,
    all: bool,
    wanted: impl Fn(&Lease) -> bool + Clone + Send + 'static,
) -> Result<Vec<Arc<Lease>>, Fault> {
    let (mut rows, mut after) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = api.engine.store.ended_leases(by.clone(), after, MOST - rows.len(), wanted.clone()).await?;
        rows.extend(page.rows);
        after = page.next;
        if !all || after.is_none() || rows.len() >= MOST {
            break;
        }
    }
    Ok(rows)
}
