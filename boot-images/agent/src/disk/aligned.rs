//! Memory that a disk reads into and writes from by itself, without a copy in the page cache.

use std::ops::{Deref, DerefMut};

/// What addresses, offsets and lengths of direct transfers are multiples of, in bytes: a page, and so the sectors of
/// every disk that the kernel supports.
pub(super) const PAGE: usize = 4096;

/// A buffer that begins on a page; its length can change within what it was made for.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Room for up to `most` bytes; zeros, and empty at first.
    #[must_use]
    pub fn new(most: usize) -> Aligned {
        let memory = vec![0u8; most + PAGE];
        // The memory never grows, so the start stays where it is.
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Aligned { memory, start, length: 0 }
    }

    /// Makes it `length` bytes long, or as long as it can be; what is in them is left over from before.
    pub fn set_length(&mut self, length: usize) {
        self.length = length.min(self.memory.len() - PAGE);
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_page_and_stays_within_its_room() {
        for most in [0, 1, 511, PAGE, 100_000] {
            let mut buffer = Aligned::new(most);
            assert!(buffer.is_empty());
            buffer.set_length(most);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % PAGE), (most, 0));
            buffer.set_length(most + 1);
            assert_eq!(buffer.len(), most);
            buffer.fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }
}
