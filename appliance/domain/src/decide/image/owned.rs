//! Images as their owners deal with them: made, described, filled once, shared, deployed.

use crate::command::{Actor, Answer};
use crate::decide::Room;
use crate::id::ImageId;
use crate::image::{
    Acceptance, Card, Checksum, Given, Image, ImageCommand, ImageContent, ImageStatus, Member, Visibility, wanted_image,
};
use crate::node::Node;
use crate::refusal::Refusal;
use std::sync::Arc;

/// Projects that an image is shared with; Glance's default.
const MOST_MEMBERS: usize = 128;
/// Tags and properties of an image, and bytes of one; Glance's defaults.
const MOST_ENTRIES: usize = 128;
const ENTRY_LENGTH: usize = 255;
const VALUE_LENGTH: usize = 65_535;

/// What cannot be said of an image.
fn check_card(name: Option<&str>, card: &Card) -> Result<(), Refusal> {
    if let Some(name) = name.filter(|name| name.chars().count() > ENTRY_LENGTH || name.chars().any(char::is_control)) {
        return Err(Refusal::Invalid(format!("'{name}' is no name: at most {ENTRY_LENGTH} characters on one line.")));
    }
    if let Some(format) = card.disk_format.iter().find(|format| !matches!(format.as_str(), "raw" | "qcow2")) {
        return Err(Refusal::Invalid(format!(
            "disk_format '{format}' cannot be deployed here: convert the image to raw or qcow2 (qemu-img convert)."
        )));
    }
    if let Some(format) = card.container_format.iter().find(|format| format.as_str() != "bare") {
        return Err(Refusal::Invalid(format!("container_format '{format}' is not known here: bare is.")));
    }
    if card.tags.len() > MOST_ENTRIES || card.properties.len() > MOST_ENTRIES {
        return Err(Refusal::TooMuch(format!("An image has at most {MOST_ENTRIES} tags and as many properties.")));
    }
    let long = |text: &&String| text.is_empty() || text.chars().count() > ENTRY_LENGTH;
    if let Some(bad) = card.tags.iter().chain(card.properties.keys()).find(long) {
        return Err(Refusal::Invalid(format!(
            "'{bad}' is no tag and no name of a property: 1 to {ENTRY_LENGTH} characters."
        )));
    }
    match card.properties.iter().find(|(_, value)| value.len() > VALUE_LENGTH) {
        Some((name, _)) => Err(Refusal::Invalid(format!("The property '{name}' has more than {VALUE_LENGTH} bytes."))),
        None => Ok(()),
    }
}

