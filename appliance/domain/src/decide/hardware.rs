//! Decisions about the hardware room.

use super::Room;
use crate::command::Answer;
use crate::hardware::{HardwareCommand, HardwareRow};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn hardware(&mut self, command: &HardwareCommand) -> Result<Answer, Refusal> {
        match command {
            HardwareCommand::PutChassis(row) => {
                Ok(self.put_hardware(HardwareRow::Chassis(Arc::new(row.as_ref().clone()))))
            }
        }
    }

    fn put_hardware(&mut self, row: HardwareRow) -> Answer {
        self.changes.push(Change::Hardware(Rows::Put(row.clone())));
        Answer::Hardware(row)
    }
}
