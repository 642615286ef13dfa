//! Instructions given their types: every operand is of the kind the kernel takes, every shape fits every other.

use super::super::{Buffer, BufferKind, Instruction, Operand, Program, Weight, WeightKind};
use super::bad;
use crate::{Error, ErrorKind, Result};
use tc_kernels::abi::Over;
use tc_kernels::signature::{self, Signature, Takes};

/// What an instruction computes, with the indices of the buffers and weights it works on. A variant is one argument struct of
/// the kernels' ABI.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    Embed { table: usize, y: usize, scale: f32 },
    RopeTable { inv_freq: usize, y: usize, half: u32, magnitude: f32, theta: f32, dynamic_factor: f32, original: u32 },
    Norm { x: usize, w: usize, y: usize, dim: u32, eps: f32, over: Over },
    Quantize { x: usize, y: usize, dim: u32, over: Over },
    Linear { x: usize, w: usize, bias: Option<usize>, residual: Option<usize>, y: usize, alpha: f32, over: Over },
    Swiglu { x: usize, y: usize, dim: u32, over: Over },
    RopeKv { qkv: usize, table: usize, q_norm: Option<usize>, k_norm: Option<usize>, q: usize, heads: Heads, eps: f32 },
    Attention { q: usize, y: usize, heads: Heads, window: u32, scale: f32 },
    Gather { x: usize, y: usize, dim: u32 },
    Concat { a: usize, b: usize, y: usize, a_dim: u32, b_dim: u32 },
    Elementwise { a: usize, b: Option<usize>, y: usize, dim: u32, scale: f32, over: Over },
}

impl Op {
    /// The buffer that it writes; rope writes the cache besides.
    pub fn result(&self) -> usize {
        match *self {
            Op::RopeKv { q, .. } => q,
            Op::Embed { y, .. }
            | Op::RopeTable { y, .. }
            | Op::Norm { y, .. }
            | Op::Quantize { y, .. }
            | Op::Linear { y, .. }
            | Op::Swiglu { y, .. }
            | Op::Attention { y, .. }
            | Op::Gather { y, .. }
            | Op::Concat { y, .. }
            | Op::Elementwise { y, .. } => y,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub layer: u32,
}

/// Gives every instruction its type.
pub fn read(program: &Program) -> Result<Vec<Op>> {
    let op = |(i, instruction): (usize, &Instruction)| {
        let name = usize::from(instruction.kernel);
        let name =
            program.kernels.get(name).ok_or_else(|| bad(format!("instructions[{i}]: there is no kernel {name}")))?;
        let place = format!("instructions[{i}] ({})", name.escape_debug());
        find(name)
            .and_then(|signature| Reader { program, instruction, signature }.op())
            .map_err(|error| error.in_place(place))
    };
    program.instructions.iter().enumerate().map(op).collect()
}

/// What the kernel of this name takes.
pub fn find(name: &str) -> Result<&'static Signature> {
    signature::find(name).ok_or_else(|| unknown(name))
}

fn unknown(kernel: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("this runtime has no kernel '{}'", kernel.escape_debug()))
}

/// One instruction, whose arguments are asked for by the names the signature gives them.
struct Reader<'a> {
    program: &'a Program,
    instruction: &'a Instruction,
    signature: &'static Signature,
}

/// A buffer and its index.
type Placed<'a> = (usize, &'a Buffer);

/// How the instructions of a kernel are read; none for a kernel that this executor does not know.
fn reader(kernel: &str) -> Option<fn(&Reader) -> Result<Op>> {
    Some(match kernel {
        "embed" => |reader| reader.embed(),
        "rope_table" => |reader| reader.rope_table(),
        "rms_norm" | "rms_norm_q8" | "rms_norm_q8x2" => |reader| reader.norm(),
        "quantize_q8" | "quantize_q8x2" => |reader| reader.quantize(),
        "linear" | "linear_q8" | "linear_q8x2" => |reader| reader.linear(),
        "swiglu" | "swiglu_q8" | "swiglu_q8x2" => |reader| reader.swiglu(),
        "rope_kv" => |reader| reader.rope_kv(),
        "attention" => |reader| reader.attention(),
        "gather_rows" => |reader| reader.gather(),
        "concat_cols" => |reader| reader.concat(),
        "add" | "mul" => |reader| reader.elementwise(true),
        "silu" | "scale" => |reader| reader.elementwise(false),
        _ => return None,
    })
}

