//! Images in the data folder: what was asked for, what arrived, and whether it can be written to a disk.

mod card;
mod command;

pub use card::{Acceptance, Card, Given, Member, Visibility};
pub use command::ImageCommand;

use crate::id::ImageId;
use crate::node::Node;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The digest that a user gave for the file as he knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checksum {
    pub algorithm: HashAlgorithm,
    /// Lower-case hex.
    pub hex: String,
}

/// Digests that are taken. MD5 and SHA-1 are not: they can be forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashAlgorithm {
    Sha256,
    Sha512,
}

impl HashAlgorithm {
    /// The name in `instance_info.image_os_hash_algo`.
    pub fn name(self) -> &'static str {
        match self {
            HashAlgorithm::Sha256 => "sha256",
            HashAlgorithm::Sha512 => "sha512",
        }
    }

    /// The algorithm that makes digests of this many hex digits.
    pub fn for_hex_length(length: usize) -> Option<HashAlgorithm> {
        match length {
            64 => Some(HashAlgorithm::Sha256),
            128 => Some(HashAlgorithm::Sha512),
            _ => None,
        }
    }
}

impl Checksum {
    /// A digest in hex, with or without its algorithm in front (`sha256:…`). `None` when it is neither SHA-256 nor
    /// SHA-512, or when the named algorithm and the length disagree.
    pub fn parse(algorithm: Option<&str>, text: &str) -> Option<Checksum> {
        let (named, hex) = match text.split_once(':') {
            Some((name, hex)) => (Some(name), hex),
            None => (algorithm, text),
        };
        let hex = hex.trim().to_ascii_lowercase();
        let found = HashAlgorithm::for_hex_length(hex.len())?;
        let agrees = named.is_none_or(|name| name.eq_ignore_ascii_case(found.name()));
        (agrees && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(Checksum { algorithm: found, hex })
    }
}

/// How far an image has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageStatus {
    /// Known, its bytes not yet here.
    Queued,
    /// Verified, unpacked to raw and packed for the agents.
    Active,
    /// It could not be used; the reason is for the user.
    Failed(String),
}

impl ImageStatus {
    /// The shown name.
    pub fn name(&self) -> &'static str {
        match self {
            ImageStatus::Queued => "queued",
            ImageStatus::Active => "active",
            ImageStatus::Failed(_) => "failed",
        }
    }
}

/// What is known of an image once it is `Active`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageContent {
    /// Bytes of the raw disk image, as written to a disk.
    pub raw_size: u64,
    /// SHA-256 of the raw disk image, hex.
    pub raw_sha256: String,
    /// Bytes that the packed image takes in the data folder.
    pub stored_size: u64,
    /// `raw` or `qcow2`: what the content of the given file was, whatever its name said.
    pub given_format: String,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub id: ImageId,
    pub name: Option<String>,
    /// Where it came from; `None`: uploaded.
    pub source_url: Option<String>,
    /// The digest of the file as given; `None`: nothing has come, and nobody said what should.
    pub checksum: Option<Checksum>,
    pub status: ImageStatus,
    pub content: Option<ImageContent>,
    pub created_at: Timestamp,
    /// The last deployment with it, to the hour.
    pub used_at: Timestamp,
    /// What its owner says of it.
    #[serde(default)]
    pub card: Card,
}

/// `used_at` is written at most so often: it is a hint for [`Image::may_be_evicted`], not a record.
pub const USED_AT_STEP: SignedDuration = SignedDuration::from_hours(1);
/// An image that was not used for so long may go when space is short. More than [`USED_AT_STEP`], by which `used_at` may lag.
pub const IDLE_BEFORE_EVICTION: SignedDuration = SignedDuration::from_hours(2);

impl Image {
    /// The image came by URL for some deployment, nobody gave it a name to keep it by, and it was not used for long: it
    /// can be fetched again. Whether a job uses it is another matter.
    pub fn may_be_evicted(&self, now: Timestamp) -> bool {
        let idle = now.duration_since(self.used_at) >= IDLE_BEFORE_EVICTION;
        self.name.is_none() && self.source_url.is_some() && !self.card.kept && idle
    }

