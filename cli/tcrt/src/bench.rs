//! `tcrt bench`: prefill, decode, loading and memory, as medians with their spread.

use std::time::Instant;

use tcrt::{BatchToken, Engine, SeqId};

use crate::args::Bench;
use crate::open;
use crate::output::{Result, failure, show};

/// The same measurement, repeated.
struct Samples(Vec<f64>);

impl Samples {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self) -> f64 {
        let values = self.sorted();
        let middle = values.len() / 2;
        if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
    }

    fn spread(&self) -> [f64; 2] {
        let values = self.sorted();
        [values[0], values[values.len() - 1]]
    }
}

struct Figures {
    prefill_tps: Samples,
    decode_tps: Samples,
    load_ms: f64,
    ttft_ms: f64,
    weight_bytes: u64,
    peak_rss_bytes: u64,
}

pub fn bench(args: &Bench) -> Result<()> {
    if args.prompt == 0 || args.decode == 0 || args.repeat == 0 {
        return failure("-p, -n and -r must be at least 1");
    }
    let figures = measure(args)?;
    if args.json { print_json(args, &figures) } else { print_table(args, &figures) }
}

fn measure(args: &Bench) -> Result<Figures> {
    let begin = Instant::now();
    let model = open::model(&args.file)?;
    let mut options = open::engine_options(&args.engine);
    if options.context == 0 {
        options.context = args.depth + args.prompt.max(args.decode);
    }
    let vocab = model.info().vocab;
    let weight_bytes = model.info().weight_bytes;
    let mut engine = Engine::new(model, &options)?;
    let sequence = engine.add_sequence()?;
    let load_ms = milliseconds(begin);
    let mut runner = Runner { engine, sequence, vocab };
    runner.feed(args.depth)?;
    runner.feed(args.prompt)?;
    let ttft_ms = milliseconds(begin);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..args.repeat {
        prefill.push(args.prompt as f64 / runner.timed_prefill(args)?);
        decode.push(args.decode as f64 / runner.timed_decode(args)?);
    }
    let peak_rss_bytes = tcrt::sys::peak_rss_bytes().unwrap_or(0);
    Ok(Figures {
        prefill_tps: Samples(prefill),
        decode_tps: Samples(decode),
        load_ms,
        ttft_ms,
        weight_bytes,
        peak_rss_bytes,
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

struct Runner {
    engine: Engine,
    sequence: SeqId,
    vocab: usize,
}

impl Runner {
    /// Token ids spread over the vocabulary; what they mean does not change the work.
    fn token(&self, index: usize) -> u32 {
        ((index * 7919 + 13) % self.vocab) as u32
    }

    fn feed(&mut self, count: usize) -> Result<()> {
        let mut done = 0;
        while done < count {
            let step = self.engine.chunk().min(count - done);
            let batch: Vec<_> = (done..done + step)
                .map(|i| BatchToken { sequence: self.sequence, token: self.token(i), want_logits: i + 1 == count })
                .collect();
            self.engine.forward(&batch)?;
            done += step;
        }
        Ok(())
    }

    fn timed_prefill(&mut self, args: &Bench) -> Result<f64> {
        self.engine.truncate(self.sequence, args.depth)?;
        let begin = Instant::now();
        self.feed(args.prompt)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Greedy choice included, as in real decoding; the chosen token is not fed, so that every run does the same.
    fn timed_decode(&mut self, args: &Bench) -> Result<f64> {
        self.engine.truncate(self.sequence, args.depth)?;
        let begin = Instant::now();
        for index in 0..args.decode {
            let batch = [BatchToken { sequence: self.sequence, token: self.token(index), want_logits: true }];
            let logits = self.engine.forward(&batch)?;
            let best = logits.row(0).iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if !best.is_finite() {
                return failure("the logits are not finite");
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}

fn print_json(args: &Bench, figures: &Figures) -> Result<()> {
    let json = serde_json::json!({
        "file": args.file.display().to_string(),
        "prompt": args.prompt,
        "decode": args.decode,
        "depth": args.depth,
        "repeat": args.repeat,
        "prefill_tps": figures.prefill_tps.median(),
        "prefill_tps_spread": figures.prefill_tps.spread(),
        "decode_tps": figures.decode_tps.median(),
        "decode_tps_spread": figures.decode_tps.spread(),
        "load_ms": figures.load_ms,
        "ttft_ms": figures.ttft_ms,
        "weight_bytes": figures.weight_bytes,
        "peak_rss_bytes": figures.peak_rss_bytes,
    });
    show(format!("{json}\n"))
}

fn print_table(args: &Bench, figures: &Figures) -> Result<()> {
    let line = |name: String, samples: &Samples| {
        let [least, most] = samples.spread();
        format!("{name:<22}{:>10.1} tokens/s   [{least:.1} – {most:.1}]\n", samples.median())
    };
    show(format!(
        "{}{}{:<22}{:>10.2} ms\n{:<22}{:>10.2} ms\n{:<22}{:>10.1} MB\n{:<22}{:>10.1} MB\n",
        line(format!("prefill {}", args.prompt), &figures.prefill_tps),
        line(format!("decode {}", args.decode), &figures.decode_tps),
        "load",
        figures.load_ms,
        "first token",
        figures.ttft_ms,
        "weights",
        figures.weight_bytes as f64 / 1e6,
        "peak memory",
        figures.peak_rss_bytes as f64 / 1e6,
    ))
}
