//! Small unsigned integers, a few bits each, as quantized checkpoints pack them into 32-bit words.

use std::sync::Arc;

use super::super::encoding::Encoding;
use super::super::error::{Result, error};
use super::super::file::SourceFile;
use super::super::tensor::Tensor;

/// A matrix of codes: one for each weight, or one for each group's zero point.
#[derive(Clone, Debug)]
pub enum Codes {
    Words(Words),
    /// Signed bytes, to which `bias` is added.
    Bytes {
        bytes: Tensor,
        bias: i32,
    },
}

/// Which neighbours share a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    Rows,
    Cols,
}

/// How a matrix of codes lies in a matrix of words.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub along: Along,
    /// The words of one run lie in a column of the stored matrix, not in a row.
    pub words_down: bool,
    /// AWQ's order: the eight 4-bit codes of a word, from the lowest bits on, are numbers 0, 2, 4, 6, 1, 3, 5, 7.
    pub interleaved: bool,
    /// Each code is stored as one less than it is. Who writes this subtracts in whole words, but from 3-bit codes, which words
    /// cut, one by one; so 0 borrows from its neighbour in the former and becomes 7 in the latter.
    pub one_less: bool,
}

/// Codes in bit streams: number `k` of a stream begins at bit `k * bits`, counted through its words from the lowest bit on.
#[derive(Clone, Debug)]
pub struct Words {
    file: Arc<SourceFile>,
    offset: usize,
    bits: u32,
    layout: Layout,
    /// Bytes from a word to the next of its stream, and from a stream to the next.
    word_stride: usize,
    stream_stride: usize,
}

const WORD_BITS: usize = 32;

/// Where each of eight codes is in AWQ's order.
const INTERLEAVED: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

impl Codes {
    /// `rows x cols` codes in 32-bit words; `words` must have the shape that they take.
    pub fn in_words(words: &Tensor, bits: u32, [rows, cols]: [usize; 2], layout: Layout) -> Result<Codes> {
        let (len, streams) = match layout.along {
            Along::Rows => (rows, cols),
            Along::Cols => (cols, rows),
        };
        let count = len.saturating_mul(bits as usize).div_ceil(WORD_BITS);
        let expected = if layout.words_down { [count, streams] } else { [streams, count] };
        let stored = words.as_stored(Encoding::I32)?;
        if words.shape() != expected {
            let found = words.shape();
            return Err(error!(
                "tensor {}: has shape {found:?}, but {rows} x {cols} numbers of {bits} bits take {expected:?}",
                words.name()
            ));
        }
        let strides = [stored.row_stride, stored.col_stride];
        let [word_stride, stream_stride] = if layout.words_down { strides } else { [strides[1], strides[0]] };
        let (file, offset) = (Arc::clone(&stored.file), stored.offset);
        Ok(Codes::Words(Words { file, offset, bits, layout, word_stride, stream_stride }))
    }

    /// Signed bytes; what they stand for is `bias` more.
    pub fn in_bytes(bytes: Tensor, bias: i32) -> Result<Codes> {
        bytes.as_stored(Encoding::I8)?;
        Ok(Codes::Bytes { bytes, bias })
    }

    /// A row of codes.
    pub fn fill_row(&self, row: usize, out: &mut [i32]) -> Result<()> {
        match self {
            Codes::Words(words) => {
                words.fill_row(row, out);
                Ok(())
            }
            Codes::Bytes { bytes, bias } => {
                let mut values = vec![0.0; out.len()];
                bytes.read_row(row, &mut values)?;
                out.iter_mut().zip(values).for_each(|(out, value)| *out = value as i32 + bias);
                Ok(())
            }
        }
    }
}

impl Words {
    /// The word, which the constructor checked to be in the file.
    fn word(&self, stream: usize, word: usize) -> u32 {
        let start = self.offset + stream * self.stream_stride + word * self.word_stride;
        let bytes = self.file.bytes()[start..].first_chunk::<4>();
        let word = bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        match self.layout.one_less && self.in_whole_words() {
            true => word.wrapping_add(u32::MAX / self.mask()),
            false => word,
        }
    }

    fn mask(&self) -> u32 {
        (1 << self.bits) - 1
    }

    fn in_whole_words(&self) -> bool {
        u32::BITS.is_multiple_of(self.bits)
    }

    fn code(&self, stream: usize, index: usize) -> i32 {
        let index = if self.layout.interleaved { index & !7 | INTERLEAVED[index & 7] } else { index };
        let bit = index * self.bits as usize;
        let (word, shift) = (bit / WORD_BITS, bit as u32 % u32::BITS);
        let low = self.word(stream, word) >> shift;
        let held = u32::BITS - shift;
        let high = if held < self.bits { self.word(stream, word + 1) << held } else { 0 };
        let code = low | high;
        let one_more = self.layout.one_less && !self.in_whole_words();
        ((if one_more { code.wrapping_add(1) } else { code }) & self.mask()) as i32
    }

    fn fill_row(&self, row: usize, out: &mut [i32]) {
        let each_word_once = self.layout.along == Along::Cols && !self.layout.interleaved && self.in_whole_words();
        if each_word_once {
            for (word, out) in out.chunks_mut((u32::BITS / self.bits) as usize).enumerate() {
                let mut word = self.word(row, word);
                for out in out {
                    *out = (word & self.mask()) as i32;
                    word >>= self.bits;
                }
            }
            return;
        }
        for (col, out) in out.iter_mut().enumerate() {
            *out = match self.layout.along {
                Along::Rows => self.code(col, row),
                Along::Cols => self.code(row, col),
            };
        }
    }
}
