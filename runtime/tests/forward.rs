//! The engine against plain loops, and against itself in other batches, threads and chunks.

mod support;

use std::sync::Arc;
use support::Random;
use support::toy::{SHAPE, Shape, Toy};
use tc_kernels::table::Tier;
use tcrt::{BatchToken, Engine, EngineOptions, ErrorKind, KvType, Model, SeqId};

fn model(shape: Shape) -> (Toy, Arc<Model>) {
    let mut toy = Toy::new(shape);
    let model = Model::from_bytes(&toy.file(), "toy").unwrap();
    (toy, model)
}

fn options(threads: usize, chunk: usize) -> EngineOptions {
    EngineOptions {
        threads,
        chunk,
        max_rows: chunk,
        kv_dtype: KvType::F32,
        max_sequences: 4,
        ..EngineOptions::default()
    }
}

fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..count).map(|_| random.below(SHAPE.vocab) as u32).collect()
}

fn all(sequence: SeqId, tokens: &[u32]) -> Vec<BatchToken> {
    tokens.iter().map(|token| BatchToken { sequence, token: *token, want_logits: true }).collect()
}

/// Logits after every token, in calls of at most `chunk`.
fn run(engine: &mut Engine, sequence: SeqId, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    for tokens in tokens.chunks(chunk) {
        let logits = engine.forward(&all(sequence, tokens)).unwrap();
        assert_eq!(logits.rows(), tokens.len());
        rows.extend((0..logits.rows()).map(|row| logits.row(row).to_vec()));
    }
    rows
}

