//! Slopes against finite differences, and what tuning does to a small model.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tcrt::sampling::Rng;

use super::attention::{Attention, Qkv};
use super::factors::Factors;
use super::head::{Head, surprise_of};
use super::layer::{LINEARS, Layer, Linear};
use super::model::{Model, attention};
use super::obstacle;
use super::ops::{Angles, rms_norm, rms_norm_back, swiglu, swiglu_back};
use super::stakes::Stakes;
use super::tune::{tune, visited};
use crate::checkpoint::Tensor;
use crate::config::{ModelConfig, RopeScaling, Window};
use crate::emit::Progress;
use crate::linalg::{Panels, Side};
use crate::models::{Half, inverse_frequencies};
use crate::quantize::calibrated::{Job, Quantized};
use crate::quantize::{QuantizeError, matrix};
use crate::recipe::{Activations, Recipe, assign};
use crate::testing::{noise, tiny_config, tiny_tensors};

/// Compares slopes of `loss` at `x` with what it really does along a few directions.
fn check_slopes(what: &str, x: &[f32], slopes: &[f32], loss: impl Fn(&[f32]) -> f64) {
    const STEP: f32 = 1e-2;
    for seed in 1..6 {
        let direction = noise(100 + seed, x.len());
        let at = |step: f32| loss(&x.iter().zip(&direction).map(|(x, d)| x + step * d).collect::<Vec<f32>>());
        // With four points what is of the third order in the step cancels.
        let near = (at(STEP) - at(-STEP)) / 2.0;
        let far = (at(2.0 * STEP) - at(-2.0 * STEP)) / 4.0;
        let found = (4.0 * near - far) / 3.0 / f64::from(STEP);
        let slope: f64 = slopes.iter().zip(&direction).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let size = slopes.iter().map(|slope| f64::from(slope.abs())).sum::<f64>() / (x.len() as f64).sqrt();
        assert!((found - slope).abs() <= 5e-3 * (size + slope.abs()) + 1e-4, "{what}: {slope}, really {found}");
    }
}

