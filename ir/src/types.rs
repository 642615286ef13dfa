//! Tensor types: `f32[n, 576]`, `i4g32[49152, 576]`, `q8[n, 576]`.

use std::fmt;
use std::str::FromStr;

/// One dimension: a constant, or a symbol whose bound the graph's header gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    Const(u32),
    /// `n`: the tokens of this call.
    Tokens,
    /// `m`: the rows whose logits are asked for.
    Rows,
}

/// How a weight's integers stand for numbers: `group` consecutive inputs of a row (the last group of a row may be shorter) share
/// what `scheme` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quant {
    pub bits: u8,
    pub group: u32,
    pub scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// An f16 scale.
    Scale,
    /// An f16 scale and an f16 minimum: `scale * q + min`.
    Minimum,
    /// An f16 scale, and an f16 minimum where the width has one; smaller parts of the group have integer factors of both.
    SubScales,
    /// As `SubScales`; the numbers are indices of a table.
    Table,
    /// As `SubScales`; the numbers are codes of a trellis.
    Trellis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
    /// A quantized weight; prints as `i8g64`, `i4g32min` with minima, `k4g256` with sub-scales, `n4g256` with a table.
    Int(Quant),
    /// Activation rows in 8 bits. 32 consecutive inputs share the f32 scale `amax / 127`; each is
    /// `round(x * (127 / amax))`, ties to even, and 0 where `127 / amax` is not finite.
    Q8,
    /// Two planes of [`Dtype::Q8`]: the second holds what the first leaves of each input, some 15 bits in all.
    Q8x2,
}

impl Dtype {
    pub fn is_quantized_weight(self) -> bool {
        matches!(self, Dtype::Int(_))
    }

    /// May a weight have it?
    pub fn is_weight(self) -> bool {
        !matches!(self, Dtype::Q8 | Dtype::Q8x2)
    }
}

/// A value's or a weight's type: rows and columns for activations and matrices, one dimension for vectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    pub dtype: Dtype,
    pub shape: Vec<Dim>,
}

impl Type {
    /// Activations: `rows` is [`Dim::Tokens`] or [`Dim::Rows`].
    pub fn activation(dtype: Dtype, rows: Dim, cols: u32) -> Type {
        Type { dtype, shape: vec![rows, Dim::Const(cols)] }
    }

    pub fn matrix(dtype: Dtype, rows: u32, cols: u32) -> Type {
        Type { dtype, shape: vec![Dim::Const(rows), Dim::Const(cols)] }
    }

    /// Norm weights, biases and inverse frequencies are f32.
    pub fn vector(len: u32) -> Type {
        Type { dtype: Dtype::F32, shape: vec![Dim::Const(len)] }
    }

    /// The symbol and width of an activation.
    pub fn as_activation(&self) -> Option<(Dim, u32)> {
        match self.shape[..] {
            [rows @ (Dim::Tokens | Dim::Rows), Dim::Const(cols)] => Some((rows, cols)),
            _ => None,
        }
    }

    /// Elements of a weight.
    pub fn constant_size(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |size, dim| match dim {
            Dim::Const(dim) => size.checked_mul(*dim as usize),
            Dim::Tokens | Dim::Rows => None,
        })
    }

    /// Rows and columns of a weight matrix.
    pub fn as_matrix(&self) -> Option<(u32, u32)> {
        match self.shape[..] {
            [Dim::Const(rows), Dim::Const(cols)] => Some((rows, cols)),
            _ => None,
        }
    }

    /// Length of an f32 vector.
    pub fn as_vector(&self) -> Option<u32> {
        match (self.dtype, &self.shape[..]) {
            (Dtype::F32, [Dim::Const(len)]) => Some(*len),
            _ => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Dim::Const(size) => write!(f, "{size}"),
            Dim::Tokens => f.write_str("n"),
            Dim::Rows => f.write_str("m"),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Dtype::F32 => f.write_str("f32"),
            Dtype::F16 => f.write_str("f16"),
            Dtype::Bf16 => f.write_str("bf16"),
            Dtype::Int(q) => {
                let (letter, min) = q.scheme.marks();
                write!(f, "{letter}{}g{}{min}", q.bits, q.group)
            }
            Dtype::Q8 => f.write_str("q8"),
            Dtype::Q8x2 => f.write_str("q8x2"),
        }
    }
}

impl FromStr for Dtype {
    type Err = ();

    fn from_str(text: &str) -> Result<Dtype, ()> {
        match text {
            "f32" => Ok(Dtype::F32),
            "f16" => Ok(Dtype::F16),
            "bf16" => Ok(Dtype::Bf16),
            "q8" => Ok(Dtype::Q8),
            "q8x2" => Ok(Dtype::Q8x2),
            _ => parse_quant(text).map(Dtype::Int).ok_or(()),
        }
    }
}

impl Scheme {
    pub const ALL: [Scheme; 5] = [Scheme::Scale, Scheme::Minimum, Scheme::SubScales, Scheme::Table, Scheme::Trellis];

    /// What a type begins and ends with.
    fn marks(self) -> (&'static str, &'static str) {
        match self {
            Scheme::Scale => ("i", ""),
            Scheme::Minimum => ("i", "min"),
            Scheme::SubScales => ("k", ""),
            Scheme::Table => ("n", ""),
            Scheme::Trellis => ("t", ""),
        }
    }
}

fn parse_quant(text: &str) -> Option<Quant> {
    let (head, tail) = text.split_once('g')?;
    let (letter, bits) = head.split_at_checked(1)?;
    let group = tail.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.marks() == (letter, &tail[group.len()..]))?;
    Some(Quant { bits: bits.parse().ok()?, group: group.parse().ok()?, scheme })
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
        write!(f, "{}[{}]", self.dtype, shape.join(", "))
    }
}
