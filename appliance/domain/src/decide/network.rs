//! Decisions about the network room.

use super::Room;
use crate::command::Answer;
use crate::network::{NetworkCommand, NetworkRow};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn network(&mut self, command: &NetworkCommand) -> Result<Answer, Refusal> {
        match command {
            NetworkCommand::PutNetwork(row) => {
                Ok(self.put_network(NetworkRow::Network(Arc::new(row.as_ref().clone()))))
            }
        }
    }

    fn put_network(&mut self, row: NetworkRow) -> Answer {
        self.changes.push(Change::Network(Rows::Put(row.clone())));
        Answer::Network(row)
    }
}
