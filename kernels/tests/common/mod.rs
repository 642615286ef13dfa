//! What the kernel tests share: noise, aligned buffers, packed matrices, running a kernel, forcing tiers.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unsafe_code, reason = "kernels are called through their ABI")]

use core::ffi::c_void;

use tc_kernels::abi::{Call, Matrix};
use tc_kernels::layout::{Kind, block_bytes, groups, matrix_bytes, sub_scales};
use tc_kernels::pack::{QuantizedRow, pack_float_block, pack_quantized_block};
use tc_kernels::table::{Chosen, Features, Tier, select};

pub struct Noise(pub u64);

impl Noise {
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Evenly in −1..1.
    pub fn value(&mut self) -> f32 {
        self.bits() as f32 / (1u32 << 30) as f32 - 1.0
    }

    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
}

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Bytes that begin at a multiple of 64.
#[derive(Clone)]
pub struct Aligned(Vec<Line>);

impl Aligned {
    /// Filled with 0xff: as f32 a NaN, so that reading what nobody wrote shows.
    pub fn new(bytes: usize) -> Aligned {
        Aligned(vec![Line([0xff; 64]); bytes.div_ceil(64)])
    }

    /// Rows of f32 `stride` apart, NaN between.
    pub fn rows(rows: &[Vec<f32>], stride: usize) -> Aligned {
        let mut buffer = Aligned::new(rows.len() * stride * 4);
        for (row, out) in rows.iter().zip(buffer.floats_mut().chunks_mut(stride)) {
            out[..row.len()].copy_from_slice(row);
        }
        buffer
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: lines are bytes without padding.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 64) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: lines are bytes without padding.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }

    pub fn floats(&self) -> &[f32] {
        // SAFETY: aligned, and any bits are f32.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    pub fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: aligned, and any bits are f32.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }

    pub fn ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    pub fn mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// A packed matrix of noise.
#[derive(Clone)]
pub struct Packed {
    pub kind: Kind,
    pub group: usize,
    pub rows: usize,
    pub cols: usize,
    pub data: Aligned,
}

impl Packed {
    pub fn noise(kind: Kind, group: usize, rows: usize, cols: usize, noise: &mut Noise) -> Packed {
        let mut data = Aligned::new(matrix_bytes(kind, rows, cols, group));
        let size = block_bytes(kind, cols, group);
        for (b, out) in data.bytes_mut()[..rows.div_ceil(16) * size].chunks_mut(size).enumerate() {
            let here = 16.min(rows - b * 16);
            if kind.is_quantized() {
                let rows: Vec<Quantized> = (0..here).map(|_| Quantized::noise(kind, group, cols, noise)).collect();
                let rows: Vec<QuantizedRow> = rows.iter().map(Quantized::view).collect();
                pack_quantized_block(kind, group, &rows, out);
            } else {
                let values: Vec<Vec<f32>> = (0..here).map(|_| noise.values(cols)).collect();
                let rows: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
                pack_float_block(kind, &rows, out);
            }
        }
        Packed { kind, group, rows, cols, data }
    }

    /// As many rows by repeating what there is.
    pub fn repeated(&self, rows: usize) -> Packed {
        let used = matrix_bytes(self.kind, self.rows, self.cols, self.group);
        let mut data = Aligned::new(matrix_bytes(self.kind, rows, self.cols, self.group));
        for part in data.bytes_mut().chunks_mut(used) {
            part.copy_from_slice(&self.data.bytes()[..part.len()]);
        }
        Packed { rows, data, ..*self }
    }

    pub fn matrix(&self) -> Matrix {
        Matrix {
            data: self.data.ptr(),
            rows: self.rows as u32,
            cols: self.cols as u32,
            kind: self.kind as u32,
            group: self.group as u32,
        }
    }
}

/// A row of a quantized kind. Scales are up to 1 and sub-scales up to 127, 1/127 of a kind without them.
struct Quantized {
    q: Vec<i8>,
    scales: Vec<f32>,
    mins: Vec<f32>,
    sub_scales: Vec<i8>,
    sub_mins: Vec<i8>,
}

impl Quantized {
    fn noise(kind: Kind, group: usize, cols: usize, noise: &mut Noise) -> Quantized {
        let (bits, format) = (kind.format().map_or(8, |format| format.bits), kind.format());
        let (groups, subs) = (groups(kind, cols, group), sub_scales(kind, cols));
        let minima = if kind.has_min() { (groups, subs) } else { (0, 0) };
        let number = |noise: &mut Noise| ((noise.bits() >> 8) & ((1 << bits) - 1)) as u8 as i8;
        let sub = |noise: &mut Noise| (noise.bits() >> 8) as i8;
        let scale = |noise: &mut Noise| noise.value() * if subs > 0 { 1.0 / 127.0 } else { 1.0 };
        Quantized {
            q: (0..cols).map(|_| number(noise)).collect(),
            scales: (0..groups).map(|_| scale(noise)).collect(),
            mins: (0..minima.0).map(|_| scale(noise)).collect(),
            sub_scales: (0..subs)
                .map(|_| sub(noise))
                .map(|sub| format.map_or(sub, |format| format.sub_scale(sub.into())))
                .collect(),
            sub_mins: (0..minima.1).map(|_| sub(noise)).collect(),
        }
    }

    fn view(&self) -> QuantizedRow<'_> {
        let Quantized { q, scales, mins, sub_scales, sub_mins } = self;
        QuantizedRow { q, scales, mins, sub_scales, sub_mins }
    }
}

