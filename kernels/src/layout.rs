//! What the bytes of packed weights and of quantized activations mean.
//!
//! A packed matrix is a sequence of blocks of 16 output rows (the last one padded with zero rows). Within a block, inputs
//! come in order, padded to a multiple of 32 (`padded_cols`).
//!
//! **Float kinds** (`f32`, `f16`, `bf16`): for each input, its weight in the 16 rows (64 or 32 bytes).
//!
//! **Quantized kinds** ([`Format`]): a number `q` of `bits` bits for each weight. Inputs form groups, and a group is:
//!
//! 1. 16 scales in f16, one a row;
//! 2. with minima: 16 minima in f16;
//! 3. for each 32 inputs a *step*: sub-scales, if the kind has them, then the numbers.
//!
//! Sub-scales are i8, one for each `sub` inputs (16 or 32) of a row: 16 bytes (row `r` at byte `r`) for each `sub` inputs of the
//! step in order, then with minima as many sub-minima in the same way. A weight is
//!
//! > `w = scale * sub_scale * value(q) + min * sub_min`
//!
//! where what a kind does not have is 1, or 0 for `min`. (Kinds with a trellis store which of [`SUB_SCALES`] a sub-scale is, in 4 bits: byte `r` has row `r`
//! in its low half and row `r + 8` in its high half, in 8 bytes.) `value(q)` is
//! - `q - 2^(bits - 1)` without minima, `q` with them ([`Values::From`]);
//! - `q` as two's complement where it has 8 bits ([`Values::Signed`]);
//! - an entry of a table ([`Values::Table`]);
//! - with a trellis ([`Values::Trellis`]) an entry of a table of twice as many, which the low bits of the numbers before choose, too
//!   ([`crate::trellis`]).
//!
//! The numbers of a step lie in *planes* of 8, 4, 2 and 1 bits, as the binary digits of `bits` say (5 = 4 + 1), those with the low bits
//! of a number first; with a trellis, the lowest bits have a plane for themselves before those of the others. A plane of `p` bits takes `64 p` bytes: `p` vectors of 64 bytes. In a vector, row `r` has bytes `4r..4r + 4`; bits
//! `p k..p (k + 1)` of byte `j` of vector `v` belong to input `32 v / p + 4 k + j`. So one shift and one mask give 64 bytes that hold
//! four consecutive inputs of 16 rows, which a dot product of bytes takes as they are.
//!
//! A group is a multiple of 32 inputs; the last group of a row is shorter where the group does not divide `padded_cols`.
//! Rows of padding have scales and minima of 0; inputs of padding have `q = value^-1(0)`, or 0 with minima: the activation's zero makes
//! the minimum harmless.
//!
//! A Q8 activation row: for each 32 inputs 32 bytes of i8, their f32 scale, and two i16: `sum(q)` of the first 16 inputs and of the
//! last; its stride is rounded up to 64 bytes. A Q8x2 row is two planes: a Q8 row, and at half its stride another with what the first
//! leaves of each input. The second's scale is at most 1/254 of the first's, so the two have some 15 bits.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::trellis;

/// The numbers are part of the ABI and never change their meaning.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    F32 = 0,
    F16 = 1,
    Bf16 = 2,
    I8 = 3,
    I4 = 4,
    I4Min = 5,
    I2 = 6,
    I3 = 7,
    I5 = 8,
    I6 = 9,
    I2Min = 10,
    I3Min = 11,
    I5Min = 12,
    I6Min = 13,
    I8Min = 14,
    /// `K…`: what ggml's K-quants hold, with sub-scales of 8 bits in place of 4 or 6.
    K2 = 15,
    K3 = 16,
    K4 = 17,
    K5 = 18,
    K6 = 19,
    /// `N…`: a table of values that lie closer together near zero, where most weights are.
    N2 = 20,
    N3 = 21,
    N4 = 22,
    /// `T…`: trellis-coded; the value of a number depends on the low bits of those before it.
    T2 = 23,
    T3 = 24,
    T4 = 25,
}

