//! How a stored tensor's numbers are written, and reading runs of them as f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::quant;

/// A number format: plain floats, GGUF's blocks of quantized numbers, or integers, of which quantized matrices have parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    F64,
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    I8,
    I32,
    I64,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Encoding::F64 => "f64",
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Bf16 => "bf16",
            Encoding::Q4_0 => "q4_0",
            Encoding::Q4_1 => "q4_1",
            Encoding::Q5_0 => "q5_0",
            Encoding::Q5_1 => "q5_1",
            Encoding::Q8_0 => "q8_0",
            Encoding::Q2K => "q2_k",
            Encoding::Q3K => "q3_k",
            Encoding::Q4K => "q4_k",
            Encoding::Q5K => "q5_k",
            Encoding::Q6K => "q6_k",
            Encoding::Iq4Nl => "iq4_nl",
            Encoding::Iq4Xs => "iq4_xs",
            Encoding::I8 => "int8",
            Encoding::I32 => "int32",
            Encoding::I64 => "int64",
        }
    }

    /// Consecutive elements of a row that are stored together.
    pub fn block_len(self) -> usize {
        match self {
            Encoding::F64 | Encoding::F32 | Encoding::F16 | Encoding::Bf16 => 1,
            Encoding::I8 | Encoding::I32 | Encoding::I64 => 1,
            Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q5_0 | Encoding::Q5_1 => 32,
            Encoding::Q8_0 | Encoding::Iq4Nl => 32,
            Encoding::Q2K | Encoding::Q3K | Encoding::Q4K | Encoding::Q5K | Encoding::Q6K | Encoding::Iq4Xs => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Encoding::F64 | Encoding::I64 => 8,
            Encoding::F32 | Encoding::I32 => 4,
            Encoding::F16 | Encoding::Bf16 => 2,
            Encoding::I8 => 1,
            Encoding::Q4_0 | Encoding::Iq4Nl => 2 + 16,
            Encoding::Q4_1 => 4 + 16,
            Encoding::Q5_0 => 2 + 4 + 16,
            Encoding::Q5_1 => 4 + 4 + 16,
            Encoding::Q8_0 => 2 + 32,
            Encoding::Q2K => 16 + 64 + 4,
            Encoding::Q3K => 32 + 64 + 12 + 2,
            Encoding::Q4K => 4 + 12 + 128,
            Encoding::Q5K => 4 + 12 + 32 + 128,
            Encoding::Q6K => 128 + 64 + 16 + 2,
            Encoding::Iq4Xs => 2 + 2 + 4 + 128,
        }
    }

    pub fn is_float(self) -> bool {
        self.block_len() == 1 && !self.is_integer()
    }

    pub fn is_integer(self) -> bool {
        matches!(self, Encoding::I8 | Encoding::I32 | Encoding::I64)
    }

    /// Bytes of `elements` consecutive elements; `None` where they are not whole blocks or too many.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        match elements.is_multiple_of(self.block_len()) {
            true => (elements / self.block_len()).checked_mul(self.block_bytes()),
            false => None,
        }
    }

    /// Decodes consecutive elements. `bytes` holds exactly `out.len()` of them.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Encoding::F64 => decode_each(bytes, out, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
            Encoding::F32 => decode_each(bytes, out, f32::from_le_bytes),
            Encoding::Bf16 => {
                decode_each(bytes, out, |b: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
            }
            Encoding::F16 => decode_f16(bytes, out),
            Encoding::I8 => decode_each(bytes, out, |b: [u8; 1]| f32::from(i8::from_le_bytes(b))),
            Encoding::I32 => decode_each(bytes, out, |b| i32::from_le_bytes(b) as f32),
            Encoding::I64 => decode_each(bytes, out, |b| i64::from_le_bytes(b) as f32),
            _ => {
                let blocks = bytes.chunks_exact(self.block_bytes());
                for (block, out) in blocks.zip(out.chunks_exact_mut(self.block_len())) {
                    quant::dequantize(self, block, out);
                }
            }
        }
    }
}

fn decode_each<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (bytes, out) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *out = decode(*bytes);
    }
}

/// Through a small buffer, because `half` converts many at a time far faster than one by one.
fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; 256];
    for (bytes, out) in bytes.chunks(2 * halves.len()).zip(out.chunks_mut(halves.len())) {
        let pairs = bytes.as_chunks::<2>().0;
        for (half, pair) in halves.iter_mut().zip(pairs) {
            *half = f16::from_le_bytes(*pair);
        }
        if let Some(halves) = halves.get(..out.len()) {
            halves.convert_to_f32_slice(out);
        }
    }
}
