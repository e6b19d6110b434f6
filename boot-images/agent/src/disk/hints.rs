//! Which disk the image goes to: the owner's root device hints, in the language of Ironic (property, optional
//! operator of oslo.utils, value), or the smallest disk that fits.

use super::list::Found;
use leasehold_wire::agent::Disk;
use serde_json::{Map, Value};

const GIB: u64 = 1 << 30;

/// What the owner asks of the disk. Empty: anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hints(Vec<(Property, Test)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property {
    Name,
    Model,
    Vendor,
    Serial,
    Wwn,
    WwnWithExtension,
    WwnVendorExtension,
    Size,
    Rotational,
    ByPath,
    Hctl,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Number(Order, f64),
    Text(Order, String),
    Contains(String),
    AllOf(Vec<String>),
    AnyOf(Vec<String>),
    Flag(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why no disk can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// A hint on something a disk does not have.
    #[error(
        "root device hint {0:?} is not known; known are name, model, vendor, serial, wwn, wwn_with_extension, wwn_vendor_extension, size, rotational, by_path and hctl"
    )]
    Property(String),
    /// A hint's value cannot be used.
    #[error("root device hint {property:?} has the value {value}, which is not {wanted}")]
    Value {
        /// The hint.
        property: String,
        /// Its value.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// No disk at all.
    #[error(
        "this machine shows no disk; is its controller's driver in the ramdisk, is the disk plugged in, is RAID set up?"
    )]
    NoDisk,
    /// No disk is right; the reason for each.
    #[error("no disk fits: {0}; change the node's root_device hints or use a larger disk")]
    NoneFits(String),
}

impl Hints {
    /// The hints of a node: those of its instance go before those of its properties.
    ///
    /// # Errors
    /// When a hint cannot be understood. A misread hint could cost somebody's data.
    pub fn of_node(instance_info: &Map<String, Value>, properties: &Map<String, Value>) -> Result<Hints, HintError> {
        let of = |from: &Map<String, Value>| from.get("root_device").and_then(Value::as_object).cloned();
        Self::parse(&of(instance_info).or_else(|| of(properties)).unwrap_or_default())
    }

    /// Reads hints.
    ///
    /// # Errors
    /// When a property or value cannot be understood.
    pub fn parse(hints: &Map<String, Value>) -> Result<Hints, HintError> {
        let mut tests = Vec::new();
        for (name, value) in hints {
            let property = match name.as_str() {
                "name" => Property::Name,
                "model" => Property::Model,
                "vendor" => Property::Vendor,
                "serial" => Property::Serial,
                "wwn" => Property::Wwn,
                "wwn_with_extension" => Property::WwnWithExtension,
                "wwn_vendor_extension" => Property::WwnVendorExtension,
                "size" => Property::Size,
                "rotational" => Property::Rotational,
                "by_path" => Property::ByPath,
                "hctl" => Property::Hctl,
                _ => return Err(HintError::Property(name.clone())),
            };
            let wrong = |wanted| HintError::Value { property: name.clone(), value: value.to_string(), wanted };
            let text = match value {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return Err(wrong("a text, a number, true or false")),
            };
            let test = match property {
                Property::Rotational => Test::Flag(match text.to_ascii_lowercase().as_str() {
                    "true" | "1" | "yes" | "on" | "t" | "y" => true,
                    "false" | "0" | "no" | "off" | "f" | "n" => false,
                    _ => return Err(wrong("true or false")),
                }),
                Property::Size => number_test(&text).ok_or_else(|| wrong("a number of GiB, such as \">= 100\""))?,
                _ => text_test(&text).ok_or_else(|| wrong("a text, such as \"s== ABC\" or \"<in> ABC\""))?,
            };
            tests.push((property, test));
        }
        Ok(Hints(tests))
    }

    /// The first hint that the disk fails, in words.
    fn objection(&self, disk: &Disk) -> Option<String> {
        self.0.iter().find(|(property, test)| !holds(*property, test, disk)).map(|(property, _)| {
            let shown = match property {
                Property::Size => format!("{} GiB", disk.size / GIB),
                Property::Rotational => format!("{}", disk.rotational.unwrap_or(false)),
                other => text_of(*other, disk).unwrap_or("unknown").to_owned(),
            };
            format!("{} {shown} is not what the hint asks", property_name(*property))
        })
    }
}

fn property_name(property: Property) -> &'static str {
    match property {
        Property::Name => "name",
        Property::Model => "model",
        Property::Vendor => "vendor",
        Property::Serial => "serial",
        Property::Wwn => "wwn",
        Property::WwnWithExtension => "wwn_with_extension",
        Property::WwnVendorExtension => "wwn_vendor_extension",
        Property::Size => "size",
        Property::Rotational => "rotational",
        Property::ByPath => "by_path",
        Property::Hctl => "hctl",
    }
}

