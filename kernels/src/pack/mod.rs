//! Packing weights into blocks of 16 rows, and reading them back: the layout of `layout.rs` as executable truth.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::layout::{Format, Kind, Plane, SUB_SCALES, block_bytes, groups, sub_scales};
use crate::trellis;

/// Bytes of a vector: four inputs of 16 rows.
const VECTOR: usize = 4 * BLOCK_ROWS;
/// The low bits of the numbers before a row's first.
pub const NOTHING: [u8; VECTOR] = [0; VECTOR];

/// One row's numbers as the layout stores them (those of 8 bits as two's complement). Scales and minima are kept as f16, so
/// quantize with the f16 value; what the kind does not have is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuantizedRow<'a> {
    pub q: &'a [i8],
    /// One for each group.
    pub scales: &'a [f32],
    /// One for each group.
    pub mins: &'a [f32],
    /// One for each `Format::sub` inputs, to the end of the last step.
    pub sub_scales: &'a [i8],
    pub sub_mins: &'a [i8],
}

/// Packs 1 to 16 rows of a float kind into one block; missing rows become zero.
///
/// # Panics
/// Where `kind` is not a float kind, `rows` are of unequal length or more than 16, or `out` is not one block.
pub fn pack_float_block(kind: Kind, rows: &[&[f32]], out: &mut [u8]) {
    let cols = rows.first().map_or(0, |row| row.len());
    assert!(!kind.is_quantized() && rows.len() <= BLOCK_ROWS && rows.iter().all(|row| row.len() == cols));
    assert_eq!(out.len(), block_bytes(kind, cols, 0));
    out.fill(0);
    let size = if kind == Kind::F32 { 4 } else { 2 };
    for (r, row) in rows.iter().enumerate() {
        for (&value, column) in row.iter().zip(out.chunks_exact_mut(BLOCK_ROWS * size)) {
            let cell = &mut column[r * size..][..size];
            match kind {
                Kind::F16 => cell.copy_from_slice(&f32_to_f16(value).to_le_bytes()),
                Kind::Bf16 => cell.copy_from_slice(&f32_to_bf16(value).to_le_bytes()),
                _ => cell.copy_from_slice(&value.to_le_bytes()),
            }
        }
    }
}

/// Packs 1 to 16 quantized rows into one block; missing rows and inputs become padding.
///
/// # Panics
/// Where `kind` is a float kind, `group` is not a multiple of 32, rows are of unequal length or more than 16, scales, minima,
/// sub-scales or sub-minima are not as many as the layout has, or `out` is not one block.
pub fn pack_quantized_block(kind: Kind, group: usize, rows: &[QuantizedRow], out: &mut [u8]) {
    let cols = rows.first().map_or(0, |row| row.q.len());
    let Some(format) = kind.format() else { panic!("{} is no quantized kind", kind.name()) };
    assert!(group > 0 && group.is_multiple_of(ACT_GROUP));
    assert!(rows.len() <= BLOCK_ROWS && rows.iter().all(|row| row.q.len() == cols));
    assert_eq!(out.len(), block_bytes(kind, cols, group));
    let (groups, subs) = (groups(kind, cols, group), sub_scales(kind, cols));
    for row in rows {
        let minima = if format.min { (groups, subs) } else { (0, 0) };
        assert_eq!((row.scales.len(), row.sub_scales.len()), (groups, subs));
        assert_eq!((row.mins.len(), row.sub_mins.len()), minima);
    }
    for (g, out) in out.chunks_mut(block_bytes(kind, group, group)).enumerate() {
        let (header, steps) = out.split_at_mut(format.header_bytes());
        header.fill(0);
        for (r, row) in rows.iter().enumerate() {
            put_f16(&mut header[2 * r..], row.scales[g]);
            if format.min {
                put_f16(&mut header[2 * (BLOCK_ROWS + r)..], row.mins[g]);
            }
        }
        for (s, step) in steps.chunks_exact_mut(kind.step_bytes()).enumerate() {
            pack_step(format, rows, g * group / ACT_GROUP + s, step);
        }
    }
}

