//! What is at stake at each position of a text: by how much an error of a matrix's outputs there would change the model's predictions.
//!
//! To the second order, errors `e` of some outputs make predictions diverge by `eᵀ F e / 2`, where `F = E[g gᵀ]` is Fisher's information: `g` is how
//! the surprise at a token changes with the outputs, the mean over tokens that the model itself would say. One is drawn after each position of
//! the text, so one way back through the model gives a sample of `g` for every output at every position. What is kept of it is its length
//! over the outputs of the matrices that read one input: where that is large, a quantizer had better be exact. (Kim et al. 2025, GuidedQuant, take its
//! square, for some outputs at a time. Of a single sample that is too much: a few positions, the first of each window above all, which every other
//! one looks at, would be all that counts; docs/quantization.md has figures.)

use std::collections::BTreeMap;
use std::ops::Range;

use tcrt::sampling::Rng;

use super::head::Head;
use super::layer::{Changes, Layer};
use super::model::{self, Model, Visit};
use super::obstacle;
use crate::linalg::dot;
use crate::models::Half;
use crate::parallel;
use crate::quantize::QuantizeError;
use crate::quantize::calibrated::{Job, Place};
use crate::recipe::Assignment;

/// Bytes of what layers read that are kept for the way back, where threads do not need more.
const KEPT: usize = 256 << 20;

/// Of a layer's inputs (of its two halves' first and second), in order.
type Inputs<T> = [T; 4];
/// The matrices that read them, in the order of `LINEARS`.
const READERS: Inputs<Range<usize>> = [0..3, 3..4, 4..6, 6..7];

/// For each layer and input, the square roots of the positions' stakes, of which the mean is 1: what second moments are made of is multiplied by them.
#[derive(Debug)]
pub struct Stakes(Vec<Inputs<Vec<f32>>>);

impl Stakes {
    /// Of a job's text; None where there is none, or the model cannot go backwards.
    pub fn of(job: &Job) -> Result<Option<Stakes>, QuantizeError> {
        let Some(windows) = job.windows.filter(|_| obstacle(job).is_none()) else { return Ok(None) };
        let model = Model::new(job, &Assignment::default(), windows, job.tensors)?;
        let head = Head { norm: model.norm()?, eps: job.config.norm_eps, table: model.table()? };
        let mut stakes: Vec<Inputs<Vec<f32>>> = vec![Default::default(); job.config.layers];
        for some in together(&model, windows.len()) {
            let report = |layers: usize| {
                let of_window = 2 * job.config.layers;
                job.report_of(some.start * of_window + layers * some.len(), windows.len() * of_window)
            };
            add(&model, &head, model.visits(some.clone()), &report, &mut stakes)?;
        }
        stakes.iter_mut().flatten().for_each(|stakes| into_roots(stakes));
        Ok(Some(Stakes(stakes)))
    }

    /// Of the two inputs of half a layer.
    pub fn of_half(&self, (layer, half): Place) -> [&[f32]; 2] {
        let [attention, mixed, ffn, inner] = &self.0[layer];
        match half {
            Half::Attention => [attention, mixed],
            Half::Ffn => [ffn, inner],
        }
    }
}

/// Which windows are on their way at the same time.
fn together(model: &Model, windows: usize) -> impl Iterator<Item = Range<usize>> {
    let kept_of_window = model.config.layers * model.window() * model.config.dim * size_of::<f32>();
    let some = (KEPT / kept_of_window).max(parallel::workers());
    (0..windows).step_by(some).map(move |first| first..windows.min(first + some))
}

/// Adds those of some windows' positions. `report` is told through how many layers they went.
fn add(
    model: &Model,
    head: &Head,
    mut visits: Vec<Visit<Inputs<Vec<f32>>>>,
    report: &dyn Fn(usize) -> Result<(), QuantizeError>,
    stakes: &mut [Inputs<Vec<f32>>],
) -> Result<(), QuantizeError> {
    let factors = BTreeMap::new();
    for index in 0..stakes.len() {
        report(index)?;
        model::forward(&model.layer(index, &factors)?, &mut visits);
    }
    parallel::for_each(visits.iter_mut(), |visit| {
        visit.now = head.surprise(&visit.now, &mut Rng::new(visit.window as u64));
    });
    let layers = stakes.len();
    for (index, stakes) in stakes.iter_mut().enumerate().rev() {
        report(2 * layers - 1 - index)?;
        let layer = model.layer(index, &factors)?;
        model::backward(&layer, &mut visits, |_, changes, found| {
            *found = READERS.map(|readers| lengths(&layer, changes, readers));
        });
        for visit in &mut visits {
            stakes.iter_mut().zip(&mut visit.found).for_each(|(stakes, found)| stakes.append(found));
        }
    }
    Ok(())
}

/// For each position, of how the surprise changes with the outputs of some matrices.
fn lengths(layer: &Layer, changes: &Changes, readers: Range<usize>) -> Vec<f32> {
    let positions = changes.positions(layer);
    let mut squares = vec![0.0; positions];
    for outputs in &changes.outputs[readers] {
        let rows = outputs.chunks_exact(outputs.len() / positions);
        squares.iter_mut().zip(rows).for_each(|(sum, row)| *sum += dot(row, row));
    }
    squares.into_iter().map(f32::sqrt).collect()
}

/// Square roots of what are parts of their mean then; where that is nothing, or no number, all positions are alike.
fn into_roots(stakes: &mut [f32]) {
    let mean = stakes.iter().map(|stake| f64::from(*stake)).sum::<f64>() / stakes.len() as f64;
    let inverse = if mean > 0.0 { (1.0 / mean) as f32 } else { 0.0 };
    stakes.iter_mut().for_each(|stake| *stake = if inverse > 0.0 { (*stake * inverse).sqrt() } else { 1.0 });
}
