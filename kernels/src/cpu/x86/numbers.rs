//! From the planes of a step to bytes, four inputs of 16 rows at a time.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::layout::{Format, Kind, Values};
use crate::trellis;

use super::rows::Rows16;

/// Vectors of four inputs that a step has.
pub const COLUMNS: usize = ACT_GROUP / 4;
/// Bytes of a vector: four inputs of 16 rows.
pub const VECTOR: usize = 4 * BLOCK_ROWS;

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
        each_kind!($kind, $KIND, $quantized, $float, I8 I4 I4Min I2 I3 I5 I6 I2Min I3Min I5Min I6Min I8Min K2 K3 K4 K5 K6 N2 N3 N4 T2 T3 T4)
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

/// `$body` for each column, in which `$c` is its number as a constant. (The compiler would not unroll a loop over `t4`'s columns, whose
/// code is long, and would find shifts and masks out anew for each.)
macro_rules! each_column {
    ($c:ident => $body:block) => {
        each_column!($c => $body, 0 1 2 3 4 5 6 7)
    };
    ($c:ident => $body:block, $($number:literal)*) => {
        $({
            let $c = $number;
            $body
        })*
    };
}
pub(crate) use each_column;

/// How much more than its value a byte of [`column`] is.
#[inline(always)]
pub const fn zero<V: Rows16>(format: Format) -> u32 {
    match format.values {
        Values::From { zero } => zero as u32,
        Values::Trellis(_) => trellis::ZERO as u32,
        Values::Signed | Values::Table(_) => V::BYTE_ZERO,
    }
}

/// A trellis's levels as bytes that are not negative.
const fn levels(format: Format) -> [i8; 32] {
    let Values::Trellis(table) = format.values else { return [0; 32] };
    let (mut levels, mut i) = ([0; 32], 0);
    while i < 2 << format.bits {
        levels[i] = table[i] + trellis::ZERO as i8;
        i += 1;
    }
    levels
}

/// The first half of them.
const fn levels_16(format: Format) -> [i8; 16] {
    let (all, mut first, mut i) = (levels(format), [0; 16], 0);
    while i < 16 {
        first[i] = all[i];
        i += 1;
    }
    first
}

/// A step's numbers as they are stored; with a trellis also their subsets, two bits each: those of columns 0, 2, 4 and 6, and of the others.
#[derive(Clone, Copy)]
pub struct Numbers<'a, V: Rows16, const KIND: u32> {
    bytes: &'a [u8],
    subsets: [V::Int; 2],
}

impl<'a, V: Rows16, const KIND: u32> Numbers<'a, V, KIND> {
    /// `before` is the first plane of the step before.
    #[inline(always)]
    pub fn of(v: V, bytes: &'a [u8], before: &[u8; VECTOR]) -> Self {
        let mut subsets = [v.int(0); 2];
        if const { format::<KIND>().has_trellis() } {
            let (bits, before) = (v.load(&bytes.as_chunks().0[0]), v.load(before));
            let [near, far] = trellis::HIGH_TAPS;
            let high = v.xor(bits, v.xor(v.earlier(bits, before, near), v.earlier(bits, before, far)));
            let low = v.earlier(bits, before, trellis::LOW_TAP);
            subsets =
                [v.or(v.bits(low, 0, 0x55), v.bits(high, -1, 0xaa)), v.or(v.bits(low, 1, 0x55), v.bits(high, 0, 0xaa))];
        }
        Numbers { bytes, subsets }
    }

    /// Inputs `4 c..4 c + 4`: numbers as they are stored, values where the kind has bytes or a table, or levels and [`trellis::ZERO`].
    #[inline(always)]
    pub fn column(&self, v: V, c: usize) -> V::Int {
        let format = const { format::<KIND>() };
        // A trellis's first plane is in the subsets, which have one bit more.
        let (bits, planes) =
            if format.has_trellis() { (format.bits - 1, &self.bytes[VECTOR..]) } else { (format.bits, self.bytes) };
        if bits & 8 != 0 {
            return v.bytes(v.load(&planes.as_chunks().0[c]));
        }
        let mut q = v.int(0);
        let mut base = 0;
        if format.has_trellis() {
            q = v.bits(self.subsets[c % 2], (c - c % 2) as i32, 3);
            base = 2;
        }
        if bits & 4 != 0 {
            q = v.or(q, plane::<V, 4>(v, planes, c, (0, base)));
        }
        if bits & 2 != 0 {
            q = v.or(q, plane::<V, 2>(v, planes, c, (bits & 4, base)));
        }
        // A fifth bit of a level's number is not put to the others but chooses a table.
        let fifth = format.has_trellis() && bits == 3;
        if bits & 1 != 0 && !fifth {
            q = v.or(q, plane::<V, 1>(v, planes, c, (bits & 6, base)));
        }
        match format.values {
            Values::Table(table) => v.bytes(v.lookup(table, q)),
            Values::Trellis(_) => {
                let levels = const { &levels(self::format::<KIND>()) };
                match fifth {
                    true => v.lookup_32(levels, q, v.load(&planes.as_chunks().0[bits & 6]), c),
                    false => v.lookup(const { &levels_16(self::format::<KIND>()) }, q),
                }
            }
            Values::From { .. } | Values::Signed => q,
        }
    }
}

/// The bits of a plane, which begins `shift` vectors after the first, at their place in the numbers: from bit `shift + base` on.
#[inline(always)]
fn plane<V: Rows16, const WIDTH: usize>(v: V, numbers: &[u8], c: usize, (shift, base): (usize, usize)) -> V::Int {
    let per_vector = 8 / WIDTH;
    let bytes = v.load(&numbers.as_chunks().0[shift + c / per_vector]);
    let mask = ((1u32 << WIDTH) - 1) << (shift + base);
    v.bits(bytes, (WIDTH * (c % per_vector)) as i32 - (shift + base) as i32, mask as u8)
}

/// The scale (`which` 0) or the minimum (1) of part `part` of a step, from its group's header and its sub-scales.
#[inline(always)]
pub fn factor<V: Rows16, const KIND: u32>(v: V, header: &[u8], subs: &[u8], (which, part): (usize, usize)) -> V::Float {
    let format = const { format::<KIND>() };
    let factor = v.load_f16(&header.as_chunks().0[which]);
    match format.sub {
        0 => factor,
        _ if format.has_trellis() => v.mul(factor, v.load_sub_scales(&subs.as_chunks().0[0])),
        _ => v.mul(factor, v.load_i8(&subs.as_chunks().0[which * format.subs() + part])),
    }
}

impl Format {
    /// How many parts of a step have a scale of their own.
    pub const fn parts(self) -> usize {
        if self.sub == 16 { 2 } else { 1 }
    }
}
