//! Images named by a node's `instance_info`: who may deploy them.
//!
//! In: the caller, the node. Out: an actor that carries the image he may deploy, as it was then; the decision holds only
//! while the image is still that, and the deployment writes that image whatever the node says later.

use super::access::sees;
use crate::auth::Caller;
use crate::error::ApiError;
use leasehold_domain::View;
use leasehold_domain::command::Actor;
use leasehold_domain::driver;
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Image, JudgedImage, wanted_image};
use leasehold_domain::node::Node;
use leasehold_domain::provision::Verb;
use std::sync::Arc;
use uuid::Uuid;

/// The image that a caller means by a UUID or a name: of several of a name his project's own, else the only one.
fn meant<'a>(view: &'a View, caller: &Caller, source: &str) -> Result<Option<&'a Arc<Image>>, String> {
    if let Ok(id) = Uuid::parse_str(source) {
        return Ok(view.image(ImageId(id)).filter(|image| sees(caller, image)));
    }
    let seen: Vec<_> = view.images_by_name(source).filter(|image| sees(caller, image)).collect();
    let own = caller.credentials.project_id.as_deref();
    let of_own = |image: &&&Arc<Image>| own.is_some_and(|own| image.card.is_owned_by(own));
    let mine: Vec<_> = seen.iter().filter(of_own).copied().collect();
    match (mine.as_slice(), seen.as_slice()) {
        ([only], _) | ([], [only]) => Ok(Some(only)),
        ([], []) => Ok(None),
        _ => Err(format!("there are several images with the name '{source}': give the UUID of the one that is meant.")),
    }
}

/// The actor of a deployment, with the image that he may deploy. Of an image that is not there for him the decision says
/// what it says of one that is not there at all.
pub(crate) fn may_deploy(
    view: &View,
    caller: &Caller,
    node: &Node,
    verb: Verb,
    actor: Actor,
) -> Result<Actor, ApiError> {
    let fake = driver::is_fake(&node.settings.driver);
    let Ok(wanted) = wanted_image(node) else { return Ok(actor) };
    if fake || !matches!(verb, Verb::Deploy | Verb::Rebuild) || wanted.source.contains("://") {
        return Ok(actor);
    }
    let found = meant(view, caller, &wanted.source).map_err(|why| {
        ApiError::bad_request(format!(
            "Failed to validate deploy or power info for node {}. Error: {why}",
            node.title()
        ))
    })?;
    match (actor, found) {
        (Actor::User(who), Some(image)) => {
            let mut who = Arc::unwrap_or_clone(who);
            who.image = Some(JudgedImage { image: image.id, revision: image.card.revision });
            Ok(Actor::User(who.into()))
        }
        (actor, _) => Ok(actor),
    }
}

/// Whether what the node is to be deployed with is there for the caller, for `validate`.
pub(crate) fn check_source(view: &View, caller: &Caller, node: &Node) -> Result<(), String> {
    let wanted = wanted_image(node)?;
    if wanted.source.contains("://") {
        return Ok(());
    }
    let image = meant(view, caller, &wanted.source)?;
    let image = image.ok_or_else(|| format!("there is no image '{}'.", wanted.source))?;
    image.check_usable().map_err(|why| format!("the image {} cannot be used: {why}.", wanted.source))
}
