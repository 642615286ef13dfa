//! A bounded reader of flatbuffers: every offset, vtable, vector and string is checked before it is followed, nothing is allocated
//! from a length that was not. Tables are read field by field and never recursively, so cyclic offsets do no harm.
//!
//! The encoding: a table begins with an i32 that, subtracted from the table's position, gives its vtable; the vtable is u16s: its own
//! size, the table's size, then for each field its offset in the table (0: absent, the default). Strings, vectors and
//! sub-tables are reached through a u32 added to its own position; strings and vectors begin with a u32 count.

use crate::{Error, Result};

#[derive(Clone, Copy)]
struct Buffer<'a>(&'a [u8]);

/// One table of a flatbuffer.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    buffer: Buffer<'a>,
    at: usize,
    size: usize,
    /// The vtable's field entries.
    fields: &'a [u8],
}

/// A field: its number in the schema and its name for errors.
pub type Field = (usize, &'static str);

impl<'a> Buffer<'a> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N]> {
        let bytes = at.checked_add(N).and_then(|end| self.0.get(at..end));
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
            Error::invalid_file(format!("offset {at} lies outside the program's {} bytes", self.0.len()))
        })
    }

    fn u16(self, at: usize) -> Result<usize> {
        self.array(at).map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    fn u32(self, at: usize) -> Result<usize> {
        self.array(at).map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    /// Where the offset stored at `at` leads.
    fn follow(self, at: usize) -> Result<usize> {
        Ok(at.saturating_add(self.u32(at)?))
    }

    /// The elements of the vector at `at`.
    fn vector(self, at: usize, element: usize) -> Result<&'a [u8]> {
        let count = self.u32(at)?;
        let start = at.saturating_add(4);
        let end = count.checked_mul(element).and_then(|bytes| start.checked_add(bytes));
        end.and_then(|end| self.0.get(start..end)).ok_or_else(|| {
            Error::invalid_file(format!(
                "{count} elements at offset {at} run past the program's {} bytes",
                self.0.len()
            ))
        })
    }

    fn table(self, at: usize) -> Result<Table<'a>> {
        let back = i64::from(i32::from_le_bytes(self.array(at)?));
        let bad = |what: &str| Error::invalid_file(format!("the table at offset {at} has a bad {what}"));
        let vtable = usize::try_from(at as i64 - back).map_err(|_| bad("vtable offset"))?;
        let vtable_size = self.u16(vtable)?;
        let size = self.u16(vtable.saturating_add(2))?;
        if vtable_size < 4 || vtable_size % 2 != 0 {
            return Err(bad("vtable size"));
        }
        let fields = self.0.get(vtable + 4..vtable + vtable_size).ok_or_else(|| bad("vtable size"))?;
        if size < 4 || self.0.len() - at < size {
            return Err(bad("size"));
        }
        Ok(Table { buffer: self, at, size, fields })
    }
}

/// The root table of a flatbuffer that bears `identifier`.
pub fn root<'a>(bytes: &'a [u8], identifier: &[u8; 4]) -> Result<Table<'a>> {
    let buffer = Buffer(bytes);
    if buffer.array::<4>(4)? != *identifier {
        return Err(Error::invalid_file("the flatbuffer's identifier is wrong"));
    }
    buffer.table(buffer.follow(0)?)
}

impl<'a> Table<'a> {
    /// Position of a field of `N` bytes, or none where it is absent.
    fn find<const N: usize>(&self, field: usize) -> Result<Option<usize>> {
        let offset = match self.fields.get(2 * field..2 * field + 2) {
            Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
            _ => 0,
        };
        match offset {
            0 => Ok(None),
            4.. if offset + N <= self.size => Ok(Some(self.at + offset)),
            _ => Err(Error::invalid_file(format!("field offset {offset} lies outside its table"))),
        }
    }

    fn scalar<const N: usize>(&self, field: Field) -> Result<Option<[u8; N]>> {
        let read = || self.find::<N>(field.0)?.map(|at| self.buffer.array(at)).transpose();
        read().map_err(|error| error.in_place(field.1))
    }

