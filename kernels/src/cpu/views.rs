//! The slices that one task works on, made from the ABI's pointers. Making a view is unsafe and says what must hold;
//! using one is safe.

use crate::abi::{ACT_GROUP, AttentionArgs, BLOCK_ROWS, Call, KV_BLOCK, KV_TILE, LinearArgs, RopeKvArgs};

use super::q8::Q8Ref;
use crate::layout::padded_cols;

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

    pub fn row(&self, t: usize) -> Q8Ref<'a> {
        assert!(t < self.count);
        // SAFETY: promised at construction for every t below count.
        unsafe { Q8Ref::from_raw(self.x.add(t * self.stride), self.width) }
    }
}

/// Q8 rows of a few tokens, group by group.
#[derive(Clone, Copy)]
pub struct Q8Tile<'a, const T: usize> {
    rows: [*const u8; T],
    groups: usize,
    life: core::marker::PhantomData<&'a [u8]>,
}

impl<'a> Q8Rows<'a> {
    /// Rows `t..t + T`.
    pub fn tile<const T: usize>(&self, t: usize) -> Q8Tile<'a, T> {
        assert!(t + T <= self.count);
        let rows = core::array::from_fn(|i| self.x.wrapping_add((t + i) * self.stride));
        Q8Tile { rows, groups: padded_cols(self.width) / ACT_GROUP, life: core::marker::PhantomData }
    }
}

impl<'a, const T: usize> Q8Tile<'a, T> {
    /// Group `s` of row `i`: its integers, scale and sum.
    #[inline(always)]
    pub fn group(&self, i: usize, s: usize) -> (&'a [[i8; 4]; ACT_GROUP / 4], f32, i32) {
        assert!(s < self.groups);
        let row = self.rows[i];
        // SAFETY: `layout.rs` says where a row of so many groups holds them; rows are valid as promised when `Q8Rows` was made.
        unsafe {
            let scales = row.add(self.groups * ACT_GROUP).cast::<f32>();
            let sums = scales.add(self.groups).cast::<i32>();
            (&*row.add(s * ACT_GROUP).cast(), *scales.add(s), *sums.add(s))
        }
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
    alpha: f32,
}

impl Epilogue {
    /// # Safety
    /// `args` is as the ABI says for `t + count` tokens, `block` is one of its blocks, and nobody else touches these outputs of tokens
    /// `t..t + count`.
    pub unsafe fn new(args: &LinearArgs, block: usize, t: usize, count: usize) -> Epilogue {
        let (first, stride) = (block * BLOCK_ROWS, args.y_stride as usize);
        let mut bias = [0.0; BLOCK_ROWS];
        let rows = BLOCK_ROWS.min(args.w.rows as usize - first);
        // SAFETY: bias holds w.rows values; y and a residual have rows padded to whole blocks.
        unsafe {
            if !args.bias.is_null() {
                bias[..rows].copy_from_slice(core::slice::from_raw_parts(args.bias.add(first), rows));
            }
            let at = t * stride + first;
            let residual = if args.residual.is_null() { args.residual } else { args.residual.add(at) };
            Epilogue { bias, residual, y: args.y.add(at), stride, count, alpha: args.alpha }
        }
    }

