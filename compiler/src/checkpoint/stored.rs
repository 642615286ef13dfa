//! The leaves of lazy tensors: numbers as they lie in one file. Whoever makes one has checked that every byte is in the file.

use std::sync::Arc;

use super::encoding::Encoding;
use super::error::{Result, error};
use super::file::SourceFile;
use super::grid::{Grid, GridRow, Group};
use super::quant;

/// A matrix in one file. Strides are in bytes; `col_stride` is used by floats only (it is the size of an element unless the
/// matrix is stored transposed).
#[derive(Clone, Debug)]
pub struct Stored {
    pub file: Arc<SourceFile>,
    pub offset: usize,
    pub encoding: Encoding,
    pub row_stride: usize,
    pub col_stride: usize,
}

/// llama2.c's version 2: all numbers as i8, then all scales as f32, `group` consecutive numbers a scale. Groups run on from row
/// to row where rows do not divide into them.
#[derive(Clone, Debug)]
pub struct Int8Groups {
    pub file: Arc<SourceFile>,
    pub offset: usize,
    pub scales_offset: usize,
    pub group: usize,
}

impl Stored {
    /// The bytes of a row whose blocks lie together. The constructor checked that they are in the file.
    fn row_bytes(&self, row: usize, blocks: usize) -> &[u8] {
        let start = self.offset + row * self.row_stride;
        &self.file.bytes()[start..start + blocks * self.encoding.block_bytes()]
    }

    pub fn fill_row(&self, row: usize, out: &mut [f32]) {
        let blocks = out.len() / self.encoding.block_len();
        if self.col_stride == self.encoding.block_bytes() || blocks == 1 {
            return self.encoding.decode(self.row_bytes(row, blocks), out);
        }
        for (col, out) in out.iter_mut().enumerate() {
            let start = self.offset + row * self.row_stride + col * self.col_stride;
            let bytes = &self.file.bytes()[start..start + self.encoding.block_bytes()];
            self.encoding.decode(bytes, std::slice::from_mut(out));
        }
    }

    /// The numbers of a list of integers.
    pub fn integers(&self, shape: &[usize]) -> Result<Vec<i64>> {
        let [len] = *shape else { return Err(error!("has shape {shape:?}, but should be a list")) };
        let size = self.encoding.block_bytes();
        let number = |at: usize| {
            let start = self.offset + at * self.row_stride;
            let bytes = &self.file.bytes()[start..start + size];
            // Little-endian: the sign is in the last byte, which fills the rest.
            let mut wide = [if bytes[size - 1] < 0x80 { 0 } else { 0xff }; 8];
            wide[..size].copy_from_slice(bytes);
            i64::from_le_bytes(wide)
        };
        match self.encoding.is_integer() {
            true => Ok((0..len).map(number).collect()),
            false => Err(error!("is stored as {}", self.encoding.name())),
        }
    }

    pub fn grid(&self) -> Option<Grid> {
        Some(Grid { kind: quant::kind(self.encoding)?, group: self.encoding.block_len() })
    }

    pub fn fill_row_grid(&self, row: usize, out: &mut GridRow) {
        let Some(kind) = quant::kind(self.encoding) else { return };
        let len = self.encoding.block_len();
        let blocks = self.row_bytes(row, out.q.len() / len).chunks_exact(self.encoding.block_bytes());
        let mut group = Group::EMPTY;
        for (g, block) in blocks.enumerate() {
            quant::unpack(self.encoding, block, &mut group);
            out.put(kind, g, len, &group);
        }
    }
}

impl Int8Groups {
    fn numbers(&self, row: usize, cols: usize) -> &[u8] {
        let start = self.offset + row * cols;
        &self.file.bytes()[start..start + cols]
    }

    fn scales(&self, count: usize) -> &[[u8; 4]] {
        self.file.bytes()[self.scales_offset..self.scales_offset + 4 * count].as_chunks::<4>().0
    }

    pub fn fill_row(&self, row: usize, out: &mut [f32]) {
        let first = row * out.len();
        let scales = self.scales((first + out.len()).div_ceil(self.group));
        let numbers = self.numbers(row, out.len());
        for (i, (out, number)) in out.iter_mut().zip(numbers).enumerate() {
            *out = f32::from_le_bytes(scales[(first + i) / self.group]) * f32::from(*number as i8);
        }
    }

    pub fn fill_row_grid(&self, row: usize, out: &mut GridRow) {
        let GridRow { q, scales, .. } = out;
        let all = self.scales((row + 1) * scales.len());
        for (scale, bytes) in scales.iter_mut().zip(&all[row * (q.len() / self.group)..]) {
            *scale = f32::from_le_bytes(*bytes);
        }
        let cols = q.len();
        for (q, number) in q.iter_mut().zip(self.numbers(row, cols)) {
            *q = *number as i8;
        }
    }
}