    pub fn bool(&self, field: Field) -> Result<bool> {
        match self.scalar(field)? {
            None | Some([0]) => Ok(false),
            Some([1]) => Ok(true),
            Some([value]) => Err(Error::invalid_file(format!("{}: {value} is not a truth value", field.1))),
        }
    }

    pub fn u16(&self, field: Field) -> Result<u16> {
        Ok(self.scalar(field)?.map_or(0, u16::from_le_bytes))
    }

    pub fn u32(&self, field: Field) -> Result<u32> {
        Ok(self.scalar(field)?.map_or(0, u32::from_le_bytes))
    }

    pub fn u64(&self, field: Field) -> Result<u64> {
        Ok(self.scalar(field)?.map_or(0, u64::from_le_bytes))
    }

    /// A struct of two u64.
    pub fn u64_pair(&self, field: Field) -> Result<(u64, u64)> {
        let Some(bytes) = self.scalar::<16>(field)? else { return Ok((0, 0)) };
        let value = u128::from_le_bytes(bytes);
        Ok((value as u64, (value >> 64) as u64))
    }

    /// A string of at most `limit` bytes; empty where absent.
    pub fn string(&self, field: Field, limit: usize) -> Result<&'a str> {
        let Some(at) = self.reference(field)? else { return Ok("") };
        self.buffer.string(at, limit).map_err(|error| error.in_place(field.1))
    }

    pub fn table(&self, field: Field) -> Result<Table<'a>> {
        let at = self.reference(field)?.ok_or_else(|| Error::invalid_file(format!("{} is missing", field.1)))?;
        self.buffer.table(at).map_err(|error| error.in_place(field.1))
    }

    /// A vector of at most `limit` fixed-size elements.
    pub fn elements<const N: usize>(&self, field: Field, limit: usize) -> Result<&'a [[u8; N]]> {
        let Some(at) = self.reference(field)? else { return Ok(&[]) };
        let bytes = self.buffer.vector(at, N).map_err(|error| error.in_place(field.1))?;
        let elements = bytes.as_chunks::<N>().0;
        within(elements.len(), limit, field.1)?;
        Ok(elements)
    }

    /// Reads a vector of at most `limit` tables with `read`; errors name the element.
    pub fn tables<T>(&self, field: Field, limit: usize, read: impl Fn(Table<'a>) -> Result<T>) -> Result<Vec<T>> {
        self.references(field, limit, |buffer, at| buffer.table(at).and_then(&read))
    }

    /// A vector of at most `limit` strings of at most `length` bytes each.
    pub fn strings(&self, field: Field, limit: usize, length: usize) -> Result<Vec<String>> {
        self.references(field, limit, |buffer, at| buffer.string(at, length).map(str::to_owned))
    }

    fn references<T>(
        &self,
        field: Field,
        limit: usize,
        read: impl Fn(Buffer<'a>, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let Some(at) = self.reference(field)? else { return Ok(Vec::new()) };
        let count = self.elements::<4>(field, limit)?.len();
        let element = |i: usize| read(self.buffer, self.buffer.follow(at + 4 + 4 * i)?);
        (0..count).map(|i| element(i).map_err(|error| error.in_place(format_args!("{}[{i}]", field.1)))).collect()
    }

    /// Where an offset field leads.
    fn reference(&self, field: Field) -> Result<Option<usize>> {
        let read = || self.find::<4>(field.0)?.map(|at| self.buffer.follow(at)).transpose();
        read().map_err(|error| error.in_place(field.1))
    }
}

impl<'a> Buffer<'a> {
    fn string(self, at: usize, limit: usize) -> Result<&'a str> {
        let bytes = self.vector(at, 1)?;
        within(bytes.len(), limit, "string")?;
        std::str::from_utf8(bytes).map_err(|_| Error::invalid_file(format!("the string at offset {at} is not UTF-8")))
    }
}

fn within(count: usize, limit: usize, what: &str) -> Result<()> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::invalid_file(format!("{what}: {count} elements, more than the {limit} allowed")))
}
