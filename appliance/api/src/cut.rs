//! Commands by which a cable is forgotten: a network card or its node is deleted, or noted for another switch port.

use crate::error::ApiError;
use crate::{Api, TRIES};
use axum::http::StatusCode;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::PortId;
use leasehold_domain::{Refusal, View};
use leasehold_store::{Committed, SubmitError};

impl Api {
    /// [`Api::submit_current`] for such a command about these cards. One whose switch port is not known to be idle is cut
    /// first, when nothing else speaks against the command, and nobody sets the port again before that is through.
    pub(crate) async fn submit_cut(
        &self,
        cards: &[PortId],
        make: impl Fn(&View) -> Result<(Command, Actor), ApiError>,
    ) -> Result<Committed, ApiError> {
        let (mut tries, mut cut) = (1, None);
        loop {
            let (command, actor) = make(&self.engine.view())?;
            match self.submit(command, actor).await {
                Err(SubmitError::Refused(Refusal::Conflict { .. })) if tries < TRIES => tries += 1,
                Err(SubmitError::Refused(Refusal::Plugged(what))) if cut.is_none() => {
                    let done = self.engine.switches.cut(&self.engine.store, cards).await;
                    let why = |error| format!("{what} It could not be cut now, so the cable is not forgotten: {error}");
                    cut = Some(done.map_err(|error| ApiError::new(StatusCode::CONFLICT, why(error)))?);
                }
                done => return Ok(done?),
            }
        }
    }
}
