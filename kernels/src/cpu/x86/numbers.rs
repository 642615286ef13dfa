//! From the planes of a step to bytes, four inputs of 16 rows at a time.

use crate::abi::ACT_GROUP;
use crate::layout::{Format, Kind, Values};

use super::rows::Rows16;

/// Vectors of four inputs that a step has.
pub const COLUMNS: usize = ACT_GROUP / 4;

/// The format of a quantized kind.
pub const fn format<const KIND: u32>() -> Format {
    match Kind::ALL[KIND as usize].format() {
        Some(format) => format,
        None => panic!("no quantized kind"),
    }
}

/// Whether a kind gets code for its own sake where all kinds' would be much.
pub const fn usual(kind: u32) -> bool {
    matches!(Kind::ALL[kind as usize], Kind::I8 | Kind::I4 | Kind::I4Min | Kind::K4 | Kind::K6)
}

/// `$quantized`, in which `$KIND` is a quantized kind's number as a constant, or `$float`.
macro_rules! each_kind {
    ($kind:expr, $KIND:ident => $quantized:expr, float => $float:expr) => {
        each_kind!($kind, $KIND, $quantized, $float, I8 I4 I4Min I2 I3 I5 I6 I2Min I3Min I5Min I6Min I8Min K2 K3 K4 K5 K6 N2 N3 N4)
    };
    ($kind:expr, $KIND:ident, $quantized:expr, $float:expr, $($name:ident)*) => {
        match $kind {
            $(crate::layout::Kind::$name => {
                const $KIND: u32 = crate::layout::Kind::$name as u32;
                $quantized
            })*
            crate::layout::Kind::F32 | crate::layout::Kind::F16 | crate::layout::Kind::Bf16 => $float,
        }
    };
}
pub(crate) use each_kind;

/// How much more than its value a byte of [`column`] is.
#[inline(always)]
pub const fn zero<V: Rows16>(format: Format) -> u32 {
    match format.values {
        Values::From { zero } => zero as u32,
        Values::Signed | Values::Table(_) => V::BYTE_ZERO,
    }
}

/// Inputs `4 c..4 c + 4`: numbers as they are stored, or values where the kind has bytes or a table.
#[inline(always)]
pub fn column<V: Rows16, const KIND: u32>(v: V, numbers: &[u8], c: usize) -> V::Int {
    let format = const { format::<KIND>() };
    let bits = format.bits;
    if bits & 8 != 0 {
        return v.bytes(v.load(&numbers.as_chunks().0[c]));
    }
    let mut q = v.int(0);
    if bits & 4 != 0 {
        q = plane::<V, 4>(v, numbers, c, 0);
    }
    if bits & 2 != 0 {
        q = v.or(q, plane::<V, 2>(v, numbers, c, bits & 4));
    }
    if bits & 1 != 0 {
        q = v.or(q, plane::<V, 1>(v, numbers, c, bits & 6));
    }
    match format.values {
        Values::Table(table) => v.bytes(v.lookup(table, q)),
        Values::From { .. } | Values::Signed => q,
    }
}

/// The bits of a plane, at their place in the numbers: from bit `shift` on.
#[inline(always)]
fn plane<V: Rows16, const WIDTH: usize>(v: V, numbers: &[u8], c: usize, shift: usize) -> V::Int {
    let per_vector = 8 / WIDTH;
    let bytes = v.load(&numbers.as_chunks().0[shift + c / per_vector]);
    let mask = ((1u32 << WIDTH) - 1) << shift;
    v.bits(bytes, (WIDTH * (c % per_vector)) as i32 - shift as i32, mask as u8)
}

/// The scale (`which` 0) or the minimum (1) of part `part` of a step, from its group's header and its sub-scales.
#[inline(always)]
pub fn factor<V: Rows16, const KIND: u32>(v: V, header: &[u8], subs: &[u8], (which, part): (usize, usize)) -> V::Float {
    let format = const { format::<KIND>() };
    let factor = v.load_f16(&header.as_chunks().0[which]);
    match format.sub {
        0 => factor,
        _ => v.mul(factor, v.load_i8(&subs.as_chunks().0[which * format.subs() + part])),
    }
}

impl Format {
    /// How many parts of a step have a scale of their own.
    pub const fn parts(self) -> usize {
        if self.sub == 16 { 2 } else { 1 }
    }
}
