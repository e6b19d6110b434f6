//! `VirtualMedia`: images that a BMC shows to its machine as a drive, and how they are taken out (DSP0268).

use super::lenient;
use super::root::Link;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The parts of a manager (or of a system) that may have virtual drives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MediaHome {
    #[serde(deserialize_with = "lenient::object")]
    pub virtual_media: Link,
}

/// One virtual drive.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VirtualMedia {
    #[serde(rename = "@odata.etag", deserialize_with = "lenient::text")]
    pub odata_etag: Option<String>,
    #[serde(deserialize_with = "lenient::truth")]
    pub inserted: Option<bool>,
    #[serde(deserialize_with = "lenient::text")]
    pub image: Option<String>,
    /// `CD`, `DVD`, `USBStick`, `Floppy`.
    #[serde(deserialize_with = "lenient::texts")]
    pub media_types: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient::object")]
    pub actions: Map<String, Value>,
}

/// How an image is taken out.
#[derive(Clone, Debug, PartialEq)]
pub enum Eject {
    /// POST to this path.
    Action(String),
    /// PATCH the drive with this body: BMCs from before the action.
    Patch(Value),
}

impl VirtualMedia {
    /// Whether an image is in it.
    pub fn is_inserted(&self) -> bool {
        self.inserted.unwrap_or_else(|| self.image.as_deref().is_some_and(|image| !image.is_empty()))
    }

    /// Whether it is a drive of this kind: `cd`, `dvd`, `usb` or `floppy`.
    pub fn is_a(&self, kind: &str) -> bool {
        let kind = kind.to_ascii_lowercase();
        let types = self.media_types.iter().flatten().map(|name| name.to_ascii_lowercase());
        types.into_iter().any(|name| name == kind || (kind == "usb" && name == "usbstick"))
    }

    /// How to take the image out.
    pub fn eject(&self) -> Eject {
        let action = self.actions.get("#VirtualMedia.EjectMedia").and_then(|action| action.get("target"));
        match action.and_then(Value::as_str).filter(|target| !target.is_empty()) {
            Some(target) => Eject::Action(target.to_owned()),
            None => Eject::Patch(json!({"Image": null, "Inserted": false})),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(value: Value) -> VirtualMedia {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_drive_says_what_is_in_it_and_how_to_take_it_out() {
        let cd = drive(json!({"Inserted": true, "MediaTypes": ["CD", "DVD", 7],
            "Actions": {"#VirtualMedia.EjectMedia": {"target": "/eject"}}}));
        assert!(cd.is_inserted() && cd.is_a("cd") && cd.is_a("DVD") && !cd.is_a("floppy"));
        assert_eq!(cd.eject(), Eject::Action("/eject".into()));
        let old = drive(json!({"Image": "http://x/y.iso", "MediaTypes": ["USBStick"]}));
        assert!(old.is_inserted() && old.is_a("usb"));
        assert!(matches!(old.eject(), Eject::Patch(_)));
        assert!(!drive(json!({"Image": "", "MediaTypes": null})).is_inserted());
    }
}