    /// `y = alpha * (sums + bias) + residual` for token `t`.
    #[inline(always)]
    pub fn store(&self, t: usize, sums: &[f32; BLOCK_ROWS]) {
        assert!(t < self.count);
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

/// An element of the KV cache.
pub trait Element: Copy {
    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(value: f32) -> f32 {
        value
    }
}

/// f16 as its bits.
impl Element for u16 {
    fn to_f32(self) -> f32 {
        crate::half::f16_to_f32(self)
    }
    fn from_f32(value: f32) -> u16 {
        crate::half::f32_to_f16(value)
    }
}

/// One KV head's rows of one sequence in one layer of the cache.
#[derive(Clone, Copy)]
pub struct Cached<'a> {
    kv: *mut u8,
    table: &'a [u32],
    block_bytes: usize,
    /// Bytes from a block's beginning to K, and from there to V, of this layer and head.
    k_offset: usize,
    v_offset: usize,
    head_dim: usize,
    pub f16: bool,
}

impl<'a> Cached<'a> {
    /// The cache of token `t`'s sequence, for positions up to and with the token's own.
    ///
    /// # Safety
    /// `call` is as the ABI says for the whole of `'a`, `t` is below `call.n`, and the cache has `kv_heads` and `layer`.
    unsafe fn new(call: &'a Call, t: usize, kv_heads: usize, head: usize, head_dim: usize, layer: usize) -> Cached<'a> {
        // SAFETY: positions, sequences and tables are valid for every token and for every position up to the token's.
        let table = unsafe {
            let blocks = *call.positions.add(t) as usize / KV_BLOCK + 1;
            let sequence = *call.sequences.add(t) as usize;
            core::slice::from_raw_parts(call.tables.add(sequence * call.table_stride as usize), blocks)
        };
        let size = if call.kv_dtype == 1 { 2 } else { 4 };
        let head_bytes = KV_BLOCK * head_dim * size;
        let k_offset = layer * 2 * kv_heads * head_bytes + head * head_bytes;
        let v_offset = k_offset + kv_heads * head_bytes;
        Cached { kv: call.kv, table, block_bytes: call.kv_block_bytes, k_offset, v_offset, head_dim, f16: size == 2 }
    }

    /// Element `within` of this head's K or V (as `offset` says) in the block that holds `position`.
    fn at<E: Element>(&self, position: usize, offset: usize, within: usize) -> *mut E {
        assert!(self.f16 == (size_of::<E>() == 2));
        let block = self.table[position / KV_BLOCK] as usize;
        // SAFETY: block ids are of the pool, and the offset lies within a block.
        unsafe { self.kv.add(block * self.block_bytes + offset).cast::<E>().add(within) }
    }

    /// Keys and values of positions `begin..end`, which lie in one block; `E` must be the cache's element type.
    pub fn span<E: Element>(&self, begin: usize, end: usize) -> Span<'a, E> {
        assert!(begin < end && begin / KV_BLOCK == (end - 1) / KV_BLOCK);
        let (first, count) = (begin % KV_BLOCK, end - begin);
        let tiles = first / KV_TILE..(first + count).div_ceil(KV_TILE);
        let tile = KV_TILE * self.head_dim;
        // SAFETY: tiles and rows lie within one block, all of which may be read; the rows were written before this
        // instruction began, and none writes now.
        unsafe {
            let k = self.at::<E>(begin, self.k_offset, tiles.start * tile).cast_const();
            let v = self.at::<E>(begin, self.v_offset, first * self.head_dim).cast_const();
            Span {
                k: core::slice::from_raw_parts(k, tiles.len() * tile),
                v: core::slice::from_raw_parts(v, count * self.head_dim),
                skip: first % KV_TILE,
                head_dim: self.head_dim,
            }
        }
    }
}

/// Keys and values of a few positions.
#[derive(Clone, Copy)]
pub struct Span<'a, E> {
    /// `[tiles][head_dim][KV_TILE]`
    pub k: &'a [E],
    /// `[positions][head_dim]`
    pub v: &'a [E],
    /// Positions of the first tile before the span.
    pub skip: usize,
    pub head_dim: usize,
}

impl<'a, E: Element> Span<'a, E> {
    pub fn len(&self) -> usize {
        self.v.len() / self.head_dim
    }

    /// Element `i` of the key of the span's position `p`.
    pub fn key(&self, p: usize, i: usize) -> E {
        let p = self.skip + p;
        self.k[(p / KV_TILE * self.head_dim + i) * KV_TILE + p % KV_TILE]
    }
}

/// One task of `attention`: the query heads of one token that share a KV head.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    pub cache: Cached<'a>,
    pub head_dim: usize,
    /// How many query heads share the KV head.
    pub count: usize,
    /// Positions seen: `begin..end`.
    pub begin: usize,
    pub end: usize,
    pub scale: f32,
    q: *const f32,
    y: *mut f32,
}

impl<'a> Heads<'a> {
    /// # Safety
    /// `args` and `call` are as the ABI says for `'a`; `task` is one of the instruction's and nobody else's.
    pub unsafe fn new(args: &AttentionArgs, call: &'a Call, task: usize) -> Heads<'a> {
        let (kv_heads, head_dim) = (args.kv_heads as usize, args.head_dim as usize);
        let (t, head) = (task / kv_heads, task % kv_heads);
        let count = args.heads as usize / kv_heads;
        let first = head * count * head_dim;
        // SAFETY: t is a token of the call; its q and y rows hold heads * head_dim values.
        unsafe {
            let end = *call.positions.add(t) as usize + 1;
            Heads {
                cache: Cached::new(call, t, kv_heads, head, head_dim, args.layer as usize),
                head_dim,
                count,
                begin: if args.window > 0 { end.saturating_sub(args.window as usize) } else { 0 },
                end,
                scale: args.scale,
                q: args.q.add(t * args.q_stride as usize + first),
                y: args.y.add(t * args.y_stride as usize + first),
            }
        }
    }

    /// `[count][head_dim]`
    pub fn q(&self) -> &'a [f32] {
        // SAFETY: promised at construction.
        unsafe { core::slice::from_raw_parts(self.q, self.count * self.head_dim) }
    }

