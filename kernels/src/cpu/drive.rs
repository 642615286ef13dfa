//! The ABI's entry points, generic over the instruction set: pointers become slices here and nowhere else.
//!
//! # Safety
//! Every function here is an `abi::Run` or an `abi::Tasks`: the caller promises what the ABI's text says, and that the
//! CPU has the instruction set (`table::select` gives out only such variants).

use core::ffi::c_void;
use core::mem::MaybeUninit;

use crate::abi::{
    ACT_GROUP, AttentionArgs, BLOCK_ROWS, Call, ConcatArgs, ElementwiseArgs, EmbedArgs, GatherArgs, LinearArgs, Matrix,
    NormArgs, Over, QuantizeArgs, RopeKvArgs, RopeTableArgs, SwigluArgs,
};
use crate::layout::{Kind, block_bytes};
use crate::pack::{Blocks, unpack_row};

use super::Isa;
use super::cached::{ATTENTION_TOKENS, Heads, RopeKv};
use super::cut::Cut;
use super::q8::{self, GroupsMut};
use super::scalar;
use super::views::{Epilogue, Q8Rows, Rows};

/// # Safety
/// `args` points to an `A` and `call` to a `Call`, both valid for `'a`.
unsafe fn read<'a, A>(args: *const c_void, call: *const Call) -> (&'a A, &'a Call) {
    // SAFETY: promised by the caller.
    unsafe { (&*args.cast::<A>(), &*call) }
}

/// # Safety
/// `x + t * stride` holds `width` f32 that nobody writes during `'a`.
unsafe fn row<'a>(x: *const f32, stride: u32, t: u32, width: u32) -> &'a [f32] {
    // SAFETY: promised by the caller.
    unsafe { core::slice::from_raw_parts(x.add(t as usize * stride as usize), width as usize) }
}

/// # Safety
/// `y + t * stride` holds `width` f32 that are the caller's alone during `'a`.
unsafe fn row_mut<'a>(y: *mut f32, stride: u32, t: u32, width: u32) -> &'a mut [f32] {
    // SAFETY: promised by the caller.
    unsafe { core::slice::from_raw_parts_mut(y.add(t as usize * stride as usize), width as usize) }
}

/// # Safety
/// `y + t * stride` (bytes) holds a Q8 or Q8x2 row of `width` inputs that is the caller's alone during `'a`.
unsafe fn q8_row_mut<'a, const PLANES: usize>(y: *mut u8, stride: u32, t: u32, width: u32) -> GroupsMut<'a> {
    let stride = stride as usize;
    // SAFETY: promised by the caller.
    unsafe { GroupsMut::from_raw::<PLANES>(y.add(t as usize * stride), stride, 0..q8::groups(width as usize)) }
}

fn count(over: u32, call: &Call) -> u32 {
    if over == Over::Rows as u32 { call.rows } else { call.n }
}

pub mod tasks {
    //! How many tasks a call has.
    use super::*;

    /// One for each token.
    pub unsafe extern "C" fn tokens(_: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        unsafe { (*call).n }
    }

    /// One for each requested row.
    pub unsafe extern "C" fn rows(_: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        unsafe { (*call).rows }
    }

