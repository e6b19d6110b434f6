//! Images: known, ready, failed, named, used, gone; and what their owners say of them ([`owned`]).

mod owned;

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::id::ImageId;
use crate::image::{Image, ImageContent, ImageStatus, USED_AT_STEP, is_image_name};
use crate::refusal::Refusal;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(in crate::decide) fn image(&self, id: ImageId) -> Result<&Arc<Image>, Refusal> {
        self.view.image(id).ok_or_else(|| Refusal::NotFound { what: "Image", name: id.to_string() })
    }

    pub(in crate::decide) fn put_image(&mut self, image: Image) -> Answer {
        let status = image.status.name().to_owned();
        self.tell_all(What::ImageChanged { image: image.id.to_string(), status });
        let image = Arc::new(image);
        self.changes.push(Change::PutImage(image.clone()));
        Answer::Image(image)
    }

    /// The name is one that an image may have, and no other image has it.
    pub(in crate::decide) fn check_image_name(&self, id: ImageId, name: &str) -> Result<(), Refusal> {
        if !is_image_name(name) {
            return Err(Refusal::Invalid(format!(
                "'{name}' is no name for an image: 1 to 255 characters on one line, not a UUID and not a URL."
            )));
        }
        let of_box = |other: &&Arc<Image>| other.id != id && other.card.owner.is_none();
        match self.view.images_by_name(name).find(of_box) {
            Some(_) => Err(Refusal::Exists { what: "An image with name", name: name.to_owned() }),
            _ => Ok(()),
        }
    }

    pub(super) fn add_image(&mut self, image: &Image) -> Result<Answer, Refusal> {
        if self.view.image(image.id).is_some() {
            return Err(Refusal::Exists { what: "An image with UUID", name: image.id.to_string() });
        }
        if let Some(name) = image.name.as_deref().filter(|_| image.card.owner.is_none()) {
            self.check_image_name(image.id, name)?;
        }
        Ok(self.put_image(image.clone()))
    }

    pub(super) fn image_ready(&mut self, id: ImageId, content: &ImageContent) -> Result<Answer, Refusal> {
        let image = self.image(id)?;
        let ready = Image { status: ImageStatus::Active, content: Some(content.clone()), ..(**image).clone() };
        Ok(self.put_image(ready))
    }

    pub(super) fn image_failed(&mut self, id: ImageId, reason: &str) -> Result<Answer, Refusal> {
        let image = self.image(id)?;
        let failed = Image { status: ImageStatus::Failed(reason.to_owned()), content: None, ..(**image).clone() };
        Ok(self.put_image(failed))
    }

    pub(super) fn name_image(&mut self, id: ImageId, name: &str) -> Result<Answer, Refusal> {
        self.check_image_name(id, name)?;
        let image = self.image(id)?;
        if let Some(old) = image.name.as_deref().filter(|old| *old != name) {
            return Err(Refusal::InUse(format!("This image is in the data folder already, as '{old}' ({id}).")));
        }
        let named = Image { name: Some(name.to_owned()), ..(**image).clone() };
        Ok(self.put_image(named))
    }

    /// A deployment uses the image: it must be there, and it is not idle.
    pub(super) fn touch_image(&mut self, id: ImageId) -> Result<(), Refusal> {
        let image = self.image(id)?;
        if self.context.now.duration_since(image.used_at) >= USED_AT_STEP {
            let used = Image { used_at: self.context.now, ..(**image).clone() };
            self.changes.push(Change::PutImage(Arc::new(used)));
        }
        Ok(())
    }

    pub(super) fn delete_image(&mut self, id: ImageId) -> Result<Answer, Refusal> {
        if self.image(id)?.card.protected {
            return Err(Refusal::Forbidden(format!("Image {id} is protected and cannot be deleted.")));
        }
        if let Some(job) = self.view.jobs().find(|job| job.is_running() && job.input.image == Some(id)) {
            return Err(Refusal::InUse(format!("Image {id} is being deployed on node {}.", job.node)));
        }
        self.tell_all(What::ImageChanged { image: id.to_string(), status: "deleted".into() });
        self.changes.push(Change::DeleteImage(id));
        Ok(Answer::Done)
    }

    pub(super) fn evict_image(&mut self, id: ImageId) -> Result<Answer, Refusal> {
        if !self.image(id)?.may_be_evicted(self.context.now) {
            return Err(Refusal::InUse(format!("Image {id} is kept: it has a name, was uploaded, or was just used.")));
        }
        self.delete_image(id)
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Actor, Command, Context, NodeStart};
    use crate::decide::decide;
    use crate::id::{ImageId, JobId, NodeId};
    use crate::image::{Card, Checksum, HashAlgorithm, IDLE_BEFORE_EVICTION, Image, ImageStatus};
    use crate::job::{JobInput, StepName};
    use crate::node::NodeSettings;
    use crate::provision::{ProvisionState, Verb};
    use crate::refusal::Refusal;
    use crate::view::{Change, View};
    use jiff::{SignedDuration, Timestamp};
    use std::sync::Arc;
    use uuid::Uuid;

    const ID: ImageId = ImageId(Uuid::from_u128(1));

    fn image(id: u128, name: Option<&str>) -> Image {
        Image {
            id: ImageId(Uuid::from_u128(id)),
            name: name.map(str::to_owned),
            source_url: Some("http://box/image".into()),
            checksum: Some(Checksum { algorithm: HashAlgorithm::Sha256, hex: "a".repeat(64) }),
            status: ImageStatus::Active,
            content: None,
            created_at: Timestamp::UNIX_EPOCH,
            used_at: Timestamp::UNIX_EPOCH,
            card: Card::default(),
        }
    }

    fn at(view: &mut View, now: Timestamp, command: Command) -> Result<usize, Refusal> {
        let context = Context { actor: Actor::System("test"), now };
        let decision = decide(view, &command, &context)?;
        decision.changes.iter().for_each(|change| view.apply(change));
        Ok(decision.changes.len())
    }

    fn later(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_hours(hours)).expect("in range")
    }

    #[test]
    fn a_name_belongs_to_one_image_until_it_goes() {
        let mut view = View::default();
        let now = Timestamp::UNIX_EPOCH;
        at(&mut view, now, Command::AddImage(Box::new(image(1, Some("debian"))))).expect("added");
        let twice = at(&mut view, now, Command::AddImage(Box::new(image(2, Some("debian")))));
        assert!(matches!(twice, Err(Refusal::Exists { .. })));
        let bad = at(&mut view, now, Command::AddImage(Box::new(image(2, Some("http://x")))));
        assert!(matches!(bad, Err(Refusal::Invalid(_))));
        at(&mut view, now, Command::AddImage(Box::new(image(2, None)))).expect("nameless");
        let name = |name: &str| Command::NameImage { id: ImageId(Uuid::from_u128(2)), name: name.into() };
        assert!(at(&mut view, now, name("debian")).is_err());
        at(&mut view, now, name("other")).expect("named");
        assert!(matches!(at(&mut view, now, name("third")), Err(Refusal::InUse(why)) if why.contains("'other'")));
        at(&mut view, now, Command::DeleteImage { id: ID }).expect("deleted");
        assert!(view.image_by_name("debian").is_none());
        let checksum = image(1, None).checksum.expect("given");
        assert_eq!(view.images_by_checksum(&checksum).count(), 1);
    }

    #[test]
    fn only_what_can_come_back_and_lies_idle_is_evicted() {
        let now = later(3);
        let kept = [
            image(1, Some("named")),
            Image { source_url: None, ..image(1, None) },
            Image { used_at: now.checked_sub(IDLE_BEFORE_EVICTION).expect("in range").max(later(2)), ..image(1, None) },
        ];
        for image in kept {
            let mut view = View::default();
            view.apply(&Change::PutImage(Arc::new(image.clone())));
            let refused = at(&mut view, now, Command::EvictImage { id: ID });
            assert!(matches!(refused, Err(Refusal::InUse(_))), "{image:?}");
        }
        let mut view = View::default();
        view.apply(&Change::PutImage(Arc::new(image(1, None))));
        at(&mut view, now, Command::EvictImage { id: ID }).expect("gone");
        assert!(view.image(ID).is_none());
    }

    #[test]
    fn a_deployment_holds_its_image_and_marks_it_at_most_once_an_hour() {
        let mut view = View::default();
        let now = later(5);
        let node = NodeId(Uuid::from_u128(9));
        let settings = NodeSettings { driver: "ipmi".into(), ..NodeSettings::default() };
        at(&mut view, now, Command::CreateNode { id: node, settings: Box::new(settings), start: NodeStart::default() })
            .expect("a node");
        let job = JobId(Uuid::from_u128(10));
        let input = Box::new(JobInput::default());
        at(&mut view, now, Command::Provision { node, verb: Verb::Manage, job, input }).expect("a job");
        let begin = Command::StartStep { job, step: StepName::CheckBmc };
        at(&mut view, now, begin).expect("begun");
        let use_it = Command::UseImage { job, image: ID };
        assert!(matches!(at(&mut view, now, use_it.clone()), Err(Refusal::NotFound { .. })), "evicted meanwhile");
        view.apply(&Change::PutImage(Arc::new(image(1, None))));
        assert_eq!(at(&mut view, now, use_it.clone()), Ok(2), "the job and the image");
        assert_eq!(at(&mut view, now, use_it.clone()), Ok(1), "the job alone");
        assert_eq!(view.image(ID).expect("there").used_at, now);
        for command in [Command::DeleteImage { id: ID }, Command::EvictImage { id: ID }] {
            assert!(matches!(at(&mut view, later(50), command), Err(Refusal::InUse(_))));
        }
        assert_eq!(view.node(node).expect("the node").provision_state, ProvisionState::Verifying);
    }
}
