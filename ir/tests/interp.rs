//! What the reference interpreter computes, op by op against numbers worked out by hand, and call by call.

use tc_ir::interp::{Batch, Interpreter, Tensor};
use tc_ir::{Graph, parse};

/// Numbers in (-1, 1) that a name seeds.
fn noise(name: &str, len: usize) -> Vec<f32> {
    let seed = name.bytes().fold(17u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    std::iter::repeat_n((), len).scan(seed, |state, ()| next(state)).collect()
}

/// Runs the graph `body` on the given weights and tokens of one sequence, from position 0.
fn run(body: &str, weights: &[(&str, &[f32])], tokens: &[u32]) -> Vec<f32> {
    let graph = parse(&format!("graph @g(n: tokens <= 8, m: rows <= 8) {{\n{body}\n}}")).unwrap();
    let get = |name: &str| weights.iter().find(|(known, _)| *known == name).map(|(_, values)| values.to_vec());
    Interpreter::new(&graph, get).unwrap().run(&Batch::sequence(0, 0, tokens)).unwrap().data
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
    assert!(found.len() == expected.len() && close, "{found:?}\n{expected:?}");
}

#[test]
fn embed_scales_the_tokens_rows() {
    let body = "%0: f32[n, 2] = embed @t: f32[3, 2] {scale = 10.0}\noutput %0";
    assert_close(&run(body, &[("t", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])], &[2, 0]), &[40.0, 50.0, 0.0, 10.0]);
}

#[test]
fn norms_take_rows_or_chunks() {
    let table = ("t", &[3.0, 4.0, 0.0, 5.0][..]);
    let body = "%0: f32[n, 4] = embed @t: f32[1, 4]\n%1: f32[n, 4] = rms_norm %0, @w: f32[4] {eps = 3.5}\noutput %1";
    // mean of squares 12.5, + 3.5 = 16
    assert_close(&run(body, &[table, ("w", &[4.0, 8.0, 1.0, 4.0])], &[0]), &[3.0, 8.0, 0.0, 5.0]);
    let body = "%0: f32[n, 4] = embed @t: f32[1, 4]\n%1: f32[n, 4] = rms_norm %0, @w: f32[2] {eps = 3.5, chunk = 2}\noutput %1";
    assert_close(&run(body, &[table, ("w", &[4.0, 8.0])], &[0]), &[3.0, 8.0, 0.0, 10.0]);
}

#[test]
fn linear_adds_bias_then_alpha_then_residual() {
    let body = "%0: f32[n, 2] = embed @t: f32[1, 2]
        %1: f32[n, 2] = linear %0, concat_rows(@a: f32[1, 2], @b: f32[1, 2]), bias = @c: f32[2], residual = %0 {alpha = 2.0}
        output %1";
    let weights: [(&str, &[f32]); 4] = [("t", &[1.0, 2.0]), ("a", &[3.0, 4.0]), ("b", &[5.0, 6.0]), ("c", &[0.5, 1.0])];
    assert_close(&run(body, &weights, &[0]), &[24.0, 38.0]);
}

/// At position 1 each pair `(x_i, x_{i + half})` turns by `f_i`.
#[test]
fn rope_rotates_by_halves() {
    let body = "%0: f32[n, 4] = embed @t: f32[1, 4]
        %1: f32[n, 4] = rope_table @f: f32[2] {theta = 10000.0, magnitude = 2.0}
        %2: f32[n, 4] = rope %0, %1
        output %2";
    let quarter = std::f32::consts::FRAC_PI_2;
    let y = run(body, &[("t", &[1.0, 2.0, 3.0, 4.0]), ("f", &[quarter, 0.0])], &[0, 0]);
    assert_close(&y, &[2.0, 4.0, 6.0, 8.0, -6.0, 4.0, 2.0, 8.0]);
}

