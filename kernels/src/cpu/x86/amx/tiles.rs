//! Tiles: eight registers of up to 16 rows × 64 bytes, whose shapes a thread sets before it uses them.
//!
//! A product of bytes takes inputs of some tokens (a row for each), weights as packed blocks have them (a row for each four inputs: four bytes for
//! each of 16 output rows), and gives sums (a row for each token: 16 outputs).

use core::arch::asm;
use core::arch::x86_64::{__m512, __m512i};
use core::mem::MaybeUninit;

use crate::abi::BLOCK_ROWS;
use crate::cpu::Isa;

use super::Amx;
use super::linear_bf16::Tile;

/// Tokens of a tile.
pub const TOKENS: usize = 16;

/// Bytes from one row in memory to the next.
const LINE: usize = 64;

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

/// This thread's tiles, set up.
struct InUse(());

impl InUse {
    /// Tiles 0 and so on have so many rows of so many bytes.
    fn new<const N: usize>(_: Amx, tiles: [(usize, usize); N]) -> InUse {
        let mut shapes = Shapes { palette: 1, ..Shapes::default() };
        for (tile, (rows, bytes)) in tiles.into_iter().enumerate() {
            assert!(rows <= 16 && bytes <= 64 && bytes.is_multiple_of(4) && tile < 8);
            (shapes.rows[tile], shapes.row_bytes[tile]) = (rows as u8, bytes as u16);
        }
        // SAFETY: a value of `Amx` proves that the process may use tiles; the shapes are within what palette 1 has.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(readonly, nostack, preserves_flags)) };
        InUse(())
    }
}

impl Drop for InUse {
    /// A thread that leaves its tiles in use is slower to put aside, and its core does not sleep as deeply.
    fn drop(&mut self) {
        // SAFETY: `self` proves that there are tiles.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// For products of bytes: sums, inputs and weights in tiles 0, 1 and 2.
pub struct Bytes(InUse);

impl Bytes {
    /// For products of `inputs` inputs, a multiple of 4 up to 64.
    pub fn new(isa: Amx, inputs: usize) -> Bytes {
        Bytes(InUse::new(isa, [(TOKENS, LINE), (TOKENS, inputs), (inputs / 4, LINE)]))
    }

    /// `products[t][r]` becomes the sum of the bytes at `x + t * stride` times row `r`'s in `w`.
    ///
    /// # Safety
    /// There are as many bytes for each of `TOKENS` tokens as the tiles have inputs, and `w` holds a vector for every four of them.
    #[inline(always)]
    pub unsafe fn multiply(
        &self,
        (x, stride): (*const u8, usize),
        w: *const __m512i,
        products: &mut MaybeUninit<[__m512i; TOKENS]>,
    ) {
        // SAFETY: the caller's promise; `self` proves that the tiles are set up, and `products` has as many rows as the sums. The compiler uses
        // no tiles of its own.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tileloadd tmm1, [{x} + {stride}]",
                "tileloadd tmm2, [{w} + {line}]",
                "tdpbssd tmm0, tmm1, tmm2",
                "tilestored [{products} + {line}], tmm0",
                x = in(reg) x,
                stride = in(reg) stride,
                w = in(reg) w,
                line = in(reg) LINE,
                products = in(reg) products.as_mut_ptr(),
                options(nostack, preserves_flags),
            );
        }
    }
}

/// For products of bf16: sums of two planes of inputs in tiles 0 and 1, the planes in 2 and 3, weights in 4.
pub struct Pairs(InUse);

/// What comes out of tiles, in as many rows as there are tokens.
pub type Sums = [MaybeUninit<__m512>; TOKENS];

impl Pairs {
    /// For up to `tokens` tokens.
    pub fn new(isa: Amx, tokens: usize) -> Pairs {
        let rows = (tokens, LINE);
        Pairs(InUse::new(isa, [rows, rows, rows, rows, (16, LINE)]))
    }

    /// For each plane, the sum over `s` of `x[s]` times `w[s]`.
    #[inline(always)]
    pub fn multiply(&self, x: &[[Tile; 2]], w: &[Tile]) -> [Sums; 2] {
        let mut sums = [[MaybeUninit::uninit(); TOKENS]; 2];
        // SAFETY: `self` proves that the tiles are set up, with rows of 64 bytes, of which a `Tile` has 16. The compiler uses no tiles of its own.
        unsafe {
            asm!("tilezero tmm0", "tilezero tmm1", options(nomem, nostack, preserves_flags));
            for (x, w) in x.iter().zip(w) {
                asm!(
                    "tileloadd tmm4, [{w} + {line}]",
                    "tileloadd tmm2, [{high} + {line}]",
                    "tdpbf16ps tmm0, tmm2, tmm4",
                    "tileloadd tmm3, [{low} + {line}]",
                    "tdpbf16ps tmm1, tmm3, tmm4",
                    w = in(reg) &raw const *w,
                    high = in(reg) &raw const x[0],
                    low = in(reg) &raw const x[1],
                    line = in(reg) LINE,
                    options(readonly, nostack, preserves_flags),
                );
            }
            asm!(
                "tilestored [{high} + {line}], tmm0",
                "tilestored [{low} + {line}], tmm1",
                high = in(reg) &raw mut sums[0],
                low = in(reg) &raw mut sums[1],
                line = in(reg) LINE,
                options(nostack, preserves_flags),
            );
        }
        sums
    }
}

/// Multiplies tiles that stay where they are, as fast as can be.
macro_rules! peak {
    ($name:ident, $instruction:literal, $inputs:literal) => {
        /// Operations done in `turns` turns.
        ///
        /// # Safety
        /// The CPU has AMX, and the process may use it.
        pub unsafe fn $name(turns: usize) -> usize {
            // SAFETY: the caller's promise.
            let _tiles = InUse::new(unsafe { Amx::assume() }, [(TOKENS, LINE); 6]);
            for _ in 0..turns {
                // SAFETY: six tiles are set up, and their numbers do not matter.
                unsafe {
                    asm!(
                        concat!($instruction, " tmm0, tmm4, tmm5"),
                        concat!($instruction, " tmm1, tmm4, tmm5"),
                        concat!($instruction, " tmm2, tmm4, tmm5"),
                        concat!($instruction, " tmm3, tmm4, tmm5"),
                        options(nomem, nostack, preserves_flags),
                    );
                }
            }
            turns * 4 * 2 * TOKENS * BLOCK_ROWS * $inputs
        }
    };
}
peak!(peak_of_bytes, "tdpbssd", 64);
peak!(peak_of_pairs, "tdpbf16ps", 32);
