//! What a program's weights are made of, by the names that the graph knows.

use std::collections::BTreeMap;

use super::EmitError;
use crate::checkpoint::Tensor;
use crate::config::ModelConfig;
use crate::models::{INV_FREQ, inverse_frequencies};
use crate::program::{Storage, Weight};

#[derive(Clone, Debug)]
pub enum Constant {
    Tensor(Tensor),
    /// A vector that the compiler computed.
    Values(Vec<f32>),
}

#[derive(Clone, Debug, Default)]
pub struct Constants(BTreeMap<String, Constant>);

/// The numbers of one weight, its parts joined.
#[derive(Debug)]
pub enum Numbers {
    /// Read lazily; its shape is the weight's.
    Matrix(Tensor),
    Vector(Vec<f32>),
}

impl Constants {
    /// A checkpoint's tensors, and what the model builder names besides: a tied head, and rope's frequencies.
    pub fn new(config: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Self {
        let named = tensors.iter().map(|(name, tensor)| (name.clone(), Constant::Tensor(tensor.clone())));
        let mut constants = Self(named.collect());
        if let Some(embed) = tensors.get("embed").filter(|_| config.tied && !tensors.contains_key("head")) {
            constants.insert("head", Constant::Tensor(embed.clone()));
        }
        constants.insert(INV_FREQ, Constant::Values(inverse_frequencies(&config.rope, config.head_dim)));
        constants
    }

    pub fn insert(&mut self, name: &str, constant: Constant) {
        self.0.insert(name.to_string(), constant);
    }

    pub fn get(&self, name: &str) -> Option<&Constant> {
        self.0.get(name)
    }

    /// A weight's numbers; an error where the checkpoint's shapes are not the program's.
    pub fn numbers(&self, weight: &Weight) -> Result<Numbers, EmitError> {
        let wrong = |why: String| EmitError::Weight(weight.name.clone(), why);
        let parts = weight.parts.iter().map(|part| self.get(part).ok_or_else(|| wrong(format!("no tensor {part}"))));
        let parts: Vec<&Constant> = parts.collect::<Result<_, _>>()?;
        let numbers = match weight.storage {
            Storage::Packed(_) => Numbers::Matrix(joined(&weight.name, &parts).map_err(wrong)??),
            Storage::Vector => Numbers::Vector(values(&parts)?),
        };
        let shape = match &numbers {
            Numbers::Matrix(tensor) => [tensor.rows(), tensor.cols()],
            Numbers::Vector(values) => [values.len(), 1],
        };
        let expected = [weight.rows as usize, weight.cols as usize];
        match shape == expected {
            true => Ok(numbers),
            false => Err(wrong(format!("has the shape {shape:?}, the program needs {expected:?}"))),
        }
    }
}

type Joined = Result<Tensor, EmitError>;

fn joined(name: &str, parts: &[&Constant]) -> Result<Joined, String> {
    let tensors = parts.iter().map(|part| match part {
        Constant::Tensor(tensor) => Ok(tensor.clone()),
        Constant::Values(_) => Err("a vector stands where a matrix should".to_string()),
    });
    let mut tensors: Vec<Tensor> = tensors.collect::<Result<_, _>>()?;
    Ok(match tensors.len() {
        1 => Ok(tensors.remove(0)),
        _ => Tensor::concat_rows(name, tensors).map_err(EmitError::from),
    })
}

fn values(parts: &[&Constant]) -> Result<Vec<f32>, EmitError> {
    let mut all = Vec::new();
    for part in parts {
        match part {
            Constant::Tensor(tensor) => all.extend(tensor.read_vector()?),
            Constant::Values(values) => all.extend(values),
        }
    }
    Ok(all)
}
