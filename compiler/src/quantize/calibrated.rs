//! Quantizing with a text, half a layer at a time.
//!
//! The text flows through the model twice: as the checkpoint's floats have it, and as the layers before give it once they are quantized,
//! activations included. A matrix reads the second and is fitted to what it should make of the first: so each makes good what it can of
//! the errors before it. Within half a layer, matrices see the inputs that the half's own floats make. One half's matrices, their moments
//! and the text's hidden states are all that is in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use super::calibration::{Drift, HalfRun, Hidden, Moments, Pairs, head_inputs};
use super::gptq::Gptq;
use super::matrix::{self, Inputs};
use super::whole::Stakes;
use super::{QuantizeError, fold, is_on_grid};
use crate::checkpoint::Tensor;
use crate::config::ModelConfig;
use crate::emit::Progress;
use crate::models::{Gives, Half};
use crate::recipe::{Activations, Assignment, Method};

pub struct Job<'a> {
    pub config: &'a ModelConfig,
    /// As the checkpoint has them.
    pub tensors: &'a BTreeMap<String, Tensor>,
    pub activations: Activations,
    /// The text's tokens; without, no method may need any.
    pub windows: Option<&'a [Vec<u32>]>,
    pub progress: Progress<'a>,
}

/// Tokens of a text of which some may count for more than others. Of a shorter one, as the default text is by itself, too little would be left.
const ENOUGH: usize = 24 * 512;

/// Half of which layer.
pub type Place = (usize, Half);

/// The text on its way.
struct Stream {
    /// As the checkpoint's floats have it.
    exact: Hidden,
    /// As what is quantized so far has it.
    rounded: Hidden,
}

/// What is known of one input of half a layer.
pub struct Seen {
    pub moments: Moments,
    pub drift: Option<Drift>,
}

impl Seen {
    /// As if every input had been divided by the factor of its column.
    pub fn divide(&mut self, factors: &[f32]) {
        self.moments.divide(factors);
        if let Some(drift) = &mut self.drift {
            drift.divide(factors);
        }
    }
}

/// A checkpoint's tensors, some of them quantized.
#[derive(Debug)]
pub struct Quantized {
    /// With what was folded into others.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the quantized matrices were before they were rounded, their channels rescaled.
    pub floats: BTreeMap<String, Tensor>,
    /// What the last layer of the floats makes of the text, where there is one.
    pub exact: Option<Hidden>,
}

impl Quantized {
    fn replace(&mut self, name: &str, quantized: Tensor) {
        if let Some(floats) = self.tensors.insert(name.to_string(), quantized) {
            self.floats.insert(name.to_string(), floats);
        }
    }
}

pub fn layer_name(layer: usize, part: &str) -> String {
    format!("layers.{layer}.{part}")
}

pub fn places(config: &ModelConfig) -> impl Iterator<Item = Place> {
    (0..config.layers).flat_map(|layer| Half::ALL.map(|half| (layer, half)))
}

/// Whether quantizing this way reads a text.
pub fn needs_text(weights: &Assignment) -> bool {
    weights.methods().any(|method| matches!(method, Method::Awq | Method::Gptq))
}

