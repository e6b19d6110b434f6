//! What there is to fetch: the hash that was promised, and the block map or the raw stream behind it.

use crate::failure::{Failure, Kind, OrFailure};
use crate::http::{Client, Url};
use leasehold_wire::agent::ImageInfo;
use leasehold_wire::image_map::{ImageMap, data_url};
use ring::digest;
use std::time::Duration;

/// A map of this size describes a disk of many terabytes.
const MAX_MAP: u64 = 64 << 20;

/// The hash that the whole raw image must have.
#[derive(Debug, Clone)]
pub struct Expected {
    /// How it is computed.
    pub algorithm: &'static digest::Algorithm,
    /// In lower-case hexadecimal.
    pub hex: String,
}

/// How often and how soon a broken transfer is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Tries in a row that bring nothing.
    pub tries: u32,
    /// Wait before the second; it doubles each time.
    pub pause: Duration,
    /// Streams at once.
    pub streams: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        // More than cores: while one waits for the disk or the network, another unpacks and hashes.
        Pace { tries: 6, pause: Duration::from_millis(500), streams: (2 * cores).clamp(4, 8) }
    }
}

impl Pace {
    /// The wait after the given number of tries in a row failed.
    #[must_use]
    pub fn wait(&self, failed: u32) -> Duration {
        self.pause.saturating_mul(1 << failed.saturating_sub(1).min(5))
    }
}

/// Where the image comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Independent blocks.
    Blocks {
        /// Checked.
        map: ImageMap,
        /// Where the frames are.
        data: Url,
        /// The map came over TLS from the pinned appliance, so its block hashes can be trusted by themselves.
        trusted: bool,
    },
    /// The plain bytes; the first address that answers is taken.
    Raw {
        /// The addresses.
        urls: Vec<Url>,
        /// Bytes, where the appliance said so.
        size: Option<u64>,
    },
}

/// Checks an image's description as far as it goes without the network.
///
/// # Errors
/// What is missing or cannot be done, as `InvalidCommandParams`.
pub fn validate(info: &ImageInfo) -> Result<Expected, Failure> {
    let refuse = |why: String| Err(Failure::new(Kind::InvalidCommandParams, why));
    if info.urls.is_empty() && info.leasehold_map_url.is_none() {
        return refuse("the image has neither urls nor leasehold_map_url".to_owned());
    }
    for url in info.urls.iter().chain(&info.leasehold_map_url) {
        Url::parse(url).or_failure(Kind::InvalidCommandParams, || "the image".to_owned())?;
    }
    if let Some(format) = info.disk_format.as_deref().filter(|format| *format != "raw") {
        return refuse(format!(
            "the image's disk_format is {format}, this agent writes raw; let the appliance convert it"
        ));
    }
    if let Some(kind) = info.image_type.as_deref().filter(|kind| *kind != "whole-disk") {
        return refuse(format!("image_type is {kind}, this agent writes whole-disk images only"));
    }
    let by_length = |hex: &str| match hex.len() {
        64 => Some(&digest::SHA256),
        96 => Some(&digest::SHA384),
        128 => Some(&digest::SHA512),
        _ => None,
    };
    let hex =
        info.os_hash_value.as_deref().or(info.checksum.as_deref()).unwrap_or_default().trim().to_ascii_lowercase();
    let algorithm = match info.os_hash_algo.as_deref().filter(|_| info.os_hash_value.is_some()) {
        Some("sha256") => Some(&digest::SHA256),
        Some("sha384") => Some(&digest::SHA384),
        Some("sha512") => Some(&digest::SHA512),
        Some(other) => return refuse(format!("the image's os_hash_algo is {other}; give sha256 or sha512")),
        None => by_length(&hex),
    };
    match algorithm {
        Some(algorithm) if hex.len() == algorithm.output_len() * 2 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(Expected { algorithm, hex })
        }
        _ if hex.is_empty() => refuse("the image has no checksum; give os_hash_algo and os_hash_value".to_owned()),
        _ => refuse("the image's checksum is neither a SHA-256 nor a SHA-512 in hexadecimal (MD5, SHA-1 and checksum files are not taken)".to_owned()),
    }
}

