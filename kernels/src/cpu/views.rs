//! The slices that one task works on, made from the ABI's pointers. Making a view is unsafe and says what must hold;
//! using one is safe.

use crate::abi::{ACT_GROUP, BLOCK_ROWS, LinearArgs};

use super::q8::{Q8Group, groups};

/// Rows of f32, read only.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    x: *const u8,
    stride: usize,
    count: usize,
    width: usize,
    life: core::marker::PhantomData<&'a [f32]>,
}

impl<'a> Rows<'a> {
    /// # Safety
    /// For `'a`, `x + t * stride` (bytes) holds `width` f32 that nobody writes, for `t` below `count`.
    pub unsafe fn from_raw(x: *const u8, stride: usize, count: usize, width: usize) -> Rows<'a> {
        Rows { x, stride, count, width, life: core::marker::PhantomData }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows `first..first + count`.
    pub fn some(&self, first: usize, count: usize) -> Rows<'a> {
        assert!(first + count <= self.count);
        Rows { x: self.x.wrapping_add(first * self.stride), count, ..*self }
    }

    pub fn row(&self, t: usize) -> &'a [f32] {
        assert!(t < self.count);
        // SAFETY: promised at construction for every t below count.
        unsafe { core::slice::from_raw_parts(self.x.add(t * self.stride).cast(), self.width) }
    }
}

impl<'a> Rows<'a> {
    /// Rows `t..t + T`.
    pub fn tile<const T: usize>(&self, t: usize) -> Tile<'a, T> {
        assert!(t + T <= self.count);
        let rows = core::array::from_fn(|i| self.x.wrapping_add((t + i) * self.stride).cast());
        Tile { rows, width: self.width, life: core::marker::PhantomData }
    }
}

/// Rows of f32 of a few tokens, input by input.
#[derive(Clone, Copy)]
pub struct Tile<'a, const T: usize> {
    rows: [*const f32; T],
    width: usize,
    life: core::marker::PhantomData<&'a [f32]>,
}

impl<'a, const T: usize> Tile<'a, T> {
    /// Inputs `i..i + N` of all rows.
    #[inline(always)]
    pub fn inputs<const N: usize>(&self, i: usize) -> [&'a [f32; N]; T] {
        assert!(i + N <= self.width);
        // SAFETY: rows have so many values and are valid as promised when `Rows` was made.
        self.rows.map(|row| unsafe { &*row.add(i).cast() })
    }
}

/// Q8 rows, read only.
#[derive(Clone, Copy)]
pub struct Q8Rows<'a> {
    x: *const u8,
    stride: usize,
    count: usize,
    width: usize,
    life: core::marker::PhantomData<&'a [u8]>,
}

impl<'a> Q8Rows<'a> {
    /// # Safety
    /// For `'a`, `x + t * stride` (bytes) holds a Q8 row of `width` inputs that nobody writes, for `t` below `count`.
    pub unsafe fn from_raw(x: *const u8, stride: usize, count: usize, width: usize) -> Q8Rows<'a> {
        Q8Rows { x, stride, count, width, life: core::marker::PhantomData }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows `first..first + count`.
    pub fn some(&self, first: usize, count: usize) -> Q8Rows<'a> {
        assert!(first + count <= self.count);
        Q8Rows { x: self.x.wrapping_add(first * self.stride), count, ..*self }
    }

    pub fn row(&self, t: usize) -> &'a [Q8Group] {
        assert!(t < self.count);
        // SAFETY: promised at construction for every t below count.
        unsafe { core::slice::from_raw_parts(self.x.add(t * self.stride).cast(), groups(self.width)) }
    }

    /// Rows `t..t + T`.
    pub fn tile<const T: usize>(&self, t: usize) -> Q8Tile<'a, T> {
        assert!(t + T <= self.count);
        let rows = core::array::from_fn(|i| self.x.wrapping_add((t + i) * self.stride).cast());
        Q8Tile { rows, stride: self.stride, groups: groups(self.width), life: core::marker::PhantomData }
    }
}

/// Q8 rows of a few tokens, group by group.
#[derive(Clone, Copy)]
pub struct Q8Tile<'a, const T: usize> {
    rows: [*const Q8Group; T],
    stride: usize,
    groups: usize,
    life: core::marker::PhantomData<&'a [u8]>,
}

