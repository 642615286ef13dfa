//! Recipes: what number format each weight of an artifact gets.
//!
//! A recipe is torchchat's JSON ([`parse`]) plus `--dtype`. [`assign`] applies one to a checkpoint's tensors:
//!
//! - A matrix that the recipe says nothing about keeps what the checkpoint has: floats as they are, quantized numbers on
//!   the grid they are on, else (where grids are joined side by side) as int8 in groups of 32.
//! - `precision` or `--dtype` says the float format of every matrix that no quantizer is named for, dequantizing where needed.
//! - Overrides say it for the matrices whose names they match; the last one that does counts.
//! - Vectors (norms, biases) are always f32.
//! - A head tied to the embedding is one matrix with it, unless the recipe names different formats for the two.

mod assign;
mod entry;
mod error;
mod parse;
mod profiles;
#[cfg(test)]
mod tests;

pub use assign::{Assignment, WeightType, assign};
pub use error::RecipeError;

use tc_kernels::layout::padded_cols;

pub use tc_kernels::layout::Kind;

/// Inputs that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    Row,
    /// A multiple of 32.
    Of(u32),
}

impl Group {
    /// Inputs of a row of so many columns that share one.
    pub fn of_row(self, cols: usize) -> u32 {
        match self {
            Group::Of(group) => group,
            Group::Row => padded_cols(cols) as u32,
        }
    }
}

/// How a matrix finds its numbers on a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// Each to the nearest point.
    #[default]
    Nearest,
    Hqq,
    Awq,
    Gptq,
}

/// A quantizer: a packed kind, its groups, and the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantizer {
    pub kind: Kind,
    pub group: Group,
    pub method: Method,
}

/// What the inputs of quantized matrices are when they meet them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// Rounded to int8 in groups of 32: the fast path.
    #[default]
    Int8,
    /// Rounded to int8, and what that leaves to int8 again: some 15 bits, at twice the products.
    Int16,
    /// As they are: exact, and slower.
    F32,
}

/// Where the recipe wants the artifact to run. One program serves all; this is a wish that whoever exports is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The best there is.
    Fast,
    Cpu,
    Cuda,
    Metal,
    Vulkan,
}

/// What an override gives to its matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Quantized(Quantizer),
    Float(Kind),
}

/// A rule for the matrices whose canonical names (`layers.0.q`, `head`) match a pattern, in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    pub layers: String,
    pub rule: Rule,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// So many bits a weight on average: exporting measures which matrix needs how many, and adds an override for each.
    pub auto: Option<f64>,
    /// So many windows are read that the model says itself, whatever the text; none: as many as the formats are worth.
    pub said: Option<usize>,
    /// So many tokens of the text tune the quantized model.
    pub tune: Option<usize>,
    pub linear: Option<Quantizer>,
    pub embedding: Option<Quantizer>,
    /// The float kind of what is not quantized.
    pub dtype: Option<Kind>,
    pub activations: Activations,
    pub executor: Option<Accelerator>,
    pub overrides: Vec<Override>,
}

impl Method {
    pub const ALL: [Method; 4] = [Method::Nearest, Method::Hqq, Method::Awq, Method::Gptq];

    pub fn name(self) -> &'static str {
        match self {
            Method::Nearest => "nearest",
            Method::Hqq => "hqq",
            Method::Awq => "awq",
            Method::Gptq => "gptq",
        }
    }
}

impl Accelerator {
    pub const ALL: [Accelerator; 5] =
        [Accelerator::Fast, Accelerator::Cpu, Accelerator::Cuda, Accelerator::Metal, Accelerator::Vulkan];

    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Fast => "fast",
            Accelerator::Cpu => "cpu",
            Accelerator::Cuda => "cuda",
            Accelerator::Metal => "mps",
            Accelerator::Vulkan => "vulkan",
        }
    }
}

impl std::fmt::Display for Quantizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.group {
            Group::Row => write!(f, "{} per row", self.kind.name())?,
            Group::Of(group) => write!(f, "{} in groups of {group}", self.kind.name())?,
        }
        match self.method {
            Method::Nearest => Ok(()),
            method => write!(f, " by {}", method.name()),
        }
    }
}

/// One line for people.
impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(bits) = self.auto {
            return write!(f, "auto, {bits} bits a weight");
        }
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
        for Override { layers, rule } in &self.overrides {
            match rule {
                Rule::Quantized(quantizer) => write!(f, ", {layers} {quantizer}")?,
                Rule::Float(kind) => write!(f, ", {layers} {}", kind.name())?,
            }
        }
        match self.activations {
            Activations::Int8 => Ok(()),
            Activations::Int16 => write!(f, ", activations int16"),
            Activations::F32 => write!(f, ", activations f32"),
        }
    }
}