impl Job<'_> {
    pub fn run(&self, weights: &Assignment) -> Result<Quantized, QuantizeError> {
        let mut quantized = Quantized { tensors: self.tensors.clone(), floats: BTreeMap::new(), exact: None };
        let mut stream = match (self.windows, self.tensors.get("embed")) {
            (Some(windows), Some(table)) => Some(Stream {
                exact: Hidden::embed(self.config, table, None, windows)?,
                rounded: Hidden::embed(self.config, table, weights.get("embed"), windows)?,
            }),
            _ => None,
        };
        let makes_good = weights.methods().any(|method| method == Method::Gptq);
        let stakes = if makes_good && self.tokens() >= ENOUGH { Stakes::of(self)? } else { None };
        for place in places(self.config) {
            self.report(place.0)?;
            let stakes = stakes.as_ref().map(|stakes| stakes.of_half(place));
            self.half((place, stakes), weights, stream.as_mut(), &mut quantized)?;
        }
        self.report(self.config.layers)?;
        self.head(weights, stream.as_ref(), &mut quantized)?;
        quantized.exact = stream.map(|stream| stream.exact);
        Ok(quantized)
    }

    /// Of the text.
    fn tokens(&self) -> usize {
        self.windows.map_or(0, |windows| windows.iter().map(Vec::len).sum())
    }

    pub fn report(&self, layer: usize) -> Result<(), QuantizeError> {
        self.report_of(layer, self.config.layers + 1)
    }

    pub fn report_of(&self, done: usize, all: usize) -> Result<(), QuantizeError> {
        match (self.progress)(done as u64, all as u64).is_break() {
            true => Err(QuantizeError::Cancelled),
            false => Ok(()),
        }
    }

    fn half(
        &self,
        (place, stakes): (Place, Option<[&[f32]; 2]>),
        weights: &Assignment,
        stream: Option<&mut Stream>,
        quantized: &mut Quantized,
    ) -> Result<(), QuantizeError> {
        let names = |readers: &[&str]| readers.iter().map(|reader| layer_name(place.0, reader)).collect::<Vec<_>>();
        let Some(stream) = stream else {
            let all = place.1.readers().concat();
            return self.matrices(weights, &names(&all), None, quantized);
        };
        let makes_good =
            |readers: &[&str]| names(readers).iter().any(|name| weights.method(name) == Some(Method::Gptq));
        let mut seen = self.see(place, stream, &quantized.tensors, (place.1.readers().map(makes_good), stakes))?;
        fold::rescale(self.config, place, weights, &mut seen, &mut quantized.tensors)?;
        for (readers, seen) in place.1.readers().iter().zip(&seen) {
            self.matrices(weights, &names(readers), Some(seen), quantized)?;
        }
        let activations = self.activations;
        let run = HalfRun { config: self.config, tensors: &quantized.tensors, weights: Some(weights), activations };
        stream.rounded = run.output(place, &stream.rounded)?;
        Ok(())
    }

    /// Runs halves with every matrix in f32.
    pub fn floats<'b>(&'b self, tensors: &'b BTreeMap<String, Tensor>) -> HalfRun<'b> {
        HalfRun { config: self.config, tensors, weights: None, activations: Activations::F32 }
    }

    /// The inputs of half a layer, with their drift where it is wanted, each position with its stakes. The exact text goes on to the next half.
    fn see(
        &self,
        place: Place,
        stream: &mut Stream,
        tensors: &BTreeMap<String, Tensor>,
        (drifts, stakes): ([bool; 2], Option<[&[f32]; 2]>),
    ) -> Result<[Seen; 2], QuantizeError> {
        let (config, [first, second]) = (self.config, place.1.widths(self.config));
        let seen = |width, residual, drift: bool| Seen {
            moments: Moments::new(width),
            drift: drift.then(|| Drift::new(width, residual)),
        };
        let mut seen = [seen(first, 0, drifts[0]), seen(second, config.dim, drifts[1])];
        let (exact_run, rounded_run) = (self.floats(self.tensors), self.floats(tensors));
        let (exact, rounded) = (exact_run.pieces(place.1, &stream.exact), exact_run.pieces(place.1, &stream.rounded));
        let (widths, mut begin) = ([Gives::All, Gives::Inputs].map(|gives| gives.width(place.1, config)), 0);
        let mut next = Vec::with_capacity(stream.exact.rows.len());
        for (mut exact, mut rounded) in exact.into_iter().zip(rounded) {
            let (mut of_exact, mut of_rounded) =
                (exact_run.rows(place, Gives::All, &exact)?, rounded_run.rows(place, Gives::Inputs, &rounded)?);
            next.extend(of_exact.chunks(widths[0]).flat_map(|row| &row[first + second..]));
            if let Some([of_first, of_second]) = stakes.map(|stakes| stakes.map(|stakes| &stakes[begin..])) {
                for (rows, width) in [(&mut of_exact, widths[0]), (&mut of_rounded, widths[1])] {
                    multiply(rows, width, 0..first, of_first);
                    multiply(rows, width, first..first + second, of_second);
                }
                multiply(&mut exact.rows, config.dim, 0..config.dim, of_second);
                multiply(&mut rounded.rows, config.dim, 0..config.dim, of_second);
            }
            begin += exact.rows.len() / config.dim;
            let of_exact: Vec<&[f32]> = of_exact.chunks(widths[0]).collect();
            let of_rounded: Vec<&[f32]> = of_rounded.chunks(widths[1]).collect();
            let (of_exact, of_rounded) = (Columns(&of_exact), Columns(&of_rounded));
            let residual = [exact.rows.chunks(config.dim).collect(), rounded.rows.chunks(config.dim).collect()];
            for (seen, range) in seen.iter_mut().zip([0..first, first..first + second]) {
                let inputs = [of_exact.range(&range), of_rounded.range(&range)];
                seen.moments.add(&inputs[1]);
                if let Some(drift) = &mut seen.drift {
                    drift.add(&Pairs::of(&inputs), &Pairs::of(&residual));
                }
            }
        }
        stream.exact.rows = next;
        Ok(seen)
    }

    /// Of the inputs of half a layer of floats, and what they make.
    pub fn moments(&self, place: Place, hidden: &Hidden) -> Result<([Moments; 2], Hidden), QuantizeError> {
        let [first, second] = place.1.widths(self.config);
        let (mut moments, mut rows) = ([first, second].map(Moments::new), Vec::with_capacity(hidden.rows.len()));
        self.floats(self.tensors).run(place, Gives::All, hidden, &mut |seen| {
            let seen = Columns(seen);
            for (moments, range) in moments.iter_mut().zip([0..first, first..first + second]) {
                moments.add(&seen.range(&range));
            }
            rows.extend(seen.0.iter().flat_map(|row| &row[first + second..][..hidden.dim]));
        })?;
        Ok((moments, Hidden { rows, ..*hidden }))
    }

    /// Quantizes matrices that read the same input.
    fn matrices(
        &self,
        weights: &Assignment,
        names: &[String],
        seen: Option<&Seen>,
        quantized: &mut Quantized,
    ) -> Result<(), QuantizeError> {
        let mut gptq: Option<Gptq> = None;
        let moments = seen.map(|seen| &seen.moments);
        for name in names {
            let (Some(tensor), Some(weight), Some(method)) =
                (quantized.tensors.get(name), weights.get(name), weights.method(name))
            else {
                continue;
            };
            if !weight.kind.is_quantized() || is_on_grid(tensor, weight) {
                continue;
            }
            if let (Method::Gptq, Some(moments), None) = (method, moments, &gptq) {
                gptq = Some(Gptq::new(moments, weight.kind, name)?);
            }
            let drift = seen.and_then(|seen| seen.drift.as_ref());
            let inputs = Inputs { moments, gptq: gptq.as_ref().filter(|_| method == Method::Gptq), drift };
            let on_grid = matrix::quantize(tensor, weight, method, inputs)?;
            quantized.replace(name, on_grid);
        }
        Ok(())
    }

    /// A table that is the embedding too is fitted to what the head reads.
    fn head(
        &self,
        weights: &Assignment,
        stream: Option<&Stream>,
        quantized: &mut Quantized,
    ) -> Result<(), QuantizeError> {
        let moments = stream.map(|stream| self.head_moments(&stream.rounded, &quantized.tensors)).transpose()?;
        let seen = moments.map(|moments| Seen { moments, drift: None });
        let name = if weights.shared_head { "embed" } else { "head" };
        if let (true, Some(table)) = (self.config.tied && name == "head", self.tensors.get("embed")) {
            quantized.tensors.insert(name.to_string(), table.clone());
        }
        self.matrices(weights, &[name.to_string()], seen.as_ref(), quantized)
    }

    /// Of the head's inputs, which `hidden` are before the last norm.
    pub fn head_moments(&self, hidden: &Hidden, tensors: &BTreeMap<String, Tensor>) -> Result<Moments, QuantizeError> {
        let mut moments = Moments::new(self.config.dim);
        head_inputs(self.config, tensors, hidden, &mut |rows| moments.add(rows))?;
        Ok(moments)
    }
}

