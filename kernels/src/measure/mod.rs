//! Kernels alone, for benchmarks: arguments and buffers of a given shape, over which any variant can be run and timed. What the
//! buffers hold does not change the time, as long as it is neither subnormal nor infinite.

#![allow(unsafe_code, reason = "kernels are called through their ABI")]

mod cases;
pub mod peak;

use core::any::Any;
use core::ffi::c_void;
use std::time::Instant;

use crate::abi::Call;
use crate::layout::Kind;
use crate::table::{Features, KERNELS, Kernel, Variant};

/// What a kernel works on, tokens apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `linear`, `linear_q8` and `linear_q8x2`.
    Matrix { kind: Kind, group: usize, rows: usize, cols: usize },
    /// Norms, `quantize_q8`, SwiGLU, elementwise kernels: values of a token's result.
    Row { dim: usize },
    /// `rope_kv` and `attention`, the last token standing at position `context - 1`.
    Heads { heads: usize, kv_heads: usize, head_dim: usize, context: usize },
}

/// Which of the machine's peaks a kernel's operations are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Multiply-adds of f32.
    Float,
    /// Multiply-adds of bf16 weights and f32: of two bf16 for one where tiles have these, else of f32.
    Bf16,
    /// Multiply-adds of bytes.
    Byte,
}

/// One kernel at one shape, ready to run.
pub struct Case<'a> {
    pub kernel: &'static Kernel,
    pub shape: Shape,
    pub tokens: usize,
    /// Bytes that the call must read and write, each once.
    pub bytes: u64,
    /// Whether most of them come from memory: the weights of every run are others.
    pub streams: bool,
    /// Multiplications and additions.
    pub operations: u64,
    pub unit: Unit,
    /// One for each matrix; runs take them in turn.
    args: Vec<Box<dyn Any>>,
    call: Call,
    /// What `args` and `call` point to.
    _buffers: Vec<Lines>,
    _weights: &'a Lines,
}

impl<'a> Case<'a> {
    /// None where there is no such kernel, it does not take such a shape, or `weights` do not hold it.
    pub fn new(kernel: &str, shape: Shape, tokens: usize, weights: &'a Lines) -> Option<Case<'a>> {
        let kernel = KERNELS.iter().find(|k| k.name == kernel)?;
        cases::make(kernel, shape, tokens, weights)
    }

    /// The variants that this CPU can run.
    pub fn variants(&self) -> impl Iterator<Item = &'static Variant> {
        let features = Features::detect();
        self.kernel.variants.iter().filter(move |variant| features.has(variant.tier.needs()))
    }

    /// Seconds that one run takes on this thread, over `turns` of them.
    ///
    /// # Panics
    /// Where the variant is not one of `variants`.
    pub fn seconds(&mut self, variant: &Variant, turns: usize) -> f64 {
        assert!(self.variants().any(|v| core::ptr::fn_addr_eq(v.run, variant.run)), "a variant of another kernel");
        let begin = Instant::now();
        for turn in 0..turns {
            let args: *const c_void = (&raw const *self.args[turn % self.args.len()]).cast();
            // SAFETY: `cases` made arguments, call and buffers of the shapes that the ABI asks for; `&mut self` makes this thread the
            // only one, and the CPU has the variant's features.
            unsafe { (variant.run)(args, &self.call, 0, (self.kernel.tasks)(args, &self.call)) };
        }
        begin.elapsed().as_secs_f64() / turns as f64
    }
}

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Memory that begins at a multiple of 64 bytes.
pub struct Lines(Vec<Line>);

impl Lines {
    /// Filled with a byte of which every weight, scale and cached value is an ordinary number.
    pub fn new(bytes: usize) -> Lines {
        Lines(vec![Line([0x11; 64]); bytes.div_ceil(64)])
    }

    /// As f32, values between −1 and 1.
    fn floats(count: usize) -> Lines {
        let mut lines = Lines::new(4 * count);
        for (i, bytes) in lines.0.iter_mut().flat_map(|line| line.0.as_chunks_mut().0).enumerate() {
            *bytes = ((i * 7919 % 2003) as f32 / 1001.5 - 1.0).to_le_bytes();
        }
        lines
    }

    pub fn len(&self) -> usize {
        64 * self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    fn mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_of_a_case_runs() {
        let weights = Lines::new(1 << 20);
        let matrix = |kind, group| Shape::Matrix { kind, group, rows: 33, cols: 72 };
        let heads = Shape::Heads { heads: 6, kv_heads: 2, head_dim: 32, context: 70 };
        let row = Shape::Row { dim: 72 };
        for (kernel, shape) in [
            ("linear_q8", matrix(Kind::I4, 32)),
            ("linear_q8x2", matrix(Kind::I8, 32)),
            ("linear", matrix(Kind::F16, 0)),
            ("linear", matrix(Kind::I8, 64)),
            ("rms_norm", row),
            ("rms_norm_q8", row),
            ("rms_norm_q8x2", row),
            ("quantize_q8", row),
            ("quantize_q8x2", row),
            ("swiglu", row),
            ("swiglu_q8", row),
            ("swiglu_q8x2", row),
            ("add", row),
            ("silu", row),
            ("rope_kv", heads),
            ("attention", heads),
        ] {
            for tokens in [1, 5] {
                let mut case = Case::new(kernel, shape, tokens, &weights).unwrap_or_else(|| panic!("{kernel}"));
                assert!(case.bytes > 0 && case.operations > 0);
                let variants: Vec<_> = case.variants().collect();
                assert!(!variants.is_empty());
                variants.into_iter().for_each(|variant| assert!(case.seconds(variant, 3) > 0.0));
            }
        }
        assert!(Case::new("linear", row, 1, &weights).is_none());
        assert!(Case::new("linear_q8", matrix(Kind::F32, 0), 1, &weights).is_none());
        assert!(Case::new("nothing", row, 1, &weights).is_none());
        let large = Shape::Matrix { kind: Kind::F32, group: 0, rows: 4096, cols: 4096 };
        assert!(Case::new("linear", large, 1, &weights).is_none(), "more weights than there are");
    }
}
