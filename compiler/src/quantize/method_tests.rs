//! The methods against slow references, and what must hold of each whatever the numbers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tc_kernels::layout::Format;
use tcrt::{BatchToken, Engine, EngineOptions, Model};

use super::calibration::{HalfRun, Hidden, Moments, head_inputs};
use super::gptq::Gptq;
use super::*;
use crate::config::ModelConfig;
use crate::emit::{Artifact, Constants, pte};
use crate::models::Half;
use crate::recipe::{Activations, Assignment, Group, Method, Recipe, Rule, assign};
use crate::testing::{noise, tiny_config, tiny_tensors};

fn quantized_kinds() -> impl Iterator<Item = (Kind, Format)> {
    Kind::ALL.into_iter().filter_map(|kind| Some((kind, kind.format()?)))
}

/// Moments of inputs that are correlated, of unequal size, and fewer than twice the columns.
fn moments(cols: usize) -> (Moments, Vec<f64>) {
    let count = 3 * cols / 2;
    let raw = noise(9, count * cols);
    let rows: Vec<Vec<f32>> = raw
        .chunks(cols)
        .map(|row| (0..cols).map(|i| (row[i] + 0.7 * row[i / 2]) * (1.0 + (i % 5) as f32)).collect())
        .collect();
    let mut moments = Moments::new(cols);
    moments.add(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let entry =
        |i: usize, j: usize| rows.iter().map(|row| f64::from(row[i]) * f64::from(row[j])).sum::<f64>() / count as f64;
    let gram = (0..cols * cols).map(|at| entry(at / cols, at % cols)).collect();
    (moments, gram)
}

/// `Δ H Δᵀ`.
fn output_error(gram: &[f64], weights: &[f32], rounded: &[f32]) -> f64 {
    let cols = weights.len();
    let delta: Vec<f64> = weights.iter().zip(rounded).map(|(w, q)| f64::from(w - q)).collect();
    (0..cols * cols).map(|at| delta[at / cols] * gram[at] * delta[at % cols]).sum()
}

/// The inverse by Gauss and Jordan.
fn inverse(mut matrix: Vec<f64>, size: usize) -> Vec<f64> {
    let mut inverse: Vec<f64> = (0..size * size).map(|at| f64::from(u8::from(at / size == at % size))).collect();
    for pivot in 0..size {
        let factor = matrix[pivot * size + pivot];
        for col in 0..size {
            matrix[pivot * size + col] /= factor;
            inverse[pivot * size + col] /= factor;
        }
        for row in (0..size).filter(|row| *row != pivot) {
            let factor = matrix[row * size + pivot];
            for col in 0..size {
                matrix[row * size + col] -= factor * matrix[pivot * size + col];
                inverse[row * size + col] -= factor * inverse[pivot * size + col];
            }
        }
    }
    inverse
}

/// GPTQ as OBQ states it: after each column the rest moves by `-e / [H⁻¹]_jj [H⁻¹]_j`, and the column leaves `H⁻¹`.
fn slow_gptq(gram: &[f64], scales: &[(f32, f32)], points: &points::Points, weights: &[f32]) -> Vec<f32> {
    let size = weights.len();
    let mean = (0..size).map(|i| gram[i * (size + 1)]).sum::<f64>() / size as f64;
    let damped = (0..size * size).map(|at| gram[at] + if at / size == at % size { 0.01 * mean } else { 0.0 });
    let mut inverse = inverse(damped.collect(), size);
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| gram[b * (size + 1)].total_cmp(&gram[a * (size + 1)]));
    let mut weights: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
    let mut rounded = vec![0.0; size];
    for col in order {
        let (scale, min) = scales[col];
        rounded[col] = points.nearest(weights[col] as f32, scale, min).1;
        let error = (weights[col] - f64::from(rounded[col])) / inverse[col * (size + 1)];
        let row: Vec<f64> = inverse[col * size..][..size].to_vec();
        weights.iter_mut().zip(&row).for_each(|(weight, inverse)| *weight -= error * inverse);
        let pivot = row[col];
        for i in 0..size {
            let factor = row[i] / pivot;
            (0..size).for_each(|j| inverse[i * size + j] -= factor * row[j]);
        }
    }
    rounded
}