/// How the numbers of a quantized kind are stored and what they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub bits: usize,
    /// Inputs that share a sub-scale, 16 or 32; 0 where there are none.
    pub sub: usize,
    pub min: bool,
    pub values: Values,
}

/// What a stored number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// `q - zero`.
    From {
        zero: u8,
    },
    /// Two's complement of 8 bits.
    Signed,
    Table(&'static [i8; 16]),
    /// Of which a number of `bits` bits and those before it choose one of `2^(bits + 1)`: see [`crate::trellis`].
    Trellis(&'static [i8; 32]),
}

/// ggml's IQ4_NL.
pub const TABLE_N4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// These two minimize the squared error of a Llama's weights in groups of 32 whose scale is the best for each (Lloyd's iteration).
pub const TABLE_N3: [i8; 16] = [-127, -76, -44, -19, 1, 21, 46, 86, 0, 0, 0, 0, 0, 0, 0, 0];
pub const TABLE_N2: [i8; 16] = [-127, -42, 8, 68, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a sub-scale of 4 bits stands for: nothing, or 127 / 2^((15 - n) / 5).
pub const SUB_SCALES: [i8; 16] = [0, 18, 21, 24, 28, 32, 36, 42, 48, 55, 64, 73, 84, 96, 111, 127];

/// One f16 scale a group.
const fn plain(bits: usize) -> Option<Format> {
    let values = if bits == 8 { Values::Signed } else { Values::From { zero: 1 << (bits - 1) } };
    Some(Format { bits, sub: 0, min: false, values })
}

/// One f16 scale and minimum a group.
const fn with_min(bits: usize) -> Option<Format> {
    let values = if bits == 8 { Values::Signed } else { Values::From { zero: 0 } };
    Some(Format { bits, sub: 0, min: true, values })
}

/// Sub-scales (and sub-minima) times a group's f16.
const fn sub_scaled(bits: usize, sub: usize, min: bool) -> Option<Format> {
    let values = Values::From { zero: if min { 0 } else { 1 << (bits - 1) } };
    Some(Format { bits, sub, min, values })
}

const fn table(bits: usize, table: &'static [i8; 16]) -> Option<Format> {
    Some(Format { bits, sub: 32, min: false, values: Values::Table(table) })
}

const fn coded(bits: usize, table: &'static [i8; 32]) -> Option<Format> {
    Some(Format { bits, sub: 32, min: false, values: Values::Trellis(table) })
}

impl Kind {
    /// In the order of their numbers.
    pub const ALL: [Kind; 26] = [
        Kind::F32,
        Kind::F16,
        Kind::Bf16,
        Kind::I8,
        Kind::I4,
        Kind::I4Min,
        Kind::I2,
        Kind::I3,
        Kind::I5,
        Kind::I6,
        Kind::I2Min,
        Kind::I3Min,
        Kind::I5Min,
        Kind::I6Min,
        Kind::I8Min,
        Kind::K2,
        Kind::K3,
        Kind::K4,
        Kind::K5,
        Kind::K6,
        Kind::N2,
        Kind::N3,
        Kind::N4,
        Kind::T2,
        Kind::T3,
        Kind::T4,
    ];

    pub fn from_u32(value: u32) -> Option<Kind> {
        Kind::ALL.get(value as usize).copied()
    }

    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::F32 => "f32",
            Kind::F16 => "f16",
            Kind::Bf16 => "bf16",
            Kind::I8 => "i8",
            Kind::I4 => "i4",
            Kind::I4Min => "i4min",
            Kind::I2 => "i2",
            Kind::I3 => "i3",
            Kind::I5 => "i5",
            Kind::I6 => "i6",
            Kind::I2Min => "i2min",
            Kind::I3Min => "i3min",
            Kind::I5Min => "i5min",
            Kind::I6Min => "i6min",
            Kind::I8Min => "i8min",
            Kind::K2 => "k2",
            Kind::K3 => "k3",
            Kind::K4 => "k4",
            Kind::K5 => "k5",
            Kind::K6 => "k6",
            Kind::N2 => "n2",
            Kind::N3 => "n3",
            Kind::N4 => "n4",
            Kind::T2 => "t2",
            Kind::T3 => "t3",
            Kind::T4 => "t4",
        }
    }

    /// None for float kinds.
    pub const fn format(self) -> Option<Format> {
        match self {
            Kind::F32 | Kind::F16 | Kind::Bf16 => None,
            Kind::I2 => plain(2),
            Kind::I3 => plain(3),
            Kind::I4 => plain(4),
            Kind::I5 => plain(5),
            Kind::I6 => plain(6),
            Kind::I8 => plain(8),
            Kind::I2Min => with_min(2),
            Kind::I3Min => with_min(3),
            Kind::I4Min => with_min(4),
            Kind::I5Min => with_min(5),
            Kind::I6Min => with_min(6),
            Kind::I8Min => with_min(8),
            Kind::K2 => sub_scaled(2, 16, true),
            Kind::K3 => sub_scaled(3, 16, false),
            Kind::K4 => sub_scaled(4, 32, true),
            Kind::K5 => sub_scaled(5, 32, true),
            Kind::K6 => sub_scaled(6, 16, false),
            Kind::N2 => table(2, &TABLE_N2),
            Kind::N3 => table(3, &TABLE_N3),
            Kind::N4 => table(4, &TABLE_N4),
            Kind::T2 => coded(2, &trellis::LEVELS_2),
            Kind::T3 => coded(3, &trellis::LEVELS_3),
            Kind::T4 => coded(4, &trellis::LEVELS_4),
        }
    }

    /// The kind of groups of numbers with one f16 scale, and one f16 minimum where `min` says so.
    pub fn plain(bits: usize, min: bool) -> Option<Kind> {
        let wanted = if min { with_min(bits) } else { plain(bits) };
        Kind::ALL.into_iter().find(|kind| wanted.is_some() && kind.format() == wanted)
    }

    pub const fn is_quantized(self) -> bool {
        self.format().is_some()
    }

    pub fn has_min(self) -> bool {
        self.format().is_some_and(|format| format.min)
    }

    /// Bytes of the scales (and minima) before each group of a block.
    pub fn group_header_bytes(self) -> usize {
        self.format().map_or(0, Format::header_bytes)
    }

    /// Bytes of 16 rows × 32 inputs.
    pub const fn step_bytes(self) -> usize {
        match (self, self.format()) {
            (_, Some(format)) => format.sub_bytes() + format.number_bytes(),
            (Kind::F32, None) => 4 * BLOCK_ROWS * ACT_GROUP,
            (_, None) => 2 * BLOCK_ROWS * ACT_GROUP,
        }
    }
}

