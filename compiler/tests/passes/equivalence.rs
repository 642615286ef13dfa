//! A graph computes the same before and after each pass: a prefill and a ragged batch after it.

use tc_ir::interp::{Batch, Interpreter};
use tc_ir::{Graph, Op, parse};
use tcc_core::passes::{Options, run};
use tcc_core::recipe::Activations;

use super::models::{self, Model};

/// Logits of a prefill of one sequence, then of a call that continues it and begins another.
fn results(graph: &Graph) -> Vec<f32> {
    let mut interpreter = Interpreter::new(graph, models::weights(graph)).unwrap();
    let mut logits = interpreter.run(&Batch::sequence(0, 0, &[3, 1, 4, 1, 5, 9])).unwrap().data;
    let ragged = Batch::sequence(0, 6, &[2, 6]).and(&Batch::sequence(1, 0, &[5, 3, 5]));
    logits.extend(interpreter.run(&Batch { rows: vec![4, 1], ..ragged }).unwrap().data);
    logits
}

/// Each graph of the pipeline with the name of the pass that made it; the plain graph first.
fn stages(model: &Model, options: Options) -> Vec<(String, Graph)> {
    let plain = model.build();
    let mut stages = vec![("frontend".to_string(), plain.clone())];
    run(plain, &options, &mut |pass, graph| stages.push((pass.to_string(), graph.clone()))).unwrap();
    stages
}

/// Largest difference in units of the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.1, "nothing to compare");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
}

#[test]
fn every_pass_keeps_the_meaning() {
    for model in models::all() {
        for activations in [Activations::F32, Activations::Int8, Activations::Int16] {
            let stages = stages(&model, Options { activations });
            let results: Vec<Vec<f32>> = stages.iter().map(|(_, graph)| results(graph)).collect();
            for (index, pair) in results.windows(2).enumerate() {
                let pass = &stages[index + 1].0;
                let bound = match pass.as_str() {
                    "quantize-activations" => 0.05,
                    "quantize-activations-int16" => 2e-4,
                    // Every other pass at most reorders products.
                    _ => 1e-5,
                };
                let distance = distance(&pair[0], &pair[1]);
                assert!(distance <= bound, "{} after {pass}: {distance}", model.name);
            }
        }
    }
}

#[test]
fn every_stage_prints_and_parses_back() {
    for model in models::all() {
        for (pass, graph) in stages(&model, Options { activations: Activations::Int8 }) {
            assert_eq!(parse(&graph.to_string()).unwrap(), graph, "{} after {pass}", model.name);
        }
    }
}

fn count(graph: &Graph, name: &str) -> usize {
    graph.nodes.iter().filter(|node| node.op.name() == name).count()
}

/// What is left is what kernels compute.
#[test]
fn nothing_plain_remains() {
    for model in models::all() {
        let (_, graph) = stages(&model, Options { activations: Activations::Int8 }).pop().unwrap();
        for name in ["attention", "rope", "slice_cols", "scale", "add"] {
            assert_eq!(count(&graph, name), 0, "{name} in {}\n{graph}", model.name);
        }
        assert_eq!(count(&graph, "concat_cols"), if model.name == "mixed" { 3 } else { 0 }, "{}", model.name);
    }
}

#[test]
fn an_int4_layer_is_ten_kernels() {
    let model = models::all()[1];
    let (_, graph) = stages(&model, Options { activations: Activations::Int8 }).pop().unwrap();
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
    let layer = [
        "rms_norm_q8",
        "linear_q8",
        "rope_kv",
        "cached_attention",
        "quantize_q8",
        "linear_q8",
        "rms_norm_q8",
        "linear_q8",
        "swiglu_q8",
        "linear_q8",
    ];
    assert_eq!(names[2..2 + layer.len()], layer);
    // Embedding and angles; two gathers in the last layer; the last norm and the head.
    assert_eq!(graph.nodes.len(), 2 + 3 * layer.len() + 2 + 2);
    assert!(matches!(graph.op(graph.output), Op::LinearQ8 { .. }));
}
