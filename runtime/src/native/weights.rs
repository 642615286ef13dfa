//! A file of weights beside an artifact: a header that says whose weights they are, then the weights.

use super::abi::{MAJOR, MINOR, WEIGHTS_HEADER_BYTES, WEIGHTS_MAGIC, WEIGHTS_OFFSET};
use crate::sys::Mapping;
use crate::{Error, Result};
use std::path::Path;

/// What a file of `size` bytes of weights known by `id` begins with.
pub fn encode_header(size: u64, id: &[u8; 16]) -> [u8; WEIGHTS_HEADER_BYTES] {
    let mut bytes = [0; WEIGHTS_HEADER_BYTES];
    bytes[..8].copy_from_slice(&WEIGHTS_MAGIC);
    bytes[8..10].copy_from_slice(&MAJOR.to_le_bytes());
    bytes[10..12].copy_from_slice(&MINOR.to_le_bytes());
    bytes[16..24].copy_from_slice(&size.to_le_bytes());
    bytes[24..40].copy_from_slice(id);
    bytes
}

/// Maps the file called `name` in the artifact's directory, which must be exactly the one that the artifact was made with.
pub(super) fn open(artifact: &Path, name: &str, size: u64, id: &[u8; 16]) -> Result<Mapping> {
    if name.is_empty() || name.contains(['/', '\0']) || name == ".." {
        return Err(Error::invalid_file(format!("'{}' is no name for a file of weights", name.escape_debug())));
    }
    let path = artifact.with_file_name(name);
    let place = |error: Error| error.in_place("its weights");
    let file = Mapping::open(&path).map_err(place)?;
    check(&file, size, id).map_err(|error| place(error.in_place(path.display())))?;
    Ok(file)
}

fn check(file: &[u8], size: u64, id: &[u8; 16]) -> Result<()> {
    let Some(header) = file.first_chunk::<WEIGHTS_HEADER_BYTES>().filter(|header| header[..8] == WEIGHTS_MAGIC) else {
        return Err(Error::invalid_file("not a file of weights"));
    };
    let expected = encode_header(size, id);
    if header[8..10] != expected[8..10] {
        let major = u16::from_le_bytes([header[8], header[9]]);
        return Err(Error::invalid_file(format!("format version {major}, this runtime reads {MAJOR}")));
    }
    if header[16..40] != expected[16..40] {
        return Err(Error::invalid_file("the weights of another export: its size or id is not the artifact's"));
    }
    let needed = WEIGHTS_OFFSET.saturating_add(size);
    if (file.len() as u64) < needed {
        return Err(Error::invalid_file(format!("the file is truncated: {} bytes instead of {needed}", file.len())));
    }
    Ok(())
}

/// The weights in a file that `open` has checked.
pub(super) fn of(file: &Mapping) -> &[u8] {
    file.get(WEIGHTS_OFFSET as usize..).unwrap_or_default()
}
