//! `Manager`: the BMC itself.

use super::lenient;
use super::root::Link;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A management controller.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Manager {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// `BMC`, `EnclosureManager`, `RackManager`, …
    #[serde(deserialize_with = "lenient::text")]
    pub manager_type: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub model: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub firmware_version: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    pub log_services: Link,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