/// From `original` positions on, `theta' = 100 * (2 * (p + 1) / 2 - 1)^(4 / 2)` and `f = theta'^(-i / 2)`.
#[test]
fn dynamic_rope_stretches_beyond_the_original_length() {
    let body = "%0: f32[n, 4] = rope_table @f: f32[2] {theta = 100.0, dynamic_factor = 2.0, original = 2}\noutput %0";
    let y = run(body, &[("f", &[1.0, 0.1])], &[0, 0, 0]);
    let angles = [0.0f32, 0.0, 1.0, 0.1, 2.0, 2.0 / 20.0];
    let expected: Vec<f32> = angles.chunks(2).flat_map(|a| [a[0].cos(), a[1].cos(), a[0].sin(), a[1].sin()]).collect();
    assert_close(&y, &expected);
}

#[test]
fn attention_is_causal_and_windowed() {
    let attention = |window: &str| {
        format!(
            "%0: f32[n, 2] = embed @t: f32[3, 2]
             %1: f32[n, 2] = embed @zero: f32[3, 2]
             %2: f32[n, 2] = attention %1, %0, %0 {{layer = 0, heads = 1, kv_heads = 1, head_dim = 2, scale = 1.0{window}}}
             output %2"
        )
    };
    let weights: [(&str, &[f32]); 2] = [("t", &[1.0, 0.0, 3.0, 0.0, 8.0, 3.0]), ("zero", &[0.0; 6])];
    // All scores are 0: each output is the mean of what the token sees.
    assert_close(&run(&attention(""), &weights, &[0, 1, 2]), &[1.0, 0.0, 2.0, 0.0, 4.0, 1.0]);
    assert_close(&run(&attention(", window = 2"), &weights, &[0, 1, 2]), &[1.0, 0.0, 2.0, 0.0, 5.5, 1.5]);
}

#[test]
fn attention_weighs_by_the_softmax_of_scores() {
    let body = "%0: f32[n, 2] = embed @t: f32[2, 2]
        %1: f32[n, 2] = attention %0, %0, %0 {layer = 0, heads = 1, kv_heads = 1, head_dim = 2, scale = 0.5}
        output %1";
    let y = run(body, &[("t", &[2.0, 0.0, 0.0, 4.0])], &[0, 1]);
    // The second token scores 0 and 8.
    let first = 1.0 / (1.0 + 8f32.exp());
    assert_close(&y[2..], &[2.0 * first, 4.0 * (1.0 - first)]);
}

#[test]
fn q8_rounds_groups_of_32_to_127_steps() {
    let mut row = vec![0.0f32; 34];
    (row[0], row[1], row[2], row[3], row[33]) = (-127.0, 2.5, 3.5, 0.4, 1e-3);
    let body = "%0: f32[n, 34] = embed @t: f32[1, 34]
        %1: q8[n, 34] = quantize_q8 %0
        %2: f32[n, 2] = linear_q8 %1, @w: i8g32[2, 34]
        output %2";
    let mut w = vec![0.0f32; 68];
    (w[0], w[1], w[2], w[3], w[34 + 33]) = (1.0, 10.0, 100.0, 1000.0, 1.0);
    // Ties go to even: 2.5 to 2, 3.5 to 4.
    assert_close(&run(body, &[("t", &row), ("w", &w)], &[0]), &[-127.0 + 20.0 + 400.0, 1e-3]);
}

#[test]
fn q8x2_keeps_what_the_first_plane_leaves() {
    let row = [-127.0f32, 2.5, 0.4, 0.001];
    let body = "%0: f32[n, 4] = embed @t: f32[1, 4]
        %1: q8x2[n, 4] = quantize_q8 %0 {planes = 2}
        %2: f32[n, 1] = linear_q8 %1, @w: i8g32[1, 4]
        output %2";
    // The first plane has -127, 2, 0, 0; the second steps of 0.5 / 127: 0.4 is 101.6 of them, 0.001 a quarter.
    let step = 0.5f32 / 127.0;
    let expected = -127.0 + 10.0 * 2.5 + 100.0 * 102.0 * step;
    assert_close(&run(body, &[("t", &row), ("w", &[1.0, 10.0, 100.0, 1000.0])], &[0]), &[expected]);
}

