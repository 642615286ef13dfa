//! What rounding some matrices does to a model's predictions, for many choices of matrices at once: for each, a copy of some text's hidden
//! states leaves the exact ones where the matrices are rounded, and goes with them through the rest of the model.

use std::collections::BTreeMap;

use super::QuantizeError;
use super::calibrated::{Job, Place};
use super::calibration::{Hidden, Moments, logits};
use super::matrix::{self, Inputs};
use crate::checkpoint::Tensor;
use crate::eval::{divergence, log_sum_exp};
use crate::recipe::{Kind, Method, WeightType};

type Tensors = BTreeMap<String, Tensor>;

/// The rounding that is tried. To a table: weights that already lie on an even grid, as some checkpoints' do, would be the same after
/// rounding to that, and nothing would be learnt of them.
pub const PROBE: (Kind, u32) = (Kind::N4, 256);
/// The text: so many windows of so many tokens, of which the second half is predicted.
const WINDOWS: usize = 2;
const WINDOW: usize = 128;

pub struct Probes {
    /// The exact states first, then those of the probes.
    copies: Vec<Vec<f32>>,
    dim: usize,
    window: usize,
}

/// Mean divergences of the predictions from the exact ones.
pub struct Divergences {
    pub of_head: f64,
    /// Of the embedding.
    pub of_table: f64,
    pub of_units: Vec<f64>,
}

impl Probes {
    pub fn new(job: &Job, table: &Tensor, windows: &[Vec<u32>]) -> Result<Probes, QuantizeError> {
        let all: Vec<u32> = windows.concat();
        let window = windows.first().map_or(1, Vec::len).min(WINDOW);
        let step = (all.len() / window).div_ceil(WINDOWS);
        let text: Vec<Vec<u32>> = all.chunks_exact(window).step_by(step).map(<[u32]>::to_vec).collect();
        let embed = |weight| Hidden::embed(job.config, table, weight, &text);
        let copies = vec![embed(None)?.rows, embed(Some(weight_type()))?.rows];
        Ok(Probes { copies, dim: job.config.dim, window })
    }

    /// Through half a layer. For each of `rounded`, matrices that read an input, there is a new copy.
    pub fn pass(&mut self, job: &Job, place: Place, rounded: &[(Vec<String>, &Moments)]) -> Result<(), QuantizeError> {
        let mut new = Vec::new();
        for (names, moments) in rounded {
            let mut tensors = job.tensors.clone();
            for name in names {
                replace(&mut tensors, name, Some(moments))?;
            }
            new.push(job.floats(&tensors).output(place, &self.hidden(self.copies[0].clone()))?.rows);
        }
        let (size, all) = (self.copies[0].len(), self.hidden(self.copies.concat()));
        self.copies = job.floats(job.tensors).output(place, &all)?.rows.chunks(size).map(<[f32]>::to_vec).collect();
        self.copies.append(&mut new);
        Ok(())
    }

    /// `moments` are those of the head's inputs.
    pub fn finish(&self, job: &Job, moments: &Moments) -> Result<Divergences, QuantizeError> {
        let mut exact = Vec::new();
        self.predict(job.tensors, job, &self.copies[..1], &mut |logits| exact.push(logits.to_vec()))?;
        let count = exact.len();
        let divergences = |tensors: &Tensors, copies: &[Vec<f32>]| {
            let (mut sums, mut at) = (vec![0.0; copies.len()], 0);
            self.predict(tensors, job, copies, &mut |logits| {
                let base = &exact[at % count];
                sums[at / count] += divergence(logits, log_sum_exp(logits), base, log_sum_exp(base)) / count as f64;
                at += 1;
            })?;
            Ok::<_, QuantizeError>(sums)
        };
        let mut of_units = divergences(job.tensors, &self.copies[1..])?;
        let of_table = of_units.remove(0);
        let mut rounded = job.tensors.clone();
        let head = if rounded.contains_key("head") { "head" } else { "embed" };
        replace(&mut rounded, head, Some(moments))?;
        Ok(Divergences { of_head: divergences(&rounded, &self.copies[..1])?[0], of_table, of_units })
    }

    fn hidden(&self, rows: Vec<f32>) -> Hidden {
        Hidden { rows, dim: self.dim, window: self.window }
    }

    /// Logits after each token of the second halves of the windows of copies.
    fn predict(
        &self,
        tensors: &Tensors,
        job: &Job,
        copies: &[Vec<f32>],
        see: &mut dyn FnMut(&[f32]),
    ) -> Result<(), QuantizeError> {
        let (window, past) = (self.window * self.dim, self.window / 2 * self.dim);
        let rows = copies.iter().flat_map(|rows| rows.chunks(window)).flat_map(|rows| &rows[past..]).copied();
        let hidden = Hidden { window: self.window - self.window / 2, ..self.hidden(rows.collect()) };
        logits(job.config, tensors, &hidden, &mut |rows| rows.iter().for_each(|row| see(row)))
    }
}

fn weight_type() -> WeightType {
    WeightType { kind: PROBE.0, group: PROBE.1 }
}

fn replace(tensors: &mut Tensors, name: &str, moments: Option<&Moments>) -> Result<(), QuantizeError> {
    if let Some(tensor) = tensors.get(name) {
        let inputs = Inputs { moments, ..Inputs::default() };
        let rounded = matrix::quantize(tensor, weight_type(), Method::Nearest, inputs)?;
        tensors.insert(name.to_string(), rounded);
    }
    Ok(())
}
