//! The stored entries of a zip archive, as PyTorch writes them: where each one's bytes lie. Compressed entries are refused,
//! because tensors are read in place.
//!
//! Layout: PKWARE's APPNOTE, 4.3. The end record names the central directory; files past 4 GiB have a zip64 end record too.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::{Result, error};
use super::file::Cursor;

const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const END_BYTES: usize = 22;
const LOCATOR64_BYTES: usize = 20;

pub fn recognise(bytes: &[u8]) -> bool {
    bytes.starts_with(&LOCAL)
}

/// Every entry's name and the range of its bytes.
pub fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>> {
    let (count, start) = directory(bytes)?;
    let mut cursor = at(bytes, start)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let (name, range) = entry(bytes, &mut cursor)?;
        if entries.insert(name.clone(), range).is_some() {
            return Err(error!("zip entry {name}: is there twice"));
        }
    }
    Ok(entries)
}

/// How many entries the central directory has, and where it begins.
fn directory(bytes: &[u8]) -> Result<(u64, u64)> {
    // The end record is the last thing in a file but for a comment of up to 64 KiB.
    let last = bytes.len().checked_sub(END_BYTES).ok_or_else(|| error!("is too short to be a zip archive"))?;
    let end = (last.saturating_sub(0xffff)..=last)
        .rev()
        .find(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(&END)))
        .ok_or_else(|| error!("has no zip directory at its end (truncated?)"))?;
    let mut cursor = at(bytes, end as u64)?;
    cursor.take(8)?;
    let _here = cursor.u16()?;
    let count = u64::from(cursor.u16()?);
    let _size = cursor.u32()?;
    let start = u64::from(cursor.u32()?);
    let locator = end.checked_sub(LOCATOR64_BYTES).and_then(|at| bytes.get(at..end));
    match locator {
        Some(locator) if locator.starts_with(&LOCATOR64) => directory64(bytes, locator),
        _ => Ok((count, start)),
    }
}

fn directory64(bytes: &[u8], locator: &[u8]) -> Result<(u64, u64)> {
    let mut cursor = Cursor::new(locator);
    cursor.take(8)?;
    let mut cursor = at(bytes, cursor.u64()?)?;
    if cursor.array()? != END64 {
        return Err(error!("its zip64 end record is not where it should be"));
    }
    cursor.take(28)?;
    let count = cursor.u64()?;
    let _size = cursor.u64()?;
    Ok((count, cursor.u64()?))
}

/// One entry of the central directory.
fn entry(bytes: &[u8], cursor: &mut Cursor) -> Result<(String, Range<usize>)> {
    if cursor.array()? != CENTRAL {
        return Err(error!("its zip directory is damaged"));
    }
    cursor.take(4)?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    cursor.take(8)?;
    let (packed, size) = (cursor.u32()?, cursor.u32()?);
    let (name_len, extra_len, comment_len) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    cursor.take(8)?;
    let local = cursor.u32()?;
    let name = String::from_utf8_lossy(cursor.take(name_len.into())?).into_owned();
    let extra = cursor.take(extra_len.into())?;
    cursor.take(comment_len.into())?;
    let fault = |e: super::CheckpointError| e.at(format_args!("zip entry {name}"));
    if flags & 1 != 0 || method != 0 {
        return Err(fault(error!("is compressed or encrypted; only stored entries can be read in place")));
    }
    let [size, packed, local] = wide(extra, [size, packed, local]).map_err(fault)?;
    if size != packed {
        return Err(fault(error!("is stored in {packed} bytes, but {size} long")));
    }
    let range = data(bytes, local, size).map_err(fault)?;
    Ok((name, range))
}

/// Fields that are too large for 32 bits are in the zip64 extra field, in this order.
fn wide(extra: &[u8], narrow: [u32; 3]) -> Result<[u64; 3]> {
    let mut wide = narrow.map(u64::from);
    let mut cursor = Cursor::new(extra);
    while narrow.contains(&u32::MAX) && cursor.remaining() >= 4 {
        let (id, len) = (cursor.u16()?, cursor.u16()?);
        let mut field = Cursor::new(cursor.take(len.into())?);
        if id == 1 {
            for (wide, _) in wide.iter_mut().zip(narrow).filter(|(_, narrow)| *narrow == u32::MAX) {
                *wide = field.u64()?;
            }
            break;
        }
    }
    Ok(wide)
}

/// Where the bytes of an entry lie: after its local header.
fn data(bytes: &[u8], local: u64, size: u64) -> Result<Range<usize>> {
    let mut cursor = at(bytes, local)?;
    if cursor.array()? != LOCAL {
        return Err(error!("its header is not where the directory says"));
    }
    cursor.take(22)?;
    let (name, extra) = (cursor.u16()?, cursor.u16()?);
    cursor.take(usize::from(name) + usize::from(extra))?;
    let len = usize::try_from(size).map_err(|_| error!("is too long"))?;
    cursor.take(len)?;
    // The cursor began at `local`.
    let end = local as usize + cursor.position();
    Ok(end - len..end)
}

fn at(bytes: &[u8], offset: u64) -> Result<Cursor<'_>> {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
    rest.map(Cursor::new).ok_or_else(|| error!("byte {offset} is beyond the end (truncated?)"))
}
