use super::*;

fn rows(rng: &mut Rng, vocab: usize) -> Vec<f32> {
    // Coarse values, so that ties occur, and some masked tokens.
    let mut logits: Vec<f32> = (0..vocab)
        .map(|_| match rng.next_u64() % 10 {
            0 => f32::NEG_INFINITY,
            _ => (rng.unit() * 64.0).floor() as f32 / 4.0 - 8.0,
        })
        .collect();
    logits[rng.next_u64() as usize % vocab] = 1.0;
    logits
}

/// Steps 5 to 7 as `transformers` does them: sort everything, and renormalize before every step.
fn reference_kept(logits: &[f32], o: &SamplerOptions) -> Vec<(u32, f64)> {
    let mut sorted: Vec<(u32, f64)> = logits.iter().enumerate().map(|(i, &l)| (i as u32, f64::from(l))).collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    sorted.retain(|e| e.1 > f64::NEG_INFINITY);
    let max = sorted[0].1;
    for entry in &mut sorted {
        entry.1 = ((entry.1 - max) / f64::from(o.temperature)).exp();
    }
    if o.top_k > 0 {
        sorted.truncate(o.top_k);
    }
    normalize(&mut sorted);
    if o.top_p < 1.0 {
        let mut before = 0.0;
        sorted.retain(|e| {
            let keep = before < f64::from(o.top_p) - 1e-12 || before == 0.0;
            before += e.1;
            keep
        });
        normalize(&mut sorted);
    }
    let best = sorted[0].1;
    sorted.retain(|e| e.1 / best >= f64::from(o.min_p));
    normalize(&mut sorted);
    sorted
}

fn normalize(entries: &mut [(u32, f64)]) {
    let sum: f64 = entries.iter().map(|e| e.1).sum();
    entries.iter_mut().for_each(|e| e.1 /= sum);
}

fn kept(logits: &[f32], o: &SamplerOptions) -> Vec<(u32, f64)> {
    let max = logits[best_finite(logits).unwrap() as usize];
    let truncation = Truncation { top_k: o.top_k, top_p: o.top_p, min_p: o.min_p, temperature: o.temperature };
    let mut out = Vec::new();
    truncation.keep(logits, max, &mut out);
    let mut out: Vec<(u32, f64)> = out.iter().map(|c| (c.id, c.weight)).collect();
    normalize(&mut out);
    out
}