fn weighted(values: &[f32], weights: &[f32]) -> f64 {
    values.iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn norms_and_gates_go_back() {
    let (x, gain, dy) = (noise(1, 60), noise(2, 20), noise(3, 60));
    let mut dx = vec![0.0; 60];
    rms_norm_back(&x, &gain, 1e-3, &dy, &mut dx);
    check_slopes("norm", &x, &dx, |x| weighted(&rms_norm(x, &gain, 1e-3), &dy));

    let (gate, up) = (noise(4, 60), noise(5, 60));
    let [d_gate, d_up] = swiglu_back(&gate, &up, &dy);
    check_slopes("gate", &gate, &d_gate, |gate| weighted(&swiglu(gate, &up), &dy));
    check_slopes("up", &up, &d_up, |up| weighted(&swiglu(&gate, up), &dy));
}

#[test]
fn turns_go_back() {
    let angles = Angles::new(&[1.0, 0.3, 0.1], 1.5, 4);
    let (x, dy) = (noise(1, 48), noise(2, 48));
    let mut dx = dy.clone();
    angles.turn_back(&mut dx, 12);
    check_slopes("rope", &x, &dx, |x| {
        let mut turned = x.to_vec();
        angles.turn(&mut turned, 12);
        weighted(&turned, &dy)
    });
}

/// Against attention as it is written down, one position of one head after the other.
fn check_mixed(attention: &Attention, qkv: &Qkv, mixed: &[f32]) {
    let Attention { heads, kv_heads, head_dim: size, scale, sees } = *attention;
    let row = |values: &[f32], of: usize, at: usize, head: usize| values[(at * of + head) * size..][..size].to_vec();
    for (index, found) in mixed.chunks(size).enumerate() {
        let (at, head) = (index / heads, index % heads);
        let (q, kv_head) = (row(&qkv.q, heads, at, head), head * kv_heads / heads);
        let seen = (at + 1).saturating_sub(sees)..at + 1;
        let share = |other| (f64::from(scale) * weighted(&q, &row(&qkv.k, kv_heads, other, kv_head))).exp();
        let all: f64 = seen.clone().map(share).sum();
        for (i, found) in found.iter().enumerate() {
            let of = |other| share(other) / all * f64::from(row(&qkv.v, kv_heads, other, kv_head)[i]);
            let wanted: f64 = seen.clone().map(of).sum();
            assert!((f64::from(*found) - wanted).abs() < 1e-5, "position {at}, head {head}: {found}, not {wanted}");
        }
    }
}

#[test]
fn attention_goes_back() {
    for (sees, positions) in [(usize::MAX, 7), (3, 7), (150, 300)] {
        let attention = Attention { heads: 4, kv_heads: 2, head_dim: 6, scale: 0.7, sees };
        let qkv = Qkv { q: noise(1, 24 * positions), k: noise(2, 12 * positions), v: noise(3, 12 * positions) };
        let d_mixed = noise(4, 24 * positions);
        let (mixed, shares) = attention.forward(&qkv);
        check_mixed(&attention, &qkv, &mixed);
        let d = attention.backward(&qkv, &shares, &d_mixed);
        let loss = |q: &[f32], k: &[f32], v: &[f32]| {
            let qkv = Qkv { q: q.to_vec(), k: k.to_vec(), v: v.to_vec() };
            weighted(&attention.forward(&qkv).0, &d_mixed)
        };
        check_slopes("q", &qkv.q, &d.q, |q| loss(q, &qkv.k, &qkv.v));
        check_slopes("k", &qkv.k, &d.k, |k| loss(&qkv.q, k, &qkv.v));
        check_slopes("v", &qkv.v, &d.v, |v| loss(&qkv.q, &qkv.k, v));
    }
}

#[test]
fn the_head_goes_back() {
    let (dim, vocab, tokens) = (8, 11, 5);
    let table = noise(1, vocab * dim);
    let packed = |table: &[f32]| Panels::of(Side::rows(table, dim));
    let exact: Vec<f32> = table.iter().zip(noise(2, vocab * dim)).map(|(a, b)| a + 0.3 * b).collect();
    let (exact, same) = (packed(&exact), packed(&table));
    let head = Head { norm: noise(3, dim), eps: 1e-3, table };
    let (x, wanted) = (noise(4, tokens * dim), noise(5, tokens * dim));
    let (divergence, slopes) = head.divergence(&x, (&exact, &wanted));
    assert!(divergence > 0.0);
    check_slopes("head", &x, &slopes, |x| head.divergence(x, (&exact, &wanted)).0);
    assert!(head.divergence(&x, (&same, &x)).0.abs() < 1e-5);
}

#[test]
fn a_drawn_token_is_the_models_own() {
    let logits: Vec<f32> = [0.5f32, 0.2, 0.3].map(f32::ln).iter().map(|ln| ln + 7.0).collect();
    for (draw, token) in [(0.0, 0), (0.49, 0), (0.51, 1), (0.69, 1), (0.71, 2), (0.999, 2)] {
        let mut changes = logits.clone();
        surprise_of(&mut changes, draw);
        let expected = [0.5, 0.2, 0.3].iter().enumerate().map(|(i, p)| if i == token { p - 1.0 } else { *p });
        assert!(changes.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{draw}: {changes:?}");
    }
}

/// The last layer's `down` reaches no other position, so what is at stake with it is known without a way back through a layer.
#[test]
fn stakes_are_how_much_a_drawn_token_changes() {
    let model = Rounded::new("n3");
    let (config, tensors, windows) = (&model.config, &model.tensors, &model.windows);
    let job = model.job(&|_, _| ControlFlow::Continue(()));
    let stakes = Stakes::of(&job).unwrap().unwrap();
    let table = Model::table_of(config, tensors).unwrap();
    let head = Head { norm: tensors["norm"].read_vector().unwrap(), eps: config.norm_eps, table };
    let exact = job.run(&assign(&model.recipe, config, tensors).unwrap()).unwrap().exact.unwrap();
    let of_window = |window: usize| {
        let changes = head.surprise(exact.rows_of(window), &mut Rng::new(window as u64));
        changes.chunks(config.dim).map(|row| weighted(row, row).sqrt()).collect::<Vec<f64>>()
    };
    let expected: Vec<f64> = (0..windows.len()).flat_map(of_window).collect();
    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
    let [_, found] = stakes.of_half((config.layers - 1, Half::Ffn));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let found = f64::from(found * found);
        assert!((found - expected / mean).abs() < 1e-3 * (1.0 + found), "{found}, not {}", expected / mean);
    }
    for place in (0..config.layers).flat_map(|layer| Half::ALL.map(|half| (layer, half))) {
        for stakes in stakes.of_half(place) {
            let mean = weighted(stakes, stakes) / stakes.len() as f64;
            assert!((mean - 1.0).abs() < 1e-3 && stakes.iter().all(|root| root.is_finite()), "{place:?}: {mean}");
        }
    }
}

fn layer<'a>(config: &ModelConfig, angles: &'a Angles) -> Layer<'a> {
    let (dim, q, kv, ffn) = (config.dim, config.q_width(), config.kv_width(), config.ffn);
    let linear = |seed: u32, [rows, cols]: [usize; 2]| {
        let weights = noise(seed, rows * cols).iter().map(|w| 2.0 * w / (cols as f32).sqrt()).collect();
        Linear::new(weights, cols, Some(noise(seed + 50, rows)))
    };
    let shapes = [[q, dim], [kv, dim], [kv, dim], [dim, q], [ffn, dim], [ffn, dim], [dim, ffn]];
    let mut seed = 10;
    Layer {
        linears: shapes.map(|shape| {
            seed += 1;
            linear(seed, shape)
        }),
        attn_norm: noise(30, dim),
        ffn_norm: noise(31, dim),
        head_norms: config.qk_norm.then(|| [noise(32, config.head_dim), noise(33, config.head_dim)]),
        attention: attention(config, 0),
        angles,
        eps: 1e-3,
        residual_multiplier: config.residual_multiplier,
    }
}

