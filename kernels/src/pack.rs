//! Packing weights into blocks of 16 rows, and reading them back: the layout of `layout.rs` as executable truth.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::layout::{Kind, block_bytes, padded_cols};

/// One row's quantized values as they are stored: I8 −127..=127, I4 and I4Min 0..=15.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedRow<'a> {
    pub q: &'a [i8],
    /// One for each group; kept as f16, so quantize with the f16 value.
    pub scales: &'a [f32],
    /// For I4Min one for each group, else empty.
    pub mins: &'a [f32],
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

/// Packs 1 to 16 quantized rows into one block; missing rows and inputs become weights of value zero.
///
/// # Panics
/// Where `kind` is a float kind, `group` is not a multiple of 32, rows are of unequal length or more than 16, scales or
/// minima are not one for each group, or `out` is not one block.
pub fn pack_quantized_block(kind: Kind, group: usize, rows: &[QuantizedRow], out: &mut [u8]) {
    let cols = rows.first().map_or(0, |row| row.q.len());
    assert!(kind.is_quantized() && group > 0 && group.is_multiple_of(ACT_GROUP));
    assert!(rows.len() <= BLOCK_ROWS && rows.iter().all(|row| row.q.len() == cols));
    assert_eq!(out.len(), block_bytes(kind, cols, group));
    out.fill(if kind == Kind::I4 { 0x88 } else { 0 });
    let groups = padded_cols(cols).div_ceil(group);
    for g in 0..groups {
        out[group_offset(kind, group, g)..][..kind.group_header_bytes()].fill(0);
    }
    for (r, row) in rows.iter().enumerate() {
        assert_eq!(row.scales.len(), groups);
        assert_eq!(row.mins.len(), if kind == Kind::I4Min { groups } else { 0 });
        for (g, q) in row.q.chunks(group).enumerate() {
            let start = group_offset(kind, group, g);
            put_f16(&mut out[start + 2 * r..], row.scales[g]);
            if let Some(&min) = row.mins.get(g) {
                put_f16(&mut out[start + 2 * (BLOCK_ROWS + r)..], min);
            }
            put_quantized(kind, r, q, &mut out[start + kind.group_header_bytes()..]);
        }
    }
}

fn put_f16(out: &mut [u8], value: f32) {
    out[..2].copy_from_slice(&f32_to_f16(value).to_le_bytes());
}

fn put_quantized(kind: Kind, r: usize, q: &[i8], out: &mut [u8]) {
    for (i, &value) in q.iter().enumerate() {
        if kind == Kind::I8 {
            out[i / 4 * 64 + 4 * r + i % 4] = value as u8;
        } else {
            debug_assert!((0..16).contains(&value));
            let byte = &mut out[i / 8 * 64 + 4 * r + i % 4];
            *byte = if i % 8 < 4 { *byte & 0xf0 | value as u8 } else { *byte & 0x0f | (value as u8) << 4 };
        }
    }
}

/// Where group `g` of a block begins.
fn group_offset(kind: Kind, group: usize, g: usize) -> usize {
    g * block_bytes(kind, group, group)
}