    /// `[count][head_dim]`
    pub fn y(&mut self) -> &mut [f32] {
        // SAFETY: promised at construction; the borrow of self keeps it the only one.
        unsafe { core::slice::from_raw_parts_mut(self.y, self.count * self.head_dim) }
    }
}

/// Tokens whose attention to one KV head is computed together.
pub const ATTENTION_TOKENS: usize = 16;

/// `begin..end` as ranges of positions, each within one block of the cache.
pub fn spans(begin: usize, end: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (begin / KV_BLOCK..end.div_ceil(KV_BLOCK)).map(move |b| (begin.max(b * KV_BLOCK), end.min((b + 1) * KV_BLOCK)))
}

/// One task of `rope_kv`: a KV head of one token, and the query heads that share it.
pub struct RopeKv<'a> {
    pub head_dim: usize,
    /// `[heads that share the KV head][head_dim]`
    pub q: &'a [f32],
    /// `[head_dim]`
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    pub q_norm: Option<&'a [f32]>,
    pub k_norm: Option<&'a [f32]>,
    pub eps: f32,
    /// Of `q`'s shape.
    pub q_out: &'a mut [f32],
    cache: Cached<'a>,
    position: usize,
}

impl<'a> RopeKv<'a> {
    /// # Safety
    /// `args` and `call` are as the ABI says for `'a`; `task` is one of the instruction's and nobody else's.
    pub unsafe fn new(args: &RopeKvArgs, call: &'a Call, task: usize) -> RopeKv<'a> {
        let (heads, kv_heads, head_dim) = (args.heads as usize, args.kv_heads as usize, args.head_dim as usize);
        let (token, head) = (task / kv_heads, task % kv_heads);
        let width = heads / kv_heads * head_dim;
        // SAFETY: each row holds the widths that the ABI says.
        unsafe {
            let qkv = args.qkv.add(token * args.qkv_stride as usize);
            let k = qkv.add((heads + head) * head_dim);
            let table = args.table.add(token * args.table_stride as usize);
            let q_out = args.q_out.add(token * args.q_stride as usize + head * width);
            let norm = |w: *const f32| (!w.is_null()).then(|| core::slice::from_raw_parts(w, head_dim));
            RopeKv {
                head_dim,
                q: core::slice::from_raw_parts(qkv.add(head * width), width),
                k: core::slice::from_raw_parts(k, head_dim),
                v: core::slice::from_raw_parts(k.add(kv_heads * head_dim), head_dim),
                cos: core::slice::from_raw_parts(table, head_dim / 2),
                sin: core::slice::from_raw_parts(table.add(head_dim / 2), head_dim / 2),
                q_norm: norm(args.q_norm),
                k_norm: norm(args.k_norm),
                eps: args.eps,
                q_out: core::slice::from_raw_parts_mut(q_out, width),
                cache: Cached::new(call, token, kv_heads, head, head_dim, args.layer as usize),
                position: *call.positions.add(token) as usize,
            }
        }
    }

    pub fn f16_cache(&self) -> bool {
        self.cache.f16
    }

    /// Writes element `i` of this token's key.
    pub fn put_key<E: Element>(&mut self, i: usize, value: E) {
        assert!(i < self.head_dim);
        let position = self.position % KV_BLOCK;
        let within = (position / KV_TILE * self.head_dim + i) * KV_TILE + position % KV_TILE;
        // SAFETY: a token's position is its own in this call, and only this task writes this head there.
        unsafe { self.cache.at::<E>(self.position, self.cache.k_offset, within).write(value) }
    }

    /// The cache's value row of this token and head.
    pub fn value_row<E: Element>(&mut self) -> &mut [E] {
        let row = self.cache.at::<E>(self.position, self.cache.v_offset, self.position % KV_BLOCK * self.head_dim);
        // SAFETY: as above, and values are no keys.
        unsafe { core::slice::from_raw_parts_mut(row, self.head_dim) }
    }
}