    pub unsafe extern "C" fn norm(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<NormArgs>(args, call) };
        count(args.over, call)
    }

    pub unsafe extern "C" fn quantize(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<QuantizeArgs>(args, call) };
        count(args.over, call)
    }

    pub unsafe extern "C" fn swiglu(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<SwigluArgs>(args, call) };
        count(args.over, call)
    }

    pub unsafe extern "C" fn elementwise(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<ElementwiseArgs>(args, call) };
        count(args.over, call)
    }

    /// One for each block of 16 output rows, none where there is nothing to multiply.
    pub unsafe extern "C" fn linear(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<LinearArgs>(args, call) };
        if count(args.over, call) == 0 { 0 } else { args.w.rows.div_ceil(BLOCK_ROWS as u32) }
    }

    /// One for each token, or row, and group of its columns.
    pub unsafe extern "C" fn swiglu_groups(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<SwigluArgs>(args, call) };
        count(args.over, call) * groups(args)
    }

    /// One for each token and KV head.
    pub unsafe extern "C" fn rope_kv(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<RopeKvArgs>(args, call) };
        call.n * args.kv_heads
    }

    /// One for each KV head and segment, or as `attention` where contexts are not cut.
    pub unsafe extern "C" fn attention_segments(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<AttentionArgs>(args, call) };
        Cut::of(args, call).map_or(call.n * args.kv_heads, |cut| cut.tasks())
    }

    /// One for each token and KV head.
    pub unsafe extern "C" fn attention(args: *const c_void, call: *const Call) -> u32 {
        // SAFETY: the ABI.
        let (args, call) = unsafe { read::<AttentionArgs>(args, call) };
        call.n * args.kv_heads
    }
}

/// # Safety
/// `w` is as the ABI says for `'a`, and `begin..end` are blocks of it.
unsafe fn some_blocks<'a>(w: &Matrix, begin: u32, end: u32) -> Blocks<'a> {
    let (kind, cols, group) = matrix_shape(w);
    let size = block_bytes(kind, cols, group);
    // SAFETY: the caller's promise; a matrix holds all its blocks, one after another.
    let bytes =
        unsafe { core::slice::from_raw_parts(w.data.add(begin as usize * size), (end - begin) as usize * size) };
    let all = (w.rows as usize).div_ceil(BLOCK_ROWS);
    Blocks::new(kind, group, cols, bytes).followed((all - begin as usize) * size)
}

fn matrix_shape(w: &Matrix) -> (Kind, usize, usize) {
    // The loader has verified the kind; one that is none would be its bug.
    (Kind::from_u32(w.kind).unwrap_or(Kind::F32), w.cols as usize, w.group as usize)
}

pub unsafe extern "C" fn embed(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (args, call) = unsafe { read::<EmbedArgs>(args, call) };
    let (kind, cols, group) = matrix_shape(&args.table);
    for t in begin..end {
        // SAFETY: tokens are below the table's rows; row t of y is this task's.
        let (token, y) = unsafe { (*call.tokens.add(t as usize), row_mut(args.y, args.y_stride, t, args.table.cols)) };
        // SAFETY: as above.
        let w = unsafe { some_blocks(&args.table, token / BLOCK_ROWS as u32, token / BLOCK_ROWS as u32 + 1) };
        unpack_row(kind, group, cols, w.bytes(), token as usize % BLOCK_ROWS, y);
        if args.scale != 1.0 {
            y.iter_mut().for_each(|v| *v *= args.scale);
        }
    }
}

pub unsafe extern "C" fn rope_table(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (args, call) = unsafe { read::<RopeTableArgs>(args, call) };
    for t in begin..end {
        // SAFETY: inv_freq has `half` values, row t of y twice as many.
        let (position, inv_freq, y) = unsafe {
            let y = row_mut(args.y, args.y_stride, t, 2 * args.half);
            (*call.positions.add(t as usize), row(args.inv_freq, 0, 0, args.half), y)
        };
        scalar::rope::rope_table(args, inv_freq, position, y);
    }
}

pub unsafe extern "C" fn rms_norm<I: Isa>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (isa, (args, _)) = unsafe { (I::assume(), read::<NormArgs>(args, call)) };
    for t in begin..end {
        // SAFETY: the ABI.
        unsafe {
            let y = row_mut(args.y.cast(), args.y_stride / 4, t, args.dim);
            isa.rms_norm(row(args.x, args.x_stride, t, args.dim), row(args.w, 0, 0, args.dim), args.eps, y);
        }
    }
}

