//! Lights by which a part is found in its rack: `LocationIndicatorActive` and the older `IndicatorLED` (DSP0268) of
//! systems, chassis and drives.

use super::lenient;
use super::root::Link;
use serde::Deserialize;
use serde_json::{Value, json};

/// Anything that may have a light.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Lamp {
    #[serde(rename = "@odata.id", deserialize_with = "lenient::text")]
    pub odata_id: Option<String>,
    #[serde(rename = "@odata.etag", deserialize_with = "lenient::text")]
    pub odata_etag: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(rename = "UUID", deserialize_with = "lenient::text")]
    pub uuid: Option<String>,
    #[serde(rename = "IndicatorLED", deserialize_with = "lenient::text")]
    pub led: Option<String>,
    #[serde(rename = "IndicatorLED@Redfish.AllowableValues", deserialize_with = "lenient::texts")]
    pub allowed: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient::truth")]
    pub location_indicator_active: Option<bool>,
}

/// What a light does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    On,
    Off,
    Blinking,
    /// The BMC says that it does not know, or says a word that the standard does not have.
    Unknown,
}

impl Lamp {
    /// What the light does; `None`: there is none.
    pub fn light(&self) -> Option<Light> {
        match (self.led.as_deref(), self.location_indicator_active) {
            (Some("Lit"), _) => Some(Light::On),
            (Some("Off"), _) => Some(Light::Off),
            (Some("Blinking"), _) => Some(Light::Blinking),
            (_, Some(true)) => Some(Light::On),
            (_, Some(false)) => Some(Light::Off),
            (Some(_), None) => Some(Light::Unknown),
            (None, None) => None,
        }
    }

    /// What the light can be told to do. The newer member knows no difference between lit and blinking.
    pub fn choices(&self) -> Vec<Light> {
        const ALL: [Light; 3] = [Light::Blinking, Light::Off, Light::On];
        let offered = |light: &Light| match &self.allowed {
            Some(values) if !values.is_empty() => values.iter().any(|value| Some(value.as_str()) == led(*light)),
            _ => true,
        };
        match (&self.led, self.location_indicator_active) {
            (Some(_), _) => ALL.into_iter().filter(offered).collect(),
            (None, Some(_)) => vec![Light::Off, Light::On],
            (None, None) => Vec::new(),
        }
    }

    /// The body to PATCH it with; `None` when it cannot be told that.
    pub fn patch(&self, light: Light) -> Option<Value> {
        if !self.choices().contains(&light) {
            return None;
        }
        Some(match self.led {
            Some(_) => json!({"IndicatorLED": led(light)?}),
            None => json!({"LocationIndicatorActive": light == Light::On}),
        })
    }

    /// How it is called: by its UUID, as Ironic does, or by its id, where it has none.
    pub fn name(&self) -> Option<&str> {
        [&self.uuid, &self.id].into_iter().flatten().map(|name| name.trim()).find(|name| !name.is_empty())
    }

    /// The entity tag in the body.
    pub fn etag(&self) -> Option<&str> {
        self.odata_etag.as_deref().filter(|etag| !etag.is_empty())
    }
}

/// Redfish's word for `IndicatorLED`.
fn led(light: Light) -> Option<&'static str> {
    match light {
        Light::On => Some("Lit"),
        Light::Off => Some("Off"),
        Light::Blinking => Some("Blinking"),
        Light::Unknown => None,
    }
}

/// `Storage`: a controller and the drives behind it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Storage {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::list")]
    pub drives: Vec<Link>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lamp(value: Value) -> Lamp {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_older_member_goes_first_because_it_tells_more() {
        let both = lamp(json!({"IndicatorLED": "Blinking", "LocationIndicatorActive": true}));
        assert_eq!(both.light(), Some(Light::Blinking));
        assert_eq!(both.patch(Light::On), Some(json!({"IndicatorLED": "Lit"})));
        // A BMC that fills the deprecated member with a word of its own.
        let odd = lamp(json!({"IndicatorLED": "Unknown", "LocationIndicatorActive": true}));
        assert_eq!(odd.light(), Some(Light::On));
        assert_eq!(lamp(json!({"IndicatorLED": "Purple"})).light(), Some(Light::Unknown));
    }

    #[test]
    fn the_newer_member_cannot_blink() {
        let new = lamp(json!({"LocationIndicatorActive": false, "IndicatorLED": null}));
        assert_eq!(new.light(), Some(Light::Off));
        assert_eq!(new.choices(), [Light::Off, Light::On]);
        assert_eq!(new.patch(Light::On), Some(json!({"LocationIndicatorActive": true})));
        assert_eq!(new.patch(Light::Blinking), None);
    }

    #[test]
    fn what_is_not_offered_or_not_there_is_not_sent() {
        let some = lamp(json!({"IndicatorLED": "Off", "IndicatorLED@Redfish.AllowableValues": ["Lit", "Off"]}));
        assert_eq!((some.patch(Light::Blinking), some.choices()), (None, vec![Light::Off, Light::On]));
        assert_eq!(some.patch(Light::Unknown), None);
        let none = lamp(json!({"Id": "1", "UUID": " "}));
        assert_eq!((none.light(), none.choices(), none.name()), (None, Vec::new(), Some("1")));
    }
}
