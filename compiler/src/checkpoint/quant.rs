//! GGUF's blocks of quantized numbers. Each is a group of a packed kind ([`kind`]), number for number; nothing is rounded.
//!
//! The layouts are ggml's (`ggml-common.h`); `d` and `dmin` are a block's f16 factors. Every function here is given a block of
//! exactly `block_bytes` bytes, which fixed positions then index.

use half::f16;
use tc_kernels::layout::Kind;

use super::encoding::Encoding;
use super::grid::Group;

/// The packed kind whose groups are this format's blocks.
pub fn kind(encoding: Encoding) -> Option<Kind> {
    Some(match encoding {
        Encoding::Q4_0 => Kind::I4,
        Encoding::Q4_1 => Kind::I4Min,
        Encoding::Q5_0 => Kind::I5,
        Encoding::Q5_1 => Kind::I5Min,
        Encoding::Q8_0 => Kind::I8,
        Encoding::Q2K => Kind::K2,
        Encoding::Q3K => Kind::K3,
        Encoding::Q4K => Kind::K4,
        Encoding::Q5K => Kind::K5,
        Encoding::Q6K => Kind::K6,
        Encoding::Iq4Nl | Encoding::Iq4Xs => Kind::N4,
        Encoding::F64 | Encoding::F32 | Encoding::F16 | Encoding::Bf16 => return None,
        Encoding::I8 | Encoding::I32 | Encoding::I64 => return None,
    })
}

/// Writes the f32 values of one block.
pub fn dequantize(encoding: Encoding, block: &[u8], out: &mut [f32]) {
    let mut group = Group::EMPTY;
    if let Some(kind) = kind(encoding) {
        unpack(encoding, block, &mut group);
        group.values(kind, out);
    }
}

/// Unpacks one block. What the format does not have is left alone.
pub fn unpack(encoding: Encoding, block: &[u8], group: &mut Group) {
    let q = &mut group.q;
    match encoding {
        Encoding::Q4_0 => {
            group.scale = factor(block, 0);
            nibbles(&block[2..18], q);
        }
        Encoding::Q4_1 => {
            (group.scale, group.min) = (factor(block, 0), factor(block, 2));
            nibbles(&block[4..20], q);
        }
        Encoding::Q5_0 => {
            group.scale = factor(block, 0);
            nibbles(&block[6..22], q);
            fifth_bits(&block[2..6], q);
        }
        Encoding::Q5_1 => {
            (group.scale, group.min) = (factor(block, 0), factor(block, 2));
            nibbles(&block[8..24], q);
            fifth_bits(&block[4..8], q);
        }
        Encoding::Q8_0 => {
            group.scale = factor(block, 0);
            for (q, byte) in q.iter_mut().zip(&block[2..34]) {
                *q = *byte as i8;
            }
        }
        Encoding::Iq4Nl => {
            (group.scale, group.sub_scales[0]) = (factor(block, 0), 1);
            nibbles(&block[2..18], q);
        }
        Encoding::Iq4Xs => iq4_xs(block, group),
        Encoding::Q2K => q2_k(block, group),
        Encoding::Q3K => q3_k(block, group),
        Encoding::Q4K => {
            six_bit_scales(block, group);
            nibble_pairs_of_groups(&block[16..144], &mut group.q);
        }
        Encoding::Q5K => {
            six_bit_scales(block, group);
            nibble_pairs_of_groups(&block[48..176], &mut group.q);
            for (run, q) in group.q.chunks_exact_mut(32).enumerate() {
                for (q, high) in q.iter_mut().zip(&block[16..48]) {
                    *q |= ((high >> run & 1) << 4) as i8;
                }
            }
        }
        Encoding::Q6K => q6_k(block, group),
        Encoding::F64 | Encoding::F32 | Encoding::F16 | Encoding::Bf16 => unreachable!("floats have no blocks"),
        Encoding::I8 | Encoding::I32 | Encoding::I64 => unreachable!("integers have no blocks"),
    }
}

fn factor(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 16 bytes hold 32 elements: first the low nibbles, then the high ones.
fn nibbles(bytes: &[u8], q: &mut [i8]) {
    let (low, high) = q[..32].split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = (byte & 15) as i8;
        *high = (byte >> 4) as i8;
    }
}

