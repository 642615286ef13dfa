//! Tiles: eight registers of up to 16 rows × 64 bytes, whose shapes a thread sets before it uses them.
//!
//! A product takes inputs of some tokens (a row for each), weights as packed blocks have them (a row for each four inputs: four bytes for
//! each of 16 output rows), and gives sums (a row for each token: 16 outputs).

use core::arch::asm;
use core::arch::x86_64::__m512i;
use core::mem::MaybeUninit;

use super::Amx;

/// Tokens of a tile, and of a small one.
pub const TOKENS: usize = 16;
pub const FEW_TOKENS: usize = 8;

/// What `ldtilecfg` reads: the shapes of tiles 0 to 7.
#[repr(C, align(64))]
#[derive(Default)]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// This thread's tiles, set up for products of some inputs: sums, inputs and weights in tiles 0, 1 and 2, and for few tokens sums and inputs
/// in 3 and 4.
pub struct Tiles(());

impl Tiles {
    /// For products of `inputs` inputs, a multiple of 4 up to 64.
    pub fn new(_: Amx, inputs: usize) -> Tiles {
        assert!(inputs.is_multiple_of(4) && inputs <= 64);
        let mut shapes = Shapes { palette: 1, ..Shapes::default() };
        for (tile, rows, bytes) in
            [(0, TOKENS, 64), (1, TOKENS, inputs), (2, inputs / 4, 64), (3, FEW_TOKENS, 64), (4, FEW_TOKENS, inputs)]
        {
            (shapes.rows[tile], shapes.row_bytes[tile]) = (rows as u8, bytes as u16);
        }
        // SAFETY: a value of `Amx` proves that the process may use tiles; the shapes are within what palette 1 has.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(readonly, nostack, preserves_flags)) };
        Tiles(())
    }

    /// `products[t][r]` becomes the sum of the bytes at `x + t * stride` times row `r`'s in `w`, for `T` tokens.
    ///
    /// # Safety
    /// There are as many bytes for each token as the tiles have inputs, `w` holds a vector for every four of them, and `T` is `TOKENS` or
    /// `FEW_TOKENS`.
    #[inline(always)]
    pub unsafe fn multiply<const T: usize>(
        &self,
        (x, stride): (*const u8, usize),
        w: *const __m512i,
        products: &mut MaybeUninit<[__m512i; TOKENS]>,
    ) {
        macro_rules! multiply {
            ($sums:literal, $x:literal) => {
                asm!(
                    concat!("tilezero tmm", $sums),
                    concat!("tileloadd tmm", $x, ", [{x} + {stride}]"),
                    "tileloadd tmm2, [{w} + {line}]",
                    concat!("tdpbssd tmm", $sums, ", tmm", $x, ", tmm2"),
                    concat!("tilestored [{products} + {line}], tmm", $sums),
                    x = in(reg) x,
                    stride = in(reg) stride,
                    w = in(reg) w,
                    line = in(reg) size_of::<__m512i>(),
                    products = in(reg) products.as_mut_ptr(),
                    options(nostack, preserves_flags),
                )
            };
        }
        // SAFETY: the caller's promise; `self` proves that the tiles are set up, and `products` has as many rows as the sums. The compiler uses
        // no tiles of its own.
        unsafe {
            match T {
                TOKENS => multiply!("0", "1"),
                _ => multiply!("3", "4"),
            }
        }
    }
}

impl Drop for Tiles {
    /// A thread that leaves its tiles in use is slower to put aside, and its core does not sleep as deeply.
    fn drop(&mut self) {
        // SAFETY: `self` proves that there are tiles.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}
