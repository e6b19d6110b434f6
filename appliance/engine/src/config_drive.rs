//! Config drives: the small file system with label `config-2` from which a deployed system learns its name, keys and
//! addresses (OpenStack's metadata layout, `openstack/latest/…`).
//!
//! The API takes a ready one (base64 of gzip) or JSON; from JSON a FAT image is made here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::{Cursor, Read, Write};

/// A config drive is at most this large, unpacked; Ironic's limit.
pub const MAX_SIZE: usize = 64 << 20;
/// Packed and in base64. It is held in memory while its job runs.
pub const MAX_PACKED: usize = 4 << 20;

/// The config drive that was given cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigDriveError {
    #[error(
        "the config drive is neither base64 of a gzipped image nor an object of meta_data, user_data, network_data and \
         vendor_data (it is not fetched from a URL)"
    )]
    Form,
    #[error("the config drive is larger than {} MiB, or {} MiB packed", MAX_SIZE >> 20, MAX_PACKED >> 20)]
    TooLarge,
    #[error("the config drive could not be made: {0}")]
    Build(#[from] std::io::Error),
}

/// Checks or makes a config drive; gives base64 of the gzipped image. `name` and `uuid` are those of the node, for
/// metadata that does not name the system itself.
pub fn prepare(given: &Value, name: &str, uuid: &str) -> Result<String, ConfigDriveError> {
    match given {
        Value::String(text) => {
            check_packed(text)?;
            Ok(text.split_ascii_whitespace().collect())
        }
        Value::Object(parts) => {
            if let Some(unknown) = parts.keys().find(|key| !PARTS.contains(&key.as_str())) {
                tracing::info!(unknown, "a config drive has a part that nobody reads");
                return Err(ConfigDriveError::Form);
            }
            let mut meta_data = match parts.get("meta_data") {
                Some(Value::Object(map)) => map.clone(),
                None | Some(Value::Null) => serde_json::Map::new(),
                Some(_) => return Err(ConfigDriveError::Form),
            };
            meta_data.entry("uuid").or_insert_with(|| uuid.into());
            meta_data.entry("name").or_insert_with(|| name.into());
            meta_data.entry("hostname").or_insert_with(|| name.into());
            let mut files = vec![("meta_data.json", json_bytes(&Value::Object(meta_data)))];
            match parts.get("user_data") {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => files.push(("user_data", text.clone().into_bytes())),
                Some(object @ (Value::Object(_) | Value::Array(_))) => files.push(("user_data", json_bytes(object))),
                Some(_) => return Err(ConfigDriveError::Form),
            }
            for (key, file) in [("network_data", "network_data.json"), ("vendor_data", "vendor_data.json")] {
                match parts.get(key) {
                    None | Some(Value::Null) => {}
                    Some(object @ Value::Object(_)) => files.push((file, json_bytes(object))),
                    Some(_) => return Err(ConfigDriveError::Form),
                }
            }
            let image = fat_image(&files)?;
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&image)?;
            let packed = STANDARD.encode(packer.finish()?);
            if packed.len() > MAX_PACKED {
                return Err(ConfigDriveError::TooLarge);
            }
            Ok(packed)
        }
        _ => Err(ConfigDriveError::Form),
    }
}

const PARTS: [&str; 4] = ["meta_data", "user_data", "network_data", "vendor_data"];

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Unpacks a given config drive once, within its limit, so that a bad one is refused before a machine is touched.
fn check_packed(text: &str) -> Result<(), ConfigDriveError> {
    let compact: String = text.split_ascii_whitespace().collect();
    if compact.len() > MAX_PACKED {
        return Err(ConfigDriveError::TooLarge);
    }
    let packed = STANDARD.decode(compact).map_err(|_| ConfigDriveError::Form)?;
    let mut limited = flate2::read::GzDecoder::new(packed.as_slice()).take(MAX_SIZE as u64 + 1);
    let size = std::io::copy(&mut limited, &mut std::io::sink()).map_err(|_| ConfigDriveError::Form)?;
    match size {
        0 => Err(ConfigDriveError::Form),
        size if size > MAX_SIZE as u64 => Err(ConfigDriveError::TooLarge),
        _ => Ok(()),
    }
}

/// A FAT file system with the files under `openstack/latest` (and the EC2 spelling is nobody's need here).
fn fat_image(files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, ConfigDriveError> {
    let content: usize = files.iter().map(|(_, bytes)| bytes.len().next_multiple_of(4096)).sum();
    let size = (content + (1 << 20)).next_multiple_of(1 << 20);
    if size > MAX_SIZE {
        return Err(ConfigDriveError::TooLarge);
    }
    let mut disk = Cursor::new(vec![0; size]);
    // The serial number is fixed: the same data gives the same image.
    let options = fatfs::FormatVolumeOptions::new().volume_label(*b"CONFIG-2   ").volume_id(0x4c48_4c44);
    fatfs::format_volume(&mut disk, options)?;
    {
        let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new().update_accessed_date(false))?;
        let folder = volume.root_dir().create_dir("openstack")?.create_dir("latest")?;
        for (name, bytes) in files {
            let mut file = folder.create_file(name)?;
            file.write_all(bytes)?;
            file.flush()?;
        }
    }
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn unpacked(packed: &str) -> Vec<u8> {
        let bytes = STANDARD.decode(packed).expect("base64");
        let mut image = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut image).expect("gzip");
        image
    }

    fn file(image: &[u8], path: &str) -> Option<String> {
        let volume = fatfs::FileSystem::new(Cursor::new(image.to_vec()), fatfs::FsOptions::new()).expect("FAT");
        assert_eq!(volume.volume_label().to_lowercase(), "config-2");
        let mut text = String::new();
        volume.root_dir().open_file(path).ok()?.read_to_string(&mut text).expect("text");
        Some(text)
    }

    #[test]
    fn json_becomes_a_file_system_that_cloud_init_finds() {
        let given = json!({"meta_data": {"hostname": "web1", "public_keys": {"0": "ssh-ed25519 AAAA"}},
            "user_data": "#cloud-config\n", "network_data": {"links": []}});
        let image = unpacked(&prepare(&given, "node0", "1234").expect("a config drive"));
        let meta: Value =
            serde_json::from_str(&file(&image, "openstack/latest/meta_data.json").expect("there")).expect("JSON");
        assert_eq!(
            meta,
            json!({"hostname": "web1", "name": "node0", "uuid": "1234", "public_keys": {"0": "ssh-ed25519 AAAA"}})
        );
        assert_eq!(file(&image, "openstack/latest/user_data").as_deref(), Some("#cloud-config\n"));
        assert!(file(&image, "openstack/latest/network_data.json").is_some());
        assert_eq!(file(&image, "openstack/latest/vendor_data.json"), None);
    }

    #[test]
    fn what_is_no_config_drive_is_refused() {
        for bad in [json!("no base64!"), json!("aGVsbG8="), json!({"metadata": {}}), json!({"user_data": 5}), json!(7)]
        {
            assert!(prepare(&bad, "n", "u").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::repeat(0).take(MAX_SIZE as u64 + 4096), &mut packer).expect("packed");
        let bomb = STANDARD.encode(packer.finish().expect("packed"));
        assert!(matches!(prepare(&json!(bomb), "n", "u"), Err(ConfigDriveError::TooLarge)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn user_data_of_any_size_arrives_whole(text in "\\PC{0,9000}") {
            let image = unpacked(&prepare(&json!({"user_data": text}), "n", "u").expect("a config drive"));
            prop_assert_eq!(file(&image, "openstack/latest/user_data"), Some(text));
        }
    }
}
