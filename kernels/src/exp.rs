//! `e^x` of additions and multiplications alone, none fused, in an order that is part of its definition: code made elsewhere that does
//! the same steps gives the same bits.
//!
//! `e^x = 2^n e^r` with `n = round(x / ln 2)` and `|r| <= ln 2 / 2`; the polynomial is Cephes' (`expf`).

/// Beyond these the value is that at the end.
pub const LEAST: f32 = -87.3;
pub const MOST: f32 = 88.0;
/// Added to a number of moderate size, it leaves the nearest integer in the lowest bits.
pub const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has so few bits that its products with `n` are exact.
pub const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// From the highest power of `r` to its square.
pub const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
/// What a float's exponent is above the power of two that it means, and where it begins.
pub const BIAS: u32 = 127;
pub const EXPONENT: u32 = 23;

/// Within 2 units in the last place from `LEAST` to `MOST`.
#[inline]
pub fn exp(x: f32) -> f32 {
    let x = if x > LEAST { x } else { LEAST };
    let x = if x < MOST { x } else { MOST };
    let rounded = x * core::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let p = POLYNOMIAL[1..].iter().fold(POLYNOMIAL[0], |p, c| p * r + c);
    let p = p * (r * r) + (r + 1.0);
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(BIAS) << EXPONENT;
    p * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for step in 0..1_600_000 {
            let x = LEAST + (MOST - LEAST) * step as f32 / 1_600_000.0;
            let exact = f64::from(x).exp();
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(exp(x)) - exact).abs() / unit);
        }
        assert!(worst <= 2.0, "off by {worst} units");
        assert_eq!([exp(0.0), exp(-0.0), exp(1e-30)], [1.0; 3]);
        assert_eq!([exp(f32::NEG_INFINITY), exp(f32::INFINITY)], [exp(LEAST), exp(MOST)]);
    }
}
