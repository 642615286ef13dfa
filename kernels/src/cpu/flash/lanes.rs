//! What attention asks of an instruction set.

use core::mem::MaybeUninit;

use crate::abi::KV_TILE;
use crate::cpu::cached::Element;

/// Work that is a function of its own in each instruction set: inlined where it is called, there would be much too much of it.
pub trait Work {
    /// Always inlined.
    fn run<L: Lanes>(self, l: L);
}

/// Vectors of f32. A value of the type proves that the CPU has the instructions.
pub trait Lanes: Copy {
    type V: Copy;
    /// A multiple of `KV_TILE`, at most two of them.
    const WIDTH: usize;
    /// Whether 32 vectors, not 16, can be held at a time.
    const MANY: bool;

    /// Whether `six_by_two` is there, which is faster than what the compiler makes.
    const SIX_BY_TWO: bool = false;
    /// Likewise `three_by_four`.
    const THREE_BY_FOUR: bool = false;

    /// Runs it, compiled with the instructions and not inlined.
    fn call(self, work: impl Work);

    fn splat(self, x: f32) -> Self::V;
    /// The first `WIDTH` values.
    fn load(self, x: &[f32]) -> Self::V;
    fn load_f16(self, x: &[u16]) -> Self::V;
    fn load_i8(self, x: &[i8]) -> Self::V;
    fn store(self, x: &mut [f32], value: Self::V);
    fn store_new(self, x: &mut [MaybeUninit<f32>], value: Self::V);
    /// A row of each tile of a vector, one after the other; where one tile is a vector, the second is ignored.
    fn tiles(self, x: [&[f32; KV_TILE]; 2]) -> Self::V;
    fn tiles_f16(self, x: [&[u16; KV_TILE]; 2]) -> Self::V;
    fn tiles_i8(self, x: [&[i8; KV_TILE]; 2]) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `2^x` for `x <= 0`; zero below −126, where it would leave the normal numbers.
    fn exp2(self, x: Self::V) -> Self::V;
    /// Asks for the cache line that holds this.
    fn prefetch<T>(self, x: &T);
    fn sum(self, x: Self::V) -> f32;
    fn largest(self, x: Self::V) -> f32;
    /// Adds products to the sums of each row and column; only where `SIX_BY_TWO`.
    fn six_by_two(self, _: SixByTwo, _: &mut [Self::V; 12]) {}
    /// The same; only where `THREE_BY_FOUR`.
    fn three_by_four(self, _: ThreeByFour, _: &mut [Self::V; 12]) {}
}

/// Products of `N` rows of f32 with `V` columns of vectors: for row `i` and column `v` the sum over `p` of `a[i][p]` times the vector at
/// `b[v][p * stride]`.
#[derive(Clone, Copy)]
pub struct Products<'a, E, const N: usize, const V: usize> {
    pub a: [&'a [f32]; N],
    pub b: [&'a [E]; V],
    pub stride: usize,
}

pub type SixByTwo<'a> = Products<'a, f32, 6, 2>;
/// With columns of f16.
pub type ThreeByFour<'a> = Products<'a, u16, 3, 4>;

/// An element of the cache as lanes load it.
pub trait Cell: Element {
    fn load<L: Lanes>(l: L, x: &[Self]) -> L::V;
    fn tiles<L: Lanes>(l: L, x: [&[Self; KV_TILE]; 2]) -> L::V;
    /// Themselves, if they are f32.
    fn floats(_: &[Self]) -> Option<&[f32]> {
        None
    }
    /// Themselves, if they are f16.
    fn halves(_: &[Self]) -> Option<&[u16]> {
        None
    }
}

impl Cell for f32 {
    #[inline(always)]
    fn load<L: Lanes>(l: L, x: &[f32]) -> L::V {
        l.load(x)
    }

    #[inline(always)]
    fn tiles<L: Lanes>(l: L, x: [&[f32; KV_TILE]; 2]) -> L::V {
        l.tiles(x)
    }

    #[inline(always)]
    fn floats(x: &[f32]) -> Option<&[f32]> {
        Some(x)
    }
}

impl Cell for u16 {
    #[inline(always)]
    fn load<L: Lanes>(l: L, x: &[u16]) -> L::V {
        l.load_f16(x)
    }

    #[inline(always)]
    fn tiles<L: Lanes>(l: L, x: [&[u16; KV_TILE]; 2]) -> L::V {
        l.tiles_f16(x)
    }

    #[inline(always)]
    fn halves(x: &[u16]) -> Option<&[u16]> {
        Some(x)
    }
}

impl Cell for i8 {
    #[inline(always)]
    fn load<L: Lanes>(l: L, x: &[i8]) -> L::V {
        l.load_i8(x)
    }

    #[inline(always)]
    fn tiles<L: Lanes>(l: L, x: [&[i8; KV_TILE]; 2]) -> L::V {
        l.tiles_i8(x)
    }
}

/// `2^x` for `|x| <= 0.5` within a unit in the last place, by powers of `x`: the least largest relative error, found by weighted least squares.
pub const EXP2: [f32; 7] =
    [1.0, core::f32::consts::LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993, 0.000_153_458_12];
