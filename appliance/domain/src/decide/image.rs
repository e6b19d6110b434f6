//! Images: known, ready, failed, gone.

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::id::ImageId;
use crate::image::{Image, ImageContent, ImageStatus};
use crate::refusal::Refusal;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    fn image(&self, id: ImageId) -> Result<&Arc<Image>, Refusal> {
        self.view.image(id).ok_or_else(|| Refusal::NotFound { what: "Image", name: id.to_string() })
    }

    fn put_image(&mut self, image: Image, status: &str) -> Answer {
        self.tell_all(What::ImageChanged { image: image.id.to_string(), status: status.to_owned() });
        let image = Arc::new(image);
        self.changes.push(Change::PutImage(image.clone()));
        Answer::Image(image)
    }

    pub(super) fn add_image(&mut self, image: &Image) -> Result<Answer, Refusal> {
        if self.view.image(image.id).is_some() {
            return Err(Refusal::Exists { what: "An image with UUID", name: image.id.to_string() });
        }
        Ok(self.put_image(image.clone(), "queued"))
    }

    pub(super) fn image_ready(&mut self, id: ImageId, content: &ImageContent) -> Result<Answer, Refusal> {
        let image = self.image(id)?;
        let ready = Image { status: ImageStatus::Active, content: Some(content.clone()), ..(**image).clone() };
        Ok(self.put_image(ready, "active"))
    }

    pub(super) fn image_failed(&mut self, id: ImageId, reason: &str) -> Result<Answer, Refusal> {
        let image = self.image(id)?;
        let failed = Image { status: ImageStatus::Failed(reason.to_owned()), content: None, ..(**image).clone() };
        Ok(self.put_image(failed, "failed"))
    }

    pub(super) fn delete_image(&mut self, id: ImageId) -> Result<Answer, Refusal> {
        self.image(id)?;
        if let Some(job) = self.view.jobs().find(|job| job.is_running() && job.input.image == Some(id)) {
            return Err(Refusal::InUse(format!("Image {id} is being deployed on node {}.", job.node)));
        }
        self.tell_all(What::ImageChanged { image: id.to_string(), status: "deleted".into() });
        self.changes.push(Change::DeleteImage(id));
        Ok(Answer::Done)
    }
}
