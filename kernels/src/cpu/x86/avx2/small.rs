//! Numbers of up to 4 bits times the inputs of some tokens, in an order and in registers that are chosen by hand: the compiler
//! interleaves a step's columns where it unrolls them, for which there are too few registers, and loops over them where it may not.
//!
//! A step's sums fit 16 bits (`linear_q8::class`). The first column's are not added but begin the sums, less `zero` times those of the
//! inputs. `zero` is a power of two or nothing, so a shift multiplies by it, which does not take the pipes that the products need.

use core::arch::asm;
use core::mem::offset_of;

use crate::cpu::q8::Q8Group;
use crate::cpu::views::Q8Rows;
use crate::cpu::x86::steps::{Decoded, Step};

use super::Avx2;
use super::linear_q8::add_min;
use super::sums::Sum;

const _: () = assert!(
    offset_of!(Q8Group, q) == 0 && offset_of!(Q8Group, scale) == 32 && offset_of!(Q8Group, sums) == 36,
    "the texts below have these numbers"
);
const _: () = assert!(offset_of!(Step<Avx2>, columns) == 0 && offset_of!(Step<Avx2>, scales) == 512);

/// What vectors are combined with.
#[repr(C)]
pub struct Constants {
    /// By how many bits the inputs' sums are shifted: what multiplies them by the number that stands for 0, or leaves nothing.
    shift: [u64; 2],
    ones: [i16; 16],
    low: [u8; 32],
}

impl Constants {
    pub fn new(zero: i16) -> Constants {
        debug_assert!(zero == 0 || (zero > 0 && zero.count_ones() == 1));
        let shift = if zero == 0 { 16 } else { zero.trailing_zeros().into() };
        Constants { shift: [shift, 0], ones: [1; 16], low: [15; 32] }
    }
}

/// The first column's products with a token's inputs at `$x`, for the rows of `{w0}` in `$a` and those of `{w1}` in `$b`.
#[rustfmt::skip]
macro_rules! first {
    ($x:literal, $a:literal, $b:literal) => {
        concat!(
            "vpbroadcastd {s}, dword ptr [", $x, " + 36]\n",
            "vpsllw {s}, {s}, xmmword ptr [{constants}]\n",
            "vpbroadcastd {x}, dword ptr [", $x, "]\n",
            "vpmaddubsw ", $a, ", {w0}, {x}\n",
            "vpsubw ", $a, ", ", $a, ", {s}\n",
            "vpmaddubsw ", $b, ", {w1}, {x}\n",
            "vpsubw ", $b, ", ", $b, ", {s}\n",
        )
    };
}

/// Adds another column's.
#[rustfmt::skip]
macro_rules! more {
    ($x:literal, $a:literal, $b:literal) => {
        concat!(
            "vpbroadcastd {x}, dword ptr [", $x, " + 4*\\column]\n",
            "vpmaddubsw {s}, {w0}, {x}\n",
            "vpaddw ", $a, ", ", $a, ", {s}\n",
            "vpmaddubsw {x}, {w1}, {x}\n",
            "vpaddw ", $b, ", ", $b, ", {x}\n",
        )
    };
}

/// One half of `last`: `$a` comes to the sums at `$at`.
#[rustfmt::skip]
macro_rules! scaled {
    ($at:expr, $scale:literal, $a:literal) => {
        concat!(
            "vpmaddwd ", $a, ", ", $a, ", {s}\n",
            "vcvtdq2ps ", $a, ", ", $a, "\n",
            "vmulps ", $a, ", ", $a, ", {x}\n",
            "vfmadd213ps ", $a, ", ", $scale, ", ymmword ptr [{sums} + ", $at, "]\n",
            "vmovups ymmword ptr [{sums} + ", $at, "], ", $a, "\n",
        )
    };
}

/// `scale * (x_scale * products)` comes to the sums of token `$t`, with the rows' scales in `{w0}` and `{w1}` and ones in `{s}`.
#[rustfmt::skip]
macro_rules! last {
    ($x:literal, $t:literal, $a:literal, $b:literal) => {
        concat!(
            "vbroadcastss {x}, dword ptr [", $x, " + 32]\n",
            scaled!(concat!("64*", $t), "{w0}", $a),
            scaled!(concat!("64*", $t, " + 32"), "{w1}", $b),
        )
    };
}

/// Adds what some steps add to the sums of tokens `t..t + 6`, where a step has one scale; returns 6.
/// (Not inlined: it would be twice in the library.)
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn six_tokens(
    isa: Avx2,
    w: &Decoded<Step<Avx2>>,
    (zero, min): (i16, bool),
    x: Q8Rows,
    t: usize,
    sums: &mut [Sum],
) -> usize {
    let (x, constants) = (x.tile::<6>(t), &Constants::new(zero));
    let Some(sums) = sums[t..].first_chunk_mut::<6>() else { return 6 };
    let mut ahead = w.ahead.in_parts(if t == 0 { w.steps.len() } else { 0 });
    for (s, step) in w.steps.iter().enumerate() {
        ahead.next();
        if min {
            add_min(isa, step.mins[0], [1, 1], x.groups(w.first + s), sums);
        }
        // SAFETY: a tile's rows are a stride apart.
        unsafe { six(step, x.bytes(w.first + s, 0), constants, sums) };
    }
    6
}

