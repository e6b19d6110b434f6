//! What an image's owner says of it (Glance's attributes), and who may see it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Who may see and use an image beside its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody, and it is listed for everybody.
    #[default]
    Public,
    /// Everybody who knows of it.
    Community,
    /// The projects that its owner named.
    Shared,
    /// Nobody else.
    Private,
}

impl Visibility {
    /// The shown name.
    pub fn name(self) -> &'static str {
        match self {
            Visibility::Public => "public",
            Visibility::Community => "community",
            Visibility::Shared => "shared",
            Visibility::Private => "private",
        }
    }

    /// The visibility of this name.
    pub fn named(name: &str) -> Option<Visibility> {
        [Visibility::Public, Visibility::Community, Visibility::Shared, Visibility::Private]
            .into_iter()
            .find(|visibility| visibility.name() == name)
    }
}

/// What a project that an image is shared with says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceptance {
    /// It has said nothing yet.
    Pending,
    /// The image is among its images.
    Accepted,
    /// It does not want to see it.
    Rejected,
}

impl Acceptance {
    /// The shown name.
    pub fn name(self) -> &'static str {
        match self {
            Acceptance::Pending => "pending",
            Acceptance::Accepted => "accepted",
            Acceptance::Rejected => "rejected",
        }
    }

    /// The answer of this name.
    pub fn named(name: &str) -> Option<Acceptance> {
        [Acceptance::Pending, Acceptance::Accepted, Acceptance::Rejected].into_iter().find(|one| one.name() == name)
    }
}

/// A project that an image is shared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub acceptance: Acceptance,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The file as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Its bytes.
    pub size: u64,
    /// For clients that still compare it; nothing here trusts it.
    pub md5: String,
}

/// What is said of an image. The default is that of an image which the box's administrator brought: everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Somebody made the image by name of its own, in the image API: it stays until it is deleted.
    pub kept: bool,
    /// The owning project; `None`: the box's own.
    pub owner: Option<String>,
    pub visibility: Visibility,
    pub members: BTreeMap<String, Member>,
    pub tags: BTreeSet<String>,
    pub properties: BTreeMap<String, String>,
    /// It cannot be deleted.
    pub protected: bool,
    /// It is not listed unless somebody asks for hidden ones.
    pub hidden: bool,
    /// In GiB.
    pub min_disk: u32,
    /// In MiB.
    pub min_ram: u32,
    /// `raw` or `qcow2`, as its owner says; the content must be that.
    pub disk_format: Option<String>,
    /// `bare`.
    pub container_format: Option<String>,
    /// Nobody may use or fetch it for now.
    pub deactivated: bool,
    /// Why the last try to fill it failed.
    pub reason: Option<String>,
    pub given: Option<Given>,
    /// Counts changes, so that a writer can say on what he bases his change.
    pub revision: u64,
    pub updated_at: Option<Timestamp>,
}

impl Card {
    /// Whether somebody with credentials for this project may see the image. Administrators see all; that is asked
    /// elsewhere.
    pub fn is_visible_to(&self, project: Option<&str>) -> bool {
        match self.visibility {
            Visibility::Public | Visibility::Community => true,
            Visibility::Shared => {
                project.is_some_and(|project| self.is_owned_by(project) || self.members.contains_key(project))
            }
            Visibility::Private => project.is_some_and(|project| self.is_owned_by(project)),
        }
    }

    /// The image is this project's.
    pub fn is_owned_by(&self, project: &str) -> bool {
        self.owner.as_deref() == Some(project)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_owner_and_members_see_what_is_not_everybodys() {
        let member = Member {
            acceptance: Acceptance::Pending,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let mut card = Card { owner: Some("a".into()), ..Card::default() };
        card.members.insert("b".into(), member);
        for (visibility, seen_by) in [
            (Visibility::Public, [true; 4]),
            (Visibility::Community, [true; 4]),
            (Visibility::Shared, [true, true, false, false]),
            (Visibility::Private, [true, false, false, false]),
        ] {
            card.visibility = visibility;
            let seen = [Some("a"), Some("b"), Some("c"), None].map(|project| card.is_visible_to(project));
            assert_eq!(seen, seen_by, "{visibility:?}");
            assert_eq!(Visibility::named(visibility.name()), Some(visibility));
        }
        card.owner = None;
        assert!(!card.is_visible_to(None), "nobody's project owns nothing");
    }
}
