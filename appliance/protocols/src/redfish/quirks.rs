//! Where BMCs differ from the standard, as data: one row per family, the first that fits counts.

use super::root::ServiceRoot;
use super::system::ComputerSystem;

/// How a BMC has to be treated. The default is what the standard says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// The family's name, for logs; empty for a BMC without quirks.
    pub family: &'static str,
    /// A `Once` override reads back as `Continuous` and is nevertheless meant once.
    pub once_reads_as_continuous: bool,
    /// Without the firmware mode in the same request a new boot target falls back to legacy mode.
    pub mode_with_every_target: bool,
}

struct Row {
    /// Lower-case texts that must occur in the vendor or manufacturer, the product, and the system's model.
    vendor: &'static str,
    product: &'static str,
    model: &'static str,
    quirks: Quirks,
}

const PLAIN: Quirks = Quirks { family: "", once_reads_as_continuous: false, mode_with_every_target: false };

const TABLE: &[Row] = &[
    Row {
        vendor: "sushy emulator",
        product: "",
        model: "",
        quirks: Quirks { family: "sushy-tools", once_reads_as_continuous: true, ..PLAIN },
    },
    Row {
        vendor: "supermicro",
        product: "",
        model: "",
        quirks: Quirks { family: "Supermicro", mode_with_every_target: true, ..PLAIN },
    },
];

/// The quirks of the BMC with this root and system.
pub fn quirks_of(root: Option<&ServiceRoot>, system: Option<&ComputerSystem>) -> Quirks {
    let lower = |texts: &[Option<&String>]| {
        texts.iter().flatten().map(|text| text.to_ascii_lowercase()).collect::<Vec<_>>().join("\n")
    };
    let vendor =
        lower(&[root.and_then(|root| root.vendor.as_ref()), system.and_then(|system| system.manufacturer.as_ref())]);
    let product = lower(&[root.and_then(|root| root.product.as_ref())]);
    let model = lower(&[system.and_then(|system| system.model.as_ref())]);
    TABLE
        .iter()
        .find(|row| vendor.contains(row.vendor) && product.contains(row.product) && model.contains(row.model))
        .map_or(PLAIN, |row| row.quirks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_known_by_root_or_system() {
        let root = ServiceRoot { vendor: Some("Supermicro".to_owned()), ..Default::default() };
        let system = ComputerSystem { manufacturer: Some("Sushy Emulator".to_owned()), ..Default::default() };
        assert!(quirks_of(Some(&root), None).mode_with_every_target);
        assert!(quirks_of(None, Some(&system)).once_reads_as_continuous);
        assert_eq!(quirks_of(Some(&ServiceRoot::default()), None), Quirks::default());
        assert_eq!(quirks_of(None, None), Quirks::default());
    }

    #[test]
    fn no_row_fits_everything() {
        for row in TABLE {
            assert!(
                !(row.vendor.is_empty() && row.product.is_empty() && row.model.is_empty()),
                "{}",
                row.quirks.family
            );
            assert_ne!(row.quirks.family, "");
        }
    }
}