fn text_of(property: Property, disk: &Disk) -> Option<&str> {
    match property {
        Property::Name => Some(&disk.name),
        Property::Model => disk.model.as_deref(),
        Property::Vendor => disk.vendor.as_deref(),
        Property::Serial => disk.serial.as_deref(),
        Property::Wwn => disk.wwn.as_deref(),
        Property::WwnWithExtension => disk.wwn_with_extension.as_deref(),
        Property::WwnVendorExtension => disk.wwn_vendor_extension.as_deref(),
        Property::ByPath => disk.by_path.as_deref(),
        Property::Hctl => disk.hctl.as_deref(),
        Property::Size | Property::Rotational => None,
    }
}

fn holds(property: Property, test: &Test, disk: &Disk) -> bool {
    match (property, test) {
        // Whole GiB, as Ironic compares.
        #[expect(clippy::cast_precision_loss, reason = "a size in GiB has far fewer than 53 bits")]
        (Property::Size, Test::Number(order, wanted)) => compare(*order, (disk.size / GIB) as f64, *wanted),
        (Property::Rotational, Test::Flag(wanted)) => disk.rotational == Some(*wanted),
        (property, test) => {
            let Some(text) = text_of(property, disk).map(str::to_lowercase) else {
                return false;
            };
            match test {
                Test::Text(order, wanted) => compare(*order, text.as_str(), wanted.as_str()),
                Test::Number(order, wanted) => {
                    text.trim().parse::<f64>().is_ok_and(|number| compare(*order, number, *wanted))
                }
                Test::Contains(part) => text.contains(part.as_str()),
                Test::AllOf(parts) => parts.iter().all(|part| text.contains(part.as_str())),
                Test::AnyOf(texts) => texts.contains(&text),
                Test::Flag(_) => false,
            }
        }
    }
}

fn compare<T: PartialOrd>(order: Order, found: T, wanted: T) -> bool {
    match order {
        Order::Equal => found == wanted,
        Order::NotEqual => found != wanted,
        Order::Less => found < wanted,
        Order::LessOrEqual => found <= wanted,
        Order::Greater => found > wanted,
        Order::GreaterOrEqual => found >= wanted,
    }
}

/// Longest first, so that `>=` is not taken for `>`. A lone `=` means "at least", as in oslo.utils.
const NUMBER_OPERATORS: [(&str, Order); 7] = [
    ("==", Order::Equal),
    ("!=", Order::NotEqual),
    (">=", Order::GreaterOrEqual),
    ("<=", Order::LessOrEqual),
    ("=", Order::GreaterOrEqual),
    (">", Order::Greater),
    ("<", Order::Less),
];
const TEXT_OPERATORS: [(&str, Order); 6] = [
    ("s==", Order::Equal),
    ("s!=", Order::NotEqual),
    ("s>=", Order::GreaterOrEqual),
    ("s<=", Order::LessOrEqual),
    ("s>", Order::Greater),
    ("s<", Order::Less),
];

fn number_test(text: &str) -> Option<Test> {
    let found = NUMBER_OPERATORS.iter().find_map(|(sign, order)| Some((*order, text.strip_prefix(sign)?)));
    let (order, number) = found.unwrap_or((Order::Equal, text));
    let number = number.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    Some(Test::Number(order, number))
}

fn text_test(text: &str) -> Option<Test> {
    let lower = text.to_lowercase();
    let filled = |part: &str| Some(part.trim().to_owned()).filter(|part| !part.is_empty());
    if let Some(rest) = lower.strip_prefix("<in>") {
        return Some(Test::Contains(filled(rest)?));
    }
    if let Some(rest) = lower.strip_prefix("<all-in>") {
        return Some(Test::AllOf(
            Some(rest.split_whitespace().map(str::to_owned).collect()).filter(|all: &Vec<_>| !all.is_empty())?,
        ));
    }
    if let Some(rest) = lower.strip_prefix("<or>") {
        return Some(Test::AnyOf(rest.split("<or>").map(filled).collect::<Option<_>>()?));
    }
    for (sign, order) in TEXT_OPERATORS {
        if let Some(rest) = lower.strip_prefix(sign) {
            return Some(Test::Text(order, filled(rest)?));
        }
    }
    for (sign, _) in NUMBER_OPERATORS {
        if lower.strip_prefix(sign).is_some_and(|rest| rest.starts_with(' ')) {
            return number_test(&lower);
        }
    }
    Some(Test::Text(Order::Equal, filled(&lower)?))
}