/// Multiplies some columns of rows by a factor for each row.
fn multiply(rows: &mut [f32], width: usize, columns: Range<usize>, factors: &[f32]) {
    for (row, factor) in rows.chunks_exact_mut(width).zip(factors) {
        row[columns.clone()].iter_mut().for_each(|value| *value *= factor);
    }
}

struct Columns<'a>(&'a [&'a [f32]]);

impl<'a> Columns<'a> {
    fn range(&self, range: &Range<usize>) -> Vec<&'a [f32]> {
        self.0.iter().map(|row| &row[range.clone()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Mutex;

    use super::*;
    use crate::recipe::{Recipe, assign};
    use crate::testing::{noise, tiny_config, tiny_tensors};

    /// The mean moments of half a layer's two inputs, and the drift of a row that reads each.
    fn seen(half: Half, windows: &[Vec<u32>], stakes: Option<&[f32]>) -> Vec<Vec<f32>> {
        let (config, tensors) = (tiny_config(), tiny_tensors(&tiny_config()));
        let (activations, progress) = (Activations::F32, |_, _| ControlFlow::Continue(()));
        let job = Job { config: &config, tensors: &tensors, activations, windows: Some(windows), progress: &progress };
        let embed = || Hidden::embed(&config, &tensors["embed"], None, windows).unwrap();
        let mut stream = Stream { exact: embed(), rounded: embed() };
        stream.rounded.rows.iter_mut().zip(noise(1, 1 << 16)).for_each(|(value, noise)| *value += 0.1 * noise);
        let seen = job.see((0, half), &mut stream, &tensors, ([true; 2], stakes.map(|stakes| [stakes; 2]))).unwrap();
        let of = |seen: &Seen| {
            let weights = noise(2, seen.moments.size());
            [seen.moments.mean_gram(), seen.drift.as_ref().unwrap().of_rows(0, &weights)]
        };
        seen.iter().flat_map(of).collect()
    }

    /// Whether a job reads its text backwards, which shows in the number of parts that it reports.
    fn goes_backwards(method: &str, windows: usize) -> bool {
        let (config, tensors) = (tiny_config(), tiny_tensors(&tiny_config()));
        let windows: Vec<Vec<u32>> =
            (0..windows).map(|i| (0..24).map(|at| (7 * at + i as u32) % 50).collect()).collect();
        let recipe = format!(r#"{{"linear:kind": {{"kind": "i4", "method": "{method}"}}}}"#);
        let weights = assign(&Recipe::from_json(&recipe).unwrap(), &config, &tensors).unwrap();
        let parts = Mutex::new(Vec::new());
        let progress = |_, all: u64| {
            parts.lock().unwrap().push(all);
            ControlFlow::Continue(())
        };
        let (activations, text) = (Activations::F32, Some(&windows[..]));
        let job = Job { config: &config, tensors: &tensors, activations, windows: text, progress: &progress };
        job.run(&weights).unwrap();
        let both_ways = (windows.len() * 2 * config.layers) as u64;
        parts.into_inner().unwrap().contains(&both_ways)
    }

    #[test]
    fn only_gptq_and_only_with_text_enough_goes_backwards() {
        let enough = ENOUGH.div_ceil(24);
        assert!(goes_backwards("gptq", enough));
        assert!(!goes_backwards("gptq", enough - 1) && !goes_backwards("awq", enough));
    }

    #[test]
    fn positions_count_for_what_is_at_stake() {
        let windows: Vec<Vec<u32>> = (0..4).map(|i| (0..24).map(|at| (7 * at + 11 * i) % 50).collect()).collect();
        let (twice, nothing) = (vec![2.0; 96], [vec![1.0; 48], vec![0.0; 48]].concat());
        for half in Half::ALL {
            let (all, first) = (seen(half, &windows, None), seen(half, &windows[..2], None));
            // Both factors of a product are multiplied; a mean is over all positions, whatever they count for.
            for (stakes, base, part) in [(&twice, &all, 4.0), (&nothing, &first, 0.5)] {
                for (found, base) in seen(half, &windows, Some(stakes)).iter().zip(base) {
                    let largest = base.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                    assert!(largest > 0.0 && found.len() == base.len());
                    let near = |(found, base): (&f32, &f32)| (found - part * base).abs() < 1e-4 * part * largest;
                    assert!(found.iter().zip(base).all(near), "{half:?}, {part}");
                }
            }
        }
    }
}
