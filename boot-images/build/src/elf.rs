//! The little of ELF this tool reads: sections by name, needed libraries, whether a program is static.
//!
//! In: the bytes of a 64-bit little-endian ELF file (System V ABI, chapters 4 and 5).
//! Out: slices and strings of it; anything malformed is an error, never a panic.
//! Kernel modules carry their description in the section `.modinfo`; programs name their libraries in `.dynamic`.
//! Only reading, and only what is asked for: no relocation, no symbols.
//! Offsets are checked against the length of the file at each step.

/// Why the bytes could not be read as the ELF file they should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ElfError {
    #[error("not a 64-bit little-endian ELF file")]
    NotElf,
    #[error("the ELF file is cut short or its tables point outside of it")]
    Truncated,
}

const SECTION_HEADER_SIZE: u64 = 64;
const PROGRAM_HEADER_SIZE: u64 = 56;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;

/// A 64-bit little-endian ELF file.
pub(crate) struct Elf<'a> {
    bytes: &'a [u8],
}

impl<'a> Elf<'a> {
    /// Takes the bytes of a file after a look at its identification.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, ElfError> {
        // EI_CLASS = ELFCLASS64, EI_DATA = ELFDATA2LSB.
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01".as_slice()) || bytes.len() < 64 {
            return Err(ElfError::NotElf);
        }
        Ok(Self { bytes })
    }

    /// The contents of the section `name`, if there is one.
    pub(crate) fn section(&self, name: &str) -> Result<Option<&'a [u8]>, ElfError> {
        let table = self.u64(0x28)?;
        let entry_size = u64::from(self.u16(0x3a)?);
        let count = u64::from(self.u16(0x3c)?);
        let names_index = u64::from(self.u16(0x3e)?);
        if count == 0 {
            return Ok(None);
        }
        if entry_size != SECTION_HEADER_SIZE || names_index >= count {
            return Err(ElfError::Truncated);
        }
        let header = |index: u64| table.checked_add(index * SECTION_HEADER_SIZE).ok_or(ElfError::Truncated);
        let names = self.slice(self.u64_in(header(names_index)?, 0x18)?, self.u64_in(header(names_index)?, 0x20)?)?;
        for index in 0..count {
            let header = header(index)?;
            let start = self.u32(header)? as usize;
            if c_string(names, start) == Some(name.as_bytes()) {
                return self.slice(self.u64_in(header, 0x18)?, self.u64_in(header, 0x20)?).map(Some);
            }
        }
        Ok(None)
    }

    /// The libraries a dynamic program or library asks for (`DT_NEEDED`), in their order.
    pub(crate) fn needed(&self) -> Result<Vec<String>, ElfError> {
        let (Some(dynamic), Some(strings)) = (self.section(".dynamic")?, self.section(".dynstr")?) else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in dynamic.chunks_exact(16) {
            let (tag, value) = entry.split_at(8);
            match little_endian(tag) {
                DT_NULL => break,
                DT_NEEDED => {
                    let start = usize::try_from(little_endian(value)).map_err(|_| ElfError::Truncated)?;
                    let name = c_string(strings, start).ok_or(ElfError::Truncated)?;
                    names.push(String::from_utf8_lossy(name).into_owned());
                }
                _ => {}
            }
        }
        Ok(names)
    }

    /// Whether the program starts without a dynamic loader.
    pub(crate) fn is_static(&self) -> Result<bool, ElfError> {
        let table = self.u64(0x20)?;
        let count = u64::from(self.u16(0x38)?);
        for index in 0..count {
            let header = table.checked_add(index * PROGRAM_HEADER_SIZE).ok_or(ElfError::Truncated)?;
            if self.u32(header)? == PT_INTERP {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn slice(&self, offset: u64, length: u64) -> Result<&'a [u8], ElfError> {
        let start = usize::try_from(offset).map_err(|_| ElfError::Truncated)?;
        let length = usize::try_from(length).map_err(|_| ElfError::Truncated)?;
        let end = start.checked_add(length).ok_or(ElfError::Truncated)?;
        self.bytes.get(start..end).ok_or(ElfError::Truncated)
    }

    fn u16(&self, offset: u64) -> Result<u16, ElfError> {
        self.slice(offset, 2).map(|bytes| little_endian(bytes) as u16)
    }

    fn u32(&self, offset: u64) -> Result<u32, ElfError> {
        self.slice(offset, 4).map(|bytes| little_endian(bytes) as u32)
    }

    fn u64(&self, offset: u64) -> Result<u64, ElfError> {
        self.slice(offset, 8).map(little_endian)
    }

    fn u64_in(&self, base: u64, field: u64) -> Result<u64, ElfError> {
        self.u64(base.checked_add(field).ok_or(ElfError::Truncated)?)
    }
}

/// The bytes from `start` up to the next zero byte.
fn c_string(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let rest = bytes.get(start..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A minimal ELF file with the given sections and no program headers.
    pub(crate) fn with_sections(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut names = vec![0_u8];
        let mut body = Vec::new();
        let mut headers = vec![0_u8; 64];
        let all: Vec<(&str, &[u8])> = sections.iter().copied().chain([(".shstrtab", b"".as_slice())]).collect();
        let starts: Vec<usize> = all
            .iter()
            .map(|(name, _)| {
                let start = names.len();
                names.extend_from_slice(name.as_bytes());
                names.push(0);
                start
            })
            .collect();
        for ((name, data), start) in all.iter().zip(&starts) {
            let data = if *name == ".shstrtab" { names.as_slice() } else { data };
            let mut header = vec![0_u8; 64];
            header[..4].copy_from_slice(&(*start as u32).to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(data.len() as u64).to_le_bytes());
            body.extend_from_slice(data);
            headers.extend(header);
        }
        let mut file = vec![0_u8; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28..0x30].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        file[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&((all.len() + 1) as u16).to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&(all.len() as u16).to_le_bytes());
        file.extend(body);
        file.extend(headers);
        file
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let file = with_sections(&[(".text", b"code"), (".modinfo", b"license=GPL\0")]);
        let elf = Elf::new(&file).unwrap();
        assert_eq!(elf.section(".modinfo").unwrap(), Some(b"license=GPL\0".as_slice()));
        assert_eq!(elf.section(".bss").unwrap(), None);
        assert!(elf.is_static().unwrap());
    }

    #[test]
    fn needed_libraries_are_listed_up_to_the_end_mark() {
        let strings = b"\0libz.so.1\0libc.so.6\0";
        let mut dynamic = Vec::new();
        for (tag, value) in [(1_u64, 1_u64), (5, 9), (1, 11), (0, 0), (1, 1)] {
            dynamic.extend_from_slice(&tag.to_le_bytes());
            dynamic.extend_from_slice(&value.to_le_bytes());
        }
        let file = with_sections(&[(".dynstr", strings), (".dynamic", &dynamic)]);
        assert_eq!(Elf::new(&file).unwrap().needed().unwrap(), ["libz.so.1", "libc.so.6"]);
    }

    #[test]
    fn this_test_program_reads_itself() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::new(&bytes).unwrap();
        assert!(elf.section(".text").unwrap().is_some_and(|text| !text.is_empty()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = b"\x7fELF\x02\x01".to_vec();
            bytes.extend(tail);
            if let Ok(elf) = Elf::new(&bytes) {
                let _ = elf.section(".modinfo");
                let _ = elf.needed();
                let _ = elf.is_static();
            }
        }

        #[test]
        fn a_damaged_file_never_panics(at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
            let mut file = with_sections(&[(".dynstr", b"\0a\0"), (".dynamic", &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])]);
            let length = file.len();
            file[at % length] = byte;
            file.truncate(length - cut % length);
            if let Ok(elf) = Elf::new(&file) {
                let _ = elf.section(".modinfo");
                let _ = elf.needed();
                let _ = elf.is_static();
            }
        }
    }
}