/// Packs inputs `32 s..32 s + 32`.
fn pack_step(format: Format, rows: &[QuantizedRow], s: usize, out: &mut [u8]) {
    let (subs, numbers) = out.split_at_mut(format.sub_bytes());
    subs.fill(0);
    for r in 0..BLOCK_ROWS {
        let mut q = [format.zero(); ACT_GROUP];
        if let Some(row) = rows.get(r) {
            let stored = &row.q[s * ACT_GROUP..row.q.len().min((s + 1) * ACT_GROUP)];
            q.iter_mut().zip(stored).for_each(|(q, stored)| *q = *stored as u8);
            let count = format.subs();
            let here = s * count..(s + 1) * count;
            let minima = if format.min { &row.sub_mins[here.clone()] } else { &[] };
            let here = &row.sub_scales[here];
            match format.has_trellis() {
                true => put_half(&mut subs[r % (BLOCK_ROWS / 2)], r, here[0]),
                false => {
                    here.iter().chain(minima).enumerate().for_each(|(i, sub)| subs[i * BLOCK_ROWS + r] = *sub as u8)
                }
            }
        }
        debug_assert!(q.iter().all(|q| u32::from(*q) < 1 << format.bits));
        for plane in format.planes() {
            put_plane(plane, r, &q, &mut numbers[plane.bytes()]);
        }
    }
}

/// Row `r`'s half of a byte becomes the number of its sub-scale.
fn put_half(byte: &mut u8, r: usize, sub: i8) {
    let Some(number) = SUB_SCALES.iter().position(|other| *other == sub) else {
        panic!("{sub} is no sub-scale of 4 bits")
    };
    *byte |= (number as u8) << half(r);
}

/// Where row `r`'s half of a byte begins.
const fn half(r: usize) -> u32 {
    if r < BLOCK_ROWS / 2 { 0 } else { 4 }
}

/// Row `r`'s part of a plane.
fn put_plane(plane: Plane, r: usize, q: &[u8; ACT_GROUP], out: &mut [u8]) {
    // Four numbers at a time: a plane's bits stay inside their bytes, whichever way they are shifted.
    let mask = 0x0101_0101 * (255 >> (8 - plane.width));
    for (q, vector) in q.chunks_exact(ACT_GROUP / plane.width).zip(out.as_chunks_mut::<VECTOR>().0) {
        let mut bytes = 0u32;
        for (k, four) in q.as_chunks::<4>().0.iter().enumerate() {
            bytes |= (u32::from_le_bytes(*four) >> plane.shift & mask) << (plane.width * k);
        }
        vector[4 * r..4 * r + 4].copy_from_slice(&bytes.to_le_bytes());
    }
}

fn put_f16(out: &mut [u8], value: f32) {
    out[..2].copy_from_slice(&f32_to_f16(value).to_le_bytes());
}

/// One packed block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    pub kind: Kind,
    pub group: usize,
    pub cols: usize,
    pub bytes: &'a [u8],
    /// The address at which the weights end that are worth asking memory for ahead of use; 0 where they are in a cache already.
    pub fetch_end: usize,
}

/// Blocks of a packed matrix, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    /// The first, but its bytes are all of theirs.
    all: Block<'a>,
    size: usize,
}

impl<'a> Blocks<'a> {
    pub fn new(kind: Kind, group: usize, cols: usize, bytes: &'a [u8]) -> Blocks<'a> {
        let fetch_end = bytes.as_ptr_range().end as usize;
        Blocks { all: Block { kind, group, cols, bytes, fetch_end }, size: block_bytes(kind, cols, group) }
    }

    /// The blocks, where `bytes` from their first on are worth asking for: these and those that follow, which this thread as a rule reads
    /// next, or has another read already.
    pub fn followed(mut self, bytes: usize) -> Blocks<'a> {
        self.all.fetch_end = self.all.bytes.as_ptr() as usize + bytes;
        self
    }

