//! What the model itself says: text of the kind that it was trained on, as much as one likes.
//!
//! Liu et al. 2023 (LLM-QAT) found that models can be fitted to such text as well as to what they were trained on. Half of the sequences begin in
//! different places of a text that people wrote, the other half, as theirs, with one token each from all over the vocabulary: with those come
//! code, markup, lists and questions, of which one text has little. All go on by the model's own probabilities.

use std::collections::BTreeMap;

use tcrt::sampling::{Sampler, SamplerOptions};
use tcrt::{BatchToken, Engine, EngineOptions, Model};

use crate::checkpoint::Tensor;
use crate::config::ModelConfig;
use crate::emit::{Artifact, Constants, Progress, pte};
use crate::export::{CompileError, compile};
use crate::parallel;
use crate::quantize::QuantizeError;
use crate::recipe::Recipe;

/// Sequences that go on side by side: the weights are read once for all of them.
const TOGETHER: usize = 32;
/// Tokens of the text that are given to a sequence.
const GIVEN: usize = 8;
/// In 8 bits the model says the same kind of things, in half the time.
const RECIPE: &str = r#"{"linear:int8": {"groupsize": 32}, "embedding": {"bitwidth": 8, "groupsize": 32}}"#;

/// `count` windows as long as those of `text`, the same each time.
pub fn windows(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    text: &[Vec<u32>],
    count: usize,
    progress: Progress,
) -> Result<Vec<Vec<u32>>, QuantizeError> {
    let (all, length) = (text.concat(), text.first().map_or(0, Vec::len));
    let (given, with_text) = (GIVEN.min(length), count.div_ceil(2));
    let of_text = |i: usize| all[i * (all.len() - given) / with_text..][..given].to_vec();
    let with_token = count - with_text;
    let token = |i: usize| vec![((2 * i + 1) * config.vocab / (2 * with_token)) as u32];
    let mut windows: Vec<Vec<u32>> = (0..with_text).map(of_text).chain((0..with_token).map(token)).collect();
    let mut engine = engine(config, tensors, [TOGETHER.min(with_text), given, length])?;
    let (of_text, of_tokens) = windows.split_at_mut(with_text);
    let mut done = 0;
    for windows in [of_text, of_tokens].into_iter().flat_map(|alike| alike.chunks_mut(TOGETHER)) {
        let together = windows.len();
        let tell = |said: usize| {
            let said = done * length + together * said;
            progress(said as u64, (count * length) as u64).is_continue()
        };
        go_on(&mut engine, windows, length, done as u64, &tell)?;
        done += together;
    }
    Ok(windows)
}

/// For so many sequences, so many tokens of each at once, and so many in all.
fn engine(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    [sequences, given, length]: [usize; 3],
) -> Result<Engine, QuantizeError> {
    let recipe = Recipe::from_json(RECIPE).map_err(CompileError::from)?;
    let program = compile(config, tensors, &recipe, &mut |_, _| {})?.program;
    let artifact = Artifact {
        program: &program,
        constants: &Constants::new(config, tensors),
        metadata: Vec::new(),
        stop_tokens: Vec::new(),
        tokenizer: Vec::new(),
        chat: Vec::new(),
    };
    let file = pte::write_temporary(&artifact)?;
    let options = EngineOptions {
        chunk: sequences * given,
        max_rows: sequences,
        context: length,
        max_sequences: sequences,
        ..EngineOptions::default()
    };
    Ok(Engine::new(Model::load(file.path())?, &options)?)
}