/// One packed block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    pub kind: Kind,
    pub group: usize,
    pub cols: usize,
    pub bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// Block number `index` of a packed matrix.
    pub fn of(kind: Kind, group: usize, cols: usize, data: &'a [u8], index: usize) -> Block<'a> {
        let size = block_bytes(kind, cols, group);
        Block { kind, group, cols, bytes: &data[index * size..][..size] }
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
            Kind::I8 | Kind::I4 | Kind::I4Min => self.decode_quantized(r, s, out),
        }
    }

    fn decode_quantized(&self, r: usize, s: usize, out: &mut [f32; ACT_GROUP]) {
        let (g, first) = (s * ACT_GROUP / self.group, s * ACT_GROUP % self.group);
        let start = group_offset(self.kind, self.group, g);
        let scale = f16_to_f32(self.u16_at(start + 2 * r));
        let data = &self.bytes[start + self.kind.group_header_bytes()..];
        let nibble = |i: usize| f32::from(data[(first + i) / 8 * 64 + 4 * r + i % 4] >> (i % 8 / 4 * 4) & 15);
        match self.kind {
            Kind::I8 => fill(out, |i| scale * f32::from(data[(first + i) / 4 * 64 + 4 * r + i % 4] as i8)),
            Kind::I4 => fill(out, |i| scale * (nibble(i) - 8.0)),
            _ => {
                let min = f16_to_f32(self.u16_at(start + 2 * (BLOCK_ROWS + r)));
                fill(out, |i| scale * nibble(i) + min)
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::matrix_bytes;

    fn noise(seed: &mut u32) -> i32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 16) as i32
    }

    #[test]
    fn floats_come_back() {
        let (rows, cols) = (19, 33);
        let mut seed = 1;
        // Multiples of 1/8 below 8 are exact in every float kind.
        let values: Vec<Vec<f32>> =
            (0..rows).map(|_| (0..cols).map(|_| (noise(&mut seed) % 64) as f32 / 8.0).collect()).collect();
        for kind in [Kind::F32, Kind::F16, Kind::Bf16] {
            let mut data = vec![0xff; matrix_bytes(kind, rows, cols, 0)];
            let size = block_bytes(kind, cols, 0);
            for (rows, out) in values.chunks(BLOCK_ROWS).zip(data.chunks_mut(size)) {
                let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
                pack_float_block(kind, &rows, out);
            }
            let mut out = vec![f32::NAN; cols];
            for (r, row) in values.iter().enumerate() {
                unpack_row(kind, 0, cols, &data, r, &mut out);
                assert_eq!(&out, row, "{kind:?} row {r}");
            }
            unpack_row(kind, 0, cols, &data, rows, &mut out);
            assert!(out.iter().all(|v| *v == 0.0), "{kind:?}: a padding row is zero");
        }
    }

    #[test]
    fn quantized_values_come_back() {
        for (kind, group, rows, cols) in [
            (Kind::I8, 32, 17, 172),
            (Kind::I8, 192, 5, 172),
            (Kind::I4, 32, 16, 288),
            (Kind::I4, 128, 18, 576),
            (Kind::I4Min, 64, 3, 33),
            (Kind::I4Min, 128, 20, 200),
        ] {
            let (mut seed, groups) = (7, padded_cols(cols).div_ceil(group));
            let span = if kind == Kind::I8 { (-127, 255) } else { (0, 16) };
            let q: Vec<Vec<i8>> =
                (0..rows).map(|_| (0..cols).map(|_| (span.0 + noise(&mut seed) % span.1) as i8).collect()).collect();
            let halves = |seed: &mut u32| (0..groups).map(|_| (noise(seed) % 512) as f32 / 256.0).collect::<Vec<_>>();
            let scales: Vec<Vec<f32>> = (0..rows).map(|_| halves(&mut seed)).collect();
            let mins: Vec<Vec<f32>> =
                (0..rows).map(|_| if kind == Kind::I4Min { halves(&mut seed) } else { vec![] }).collect();
            let all: Vec<QuantizedRow> =
                (0..rows).map(|r| QuantizedRow { q: &q[r], scales: &scales[r], mins: &mins[r] }).collect();
            let mut data = vec![0xff; matrix_bytes(kind, rows, cols, group)];
            for (rows, out) in all.chunks(BLOCK_ROWS).zip(data.chunks_mut(block_bytes(kind, cols, group))) {
                pack_quantized_block(kind, group, rows, out);
            }
            let mut out = vec![f32::NAN; cols];
            for r in 0..rows {
                unpack_row(kind, group, cols, &data, r, &mut out);
                for (i, value) in out.iter().enumerate() {
                    let q = f32::from(q[r][i]) - if kind == Kind::I4 { 8.0 } else { 0.0 };
                    let expected = scales[r][i / group] * q + mins[r].get(i / group).unwrap_or(&0.0);
                    assert_eq!(*value, expected, "{kind:?} g{group} row {r} input {i}");
                }
            }
        }
    }
}
