//! Running sequences in calls of every cut, and comparing with a golden.

use std::ops::Range;
use std::sync::Arc;

use tc_tests::golden::Sequence;
use tcrt::{BatchToken, Engine, EngineOptions, Model, SeqId};

/// How the tokens of several sequences are cut into calls.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Each sequence in one call of its own.
    Whole,
    /// One token a call.
    Single,
    /// Calls of all unfinished sequences together, each with a few tokens, in a number that changes from call to call.
    Ragged,
}

impl Cut {
    /// For each call, the ranges of the sequences' tokens that it has.
    fn calls(self, lengths: &[usize]) -> Vec<Vec<(usize, Range<usize>)>> {
        let alone = |s: usize, step: usize| (0..lengths[s]).step_by(step).map(move |i| vec![(s, i..i + step)]);
        match self {
            Cut::Whole => (0..lengths.len()).flat_map(|s| alone(s, lengths[s])).collect(),
            Cut::Single => (0..lengths.len()).flat_map(|s| alone(s, 1)).collect(),
            Cut::Ragged => ragged_calls(lengths),
        }
    }
}

fn ragged_calls(lengths: &[usize]) -> Vec<Vec<(usize, Range<usize>)>> {
    let (mut done, mut calls) = (vec![0; lengths.len()], Vec::new());
    while done.iter().zip(lengths).any(|(done, length)| done < length) {
        let mut call = Vec::new();
        for s in 0..lengths.len() {
            let step = [1, 4, 0, 7, 1, 2][(calls.len() * 5 + s * 3) % 6];
            let end = (done[s] + step).min(lengths[s]);
            if end > done[s] {
                call.push((s, done[s]..end));
            }
            done[s] = end;
        }
        calls.push(call);
    }
    calls.retain(|call| !call.is_empty());
    calls
}

/// The logits after every token of every sequence.
pub fn run(
    model: &Arc<Model>,
    options: &EngineOptions,
    sequences: &[Sequence],
    cut: Cut,
) -> tcrt::Result<Vec<Vec<Vec<f32>>>> {
    let most = sequences.iter().map(|s| s.tokens.len()).sum();
    let options = EngineOptions { chunk: most, max_rows: most, max_sequences: sequences.len(), ..options.clone() };
    let mut engine = Engine::new(model.clone(), &options)?;
    let ids: Vec<SeqId> = sequences.iter().map(|_| engine.add_sequence()).collect::<tcrt::Result<_>>()?;
    let lengths: Vec<usize> = sequences.iter().map(|s| s.tokens.len()).collect();
    let mut out = vec![Vec::new(); sequences.len()];
    for call in cut.calls(&lengths) {
        let tokens = call.iter().flat_map(|(s, range)| {
            let token = |token: &u32| BatchToken { sequence: ids[*s], token: *token, want_logits: true };
            sequences[*s].tokens[range.clone()].iter().map(token)
        });
        let tokens: Vec<BatchToken> = tokens.collect();
        let logits = engine.forward(&tokens)?;
        let owners = call.iter().flat_map(|(s, range)| range.clone().map(move |_| *s));
        for (row, s) in owners.enumerate() {
            out[s].push(logits.row(row).to_vec());
        }
    }
    Ok(out)
}

/// How logits differ from a golden's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Difference {
    /// The largest difference of any logit; infinite if one is NaN.
    pub worst: f32,
    /// The root of the mean square of the differences over that of the logits.
    pub relative: f32,
}

pub fn difference(sequences: &[Sequence], logits: &[Vec<Vec<f32>>]) -> Difference {
    let rows = sequences.iter().zip(logits).flat_map(|(sequence, found)| {
        let found = sequence.rows.iter().map(|row| &found[*row]);
        sequence.logits.iter().zip(found)
    });
    let (mut worst, mut noise, mut signal) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (expected, found) in rows {
        assert_eq!(expected.len(), found.len());
        for (a, b) in expected.iter().zip(found) {
            let d = (a - b).abs();
            worst = worst.max(if d.is_nan() { f32::INFINITY } else { d });
            noise += d * d;
            signal += a * a;
        }
    }
    Difference { worst, relative: (noise / signal).sqrt() }
}

/// The largest difference of two models' logits, by the largest logit of its row.
pub fn furthest(expected: &[Vec<Vec<f32>>], found: &[Vec<Vec<f32>>]) -> f32 {
    let rows = expected.iter().flatten().zip(found.iter().flatten());
    let far = rows.map(|(expected, found)| {
        let largest = expected.iter().fold(0f32, |most, logit| most.max(logit.abs()));
        expected.iter().zip(found).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
    });
    far.fold(0.0, f32::max)
}