impl Room<'_> {
    pub(in crate::decide) fn image_command(&mut self, command: &ImageCommand) -> Result<Answer, Refusal> {
        match command {
            ImageCommand::Create { id, name, card, limit } => self.create_image(*id, name.as_deref(), card, *limit),
            ImageCommand::Change { id, revision, name, card } => {
                self.change_image(*id, *revision, name.as_deref(), card)
            }
            ImageCommand::Fill { id, checksum, given, content, limit } => {
                self.fill_image(*id, checksum, given, content, *limit)
            }
            ImageCommand::Unfit { id, reason } => self.unfit_image(*id, reason),
            ImageCommand::SetActive { id, on } => self.set_image_active(*id, *on),
            ImageCommand::AddMember { id, project } => self.share_image(*id, project),
            ImageCommand::RemoveMember { id, project } => self.unshare_image(*id, project),
            ImageCommand::Answer { id, project, acceptance } => self.answer_sharing(*id, project, *acceptance),
        }
    }

    /// Puts an image of which something else is said.
    fn put_card(&mut self, image: &Image, name: Option<String>, card: Card) -> Answer {
        let card = Card { revision: image.card.revision + 1, updated_at: Some(self.context.now), ..card };
        self.put_image(Image { name, card, ..image.clone() })
    }

    fn create_image(&mut self, id: ImageId, name: Option<&str>, card: &Card, limit: i64) -> Result<Answer, Refusal> {
        if self.view.image(id).is_some() {
            return Err(Refusal::Exists { what: "An image with UUID", name: id.to_string() });
        }
        check_card(name, card)?;
        if let Some(name) = name.filter(|_| card.owner.is_none()) {
            self.check_image_name(id, name)?;
        }
        let of_project = |image: &&Arc<Image>| image.card.owner == card.owner && !image.is_cache();
        let count = self.view.images().filter(of_project).count();
        if u64::try_from(limit).is_ok_and(|limit| count as u64 >= limit) {
            return Err(Refusal::TooMuch(format!(
                "The project has {count} images, of {limit} that it may have (image_count_total): delete some first."
            )));
        }
        let now = self.context.now;
        let card = Card {
            kept: true,
            members: Default::default(),
            given: None,
            reason: None,
            revision: 0,
            updated_at: Some(now),
            deactivated: false,
            ..card.clone()
        };
        Ok(self.put_image(Image {
            id,
            name: name.map(str::to_owned),
            source_url: None,
            checksum: None,
            status: ImageStatus::Queued,
            content: None,
            created_at: now,
            used_at: now,
            card,
        }))
    }

    fn change_image(&mut self, id: ImageId, revision: u64, name: Option<&str>, card: &Card) -> Result<Answer, Refusal> {
        let image = self.image(id)?.clone();
        let old = &image.card;
        if old.revision != revision {
            return Err(Refusal::Conflict { what: "Image", name: id.to_string() });
        }
        check_card(name, card)?;
        if image.status != ImageStatus::Queued
            && (card.disk_format != old.disk_format || card.container_format != old.container_format)
        {
            return Err(Refusal::Forbidden("Attribute disk_format can be only replaced for a queued image.".into()));
        }
        if let Some(name) = name.filter(|_| card.owner.is_none()) {
            self.check_image_name(id, name)?;
        }
        let card = Card {
            kept: true,
            members: old.members.clone(),
            deactivated: old.deactivated,
            reason: old.reason.clone(),
            given: old.given.clone(),
            ..card.clone()
        };
        Ok(self.put_card(&image, name.map(str::to_owned), card))
    }

    fn fill_image(
        &mut self,
        id: ImageId,
        checksum: &Checksum,
        given: &Given,
        content: &ImageContent,
        limit: i64,
    ) -> Result<Answer, Refusal> {
        let image = self.image(id)?.clone();
        if image.status != ImageStatus::Queued {
            return Err(Refusal::InUse(format!(
                "Image {id} has its data already: a filled image is never changed, make another."
            )));
        }
        if let Some(wanted) = image.card.disk_format.as_deref().filter(|wanted| *wanted != content.given_format) {
            return Err(Refusal::Invalid(format!(
                "The image is said to be {wanted} (disk_format), and its content is {}.",
                content.given_format
            )));
        }
        let of_project = |other: &&Arc<Image>| other.card.owner == image.card.owner && !other.is_cache();
        let used: u64 = self.view.images().filter(of_project).map(|other| other.given_size()).sum();
        if u64::try_from(limit).is_ok_and(|limit| used.saturating_add(given.size) > limit) {
            return Err(Refusal::TooMuch(format!(
                "The project's images have {} MiB, and with this one of {} MiB would exceed the {} MiB that they may \
                 have (image_size_total): delete some first.",
                used >> 20,
                given.size >> 20,
                limit >> 20
            )));
        }
        let card = Card {
            given: Some(given.clone()),
            reason: None,
            revision: image.card.revision + 1,
            updated_at: Some(self.context.now),
            ..image.card.clone()
        };
        Ok(self.put_image(Image {
            checksum: Some(checksum.clone()),
            status: ImageStatus::Active,
            content: Some(content.clone()),
            card,
            ..(*image).clone()
        }))
    }

    fn unfit_image(&mut self, id: ImageId, reason: &str) -> Result<Answer, Refusal> {
        let image = self.image(id)?.clone();
        if image.status != ImageStatus::Queued {
            return Err(Refusal::InUse(format!("Image {id} has its data already.")));
        }
        let card = Card { reason: Some(reason.to_owned()), ..image.card.clone() };
        Ok(self.put_card(&image, image.name.clone(), card))
    }

    fn set_image_active(&mut self, id: ImageId, on: bool) -> Result<Answer, Refusal> {
        let image = self.image(id)?.clone();
        if image.status != ImageStatus::Active {
            return Err(Refusal::Forbidden(format!(
                "Image {id} is {}: only an image with data can be deactivated or reactivated.",
                image.status.name()
            )));
        }
        let card = Card { deactivated: !on, ..image.card.clone() };
        Ok(self.put_card(&image, image.name.clone(), card))
    }

    fn share_image(&mut self, id: ImageId, project: &str) -> Result<Answer, Refusal> {
        let image = self.image(id)?.clone();
        if image.card.visibility != Visibility::Shared {
            return Err(Refusal::Forbidden("Only shared images have members.".into()));
        }
        if project.is_empty() || project.len() > 255 {
            return Err(Refusal::Invalid("A member is the id of a project.".into()));
        }
        if image.card.members.contains_key(project) {
            return Err(Refusal::Exists { what: "A member", name: project.to_owned() });
        }
        if image.card.members.len() >= MOST_MEMBERS {
            return Err(Refusal::TooMuch(format!("An image has at most {MOST_MEMBERS} members.")));
        }
        let mut card = image.card.clone();
        let now = self.context.now;
        let member = Member { acceptance: Acceptance::Pending, created_at: now, updated_at: now };
        card.members.insert(project.to_owned(), member);
        Ok(self.put_card(&image, image.name.clone(), card))
    }

    fn unshare_image(&mut self, id: ImageId, project: &str) -> Result<Answer, Refusal> {
        let image = self.image(id)?.clone();
        let mut card = image.card.clone();
        if card.members.remove(project).is_none() {
            return Err(Refusal::NotFound { what: "Member", name: project.to_owned() });
        }
        Ok(self.put_card(&image, image.name.clone(), card))
    }

    fn answer_sharing(&mut self, id: ImageId, project: &str, acceptance: Acceptance) -> Result<Answer, Refusal> {
        let image = self.image(id)?.clone();
        let mut card = image.card.clone();
        let Some(member) = card.members.get_mut(project) else {
            return Err(Refusal::NotFound { what: "Member", name: project.to_owned() });
        };
        member.acceptance = acceptance;
        member.updated_at = self.context.now;
        Ok(self.put_card(&image, image.name.clone(), card))
    }

    /// The image of the data folder that this deployment is to write; `None`: it comes by URL. A user deploys what policy
    /// let him see when he asked, and only while it is still so.
    pub(in crate::decide) fn image_to_deploy(&self, node: &Node) -> Result<Option<ImageId>, Refusal> {
        let title = node.title();
        let refuse = |why: String| {
            Refusal::Invalid(format!("Failed to validate deploy or power info for node {title}. Error: {why}"))
        };
        let wanted = wanted_image(node).map_err(refuse)?;
        if wanted.source.contains("://") {
            return Ok(None);
        }
        let unknown = || refuse(format!("there is no image '{}'.", wanted.source));
        let by_id = uuid::Uuid::parse_str(&wanted.source).ok().map(ImageId);
        let is_wanted = |image: &Image| match by_id {
            Some(id) => image.id == id,
            None => image.name.as_deref() == Some(wanted.source.as_str()),
        };
        let image = match &self.context.actor {
            Actor::User(who) => {
                let judged = who.image.as_ref().ok_or_else(unknown)?;
                let image = self.view.image(judged.image).filter(|image| is_wanted(image)).ok_or_else(unknown)?;
                if image.card.revision != judged.revision {
                    return Err(Refusal::Conflict { what: "Image", name: wanted.source.clone() });
                }
                image
            }
            Actor::Local(_) | Actor::System(_) => {
                let found = match by_id {
                    Some(id) => self.view.image(id),
                    None => self.view.image_by_name(&wanted.source),
                };
                found.ok_or_else(unknown)?
            }
        };
        image.check_usable().map_err(|why| refuse(format!("the image {} cannot be used: {why}.", wanted.source)))?;
        Ok(Some(image.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Context, NodeStart, Who};
    use crate::decide::decide;
    use crate::id::{JobId, NodeId, PortId};
    use crate::image::{HashAlgorithm, JudgedImage};
    use crate::job::JobInput;
    use crate::mac::Mac;
    use crate::node::NodeSettings;
    use crate::port::PortSettings;
    use crate::provision::{ProvisionState, Verb};
    use crate::view::{Change, View};
    use jiff::Timestamp;
    use uuid::Uuid;

    const ID: ImageId = ImageId(Uuid::from_u128(1));
    const NODE: NodeId = NodeId(Uuid::from_u128(2));
    const JOB: JobId = JobId(Uuid::from_u128(3));

    fn give_as(view: &mut View, actor: Actor, command: Command) -> Result<(), Refusal> {
        let context = Context { actor, now: Timestamp::UNIX_EPOCH };
        let decision = decide(view, &command, &context)?;
        decision.changes.iter().for_each(|change| view.apply(change));
        Ok(())
    }

    fn give(view: &mut View, command: ImageCommand) -> Result<(), Refusal> {
        give_as(view, Actor::System("test"), Command::Image(command))
    }

    fn create(number: u128, limit: i64) -> ImageCommand {
        let card = Card {
            owner: Some("a".into()),
            visibility: Visibility::Private,
            disk_format: Some("raw".into()),
            container_format: Some("bare".into()),
            ..Card::default()
        };
        ImageCommand::Create {
            id: ImageId(Uuid::from_u128(number)),
            name: Some("x".into()),
            card: Box::new(card),
            limit,
        }
    }

    fn fill(number: u128, format: &str, size: u64, limit: i64) -> ImageCommand {
        let content =
            ImageContent { raw_size: size, raw_sha256: "0".repeat(64), stored_size: 1, given_format: format.into() };
        let checksum = Checksum { algorithm: HashAlgorithm::Sha256, hex: "a".repeat(64) };
        let given = Given { size, md5: String::new() };
        ImageCommand::Fill { id: ImageId(Uuid::from_u128(number)), checksum, given, content, limit }
    }

    /// A node that is to be deployed with the image.
    fn rack() -> View {
        let mut view = View::default();
        give(&mut view, create(1, -1)).expect("an image");
        give(&mut view, fill(1, "raw", 512, -1)).expect("filled");
        let mut settings = NodeSettings { driver: "ipmi".into(), ..NodeSettings::default() };
        settings.instance_info.insert("image_source".into(), ID.to_string().into());
        let system = || Actor::System("test");
        let create = Command::CreateNode { id: NODE, settings: Box::new(settings), start: NodeStart::default() };
        give_as(&mut view, system(), create).expect("a node");
        let card = PortSettings::new(NODE, Mac([2, 0, 0, 0, 0, 1]));
        let port = Command::CreatePort { id: PortId(Uuid::from_u128(4)), settings: Box::new(card) };
        give_as(&mut view, system(), port).expect("a card");
        let available =
            Node { provision_state: ProvisionState::Available, ..(**view.node(NODE).expect("there")).clone() };
        view.apply(&Change::PutNode(Arc::new(available)));
        view
    }

    fn deploy(view: &mut View, judged: Option<JudgedImage>) -> Result<(), Refusal> {
        let who = Who { name: "u".into(), image: judged, ..Who::default() };
        let command =
            Command::Provision { node: NODE, verb: Verb::Deploy, job: JOB, input: Box::new(JobInput::default()) };
        give_as(view, Actor::User(who.into()), command)
    }

    #[test]
    fn a_user_deploys_what_he_was_let_see_while_it_is_so() {
        let mut view = rack();
        let revision = view.image(ID).expect("there").card.revision;
        let unknown = deploy(&mut view, None).expect_err("nobody let him see it").to_string();
        let other = JudgedImage { image: ImageId(Uuid::from_u128(9)), revision };
        assert_eq!(deploy(&mut view, Some(other)).expect_err("another").to_string(), unknown);
        let stale = JudgedImage { image: ID, revision: revision - 1 };
        assert!(matches!(deploy(&mut view, Some(stale)), Err(Refusal::Conflict { .. })));
        give(&mut view, ImageCommand::SetActive { id: ID, on: false }).expect("off");
        let off = JudgedImage { image: ID, revision: revision + 1 };
        assert!(matches!(deploy(&mut view, Some(off)), Err(Refusal::Invalid(why)) if why.contains("deactivated")));
        give(&mut view, ImageCommand::SetActive { id: ID, on: true }).expect("on");
        deploy(&mut view, Some(JudgedImage { image: ID, revision: revision + 2 })).expect("his");
        assert_eq!(view.job(JOB).expect("a job").input.image, Some(ID), "whatever the node says later");
        let delete = Command::DeleteImage { id: ID };
        assert!(matches!(give_as(&mut view, Actor::System("test"), delete), Err(Refusal::InUse(_))));
    }

    #[test]
    fn an_image_is_filled_once_with_what_it_is_said_to_be() {
        let mut view = View::default();
        give(&mut view, create(1, -1)).expect("an image");
        assert!(matches!(give(&mut view, fill(1, "qcow2", 512, -1)), Err(Refusal::Invalid(_))));
        give(&mut view, ImageCommand::Unfit { id: ID, reason: "no".into() }).expect("told");
        assert_eq!(view.image(ID).expect("there").card.reason.as_deref(), Some("no"));
        give(&mut view, fill(1, "raw", 512, -1)).expect("filled");
        assert_eq!(view.image(ID).expect("there").card.reason, None);
        assert!(matches!(give(&mut view, fill(1, "raw", 512, -1)), Err(Refusal::InUse(_))));
        assert!(give(&mut view, ImageCommand::Unfit { id: ID, reason: "late".into() }).is_err());
    }

    #[test]
    fn a_project_has_so_many_images_and_so_many_bytes() {
        let mut view = View::default();
        give(&mut view, create(1, 2)).expect("the first");
        give(&mut view, create(2, 2)).expect("the second, of the same name");
        assert!(matches!(give(&mut view, create(3, 2)), Err(Refusal::TooMuch(_))));
        give(&mut view, fill(1, "raw", 600, 1000)).expect("within");
        assert!(matches!(give(&mut view, fill(2, "raw", 600, 1000)), Err(Refusal::TooMuch(_))));
        give(&mut view, fill(2, "raw", 400, 1000)).expect("within");
    }

    #[test]
    fn a_change_keeps_what_is_not_the_owners_to_say() {
        let mut view = rack();
        give(&mut view, ImageCommand::SetActive { id: ID, on: false }).expect("off");
        let image = view.image(ID).expect("there").clone();
        let card = Card { owner: Some("a".into()), protected: true, revision: 0, ..Card::default() };
        let change = |revision| ImageCommand::Change { id: ID, revision, name: None, card: Box::new(card.clone()) };
        assert!(matches!(give(&mut view, change(image.card.revision)), Err(Refusal::Forbidden(_))), "its format");
        let card = Card { protected: true, deactivated: false, given: None, ..image.card.clone() };
        let change = |revision| ImageCommand::Change { id: ID, revision, name: None, card: Box::new(card.clone()) };
        give(&mut view, change(image.card.revision)).expect("changed");
        assert!(matches!(give(&mut view, change(image.card.revision)), Err(Refusal::Conflict { .. })));
        let now = view.image(ID).expect("there");
        assert!(now.card.deactivated && now.card.given == image.card.given && now.card.protected);
        let delete = Command::DeleteImage { id: ID };
        assert!(matches!(give_as(&mut view, Actor::System("test"), delete), Err(Refusal::Forbidden(_))));
    }
}
