//! IEEE binary16 and bfloat16 as their bits. To f32 is exact; from f32 rounds to nearest, ties to even.

pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    let value = match magnitude >> 10 {
        // Subnormal: an integer number of 2^-24, which f32 holds exactly.
        0 => (magnitude as f32 * (1.0 / 16_777_216.0)).to_bits(),
        // Infinity and NaN keep their mantissa.
        31 => 0x7f80_0000 | (magnitude & 0x3ff) << 13,
        _ => (magnitude << 13) + ((127 - 15) << 23),
    };
    f32::from_bits(sign | value)
}

pub fn f32_to_f16(value: f32) -> u16 {
    /// 65520: halfway between the largest f16 and the next power of two, rounds to infinity.
    const OVERFLOW: u32 = 0x477f_f000;
    /// 2^-14, the smallest normal f16.
    const SMALLEST_NORMAL: u32 = 0x3880_0000;
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        // A NaN stays one even when its payload lies below the kept bits.
        0x7e00 | (magnitude >> 13 & 0x3ff) as u16
    } else if magnitude >= OVERFLOW {
        0x7c00
    } else if magnitude < SMALLEST_NORMAL {
        // Adding 0.5 puts the unit of the last f32 bit at 2^-24, so the addition itself rounds.
        (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits()) as u16
    } else {
        let rebiased = magnitude - ((127 - 15) << 23);
        (round_to_even(rebiased, 13)) as u16
    };
    sign | half
}

pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

pub fn f32_to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return (value.to_bits() >> 16) as u16 | 0x40;
    }
    round_to_even(value.to_bits(), 16) as u16
}

/// `bits >> shift`, rounded to nearest, ties to even.
fn round_to_even(bits: u32, shift: u32) -> u32 {
    let odd = bits >> shift & 1;
    (bits + (1 << (shift - 1)) - 1 + odd) >> shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_survives_a_round_trip() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            let back = f32_to_f16(value);
            if value.is_nan() {
                assert!(f16_to_f32(back).is_nan() && back & 0x8000 == bits & 0x8000, "{bits:#06x}");
            } else {
                assert_eq!(back, bits, "{bits:#06x} = {value}");
            }
        }
    }

    #[test]
    fn every_bf16_survives_a_round_trip() {
        for bits in 0..=u16::MAX {
            let value = bf16_to_f32(bits);
            let back = f32_to_bf16(value);
            assert!(back == bits || (value.is_nan() && bf16_to_f32(back).is_nan()), "{bits:#06x}");
        }
    }

    #[test]
    fn known_f16_values() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (1, 5.960_464_5e-8), (0x3555, 0.333_251_95)]
        {
            assert_eq!(f16_to_f32(bits), value);
        }
        assert_eq!(f16_to_f32(0x7c00), f32::INFINITY);
        assert_eq!(f16_to_f32(0x8000).to_bits(), (-0.0f32).to_bits());
    }

    /// Between every two neighbours: below, at and above the midpoint.
    #[test]
    fn f16_rounds_to_nearest_even() {
        for low in 0..0x7bffu16 {
            let (a, b) = (f16_to_f32(low), f16_to_f32(low + 1));
            let middle = a + (b - a) / 2.0;
            assert_eq!(f32_to_f16(middle), low + (low & 1), "midpoint after {low:#06x}");
            assert_eq!(f32_to_f16(middle.next_down()), low);
            assert_eq!(f32_to_f16(-middle.next_up()), (low + 1) | 0x8000);
        }
        assert_eq!(f32_to_f16(65519.99), 0x7bff);
        assert_eq!(f32_to_f16(65520.0), 0x7c00);
        assert_eq!(f32_to_f16(f32::MIN_POSITIVE), 0);
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for low in (0..0x7f7fu16).step_by(7) {
            let middle = f32::from_bits(u32::from(low) << 16 | 0x8000);
            assert_eq!(f32_to_bf16(middle), low + (low & 1));
            assert_eq!(f32_to_bf16(middle.next_down()), low);
            assert_eq!(f32_to_bf16(middle.next_up()), low + 1);
        }
        assert_eq!(f32_to_bf16(f32::MAX), 0x7f80);
    }
}