    pub fn kind(&self) -> Kind {
        self.all.kind
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.all.bytes
    }

    /// Where what is worth asking for ends; see [`Block`].
    pub fn fetch_end(&self) -> usize {
        self.all.fetch_end
    }

    /// Bytes of a block.
    pub fn size(&self) -> usize {
        self.size
    }

    fn len(&self) -> usize {
        self.all.bytes.len() / self.size
    }

    /// `count` at a time.
    pub fn in_parts(self, count: usize) -> impl Iterator<Item = Blocks<'a>> {
        let parts = self.all.bytes.chunks(count * self.size);
        parts.map(move |bytes| Blocks { all: Block { bytes, ..self.all }, ..self })
    }

    /// Block `i`.
    #[inline(always)]
    pub fn get(&self, i: usize) -> Block<'a> {
        Block { bytes: &self.all.bytes[i * self.size..][..self.size], ..self.all }
    }

    /// Those from block `i` on.
    pub fn from(mut self, i: usize) -> Blocks<'a> {
        self.all.bytes = &self.all.bytes[i * self.size..];
        self
    }

    /// The first blocks of `N` parts, which lie one after the other and are as equally long as can be.
    pub fn streams<const N: usize>(&self) -> [usize; N] {
        let (each, more) = (self.len() / N, self.len() % N);
        core::array::from_fn(|part| part * each + part.min(more))
    }

    /// The blocks that are read in turn, and how many they are: the first ones of `N` parts, then the second ones, and so on; then, alone, those
    /// that some parts have more than others.
    #[inline(always)]
    pub fn in_streams<const N: usize>(&self) -> impl Iterator<Item = ([usize; N], usize)> {
        let (firsts, each, more) = (self.streams::<N>(), self.len() / N, self.len() % N);
        let together = (0..each).map(move |i| (firsts.map(|first| first + i), N));
        together.chain((0..more).map(move |part| ([firsts[part] + each; N], 1)))
    }

    /// The blocks as they are when they have been read.
    pub fn in_cache(mut self) -> Blocks<'a> {
        self.all.fetch_end = 0;
        self
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Block<'a>> {
        let (first, rest) = self.all.bytes.split_at_checked(self.size)?;
        let block = Block { bytes: first, ..self.all };
        self.all.bytes = rest;
        Some(block)
    }
}

impl<'a> Block<'a> {
    /// Block number `index` of a packed matrix.
    pub fn of(kind: Kind, group: usize, cols: usize, data: &'a [u8], index: usize) -> Block<'a> {
        let size = block_bytes(kind, cols, group);
        Block { kind, group, cols, bytes: &data[index * size..][..size], fetch_end: 0 }
    }

    /// The block as it is when tokens before `t` have been multiplied by it.
    pub fn at(&self, t: usize) -> Block<'a> {
        Block { fetch_end: if t == 0 { self.fetch_end } else { 0 }, ..*self }
    }

