//! The type rule of each op: the type of its result, or what is wrong with its operands and attributes.

use crate::graph::Value;
use crate::op::Op;
use crate::types::{Dim, Dtype, Type};
use crate::weight::Weight;

type Result<T> = std::result::Result<T, String>;

/// Types of the values that come before the op; a value that does not has none.
pub(crate) struct Operands<'a> {
    pub types: &'a dyn Fn(Value) -> Option<&'a Type>,
}

pub(crate) fn infer(op: &Op, operands: &Operands) -> Result<Type> {
    if let Some(attribute) = op.bad_attribute() {
        return Err(format!("bad value of `{attribute}`"));
    }
    let env = operands;
    match op {
        Op::Embed { table, .. } => Ok(f32s(Dim::Tokens, matrix(table)?.1)),
        Op::RopeTable { inv_freq, theta, magnitude, dynamic_factor, original } => {
            positive(&[("theta", *theta), ("magnitude", *magnitude)])?;
            if *dynamic_factor < 0.0 || (*dynamic_factor > 0.0 && *original == 0) {
                return Err("dynamic_factor must not be negative, and needs `original`".to_string());
            }
            let half = vector(inv_freq)?;
            if *dynamic_factor > 0.0 && half < 2 {
                return Err("dynamic_factor needs at least two inverse frequencies".to_string());
            }
            Ok(f32s(Dim::Tokens, times(2, half)?))
        }
        Op::RmsNorm { x, w, eps, chunk } => env.norm(*x, w, *eps, *chunk),
        Op::RmsNormQ8 { x, w, eps, planes } => q8(*planes, env.norm(*x, w, *eps, None)?),
        Op::Linear { x, w, bias, residual, .. } => env.linear(env.f32s(*x)?, w, bias.as_ref(), *residual),
        Op::LinearQ8 { x, w, bias, residual, .. } => {
            if !w.ty()?.dtype.is_quantized_weight() {
                return Err("linear_q8 needs a quantized weight".to_string());
            }
            env.linear(env.q8s(*x)?, w, bias.as_ref(), *residual)
        }
        Op::Rope { x, table } => {
            let (rows, width) = env.f32s(*x)?;
            let head_dim = env.expect_rows(*table, rows)?;
            if width % head_dim != 0 {
                return Err(format!("{width} columns are not whole heads of {head_dim}"));
            }
            Ok(f32s(rows, width))
        }
        Op::Attention { q, k, v, heads, kv_heads, head_dim, scale, .. } => {
            let cache = Heads::new(*heads, *kv_heads, *head_dim)?;
            positive(&[("scale", *scale)])?;
            env.expect(*q, Dim::Tokens, cache.q)?;
            env.expect(*k, Dim::Tokens, cache.kv)?;
            env.expect(*v, Dim::Tokens, cache.kv)?;
            Ok(f32s(Dim::Tokens, cache.q))
        }
        Op::CachedAttention { q, heads, kv_heads, head_dim, scale, .. } => {
            let cache = Heads::new(*heads, *kv_heads, *head_dim)?;
            positive(&[("scale", *scale)])?;
            env.expect(*q, Dim::Tokens, cache.q)?;
            Ok(f32s(Dim::Tokens, cache.q))
        }
        Op::RopeKv { qkv, table, q_norm, k_norm, heads, kv_heads, head_dim, eps, .. } => {
            let cache = Heads::new(*heads, *kv_heads, *head_dim)?;
            env.expect(*qkv, Dim::Tokens, cache.q.checked_add(times(2, cache.kv)?).ok_or("too wide")?)?;
            env.expect(*table, Dim::Tokens, *head_dim)?;
            for norm in [q_norm, k_norm].into_iter().flatten() {
                positive(&[("eps", *eps)])?;
                same("length of the norm", vector(norm)?, *head_dim)?;
            }
            Ok(f32s(Dim::Tokens, cache.q))
        }
        Op::Silu { x } | Op::Scale { x, .. } => env.f32s(*x).map(|(rows, width)| f32s(rows, width)),
        Op::Mul { a, b } | Op::Add { a, b, .. } => {
            let (rows, width) = env.f32s(*a)?;
            env.expect(*b, rows, width)?;
            Ok(f32s(rows, width))
        }
        Op::GatherRows { x } => {
            let width = env.expect_rows(*x, Dim::Tokens)?;
            Ok(f32s(Dim::Rows, width))
        }
        Op::SliceCols { x, begin, end } => {
            let (rows, width) = env.f32s(*x)?;
            if begin >= end || *end > width {
                return Err(format!("no columns {begin}..{end} in {width}"));
            }
            Ok(f32s(rows, end - begin))
        }
        Op::ConcatCols { a, b } => {
            let (rows, width) = env.f32s(*a)?;
            let more = env.expect_rows(*b, rows)?;
            Ok(f32s(rows, width.checked_add(more).ok_or("too wide")?))
        }
        Op::Swiglu { x } => env.swiglu(*x),
        Op::SwigluQ8 { x, planes } => q8(*planes, env.swiglu(*x)?),
        Op::QuantizeQ8 { x, planes } => {
            let (rows, width) = env.f32s(*x)?;
            q8(*planes, f32s(rows, width))
        }
    }
}

