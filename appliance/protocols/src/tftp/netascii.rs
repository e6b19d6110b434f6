//! Netascii (RFC 1350, RFC 764): text on the wire ends its lines in CR LF, and a lone CR is sent as CR NUL.
//!
//! Translation changes lengths, so the place of a block in the file cannot be computed: a [`Cursor`] remembers it.
//! The sender keeps the cursor of the last acknowledged block and translates forward from there when it goes back.

/// A place in a file under translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// Bytes of the file consumed.
    offset: usize,
    /// The second byte of a pair whose first ended the block before.
    pending: Option<u8>,
    /// Bytes produced so far.
    pub(super) produced: u64,
}

/// Translates up to `blksize` bytes from `cursor` on, hands them to `put`, moves the cursor, returns their number.
/// Fewer than `blksize` means that this block is the last.
pub(super) fn encode_block(content: &[u8], cursor: &mut Cursor, blksize: u16, mut put: impl FnMut(u8)) -> u16 {
    let mut length = 0;
    while length < blksize {
        let byte = if let Some(byte) = cursor.pending.take() {
            byte
        } else if let Some(byte) = content.get(cursor.offset) {
            cursor.offset += 1;
            match byte {
                b'\n' => {
                    cursor.pending = Some(b'\n');
                    b'\r'
                }
                b'\r' => {
                    cursor.pending = Some(0);
                    b'\r'
                }
                other => *other,
            }
        } else {
            break;
        };
        put(byte);
        length += 1;
    }
    cursor.produced += u64::from(length);
    length
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The receiving side, to check the sending one.
    pub(crate) fn decode(wire: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = wire.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' => match bytes.next() {
                    Some(b'\n') => out.push(b'\n'),
                    Some(0) => out.push(b'\r'),
                    other => panic!("CR followed by {other:?}"),
                },
                other => out.push(other),
            }
        }
        out
    }

    #[test]
    fn a_pair_may_be_split_between_blocks() {
        let mut cursor = Cursor::default();
        let mut out = Vec::new();
        assert_eq!(encode_block(b"abc\nd\r", &mut cursor, 4, |byte| out.push(byte)), 4);
        assert_eq!(out, b"abc\r");
        assert_eq!(encode_block(b"abc\nd\r", &mut cursor, 4, |byte| out.push(byte)), 4);
        assert_eq!(encode_block(b"abc\nd\r", &mut cursor, 4, |byte| out.push(byte)), 0);
        assert_eq!(out, b"abc\r\nd\r\0");
        assert_eq!(cursor.produced, 8);
    }

    proptest! {
        #[test]
        fn text_comes_back_whatever_the_block_size(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..300),
            blksize in 8u16..40,
        ) {
            let mut cursor = Cursor::default();
            let mut wire = Vec::new();
            while encode_block(&text, &mut cursor, blksize, |byte| wire.push(byte)) == blksize {}
            prop_assert_eq!(wire.len() as u64, cursor.produced);
            prop_assert_eq!(decode(&wire), text);
        }
    }
}