    /// The values of row `r` for inputs `32 s..32 s + 32`.
    pub fn decode(&self, r: usize, s: usize, out: &mut [f32; ACT_GROUP]) {
        match self.kind {
            Kind::F32 => fill(out, |i| {
                let at = (s * ACT_GROUP + i) * 64 + 4 * r;
                f32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap_or_default())
            }),
            Kind::F16 => fill(out, |i| f16_to_f32(self.u16_at((s * ACT_GROUP + i) * 32 + 2 * r))),
            Kind::Bf16 => fill(out, |i| bf16_to_f32(self.u16_at((s * ACT_GROUP + i) * 32 + 2 * r))),
            kind => {
                if let Some(format) = kind.format() {
                    self.decode_quantized(format, r, s, out);
                }
            }
        }
    }

    fn decode_quantized(&self, format: Format, r: usize, s: usize, out: &mut [f32; ACT_GROUP]) {
        let (start, step) = self.step(format, s);
        let scale = f16_to_f32(self.u16_at(start + 2 * r));
        let min = if format.min { f16_to_f32(self.u16_at(start + 2 * (BLOCK_ROWS + r))) } else { 0.0 };
        let (subs, numbers) = step.split_at(format.sub_bytes());
        let mut q = [0; ACT_GROUP];
        format.planes().for_each(|plane| take_plane(plane, r, &numbers[plane.bytes()], &mut q));
        if format.has_trellis() {
            let (levels, sub) =
                (trellis::levels(&q, &mut self.trellis_before(format, r, s)), subs[r % 8] >> half(r) & 15);
            let scale = scale * f32::from(SUB_SCALES[usize::from(sub)]);
            return fill(out, |i| scale * format.value(levels[i]) as f32);
        }
        if format.sub == 0 {
            return fill(out, |i| scale * format.value(q[i]) as f32 + min);
        }
        let sub = |i: usize| f32::from(subs[i * BLOCK_ROWS + r] as i8);
        fill(out, |i| {
            let at = i / format.sub;
            let min = if format.min { min * sub(format.subs() + at) } else { 0.0 };
            scale * sub(at) * format.value(q[i]) as f32 + min
        });
    }

    /// Where the group of step `s` begins, and the step.
    fn step(&self, format: Format, s: usize) -> (usize, &'a [u8]) {
        let (g, within) = (s * ACT_GROUP / self.group, s * ACT_GROUP % self.group / ACT_GROUP);
        let (start, size) = (g * block_bytes(self.kind, self.group, self.group), self.kind.step_bytes());
        (start, &self.bytes[start + format.header_bytes() + within * size..][..size])
    }

    /// The first plane of the step before step `s`, which trellis kinds need; zeros before the first.
    pub fn before(&self, format: Format, s: usize) -> &'a [u8; VECTOR] {
        let before = s.checked_sub(1).and_then(|s| self.step(format, s).1[format.sub_bytes()..].first_chunk());
        before.unwrap_or(&NOTHING)
    }

    fn trellis_before(&self, format: Format, r: usize, s: usize) -> u32 {
        let bytes = &self.before(format, s)[4 * r..4 * r + 4];
        u32::from_le_bytes(bytes.try_into().unwrap_or_default())
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }
}

fn fill(out: &mut [f32; ACT_GROUP], value: impl Fn(usize) -> f32) {
    for (i, cell) in out.iter_mut().enumerate() {
        *cell = value(i);
    }
}

/// Writes the values of one row of a packed matrix to `out[..cols]`; `group` is ignored for float kinds.
///
/// # Panics
/// Where `data` does not hold the row or `out` is shorter than `cols`.
pub fn unpack_row(kind: Kind, group: usize, cols: usize, data: &[u8], row: usize, out: &mut [f32]) {
    let block = Block::of(kind, group, cols, data, row / BLOCK_ROWS);
    let mut values = [0.0; ACT_GROUP];
    for (s, chunk) in out[..cols].chunks_mut(ACT_GROUP).enumerate() {
        block.decode(row % BLOCK_ROWS, s, &mut values);
        chunk.copy_from_slice(&values[..chunk.len()]);
    }
}

/// Adds a plane's bits to row `r`'s numbers.
fn take_plane(plane: Plane, r: usize, bytes: &[u8], q: &mut [u8; ACT_GROUP]) {
    let per_vector = ACT_GROUP / plane.width;
    for (i, q) in q.iter_mut().enumerate() {
        let (v, k, j) = (i / per_vector, i % per_vector / 4, i % 4);
        let bits = bytes[v * VECTOR + 4 * r + j] >> (plane.width * k) & (255 >> (8 - plane.width));
        *q |= bits << plane.shift;
    }
}

#[cfg(test)]
mod tests;
