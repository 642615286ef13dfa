//! The KV cache as tasks see it: one KV head's rows of one sequence. Making a view is unsafe and says what must hold; using one
//! is safe.

use core::ops::Range;

use crate::abi::{AttentionArgs, Call, KV_BLOCK, KV_TILE, KvType, Partial, RopeKvArgs, SEGMENT};
use crate::cpu::q8::inverse_scale;

/// An element of the KV cache.
pub trait Element: Copy {
    const KIND: KvType;
    /// Whether a position's elements are to be multiplied by its scale.
    const SCALED: bool = matches!(Self::KIND, KvType::I8);

    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    const KIND: KvType = KvType::F32;

    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(value: f32) -> f32 {
        value
    }
}

/// f16 as its bits.
impl Element for u16 {
    const KIND: KvType = KvType::F16;

    fn to_f32(self) -> f32 {
        crate::half::f16_to_f32(self)
    }
    fn from_f32(value: f32) -> u16 {
        crate::half::f32_to_f16(value)
    }
}

impl Element for i8 {
    const KIND: KvType = KvType::I8;

    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    fn from_f32(value: f32) -> i8 {
        value.round_ties_even() as i8
    }
}

/// `$f::<E>($arguments)` for the element type of a cache.
macro_rules! each_element {
    ($kind:expr, $E:ident => $call:expr) => {
        match $kind {
            crate::abi::KvType::F32 => {
                type $E = f32;
                $call
            }
            crate::abi::KvType::F16 => {
                type $E = u16;
                $call
            }
            crate::abi::KvType::I8 => {
                type $E = i8;
                $call
            }
        }
    };
}
pub(crate) use each_element;

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
    pub kind: KvType,
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
        let kind = KvType::of(call.kv_dtype);
        let head_bytes = kind.head_bytes(head_dim);
        let k_offset = layer * 2 * kv_heads * head_bytes + head * head_bytes;
        let v_offset = k_offset + kv_heads * head_bytes;
        Cached { kv: call.kv, table, block_bytes: call.kv_block_bytes, k_offset, v_offset, head_dim, kind }
    }

    /// Element `within` of this head's K or V (as `offset` says) in the block that holds `position`.
    fn at<E: Element>(&self, position: usize, offset: usize, within: usize) -> *mut E {
        assert!(self.kind == E::KIND);
        let block = self.table[position / KV_BLOCK] as usize;
        // SAFETY: block ids are of the pool, and the offset lies within a block.
        unsafe { self.kv.add(block * self.block_bytes + offset).cast::<E>().add(within) }
    }

    /// The scales of K or V (as `offset` says) in the block that holds `position`, of a kind that has them.
    fn scales(&self, position: usize, offset: usize) -> *mut f32 {
        assert!(self.kind == KvType::I8);
        let block = self.table[position / KV_BLOCK] as usize;
        // SAFETY: as above; scales follow the elements, and both sizes are multiples of 4.
        unsafe { self.kv.add(block * self.block_bytes + offset + KV_BLOCK * self.head_dim).cast() }
    }

    /// Those of `count` positions from `position` on, which lie in one block; none for a kind that has none.
    ///
    /// # Safety
    /// What is read of them was written before, and none writes now.
    unsafe fn scales_of<E: Element>(&self, position: usize, offset: usize, count: usize) -> &'a [f32] {
        if !E::SCALED {
            return &[];
        }
        // SAFETY: a block has one for each of its positions.
        unsafe { core::slice::from_raw_parts(self.scales(position, offset).add(position % KV_BLOCK), count) }
    }

    /// Whether a position's block is the same in both.
    pub fn same_sequence(&self, other: &Cached) -> bool {
        core::ptr::eq(self.table.as_ptr(), other.table.as_ptr())
    }

    /// The block that holds `position`; `E` must be the cache's element type.
    pub fn block<E: Element>(&self, position: usize) -> KvBlock<'a, E> {
        let count = KV_BLOCK * self.head_dim;
        // SAFETY: a block holds as many keys and values of each head; what this instruction reads of them was written
        // before it began, and none writes now.
        unsafe {
            let k = self.at::<E>(position, self.k_offset, 0).cast_const();
            let v = self.at::<E>(position, self.v_offset, 0).cast_const();
            let first = position / KV_BLOCK * KV_BLOCK;
            KvBlock {
                k: core::slice::from_raw_parts(k, count),
                v: core::slice::from_raw_parts(v, count),
                k_scales: self.scales_of::<E>(first, self.k_offset, KV_BLOCK),
                v_scales: self.scales_of::<E>(first, self.v_offset, KV_BLOCK),
            }
        }
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
                k_scales: self.scales_of::<E>(begin, self.k_offset, count),
                v_scales: self.scales_of::<E>(begin, self.v_offset, count),
                skip: first % KV_TILE,
                head_dim: self.head_dim,
            }
        }
    }
}