#[test]
fn truncation_keeps_what_a_full_sort_keeps() {
    let mut rng = Rng::new(42);
    for case in 0..2000 {
        let vocab = 1 + rng.next_u64() as usize % 700;
        let logits = rows(&mut rng, vocab);
        let o = SamplerOptions {
            temperature: 0.1 + rng.unit() as f32 * 2.0,
            top_k: [0, 1, 2, 40, 699, 5000][rng.next_u64() as usize % 6],
            top_p: [1.0, 0.0, 0.3, 0.9, 0.999][rng.next_u64() as usize % 5],
            min_p: [0.0, 0.05, 0.5, 1.0][rng.next_u64() as usize % 4],
            ..SamplerOptions::default()
        };
        let mut got = kept(&logits, &o);
        let mut want = reference_kept(&logits, &o);
        got.sort_by_key(|e| e.0);
        want.sort_by_key(|e| e.0);
        let ids = |kept: &[(u32, f64)]| kept.iter().map(|e| e.0).collect::<Vec<_>>();
        assert_eq!(ids(&got), ids(&want), "case {case}: {o:?}");
        for (g, w) in got.iter().zip(&want) {
            assert!((g.1 - w.1).abs() < 1e-6, "case {case}: {o:?}: {g:?} {w:?}");
        }
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [1.0, 0.0, -1.0, f32::NEG_INFINITY, 2.0, 0.5];
    let options = [
        SamplerOptions { seed: 1, ..SamplerOptions::default() },
        SamplerOptions { seed: 2, temperature: 0.5, top_k: 3, ..SamplerOptions::default() },
        SamplerOptions { seed: 3, temperature: 1.5, top_p: 0.8, min_p: 0.1, ..SamplerOptions::default() },
    ];
    for o in options {
        let expected = reference_kept(&logits, &o);
        let mut sampler = Sampler::new(o, logits.len()).unwrap();
        let mut seen = [0u32; 6];
        let draws = 40_000;
        for _ in 0..draws {
            seen[sampler.sample(&mut logits.clone(), &[]).unwrap() as usize] += 1;
        }
        for (id, &count) in seen.iter().enumerate() {
            let p = expected.iter().find(|e| e.0 == id as u32).map_or(0.0, |e| e.1);
            // Five standard deviations of a binomial count, which leaves exactly none where the probability is 0.
            let bound = 5.0 * (f64::from(draws) * p * (1.0 - p)).sqrt();
            assert!((f64::from(count) - f64::from(draws) * p).abs() <= bound, "token {id}: {count} draws, p = {p}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_tokens_forever() {
    let o = SamplerOptions { seed: 7, temperature: 0.8, top_k: 5, ..SamplerOptions::default() };
    let mut sampler = Sampler::new(o, 8).unwrap();
    let logits = [0.1, 0.9, 0.3, 0.7, 0.5, 0.2, 0.8, 0.4];
    let tokens: Vec<u32> = (0..12).map(|_| sampler.sample(&mut logits.clone(), &[]).unwrap()).collect();
    assert_eq!(tokens, [6, 1, 7, 3, 6, 1, 6, 6, 1, 6, 1, 7]);
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let mut sampler = Sampler::new(SamplerOptions::greedy(), 4).unwrap();
    assert_eq!(sampler.sample(&mut [0.0, 3.0, 3.0, 1.0], &[]).unwrap(), 1);
    // Wherever they lie in a long row.
    let mut sampler = Sampler::new(SamplerOptions::greedy(), 5000).unwrap();
    for [first, second] in [[0, 4999], [2047, 2048], [2050, 2051], [4100, 4999]] {
        let mut logits = vec![-1.0; 5000];
        (logits[first], logits[second], logits[3]) = (7.0, 7.0, f32::NEG_INFINITY);
        assert_eq!(sampler.sample(&mut logits, &[]).unwrap() as usize, first);
    }
}

#[test]
fn a_temperature_near_zero_does_not_overflow() {
    let o = SamplerOptions { temperature: f32::MIN_POSITIVE, ..SamplerOptions::default() };
    let mut sampler = Sampler::new(o, 3).unwrap();
    assert_eq!(sampler.sample(&mut [-1e30, 1e30, 3.0], &[]).unwrap(), 1);
}

fn after_penalties(o: SamplerOptions, history: &[u32]) -> Vec<f32> {
    let mut logits = vec![2.0, -2.0, 1.0, 0.0];
    let mut sampler = Sampler::new(SamplerOptions { temperature: 0.0, ..o }, 4).unwrap();
    sampler.sample(&mut logits, history).unwrap();
    assert!(sampler.counts.iter().all(|&c| c == 0));
    logits
}

#[test]
fn penalties_and_bias() {
    let o = SamplerOptions { repetition_penalty: 2.0, ..SamplerOptions::default() };
    assert_eq!(after_penalties(o.clone(), &[0, 1, 1, 0]), [1.0, -4.0, 1.0, 0.0]);
    let o = SamplerOptions { penalty_window: 2, ..o };
    assert_eq!(after_penalties(o, &[0, 1, 1, 2]), [2.0, -4.0, 0.5, 0.0]);
    let o = SamplerOptions { presence_penalty: 0.5, frequency_penalty: 1.0, ..SamplerOptions::default() };
    assert_eq!(after_penalties(o.clone(), &[2, 2, 3]), [2.0, -2.0, -1.5, -1.5]);
    // The bias comes before the repetition penalty.
    let o = SamplerOptions { logit_bias: vec![(0, 4.0), (3, f32::NEG_INFINITY)], repetition_penalty: 2.0, ..o };
    assert_eq!(after_penalties(o, &[0]), [1.5, -2.0, 1.0, f32::NEG_INFINITY]);
}

#[test]
fn logits_that_are_no_numbers_are_refused() {
    let mut sampler = Sampler::new(SamplerOptions::default(), 3).unwrap();
    let mut refuse = |mut logits: [f32; 3]| {
        let error = sampler.sample(&mut logits, &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFinite);
        error.to_string()
    };
    assert_eq!(refuse([0.0, f32::NAN, 0.0]), "the logit of token 1 is NaN");
    assert_eq!(refuse([0.0, 0.0, f32::INFINITY]), "the logit of token 2 is inf");
    assert_eq!(refuse([f32::NEG_INFINITY; 3]), "every token is masked: all logits are -inf");
}

#[test]
fn options_and_arguments_are_checked() {
    let error = |o: SamplerOptions| Sampler::new(o, 10).unwrap_err().to_string();
    let d = SamplerOptions::default;
    assert_eq!(error(SamplerOptions { temperature: -1.0, ..d() }), "temperature is -1; it must be 0 or more");
    assert_eq!(error(SamplerOptions { temperature: f32::NAN, ..d() }), "temperature is NaN; it must be 0 or more");
    assert_eq!(error(SamplerOptions { top_p: 1.5, ..d() }), "top_p is 1.5; it must be from 0 to 1");
    assert_eq!(error(SamplerOptions { min_p: -0.1, ..d() }), "min_p is -0.1; it must be from 0 to 1");
    assert_eq!(error(SamplerOptions { repetition_penalty: 0.0, ..d() }), "repetition_penalty is 0; it must be above 0");
    assert_eq!(
        error(SamplerOptions { presence_penalty: f32::INFINITY, ..d() }),
        "presence_penalty is inf; it must be finite"
    );
    assert_eq!(
        error(SamplerOptions { logit_bias: vec![(10, 1.0)], ..d() }),
        "logit_bias: token 10 is outside the vocabulary of 10"
    );
    assert_eq!(
        error(SamplerOptions { logit_bias: vec![(1, f32::INFINITY)], ..d() }),
        "logit_bias: the bias of token 1 is inf; it must be finite or -inf"
    );
    let mut sampler = Sampler::new(SamplerOptions { presence_penalty: 1.0, ..d() }, 2).unwrap();
    assert_eq!(sampler.sample(&mut [0.0; 3], &[]).unwrap_err().kind, ErrorKind::InvalidArgument);
    assert_eq!(sampler.sample(&mut [0.0; 2], &[2]).unwrap_err().kind, ErrorKind::InvalidArgument);
}
