//! Sessions: generation, what ends it, and what is kept from one to the next.

mod support;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::toy::{SHAPE, Shape, Toy};
use tcrt::sampling::SamplerOptions;
use tcrt::tokenizer::Tokenizer;
use tcrt::{EngineOptions, ErrorKind, Event, Finish, GenerateOptions, Generation, KvType, Model, Result, Session};

/// The bytes and then the letters.
const VOCAB: usize = 3 + 256 + 26;

fn tokenizer_file() -> Vec<u8> {
    let mut file = 7u32.to_le_bytes().to_vec();
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let letters = ('a'..='z').map(String::from);
    for text in ["<unk>", "\n<s>\n", "\n</s>\n"].map(String::from).into_iter().chain(bytes).chain(letters) {
        file.extend(0f32.to_le_bytes());
        file.extend((text.len() as u32).to_le_bytes());
        file.extend(text.as_bytes());
    }
    file
}

fn toy() -> (Toy, Arc<Model>) {
    let mut toy = Toy::new(Shape { vocab: VOCAB, ..SHAPE });
    toy.builder.tokenizer = tokenizer_file();
    let model = Model::from_bytes(&toy.file(), "toy").unwrap();
    (toy, model)
}

fn session(model: &Arc<Model>, context: usize) -> Session {
    let options = EngineOptions { threads: 1, chunk: 16, kv_dtype: KvType::F32, context, ..EngineOptions::default() };
    Session::new(Arc::clone(model), &options).unwrap()
}

fn greedy(max_new: usize) -> GenerateOptions {
    GenerateOptions { max_new, sampling: SamplerOptions::greedy(), ..GenerateOptions::default() }
}

/// Generates without looking.
fn reply(session: &mut Session, prompt: &[u32], options: &GenerateOptions) -> Result<Generation> {
    session.generate(prompt, None, options, |_| ControlFlow::Continue(()))
}

fn prompt() -> Vec<u32> {
    (0..40).map(|i| i * 7 % VOCAB as u32).collect()
}

fn highest(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::MIN), |best, (i, logit)| if *logit > best.1 { (i, *logit) } else { best });
    best.0 as u32
}

#[test]
fn a_greedy_reply_is_that_of_plain_loops() {
    let (toy, model) = toy();
    let mut tokens = prompt();
    let generation = reply(&mut session(&model, 0), &tokens, &greedy(20)).unwrap();
    for token in &generation.tokens {
        assert_eq!(*token, highest(toy.reference(&tokens).last().unwrap()));
        tokens.push(*token);
    }
    assert_eq!((generation.tokens.len(), generation.finish), (20, Finish::Length));
    let stats = generation.stats;
    assert_eq!((stats.prompt_tokens, stats.reused_tokens, stats.new_tokens), (40, 0, 20));
    assert!(stats.prefill <= stats.first_token && stats.decode_tokens_per_second().unwrap() > 0.0);
}

#[test]
fn what_is_held_is_not_run_again() {
    let (_, model) = toy();
    let mut kept = session(&model, 0);
    let first = reply(&mut kept, &prompt(), &greedy(10)).unwrap();
    let longer = [prompt(), first.tokens.clone(), vec![5, 6, 7]].concat();
    let second = reply(&mut kept, &longer, &greedy(10)).unwrap();
    // The reply's last token was sampled but never run.
    assert_eq!(second.stats.reused_tokens, 49);
    assert_eq!(second.tokens, reply(&mut session(&model, 0), &longer, &greedy(10)).unwrap().tokens);
    let edited = [&prompt()[..20], &[9, 9]].concat();
    let third = reply(&mut kept, &edited, &greedy(10)).unwrap();
    assert_eq!(third.stats.reused_tokens, 20);
    assert_eq!(third.tokens, reply(&mut session(&model, 0), &edited, &greedy(10)).unwrap().tokens);
    let again = reply(&mut kept, &edited, &greedy(10)).unwrap();
    assert_eq!((again.stats.reused_tokens, again.tokens), (21, third.tokens));
}

#[test]
fn prefill_decode_and_rewind() {
    let (toy, model) = toy();
    let expected = toy.reference(&prompt());
    let mut session = session(&model, 0);
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(far(session.prefill(&prompt()).unwrap(), &expected[39]) < 1e-4);
    session.rewind(10).unwrap();
    assert_eq!((session.tokens(), session.room()), (&prompt()[..10], 290));
    assert!(far(session.decode(prompt()[10]).unwrap(), &expected[10]) < 1e-4);
    assert!(session.rewind(12).is_err());
}

