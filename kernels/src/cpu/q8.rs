//! Q8 activation rows: groups of 32 inputs, each with a scale.

use core::ops::Range;

use crate::abi::ACT_GROUP;
use crate::layout::{Q8_GROUP_BYTES, padded_cols};

/// One group as it lies in a row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Q8Group {
    pub q: [i8; ACT_GROUP],
    pub scale: f32,
    /// `sum(q)` of the first and of the last 16 inputs.
    pub sums: [i16; 2],
}

const _: () = assert!(size_of::<Q8Group>() == Q8_GROUP_BYTES);

impl Q8Group {
    /// `scale = max |x| / 127`, `q = round(x / scale)`, ties to even. A group whose scale would be too small to invert becomes zero.
    pub fn quantize(values: &[f32; ACT_GROUP]) -> Q8Group {
        let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = inverse_scale(largest);
        let q = values.map(|v| (v * inverse).round_ties_even() as i8);
        let (first, last) = q.split_at(ACT_GROUP / 2);
        Q8Group {
            q,
            scale: if inverse == 0.0 { 0.0 } else { largest / 127.0 },
            sums: [first, last].map(|q| q.iter().map(|q| i16::from(*q)).sum()),
        }
    }

    /// Inputs `4 c..4 c + 4`.
    #[inline(always)]
    pub fn four(&self, c: usize) -> [i8; 4] {
        self.q.as_chunks().0[c]
    }
}

/// `127 / largest`, or 0 where that is not finite.
pub fn inverse_scale(largest: f32) -> f32 {
    let inverse = 127.0 / largest;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Groups of a row of `dim` inputs.
pub const fn groups(dim: usize) -> usize {
    padded_cols(dim) / ACT_GROUP
}

/// Some groups of a row, to write.
///
/// # Safety
/// `row` is aligned to 4 bytes, and those of its bytes that hold `groups` are valid for reads and writes for `'a` and nobody else's.
pub unsafe fn groups_mut<'a>(row: *mut u8, groups: Range<usize>) -> &'a mut [Q8Group] {
    // SAFETY: promised by the caller; any bits are a group.
    unsafe { core::slice::from_raw_parts_mut(row.cast::<Q8Group>().add(groups.start), groups.len()) }
}