pub unsafe extern "C" fn rms_norm_q8<I: Isa, const PLANES: usize>(
    args: *const c_void,
    call: *const Call,
    begin: u32,
    end: u32,
) {
    // SAFETY: the ABI.
    let (isa, (args, _)) = unsafe { (I::assume(), read::<NormArgs>(args, call)) };
    for t in begin..end {
        // SAFETY: the ABI.
        unsafe {
            let y = q8_row_mut::<PLANES>(args.y, args.y_stride, t, args.dim);
            isa.rms_norm_q8(row(args.x, args.x_stride, t, args.dim), row(args.w, 0, 0, args.dim), args.eps, y);
        }
    }
}

pub unsafe extern "C" fn quantize_q8<I: Isa, const PLANES: usize>(
    args: *const c_void,
    call: *const Call,
    begin: u32,
    end: u32,
) {
    // SAFETY: the ABI.
    let (isa, (args, _)) = unsafe { (I::assume(), read::<QuantizeArgs>(args, call)) };
    for t in begin..end {
        // SAFETY: the ABI.
        unsafe {
            let y = q8_row_mut::<PLANES>(args.y, args.y_stride, t, args.dim);
            isa.quantize_q8(row(args.x, args.x_stride, t, args.dim), y);
        }
    }
}

/// Bytes of weights that stay in a core's second cache while all tokens pass by, so that memory gives them once.
const RESIDENT_WEIGHTS: usize = 256 << 10;
/// Bytes of inputs that stay in the first cache while those weights pass by.
const RESIDENT_INPUTS: usize = 24 << 10;

/// Calls `part(first block, blocks, first row, rows)` for the blocks `begin..end` and `count` rows of `x`, `stride` bytes apart, in the order
/// that loads the least. `least` is how many rows the kernel works on at a time.
///
/// # Safety
/// As the ABI says.
unsafe fn each_part(
    args: &LinearArgs,
    (count, stride): (usize, usize),
    least: usize,
    begin: u32,
    end: u32,
    start: impl Fn(Blocks),
    part: impl Fn(usize, Blocks, usize, usize),
) {
    // SAFETY: the caller's promise.
    let all = unsafe { some_blocks(&args.w, begin, end) };
    start(all);
    // So few that one part has them all. When decoding, a division would be felt.
    if count <= least {
        return part(begin as usize, all, 0, count);
    }
    let tokens = (RESIDENT_INPUTS / stride).max(least);
    let (tokens, blocks) = (tokens - tokens % least, (RESIDENT_WEIGHTS / all.size()).max(1));
    for (i, some) in all.in_parts(blocks).enumerate() {
        for t in (0..count).step_by(tokens) {
            let some = if t == 0 { some } else { some.in_cache() };
            part(begin as usize + i * blocks, some, t, tokens.min(count - t));
        }
    }
}

pub unsafe extern "C" fn linear<I: Isa>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    unsafe {
        let (isa, (args, call)) = (I::assume(), read::<LinearArgs>(args, call));
        let count = count(args.over, call) as usize;
        let x = Rows::from_raw(args.x, args.x_stride as usize, count, args.w.cols as usize);
        each_part(
            args,
            (count, args.x_stride as usize),
            I::LINEAR_TOKENS,
            begin,
            end,
            |w| isa.prefetch_first(w, count),
            |first, w, t, n| {
                isa.linear_blocks(w, x.some(t, n), |i| Epilogue::new::<1>(args, first + i, t, n));
            },
        );
    }
}

/// Planes are rows of their own, which the epilogue adds up.
pub unsafe extern "C" fn linear_q8<I: Isa, const PLANES: usize>(
    args: *const c_void,
    call: *const Call,
    begin: u32,
    end: u32,
) {
    // SAFETY: the ABI.
    unsafe {
        let (isa, (args, call)) = (I::assume(), read::<LinearArgs>(args, call));
        let (count, stride) = (PLANES * count(args.over, call) as usize, args.x_stride as usize / PLANES);
        let x = Q8Rows::from_raw(args.x, stride, count, args.w.cols as usize);
        each_part(
            args,
            (count, stride),
            const { I::LINEAR_Q8_TOKENS.next_multiple_of(PLANES) },
            begin,
            end,
            |w| isa.prefetch_first(w, count),
            |first, w, t, n| {
                isa.linear_q8_blocks(w, x.some(t, n), |i| Epilogue::new::<PLANES>(args, first + i, t, n));
            },
        );
    }
}

