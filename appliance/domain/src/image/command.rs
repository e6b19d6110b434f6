//! Commands about images as their owners give them.

use super::{Acceptance, Card, Checksum, Given, ImageContent};
use crate::id::ImageId;

/// A command about an image. `limit`: what its project may have; negative: any number.
#[derive(Clone, Debug)]
pub enum ImageCommand {
    /// An image that is to be filled later. `limit`: images.
    Create {
        id: ImageId,
        name: Option<String>,
        card: Box<Card>,
        limit: i64,
    },
    /// All that is said of it, based on `revision`; members, content and reason stay.
    Change {
        id: ImageId,
        revision: u64,
        name: Option<String>,
        card: Box<Card>,
    },
    /// Its bytes are here. `limit`: bytes of all images of its project, as given.
    Fill {
        id: ImageId,
        checksum: Checksum,
        given: Given,
        content: ImageContent,
        limit: i64,
    },
    /// What came for it could not be used; it waits for another try.
    Unfit {
        id: ImageId,
        reason: String,
    },
    /// Nobody may use it from now on, or everybody who might before.
    SetActive {
        id: ImageId,
        on: bool,
    },
    /// The owner shares it with a project.
    AddMember {
        id: ImageId,
        project: String,
    },
    RemoveMember {
        id: ImageId,
        project: String,
    },
    /// That project's answer.
    Answer {
        id: ImageId,
        project: String,
        acceptance: Acceptance,
    },
}

impl ImageCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            ImageCommand::Create { .. } => "create-image",
            ImageCommand::Change { .. } => "change-image",
            ImageCommand::Fill { .. } => "fill-image",
            ImageCommand::Unfit { .. } => "unfit-image",
            ImageCommand::SetActive { on: true, .. } => "reactivate-image",
            ImageCommand::SetActive { on: false, .. } => "deactivate-image",
            ImageCommand::AddMember { .. } => "add-image-member",
            ImageCommand::RemoveMember { .. } => "remove-image-member",
            ImageCommand::Answer { .. } => "answer-image-member",
        }
    }

    /// The image that it is about.
    pub fn image(&self) -> ImageId {
        match self {
            ImageCommand::Create { id, .. }
            | ImageCommand::Change { id, .. }
            | ImageCommand::Fill { id, .. }
            | ImageCommand::Unfit { id, .. }
            | ImageCommand::SetActive { id, .. }
            | ImageCommand::AddMember { id, .. }
            | ImageCommand::RemoveMember { id, .. }
            | ImageCommand::Answer { id, .. } => *id,
        }
    }
}