impl<'a> Reader<'a> {
    fn op(&self) -> Result<Op> {
        let name = self.signature.name;
        let read = reader(name).ok_or_else(|| unknown(name))?;
        self.check_counts()?;
        read(self)
    }

    fn embed(&self) -> Result<Op> {
        let ((table, weight), (y, out)) = (self.weight("table")?, self.tokens("y")?);
        self.equal("y's width", out.width, "the table's columns", weight.cols)?;
        self.at_least("the table's rows", weight.rows, "vocab", self.program.vocab)?;
        Ok(Op::Embed { table, y, scale: self.float("scale")? })
    }

    fn rope_table(&self) -> Result<Op> {
        let ((inv_freq, weight), (y, out)) = (self.weight("inv_freq")?, self.tokens("y")?);
        let half = weight.rows;
        self.equal("y's width", out.width, "two values for each frequency", half.saturating_mul(2))?;
        Ok(Op::RopeTable {
            inv_freq,
            y,
            half,
            magnitude: self.float("magnitude")?,
            theta: self.float("theta")?,
            dynamic_factor: self.float("dynamic_factor")?,
            original: self.int("original")?,
        })
    }

    fn norm(&self) -> Result<Op> {
        let ((x, from), (w, weight), (y, to)) = (self.buffer("x")?, self.weight("w")?, self.buffer("y")?);
        self.equal("w's length", weight.rows, "x's width", from.width)?;
        self.equal("y's width", to.width, "x's width", from.width)?;
        Ok(Op::Norm { x, w, y, dim: from.width, eps: self.float("eps")?, over: self.over(&[from, to])? })
    }

    fn quantize(&self) -> Result<Op> {
        let ((x, from), (y, to)) = (self.buffer("x")?, self.buffer("y")?);
        self.equal("y's width", to.width, "x's width", from.width)?;
        Ok(Op::Quantize { x, y, dim: from.width, over: self.over(&[from, to])? })
    }

    fn linear(&self) -> Result<Op> {
        let ((x, from), (w, weight), (y, to)) = (self.buffer("x")?, self.weight("w")?, self.buffer("y")?);
        self.equal("x's width", from.width, "w's columns", weight.cols)?;
        self.at_least("y's width", to.width, "w's rows", weight.rows)?;
        let bias = self.optional_vector("bias", weight.rows, "w's rows")?;
        let mut over = vec![from, to];
        let residual = match self.optional("residual") {
            None => None,
            Some(_) => {
                let (residual, added) = self.buffer("residual")?;
                self.equal("residual's width", added.width, "y's width", to.width)?;
                over.push(added);
                Some(residual)
            }
        };
        Ok(Op::Linear { x, w, bias, residual, y, alpha: self.float("alpha")?, over: self.over(&over)? })
    }

    fn swiglu(&self) -> Result<Op> {
        let ((x, from), (y, to)) = (self.buffer("x")?, self.buffer("y")?);
        self.equal("x's width", from.width, "twice y's width", to.width * 2)?;
        Ok(Op::Swiglu { x, y, dim: to.width, over: self.over(&[from, to])? })
    }

    fn rope_kv(&self) -> Result<Op> {
        let ((qkv, from), (table, angles), (q, to)) = (self.tokens("qkv")?, self.tokens("table")?, self.tokens("q")?);
        let heads = self.heads()?;
        if heads.head_dim % 2 != 0 {
            return Err(bad(format!("head_dim {} is odd", heads.head_dim)));
        }
        let all = u64::from(heads.heads) + 2 * u64::from(heads.kv_heads);
        self.equal("qkv's width", from.width, "(heads + 2 kv_heads) * head_dim", all * u64::from(heads.head_dim))?;
        self.equal("the table's width", angles.width, "head_dim", heads.head_dim)?;
        self.equal("q's width", to.width, "heads * head_dim", heads.width())?;
        let q_norm = self.optional_vector("q_norm", heads.head_dim, "head_dim")?;
        let k_norm = self.optional_vector("k_norm", heads.head_dim, "head_dim")?;
        Ok(Op::RopeKv { qkv, table, q_norm, k_norm, q, heads, eps: self.float("eps")? })
    }