/// Keys and values of a whole block; what no position up to the token's own fills is arbitrary.
#[derive(Clone, Copy)]
pub struct KvBlock<'a, E> {
    /// `[tiles][head_dim][KV_TILE]`
    pub k: &'a [E],
    /// `[KV_BLOCK][head_dim]`
    pub v: &'a [E],
    /// `[KV_BLOCK]`, or none.
    pub k_scales: &'a [f32],
    pub v_scales: &'a [f32],
}

impl<'a, E> KvBlock<'a, E> {
    fn head_dim(&self) -> usize {
        self.k.len() / KV_BLOCK
    }

    /// The tiles of the first `count` positions.
    pub fn keys(&self, count: usize) -> &'a [E] {
        &self.k[..count.next_multiple_of(KV_TILE) * self.head_dim()]
    }

    pub fn values(&self, positions: &Range<usize>) -> &'a [E] {
        &self.v[positions.start * self.head_dim()..positions.end * self.head_dim()]
    }
}

/// Elements as they lie in memory.
pub fn bytes<E: Element>(elements: &[E]) -> &[u8] {
    // SAFETY: an element is a number without padding, and any number is bytes.
    unsafe { core::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// Keys and values of a few positions.
#[derive(Clone, Copy)]
pub struct Span<'a, E> {
    /// `[tiles][head_dim][KV_TILE]`
    pub k: &'a [E],
    /// `[positions][head_dim]`
    pub v: &'a [E],
    /// `[positions]`, or none.
    k_scales: &'a [f32],
    v_scales: &'a [f32],
    /// Positions of the first tile before the span.
    pub skip: usize,
    pub head_dim: usize,
}

impl<'a, E: Element> Span<'a, E> {
    pub fn len(&self) -> usize {
        self.v.len() / self.head_dim
    }

    /// What the key and the value of position `p` are to be multiplied by.
    pub fn scales(&self, p: usize) -> [f32; 2] {
        if E::SCALED { [self.k_scales[p], self.v_scales[p]] } else { [1.0; 2] }
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
    /// Where `y` gets sums and not averages: what else there is to say of each head's; else null.
    sums: *mut Partial,
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
                sums: core::ptr::null_mut(),
            }
        }
    }

    /// Only positions `begin..end`, whose sums go to `y`, and what else there is to say of each head's to `sums`.
    ///
    /// # Safety
    /// Both are as long as the heads are many, and nobody else's for `'a`.
    pub unsafe fn part(self, (begin, end): (usize, usize), y: *mut f32, sums: *mut Partial) -> Heads<'a> {
        Heads { begin, end, y, sums, ..self }
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

    pub fn y_of(&mut self, head: usize) -> &mut [f32] {
        let head_dim = self.head_dim;
        &mut self.y()[head * head_dim..][..head_dim]
    }

    /// Of one head; none where `y` gets averages.
    pub fn sum_of(&mut self, head: usize) -> Option<&mut Partial> {
        assert!(head < self.count);
        // SAFETY: null, or promised at construction.
        (!self.sums.is_null()).then(|| unsafe { &mut *self.sums.add(head) })
    }
}

/// Tokens whose attention to one KV head is computed together.
pub const ATTENTION_TOKENS: usize = 60;

/// `begin..end` as ranges of positions, each within one block of the cache.
pub fn spans(begin: usize, end: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    cut(begin, end, KV_BLOCK)
}

/// `begin..end` as ranges of positions, each within one segment.
pub fn segments(begin: usize, end: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    cut(begin, end, SEGMENT)
}

fn cut(begin: usize, end: usize, each: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (begin / each..end.div_ceil(each)).map(move |i| (begin.max(i * each), end.min((i + 1) * each)))
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

    pub fn kind(&self) -> KvType {
        self.cache.kind
    }

    /// What this token's key is to be multiplied by before it is rounded, where its largest element is `largest`. Writes the scale.
    pub fn scale_key<E: Element>(&mut self, largest: f32) -> f32 {
        self.scale::<E>(self.cache.k_offset, largest)
    }

    pub fn scale_value<E: Element>(&mut self, largest: f32) -> f32 {
        self.scale::<E>(self.cache.v_offset, largest)
    }

    fn scale<E: Element>(&mut self, offset: usize, largest: f32) -> f32 {
        if !E::SCALED {
            return 1.0;
        }
        let inverse = inverse_scale(largest);
        let scale = if inverse == 0.0 { 0.0 } else { largest / 127.0 };
        // SAFETY: a token's position is its own in this call, and only this task writes this head there.
        unsafe { self.cache.scales(self.position, offset).add(self.position % KV_BLOCK).write(scale) };
        inverse
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
