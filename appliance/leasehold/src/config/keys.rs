//! Which keys there are, to name the nearest when one is misspelt.

use super::ConfigError;
use toml::{Table, Value};

/// Tables and their keys; `""` is the top level.
const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "state_folder",
            "boot_files",
            "public",
            "local",
            "interface",
            "switches",
            "images",
            "limits",
            "tenants",
            "cleaning",
            "lease",
            "power",
            "agent",
            "identity",
            "policy",
            "audit",
            "events",
            "log",
        ],
    ),
    ("public", &["listen", "names", "certificate", "key", "plain_http"]),
    ("local", &["socket", "open_listen", "open_as"]),
    ("interface", &["name", "roles", "range", "router", "dns", "lease_seconds", "unknown_machines"]),
    ("switches", super::switches::KEYS),
    ("images", &["import_folder", "max_size_gib", "reserve_mib", "quota_gib", "fetch_from"]),
    ("limits", super::limits::KEYS),
    ("tenants", &["networks", "subnets", "ports", "images", "image_gib"]),
    ("cleaning", &["wipe"]),
    ("lease", super::lease::KEYS),
    ("power", &["sync_seconds", "soft_off_seconds"]),
    ("agent", &["kernel_parameters", "silence_seconds"]),
    ("identity", &["token_seconds", "session_seconds", "link_hours", "region"]),
    ("policy", &["file"]),
    ("audit", &["keep_days", "max_mib"]),
    ("events", super::events::KEYS),
    ("log", &["format", "filter"]),
];

/// How alike two names must be to suggest one for the other (Jaro-Winkler).
const ALIKE: f64 = 0.75;

/// Refuses the first key that nobody reads.
pub(super) fn check(table: &Table) -> Result<(), ConfigError> {
    check_table("", table)?;
    for (name, value) in table {
        match value {
            Value::Table(inner) => check_table(name, inner)?,
            Value::Array(rows) => {
                for row in rows {
                    if let Value::Table(inner) = row {
                        check_table(name, inner)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_table(name: &str, table: &Table) -> Result<(), ConfigError> {
    let known = KEYS.iter().find(|(table, _)| *table == name).map_or(&[][..], |(_, keys)| keys);
    let full = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let likeness = |candidate: &&&str| strsim::jaro_winkler(key, candidate);
            let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let nearest = nearest.filter(|candidate| likeness(candidate) >= ALIKE);
            Err(ConfigError::Unknown { key: full(key), nearest: nearest.map(|key| full(key)) })
        }
    }
}
