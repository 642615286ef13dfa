//! What each kernel takes, in order: the one list that lowering writes by and the loader verifies by.

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A buffer of f32 rows.
    F32,
    /// A buffer of Q8 rows.
    Q8,
    /// A buffer of Q8x2 rows.
    Q8x2,
    /// A packed matrix.
    Matrix,
    /// A plain f32 vector.
    Vector,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    pub name: &'static str,
    pub takes: Takes,
    pub optional: bool,
    /// The kernel writes it.
    pub output: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Signature {
    pub name: &'static str,
    pub operands: &'static [Operand],
    pub ints: &'static [&'static str],
    pub floats: &'static [&'static str],
    /// Touches the KV cache (of layer `ints["layer"]`): it writes it or reads it.
    pub cache: Cache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    None,
    Reads,
    Writes,
}

const fn input(name: &'static str, takes: Takes) -> Operand {
    Operand { name, takes, optional: false, output: false }
}

const fn optional(name: &'static str, takes: Takes) -> Operand {
    Operand { name, takes, optional: true, output: false }
}

const fn output(name: &'static str, takes: Takes) -> Operand {
    Operand { name, takes, optional: false, output: true }
}

use Takes::{F32, Matrix, Q8, Q8x2, Vector};

/// Widths are those of the buffers and weights; a kernel that works over rows takes buffers that are over rows.
/// `embed` reads the call's tokens, `gather_rows` reads a buffer over tokens and writes one over rows.
pub const SIGNATURES: &[Signature] = &[
    plain("embed", &[input("table", Matrix), output("y", F32)], &[], &["scale"]),
    plain(
        "rope_table",
        &[input("inv_freq", Vector), output("y", F32)],
        &["original"],
        &["magnitude", "theta", "dynamic_factor"],
    ),
    plain("rms_norm", &[input("x", F32), input("w", Vector), output("y", F32)], &[], &["eps"]),
    plain("rms_norm_q8", &[input("x", F32), input("w", Vector), output("y", Q8)], &[], &["eps"]),
    plain("rms_norm_q8x2", &[input("x", F32), input("w", Vector), output("y", Q8x2)], &[], &["eps"]),
    plain("quantize_q8", &[input("x", F32), output("y", Q8)], &[], &[]),
    plain("quantize_q8x2", &[input("x", F32), output("y", Q8x2)], &[], &[]),
    plain(
        "linear",
        &[input("x", F32), input("w", Matrix), optional("bias", Vector), optional("residual", F32), output("y", F32)],
        &[],
        &["alpha"],
    ),
    plain(
        "linear_q8",
        &[input("x", Q8), input("w", Matrix), optional("bias", Vector), optional("residual", F32), output("y", F32)],
        &[],
        &["alpha"],
    ),
    plain(
        "linear_q8x2",
        &[input("x", Q8x2), input("w", Matrix), optional("bias", Vector), optional("residual", F32), output("y", F32)],
        &[],
        &["alpha"],
    ),
    plain("swiglu", &[input("x", F32), output("y", F32)], &[], &[]),
    plain("swiglu_q8", &[input("x", F32), output("y", Q8)], &[], &[]),
    plain("swiglu_q8x2", &[input("x", F32), output("y", Q8x2)], &[], &[]),
    Signature {
        name: "rope_kv",
        operands: &[
            input("qkv", F32),
            input("table", F32),
            optional("q_norm", Vector),
            optional("k_norm", Vector),
            output("q", F32),
        ],
        ints: &["heads", "kv_heads", "head_dim", "layer"],
        floats: &["eps"],
        cache: Cache::Writes,
    },
    Signature {
        name: "attention",
        operands: &[input("q", F32), output("y", F32)],
        ints: &["heads", "kv_heads", "head_dim", "layer", "window"],
        floats: &["scale"],
        cache: Cache::Reads,
    },
    plain("gather_rows", &[input("x", F32), output("y", F32)], &[], &[]),
    plain("concat_cols", &[input("a", F32), input("b", F32), output("y", F32)], &[], &[]),
    plain("add", &[input("a", F32), input("b", F32), output("y", F32)], &[], &["scale"]),
    plain("mul", &[input("a", F32), input("b", F32), output("y", F32)], &[], &[]),
    plain("silu", &[input("a", F32), output("y", F32)], &[], &[]),
    plain("scale", &[input("a", F32), output("y", F32)], &[], &["scale"]),
];

const fn plain(
    name: &'static str,
    operands: &'static [Operand],
    ints: &'static [&'static str],
    floats: &'static [&'static str],
) -> Signature {
    Signature { name, operands, ints, floats, cache: Cache::None }
}

pub fn find(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name == name)
}
