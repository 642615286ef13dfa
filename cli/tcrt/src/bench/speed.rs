//! Prefill, decode, loading and memory, as medians with their spread.

use std::path::Path;
use std::time::Instant;

use tcrt::program::{Operand, Program};
use tcrt::sampling::{Sampler, SamplerOptions};
use tcrt::{BatchToken, Engine, Model, SeqId};

use super::bandwidth::Reader;
use super::samples::Samples;
use crate::args::Bench;
use crate::open;
use crate::output::{Result, show};

struct Figures {
    prefill_tps: Samples,
    /// Of all sequences together.
    decode_tps: Samples,
    memory: Option<Memory>,
    load_ms: f64,
    ttft_ms: f64,
    weight_bytes: u64,
    peak_rss_bytes: u64,
}

/// Decoding against what the memory gives.
struct Memory {
    read_bandwidth: Samples,
    /// Bytes that a step of decoding must read, and what share of the bandwidth these are; none where the artifact does not say.
    step: Option<(u64, Samples)>,
}

pub fn speed(args: &Bench, file: &Path) -> Result<()> {
    let figures = measure(args, file)?;
    if args.json { print_json(args, file, &figures) } else { print_table(args, &figures) }
}

fn measure(args: &Bench, file: &Path) -> Result<Figures> {
    let begin = Instant::now();
    let model = open::model(file)?;
    let mut options = open::engine_options(&args.engine);
    if options.context == 0 {
        options.context = args.depth + args.prompt.max(args.decode);
    }
    options.max_sequences = options.max_sequences.max(args.batch);
    options.max_rows = options.max_rows.max(args.batch);
    options.tier = args.isa.map(|isa| isa.0);
    let (vocab, weight_bytes, weights_read) = (model.info().vocab, model.info().weight_bytes, weights_read(&model));
    let mut engine = Engine::new(model, &options)?;
    let sequences = (0..args.batch).map(|_| engine.add_sequence()).collect::<tcrt::Result<_>>()?;
    let load_ms = milliseconds(begin);
    let mut runner = Runner { engine, sequences, sampler: Sampler::new(SamplerOptions::greedy(), vocab)?, vocab };
    runner.prepare(args.depth)?;
    runner.feed(args.prompt)?;
    let ttft_ms = milliseconds(begin);
    runner.timed_decode(args)?;
    // The buffer that bandwidth is measured with is none of the model's memory.
    let peak_rss_bytes = tcrt::sys::peak_rss_bytes().unwrap_or(0);
    let reader = args.bandwidth.then(|| Reader::new(args.engine.threads));
    let (mut prefill, mut decode, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.repeat {
        prefill.push(args.prompt as f64 / runner.timed_prefill(args)?);
        decode.push((args.decode * args.batch) as f64 / runner.timed_decode(args)?);
        rates.extend(reader.as_ref().map(Reader::rate));
    }
    let memory = reader.map(|_| {
        let bytes = weights_read.map(|weights| weights + args.batch as u64 * runner.cache_read(args));
        let share = |bytes: u64| {
            decode.iter().zip(&rates).map(move |(tps, rate)| tps / args.batch as f64 * bytes as f64 / rate)
        };
        let step = bytes.map(|bytes| (bytes, Samples::new(share(bytes).collect())));
        Memory { read_bandwidth: Samples::new(rates.clone()), step }
    });
    Ok(Figures {
        prefill_tps: Samples::new(prefill),
        decode_tps: Samples::new(decode),
        memory,
        load_ms,
        ttft_ms,
        weight_bytes,
        peak_rss_bytes,
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Bytes of weights that every call reads: all but what is only looked up row by row.
fn weights_read(model: &Model) -> Option<u64> {
    let program = model.program()?;
    let read = |i: usize| reads(program, i);
    Some(program.weights.iter().enumerate().filter(|(i, _)| read(*i)).map(|(_, weight)| weight.size).sum())
}

fn reads(program: &Program, weight: usize) -> bool {
    let mut others = program.instructions.iter().filter(|i| program.kernels[usize::from(i.kernel)] != "embed");
    others.any(|instruction| instruction.operands.contains(&Operand::Weight(weight as u32)))
}

struct Runner {
    engine: Engine,
    sequences: Vec<SeqId>,
    sampler: Sampler,
    vocab: usize,
}

impl Runner {
    /// Token ids spread over the vocabulary; what they mean does not change the work.
    fn token(&self, index: usize) -> u32 {
        ((index * 7919 + 13) % self.vocab) as u32
    }

    /// The context that stands before everything.
    fn prepare(&mut self, depth: usize) -> Result<()> {
        for i in 0..if depth == 0 { 0 } else { self.sequences.len() } {
            self.feed_to(self.sequences[i], depth)?;
        }
        Ok(())
    }

    fn feed(&mut self, count: usize) -> Result<()> {
        self.feed_to(self.sequences[0], count)
    }

    fn feed_to(&mut self, sequence: SeqId, count: usize) -> Result<()> {
        let mut done = 0;
        while done < count {
            let step = self.engine.chunk().min(count - done);
            let batch: Vec<_> = (done..done + step)
                .map(|i| BatchToken { sequence, token: self.token(i), want_logits: i + 1 == count })
                .collect();
            self.engine.forward(&batch)?;
            done += step;
        }
        Ok(())
    }

    fn truncate(&mut self, depth: usize) -> Result<()> {
        for i in 0..self.sequences.len() {
            self.engine.truncate(self.sequences[i], depth.min(self.engine.len(self.sequences[i])?))?;
        }
        Ok(())
    }

    fn timed_prefill(&mut self, args: &Bench) -> Result<f64> {
        self.truncate(args.depth)?;
        let begin = Instant::now();
        self.feed(args.prompt)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Greedy choice included, as in real decoding; the chosen tokens are not fed, so that every run does the same.
    fn timed_decode(&mut self, args: &Bench) -> Result<f64> {
        self.truncate(args.depth)?;
        let begin = Instant::now();
        for index in 0..args.decode {
            let token = self.token(index);
            let batch: Vec<_> =
                self.sequences.iter().map(|s| BatchToken { sequence: *s, token, want_logits: true }).collect();
            let mut logits = self.engine.forward(&batch)?;
            for row in 0..batch.len() {
                self.sampler.sample(logits.row_mut(row), &[])?;
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Bytes of the cache that a sequence's step reads, on average.
    fn cache_read(&self, args: &Bench) -> u64 {
        let position = self.engine.plan().kv_block_bytes / 64;
        position * (args.depth as u64 + (args.decode as u64).div_ceil(2))
    }
}

fn print_json(args: &Bench, file: &Path, figures: &Figures) -> Result<()> {
    let mut json = serde_json::json!({
        "file": file.display().to_string(),
        "prompt": args.prompt,
        "decode": args.decode,
        "depth": args.depth,
        "batch": args.batch,
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
    if let Some(memory) = &figures.memory {
        json["read_bandwidth"] = memory.read_bandwidth.median().into();
        json["read_bandwidth_spread"] = memory.read_bandwidth.spread().to_vec().into();
        if let Some((bytes, share)) = &memory.step {
            json["decode_bytes"] = (*bytes).into();
            json["decode_share"] = share.median().into();
            json["decode_share_spread"] = share.spread().to_vec().into();
        }
    }
    show(format!("{json}\n"))
}

fn print_table(args: &Bench, figures: &Figures) -> Result<()> {
    let line = |name: String, unit: &str, samples: &Samples, scale: f64, digits: usize| {
        let [least, most] = samples.spread().map(|value| value / scale);
        let median = samples.median() / scale;
        format!("{name:<22}{median:>10.digits$} {unit:<9}  [{least:.digits$} – {most:.digits$}]\n")
    };
    let decode = if args.batch > 1 {
        format!("decode {} × {}", args.decode, args.batch)
    } else {
        format!("decode {}", args.decode)
    };
    let mut text = line(format!("prefill {}", args.prompt), "tokens/s", &figures.prefill_tps, 1.0, 1);
    text += &line(decode, "tokens/s", &figures.decode_tps, 1.0, 1);
    if let Some(memory) = &figures.memory {
        text += &line("read bandwidth".into(), "GB/s", &memory.read_bandwidth, 1e9, 1);
        if let Some((bytes, share)) = &memory.step {
            text += &line(format!("decode: {:.1} MB", *bytes as f64 / 1e6), "of it", share, 1.0, 2);
        }
    }
    for (name, value, unit) in [
        ("load", figures.load_ms, "ms"),
        ("first token", figures.ttft_ms, "ms"),
        ("weights", figures.weight_bytes as f64 / 1e6, "MB"),
        ("peak memory", figures.peak_rss_bytes as f64 / 1e6, "MB"),
    ] {
        text += &format!("{name:<22}{value:>10.2} {unit}\n");
    }
    show(text)
}