impl Operands<'_> {
    /// A value of the first of these types, or of another of them.
    fn activation(&self, value: Value, dtypes: &[Dtype]) -> Result<(Dim, u32)> {
        let ty = (self.types)(value).ok_or_else(|| format!("{value} is not defined before it"))?;
        let shape = ty.as_activation().filter(|(_, width)| *width > 0 && dtypes.contains(&ty.dtype));
        shape.ok_or_else(|| format!("{value} has the type {ty}, not {} rows", dtypes[0]))
    }

    fn f32s(&self, value: Value) -> Result<(Dim, u32)> {
        self.activation(value, &[Dtype::F32])
    }

    fn q8s(&self, value: Value) -> Result<(Dim, u32)> {
        self.activation(value, &[Dtype::Q8, Dtype::Q8x2])
    }

    /// The width of a value over the given rows.
    fn expect_rows(&self, value: Value, rows: Dim) -> Result<u32> {
        match self.f32s(value)? {
            (found, width) if found == rows => Ok(width),
            (found, _) => Err(format!("{value} is over {found}, not over {rows}")),
        }
    }

    fn expect(&self, value: Value, rows: Dim, width: u32) -> Result<()> {
        let found = self.expect_rows(value, rows)?;
        same(&format!("width of {value}"), found, width)
    }

    fn norm(&self, x: Value, w: &Weight, eps: f32, chunk: Option<u32>) -> Result<Type> {
        let (rows, width) = self.f32s(x)?;
        let chunk = chunk.unwrap_or(width);
        positive(&[("eps", eps)])?;
        same("length of the weight", vector(w)?, chunk)?;
        if width % chunk != 0 {
            return Err(format!("{width} columns are not whole chunks of {chunk}"));
        }
        Ok(f32s(rows, width))
    }

    fn linear(&self, x: (Dim, u32), w: &Weight, bias: Option<&Weight>, residual: Option<Value>) -> Result<Type> {
        let (rows, width) = x;
        let (outputs, inputs) = matrix(w)?;
        same("width of x and columns of the weight", width, inputs)?;
        if let Some(bias) = bias {
            same("length of the bias", vector(bias)?, outputs)?;
        }
        if let Some(residual) = residual {
            self.expect(residual, rows, outputs)?;
        }
        Ok(f32s(rows, outputs))
    }

    fn swiglu(&self, x: Value) -> Result<Type> {
        let (rows, width) = self.f32s(x)?;
        if width % 2 != 0 { Err(format!("{width} columns have no halves")) } else { Ok(f32s(rows, width / 2)) }
    }
}

/// Widths of q, and of k and v.
struct Heads {
    q: u32,
    kv: u32,
}

impl Heads {
    fn new(heads: u32, kv_heads: u32, head_dim: u32) -> Result<Heads> {
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!("{heads} heads cannot share {kv_heads} kv_heads"));
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(format!("head_dim {head_dim} must be even"));
        }
        Ok(Heads { q: times(heads, head_dim)?, kv: times(kv_heads, head_dim)? })
    }
}

fn f32s(rows: Dim, width: u32) -> Type {
    Type::activation(Dtype::F32, rows, width)
}

fn q8(planes: u32, ty: Type) -> Result<Type> {
    match planes {
        1 => Ok(Type { dtype: Dtype::Q8, ..ty }),
        2 => Ok(Type { dtype: Dtype::Q8x2, ..ty }),
        _ => Err(format!("{planes} planes; there are rows of 1 and of 2")),
    }
}

fn matrix(weight: &Weight) -> Result<(u32, u32)> {
    let ty = weight.ty()?;
    ty.as_matrix().ok_or_else(|| format!("{weight} is no matrix"))
}

fn vector(weight: &Weight) -> Result<u32> {
    let ty = weight.ty()?;
    ty.as_vector().ok_or_else(|| format!("{weight} is no f32 vector"))
}

fn times(a: u32, b: u32) -> Result<u32> {
    a.checked_mul(b).ok_or_else(|| "too wide".to_string())
}

fn same(what: &str, found: u32, expected: u32) -> Result<()> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, expected {expected}")) }
}

fn positive(attributes: &[(&str, f32)]) -> Result<()> {
    match attributes.iter().find(|(_, value)| *value <= 0.0) {
        Some((name, value)) => Err(format!("`{name}` is {value}, and must be positive")),
        None => Ok(()),
    }
}