impl Format {
    /// Bytes of a group's f16 scales and minima.
    pub const fn header_bytes(self) -> usize {
        if self.min { 4 * BLOCK_ROWS } else { 2 * BLOCK_ROWS }
    }

    /// Sub-scales of a row in a step; as many sub-minima where there are minima.
    pub const fn subs(self) -> usize {
        match ACT_GROUP.checked_div(self.sub) {
            Some(count) => count,
            None => 0,
        }
    }

    /// Bytes of a step's sub-scales and sub-minima.
    pub const fn sub_bytes(self) -> usize {
        match self.values {
            Values::Trellis(_) => self.subs() * BLOCK_ROWS / 2,
            _ => self.subs() * BLOCK_ROWS * if self.min { 2 } else { 1 },
        }
    }

    pub const fn has_trellis(self) -> bool {
        matches!(self.values, Values::Trellis(_))
    }

    /// The sub-scale nearest to `wanted` that can be stored.
    pub fn sub_scale(self, wanted: f32) -> i8 {
        if !self.has_trellis() {
            // A NaN becomes 0.
            let whole = (wanted.abs().min(127.0) + 0.5) as i8;
            return if wanted < 0.0 { -whole } else { whole };
        }
        let far = |sub: i8| (f32::from(sub) - wanted).abs();
        SUB_SCALES.into_iter().fold(0, |best, sub| if far(sub) < far(best) { sub } else { best })
    }

    /// Bytes of a step's numbers.
    pub const fn number_bytes(self) -> usize {
        self.bits * BLOCK_ROWS * ACT_GROUP / 8
    }