/// Adds what a step adds to the sums of six tokens, `stride` bytes apart. Twelve registers of products are as many as leave those for two of
/// weights, inputs and a column's products.
///
/// # Safety
/// `x + t * stride` is a group for `t` below 6.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn six(w: &Step<Avx2>, (x, stride): (*const u8, usize), constants: &Constants, sums: &mut [Sum; 6]) {
    // SAFETY: the caller's promise; nothing but `sums` is written.
    unsafe {
        asm!(
            "vmovdqu {w0}, ymmword ptr [{w}]",
            "vmovdqu {w1}, ymmword ptr [{w} + 32]",
            first!("{t0}", "{a}", "{b}"),
            first!("{t0} + {stride}", "{c}", "{d}"),
            first!("{t0} + 2*{stride}", "{e}", "{f}"),
            first!("{t3}", "{g}", "{h}"),
            first!("{t3} + {stride}", "{i}", "{j}"),
            first!("{t3} + 2*{stride}", "{k}", "{l}"),
            ".irp column, 1, 2, 3, 4, 5, 6, 7",
            "vmovdqu {w0}, ymmword ptr [{w} + 64*\\column]",
            "vmovdqu {w1}, ymmword ptr [{w} + 64*\\column + 32]",
            more!("{t0}", "{a}", "{b}"),
            more!("{t0} + {stride}", "{c}", "{d}"),
            more!("{t0} + 2*{stride}", "{e}", "{f}"),
            more!("{t3}", "{g}", "{h}"),
            more!("{t3} + {stride}", "{i}", "{j}"),
            more!("{t3} + 2*{stride}", "{k}", "{l}"),
            ".endr",
            "vmovups {w0}, ymmword ptr [{w} + 512]",
            "vmovups {w1}, ymmword ptr [{w} + 544]",
            "vmovdqu {s}, ymmword ptr [{constants} + 16]",
            last!("{t0}", "0", "{a}", "{b}"),
            last!("{t0} + {stride}", "1", "{c}", "{d}"),
            last!("{t0} + 2*{stride}", "2", "{e}", "{f}"),
            last!("{t3}", "3", "{g}", "{h}"),
            last!("{t3} + {stride}", "4", "{i}", "{j}"),
            last!("{t3} + 2*{stride}", "5", "{k}", "{l}"),
            w = in(reg) w,
            t0 = in(reg) x,
            t3 = in(reg) x.wrapping_add(3 * stride),
            stride = in(reg) stride,
            constants = in(reg) constants,
            sums = in(reg) sums,
            a = out(ymm_reg) _, b = out(ymm_reg) _, c = out(ymm_reg) _, d = out(ymm_reg) _, e = out(ymm_reg) _, f = out(ymm_reg) _,
            g = out(ymm_reg) _, h = out(ymm_reg) _, i = out(ymm_reg) _, j = out(ymm_reg) _, k = out(ymm_reg) _, l = out(ymm_reg) _,
            w0 = out(ymm_reg) _, w1 = out(ymm_reg) _, x = out(ymm_reg) _, s = out(ymm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// As `six`, for four tokens, whose groups are at `x`, and numbers of 4 bits as they are stored: two columns in each vector, which become bytes
/// on the way. `scales` are the rows'.
///
/// # Safety
/// `numbers` are a step's, and `x` are groups.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn four(
    numbers: *const u8,
    scales: &Sum,
    x: [*const Q8Group; 4],
    constants: &Constants,
    sums: &mut [Sum; 4],
) {
    let [t0, t1, t2, t3] = x;
    // SAFETY: the caller's promise; nothing but `sums` is written.
    unsafe {
        asm!(
            "vmovdqu {low}, ymmword ptr [{constants} + 48]",
            "vmovdqu {v0}, ymmword ptr [{w}]",
            "vmovdqu {v1}, ymmword ptr [{w} + 32]",
            "vpand {w0}, {v0}, {low}",
            "vpand {w1}, {v1}, {low}",
            first!("{t0}", "{a}", "{b}"),
            first!("{t1}", "{c}", "{d}"),
            first!("{t2}", "{e}", "{f}"),
            first!("{t3}", "{g}", "{h}"),
            ".irp column, 1, 2, 3, 4, 5, 6, 7",
            ".if \\column & 1",
            "vpsrlw {w0}, {v0}, 4",
            "vpsrlw {w1}, {v1}, 4",
            "vpand {w0}, {w0}, {low}",
            "vpand {w1}, {w1}, {low}",
            ".else",
            "vmovdqu {v0}, ymmword ptr [{w} + 32*\\column]",
            "vmovdqu {v1}, ymmword ptr [{w} + 32*\\column + 32]",
            "vpand {w0}, {v0}, {low}",
            "vpand {w1}, {v1}, {low}",
            ".endif",
            more!("{t0}", "{a}", "{b}"),
            more!("{t1}", "{c}", "{d}"),
            more!("{t2}", "{e}", "{f}"),
            more!("{t3}", "{g}", "{h}"),
            ".endr",
            "vmovups {w0}, ymmword ptr [{scales}]",
            "vmovups {w1}, ymmword ptr [{scales} + 32]",
            "vmovdqu {s}, ymmword ptr [{constants} + 16]",
            last!("{t0}", "0", "{a}", "{b}"),
            last!("{t1}", "1", "{c}", "{d}"),
            last!("{t2}", "2", "{e}", "{f}"),
            last!("{t3}", "3", "{g}", "{h}"),
            w = in(reg) numbers,
            scales = in(reg) scales,
            t0 = in(reg) t0,
            t1 = in(reg) t1,
            t2 = in(reg) t2,
            t3 = in(reg) t3,
            constants = in(reg) constants,
            sums = in(reg) sums,
            a = out(ymm_reg) _, b = out(ymm_reg) _, c = out(ymm_reg) _, d = out(ymm_reg) _,
            e = out(ymm_reg) _, f = out(ymm_reg) _, g = out(ymm_reg) _, h = out(ymm_reg) _,
            v0 = out(ymm_reg) _, v1 = out(ymm_reg) _, w0 = out(ymm_reg) _, w1 = out(ymm_reg) _,
            x = out(ymm_reg) _, s = out(ymm_reg) _, low = out(ymm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}
