//! Weights: named constants, and rows of several of them one below the other.

use std::fmt;

use crate::types::{Dim, Dtype, Type};

/// One named constant. Its name is what the exporter knows the tensor by: letters, digits and `. _ - / $`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    pub name: String,
    pub ty: Type,
}

/// `@layers.0.q`, or `concat_rows(@layers.0.q, @layers.0.k, @layers.0.v)`, which merging makes: the rows (or, of
/// vectors, the values) of the parts one after the other. The parts have one dtype and one number of columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Weight {
    pub parts: Vec<Part>,
}

impl Weight {
    pub fn new(name: impl Into<String>, ty: Type) -> Weight {
        Weight { parts: vec![Part { name: name.into(), ty }] }
    }

    pub fn matrix(name: impl Into<String>, dtype: Dtype, rows: u32, cols: u32) -> Weight {
        Weight::new(name, Type::matrix(dtype, rows, cols))
    }

    pub fn vector(name: impl Into<String>, len: u32) -> Weight {
        Weight::new(name, Type::vector(len))
    }

    pub fn concat_rows<'a>(weights: impl IntoIterator<Item = &'a Weight>) -> Weight {
        Weight { parts: weights.into_iter().flat_map(|weight| weight.parts.iter().cloned()).collect() }
    }

    /// The type of the whole, or what is wrong with it.
    pub fn ty(&self) -> Result<Type, String> {
        let first = &self.parts.first().ok_or("a weight without parts")?.ty;
        let mut rows = 0u32;
        for part in &self.parts {
            check_part(part)?;
            if part.ty.dtype != first.dtype || part.ty.shape.get(1) != first.shape.get(1) {
                return Err(format!("concat_rows of {} and {}", first, part.ty));
            }
            let Some(Dim::Const(more)) = part.ty.shape.first() else {
                return Err(format!("weight @{} has the type {}", part.name, part.ty));
            };
            rows = rows.checked_add(*more).ok_or("concat_rows has too many rows")?;
        }
        let mut shape = first.shape.clone();
        shape[0] = Dim::Const(rows);
        Ok(Type { dtype: first.dtype, shape })
    }
}

fn check_part(part: &Part) -> Result<(), String> {
    let named = !part.name.is_empty() && part.name.chars().all(is_name_char);
    let constant = matches!(part.ty.shape[..], [Dim::Const(1..)] | [Dim::Const(1..), Dim::Const(1..)]);
    let quant = match part.ty.dtype {
        Dtype::Int(q) => matches!(q.bits, 1..=8) && q.group > 0,
        dtype => dtype.is_weight(),
    };
    if named && constant && quant { Ok(()) } else { Err(format!("no weight can be @{}: {}", part.name, part.ty)) }
}

/// What a weight's name may hold.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '$')
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "@{}: {}", self.name, self.ty)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.parts[..] {
            [part] => part.fmt(f),
            parts => {
                let parts: Vec<String> = parts.iter().map(Part::to_string).collect();
                write!(f, "concat_rows({})", parts.join(", "))
            }
        }
    }
}