    /// What `q` stands for; with a trellis, what a level does.
    pub const fn value(self, q: u8) -> i32 {
        match self.values {
            Values::From { zero } => q as i32 - zero as i32,
            Values::Signed => q as i8 as i32,
            Values::Table(table) => table[q as usize & 15] as i32,
            Values::Trellis(table) => table[q as usize & 31] as i32,
        }
    }

    /// What the numbers of a row stand for, one after the other.
    pub fn values(self, q: &[i8], mut take: impl FnMut(usize, i32)) {
        if !self.has_trellis() {
            return q.iter().enumerate().for_each(|(i, q)| take(i, self.value(*q as u8)));
        }
        let mut before = 0;
        for (s, q) in q.chunks(ACT_GROUP).enumerate() {
            let mut step = [0; ACT_GROUP];
            step.iter_mut().zip(q).for_each(|(step, q)| *step = *q as u8);
            let levels = trellis::levels(&step, &mut before);
            (0..q.len()).for_each(|i| take(s * ACT_GROUP + i, self.value(levels[i])));
        }
    }

    /// The number that stands for 0, or for what is nearest to it.
    pub const fn zero(self) -> u8 {
        match self.values {
            Values::From { zero } => zero,
            Values::Signed => 0,
            Values::Table(_) => 1 << (self.bits - 1),
            Values::Trellis(_) => 0,
        }
    }

    /// The planes of a step's numbers, those with the low bits first.
    pub fn planes(self) -> impl Iterator<Item = Plane> {
        let (mut shift, first) = (0, self.has_trellis() as usize);
        let rest = self.bits - first;
        let rest = [8, 4, 2, 1].into_iter().filter(move |width| rest & width != 0);
        [1].into_iter().take(first).chain(rest).map(move |width| {
            let plane = Plane { width, shift };
            shift += width;
            plane
        })
    }
}

/// A plane: bits `shift..shift + width` of each number of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    pub width: usize,
    pub shift: usize,
}

impl Plane {
    /// Where its bytes lie among those of a step's numbers.
    pub const fn bytes(self) -> core::ops::Range<usize> {
        let bytes_per_bit = BLOCK_ROWS * ACT_GROUP / 8;
        self.shift * bytes_per_bit..(self.shift + self.width) * bytes_per_bit
    }
}

/// Inputs after padding.
pub const fn padded_cols(cols: usize) -> usize {
    cols.next_multiple_of(ACT_GROUP)
}

/// f32 values in a buffer's row after padding.
pub const fn padded_width(width: usize) -> usize {
    width.next_multiple_of(BLOCK_ROWS)
}

/// Groups of a row; 0 for float kinds.
pub fn groups(kind: Kind, cols: usize, group: usize) -> usize {
    if kind.is_quantized() { padded_cols(cols).div_ceil(group) } else { 0 }
}

/// Sub-scales of a row.
pub fn sub_scales(kind: Kind, cols: usize) -> usize {
    kind.format().map_or(0, |format| padded_cols(cols) / ACT_GROUP * format.subs())
}

/// Bytes of one block of 16 rows; `group` is ignored for float kinds.
pub fn block_bytes(kind: Kind, cols: usize, group: usize) -> usize {
    let steps = padded_cols(cols) / ACT_GROUP;
    groups(kind, cols, group) * kind.group_header_bytes() + steps * kind.step_bytes()
}

/// Bytes of a whole packed matrix.
pub fn matrix_bytes(kind: Kind, rows: usize, cols: usize, group: usize) -> usize {
    rows.div_ceil(BLOCK_ROWS) * block_bytes(kind, cols, group)
}

/// Bytes of 32 inputs of a Q8 activation row.
pub const Q8_GROUP_BYTES: usize = ACT_GROUP + 8;

/// Bytes from one Q8 activation row to the next.
pub const fn q8_row_bytes(cols: usize) -> usize {
    (padded_cols(cols) / ACT_GROUP * Q8_GROUP_BYTES).next_multiple_of(64)
}

/// Bytes from one Q8x2 activation row to the next.
pub const fn q8x2_row_bytes(cols: usize) -> usize {
    2 * q8_row_bytes(cols)
}