impl Source {
    /// Finds out what there is to fetch. Nothing is written yet.
    ///
    /// # Errors
    /// When the map cannot be had, is wrong, or is that of another image.
    pub fn open(client: &Client, info: &ImageInfo, expected: &Expected, pace: Pace) -> Result<Source, Failure> {
        let download = Kind::ImageDownload;
        let Some(map_url) = &info.leasehold_map_url else {
            let urls = info.urls.iter().map(|url| Url::parse(url)).collect::<Result<_, _>>();
            return Ok(Source::Raw { urls: urls.or_failure(download, || "the image".to_owned())?, size: info.size });
        };
        let place = Url::parse(map_url).or_failure(download, || "the image map".to_owned())?;
        let mut failed = 0;
        let body = loop {
            let reason = match client.call("GET", map_url, &[("Accept", "application/json")], &[], MAX_MAP) {
                Ok(answer) if answer.head.status == 200 => break answer.body,
                Ok(answer) if (400..500).contains(&answer.head.status) && answer.head.status != 429 => {
                    return Err(Failure::new(
                        download,
                        format!("{place} was answered by {}; was the image deleted?", answer.head.status),
                    ));
                }
                Ok(answer) => format!("{place} was answered by {}", answer.head.status),
                Err(error) => error.to_string(),
            };
            failed += 1;
            if failed >= pace.tries {
                return Err(Failure::new(
                    download,
                    format!("the image map cannot be fetched after {failed} tries: {reason}"),
                ));
            }
            std::thread::sleep(pace.wait(failed));
        };
        let map: ImageMap =
            serde_json::from_slice(&body).or_failure(download, || format!("{place} is no image map"))?;
        map.validate().or_failure(download, || place.to_string())?;
        if expected.algorithm == &digest::SHA256 && map.sha256 != expected.hex {
            return Err(Failure::new(
                Kind::ImageChecksum,
                format!(
                    "the map is of an image with SHA-256 {}, asked for was {}; nothing was written",
                    map.sha256, expected.hex
                ),
            ));
        }
        if info.size.is_some_and(|size| size != map.size) {
            return Err(Failure::new(
                download,
                format!("the map is of an image of {} bytes, not {}", map.size, info.size.unwrap_or(0)),
            ));
        }
        let data = Url::parse(&data_url(map_url)).or_failure(download, || "the image data".to_owned())?;
        Ok(Source::Blocks { map, data, trusted: place.tls })
    }

    /// Bytes of the raw image, where known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Source::Blocks { map, .. } => Some(map.size),
            Source::Raw { size, .. } => *size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(algo: Option<&str>, value: Option<&str>, checksum: Option<&str>) -> ImageInfo {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        ImageInfo {
            urls: vec!["https://box/image".to_owned()],
            os_hash_algo: owned(algo),
            os_hash_value: owned(value),
            checksum: owned(checksum),
            ..ImageInfo::default()
        }
    }

    #[test]
    fn only_hashes_that_prove_something_are_taken() {
        let (short, long, md5) = ("ab".repeat(32), "CD".repeat(64), "ef".repeat(16));
        assert_eq!(validate(&info(Some("sha256"), Some(&short), Some(&md5))).unwrap().hex, short);
        assert_eq!(validate(&info(None, None, Some(&long))).unwrap().hex, long.to_ascii_lowercase());
        assert_eq!(validate(&info(None, Some(&short), None)).unwrap().algorithm, &digest::SHA256);
        for wrong in [
            info(None, None, None),
            info(None, None, Some(&md5)),
            info(Some("md5"), Some(&md5), None),
            info(Some("sha512"), Some(&short), None),
            info(None, None, Some("https://mirror/SHA256SUMS")),
            info(Some("sha256"), Some(&"zz".repeat(32)), None),
        ] {
            assert_eq!(validate(&wrong).unwrap_err().kind, Kind::InvalidCommandParams, "{wrong:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let good = info(None, None, Some(&"ab".repeat(32)));
        assert!(validate(&ImageInfo { disk_format: Some("raw".into()), ..good.clone() }).is_ok());
        assert!(validate(&ImageInfo { disk_format: Some("qcow2".into()), ..good.clone() }).is_err());
        assert!(validate(&ImageInfo { image_type: Some("partition".into()), ..good.clone() }).is_err());
        assert!(validate(&ImageInfo { urls: vec![], ..good.clone() }).is_err());
        assert!(validate(&ImageInfo { urls: vec!["file:///etc/passwd".into()], ..good }).is_err());
    }
}
