//! Q8 activation rows: groups of 32 inputs, each with a scale; and Q8x2 rows, which are two of them.

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

    /// What is left of `values`, of which this is the first plane.
    pub fn rest(&self, values: &[f32; ACT_GROUP]) -> [f32; ACT_GROUP] {
        core::array::from_fn(|i| (-self.scale).mul_add(f32::from(self.q[i]), values[i]))
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

/// Some groups of a Q8 row to write, and those of its second plane where it is a Q8x2 row.
pub struct GroupsMut<'a> {
    first: &'a mut [Q8Group],
    second: &'a mut [Q8Group],
}

/// A group to write, and the one for what it leaves.
pub type GroupMut<'a> = (&'a mut Q8Group, Option<&'a mut Q8Group>);

impl<'a> GroupsMut<'a> {
    /// Of a row of `stride` bytes that is one plane or two, each in its part of them.
    ///
    /// # Safety
    /// `row` and each plane are aligned to 4 bytes, and the bytes that hold `groups` in each plane are valid for reads and writes for
    /// `'a` and nobody else's.
    pub unsafe fn from_raw<const PLANES: usize>(row: *mut u8, stride: usize, groups: Range<usize>) -> GroupsMut<'a> {
        // SAFETY: promised by the caller; any bits are a group.
        let plane = |at: usize, count: usize| unsafe {
            core::slice::from_raw_parts_mut(row.add(at).cast::<Q8Group>().add(groups.start), count)
        };
        match PLANES {
            1 => GroupsMut { first: plane(0, groups.len()), second: &mut [] },
            _ => GroupsMut { first: plane(0, groups.len()), second: plane(stride / 2, groups.len()) },
        }
    }
}

impl<'a> IntoIterator for GroupsMut<'a> {
    type Item = GroupMut<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        Iter { first: self.first.iter_mut(), second: self.second.iter_mut() }
    }
}

pub struct Iter<'a> {
    first: core::slice::IterMut<'a, Q8Group>,
    second: core::slice::IterMut<'a, Q8Group>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = GroupMut<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<GroupMut<'a>> {
        Some((self.first.next()?, self.second.next()))
    }
}

/// Quantizes 32 values into a group, and what is left of them into the second plane's.
pub fn put(values: &[f32; ACT_GROUP], (first, second): GroupMut) {
    *first = Q8Group::quantize(values);
    if let Some(second) = second {
        *second = Q8Group::quantize(&first.rest(values));
    }
}