/// Chooses the disk for an image of `needed` bytes: of the disks that pass every hint, the smallest that is large
/// enough; without hints none that is removable.
///
/// # Errors
/// When none is right; the reason names each disk and what speaks against it.
pub fn choose<'a>(disks: &'a [Found], hints: &Hints, needed: u64) -> Result<&'a Found, HintError> {
    if disks.is_empty() {
        return Err(HintError::NoDisk);
    }
    let objection = |found: &Found| {
        if found.read_only {
            return Some("it is write-protected".to_owned());
        }
        if let Some(objection) = hints.objection(&found.disk) {
            return Some(objection);
        }
        if hints.0.is_empty() && found.removable {
            return Some("it is removable".to_owned());
        }
        (found.disk.size < needed).then(|| format!("its {} bytes are fewer than the {needed} needed", found.disk.size))
    };
    let fitting = disks.iter().filter(|found| objection(found).is_none());
    fitting.min_by(|a, b| (a.disk.size, &a.disk.name).cmp(&(b.disk.size, &b.disk.name))).ok_or_else(|| {
        let reasons = disks.iter().filter_map(|found| Some(format!("{}: {}", found.disk.name, objection(found)?)));
        HintError::NoneFits(reasons.collect::<Vec<_>>().join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn found(name: &str, gib: u64, rotational: bool) -> Found {
        let disk = Disk {
            name: format!("/dev/{name}"),
            model: Some("ACME Fast 100".to_owned()),
            serial: Some(format!("S-{name}")),
            vendor: Some("ACME".to_owned()),
            wwn: Some("0x5000c500a1b2c3d4".to_owned()),
            size: gib * GIB,
            rotational: Some(rotational),
            ..Disk::default()
        };
        Found { disk, removable: false, read_only: false }
    }

    fn chosen(hints: Value, needed: u64) -> Result<String, HintError> {
        let mut disks = vec![found("sda", 2000, true), found("sdb", 10, false), found("nvme0n1", 500, false)];
        disks.push(Found { removable: true, ..found("sdc", 4, false) });
        let hints = Hints::parse(hints.as_object().unwrap())?;
        choose(&disks, &hints, needed).map(|found| found.disk.name.clone())
    }

    #[test]
    fn without_hints_the_smallest_that_fits() {
        assert_eq!(chosen(json!({}), GIB).unwrap(), "/dev/sdb");
        assert_eq!(chosen(json!({}), 10 * GIB + 1).unwrap(), "/dev/nvme0n1");
        let refused = chosen(json!({}), 3000 * GIB).unwrap_err().to_string();
        assert!(
            refused.contains("/dev/sda: its 2147483648000 bytes are fewer")
                && refused.contains("/dev/sdc: it is removable"),
            "{refused}"
        );
    }

    #[test]
    fn hints_choose() {
        for (hints, want) in [
            (json!({"name": "/dev/sdc"}), "/dev/sdc"),
            (json!({"size": ">= 100"}), "/dev/nvme0n1"),
            (json!({"size": 2000}), "/dev/sda"),
            (json!({"size": "> 10", "rotational": true}), "/dev/sda"),
            (json!({"rotational": "true"}), "/dev/sda"),
            (json!({"serial": "s== s-NVME0n1"}), "/dev/nvme0n1"),
            (json!({"serial": "<or> S-x <or> S-sda"}), "/dev/sda"),
            (json!({"model": "<in> fast", "size": "<= 10", "name": "s!= /dev/sdc"}), "/dev/sdb"),
            (json!({"model": "<all-in> acme 100", "name": "s>= /dev/sdb", "size": ">5"}), "/dev/sdb"),
            (json!({"wwn": "0x5000C500A1B2C3D4", "size": "== 500"}), "/dev/nvme0n1"),
        ] {
            assert_eq!(chosen(hints.clone(), 1).as_deref(), Ok(want), "{hints}");
        }
    }

    #[test]
    fn a_hint_that_cannot_be_read_stops_everything() {
        for hints in [
            json!({"colour": "red"}),
            json!({"size": "big"}),
            json!({"rotational": "maybe"}),
            json!({"model": null}),
            json!({"model": "s=="}),
            json!({"size": "-1"}),
        ] {
            assert!(chosen(hints.clone(), 1).is_err(), "{hints}");
        }
        assert!(matches!(chosen(json!({"serial": "none-such"}), 1), Err(HintError::NoneFits(_))));
        assert_eq!(choose(&[], &Hints::default(), 1), Err(HintError::NoDisk));
    }

    #[test]
    fn the_instances_hints_go_first() {
        let node = |name: &str| json!({"root_device": {"name": name}}).as_object().unwrap().clone();
        let hints = Hints::of_node(&node("/dev/sda"), &node("/dev/sdb")).unwrap();
        assert_eq!(choose(&[found("sda", 9, false), found("sdb", 9, false)], &hints, 1).unwrap().disk.name, "/dev/sda");
    }

    proptest! {
        #[test]
        fn any_hint_is_survived(key in "name|model|size|rotational|wwn", value in ".{0,40}") {
            let mut hints = Map::new();
            hints.insert(key, Value::String(value));
            if let Ok(hints) = Hints::parse(&hints) {
                let _ = choose(&[found("sda", 9, false)], &hints, 1);
            }
        }
    }
}