/// As `linear_q8`, for a call of one token.
pub unsafe extern "C" fn linear_q8_one<I: Isa>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    unsafe {
        let (isa, (args, _)) = (I::assume(), read::<LinearArgs>(args, call));
        let x = Q8Rows::from_raw(args.x, args.x_stride as usize, 1, args.w.cols as usize);
        let blocks = some_blocks(&args.w, begin, end);
        isa.prefetch_first(blocks, 1);
        isa.linear_q8_one(blocks, x, |i| Epilogue::new::<1>(args, begin as usize + i, 0, 1));
    }
}

pub unsafe extern "C" fn swiglu<I: Isa>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (isa, (args, _)) = unsafe { (I::assume(), read::<SwigluArgs>(args, call)) };
    for t in begin..end {
        // SAFETY: the ABI.
        let (x, y) = unsafe {
            let y = row_mut(args.y.cast(), args.y_stride / 4, t, args.dim);
            (row(args.x, args.x_stride, t, 2 * args.dim), y)
        };
        let (gate, up) = x.split_at(args.dim as usize);
        isa.swiglu(gate, up, y);
    }
}

pub unsafe extern "C" fn swiglu_q8<I: Isa, const PLANES: usize>(
    args: *const c_void,
    call: *const Call,
    begin: u32,
    end: u32,
) {
    // SAFETY: the ABI.
    let (isa, (args, _)) = unsafe { (I::assume(), read::<SwigluArgs>(args, call)) };
    for t in begin..end {
        // SAFETY: the ABI.
        let (x, y) = unsafe {
            let y = q8_row_mut::<PLANES>(args.y, args.y_stride, t, args.dim);
            (row(args.x, args.x_stride, t, 2 * args.dim), y)
        };
        let (gate, up) = x.split_at(args.dim as usize);
        isa.swiglu_q8(gate, up, y);
    }
}

/// As `swiglu_q8`, but a task is a group of a token's or row's columns, token-major.
pub unsafe extern "C" fn swiglu_q8_groups<I: Isa, const PLANES: usize>(
    args: *const c_void,
    call: *const Call,
    begin: u32,
    end: u32,
) {
    // SAFETY: the ABI.
    let (isa, (args, _)) = unsafe { (I::assume(), read::<SwigluArgs>(args, call)) };
    let groups = groups(args);
    let mut task = begin;
    while task < end {
        let (t, first) = (task / groups, task % groups);
        let last = groups.min(first + end - task);
        let (from, width) =
            (first * ACT_GROUP as u32, args.dim.min(last * ACT_GROUP as u32) - first * ACT_GROUP as u32);
        // SAFETY: the ABI; other columns of these rows may be other threads'.
        let (gate, up, y) = unsafe {
            let column = args.x.add(from as usize);
            let stride = args.y_stride as usize;
            let y = args.y.add(t as usize * stride);
            let gate = row(column, args.x_stride, t, width);
            let up = row(column.add(args.dim as usize), args.x_stride, t, width);
            (gate, up, GroupsMut::from_raw::<PLANES>(y, stride, first as usize..last as usize))
        };
        isa.swiglu_q8(gate, up, y);
        task += last - first;
    }
}

/// Groups of a token's columns.
fn groups(args: &SwigluArgs) -> u32 {
    args.dim.div_ceil(ACT_GROUP as u32)
}

pub unsafe extern "C" fn rope_kv<I: Isa>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (isa, (args, call)) = unsafe { (I::assume(), read::<RopeKvArgs>(args, call)) };
    for task in begin..end {
        // SAFETY: the ABI.
        isa.rope_kv(unsafe { RopeKv::new(args, call, task as usize) });
    }
}