#[test]
fn gptq_is_what_its_slow_form_gives_and_better_than_rounding() {
    let (cols, rows) = (96, 20);
    let (moments, gram) = moments(cols);
    let weights = noise(4, rows * cols);
    for (kind, format) in quantized_kinds().filter(|(_, format)| format.bits < 8) {
        let gptq = Gptq::new(&moments, kind, "w").unwrap();
        let grid = Grid { kind, group: 32 };
        let mut on_grid = vec![GridRow::default(); rows];
        for (values, row) in weights.chunks(cols).zip(&mut on_grid) {
            nearest::quantize(grid, values, Some(&moments.importance()), row);
        }
        let nearest = on_grid.clone();
        gptq.compensate(grid, &weights, &mut on_grid);
        let mut descended = nearest.clone();
        gptq.quantize(grid, &weights, &mut descended);
        let [mut rounding, mut found, mut expected, mut least] = [0.0; 4];
        for ((values, row), (nearest, descended)) in
            weights.chunks(cols).zip(&on_grid).zip(nearest.iter().zip(&descended))
        {
            let mut out = vec![0.0; cols];
            nearest.values(grid, &mut out);
            rounding += output_error(&gram, values, &out);
            descended.values(grid, &mut out);
            least += output_error(&gram, values, &out);
            row.values(grid, &mut out);
            found += output_error(&gram, values, &out);
            let scales: Vec<_> = row.segments(grid).flat_map(|s| vec![(s.scale, s.min); s.end - s.begin]).collect();
            let slow = slow_gptq(&gram, &scales, &points::Points::of(format), values);
            expected += output_error(&gram, values, &slow);
        }
        match format.has_trellis() {
            // Its slow form is a table with all of its levels, twice as many as there are numbers.
            true => assert!(found > expected, "{kind:?}: {found}, and {expected} with twice as many levels"),
            false => assert!((found / expected - 1.0).abs() < 0.02, "{kind:?}: {found}, not {expected}"),
        }
        assert!(found < 0.8 * rounding, "{kind:?}: {found}, and {rounding} by rounding");
        let lower = if format.has_trellis() { 0.99 } else { 0.97 };
        assert!(least < lower * found, "{kind:?}: {least} after all steps, {found} before");
    }
}

#[test]
fn searched_scales_are_never_worse_and_leave_what_is_on_a_grid() {
    let values = noise(3, 320);
    let importance: Vec<f32> = noise(5, 320).iter().map(|x| x * x + 0.01).collect();
    for (kind, _) in quantized_kinds() {
        let grid = Grid { kind, group: 64 };
        let error = |importance_used: Option<&[f32]>, values: &[f32]| {
            let (mut row, mut out) = (GridRow::default(), vec![0.0; values.len()]);
            nearest::quantize(grid, values, importance_used, &mut row);
            row.values(grid, &mut out);
            let errors = values.iter().zip(&out).zip(&importance).map(|((w, q), x)| x * (w - q) * (w - q));
            (errors.sum::<f32>(), out)
        };
        let (plain, on_grid) = error(None, &values);
        let (searched, _) = error(Some(&importance), &values);
        // Factors of 8 bits round what the search finds.
        assert!(searched <= 1.001 * plain, "{kind:?}: {searched}, without search {plain}");
        if kind.format().is_some_and(|format| format.sub == 0) {
            assert_eq!(error(Some(&importance), &on_grid).1, error(None, &on_grid).1, "{kind:?}");
        }
    }
}

#[test]
fn odd_groups_come_out_finite_and_near() {
    let mut outlier = vec![0.01; 64];
    outlier[40] = 1000.0;
    let importance = vec![0.0; 64];
    for (kind, format) in quantized_kinds() {
        let grid = Grid { kind, group: 32 };
        for values in [vec![0.0; 64], vec![-0.75; 64], outlier.clone()] {
            let mut rows = vec![GridRow::default(); 3];
            nearest::quantize(grid, &values, Some(&importance), &mut rows[0]);
            nearest::quantize(grid, &values, Some(&[1.0; 64]), &mut rows[1]);
            match format.min && format.sub == 0 {
                true => hqq::quantize(grid, &values, &mut rows[2]),
                false => drop(rows.pop()),
            }
            for row in rows {
                let mut out = vec![f32::NAN; 64];
                row.values(grid, &mut out);
                let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                let near = |(value, out): (&f32, &f32)| (value - out).abs() <= 0.7 * largest;
                assert!(values.iter().zip(&out).all(near), "{kind:?}: {values:?} became {out:?}");
            }
        }
    }
}

#[test]
fn hqq_lowers_the_norm_that_it_is_for() {
    let mut values = noise(8, 64 * 50);
    // A few that are far away.
    values.iter_mut().step_by(37).for_each(|value| *value *= 4.0);
    let norm = |row: &GridRow, grid: Grid| {
        let mut out = vec![0.0; values.len()];
        row.values(grid, &mut out);
        values.iter().zip(&out).map(|(w, q)| f64::from((w - q).abs()).powf(0.7)).sum::<f64>()
    };
    for kind in [Kind::I2Min, Kind::I3Min, Kind::I4Min] {
        let grid = Grid { kind, group: 64 };
        let (mut plain, mut hqq) = (GridRow::default(), GridRow::default());
        nearest::quantize(grid, &values, None, &mut plain);
        hqq::quantize(grid, &values, &mut hqq);
        assert!(norm(&hqq, grid) < norm(&plain, grid), "{kind:?}");
    }
}

