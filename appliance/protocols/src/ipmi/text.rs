//! Texts of IPMI: the type/length encoding of names in sensor and FRU records (43.15, FRU 13), and the names of units.

use ipmi_rs_core::storage::sdr::Unit;

/// How the bytes of a name are to be read (bits 7:6 of its type/length byte).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Sensors: "Unicode", in practice UTF-8; FRU: binary.
    Zero,
    BcdPlus,
    SixBit,
    Latin1,
}

impl Encoding {
    pub fn from_type_length(byte: u8) -> Encoding {
        match byte >> 6 {
            0 => Encoding::Zero,
            1 => Encoding::BcdPlus,
            2 => Encoding::SixBit,
            _ => Encoding::Latin1,
        }
    }
}

/// Reads a name; control characters and the padding around it are left away.
pub fn decode(encoding: Encoding, bytes: &[u8]) -> String {
    let text = match encoding {
        Encoding::Zero => String::from_utf8_lossy(bytes).into_owned(),
        Encoding::BcdPlus => bcd_plus(bytes),
        Encoding::SixBit => six_bit(bytes),
        Encoding::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let clean: String = text.chars().take_while(|c| *c != '\0').filter(|c| !c.is_control()).collect();
    clean.trim().to_owned()
}

fn bcd_plus(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789 -.:,_";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn six_bit(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits |= u32::from(*byte) << count;
        count += 8;
        while count >= 6 {
            text.push(char::from((bits & 0x3f) as u8 + 0x20));
            bits >>= 6;
            count -= 6;
        }
    }
    text
}

/// The name of a sensor's unit (table 43-15): those that people meet in full, the others by their symbol.
pub fn unit(code: u8) -> String {
    match code {
        0 => String::new(),
        1 => "Celsius".into(),
        2 => "Fahrenheit".into(),
        3 => "Kelvin".into(),
        18 => "RPM".into(),
        19 => "Hz".into(),
        _ => Unit::from(code).display(true, 1u8).trim_start_matches("1 ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_encodings_read_as_specified() {
        assert_eq!(decode(Encoding::Latin1, b"CPU Temp \0\0x"), "CPU Temp");
        assert_eq!(decode(Encoding::Latin1, &[b'f', 0xfc, b'r']), "für");
        assert_eq!(decode(Encoding::BcdPlus, &[0x12, 0x3b, 0xc4]), "123-.4");
        // "IPMI" in packed six-bit ASCII, the example of the specification.
        assert_eq!(decode(Encoding::SixBit, &[0x29, 0xdc, 0xa6]), "IPMI");
    }

    #[test]
    fn units_have_the_names_of_the_drivers_contract() {
        let names: Vec<String> = [1, 18, 4, 6, 5].into_iter().map(unit).collect();
        assert_eq!(names, ["Celsius", "RPM", "V", "W", "A"]);
        assert_eq!(unit(0), "");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind: u8) {
            let text = decode(Encoding::from_type_length(kind), &bytes);
            prop_assert!(!text.chars().any(char::is_control));
            let _ = unit(kind);
        }
    }
}