fn tiny() -> Graph {
    parse(include_str!("tiny.ir")).unwrap()
}

fn interpreter(graph: &Graph) -> Interpreter<'_> {
    let mut sizes = std::collections::HashMap::new();
    for node in &graph.nodes {
        node.op.weights(&mut |weight| {
            sizes.extend(weight.parts.iter().map(|part| (part.name.clone(), part.ty.constant_size())));
        });
    }
    Interpreter::new(graph, |name| Some(noise(name, (*sizes.get(name)?)?))).unwrap()
}

fn last_rows(tensor: &Tensor, count: usize) -> &[f32] {
    &tensor.data[tensor.data.len() - count * tensor.width..]
}

#[test]
fn prefill_steps_and_ragged_batches_agree() {
    let graph = tiny();
    let (a, b) = ([3, 1, 4, 1, 5, 9], [2, 6, 5]);
    let whole = interpreter(&graph).run(&Batch::sequence(0, 0, &a)).unwrap();

    let mut steps = interpreter(&graph);
    for (position, token) in a.iter().enumerate() {
        let step = steps.run(&Batch::sequence(0, position as u32, &[*token])).unwrap();
        assert_close(&step.data, &whole.data[position * whole.width..][..whole.width]);
    }

    let alone = interpreter(&graph).run(&Batch::sequence(0, 0, &b)).unwrap();
    let mut ragged = interpreter(&graph);
    ragged.run(&Batch::sequence(7, 0, &a[..4])).unwrap();
    let both = ragged.run(&Batch::sequence(7, 4, &a[4..]).and(&Batch::sequence(8, 0, &b))).unwrap();
    assert_close(&both.data, &[last_rows(&whole, 2), &alone.data].concat());
}

#[test]
fn a_sequence_can_be_rewound() {
    let graph = tiny();
    let whole = interpreter(&graph).run(&Batch::sequence(0, 0, &[1, 2, 3])).unwrap();
    let mut rewound = interpreter(&graph);
    rewound.run(&Batch::sequence(0, 0, &[1, 9, 9, 9])).unwrap();
    let end = rewound.run(&Batch::sequence(0, 1, &[2, 3])).unwrap();
    assert_close(&end.data, last_rows(&whole, 2));
}

#[test]
fn only_rows_asked_for_come_back() {
    let graph = tiny();
    let whole = interpreter(&graph).run(&Batch::sequence(0, 0, &[1, 2, 3])).unwrap();
    let batch = Batch { rows: vec![2, 0], ..Batch::sequence(0, 0, &[1, 2, 3]) };
    let some = interpreter(&graph).run(&batch).unwrap();
    assert_close(&some.data, &[last_rows(&whole, 1), &whole.data[..whole.width]].concat());
}

#[test]
fn misfits_are_errors() {
    let graph = tiny();
    let error = |batch: &Batch| interpreter(&graph).run(batch).unwrap_err().to_string();
    assert_eq!(error(&Batch::sequence(0, 0, &[0; 17])), "17 tokens and 17 rows exceed the bounds");
    assert_eq!(error(&Batch::sequence(3, 2, &[0])), "position 2 of sequence 3, which has 0");
    assert_eq!(error(&Batch::sequence(0, 0, &[24])), "token 24 is not in the vocabulary");
    assert_eq!(error(&Batch { rows: vec![1], ..Batch::sequence(0, 0, &[1]) }), "row 1 of 1 tokens");
    let missing = Interpreter::new(&graph, |_| None).err().map(|error| error.to_string());
    assert_eq!(missing.as_deref(), Some("no weight @embed"));
    let short = Interpreter::new(&graph, |_| Some(vec![0.0])).err().map(|error| error.to_string());
    assert_eq!(short.as_deref(), Some("@embed: f32[24, 16] needs 384 values, got 1"));
}
