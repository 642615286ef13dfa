//! Applying a recipe: the format of each weight of a checkpoint.

use std::collections::BTreeMap;

use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::{Format, Kind};

use super::{Method, Override, Quantizer, Recipe, RecipeError, Rule};
use crate::checkpoint::Tensor;
use crate::config::ModelConfig;

/// How a matrix is stored: a packed kind, and the inputs that share a scale (0 for floats).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightType {
    pub kind: Kind,
    pub group: u32,
}

/// The format of every matrix, by canonical name, and the way to it.
#[derive(Clone, Debug, Default)]
pub struct Assignment {
    types: BTreeMap<String, (WeightType, Method)>,
    /// The embedding's matrix serves as the head too.
    pub shared_head: bool,
}

impl Assignment {
    pub fn get(&self, name: &str) -> Option<WeightType> {
        self.types.get(name).map(|(weight, _)| *weight)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    pub fn methods(&self) -> impl Iterator<Item = Method> {
        self.types.values().map(|(_, method)| *method)
    }

    pub fn method(&self, name: &str) -> Option<Method> {
        self.types.get(name).map(|(_, method)| *method)
    }
}

const LINEARS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];

/// An error where an override is for no matrix.
pub fn assign(
    recipe: &Recipe,
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Assignment, RecipeError> {
    let mut types = BTreeMap::new();
    for name in (0..config.layers).flat_map(|layer| LINEARS.map(|linear| format!("layers.{layer}.{linear}"))) {
        if let Some(tensor) = tensors.get(&name) {
            let chosen = choose(&name, recipe.linear, recipe, tensor);
            types.insert(name, chosen);
        }
    }
    let shared_head = assign_ends(recipe, config, tensors, &mut types);
    let broken = |(name, (weight, _)): (&String, &(WeightType, Method))| {
        let cols = tensors.get(name).or_else(|| tensors.get("embed"))?.cols();
        let whole = cols.is_multiple_of(ACT_GROUP) || !weight.kind.format().is_some_and(Format::has_trellis);
        (!whole).then(|| RecipeError::BrokenStep { name: name.clone(), kind: weight.kind.name(), cols })
    };
    if let Some(error) = types.iter().find_map(broken) {
        return Err(error);
    }
    let names = || types.keys();
    match recipe.overrides.iter().find(|rule| !names().any(|name| matches(&rule.layers, name))) {
        Some(Override { layers, .. }) => Err(RecipeError::NoSuchLayer(layers.clone())),
        None => Ok(Assignment { types, shared_head }),
    }
}

/// The embedding and the head; whether they are one.
fn assign_ends(
    recipe: &Recipe,
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    types: &mut BTreeMap<String, (WeightType, Method)>,
) -> bool {
    let Some(embed) = tensors.get("embed") else {
        return false;
    };
    let head = if config.tied { Some(embed) } else { tensors.get("head") };
    let head_type = head.map(|head| choose("head", recipe.linear, recipe, head));
    let own = recipe.embedding.is_some() || recipe.overrides.iter().any(|rule| matches(&rule.layers, "embed"));
    let embed_type = own.then(|| choose("embed", recipe.embedding, recipe, embed));
    // One matrix where their formats are one; then it is made as the head, which matters more, would be.
    let shared = head_type.filter(|(head, _)| config.tied && embed_type.is_none_or(|(embed, _)| embed == *head));
    let embed_type = shared.or(embed_type).unwrap_or_else(|| choose("embed", recipe.embedding, recipe, embed));
    types.insert("embed".to_string(), embed_type);
    types.extend(head_type.map(|head_type| ("head".to_string(), head_type)));
    shared.is_some()
}

fn choose(name: &str, quantizer: Option<Quantizer>, recipe: &Recipe, tensor: &Tensor) -> (WeightType, Method) {
    let float = |kind| (WeightType { kind, group: 0 }, Method::Nearest);
    let rule = recipe.overrides.iter().rev().find(|rule| matches(&rule.layers, name)).map(|rule| rule.rule);
    match (rule.or(quantizer.map(Rule::Quantized)), recipe.dtype) {
        (Some(Rule::Quantized(quantizer)), _) => (quantizer.weight_type(tensor.cols()), quantizer.method),
        (Some(Rule::Float(kind)), _) | (None, Some(kind)) => float(kind),
        (None, None) => (kept(tensor), Method::Nearest),
    }
}

impl Quantizer {
    /// The format of a matrix of so many columns.
    pub fn weight_type(self, cols: usize) -> WeightType {
        WeightType { kind: self.kind, group: self.group.of_row(cols) }
    }
}

/// Whether a name is what a pattern describes, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|name| {
            let tails = name.char_indices().map(|(at, _)| &name[at..]).chain([""]);
            tails.into_iter().any(|tail| matches(rest, tail))
        }),
    }
}

/// What the checkpoint has, or the nearest format above it.
fn kept(tensor: &Tensor) -> WeightType {
    let quantized = |kind, group| WeightType { kind, group };
    match (tensor.grid(), tensor.encoding_name()) {
        (Some(grid), _) => quantized(grid.kind, grid.group as u32),
        (None, "f32" | "f64") => quantized(Kind::F32, 0),
        (None, "f16") => quantized(Kind::F16, 0),
        (None, "bf16") => quantized(Kind::Bf16, 0),
        (None, _) => quantized(Kind::I8, ACT_GROUP as u32),
    }
}