#[test]
fn what_ends_a_reply() {
    let (_, model) = toy();
    let whole = reply(&mut session(&model, 0), &prompt(), &greedy(12)).unwrap().tokens;
    let stop = *whole.iter().enumerate().find(|(i, token)| *i > 2 && !whole[..*i].contains(token)).unwrap().1;
    let at = whole.iter().position(|token| *token == stop).unwrap();

    let options = GenerateOptions { stop_tokens: vec![stop], ..greedy(12) };
    let stopped = reply(&mut session(&model, 0), &prompt(), &options).unwrap();
    assert_eq!((&stopped.tokens[..], stopped.finish), (&whole[..at], Finish::StopToken(stop)));

    let nothing = reply(&mut session(&model, 0), &prompt(), &greedy(0)).unwrap();
    assert_eq!((nothing.tokens.len(), nothing.finish), (0, Finish::Length));

    // The last token is sampled from the full context and has no place in it.
    let full = reply(&mut session(&model, 45), &prompt(), &greedy(12)).unwrap();
    assert_eq!((&full.tokens[..], full.finish), (&whole[..6], Finish::Context));

    let mut seen = 0;
    let broken = session(&model, 0).generate(&prompt(), None, &greedy(12), |_| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let broken = broken.unwrap();
    assert_eq!((&broken.tokens[..], broken.finish), (&whole[..3], Finish::Stopped));

    let cancel = Arc::new(AtomicBool::new(false));
    let options = GenerateOptions { cancel: Some(Arc::clone(&cancel)), ..greedy(12) };
    let cancelled = session(&model, 0).generate(&prompt(), None, &options, |_| {
        cancel.store(true, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert_eq!((cancelled.clone().unwrap().tokens.len(), cancelled.unwrap().finish), (1, Finish::Cancelled));
    let before = reply(&mut session(&model, 0), &prompt(), &options).unwrap();
    assert_eq!((before.tokens.len(), before.finish), (0, Finish::Cancelled));
}

/// The text of a reply, as shown piece by piece.
fn text(model: &Arc<Model>, tokenizer: &Tokenizer, options: &GenerateOptions) -> (String, Generation) {
    let mut text = String::new();
    let generation = session(model, 0).generate(&prompt(), Some(tokenizer), options, |event| {
        if let Event::Text(piece) = event {
            text.push_str(piece);
        }
        ControlFlow::Continue(())
    });
    (text, generation.unwrap())
}

#[test]
fn text_comes_in_whole_characters_and_ends_before_a_stop_string() {
    let (_, model) = toy();
    let tokenizer = model.tokenizer().unwrap().expect("the file has a tokenizer");
    // Letters only, so that there is something to stop at.
    let letters = (0..259).map(|id| (id, f32::NEG_INFINITY)).collect();
    let letters = GenerateOptions {
        sampling: SamplerOptions { logit_bias: letters, seed: 3, ..SamplerOptions::default() },
        max_new: 30,
        ..GenerateOptions::default()
    };
    let (whole, generation) = text(&model, &tokenizer, &letters);
    assert_eq!(whole.as_bytes(), tokenizer.decode(&generation.tokens));
    assert_eq!(whole.len(), 30);

    let options = GenerateOptions { stop_strings: vec![whole[10..13].to_owned()], ..letters };
    let (stopped, generation) = text(&model, &tokenizer, &options);
    let end = whole.find(&whole[10..13]).unwrap();
    assert_eq!((stopped.as_str(), generation.finish), (&whole[..end], Finish::StopString));

    let any =
        GenerateOptions { sampling: SamplerOptions { seed: 5, ..SamplerOptions::default() }, max_new: 200, ..options };
    let (whole, generation) = text(&model, &tokenizer, &GenerateOptions { stop_strings: Vec::new(), ..any });
    assert_eq!(whole, String::from_utf8_lossy(&tokenizer.decode(&generation.tokens)));
}

#[test]
fn what_cannot_be_generated_is_an_error() {
    let (_, model) = toy();
    let error = |prompt: &[u32], options: &GenerateOptions| {
        let error = reply(&mut session(&model, 30), prompt, options).unwrap_err();
        (error.kind, error.to_string())
    };
    let message = "the prompt is empty: there is no token to go on from";
    assert_eq!(error(&[], &greedy(1)), (ErrorKind::InvalidArgument, message.into()));
    let message = "the prompt has 40 tokens, but the context only 30";
    assert_eq!(error(&prompt(), &greedy(1)), (ErrorKind::LimitExceeded, message.into()));
    let stops = GenerateOptions { stop_strings: vec!["x".into()], ..greedy(1) };
    assert_eq!(error(&[1], &stops), (ErrorKind::InvalidArgument, "stop strings need a tokenizer".into()));
    let message = "token 1000 (number 0 of the call) is outside the vocabulary of 285";
    assert_eq!(error(&[1000], &greedy(1)), (ErrorKind::InvalidArgument, message.into()));
}