pub unsafe extern "C" fn attention<I: Isa>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (isa, (args, call)) = unsafe { (I::assume(), read::<AttentionArgs>(args, call)) };
    // Tasks of one KV head lie `kv_heads` apart.
    for head in begin..end.min(begin + args.kv_heads) {
        let mut next = head;
        while next < end {
            let count = (end - next).div_ceil(args.kv_heads).min(ATTENTION_TOKENS as u32);
            // SAFETY: the ABI; tasks below `end` are given to nobody else.
            let heads = |i: u32| unsafe { Heads::new(args, call, (next + i * args.kv_heads) as usize) };
            let mut tokens = [const { MaybeUninit::uninit() }; ATTENTION_TOKENS];
            for (i, token) in (0..count).zip(&mut tokens) {
                token.write(heads(i));
            }
            // SAFETY: so many have been written.
            isa.attention(unsafe { core::slice::from_raw_parts_mut(tokens.as_mut_ptr().cast(), count as usize) });
            next += count * args.kv_heads;
        }
    }
}

pub unsafe extern "C" fn attention_segments<I: Isa>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (isa, (some, one)) = unsafe { (I::assume(), read::<AttentionArgs>(args, call)) };
    let Some(cut) = Cut::of(some, one) else {
        // SAFETY: the ABI, by which both have the same tasks here.
        return unsafe { attention::<I>(args, call, begin, end) };
    };
    for task in begin as usize..end as usize {
        // SAFETY: the ABI; the task's sums are written before it is done.
        let joined = unsafe {
            isa.attention(&mut [cut.task(some, one, task)]);
            cut.done(some, one, task)
        };
        if let Some((heads, sums)) = joined {
            isa.join(heads, sums);
        }
    }
}

pub unsafe extern "C" fn gather_rows(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (args, call) = unsafe { read::<GatherArgs>(args, call) };
    for r in begin..end {
        // SAFETY: out_rows are below n; x and y are different buffers.
        unsafe {
            let x = row(args.x, args.x_stride, *call.out_rows.add(r as usize), args.dim);
            row_mut(args.y, args.y_stride, r, args.dim).copy_from_slice(x);
        }
    }
}

pub unsafe extern "C" fn concat_cols(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (args, _) = unsafe { read::<ConcatArgs>(args, call) };
    for t in begin..end {
        // SAFETY: y is neither a nor b, and its row t, which is this task's, holds the columns of both.
        let (a, b, y) = unsafe {
            let y = row_mut(args.y, args.y_stride, t, args.a_dim + args.b_dim);
            (row(args.a, args.a_stride, t, args.a_dim), row(args.b, args.b_stride, t, args.b_dim), y)
        };
        let (left, right) = y.split_at_mut(a.len());
        left.copy_from_slice(a);
        right.copy_from_slice(b);
    }
}

/// One elementwise kernel; `N::new` says which.
pub unsafe extern "C" fn elementwise<O: Operation>(args: *const c_void, call: *const Call, begin: u32, end: u32) {
    // SAFETY: the ABI.
    let (args, _) = unsafe { read::<ElementwiseArgs>(args, call) };
    for t in begin..end {
        let t = t as usize;
        // SAFETY: every row holds `dim` values; y may be a or b itself, hence no slices.
        unsafe {
            let a = args.a.add(t * args.a_stride as usize);
            let b = if O::BINARY { args.b.add(t * args.b_stride as usize) } else { a };
            let y = args.y.add(t * args.y_stride as usize);
            for i in 0..args.dim as usize {
                *y.add(i) = O::apply(*a.add(i), *b.add(i), args.scale);
            }
        }
    }
}

/// What an elementwise kernel does to one value.
pub trait Operation {
    const BINARY: bool;
    fn apply(a: f32, b: f32, scale: f32) -> f32;
}
