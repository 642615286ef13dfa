//! Applying a recipe: the format of each weight of a checkpoint.

use std::collections::BTreeMap;

use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::{Kind, padded_cols};

use super::{Group, Quantizer, Recipe};
use crate::checkpoint::Tensor;
use crate::config::ModelConfig;

/// How a matrix is stored: a packed kind, and the inputs that share a scale (0 for floats).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightType {
    pub kind: Kind,
    pub group: u32,
}

/// The format of every matrix, by canonical name.
#[derive(Clone, Debug)]
pub struct Assignment {
    types: BTreeMap<String, WeightType>,
    /// The embedding's matrix serves as the head too.
    pub shared_head: bool,
}

impl Assignment {
    pub fn get(&self, name: &str) -> Option<WeightType> {
        self.types.get(name).copied()
    }
}

const LINEARS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];

pub fn assign(recipe: &Recipe, config: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Assignment {
    let mut types = BTreeMap::new();
    for name in (0..config.layers).flat_map(|layer| LINEARS.map(|linear| format!("layers.{layer}.{linear}"))) {
        if let Some(tensor) = tensors.get(&name) {
            types.insert(name, choose(recipe.linear, recipe, tensor));
        }
    }
    let shared_head = assign_ends(recipe, config, tensors, &mut types);
    Assignment { types, shared_head }
}

/// The embedding and the head; whether they are one.
fn assign_ends(
    recipe: &Recipe,
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    types: &mut BTreeMap<String, WeightType>,
) -> bool {
    let Some(embed) = tensors.get("embed") else {
        return false;
    };
    let head = if config.tied { Some(embed) } else { tensors.get("head") };
    let head_type = head.map(|head| choose(recipe.linear, recipe, head));
    let embed_type = match (config.tied, recipe.embedding, head_type) {
        (true, None, Some(head_type)) => head_type,
        _ => choose(recipe.embedding, recipe, embed),
    };
    types.insert("embed".to_string(), embed_type);
    types.extend(head_type.map(|head_type| ("head".to_string(), head_type)));
    config.tied && head_type == Some(embed_type)
}

fn choose(quantizer: Option<Quantizer>, recipe: &Recipe, tensor: &Tensor) -> WeightType {
    match (quantizer, recipe.dtype) {
        (Some(Quantizer { kind, group: Group::Of(group) }), _) => WeightType { kind, group },
        (Some(Quantizer { kind, group: Group::Row }), _) => {
            WeightType { kind, group: padded_cols(tensor.cols()) as u32 }
        }
        (None, Some(kind)) => WeightType { kind, group: 0 },
        (None, None) => kept(tensor),
    }
}

/// What the checkpoint has, or the nearest format above it.
fn kept(tensor: &Tensor) -> WeightType {
    let quantized = |kind, group| WeightType { kind, group };
    match (tensor.grid(), tensor.encoding_name()) {
        (Some(grid), _) => {
            let kind = match (grid.bits, grid.has_min) {
                (4, false) => Kind::I4,
                (4, true) => Kind::I4Min,
                _ => Kind::I8,
            };
            quantized(kind, grid.group as u32)
        }
        (None, "f32" | "f64") => quantized(Kind::F32, 0),
        (None, "f16") => quantized(Kind::F16, 0),
        (None, "bf16") => quantized(Kind::Bf16, 0),
        (None, _) => quantized(Kind::I8, ACT_GROUP as u32),
    }
}
