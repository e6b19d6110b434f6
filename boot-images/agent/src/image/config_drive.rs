//! The config drive as it comes with a command: gzip in base64, or an address where such a thing (or the plain file
//! system) lies.

use crate::failure::{Failure, Kind, OrFailure};
use crate::http::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Read;

/// No config drive is larger, unpacked.
pub const MAX_CONFIG_DRIVE: u64 = 64 << 20;

/// The file system image that shall lie in the config drive's partition.
///
/// # Errors
/// When it cannot be fetched or unpacked, is too large, or is no file system that cloud-init reads.
pub fn config_drive(client: &Client, given: &str) -> Result<Vec<u8>, Failure> {
    let given = given.trim();
    if given.starts_with("http://") || given.starts_with("https://") {
        let answer = client.call("GET", given, &[], &[], MAX_CONFIG_DRIVE * 3 / 2);
        let answer = answer.or_failure(Kind::Deployment, || "the config drive cannot be fetched".to_owned())?;
        if answer.head.status != 200 {
            let why = format!("the config drive's address was answered by {}", answer.head.status);
            return Err(Failure::new(Kind::Deployment, why));
        }
        return unpack(&answer.body);
    }
    unpack(given.as_bytes())
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let wrong = |why: &str| Failure::new(Kind::Deployment, format!("the config drive {why}"));
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        let read = flate2::read::GzDecoder::new(bytes).take(MAX_CONFIG_DRIVE + 1).read_to_end(&mut out);
        read.map_err(|error| wrong(&format!("is damaged ({error})")))?;
        return check(out);
    }
    if is_file_system(bytes) {
        return check(bytes.to_vec());
    }
    // Base64 comes with or without line breaks.
    let compact: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match STANDARD.decode(&compact) {
        Ok(inner) if inner.starts_with(&[0x1f, 0x8b]) => unpack(&inner),
        Ok(inner) if is_file_system(&inner) => check(inner),
        _ => Err(wrong("is neither base64 of gzip, nor gzip, nor a FAT or ISO 9660 file system")),
    }
}

fn check(image: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let wrong = |why: &str| Err(Failure::new(Kind::Deployment, format!("the config drive {why}")));
    if image.len() as u64 > MAX_CONFIG_DRIVE {
        return wrong("has more than 64 MiB; put large data elsewhere");
    }
    if !is_file_system(&image) {
        return wrong("holds neither a FAT nor an ISO 9660 file system");
    }
    Ok(image)
}

fn is_file_system(bytes: &[u8]) -> bool {
    let iso = bytes.get(0x8001..0x8006) == Some(b"CD001");
    let fat =
        bytes.get(510..512) == Some(&[0x55, 0xaa]) && bytes.first().is_some_and(|byte| matches!(byte, 0xeb | 0xe9));
    // ext2 and its successors, which Ironic's tools also make.
    let ext = bytes.get(0x438..0x43a) == Some(&[0x53, 0xef]);
    iso || fat || ext
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn iso() -> Vec<u8> {
        let mut bytes = vec![7u8; 40_000];
        bytes[0x8001..0x8006].copy_from_slice(b"CD001");
        bytes
    }

    #[test]
    fn every_form_is_unpacked() {
        let zipped = gzip(&iso());
        let text = STANDARD.encode(&zipped);
        let lines: String =
            text.as_bytes().chunks(76).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
        for form in [zipped, text.into_bytes(), lines.into_bytes(), iso(), STANDARD.encode(iso()).into_bytes()] {
            assert_eq!(unpack(&form).unwrap(), iso());
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let mut cut = gzip(&iso());
        cut.truncate(cut.len() - 9);
        for form in [
            b"hello".to_vec(),
            vec![],
            cut,
            gzip(b"not a file system"),
            gzip(&vec![0; (MAX_CONFIG_DRIVE as usize) + 1]),
        ] {
            assert_eq!(unpack(&form).unwrap_err().kind, Kind::Deployment);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600), zip in any::<bool>()) {
            let _ = unpack(&bytes);
            if zip { let _ = unpack(&gzip(&bytes)); }
        }
    }
}