const WINDOWS: [[u32; 8]; 6] = [
    [1, 5, 9, 13, 17, 21, 25, 29],
    [2, 3, 5, 7, 11, 13, 17, 19],
    [40, 41, 42, 43, 44, 45, 46, 47],
    [8, 8, 8, 9, 9, 9, 30, 31],
    [49, 0, 49, 0, 1, 48, 1, 48],
    [6, 28, 33, 10, 12, 14, 16, 18],
];

fn windows() -> Vec<Vec<u32>> {
    WINDOWS.iter().map(|window| window.to_vec()).collect()
}

#[test]
fn halves_one_by_one_give_what_the_whole_model_gives() {
    let config = tiny_config();
    let tensors = tiny_tensors(&config);
    let windows = windows();
    let mut hidden = Hidden::embed(&config, &tensors["embed"], None, &windows).unwrap();
    for place in calibrated::places(&config) {
        let run = HalfRun { config: &config, tensors: &tensors, weights: None, activations: Activations::F32 };
        hidden = run.output(place, &hidden).unwrap();
    }
    let mut inputs: Vec<f32> = Vec::new();
    head_inputs(&config, &tensors, &hidden, &mut |rows| rows.iter().for_each(|row| inputs.extend(*row))).unwrap();

    let program = crate::export::compile(&config, &tensors, &Recipe::default(), &mut |_, _| {}).unwrap().program;
    let constants = Constants::new(&config, &tensors);
    let artifact = Artifact {
        program: &program,
        constants: &constants,
        metadata: vec![],
        stop_tokens: vec![],
        tokenizer: vec![],
        chat: vec![],
    };
    let file = pte::write_temporary(&artifact).unwrap();
    let options = EngineOptions { max_rows: 8, ..EngineOptions::default() };
    let mut engine = Engine::new(Model::load(file.path()).unwrap(), &options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    let mut row_of_head = vec![0.0; config.dim];
    for (window, inputs) in windows.iter().zip(inputs.chunks(8 * config.dim)) {
        engine.truncate(sequence, 0).unwrap();
        let batch: Vec<_> = window.iter().map(|&token| BatchToken { sequence, token, want_logits: true }).collect();
        let logits = engine.forward(&batch).unwrap();
        for (row, input) in inputs.chunks(config.dim).enumerate() {
            for token in [0, 17, 49] {
                tensors["embed"].read_row(token, &mut row_of_head).unwrap();
                let logit: f32 = input.iter().zip(&row_of_head).map(|(x, w)| x * w).sum();
                assert!((logit - logits.row(row)[token]).abs() < 2e-3, "{logit}, not {}", logits.row(row)[token]);
            }
        }
    }
}

fn job<'a>(config: &'a ModelConfig, tensors: &'a BTreeMap<String, Tensor>, windows: Option<&'a [Vec<u32>]>) -> Job<'a> {
    Job { config, tensors, activations: Activations::Int8, windows, progress: &|_, _| ControlFlow::Continue(()) }
}

fn run(recipe: &str) -> (BTreeMap<String, Tensor>, Assignment) {
    let config = tiny_config();
    let tensors = tiny_tensors(&config);
    let weights = assign(&Recipe::from_json(recipe).unwrap(), &config, &tensors).unwrap();
    let windows = windows();
    let job = job(&config, &tensors, needs_text(&weights).then_some(&windows[..]));
    (job.run(&weights).unwrap().tensors, weights)
}

#[test]
fn auto_keeps_to_its_bits_and_names_every_matrix() {
    let config = tiny_config();
    let (tensors, windows) = (tiny_tensors(&config), windows());
    let job = job(&config, &tensors, Some(&windows));
    let matrices = || tensors.iter().filter(|(_, tensor)| tensor.shape().len() == 2);
    let count: usize = matrices().map(|(_, tensor)| tensor.rows() * tensor.cols()).sum();
    for bits in [7.0, 9.0] {
        let recipe = Recipe { overrides: choose(&job, &windows, bits).unwrap(), ..Recipe::default() };
        let weights = assign(&recipe, &config, &tensors).unwrap();
        let bytes = |(name, tensor): (&String, &Tensor)| {
            let WeightType { kind, group } = weights.get(name).unwrap();
            assert!(kind.is_quantized(), "{name}");
            tc_kernels::layout::matrix_bytes(kind, tensor.rows(), tensor.cols(), group as usize)
        };
        let found = 8.0 * matrices().map(bytes).sum::<usize>() as f64 / count as f64;
        assert!(found <= bits && found > bits - 0.5, "{found} bits, not {bits}");
    }
    assert!(choose(&job, &windows, 2.0).unwrap_err().to_string().contains("bits a weight"));
}