fn fresh(model: &Arc<Model>, options: &EngineOptions, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let mut engine = Engine::new(Arc::clone(model), options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    run(&mut engine, sequence, tokens, chunk)
}

fn furthest(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

#[test]
fn logits_are_those_of_plain_loops() {
    for window in [0, 5] {
        let (toy, model) = model(Shape { window, ..SHAPE });
        let tokens = tokens(150, 1);
        let expected = toy.reference(&tokens);
        assert!(expected.iter().flatten().any(|logit| logit.abs() > 0.5), "the toy says something");
        for tier in [Some(Tier::Scalar), None] {
            let options = EngineOptions { tier, ..options(2, 64) };
            let far = furthest(&fresh(&model, &options, &tokens, 64), &expected);
            assert!(far < 1e-4, "window {window}: {far}");
        }
    }
}

#[test]
fn a_cache_of_fewer_bits_stays_close() {
    let (toy, model) = model(SHAPE);
    let tokens = tokens(100, 2);
    for (kv_dtype, bound) in [(KvType::F16, 1e-2), (KvType::I8, 0.1)] {
        let options = EngineOptions { kv_dtype, ..options(1, 100) };
        let far = furthest(&fresh(&model, &options, &tokens, 100), &toy.reference(&tokens));
        assert!(far > 0.0 && far < bound, "{kv_dtype:?}: {far}");
    }
}

#[test]
fn quantized_logits_stay_close_to_plain_loops_over_the_same_weights() {
    for (planes, bound) in [(1, 0.1), (2, 1e-3)] {
        let (toy, model) = model(Shape { planes, ..SHAPE });
        let tokens = tokens(60, 3);
        let expected = toy.reference(&tokens);
        let far = furthest(&fresh(&model, &options(2, 32), &tokens, 32), &expected);
        assert!(far < bound, "{planes} planes: {far}");
    }
}

#[test]
fn hidden_states_are_what_the_head_has_read() {
    for planes in [0, 1, 2] {
        let (toy, model) = model(Shape { planes, ..SHAPE });
        let mut engine = Engine::new(model, &options(1, 8)).unwrap();
        let sequence = engine.add_sequence().unwrap();
        let logits = engine.forward_with_hidden(&all(sequence, &tokens(5, 12))).unwrap().row(4).to_vec();
        let mut hidden = vec![0.0; SHAPE.dim];
        engine.add_hidden(4, &mut hidden).unwrap();
        let far = furthest(&[toy.logits(&hidden)], &[logits]);
        assert!(far < 1e-5, "{planes} planes: {far}");
    }
}

#[test]
fn threads_and_chunks_change_nothing() {
    for planes in [0, 1, 2] {
        let (_, model) = model(Shape { planes, ..SHAPE });
        let tokens = tokens(130, 4);
        let expected = fresh(&model, &options(1, 130), &tokens, 130);
        for threads in [1, 2, 3, 7] {
            for chunk in [1, 3, 64, 130] {
                let options = options(threads, 130);
                assert!(fresh(&model, &options, &tokens, chunk) == expected, "{threads} threads, chunks of {chunk}");
            }
        }
    }
}

#[test]
fn a_ragged_batch_gives_what_each_sequence_gives_alone() {
    let (_, model) = model(SHAPE);
    let options = options(2, 64);
    let texts = [tokens(90, 5), tokens(70, 6), tokens(30, 7)];
    let alone: Vec<_> = texts.iter().map(|tokens| fresh(&model, &options, tokens, 64)).collect();
    let mut engine = Engine::new(model, &options).unwrap();
    let ids = [(); 3].map(|()| engine.add_sequence().unwrap());
    let mut done = [0; 3];
    let mut random = Random(8);
    while (0..3).any(|i| done[i] < texts[i].len()) {
        let (mut batch, mut expected) = (Vec::new(), Vec::new());
        while batch.len() < 20 && (0..3).any(|i| done[i] < texts[i].len()) {
            let i = random.below(3);
            let Some(token) = texts[i].get(done[i]) else { continue };
            let want_logits = random.below(2) == 0;
            batch.push(BatchToken { sequence: ids[i], token: *token, want_logits });
            if want_logits {
                expected.push(&alone[i][done[i]]);
            }
            done[i] += 1;
        }
        let logits = engine.forward(&batch).unwrap();
        assert_eq!(logits.rows(), expected.len());
        expected.iter().enumerate().for_each(|(row, expected)| assert!(logits.row(row) == &expected[..]));
    }
}

#[test]
fn forks_and_rewinds_go_on_as_if_alone() {
    let (_, model) = model(SHAPE);
    let options = options(2, 128);
    let (prompt, left, right) = (tokens(100, 9), tokens(40, 10), tokens(40, 11));
    let expected = |tail: &[u32]| fresh(&model, &options, &[&prompt[..], tail].concat(), 1).split_off(100);
    let mut engine = Engine::new(Arc::clone(&model), &options).unwrap();
    let a = engine.add_sequence().unwrap();
    run(&mut engine, a, &prompt, 128);
    let b = engine.fork(a).unwrap();
    assert!(run(&mut engine, a, &left, 7) == expected(&left));
    assert!(run(&mut engine, b, &right, 5) == expected(&right));
    engine.truncate(a, 100).unwrap();
    assert!(run(&mut engine, a, &right, 128) == expected(&right));
    let held = engine.kv_bytes();
    engine.remove(a).unwrap();
    assert!(engine.kv_bytes() < held && engine.len(a).is_err());
    engine.truncate(b, 70).unwrap();
    assert_eq!(engine.len(b).unwrap(), 70);
}

#[test]
fn what_cannot_be_done_is_an_error_that_changes_nothing() {
    let (_, model) = model(SHAPE);
    let small = EngineOptions { context: 10, max_rows: 2, max_sequences: 2, ..options(1, 8) };
    let mut engine = Engine::new(Arc::clone(&model), &small).unwrap();
    let a = engine.add_sequence().unwrap();
    let token = |token, want_logits| BatchToken { sequence: a, token, want_logits };
    engine.forward(&[token(1, false); 5]).unwrap();
    let mut refused = |batch: &[BatchToken], kind, message: &str| {
        let error = engine.forward(batch).err().expect(message);
        assert_eq!((error.kind, error.to_string().as_str()), (kind, message));
        assert_eq!(engine.len(a).unwrap(), 5);
    };
    refused(&[], ErrorKind::InvalidArgument, "a call without tokens");
    let message = "token 43 (number 1 of the call) is outside the vocabulary of 43";
    refused(&[token(1, false), token(43, false)], ErrorKind::InvalidArgument, message);
    let message = "token number 5 of the call does not fit its sequence: the context is 10";
    refused(&[token(1, false); 6], ErrorKind::LimitExceeded, message);
    refused(&[token(1, false); 9], ErrorKind::LimitExceeded, "9 tokens in one call; this engine takes at most 8");
    refused(
        &[token(1, true); 3],
        ErrorKind::LimitExceeded,
        "3 rows of logits in one call; this engine takes at most 2",
    );
    assert_eq!(engine.forward(&[token(1, true); 2]).unwrap().rows(), 2);
    let options = EngineOptions { context: 301, ..EngineOptions::default() };
    let error = Engine::new(Arc::clone(&model), &options).err().unwrap();
    assert_eq!(error.to_string(), "a context of 301 is more than the 300 positions of the model");
    let error = Engine::new(model, &EngineOptions { chunk: 0, ..EngineOptions::default() }).err().unwrap();
    assert_eq!(error.to_string(), "chunk is 0; it must be between 1 and 8192");
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    let mut toy = Toy::new(SHAPE);
    let file = toy.file();
    let weights = toy.builder.program.weights_segment.offset as usize;
    let norm = toy.builder.program.weights.iter().find(|weight| weight.name == "norm").unwrap();
    let mut file = file;
    file[weights + norm.offset as usize..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let model = Model::from_bytes(&file, "toy").unwrap();
    let mut engine = Engine::new(model, &options(2, 8)).unwrap();
    let a = engine.add_sequence().unwrap();
    let error = engine.forward(&all(a, &[3, 4])).err().unwrap();
    assert_eq!(error.kind, ErrorKind::NotFinite);
    assert_eq!(error.to_string(), "the logits after token 3 (number 0 of the call) are not finite");
    assert_eq!(engine.len(a).unwrap(), 0);
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let mut toy = Toy::new(SHAPE);
    toy.builder.program.token_arena = 1 << 32;
    toy.builder.program.row_arena = 1 << 32;
    let model = Model::from_bytes(&toy.file(), "toy").unwrap();
    let huge = EngineOptions { chunk: 8192, max_sequences: 4096, max_rows: 8192, ..EngineOptions::default() };
    let plan = tcrt::memory_plan(&model, &huge).unwrap();
    assert!(plan.arena_bytes >= 1 << 45);
    match Engine::new(model, &huge) {
        Err(error) => assert_eq!(error.kind, ErrorKind::LimitExceeded),
        // Reserved memory costs nothing until it is touched, so some machines grant even this.
        Ok(engine) => assert_eq!(engine.kv_bytes(), 0),
    }
}

#[test]
fn the_plan_is_exact() {
    let (toy, model) = model(SHAPE);
    let options = EngineOptions { context: 200, chunk: 16, max_rows: 4, ..EngineOptions::default() };
    let plan = tcrt::memory_plan(&model, &options).unwrap();
    let program = &toy.builder.program;
    assert_eq!(plan.arena_bytes, 16 * program.token_arena + 4 * program.row_arena);
    assert_eq!(plan.kv_block_bytes, 2 * 2 * 2 * 64 * 6 * 2);
    assert_eq!(plan.kv_max_bytes, 4 * plan.kv_block_bytes);
    let mut engine = Engine::new(model, &options).unwrap();
    assert_eq!(*engine.plan(), plan);
    let a = engine.add_sequence().unwrap();
    for _ in 0..5 {
        engine.forward(&[BatchToken { sequence: a, token: 1, want_logits: false }; 13]).unwrap();
    }
    assert_eq!(engine.kv_bytes(), 2 * plan.kv_block_bytes);
}

#[test]
fn engines_and_sessions_may_move_to_other_threads() {
    fn moves<T: Send>() {}
    moves::<Engine>();
    moves::<tcrt::Session>();
    moves::<Arc<Model>>();
}