#[test]
fn a_layer_goes_back_to_its_input_and_to_each_matrix() {
    let plain = ModelConfig { residual_multiplier: 0.6, ..tiny_config() };
    let window = Some(Window { size: 4, from_layer: 0 });
    for config in [plain.clone(), ModelConfig { qk_norm: true, window, ..plain }] {
        let angles = Angles::new(&inverse_frequencies(&config.rope, config.head_dim), 1.0, 6);
        let mut layer = layer(&config, &angles);
        let (x, d_out) = (noise(1, 6 * config.dim), noise(2, 6 * config.dim));
        let trace = layer.forward(&x);
        let changes = layer.backward(&x, &trace, &d_out);
        check_slopes("input", &x, &changes.input, |x| weighted(&layer.forward(x).out, &d_out));
        for (at, name) in LINEARS.into_iter().enumerate() {
            let linear = &layer.linears[at];
            let (weights, cols) = (linear.weights.clone(), linear.cols);
            let slopes = linear.change(trace.inputs()[at], &changes.outputs[at]);
            let along = |(weights, slopes): (&[f32], &[f32])| weights.iter().zip(slopes).map(|(a, b)| a * b).sum();
            let by_rows: Vec<f32> = weights.chunks(cols).zip(slopes.chunks(cols)).map(along).collect();
            let rows = linear.row_changes(trace.outputs()[at], &changes.outputs[at]);
            assert!(
                by_rows.iter().zip(&rows).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs())),
                "{by_rows:?} {rows:?}"
            );
            // The loss wants a layer of its own, so directions are tried one by one.
            let directions = std::cell::RefCell::new(&mut layer);
            check_slopes(name, &weights, &slopes, |weights| {
                let mut layer = directions.borrow_mut();
                layer.linears[at] = Linear::new(weights.to_vec(), cols, layer.linears[at].bias.take());
                weighted(&layer.forward(&x).out, &d_out)
            });
            layer.linears[at] = Linear::new(weights, cols, layer.linears[at].bias.take());
        }
    }
}

struct Rounded {
    config: ModelConfig,
    tensors: BTreeMap<String, Tensor>,
    recipe: Recipe,
    windows: Vec<Vec<u32>>,
}

