//! The inventory of a field-replaceable unit (FRU information storage definition v1.0): who made the machine, what it
//! is, its serial number. Read from the product area, and from the board area where the product area says nothing.

use super::text::{self, Encoding};

/// Bytes of the common header, which says where the areas are.
pub const HEADER: usize = 8;
/// No area is longer than its length byte can say.
pub const AREA_MAX: usize = 255 * 8;

/// Where the board and product areas begin, in bytes; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Areas {
    pub board: Option<usize>,
    pub product: Option<usize>,
}

/// What an area says; empty fields are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub manufacturer: Option<String>,
    pub product: Option<String>,
    pub serial: Option<String>,
    pub part: Option<String>,
}

impl Names {
    /// These names, and those of `other` where there are none.
    pub fn or(self, other: Names) -> Names {
        Names {
            manufacturer: self.manufacturer.or(other.manufacturer),
            product: self.product.or(other.product),
            serial: self.serial.or(other.serial),
            part: self.part.or(other.part),
        }
    }
}

/// Reads the common header; `None` when the storage holds no FRU information (an unwritten EEPROM, say).
pub fn areas(header: &[u8]) -> Option<Areas> {
    let header: &[u8; HEADER] = header.first_chunk()?;
    let sum = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if header[0] & 0x0f != 1 || sum != 0 {
        return None;
    }
    let at = |units: u8| (units != 0).then(|| usize::from(units) * 8);
    Some(Areas { board: at(header[3]), product: at(header[4]) })
}

/// The length of the area that begins with these bytes.
pub fn area_len(start: &[u8]) -> Option<usize> {
    let [version, units, ..] = start else { return None };
    (version & 0x0f == 1 && *units != 0).then(|| usize::from(*units) * 8)
}

/// The names in a board area. Its checksum is not insisted on: boards with a wrong one are in the field, and the names
/// are only shown to people.
pub fn board(area: &[u8]) -> Names {
    // Version, length, language, three bytes of manufacturing date.
    let mut fields = fields(area, 6);
    Names { manufacturer: fields(), product: fields(), serial: fields(), part: fields() }
}

/// The names in a product area.
pub fn product(area: &[u8]) -> Names {
    let mut fields = fields(area, 3);
    let (manufacturer, product, part, _version, serial) = (fields(), fields(), fields(), fields(), fields());
    Names { manufacturer, product, serial, part }
}

/// The fields of an area one after the other; `None` for an empty one, and for all after the end mark 0xc1.
fn fields(area: &[u8], start: usize) -> impl FnMut() -> Option<String> {
    let mut rest = area.get(start..).unwrap_or_default();
    move || {
        let (head, tail) = rest.split_first()?;
        if *head == 0xc1 {
            rest = &[];
            return None;
        }
        let (value, tail) = tail.split_at_checked(usize::from(head & 0x3f)).unwrap_or_default();
        rest = tail;
        let encoding = Encoding::from_type_length(*head);
        let text = if encoding == Encoding::Zero {
            value.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            text::decode(encoding, value)
        };
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn area(head: &[u8], texts: &[&str]) -> Vec<u8> {
        let mut area = head.to_vec();
        for text in texts {
            area.push(0xc0 | text.len() as u8);
            area.extend(text.bytes());
        }
        area.push(0xc1);
        area.resize(area.len().next_multiple_of(8), 0);
        area[1] = (area.len() / 8) as u8;
        area
    }

    #[test]
    fn names_are_read_from_product_and_board() {
        let board_area = area(&[1, 0, 25, 0, 0, 0], &["ACME", "X11", "B-1", "P-1"]);
        let product_area = area(&[1, 0, 25], &["", "Server 9", "", "1.0", "S-9"]);
        assert_eq!(area_len(&board_area), Some(board_area.len()));
        let names = product(&product_area).or(board(&board_area));
        assert_eq!(names.manufacturer.as_deref(), Some("ACME"));
        assert_eq!(names.product.as_deref(), Some("Server 9"));
        assert_eq!(names.serial.as_deref(), Some("S-9"));
        assert_eq!(names.part.as_deref(), Some("P-1"));
    }

    #[test]
    fn nothing_comes_after_the_end_mark() {
        let mut cut = area(&[1, 0, 25, 0, 0, 0], &["ACME"]);
        cut.extend([0xc3, b'x', b'y', b'z']);
        assert_eq!(board(&cut), Names { manufacturer: Some("ACME".into()), ..Names::default() });
    }

    #[test]
    fn the_header_must_add_up() {
        assert_eq!(areas(&[1, 0, 0, 1, 8, 0, 0, 0xf6]), Some(Areas { board: Some(8), product: Some(64) }));
        assert_eq!(areas(&[1, 0, 0, 1, 8, 0, 0, 0]), None);
        assert_eq!(areas(&[0xff; 8]), None);
        assert_eq!(areas(&[1]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = areas(&bytes);
            let _ = area_len(&bytes);
            let _ = board(&bytes);
            let _ = product(&bytes);
        }
    }
}