    fn attention(&self) -> Result<Op> {
        let ((q, from), (y, to)) = (self.tokens("q")?, self.tokens("y")?);
        let heads = self.heads()?;
        self.equal("q's width", from.width, "heads * head_dim", heads.width())?;
        self.equal("y's width", to.width, "heads * head_dim", heads.width())?;
        Ok(Op::Attention { q, y, heads, window: self.int("window")?, scale: self.float("scale")? })
    }

    fn gather(&self) -> Result<Op> {
        let ((x, from), (y, to)) = (self.tokens("x")?, self.buffer("y")?);
        self.equal("y's width", to.width, "x's width", from.width)?;
        if !to.over_rows {
            return Err(bad("y is not over rows"));
        }
        Ok(Op::Gather { x, y, dim: from.width })
    }

    fn concat(&self) -> Result<Op> {
        let ((a, left), (b, right), (y, to)) = (self.tokens("a")?, self.tokens("b")?, self.tokens("y")?);
        self.equal("y's width", to.width, "the width of a and b", left.width.saturating_add(right.width))?;
        Ok(Op::Concat { a, b, y, a_dim: left.width, b_dim: right.width })
    }

    fn elementwise(&self, two: bool) -> Result<Op> {
        let ((a, left), (y, to)) = (self.buffer("a")?, self.buffer("y")?);
        self.equal("y's width", to.width, "a's width", left.width)?;
        let mut over = vec![left, to];
        let mut b = None;
        if two {
            let (index, right) = self.buffer("b")?;
            self.equal("b's width", right.width, "a's width", left.width)?;
            over.push(right);
            b = Some(index);
        }
        let scale = if self.signature.floats.is_empty() { 1.0 } else { self.float("scale")? };
        Ok(Op::Elementwise { a, b, y, dim: left.width, scale, over: self.over(&over)? })
    }

    /// The head counts of a kernel that touches the cache, which must be the cache's own.
    fn heads(&self) -> Result<Heads> {
        let (cache, int) = (&self.program.cache, |name| self.int(name));
        let heads = Heads {
            heads: int("heads")?,
            kv_heads: int("kv_heads")?,
            head_dim: int("head_dim")?,
            layer: int("layer")?,
        };
        self.equal("kv_heads", heads.kv_heads, "the cache's", cache.kv_heads)?;
        self.equal("head_dim", heads.head_dim, "the cache's", cache.head_dim)?;
        if heads.layer >= cache.layers {
            return Err(bad(format!("layer {}, but the cache has {}", heads.layer, cache.layers)));
        }
        if heads.heads == 0 || !heads.heads.is_multiple_of(heads.kv_heads) {
            return Err(bad(format!("{} heads cannot share {} kv_heads", heads.heads, heads.kv_heads)));
        }
        Ok(heads)
    }
}

impl Heads {
    fn width(self) -> u64 {
        u64::from(self.heads) * u64::from(self.head_dim)
    }
}

/// Arguments by name.
impl<'a> Reader<'a> {
    /// As many operands, ints and floats as the kernel takes, each of the right kind.
    fn check_counts(&self) -> Result<()> {
        let (instruction, signature) = (self.instruction, self.signature);
        let counts = [
            ("operands", instruction.operands.len(), signature.operands.len()),
            ("ints", instruction.ints.len(), signature.ints.len()),
            ("floats", instruction.floats.len(), signature.floats.len()),
        ];
        for (what, has, takes) in counts {
            if has != takes {
                return Err(bad(format!("{has} {what}, but the kernel takes {takes}")));
            }
        }
        for (operand, takes) in instruction.operands.iter().zip(signature.operands) {
            if !self.is(*operand, takes) {
                return Err(bad(format!("{} is not {}", takes.name, what(takes.takes))));
            }
        }
        Ok(())
    }

    fn is(&self, operand: Operand, expected: &signature::Operand) -> bool {
        let program = self.program;
        match operand {
            Operand::None => expected.optional,
            Operand::Buffer(i) => match program.buffers.get(i as usize).map(|buffer| buffer.kind) {
                Some(BufferKind::F32) => expected.takes == Takes::F32,
                Some(BufferKind::Q8) => expected.takes == Takes::Q8,
                Some(BufferKind::Q8x2) => expected.takes == Takes::Q8x2,
                None => false,
            },
            Operand::Weight(i) => match program.weights.get(i as usize).map(|weight| weight.kind) {
                Some(WeightKind::Vector) => expected.takes == Takes::Vector,
                Some(WeightKind::Matrix(_)) => expected.takes == Takes::Matrix,
                None => false,
            },
        }
    }

