//! Which images are there for a caller, and what he may do with them.

use super::fault::{Asker, Fault};
use crate::auth::Caller;
use leasehold_domain::View;
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Card, Image};
use leasehold_domain::policy::Target;
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

/// An image as rules see it.
pub(super) struct OfImage<'a> {
    pub(super) card: &'a Card,
    /// The project that is meant as a member, if it is one.
    member: Option<&'a str>,
}

impl<'a> OfImage<'a> {
    /// As it concerns the caller.
    pub(super) fn of(card: &'a Card, caller: &'a Caller) -> OfImage<'a> {
        let project = caller.credentials.project_id.as_deref();
        OfImage { card, member: project.filter(|project| card.members.contains_key(*project)) }
    }

    /// As it concerns this member.
    pub(super) fn and_member(card: &'a Card, member: &'a str) -> OfImage<'a> {
        OfImage { card, member: Some(member) }
    }
}

impl Target for OfImage<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "project_id" | "owner" => self.card.owner.as_deref().map(Cow::Borrowed),
            "member_id" => self.member.map(Cow::Borrowed),
            "visibility" => Some(Cow::Borrowed(self.card.visibility.name())),
            _ => None,
        }
    }
}

/// He sees all images.
pub(super) fn is_admin(caller: &Caller) -> bool {
    caller.allows("context_is_admin", &())
}

/// The image is there for the caller: its owner says so, and the rules let him.
pub(super) fn sees(caller: &Caller, image: &Image) -> bool {
    let project = caller.credentials.project_id.as_deref();
    let shown = is_admin(caller) || image.card.is_visible_to(project);
    shown && caller.allows("get_image", &OfImage::of(&image.card, caller))
}

/// The image of this id, if it is there for the caller.
pub(super) fn seen(view: &View, asker: &Asker, ident: &str) -> Result<Arc<Image>, Fault> {
    let found = Uuid::parse_str(ident).ok().and_then(|id| view.image(ImageId(id)));
    let seen = |image: &&Arc<Image>| sees(asker, image) || asker.hides("get_image", image.id.0);
    let found = found.filter(|image| !image.is_cache()).filter(seen);
    found.cloned().ok_or_else(|| Fault::no_image(ident))
}

/// The image of this id, where the rule says yes.
pub(super) fn may(view: &View, asker: &Asker, ident: &str, rule: &str) -> Result<Arc<Image>, Fault> {
    let image = seen(view, asker, ident)?;
    needs(asker, rule, &image.card)?;
    Ok(image)
}

pub(super) fn needs(asker: &Asker, rule: &str, card: &Card) -> Result<(), Fault> {
    if asker.allows(rule, &OfImage::of(card, asker)) { Ok(()) } else { Err(Fault::forbidden(rule)) }
}
