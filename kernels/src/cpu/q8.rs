//! Q8 activation rows: 32 inputs share a scale.

use core::ops::Range;

use crate::abi::ACT_GROUP;
use crate::layout::padded_cols;

/// A Q8 row to write: `layout.rs` gives its bytes.
pub struct Q8Mut<'a> {
    pub q: &'a mut [i8],
    pub scales: &'a mut [f32],
    /// `sum(q)` of the first and of the last 16 inputs of each group.
    pub sums: &'a mut [[i16; 2]],
}

/// A Q8 row to read.
#[derive(Clone, Copy)]
pub struct Q8Ref<'a> {
    pub q: &'a [i8],
    pub scales: &'a [f32],
    pub sums: &'a [[i16; 2]],
}

impl<'a> Q8Mut<'a> {
    /// # Safety
    /// `row` is valid for `q8_row_bytes(dim)` bytes of reads and writes for `'a`, aligned to 4 bytes, nobody else's.
    pub unsafe fn from_raw(row: *mut u8, dim: usize) -> Q8Mut<'a> {
        let (cols, groups) = (padded_cols(dim), padded_cols(dim) / ACT_GROUP);
        // SAFETY: the three parts lie one after another within the row and do not overlap; any bits are i8 and f32.
        unsafe {
            let scales = row.add(cols).cast::<f32>();
            Q8Mut {
                q: core::slice::from_raw_parts_mut(row.cast(), cols),
                scales: core::slice::from_raw_parts_mut(scales, groups),
                sums: core::slice::from_raw_parts_mut(scales.add(groups).cast(), groups),
            }
        }
    }

    /// Some groups of a row, as a row of their own.
    ///
    /// # Safety
    /// `row` is as for `from_raw`, but of its bytes only those of `groups`, which it has, need be nobody else's.
    pub unsafe fn groups_from_raw(row: *mut u8, dim: usize, groups: Range<usize>) -> Q8Mut<'a> {
        let cols = padded_cols(dim);
        // SAFETY: the three parts of the groups lie within the row and do not overlap; any bits are i8 and f32.
        unsafe {
            let scales = row.add(cols).cast::<f32>().add(groups.start);
            Q8Mut {
                q: core::slice::from_raw_parts_mut(row.add(groups.start * ACT_GROUP).cast(), groups.len() * ACT_GROUP),
                scales: core::slice::from_raw_parts_mut(scales, groups.len()),
                sums: core::slice::from_raw_parts_mut(scales.add(cols / ACT_GROUP).cast(), groups.len()),
            }
        }
    }

    /// Quantizes group `g`: `scale = max |x| / 127`, `q = round(x / scale)`, ties to even.
    /// A group whose scale would be too small to invert becomes zero.
    pub fn put(&mut self, g: usize, values: &[f32; ACT_GROUP]) {
        let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = inverse_scale(largest);
        let out = &mut self.q[g * ACT_GROUP..][..ACT_GROUP];
        for (q, v) in out.iter_mut().zip(values) {
            *q = (v * inverse).round_ties_even() as i8;
        }
        let (first, last) = out.split_at(ACT_GROUP / 2);
        self.scales[g] = if inverse == 0.0 { 0.0 } else { largest / 127.0 };
        self.sums[g] = [first, last].map(|q| q.iter().map(|q| i16::from(*q)).sum());
    }
}

/// `127 / largest`, or 0 where that is not finite.
pub fn inverse_scale(largest: f32) -> f32 {
    let inverse = 127.0 / largest;
    if inverse.is_finite() { inverse } else { 0.0 }
}

impl<'a> Q8Ref<'a> {
    /// # Safety
    /// `row` is valid for reads of `q8_row_bytes(dim)` bytes for `'a`, aligned to 4 bytes, and nobody writes it.
    pub unsafe fn from_raw(row: *const u8, dim: usize) -> Q8Ref<'a> {
        let (cols, groups) = (padded_cols(dim), padded_cols(dim) / ACT_GROUP);
        // SAFETY: as `Q8Mut::from_raw`.
        unsafe {
            let scales = row.add(cols).cast::<f32>();
            Q8Ref {
                q: core::slice::from_raw_parts(row.cast(), cols),
                scales: core::slice::from_raw_parts(scales, groups),
                sums: core::slice::from_raw_parts(scales.add(groups).cast(), groups),
            }
        }
    }
}
