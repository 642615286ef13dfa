//! Recipes: what number format each weight of an artifact gets.
//!
//! A recipe is torchchat's JSON ([`parse`]) plus `--dtype`. [`assign`] applies one to a checkpoint's tensors:
//!
//! - A matrix that the recipe says nothing about keeps what the checkpoint has: floats as they are, quantized numbers on
//!   the grid they are on where a packed kind can hold it, else as int8 in groups of 32 (more bits than any such format has).
//! - `precision` or `--dtype` says the float format of every matrix that no quantizer is named for, dequantizing where needed.
//! - Vectors (norms, biases) are always f32.
//! - A head tied to the embedding is one matrix with it, unless the recipe names different formats for the two.

mod assign;
mod parse;
#[cfg(test)]
mod tests;

pub use assign::{Assignment, WeightType, assign};
pub use parse::RecipeError;

pub use tc_kernels::layout::Kind;

/// Inputs that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    Row,
    /// A multiple of 32.
    Of(u32),
}

/// A quantizer: a packed kind and its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantizer {
    pub kind: Kind,
    pub group: Group,
}

/// What the inputs of quantized matrices are when they meet them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// Rounded to int8 in groups of 32: the fast path.
    #[default]
    Int8,
    /// As they are: exact, and slower.
    F32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    pub linear: Option<Quantizer>,
    pub embedding: Option<Quantizer>,
    /// The float kind of what is not quantized.
    pub dtype: Option<Kind>,
    pub activations: Activations,
}

impl std::fmt::Display for Quantizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.group {
            Group::Row => write!(f, "{} per row", self.kind.name()),
            Group::Of(group) => write!(f, "{} in groups of {group}", self.kind.name()),
        }
    }
}

/// One line for people.
impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rest = self.dtype.map_or("as in the checkpoint", Kind::name);
        match self.linear {
            Some(linear) => write!(f, "linear {linear}")?,
            None => write!(f, "linear {rest}")?,
        }
        if let Some(embedding) = self.embedding {
            write!(f, ", embedding {embedding}")?;
        }
        if self.linear.is_some() {
            write!(f, ", the rest {rest}")?;
        }
        match self.activations {
            Activations::Int8 => Ok(()),
            Activations::F32 => write!(f, ", activations f32"),
        }
    }
}
