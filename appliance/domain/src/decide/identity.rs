//! Decisions about the identity room.

use super::Room;
use crate::command::Answer;
use crate::identity::{IdentityCommand, IdentityRow};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn identity(&mut self, command: &IdentityCommand) -> Result<Answer, Refusal> {
        match command {
            IdentityCommand::PutProject(row) => {
                Ok(self.put_identity(IdentityRow::Project(Arc::new(row.as_ref().clone()))))
            }
        }
    }

    fn put_identity(&mut self, row: IdentityRow) -> Answer {
        self.changes.push(Change::Identity(Rows::Put(row.clone())));
        Answer::Identity(row)
    }
}
