//! Steps of a packed block as bytes, some at a time, for all tokens to pass by while these lie in the first cache.

use core::mem::MaybeUninit;

use crate::abi::ACT_GROUP;
use crate::layout::Format;
use crate::pack::{Block, NOTHING};

use super::Ahead;
use super::numbers::{self, COLUMNS, Numbers, VECTOR, each_column, factor};
use super::rows::Rows16;

/// A step as bytes, with the scales and minima of its parts.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Step<V: Rows16> {
    pub columns: [V::Int; COLUMNS],
    pub scales: [V::Float; 2],
    pub mins: [V::Float; 2],
}

/// The next steps become an `S` each, bytes as a rule, by `Steps::each`, whose number it returns. It needs no more than the CPU's features of
/// `V`, and writes each `S` as a whole.
pub type Decode<V, S = Step<V>> = unsafe fn(V, &mut Steps, &mut [MaybeUninit<S>]) -> usize;

/// A step as it is stored.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// Of its group.
    pub header: &'a [u8],
    pub bytes: &'a [u8],
    /// The first plane of the step before.
    pub before: &'a [u8; VECTOR],
}

/// What a `Decode` does with a step.
///
/// # Safety
/// `out` may be written.
#[inline(always)]
pub unsafe fn decode<V: Rows16, const KIND: u32>(v: V, step: Stored, out: *mut Step<V>) {
    let format = const { numbers::format::<KIND>() };
    let (header, (subs, numbers)) = (step.header, step.bytes.split_at(format.sub_bytes()));
    let numbers = Numbers::<V, KIND>::of(v, numbers, step.before);
    let (mut scales, mut mins) = ([v.float(0.0); 2], [v.float(0.0); 2]);
    for part in 0..format.parts() {
        scales[part] = factor::<V, KIND>(v, header, subs, (0, part));
        if format.min {
            mins[part] = factor::<V, KIND>(v, header, subs, (1, part));
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        each_column!(c => {
            (&raw mut (*out).columns[c]).write(numbers.column(v, c));
        });
        (&raw mut (*out).scales).write(scales);
        (&raw mut (*out).mins).write(mins);
    }
}

/// A block's steps with the headers of their groups. (Slices' own iterators would divide, for every group.)
#[derive(Clone, Copy)]
pub struct Steps<'a> {
    rest: &'a [u8],
    header: &'a [u8],
    /// Steps of this group that have not come, and of a whole group.
    left: usize,
    of_group: usize,
    header_bytes: usize,
    step_bytes: usize,
    before: &'a [u8; VECTOR],
    sub_bytes: usize,
}

impl<'a> Steps<'a> {
    fn of(w: &Block<'a>) -> Steps<'a> {
        let (header_bytes, step_bytes) = (w.kind.group_header_bytes(), w.kind.step_bytes());
        let (of_group, sub_bytes) = (w.group / ACT_GROUP, w.kind.format().map_or(0, Format::sub_bytes));
        Steps { rest: w.bytes, header: &[], left: 0, of_group, header_bytes, step_bytes, before: &NOTHING, sub_bytes }
    }

    /// Gives the next steps of a block of this kind to `one`, each with its place in `out`, as many as there are; returns their number.
    #[inline(always)]
    pub fn each<const KIND: u32, S>(
        &mut self,
        out: &mut [MaybeUninit<S>],
        mut one: impl FnMut(Stored, *mut S),
    ) -> usize {
        let format = const { numbers::format::<KIND>() };
        let (header_bytes, sub_bytes) = (format.header_bytes(), format.sub_bytes());
        let sizes = Steps { header_bytes, sub_bytes, step_bytes: sub_bytes + format.number_bytes(), ..*self };
        // In registers: through memory, each step would wait for what the one before has left there.
        let (mut steps, mut count) = (sizes, 0);
        for (out, step) in out.iter_mut().zip(&mut steps) {
            one(step, out.as_mut_ptr());
            count += 1;
        }
        *self = steps;
        count
    }
}

impl<'a> Iterator for Steps<'a> {
    type Item = Stored<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            (self.header, self.rest) = self.rest.split_at_checked(self.header_bytes)?;
            self.left = self.of_group;
        }
        let bytes;
        (bytes, self.rest) = self.rest.split_at_checked(self.step_bytes)?;
        self.left -= 1;
        let step = Stored { header: self.header, bytes, before: self.before };
        self.before = bytes.get(self.sub_bytes..)?.first_chunk()?;
        Some(step)
    }
}

/// A block's steps, of which `next` decodes some at a time.
pub struct Decoder<'a, V: Rows16, S = Step<V>> {
    w: &'a Block<'a>,
    steps: Steps<'a>,
    decode: Decode<V, S>,
    done: usize,
}

/// Steps `first..` of a block.
pub struct Decoded<'a, S> {
    pub steps: &'a [S],
    pub first: usize,
    /// To be asked for meanwhile. Asked for while decoding, these would be more at once than the memory takes, and what multiplies would wait.
    pub ahead: Ahead,
}

impl<'a, V: Rows16, S> Decoder<'a, V, S> {
    /// # Safety
    /// `decode` does what its type says.
    pub unsafe fn new(w: &'a Block, decode: Decode<V, S>) -> Decoder<'a, V, S> {
        Decoder { w, steps: Steps::of(w), decode, done: 0 }
    }

    /// As many of the next steps as `out` holds; None after the last.
    pub fn next<'b>(&mut self, v: V, out: &'b mut [MaybeUninit<S>]) -> Option<Decoded<'b, S>> {
        let (begin, first) = (self.steps.rest.as_ptr(), self.done);
        // SAFETY: promised when `self` was made; as many as it says have been decoded.
        let steps: &[S] = unsafe {
            let count = (self.decode)(v, &mut self.steps, out);
            core::slice::from_raw_parts(out.as_ptr().cast(), count)
        };
        self.done += steps.len();
        let read = begin..self.steps.rest.as_ptr();
        (!steps.is_empty()).then(|| Decoded { steps, first, ahead: Ahead::of(self.w, read) })
    }
}
