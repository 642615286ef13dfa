//! Passes over a row of logits, written so that compilers turn them into vectors: the loop that carries a maximum from each logit to the
//! next costs as much as a layer of a small model.

/// What is not finite has all bits of its exponent set.
pub fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = f32::INFINITY.to_bits();
    values.iter().fold(0, |odd, value| odd | u32::from(value.to_bits() & EXPONENT == EXPONENT)) == 0
}

/// Neither infinity nor what is no number, which is not below it.
pub fn all_below_infinity(values: &[f32]) -> bool {
    values.iter().fold(1, |all, value| all & u32::from(*value < f32::INFINITY)) == 1
}

/// The highest of numbers.
pub fn highest(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let higher = |most: f32, value: f32| if value > most { value } else { most };
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for values in whole {
        for (most, value) in most.iter_mut().zip(values) {
            *most = higher(*most, *value);
        }
    }
    most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_counts() {
        for len in [1, 15, 16, 17, 100] {
            for at in 0..len {
                let mut values = vec![-3.0f32; len];
                values[at] = 2.5;
                assert!(all_finite(&values) && all_below_infinity(&values));
                assert_eq!(highest(&values), 2.5);
                for odd in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[at] = odd;
                    assert!(!all_finite(&values));
                    assert_eq!(all_below_infinity(&values), odd == f32::NEG_INFINITY);
                }
            }
        }
        assert!(all_finite(&[f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE / 2.0]));
        assert_eq!(highest(&[f32::NEG_INFINITY; 20]), f32::NEG_INFINITY);
    }
}
