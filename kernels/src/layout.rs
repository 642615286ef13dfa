//! What the bytes of packed weights and of quantized activations mean.
//!
//! A packed matrix is a sequence of blocks of 16 output rows (the last one padded with zero rows). Within a block, inputs
//! come in order, padded with zero weights to a multiple of 32 (`padded_cols`):
//!
//! - `F32`, `F16`, `Bf16`: for each input, its weight in the 16 rows (64 or 32 bytes).
//! - `I8`: for each group of inputs: 16 scales in f16, then for each 4 inputs 64 bytes: row `r` holds its 4 weights (i8)
//!   at bytes `4r..4r+4`. `w = scale * q`.
//! - `I4`: for each group: 16 scales in f16, then for each 8 inputs 64 bytes: row `r` holds at bytes `4r..4r+4` four
//!   bytes whose low nibbles are inputs 0–3 and high nibbles inputs 4–7. `w = scale * (q - 8)`, q in 0..16.
//! - `I4Min`: as `I4` with 16 minima in f16 after the scales. `w = scale * q + min`.
//!
//! A group is a multiple of 32 inputs; the last group of a row is shorter where the group does not divide
//! `padded_cols`. Zero padding means a weight whose value is 0 for I8 and I4 (q = 0 and q = 8); for `I4Min` q = 0, and the
//! activation's zero makes `min` harmless.
//!
//! A Q8 activation row of `k` inputs: `padded_cols(k)` bytes of i8, then one f32 scale for each 32 inputs, then one f32
//! `scale * sum(q)` for each 32 inputs; its stride is rounded up to 64 bytes.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};

#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    F32 = 0,
    F16 = 1,
    Bf16 = 2,
    I8 = 3,
    I4 = 4,
    I4Min = 5,
}

impl Kind {
    pub const ALL: [Kind; 6] = [Kind::F32, Kind::F16, Kind::Bf16, Kind::I8, Kind::I4, Kind::I4Min];

    pub fn from_u32(value: u32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u32 == value)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::F32 => "f32",
            Kind::F16 => "f16",
            Kind::Bf16 => "bf16",
            Kind::I8 => "i8",
            Kind::I4 => "i4",
            Kind::I4Min => "i4min",
        }
    }

    pub fn is_quantized(self) -> bool {
        matches!(self, Kind::I8 | Kind::I4 | Kind::I4Min)
    }

    /// Bytes that 16 rows of `inputs` inputs take, without scales.
    fn data_bytes(self, inputs: usize) -> usize {
        match self {
            Kind::F32 => 4 * BLOCK_ROWS * inputs,
            Kind::F16 | Kind::Bf16 => 2 * BLOCK_ROWS * inputs,
            Kind::I8 => BLOCK_ROWS * inputs,
            Kind::I4 | Kind::I4Min => BLOCK_ROWS * inputs / 2,
        }
    }

    /// Bytes of the scales (and minima) before each group of a block.
    pub fn group_header_bytes(self) -> usize {
        match self {
            Kind::F32 | Kind::F16 | Kind::Bf16 => 0,
            Kind::I8 | Kind::I4 => 2 * BLOCK_ROWS,
            Kind::I4Min => 4 * BLOCK_ROWS,
        }
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

/// Bytes of one block of 16 rows; `group` is ignored for float kinds.
pub fn block_bytes(kind: Kind, cols: usize, group: usize) -> usize {
    let cols = padded_cols(cols);
    let groups = if kind.is_quantized() { cols.div_ceil(group) } else { 0 };
    kind.data_bytes(cols) + groups * kind.group_header_bytes()
}

/// Bytes of a whole packed matrix.
pub fn matrix_bytes(kind: Kind, rows: usize, cols: usize, group: usize) -> usize {
    rows.div_ceil(BLOCK_ROWS) * block_bytes(kind, cols, group)
}

/// Bytes from one Q8 activation row to the next.
pub const fn q8_row_bytes(cols: usize) -> usize {
    let padded = padded_cols(cols);
    (padded + 8 * (padded / ACT_GROUP)).next_multiple_of(64)
}