/// Lets the model go on with windows until each has `length` tokens, or `tell`, which is told how many they have, says no.
fn go_on(
    engine: &mut Engine,
    windows: &mut [Vec<u32>],
    length: usize,
    seed: u64,
    tell: &dyn Fn(usize) -> bool,
) -> Result<(), QuantizeError> {
    let vocab = engine.model().info().vocab;
    let sampler = |i| Sampler::new(SamplerOptions { seed: seed + i as u64, ..SamplerOptions::default() }, vocab);
    let mut samplers = (0..windows.len()).map(sampler).collect::<Result<Vec<_>, _>>()?;
    let sequences = windows.iter().map(|_| engine.add_sequence()).collect::<Result<Vec<_>, _>>()?;
    let mut read = 0;
    let said = |windows: &[Vec<u32>]| windows.first().map_or(length, Vec::len);
    while said(windows) < length {
        if !tell(said(windows)) {
            return Err(QuantizeError::Cancelled);
        }
        let of_window = |(window, sequence): (&Vec<u32>, &_)| {
            let (sequence, last) = (*sequence, window.len() - 1);
            let token = |at: usize| BatchToken { sequence, token: window[at], want_logits: at == last };
            (read..=last).map(token).collect::<Vec<_>>()
        };
        let batch: Vec<_> = windows.iter().zip(&sequences).flat_map(of_window).collect();
        read = said(windows);
        let logits = engine.forward(&batch)?;
        let rows = (0..logits.rows()).map(|row| logits.row(row));
        let mut drawn: Vec<_> = windows.iter().map(|_| Ok(0)).collect();
        parallel::for_each(rows.zip(&mut samplers).zip(&mut drawn), |((row, sampler), drawn)| {
            *drawn = sampler.sample(&mut row.to_vec(), &[]);
        });
        for (window, drawn) in windows.iter_mut().zip(drawn) {
            window.push(drawn?);
        }
    }
    sequences.into_iter().try_for_each(|sequence| engine.remove(sequence))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::log_sum_exp;
    use crate::quantize::calibrated::places;
    use crate::quantize::calibration::{HalfRun, Hidden, logits};
    use crate::recipe::Activations;
    use crate::testing::{tensor, tiny_config, tiny_tensors};
    use std::ops::ControlFlow;

    const LENGTH: usize = 24;

    fn text() -> Vec<Vec<u32>> {
        (0..3).map(|i| (0..LENGTH as u32).map(|at| (7 * at + 11 * i) % 50).collect()).collect()
    }

    /// A model that is sure of what it says.
    fn model() -> (ModelConfig, BTreeMap<String, Tensor>) {
        let config = tiny_config();
        let mut tensors = tiny_tensors(&config);
        tensors.insert("norm".to_string(), tensor("norm", &[config.dim], &vec![6.0; config.dim]));
        (config, tensors)
    }

    fn say(count: usize) -> Vec<Vec<u32>> {
        let (config, tensors) = model();
        windows(&config, &tensors, &text(), count, &|_, _| ControlFlow::Continue(())).unwrap()
    }

    /// Minus the mean logarithm of the probability of each token after the given ones.
    fn surprise(windows: &[Vec<u32>]) -> f32 {
        let (config, tensors) = model();
        let mut hidden = Hidden::embed(&config, &tensors["embed"], None, windows).unwrap();
        let run = HalfRun { config: &config, tensors: &tensors, weights: None, activations: Activations::F32 };
        for place in places(&config) {
            hidden = run.output(place, &hidden).unwrap();
        }
        let mut of_tokens = Vec::new();
        let next: Vec<u32> = windows.iter().flat_map(|window| window[1..].iter().chain([&0])).copied().collect();
        let mut next = next.iter();
        logits(&config, &tensors, &hidden, &mut |rows| {
            of_tokens
                .extend(rows.iter().zip(&mut next).map(|(row, token)| log_sum_exp(row) as f32 - row[*token as usize]));
        })
        .unwrap();
        let drawn: Vec<f32> =
            of_tokens.chunks(LENGTH).flat_map(|window| window[GIVEN - 1..LENGTH - 1].to_vec()).collect();
        drawn.iter().sum::<f32>() / drawn.len() as f32
    }

    #[test]
    fn half_begin_as_the_text_does_in_places_half_with_a_token_and_are_the_same_each_time() {
        let count = 2 * TOGETHER + 3;
        let (said, all, vocab) = (say(count), text().concat(), tiny_config().vocab);
        assert_eq!(said, say(count));
        assert!(said.len() == count && said.iter().all(|window| window.len() == LENGTH));
        let (with_text, with_token) = said.split_at(TOGETHER + 2);
        for (i, window) in with_text.iter().enumerate() {
            assert_eq!(window[..GIVEN], all[i * (all.len() - GIVEN) / with_text.len()..][..GIVEN]);
        }
        // As far from one another as the vocabulary lets them be.
        let tokens: Vec<usize> = with_token.iter().map(|window| window[0] as usize).collect();
        let apart = vocab / with_token.len();
        assert!(tokens.windows(2).all(|pair| (apart..=apart + 1).contains(&(pair[1] - pair[0]))), "{tokens:?}");
        assert!(tokens[0] <= apart && vocab - tokens[tokens.len() - 1] <= apart + 1, "{tokens:?}");
        let ends = said.iter().map(|window| &window[GIVEN..]).collect::<std::collections::BTreeSet<_>>();
        assert!(ends.len() > count / 2, "only {} different ones", ends.len());
    }

    #[test]
    fn one_window_begins_with_the_text() {
        assert_eq!(say(1)[0][..GIVEN], text()[0][..GIVEN]);
    }

    #[test]
    fn what_is_said_is_likely_and_what_others_say_is_not() {
        let (said, others) = (surprise(&say(8)), surprise(&text()));
        assert!(said < 0.5 * others, "{said}, and {others} for what it did not say");
    }

    #[test]
    fn who_looks_on_may_end_it() {
        let (config, tensors) = model();
        let stop = |done: u64, all: u64| match done < all / 2 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        let ended = windows(&config, &tensors, &text(), 2, &stop);
        assert!(matches!(ended, Err(QuantizeError::Cancelled)), "{ended:?}");
    }
}
