//! What an ELF file says of itself, read before the system's loader maps it: that it is for this machine, is whole, and is an
//! artifact of an ABI that this runtime has. Everything is bounded by the file's bytes.

use super::abi::{MAJOR, MINOR, NOTE_BYTES, NOTE_OWNER, NOTE_TYPE};
use crate::{Error, ErrorKind, Result};

pub const MAGIC: [u8; 4] = *b"\x7fELF";
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const MAX_SEGMENTS: usize = 64;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

const MACHINES: [(u16, &str); 2] = [(62, "x86_64"), (183, "aarch64")];

struct Segment<'a> {
    kind: u32,
    /// None where it runs past the file.
    bytes: Option<&'a [u8]>,
}

/// Refuses what the system's loader should not see.
pub fn check(file: &[u8]) -> Result<()> {
    let segments = segments(file)?;
    for (i, segment) in segments.iter().enumerate() {
        if segment.bytes.is_none() {
            return Err(Error::invalid_file(format!("the file is truncated: segment {i} runs past its end")));
        }
    }
    if !segments.iter().any(|segment| segment.kind == PT_LOAD) {
        return Err(Error::invalid_file("the shared object has nothing to load"));
    }
    let notes = segments.iter().filter(|segment| segment.kind == PT_NOTE).filter_map(|segment| segment.bytes);
    let Some(note) = notes.filter_map(find_note).next() else {
        return Err(Error::invalid_file("a shared object, but not a model: it has no note of this runtime's"));
    };
    check_version(u16::from_le_bytes([note[0], note[1]]), u16::from_le_bytes([note[2], note[3]]))
}

pub fn check_version(major: u16, minor: u16) -> Result<()> {
    if major == MAJOR && (0..=MINOR).contains(&minor) {
        return Ok(());
    }
    let message = format!("made for ABI {major}.{minor}, this runtime has {MAJOR}.{MINOR}");
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn segments(file: &[u8]) -> Result<Vec<Segment<'_>>> {
    let Some(header) = file.first_chunk::<HEADER_BYTES>().filter(|header| header.starts_with(&MAGIC)) else {
        return Err(Error::invalid_file("the file is truncated: no whole ELF header"));
    };
    // Class, byte order, version.
    if header[4..7] != [2, 1, 1] {
        return Err(Error::new(ErrorKind::Unsupported, "not a 64-bit little-endian ELF file"));
    }
    let machine = half(header, 18);
    if MACHINES.iter().all(|(number, name)| *number != machine || *name != std::env::consts::ARCH) {
        let theirs = MACHINES.iter().find(|(number, _)| *number == machine);
        let theirs = theirs.map_or_else(|| format!("machine {machine}"), |(_, name)| (*name).to_owned());
        let message = format!("made for {theirs}, this machine is {}", std::env::consts::ARCH);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if half(header, 16) != ET_DYN {
        return Err(Error::invalid_file("not a shared object"));
    }
    let (offset, size, count) = (word(header, 32), half(header, 54), usize::from(half(header, 56)));
    if usize::from(size) != PROGRAM_HEADER_BYTES || count > MAX_SEGMENTS {
        return Err(Error::invalid_file(format!("{count} program headers of {size} bytes")));
    }
    let table = part(file, offset, (count * PROGRAM_HEADER_BYTES) as u64);
    let table = table.ok_or_else(|| Error::invalid_file("the file is truncated: no whole program headers"))?;
    Ok(table.as_chunks::<PROGRAM_HEADER_BYTES>().0.iter().map(|entry| segment(file, entry)).collect())
}

fn segment<'a>(file: &'a [u8], entry: &[u8; PROGRAM_HEADER_BYTES]) -> Segment<'a> {
    let kind = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
    Segment { kind, bytes: part(file, word(entry, 8), word(entry, 32)) }
}

/// The descriptor of this runtime's note, where it is among these notes.
fn find_note(mut notes: &[u8]) -> Option<[u8; NOTE_BYTES]> {
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let field = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (owner_size, size) = (field(0) as usize, field(4) as usize);
        let owner = rest.get(..owner_size)?;
        let rest = rest.get(owner_size.checked_next_multiple_of(4)?..)?;
        if owner == NOTE_OWNER && field(8) == NOTE_TYPE {
            return rest.first_chunk().copied().filter(|_| size >= NOTE_BYTES);
        }
        notes = rest.get(size.checked_next_multiple_of(4)?..)?;
    }
}

fn part(file: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let (begin, end) = (usize::try_from(offset).ok()?, usize::try_from(offset.checked_add(size)?).ok()?);
    file.get(begin..end)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