    /// It came for some deployment and nobody asked to keep it: no user deals with it.
    pub fn is_cache(&self) -> bool {
        self.name.is_none() && !self.card.kept
    }

    /// Bytes of the file as given, as far as they are known.
    pub fn given_size(&self) -> u64 {
        let of_content = || self.content.as_ref().map_or(0, |content| content.raw_size);
        self.card.given.as_ref().map_or_else(of_content, |given| given.size)
    }

    /// It can be deployed now, or why not.
    pub fn check_usable(&self) -> Result<(), String> {
        match &self.status {
            _ if self.card.deactivated => Err("it is deactivated".into()),
            ImageStatus::Active => Ok(()),
            ImageStatus::Queued => Err("its data is not here yet".into()),
            ImageStatus::Failed(why) => Err(why.clone()),
        }
    }
}

/// Policy said yes to deploying an image as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedImage {
    pub image: ImageId,
    /// [`Card::revision`] of that moment: with another one, owner or visibility may be others.
    pub revision: u64,
}

/// Whether an image may be called so: something that can be told from a UUID and from a URL, on one line.
pub fn is_image_name(name: &str) -> bool {
    let plain = !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control) && name.trim() == name;
    plain && !name.contains("://") && uuid::Uuid::parse_str(name).is_err()
}

/// The image that `instance_info` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedImage {
    /// A URL, or the id or name of an image in the data folder.
    pub source: String,
    /// `None` only for an image that is already in the data folder.
    pub checksum: Option<Checksum>,
}

/// Reads `instance_info.image_source` and its checksum in every spelling that Ironic takes.
pub fn wanted_image(node: &Node) -> Result<WantedImage, String> {
    let text = |key: &str| node.settings.instance_info.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let source = text("image_source").ok_or(
        "instance_info has no image_source: set it to the URL of an image or to the id of one in the data folder.",
    )?;
    let given = match (text("image_os_hash_value"), text("image_checksum")) {
        (Some(value), _) => Some((text("image_os_hash_algo"), value)),
        (None, Some(value)) => Some((None, value)),
        (None, None) => None,
    };
    let checksum = match given {
        Some((algorithm, value)) => Some(Checksum::parse(algorithm, value).ok_or_else(|| {
            format!(
                "'{value}' is not a SHA-256 or SHA-512 digest in hex; MD5 and SHA-1 can be forged and are not taken."
            )
        })?),
        None if source.contains("://") => {
            return Err("an image by URL needs its SHA-256 or SHA-512 in image_checksum or image_os_hash_value.".into());
        }
        None => None,
    };
    Ok(WantedImage { source: source.to_owned(), checksum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_a_uuid_nor_a_url() {
        for good in ["debian-13", "Debian 13 (edge)", "ä"] {
            assert!(is_image_name(good), "{good}");
        }
        for bad in ["", " x", "a\nb", "http://box/x", "00000000-0000-0000-0000-000000000000", &"x".repeat(256)] {
            assert!(!is_image_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_checksum_names_or_implies_its_algorithm() {
        let sha256 = "a".repeat(64);
        let expected = Some(Checksum { algorithm: HashAlgorithm::Sha256, hex: sha256.clone() });
        assert_eq!(Checksum::parse(None, &sha256), expected);
        assert_eq!(Checksum::parse(Some("sha256"), &sha256.to_uppercase()), expected);
        assert_eq!(Checksum::parse(None, &format!("sha256:{sha256}")), expected);
        assert_eq!(Checksum::parse(Some("sha512"), &sha256), None, "length and name disagree");
        assert_eq!(Checksum::parse(None, &"a".repeat(32)), None, "MD5");
        assert_eq!(Checksum::parse(None, &"g".repeat(64)), None);
    }
}