/// A call of `n` tokens, all rows asked for, without a cache.
pub fn call_of(n: usize) -> Call {
    Call {
        n: n as u32,
        rows: n as u32,
        tokens: core::ptr::null(),
        positions: core::ptr::null(),
        sequences: core::ptr::null(),
        out_rows: core::ptr::null(),
        kv: core::ptr::null_mut(),
        kv_block_bytes: 0,
        tables: core::ptr::null(),
        table_stride: 0,
        kv_dtype: 0,
        seen: 0,
        sums: core::ptr::null_mut(),
    }
}

/// Runs all tasks, later ones first and in uneven pieces, as threads might.
///
/// # Safety
/// `args` and `call` are as the ABI says.
pub unsafe fn run<A>(kernel: &Chosen, args: &A, call: &Call) {
    let args: *const c_void = (&raw const *args).cast();
    // SAFETY: promised by the caller.
    unsafe {
        let mut end = (kernel.tasks)(args, call);
        let mut piece = 1;
        while end > 0 {
            let begin = end.saturating_sub(piece);
            (kernel.run)(args, call, begin, end);
            (end, piece) = (begin, piece % 5 + 1);
        }
    }
}

pub fn scalar(name: &str) -> Chosen {
    select(name, Features::NONE).unwrap_or_else(|| panic!("no kernel {name}"))
}

/// Calls `test` with the kernel's variant of every tier beyond scalar that this machine has. Says what it skipped; a
/// kernel of which nothing was tested fails.
pub fn each_variant(name: &str, mut test: impl FnMut(&Chosen)) {
    let (mut tested, mut skipped) = (0, 0);
    for tier in Tier::ALL.iter().copied().filter(|tier| *tier != Tier::Scalar) {
        if !Features::detect().has(tier.needs()) {
            skipped += 1;
            println!("{name}: tier {} skipped: the CPU lacks {}", tier.name(), tier.needs());
            continue;
        }
        let chosen = select(name, Features::detect().limited_to(tier)).unwrap_or_else(|| panic!("no kernel {name}"));
        assert_ne!(chosen.variant, "scalar", "{name} has no variant for tier {}", tier.name());
        test(&chosen);
        tested += 1;
    }
    println!("{name}: {tested} tiers tested, {skipped} skipped");
    assert!(tested > 0, "{name}: no tier was tested");
}

/// Every value within `bound` of what it should be.
pub fn assert_close(actual: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= bound, "{what}: value {i} is {a}, should be {e} within {bound}");
    }
}
