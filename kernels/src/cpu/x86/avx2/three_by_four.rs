//! Three rows times four columns of vectors of f16: with the rows' numbers and a column, all the registers there are. The compiler keeps one sum
//! in memory, and waits for it in every product.

use core::arch::asm;
use core::arch::x86_64::__m256;

use crate::cpu::flash::ThreeByFour;

#[rustfmt::skip]
macro_rules! products {
    ($b:literal, $s0:literal, $s1:literal, $s2:literal) => {
        concat!(
            "vcvtph2ps {v}, xmmword ptr [", $b, " + {at}]\n",
            "vfmadd231ps ", $s0, ", {x0}, {v}\n",
            "vfmadd231ps ", $s1, ", {x1}, {v}\n",
            "vfmadd231ps ", $s2, ", {x2}, {v}\n",
        )
    };
}

/// Adds the products to the sums: row after row, four vectors each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn add(product: &ThreeByFour, sums: &mut [__m256; 12]) {
    let ThreeByFour { a, b, stride } = *product;
    let end = a[0].len();
    assert!(end > 0 && a.iter().all(|a| a.len() == end) && b.iter().all(|b| b.len() + stride >= end * stride + 8));
    let (a, b, stride) = (a.map(<[f32]>::as_ptr), b.map(<[u16]>::as_ptr), 2 * stride);
    let [mut s0, mut t0, mut u0, mut v0, mut s1, mut t1, mut u1, mut v1, mut s2, mut t2, mut u2, mut v2] = *sums;
    // SAFETY: rows and columns hold so many inputs, as was found; nothing is written.
    unsafe {
        asm!(
            "xor {i:e}, {i:e}",
            "xor {at:e}, {at:e}",
            ".p2align 5",
            "2:",
            "vbroadcastss {x0}, dword ptr [{a0} + 4*{i}]",
            "vbroadcastss {x1}, dword ptr [{a1} + 4*{i}]",
            "vbroadcastss {x2}, dword ptr [{a2} + 4*{i}]",
            products!("{b0}", "{s0}", "{s1}", "{s2}"),
            products!("{b1}", "{t0}", "{t1}", "{t2}"),
            products!("{b2}", "{u0}", "{u1}", "{u2}"),
            products!("{b3}", "{v0}", "{v1}", "{v2}"),
            "add {at}, {stride}",
            "inc {i}",
            "cmp {i}, {end}",
            "jne 2b",
            i = out(reg) _,
            at = out(reg) _,
            end = in(reg) end,
            stride = in(reg) stride,
            a0 = in(reg) a[0],
            a1 = in(reg) a[1],
            a2 = in(reg) a[2],
            b0 = in(reg) b[0],
            b1 = in(reg) b[1],
            b2 = in(reg) b[2],
            b3 = in(reg) b[3],
            s0 = inout(ymm_reg) s0, t0 = inout(ymm_reg) t0, u0 = inout(ymm_reg) u0, v0 = inout(ymm_reg) v0,
            s1 = inout(ymm_reg) s1, t1 = inout(ymm_reg) t1, u1 = inout(ymm_reg) u1, v1 = inout(ymm_reg) v1,
            s2 = inout(ymm_reg) s2, t2 = inout(ymm_reg) t2, u2 = inout(ymm_reg) u2, v2 = inout(ymm_reg) v2,
            x0 = out(ymm_reg) _, x1 = out(ymm_reg) _, x2 = out(ymm_reg) _, v = out(ymm_reg) _,
            options(nostack, readonly),
        );
    }
    *sums = [s0, t0, u0, v0, s1, t1, u1, v1, s2, t2, u2, v2];
}
