//! Damaged files: each is refused with one line, or is sound after all and runs.

mod support;

use std::sync::Arc;
use support::Random;
use support::toy::{SHAPE, Shape, Toy};
use tcrt::program::header::HEADER_BYTES;
use tcrt::{BatchToken, Engine, EngineOptions, ErrorKind, Model};

const SMALL: Shape = Shape { layers: 1, positions: 64, ..SHAPE };

/// Reads the file and, where it is accepted, runs one call. Whether it ran.
fn survive(file: &[u8]) -> bool {
    match tcrt::program::read(file) {
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n'), "{message}");
            assert!(matches!(error.kind, ErrorKind::InvalidFile | ErrorKind::Unsupported), "{message}");
            false
        }
        Ok(_) => run(Model::from_bytes(file, "damaged.pte").unwrap()),
    }
}

fn run(model: Arc<Model>) -> bool {
    let options =
        EngineOptions { threads: 1, chunk: 4, context: 8.min(model.info().max_positions), ..EngineOptions::default() };
    // What a sound file asks for may still be more than the machine has.
    let Ok(mut engine) = Engine::new(model, &options) else { return false };
    let sequence = engine.add_sequence().unwrap();
    let token = |want_logits| BatchToken { sequence, token: 0, want_logits };
    let result = engine.forward(&[token(false), token(true)]).map(|logits| logits.rows());
    result.is_ok_and(|rows| rows == 1)
}

fn file(planes: usize) -> (Vec<u8>, usize) {
    let mut toy = Toy::new(Shape { planes, ..SMALL });
    let file = toy.file();
    let program_end = HEADER_BYTES + u64::from_le_bytes(file[24..32].try_into().unwrap()) as usize;
    (file, program_end)
}

#[test]
fn the_file_itself_runs() {
    assert!([0, 1, 2].into_iter().all(|planes| survive(&file(planes).0)));
}

#[test]
fn truncated_anywhere() {
    let (file, program_end) = file(0);
    for len in (0..program_end).chain((program_end..file.len()).step_by(97)) {
        assert!(!survive(&file[..len]), "{len} bytes");
        if len >= HEADER_BYTES {
            // As if written so: the header agrees with the length.
            let mut short = file[..len].to_vec();
            short[32..40].copy_from_slice(&(len as u64).to_le_bytes());
            let program = (len.min(program_end) - HEADER_BYTES) as u64;
            short[24..32].copy_from_slice(&program.to_le_bytes());
            survive(&short);
        }
    }
}

#[test]
fn every_bit_flipped() {
    let (mut file, program_end) = file(2);
    let sound = tcrt::program::read(&file).unwrap();
    let (mut refused, mut changed) = (0, 0);
    for bit in 0..8 * program_end {
        file[bit / 8] ^= 1 << (bit % 8);
        match tcrt::program::read(&file) {
            // Padding and offsets that lead nowhere else may change.
            Ok(read) if read.program() == sound.program() => {}
            Ok(_) => {
                changed += 1;
                survive(&file);
            }
            Err(_) => {
                refused += 1;
                assert!(!survive(&file));
            }
        }
        file[bit / 8] ^= 1 << (bit % 8);
    }
    // What changed and still passed are names, the values of floats, and sizes that only have to be large enough.
    assert!(refused > 20_000 && changed > 1000, "{refused} refused, {changed} changed");
}

#[test]
fn errors_name_the_file() {
    let (mut file, _) = file(0);
    file.pop();
    let error = Model::from_bytes(&file, "damaged.pte").err().unwrap().to_string();
    assert!(error.starts_with("damaged.pte: header: the file is truncated: "), "{error}");
}

#[test]
fn random_damage() {
    let (file, program_end) = file(0);
    let mut random = Random(1);
    for _ in 0..10_000 {
        let mut damaged = file.clone();
        for _ in 0..1 + random.below(4) {
            let at = HEADER_BYTES + random.below(program_end - HEADER_BYTES);
            let value = [0, 1, 4, 0x7f, 0xff, random.next() as u8][random.below(6)];
            let end = (at + 1 + random.below(4)).min(program_end);
            damaged[at..end].fill(value);
        }
        survive(&damaged);
    }
}

#[test]
fn damaged_weights_run_or_are_not_finite() {
    let (mut file, _) = file(1);
    let weights = file.len() - 2000;
    let mut random = Random(2);
    for _ in 0..200 {
        let at = weights + random.below(2000);
        file[at] = random.next() as u8;
        survive(&file);
    }
}
