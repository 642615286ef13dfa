//! Each graph is wrong in one way, which the verifier names.

use tc_ir::{parse, verify};

/// What is wrong with the graph whose body this is.
fn problems(body: &str) -> Vec<String> {
    let graph = parse(&format!("graph @g(n: tokens <= 8, m: rows <= 8) {{\n{body}\n}}")).unwrap();
    verify(&graph).err().map_or(Vec::new(), |error| error.problems)
}

/// The problem's text without the node that it shows.
#[track_caller]
fn assert_problem(body: &str, expected: &str) {
    let found = problems(body);
    assert!(found.len() == 1 && found[0].ends_with(&format!(": {expected}")), "{found:#?}");
}

const X: &str = "%0: f32[n, 4] = embed @t: f32[9, 4]\n";

#[track_caller]
fn assert_op(line: &str, expected: &str) {
    assert_problem(&format!("{X}{line}\noutput %0"), expected);
}

#[test]
fn a_plain_graph_is_valid() {
    let graph = parse(include_str!("tiny.ir")).unwrap();
    assert_eq!(verify(&graph), Ok(()));
}

#[test]
fn problems_show_their_node_and_are_collected() {
    let found = problems(&format!("{X}%1: f32[n, 5] = silu %0\n%2: f32[n, 4] = silu %3\noutput %4"));
    assert_eq!(
        found,
        [
            "%1: f32[n, 5] = silu %0: its type is f32[n, 4]",
            "%2: f32[n, 4] = silu %3: %3 is not defined before it",
            "output %4 is not defined"
        ]
    );
}

#[test]
fn operands_must_fit() {
    assert_op("%1: f32[n, 4] = silu %1", "%1 is not defined before it");
    assert_op("%1: f32[n, 2] = linear %0, @w: f32[2, 3]", "width of x and columns of the weight: 4, expected 3");
    assert_op("%1: f32[n, 2] = linear %0, @w: f32[2, 4], bias = @b: f32[3]", "length of the bias: 3, expected 2");
    assert_op("%1: f32[n, 2] = linear %0, @w: f32[2, 4], residual = %0", "width of %0: 4, expected 2");
    assert_op("%1: f32[n, 2] = linear_q8 %0, @w: i8g32[2, 4]", "%0 has the type f32[n, 4], not q8 rows");
    assert_op("%1: q8[n, 4] = quantize_q8 %0 {planes = 3}", "3 planes; there are rows of 1 and of 2");
    assert_op("%1: f32[n, 4] = rms_norm %0, @w: f16[4] {eps = 0.1}", "@w: f16[4] is no f32 vector");
    assert_op("%1: f32[n, 4] = rms_norm %0, @w: f32[3] {eps = 0.1, chunk = 3}", "4 columns are not whole chunks of 3");
    assert_op("%1: f32[n, 2] = slice_cols %0 {begin = 3, end = 5}", "no columns 3..5 in 4");
    assert_problem(
        &format!("{X}%1: f32[m, 4] = gather_rows %0\n%2: f32[m, 4] = add %1, %0\noutput %2"),
        "%0 is over n, not over m",
    );
}

#[test]
fn attributes_must_make_sense() {
    assert_op("%1: f32[n, 4] = rms_norm %0, @w: f32[4] {eps = 0.0}", "`eps` is 0, and must be positive");
    assert_op("%1: f32[n, 4] = scale %0 {factor = inf}", "bad value of `factor`");
    assert_op("%1: f32[n, 4] = rope_table @f: f32[2] {theta = -1.0}", "`theta` is -1, and must be positive");
    let attention = |attributes: &str| format!("%1: f32[n, 4] = attention %0, %0, %0 {{layer = 0, {attributes}}}");
    assert_op(&attention("heads = 3, kv_heads = 2, head_dim = 2, scale = 1.0"), "3 heads cannot share 2 kv_heads");
    assert_op(&attention("heads = 1, kv_heads = 1, head_dim = 3, scale = 1.0"), "head_dim 3 must be even");
    assert_op(&attention("heads = 1, kv_heads = 1, head_dim = 4, scale = 1.0, window = 0"), "bad value of `window`");
    let huge = attention("heads = 4294967295, kv_heads = 1, head_dim = 4294967294, scale = 1.0");
    assert_op(&huge, "too wide");
}

#[test]
fn weights_must_be_consistent() {
    assert_op("%1: f32[n, 4] = linear %0, @t: f16[4, 4]", "@t is f32[9, 4] elsewhere");
    assert_op(
        "%1: f32[n, 4] = linear %0, concat_rows(@a: f16[2, 4], @b: f32[2, 4])",
        "concat_rows of f16[2, 4] and f32[2, 4]",
    );
    assert_op("%1: f32[n, 4] = linear %0, @w: q8[4, 4]", "no weight can be @w: q8[4, 4]");
    assert_op("%1: f32[n, 4] = linear %0, @w: i4g0[4, 4]", "no weight can be @w: i4g0[4, 4]");
}

#[test]
fn cache_layers_are_written_once_and_in_order() {
    let write = |value: u32, layer: u32, head_dim: u32| {
        format!(
            "%{value}: f32[n, 4] = attention %0, %0, %0 {{layer = {layer}, heads = {heads}, kv_heads = {heads}, \
             head_dim = {head_dim}, scale = 1.0}}\n",
            heads = 4 / head_dim
        )
    };
    let first = format!("{X}{}", write(1, 0, 4));
    let next = |line: &str| format!("{first}{line}\noutput %0");
    assert_eq!(problems(&next(&write(2, 1, 4))), [""; 0]);
    assert_problem(&next(&write(2, 0, 4)), "writes layer 0 of the cache where 1 is next");
    assert_problem(&next(&write(2, 2, 4)), "writes layer 2 of the cache where 1 is next");
    assert_problem(&next(&write(2, 1, 2)), "the cache has 1 heads of 4 elsewhere");
    let read = "%2: f32[n, 4] = cached_attention %0 {layer = 1, heads = 1, kv_heads = 1, head_dim = 4, scale = 1.0}";
    assert_problem(&next(read), "layer 1 of the cache is not written yet");
}

#[test]
fn headers_and_outputs_are_checked() {
    let graph = parse("graph @g(n: tokens <= 2, m: rows <= 3) {\n%0: q8[n, 4] = quantize_q8 %1\noutput %0\n}").unwrap();
    let problems = verify(&graph).unwrap_err().problems;
    assert_eq!(problems[0], "graph @g: no call has 1..=3 rows of 2");
    assert_eq!(problems[2], "%0: q8[n, 4] = quantize_q8 %1: the output must be f32");
}