    fn operand(&self, name: &str) -> Result<Operand> {
        self.optional(name).ok_or_else(|| bad(format!("{name} is missing")))
    }

    fn optional(&self, name: &str) -> Option<Operand> {
        let at = self.signature.operands.iter().position(|operand| operand.name == name)?;
        self.instruction.operands.get(at).copied().filter(|operand| *operand != Operand::None)
    }

    fn buffer(&self, name: &str) -> Result<Placed<'a>> {
        let Operand::Buffer(i) = self.operand(name)? else { return Err(bad(format!("{name} is not a buffer"))) };
        let buffer = self.program.buffers.get(i as usize);
        buffer.map(|buffer| (i as usize, buffer)).ok_or_else(|| bad(format!("{name}: there is no buffer {i}")))
    }

    /// A buffer with one row for each token.
    fn tokens(&self, name: &str) -> Result<Placed<'a>> {
        let (i, buffer) = self.buffer(name)?;
        if buffer.over_rows { Err(bad(format!("{name} is not over tokens"))) } else { Ok((i, buffer)) }
    }

    fn weight(&self, name: &str) -> Result<(usize, &'a Weight)> {
        let Operand::Weight(i) = self.operand(name)? else { return Err(bad(format!("{name} is not a weight"))) };
        let weight = self.program.weights.get(i as usize);
        weight.map(|weight| (i as usize, weight)).ok_or_else(|| bad(format!("{name}: there is no weight {i}")))
    }

    fn optional_vector(&self, name: &str, length: u32, reason: &str) -> Result<Option<usize>> {
        if self.optional(name).is_none() {
            return Ok(None);
        }
        let (i, weight) = self.weight(name)?;
        self.equal(&format!("{name}'s length"), weight.rows, reason, length)?;
        Ok(Some(i))
    }

    fn int(&self, name: &str) -> Result<u32> {
        let at = self.signature.ints.iter().position(|int| *int == name);
        let value = at.and_then(|at| self.instruction.ints.get(at)).ok_or_else(|| bad(format!("{name} is missing")))?;
        u32::try_from(*value).map_err(|_| bad(format!("{name}: {value} is out of range")))
    }

    fn float(&self, name: &str) -> Result<f32> {
        let at = self.signature.floats.iter().position(|float| *float == name);
        let value = at.and_then(|at| self.instruction.floats.get(at)).copied();
        match value {
            Some(value) if value.is_finite() => Ok(value),
            Some(value) => Err(bad(format!("{name}: {value} is not finite"))),
            None => Err(bad(format!("{name} is missing"))),
        }
    }

    /// Whether the kernel works on tokens or on rows: all its buffers agree.
    fn over(&self, buffers: &[&Buffer]) -> Result<Over> {
        let rows = buffers.iter().filter(|buffer| buffer.over_rows).count();
        match rows {
            0 => Ok(Over::Tokens),
            _ if rows == buffers.len() => Ok(Over::Rows),
            _ => Err(bad("some of its buffers are over rows, some over tokens")),
        }
    }

    fn equal(&self, what: &str, is: u32, reason: &str, should: impl Into<u64>) -> Result<()> {
        let should = should.into();
        if u64::from(is) == should { Ok(()) } else { Err(bad(format!("{what} is {is}, but {reason} is {should}"))) }
    }

    fn at_least(&self, what: &str, is: u32, reason: &str, least: u32) -> Result<()> {
        if is >= least { Ok(()) } else { Err(bad(format!("{what} is {is}, less than {reason}, {least}"))) }
    }
}

fn what(takes: Takes) -> &'static str {
    match takes {
        Takes::F32 => "a buffer of f32 rows",
        Takes::Q8 => "a buffer of q8 rows",
        Takes::Q8x2 => "a buffer of q8x2 rows",
        Takes::Matrix => "a matrix",
        Takes::Vector => "a vector",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_kernel_is_known_here() {
        for signature in tc_kernels::signature::SIGNATURES {
            assert!(super::reader(signature.name).is_some(), "{}", signature.name);
        }
    }
}