impl Rounded {
    fn new(kind: &str) -> Rounded {
        let mut config = ModelConfig { qkv_bias: true, qk_norm: true, ..tiny_config() };
        if kind.starts_with('t') {
            // Whole steps of a trellis.
            config = ModelConfig { dim: 64, head_dim: 16, ffn: 96, ..config };
        }
        let json =
            format!(r#"{{"linear:kind": {{"kind": "{kind}", "method": "gptq"}}, "embedding:kind": {{"kind": "i8"}}}}"#);
        let windows = (0..10).map(|i| (0..24).map(|at| (7 * at + 11 * i + at * at * i) % 50).collect()).collect();
        Rounded { tensors: tiny_tensors(&config), recipe: Recipe::from_json(&json).unwrap(), config, windows }
    }

    fn job<'a>(&'a self, progress: Progress<'a>) -> Job<'a> {
        let (config, tensors, windows) = (&self.config, &self.tensors, Some(&self.windows[..]));
        Job { config, tensors, activations: Activations::F32, windows, progress }
    }

    /// The tuned model and the divergence of each step.
    fn tuned(&self, tokens: usize, progress: Progress) -> Result<(Quantized, Vec<f64>), QuantizeError> {
        let weights = assign(&self.recipe, &self.config, &self.tensors).unwrap();
        let job = self.job(&|_, _| ControlFlow::Continue(()));
        let mut quantized = job.run(&weights)?;
        let exact = quantized.exact.take().unwrap();
        let job = Job { progress, ..job };
        let divergences = tune(&job, &weights, &exact, tokens, &mut quantized)?;
        Ok((quantized, divergences))
    }
}

fn numbers(quantized: &Quantized) -> Vec<Vec<f32>> {
    quantized.floats.keys().map(|name| matrix::read(&quantized.tensors[name]).unwrap()).collect()
}

#[test]
fn tuning_brings_a_model_closer_to_its_floats_and_is_the_same_each_time() {
    for kind in ["n3", "k2", "i2min", "t3"] {
        let model = Rounded::new(kind);
        let (quantized, divergences) = model.tuned(24 * 8 * 40, &|_, _| ControlFlow::Continue(())).unwrap();
        let (first, last) = (divergences[0], divergences[divergences.len() - 1]);
        assert!(last < 0.95 * first, "{kind}: {first}, then {last}");
        let (again, _) = model.tuned(24 * 8 * 40, &|_, _| ControlFlow::Continue(())).unwrap();
        assert!(numbers(&quantized) == numbers(&again), "{kind}");
        // What was tuned is what is stored, but for the rounding of scales.
        let (untuned, _) = model.tuned(0, &|_, _| ControlFlow::Continue(())).unwrap();
        assert!(numbers(&quantized) != numbers(&untuned), "{kind}");
    }
}

#[test]
fn who_looks_on_may_end_it() {
    let stop = |done: u64, all: u64| match done < all / 2 {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let ended = Rounded::new("n3").tuned(1000, &stop);
    assert!(matches!(ended, Err(QuantizeError::Cancelled)));
}

#[test]
fn factors_that_are_stored_are_those_that_were_found() {
    for kind in ["n3", "k2", "i2min", "i4"] {
        let model = Rounded::new(kind);
        let (quantized, _) = model.tuned(0, &|_, _| ControlFlow::Continue(())).unwrap();
        let tensor = &quantized.tensors["layers.0.down"];
        let mut factors = Factors::of(tensor).unwrap();
        factors.values.iter_mut().zip(noise(7, 10_000)).for_each(|(value, noise)| *value += 0.1 * noise);
        let mut wanted = matrix::read(tensor).unwrap();
        factors.apply(&mut wanted, tensor.cols());
        let found = matrix::read(&factors.into_tensor(tensor).unwrap()).unwrap();
        let largest = wanted.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let error = found.iter().zip(&wanted).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(error < 0.02 * largest, "{kind}: {error} of {largest}");
    }
}

#[test]
fn slopes_are_those_of_the_factors() {
    for kind in ["n3", "t3"] {
        let (quantized, _) = Rounded::new(kind).tuned(0, &|_, _| ControlFlow::Continue(())).unwrap();
        let tensor = &quantized.tensors["layers.0.down"];
        let mut factors = Factors::of(tensor).unwrap();
        factors.values.iter_mut().zip(noise(7, 10_000)).for_each(|(value, noise)| *value = 1.5 + 0.5 * noise);
        let (plain, cols, tokens) = (matrix::read(tensor).unwrap(), tensor.cols(), 5);
        let linear = |factors: &Factors| {
            let mut weights = plain.clone();
            factors.apply(&mut weights, cols);
            Linear::new(weights, cols, None)
        };
        let (x, dy) = (noise(8, tokens * cols), noise(9, tokens * tensor.rows()));
        let slopes = factors.slopes(&linear(&factors), &x, &linear(&factors).forward(&x), &dy);
        let (values, factors) = (factors.values.clone(), std::cell::RefCell::new(factors));
        check_slopes(kind, &values, &slopes, |values| {
            factors.borrow_mut().values = values.to_vec();
            weighted(&linear(&factors.borrow()).forward(&x), &dy)
        });
    }
}

#[test]
fn windows_come_in_turn() {
    for count in [1, 2, 7, 8, 36] {
        let mut seen: Vec<usize> = (0..count).map(|visit| visited(visit, count)).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..count), "{count}");
    }
}

#[test]
fn positions_that_depend_on_the_length_are_an_obstacle() {
    let mut model = Rounded::new("n3");
    let mut of = |scaling| {
        model.config.rope.scaling = scaling;
        let (config, tensors, windows) = (&model.config, &model.tensors, Some(&model.windows[..]));
        obstacle(&Job {
            config,
            tensors,
            activations: Activations::F32,
            windows,
            progress: &|_, _| ControlFlow::Continue(()),
        })
    };
    assert_eq!(of(RopeScaling::None), None);
    assert_eq!(of(RopeScaling::Dynamic { factor: 2.0, original: 24 }), None);
    assert!(of(RopeScaling::Dynamic { factor: 2.0, original: 23 }).is_some());
}