impl<'a, const T: usize> Q8Tile<'a, T> {
    /// Group `s` of all rows.
    #[inline(always)]
    pub fn groups(&self, s: usize) -> [&'a Q8Group; T] {
        assert!(s < self.groups);
        // SAFETY: rows have so many groups and are valid as promised when `Q8Rows` was made.
        self.rows.map(|row| unsafe { &*row.add(s) })
    }

    /// The first row's input `i` of group `s`, and how many bytes later the next row's comes.
    pub fn bytes(&self, s: usize, i: usize) -> (*const u8, usize) {
        assert!(s < self.groups && i < ACT_GROUP);
        (self.rows[0].wrapping_add(s).wrapping_byte_add(i).cast(), self.stride)
    }
}

/// Where one block of 16 outputs of some tokens goes, and what is done to it on the way.
#[derive(Clone, Copy)]
pub struct Epilogue {
    bias: [f32; BLOCK_ROWS],
    residual: *const f32,
    y: *mut f32,
    stride: usize,
    count: usize,
    /// Sums per token: one, or one for each plane of a Q8x2 row, one after the other.
    planes: usize,
    alpha: f32,
}

impl Epilogue {
    /// # Safety
    /// `args` is as the ABI says for `t + count` rows of a plane, `PLANES` of which are a token, and `t` and `count` are whole tokens;
    /// `block` is one of its blocks, and nobody else touches these outputs of these tokens.
    pub unsafe fn new<const PLANES: usize>(args: &LinearArgs, block: usize, t: usize, count: usize) -> Epilogue {
        let (first, stride) = (block * BLOCK_ROWS, args.y_stride as usize);
        let mut bias = [0.0; BLOCK_ROWS];
        let rows = BLOCK_ROWS.min(args.w.rows as usize - first);
        // SAFETY: bias holds w.rows values; y and a residual have rows padded to whole blocks.
        unsafe {
            if !args.bias.is_null() {
                bias[..rows].copy_from_slice(core::slice::from_raw_parts(args.bias.add(first), rows));
            }
            let at = t / PLANES * stride + first;
            let residual = if args.residual.is_null() { args.residual } else { args.residual.add(at) };
            Epilogue { bias, residual, y: args.y.add(at), stride, count, planes: PLANES, alpha: args.alpha }
        }
    }

    /// For rows `t..` of `x`, which is the first of a token.
    pub fn from(&self, t: usize) -> Epilogue {
        assert!(t <= self.count && t.is_multiple_of(self.planes));
        let at = t / self.planes * self.stride;
        Epilogue {
            residual: if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(at) },
            y: self.y.wrapping_add(at),
            count: self.count - t,
            ..*self
        }
    }

    /// Asks for what `store` will write for some rows, which otherwise waits for lines that a cache far away has.
    #[inline(never)]
    #[cfg(target_arch = "x86_64")]
    pub fn prefetch(&self, rows: core::ops::Range<usize>) {
        for t in rows {
            let t = if self.planes == 1 { t } else { t / 2 };
            let y = self.y.wrapping_add(t * self.stride);
            // SAFETY: a prefetch changes nothing that the program could see.
            unsafe {
                core::arch::asm!("prefetchw byte ptr [{}]", in(reg) y, options(nostack, preserves_flags, readonly))
            };
        }
    }

    /// `y = alpha * (sums + bias) + residual` for row `t` of `x`. A token's rows come in order, and all but the first add to `y`.
    #[inline(always)]
    pub fn store(&self, t: usize, sums: &[f32; BLOCK_ROWS]) {
        assert!(t < self.count);
        if self.planes == 1 {
            self.store_first(t, sums);
        } else if t.is_multiple_of(2) {
            self.store_first(t / 2, sums);
        } else {
            Epilogue { bias: [0.0; BLOCK_ROWS], residual: self.y, ..*self }.store_first(t / 2, sums);
        }
    }

    #[inline(always)]
    fn store_first(&self, t: usize, sums: &[f32; BLOCK_ROWS]) {
        let mut values: [f32; BLOCK_ROWS] = core::array::from_fn(|r| self.alpha * (sums[r] + self.bias[r]));
        // SAFETY: 16 values at row t are ours to write, and the residual's to read (it may be y itself).
        unsafe {
            if !self.residual.is_null() {
                let residual = self.residual.add(t * self.stride).cast::<[f32; BLOCK_ROWS]>().read();
                values = core::array::from_fn(|r| values[r] + residual[r]);
            }
            self.y.add(t * self.stride).cast::<[f32; BLOCK_ROWS]>().write(values);
        }
    }
}