/// Weights that lie on a grid are floats in many checkpoints.
#[test]
fn auto_finds_the_grid_that_weights_lie_on() {
    let config = tiny_config();
    let mut tensors = tiny_tensors(&config);
    let grid = WeightType { kind: Kind::I4, group: 32 };
    for (name, tensor) in tensors.iter_mut().filter(|(_, tensor)| tensor.shape().len() == 2) {
        let rounded = matrix::quantize(tensor, grid, Method::Nearest, matrix::Inputs::default()).unwrap();
        let mut values = vec![0.0; tensor.rows() * tensor.cols()];
        for (row, values) in values.chunks_exact_mut(tensor.cols()).enumerate() {
            rounded.read_row(row, values).unwrap();
        }
        *tensor = crate::testing::tensor(name, &[tensor.rows(), tensor.cols()], &values);
    }
    let windows = windows();
    let job = job(&config, &tensors, Some(&windows));
    let rules = choose(&job, &windows, 9.0).unwrap();
    for rule in &rules {
        let Rule::Quantized(quantizer) = rule.rule else { panic!("{rule:?}") };
        assert_eq!((quantizer.kind, quantizer.group), (Kind::I4, Group::Of(32)), "{}", rule.layers);
    }
    assert_eq!(
        rules.len(),
        tensors.values().filter(|tensor| tensor.shape().len() == 2).count() + 1,
        "and the tied head"
    );
}

#[test]
fn every_method_puts_every_matrix_on_its_grid() {
    for method in ["gptq", "awq", "hqq"] {
        let (tensors, weights) = run(&format!(r#"{{"linear:{method}": {{"groupsize": 32}}}}"#));
        for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.shape().len() == 2) {
            assert!(is_on_grid(tensor, weights.get(name).unwrap()), "{method}: {name}");
        }
    }
}

#[test]
fn rescaling_leaves_the_function_as_it_is() {
    let config = tiny_config();
    let before = tiny_tensors(&config);
    let weights = assign(&Recipe::from_json(r#"{"linear:awq": {}}"#).unwrap(), &config, &before).unwrap();
    let mut after = before.clone();
    // Every seventh input is large.
    let inputs = [config.dim, config.q_width(), config.dim, config.ffn].map(|cols| {
        let mut moments = moments(cols).0;
        moments.divide(&(0..cols).map(|col| if col % 7 == 0 { 0.02 } else { 1.0 }).collect::<Vec<f32>>());
        moments
    });
    let mut seen = inputs.map(|moments| calibrated::Seen { moments, drift: None });
    let (attention, ffn) = seen.split_at_mut(2);
    fold::rescale(&config, (0, Half::Attention), &weights, attention, &mut after).unwrap();
    fold::rescale(&config, (0, Half::Ffn), &weights, ffn, &mut after).unwrap();
    let read = |tensors: &std::collections::BTreeMap<String, Tensor>, name: &str| {
        matrix::read(&tensors[&format!("layers.0.{name}")]).unwrap()
    };
    assert!(["q", "gate"].iter().all(|part| read(&before, part) != read(&after, part)), "nothing was rescaled");
    let close = |old: f32, new: f32| assert!((old - new).abs() <= 1e-5 * old.abs().max(1e-3), "{old}, then {new}");
    for (norm, reader) in [("attn_norm", "q"), ("attn_norm", "k"), ("ffn_norm", "gate")] {
        let product = |tensors: &_| {
            let (gains, matrix) = (read(tensors, norm), read(tensors, reader));
            matrix
                .chunks(config.dim)
                .flat_map(|row| row.iter().zip(&gains).map(|(w, g)| w * g).collect::<Vec<_>>())
                .collect::<Vec<f32>>()
        };
        product(&before).into_iter().zip(product(&after)).for_each(|(old, new)| close(old, new));
    }
    // Through `up` (one column, gain included) into `down` (one row).
    let path = |tensors: &_| {
        let (gains, up, down) = (read(tensors, "ffn_norm"), read(tensors, "up"), read(tensors, "down"));
        (0..config.ffn).map(|i| gains[3] * up[i * config.dim + 3] * down[i]).collect::<Vec<f32>>()
    };
    path(&before).into_iter().zip(path(&after)).for_each(|(old, new)| close(old, new));
    // Head 3's values are those of kv head 1.
    let path = |tensors: &_| {
        let (gains, v, o) = (read(tensors, "attn_norm"), read(tensors, "v"), read(tensors, "o"));
        let width = config.head_dim;
        (0..width).map(|i| gains[3] * v[(width + i) * config.dim + 3] * o[3 * width + i]).collect::<Vec<f32>>()
    };
    path(&before).into_iter().zip(path(&after)).for_each(|(old, new)| close(old, new));
}
