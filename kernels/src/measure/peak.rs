//! How fast this CPU multiplies and adds when nothing else is to be done: one thread, all in registers.

use std::time::Instant;

use super::Unit;
#[cfg(target_arch = "x86_64")]
use crate::cpu::x86::amx;
use crate::table::{Features, Tier};

/// Operations (a multiplication and an addition are two) a second with the best instructions that the CPU has; none where it is not
/// known how to measure that.
pub fn operations_per_second(unit: Unit) -> Option<f64> {
    const TURNS: usize = 200_000;
    let one = |turns: usize| {
        let begin = Instant::now();
        let operations = multiply(unit, turns)?;
        Some(operations as f64 / begin.elapsed().as_secs_f64())
    };
    one(TURNS)?;
    let mut rates: Vec<f64> = (0..7).filter_map(|_| one(TURNS)).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

/// How many operations were done.
#[cfg(target_arch = "x86_64")]
fn multiply(unit: Unit, turns: usize) -> Option<usize> {
    let has = |tier: Tier| Features::detect().has(tier.needs());
    // SAFETY: each call's tier is one that the CPU has.
    Some(unsafe {
        match unit {
            Unit::Byte if has(Tier::Amx) => amx::peak_of_bytes(turns),
            Unit::Bf16 if has(Tier::Amx) => amx::peak_of_pairs(turns) / 2,
            Unit::Float | Unit::Bf16 if has(Tier::Avx512) => x86::float512(turns),
            Unit::Float | Unit::Bf16 if has(Tier::Avx2) => x86::float256(turns),
            Unit::Byte if has(Tier::Avx512) => x86::byte512(turns),
            Unit::Byte if has(Tier::AvxVnni) => x86::byte_vnni(turns),
            Unit::Byte if has(Tier::Avx2) => x86::byte256(turns),
            _ => return None,
        }
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply(_: Unit, _: usize) -> Option<usize> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;
    use core::hint::black_box;

    /// Sums that do not wait for each other: more than any latency times the instructions of a cycle.
    const CHAINS: usize = 12;

    /// `$turns` times `$sum = $step` for each of the chains; the number of operations when a step has `$each`.
    macro_rules! chains {
        ($turns:ident, $each:expr, $zero:expr, |$sum:ident| $step:expr) => {{
            let mut sums = [$zero; CHAINS];
            for _ in 0..$turns {
                for $sum in &mut sums {
                    *$sum = $step;
                }
            }
            black_box(sums);
            $turns * CHAINS * $each
        }};
    }

    #[target_feature(enable = "avx512f")]
    pub fn float512(turns: usize) -> usize {
        let (a, b) = (black_box(_mm512_set1_ps(0.5)), black_box(_mm512_set1_ps(0.25)));
        chains!(turns, 32, _mm512_setzero_ps(), |sum| _mm512_fmadd_ps(*sum, a, b))
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn float256(turns: usize) -> usize {
        let (a, b) = (black_box(_mm256_set1_ps(0.5)), black_box(_mm256_set1_ps(0.25)));
        chains!(turns, 16, _mm256_setzero_ps(), |sum| _mm256_fmadd_ps(*sum, a, b))
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn byte512(turns: usize) -> usize {
        let (a, b) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(-5)));
        chains!(turns, 128, _mm512_setzero_si512(), |sum| _mm512_dpbusd_epi32(*sum, a, b))
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub fn byte_vnni(turns: usize) -> usize {
        let (a, b) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(-5)));
        chains!(turns, 64, _mm256_setzero_si256(), |sum| _mm256_dpbusd_avx_epi32(*sum, a, b))
    }

    /// Without a dot product: pairs as 16 bits, then their sum.
    #[target_feature(enable = "avx2")]
    pub fn byte256(turns: usize) -> usize {
        let b = black_box(_mm256_set1_epi8(-5));
        chains!(turns, 64, _mm256_setzero_si256(), |sum| {
            _mm256_add_epi16(*sum, _mm256_maddubs_epi16(_mm256_xor_si256(*sum, b), b))
        })
    }
}
