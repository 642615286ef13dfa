//! Six rows times two columns of vectors, as many sums as the registers hold, in an order that is chosen by hand: unrolled by the compiler
//! the products are interleaved, for which there are too few registers; not unrolled they reach four fifths of what the multipliers give.

use core::arch::asm;
use core::arch::x86_64::__m256;

use crate::cpu::flash::SixByTwo;

/// The products of input `$p` from here.
#[rustfmt::skip]
macro_rules! input {
    ($p:literal) => {
        concat!(
            "vmovups {left}, ymmword ptr [{b0}]\n",
            "vmovups {right}, ymmword ptr [{b1}]\n",
            "add {b0}, {stride}\n",
            "add {b1}, {stride}\n",
            row!("{a0}", $p, "{s0}", "{t0}"),
            row!("{a1}", $p, "{s1}", "{t1}"),
            row!("{a2}", $p, "{s2}", "{t2}"),
            row!("{a3}", $p, "{s3}", "{t3}"),
            row!("{a4}", $p, "{s4}", "{t4}"),
            row!("{a5}", $p, "{s5}", "{t5}"),
        )
    };
}

#[rustfmt::skip]
macro_rules! row {
    ($a:literal, $p:literal, $left:literal, $right:literal) => {
        concat!(
            "vbroadcastss {a}, dword ptr [", $a, " + 4*{i} + ", $p, "]\n",
            "vfmadd231ps ", $left, ", {a}, {left}\n",
            "vfmadd231ps ", $right, ", {a}, {right}\n",
        )
    };
}

/// Adds the products to the sums: row after row, two vectors each.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn add(product: &SixByTwo, sums: &mut [__m256; 12]) {
    let SixByTwo { a, b, stride } = *product;
    let end = a[0].len();
    assert!(a.iter().all(|a| a.len() == end) && b.iter().all(|b| b.len() + stride >= end * stride + 8));
    let (a, b, stride) = (a.map(<[f32]>::as_ptr), b.map(<[f32]>::as_ptr), 4 * stride);
    // Before this input come whole fours.
    let fours = end / 4 * 4;
    let [mut s0, mut t0, mut s1, mut t1, mut s2, mut t2, mut s3, mut t3, mut s4, mut t4, mut s5, mut t5] = *sums;
    // SAFETY: rows and columns hold so many inputs, as was found; nothing is written.
    unsafe {
        asm!(
            "xor {i:e}, {i:e}",
            "test {fours}, {fours}",
            "jz 3f",
            ".p2align 5",
            "2:",
            input!("0"),
            input!("4"),
            input!("8"),
            input!("12"),
            "add {i}, 4",
            "cmp {i}, {fours}",
            "jne 2b",
            "3:",
            "cmp {i}, {end}",
            "je 5f",
            "4:",
            input!("0"),
            "inc {i}",
            "cmp {i}, {end}",
            "jne 4b",
            "5:",
            i = out(reg) _,
            fours = in(reg) fours,
            end = in(reg) end,
            a0 = in(reg) a[0],
            a1 = in(reg) a[1],
            a2 = in(reg) a[2],
            a3 = in(reg) a[3],
            a4 = in(reg) a[4],
            a5 = in(reg) a[5],
            b0 = inout(reg) b[0] => _,
            b1 = inout(reg) b[1] => _,
            stride = in(reg) stride,
            s0 = inout(ymm_reg) s0, t0 = inout(ymm_reg) t0, s1 = inout(ymm_reg) s1, t1 = inout(ymm_reg) t1,
            s2 = inout(ymm_reg) s2, t2 = inout(ymm_reg) t2, s3 = inout(ymm_reg) s3, t3 = inout(ymm_reg) t3,
            s4 = inout(ymm_reg) s4, t4 = inout(ymm_reg) t4, s5 = inout(ymm_reg) s5, t5 = inout(ymm_reg) t5,
            a = out(ymm_reg) _, left = out(ymm_reg) _, right = out(ymm_reg) _,
            options(nostack, readonly),
        );
    }
    *sums = [s0, t0, s1, t1, s2, t2, s3, t3, s4, t4, s5, t5];
}
