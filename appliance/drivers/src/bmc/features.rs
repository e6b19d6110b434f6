//! What BMCs can do beside power and boot device: their lights, the firmware's modes and settings, firmware versions,
//! and methods of their own.

use serde::{Deserialize, Serialize};
use std::fmt;

pub use leasehold_protocols::ipmi::command::{RawRequest, RawRequestError};
pub use leasehold_protocols::redfish::{BiosSetting, FirmwareComponent, Light};

/// A kind of part that has lights. Ironic's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    Chassis,
    System,
    Disk,
}

impl Component {
    const ALL: [Component; 3] = [Component::Chassis, Component::System, Component::Disk];

    /// Ironic's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Component::Chassis => "chassis",
            Component::System => "system",
            Component::Disk => "disk",
        }
    }

    /// The component with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Component> {
        Component::ALL.into_iter().find(|component| component.name() == name)
    }
}

/// Which light: `NAME@COMPONENT`, as users write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LightName {
    /// The UUID or id of the part; of a disk `STORAGE:DRIVE`.
    pub name: String,
    pub component: Component,
}

impl LightName {
    /// Reads `NAME@COMPONENT`.
    pub fn read(text: &str) -> Option<LightName> {
        let (name, component) = text.split_once('@')?;
        let component = Component::from_name(component)?;
        (!name.is_empty()).then(|| LightName { name: name.to_owned(), component })
    }
}

impl fmt::Display for LightName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.component.name())
    }
}

/// A light and what it can be told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    pub light: LightName,
    pub choices: Vec<Light>,
}

/// A call that only one kind of BMC has. Ironic's vendor methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VendorCall {
    /// IPMI: a request that the user wrote himself.
    SendRaw(RawRequest),
    /// IPMI: the BMC itself starts anew; the machine goes on.
    ResetBmc { warm: bool },
    /// Redfish: takes the images out of the virtual drives, of all or of those of this kind.
    EjectMedia { kind: Option<String> },
}

/// How far an update of firmware is, in the BMC's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirmwareTask {
    /// It has not begun: some parts get theirs while the machine starts.
    Waiting(String),
    Working(String),
    Done,
    Failed(String),
    /// The BMC knows nothing of it, any more: many forget it when they start anew with the new firmware.
    Forgotten,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_light_is_named_with_its_part() {
        let disk = LightName::read("1:0@disk").unwrap();
        assert_eq!((disk.name.as_str(), disk.component), ("1:0", Component::Disk));
        for bad in ["led", "@system", "led@fan", "a@b@system", ""] {
            assert_eq!(LightName::read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_comes_back(name in "[^@]{1,20}", at in 0usize..3) {
            let light = LightName { name, component: Component::ALL[at] };
            prop_assert_eq!(LightName::read(&light.to_string()), Some(light));
        }
    }
}