/// The bit of weight 16 of each of 32 elements.
fn fifth_bits(bytes: &[u8], q: &mut [i8]) {
    for (i, q) in q[..32].iter_mut().enumerate() {
        *q |= ((bytes[i / 8] >> (i % 8) & 1) << 4) as i8;
    }
}

/// Each 32 bytes hold two runs of 32: one in the low nibbles, the next in the high ones.
fn nibble_pairs_of_groups(bytes: &[u8], q: &mut [i8]) {
    for (bytes, q) in bytes.chunks_exact(32).zip(q.chunks_exact_mut(64)) {
        let (low, high) = q.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = (byte & 15) as i8;
            *high = (byte >> 4) as i8;
        }
    }
}

/// The 8 scales and 8 minima of Q4_K and Q5_K, 6 bits each in 12 bytes: those of runs 0–3 lie in the low 6 bits of bytes 0–3
/// and 4–7; those of runs 4–7 have their low 4 bits in bytes 8–11 and their high 2 above the former. Minima are subtracted.
fn six_bit_scales(block: &[u8], group: &mut Group) {
    (group.scale, group.min) = (factor(block, 0), -factor(block, 2));
    let packed = &block[4..16];
    for i in 0..4 {
        group.sub_scales[i] = (packed[i] & 63) as i8;
        group.sub_mins[i] = (packed[4 + i] & 63) as i8;
        group.sub_scales[4 + i] = (packed[8 + i] & 15 | packed[i] >> 6 << 4) as i8;
        group.sub_mins[4 + i] = (packed[8 + i] >> 4 | packed[4 + i] >> 6 << 4) as i8;
    }
}

/// 64 bytes of 2-bit numbers: each 32 bytes hold 4 runs of 32 elements, one run in each pair of bits.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3
}

fn q2_k(block: &[u8], group: &mut Group) {
    (group.scale, group.min) = (factor(block, 80), -factor(block, 82));
    for (i, byte) in block[..16].iter().enumerate() {
        group.sub_scales[i] = (byte & 15) as i8;
        group.sub_mins[i] = (byte >> 4) as i8;
    }
    for (i, q) in group.q.iter_mut().enumerate() {
        *q = two_bits(&block[16..80], i) as i8;
    }
}

/// Scales are 6 bits: 4 low ones as 16 nibbles in 8 bytes, 2 high ones in 4 bytes more. The third bit of an element lies in
/// the first 32 bytes.
fn q3_k(block: &[u8], group: &mut Group) {
    let packed = &block[96..108];
    group.scale = factor(block, 108);
    for (i, sub) in group.sub_scales.iter_mut().enumerate() {
        let low = packed[i % 8] >> (i / 8 * 4) & 15;
        let high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
        *sub = (low | high << 4) as i8 - 32;
    }
    for (i, q) in group.q.iter_mut().enumerate() {
        let third = block[i % 32] >> (i / 32) & 1;
        *q = (two_bits(&block[32..96], i) | third << 2) as i8;
    }
}

fn q6_k(block: &[u8], group: &mut Group) {
    let (low, high) = (&block[..128], &block[128..192]);
    group.scale = factor(block, 208);
    for (sub, byte) in group.sub_scales.iter_mut().zip(&block[192..208]) {
        *sub = *byte as i8;
    }
    for (i, q) in group.q.iter_mut().enumerate() {
        let four = low[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15;
        *q = (four | two_bits(high, i) << 4) as i8;
    }
}

fn iq4_xs(block: &[u8], group: &mut Group) {
    group.scale = factor(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (i, sub) in group.sub_scales[..8].iter_mut().enumerate() {
        let four = block[4 + i / 2] >> (i % 2 * 4) & 15;
        let two = (high >> (2 * i) & 3) as u8;
        *sub = (four | two << 4) as i8 - 32;
    }
    for (bytes, q) in block[8..136].chunks_exact(16).zip(group.q.chunks_exact_mut(32)) {
        nibbles(bytes, q);
    }
}
