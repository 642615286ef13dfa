//! GGUF's blocks of quantized numbers, each unpacked to one form: groups with a scale and a minimum, and small integers,
//! `w = scale * q + min`.
//!
//! The layouts are ggml's (`ggml-common.h`); `d` and `dmin` are a block's f16 factors. Every function here is given a block of
//! exactly `block_bytes` bytes, which fixed positions then index.

use half::f16;

use super::encoding::Encoding;

/// Most groups that a block has: 256 elements in groups of 16.
pub const MAX_GROUPS: usize = 16;

/// What 4 bits of IQ4_NL and IQ4_XS stand for.
const CODEBOOK: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Elements that share a scale.
pub fn group_len(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Q2K | Encoding::Q3K | Encoding::Q6K => 16,
        _ => 32,
    }
}

/// Writes the f32 values of one block.
pub fn dequantize(encoding: Encoding, block: &[u8], out: &mut [f32]) {
    let mut q = [0i8; 256];
    let (mut scales, mut mins) = ([0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
    unpack(encoding, block, &mut q, &mut scales, &mut mins);
    let len = group_len(encoding);
    let groups = out.chunks_exact_mut(len).zip(q.chunks_exact(len));
    for ((out, q), (scale, min)) in groups.zip(scales.into_iter().zip(mins)) {
        for (out, q) in out.iter_mut().zip(q) {
            *out = scale * f32::from(*q) + min;
        }
    }
}

/// Unpacks one block; `q` has room for its elements, `scales` and `mins` for its groups. Minima are left alone by
/// formats that have none.
pub fn unpack(encoding: Encoding, block: &[u8], q: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
    match encoding {
        Encoding::Q4_0 => {
            scales[0] = factor(block, 0);
            nibbles(&block[2..18], q, |nibble| nibble as i8 - 8);
        }
        Encoding::Q4_1 => {
            scales[0] = factor(block, 0);
            mins[0] = factor(block, 2);
            nibbles(&block[4..20], q, |nibble| nibble as i8);
        }
        Encoding::Q5_0 => {
            scales[0] = factor(block, 0);
            nibbles(&block[6..22], q, |nibble| nibble as i8 - 16);
            fifth_bits(&block[2..6], q);
        }
        Encoding::Q5_1 => {
            scales[0] = factor(block, 0);
            mins[0] = factor(block, 2);
            nibbles(&block[8..24], q, |nibble| nibble as i8);
            fifth_bits(&block[4..8], q);
        }
        Encoding::Q8_0 => {
            scales[0] = factor(block, 0);
            for (q, byte) in q.iter_mut().zip(&block[2..34]) {
                *q = *byte as i8;
            }
        }
        Encoding::Iq4Nl => {
            scales[0] = factor(block, 0);
            nibbles(&block[2..18], q, |nibble| CODEBOOK[usize::from(nibble)]);
        }
        Encoding::Iq4Xs => iq4_xs(block, q, scales),
        Encoding::Q2K => q2_k(block, q, scales, mins),
        Encoding::Q3K => q3_k(block, q, scales),
        Encoding::Q4K => {
            six_bit_scales(block, scales, mins);
            nibble_pairs_of_groups(&block[16..144], q);
        }
        Encoding::Q5K => {
            six_bit_scales(block, scales, mins);
            nibble_pairs_of_groups(&block[48..176], q);
            for (group, q) in q.chunks_exact_mut(32).enumerate() {
                for (q, high) in q.iter_mut().zip(&block[16..48]) {
                    *q |= ((high >> group & 1) << 4) as i8;
                }
            }
        }
        Encoding::Q6K => q6_k(block, q, scales),
        Encoding::F64 | Encoding::F32 | Encoding::F16 | Encoding::Bf16 => unreachable!("floats have no blocks"),
    }
}

fn factor(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 16 bytes hold 32 elements: first the low nibbles, then the high ones.
fn nibbles(bytes: &[u8], q: &mut [i8], value: impl Fn(u8) -> i8) {
    let (low, high) = q[..32].split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

/// Adds the bit of weight 16 of each of 32 elements.
fn fifth_bits(bytes: &[u8], q: &mut [i8]) {
    for (i, q) in q[..32].iter_mut().enumerate() {
        *q += ((bytes[i / 8] >> (i % 8) & 1) << 4) as i8;
    }
}

/// Each 32 bytes hold two groups: one in the low nibbles, the next in the high ones.
fn nibble_pairs_of_groups(bytes: &[u8], q: &mut [i8]) {
    for (bytes, q) in bytes.chunks_exact(32).zip(q.chunks_exact_mut(64)) {
        let (low, high) = q.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = (byte & 15) as i8;
            *high = (byte >> 4) as i8;
        }
    }
}

/// The 8 scales and 8 minima of Q4_K and Q5_K, 6 bits each in 12 bytes: those of groups 0–3 lie in the low 6 bits of bytes 0–3
/// and 4–7; those of groups 4–7 have their low 4 bits in bytes 8–11 and their high 2 above the former.
fn six_bit_scales(block: &[u8], scales: &mut [f32], mins: &mut [f32]) {
    let (d, dmin, packed) = (factor(block, 0), factor(block, 2), &block[4..16]);
    for i in 0..4 {
        scales[i] = d * f32::from(packed[i] & 63);
        mins[i] = -(dmin * f32::from(packed[4 + i] & 63));
        scales[4 + i] = d * f32::from(packed[8 + i] & 15 | packed[i] >> 6 << 4);
        mins[4 + i] = -(dmin * f32::from(packed[8 + i] >> 4 | packed[4 + i] >> 6 << 4));
    }
}

/// 64 bytes of 2-bit numbers: each 32 bytes hold 4 runs of 32 elements, one run in each pair of bits.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3
}

fn q2_k(block: &[u8], q: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
    let (d, dmin) = (factor(block, 80), factor(block, 82));
    for ((scale, min), byte) in scales.iter_mut().zip(mins).zip(&block[..16]) {
        *scale = d * f32::from(byte & 15);
        *min = -(dmin * f32::from(byte >> 4));
    }
    for (i, q) in q[..256].iter_mut().enumerate() {
        *q = two_bits(&block[16..80], i) as i8;
    }
}

/// Scales are 6 bits: 4 low ones as 16 nibbles in 8 bytes, 2 high ones in 4 bytes more. The third bit of an element lies in
/// the first 32 bytes; where it is clear, 4 is subtracted.
fn q3_k(block: &[u8], q: &mut [i8], scales: &mut [f32]) {
    let (packed, d) = (&block[96..108], factor(block, 108));
    for (i, scale) in scales[..16].iter_mut().enumerate() {
        let low = packed[i % 8] >> (i / 8 * 4) & 15;
        let high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
        *scale = d * (f32::from(low | high << 4) - 32.0);
    }
    for (i, q) in q[..256].iter_mut().enumerate() {
        let third = block[i % 32] >> (i / 32) & 1;
        *q = two_bits(&block[32..96], i) as i8 - 4 * (1 - third as i8);
    }
}

fn q6_k(block: &[u8], q: &mut [i8], scales: &mut [f32]) {
    let (low, high, d) = (&block[..128], &block[128..192], factor(block, 208));
    for (scale, byte) in scales.iter_mut().zip(&block[192..208]) {
        *scale = d * f32::from(*byte as i8);
    }
    for (i, q) in q[..256].iter_mut().enumerate() {
        let four = low[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15;
        *q = (four | two_bits(high, i) << 4) as i8 - 32;
    }
}

fn iq4_xs(block: &[u8], q: &mut [i8], scales: &mut [f32]) {
    let d = factor(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (i, scale) in scales[..8].iter_mut().enumerate() {
        let four = block[4 + i / 2] >> (i % 2 * 4) & 15;
        let two = (high >> (2 * i) & 3) as u8;
        *scale = d * (f32::from(four | two << 4) - 32.0);
    }
    for (bytes, q) in block[8..136].chunks_exact(16).zip(q.chunks_exact_mut(32)) {
        nibbles(bytes, q, |nibble| CODEBOOK[usize::from(nibble)]);
    }
}
