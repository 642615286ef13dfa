//! `tcrt bench --kernels`: each kernel alone on one thread, in every variant that the CPU can run, against the machine's limits.

use tc_kernels::layout::Kind;
use tc_kernels::measure::{Case, Lines, Shape, Unit, peak};
use tc_kernels::table::{Features, Tier, Variant};

use super::bandwidth::Reader;
use super::samples::Samples;
use super::shapes::{self, Job};
use crate::args::Bench;
use crate::open;
use crate::output::{Result, failure, show};

/// Weights that runs go through, so that they come from memory.
const WEIGHTS: usize = 256 << 20;
const TOKENS: [usize; 3] = [1, 8, 128];
/// Seconds of one sample.
const SAMPLE: f64 = 2e-3;
/// How much slower than another variant the one that is picked may be.
const TOLERANCE: f64 = 1.05;
/// Measurements before a pick counts as slow.
const TRIALS: usize = 4;
/// Operations above which the reference is not timed: it would take seconds.
const REFERENCE: u64 = 20_000_000;

/// What one thread of this machine can do.
struct Limits {
    memory: f64,
    float: Option<f64>,
    bf16: Option<f64>,
    byte: Option<f64>,
}

/// A variant's seconds.
type Timed = (&'static Variant, f64);

pub fn kernels(args: &Bench) -> Result<()> {
    let jobs = match &args.file {
        None => shapes::usual(),
        Some(file) => match shapes::of_model(&*open::model(file)?) {
            Some(jobs) => jobs,
            None => {
                return failure(format!("{}: a native artifact does not say its shapes: give a .pte", file.display()));
            }
        },
    };
    let limits = Limits {
        memory: Reader::new(Some(1)).samples(args.repeat).median(),
        float: peak::operations_per_second(Unit::Float),
        bf16: peak::operations_per_second(Unit::Bf16),
        byte: peak::operations_per_second(Unit::Byte),
    };
    show(heading(&limits))?;
    let weights = Lines::new(WEIGHTS);
    let mut slow = 0;
    for (job, tokens) in jobs.iter().flat_map(|job| TOKENS.map(|tokens| (job, tokens))) {
        slow += usize::from(!measure(args, &limits, job, tokens, &weights)?);
    }
    match slow {
        0 => Ok(()),
        _ if !args.check => Ok(()),
        _ => failure(format!("{slow} picks are more than 5 % slower than another variant")),
    }
}

fn heading(limits: &Limits) -> String {
    let rate = |rate: Option<f64>| rate.map_or("unknown".into(), |rate| format!("{:.0} GOP/s", rate / 1e9));
    let mut text = format!(
        "CPU features: {}\none thread: reads {:.1} GB/s, multiplies and adds f32 at {}, f32 by bf16 at {}, bytes at {}\n",
        Features::detect(),
        limits.memory / 1e9,
        rate(limits.float),
        rate(limits.bf16),
        rate(limits.byte)
    );
    for tier in Tier::ALL.iter().rev() {
        let has = if Features::detect().has(tier.needs()) { "runs" } else { "does not run" };
        text += &format!("{:8} {has}: it needs {}\n", tier.name(), tier.needs());
    }
    text += "picked is the first of these that runs and that the kernel has\n\n";
    text + &format!(
        "{:12}{:26}{:>7}{:>12}{:>8}{:>8}{:>9}  {:8} {}\n",
        "kernel", "shape", "tokens", "µs", "GB/s", "GOP/s", "of limit", "picked", "others' time"
    )
}

/// Measures and prints one line; false where the pick is slow.
fn measure(args: &Bench, limits: &Limits, (name, shape): &Job, tokens: usize, weights: &Lines) -> Result<bool> {
    let Some(mut case) = Case::new(name, *shape, tokens, weights) else { return Ok(true) };
    let (mut times, mut fast) = (Vec::new(), false);
    for _ in 0..TRIALS {
        times = time(&mut case, args.repeat);
        fast = is_fastest(&times);
        if fast {
            break;
        }
    }
    if let Some((picked, others)) = times.split_last() {
        show(line(&case, limits, picked, others, fast))?;
    }
    Ok(fast)
}

fn is_fastest(times: &[Timed]) -> bool {
    let best = times.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
    times.last().is_none_or(|(_, picked)| *picked <= best * TOLERANCE)
}

/// The medians of all variants, which take turns; the last one is what is picked.
fn time(case: &mut Case, repeat: usize) -> Vec<Timed> {
    let slow = case.operations > REFERENCE;
    let all: Vec<_> = case.variants().collect();
    let only = all.len() == 1;
    let variants: Vec<_> = all.into_iter().filter(|v| only || !slow || v.tier != Tier::Scalar).collect();
    let turns: Vec<usize> = variants.iter().map(|v| (SAMPLE / case.seconds(v, 1)) as usize + 1).collect();
    let mut samples = vec![Vec::new(); variants.len()];
    for _ in 0..repeat.max(5) {
        for (i, variant) in variants.iter().enumerate() {
            samples[i].push(case.seconds(variant, turns[i]));
        }
    }
    variants.into_iter().zip(samples.into_iter().map(|samples| Samples::new(samples).median())).collect()
}

fn line(case: &Case, limits: &Limits, (picked, seconds): &Timed, others: &[Timed], fast: bool) -> String {
    let (bytes, operations) = (case.bytes as f64 / seconds, case.operations as f64 / seconds);
    let peak = match case.unit {
        Unit::Float => limits.float,
        Unit::Bf16 => limits.bf16,
        Unit::Byte => limits.byte,
    };
    let memory = if case.streams { bytes / limits.memory } else { 0.0 };
    let limit = peak.map_or(0.0, |peak| operations / peak).max(memory);
    let others: Vec<_> =
        others.iter().rev().map(|(v, other)| format!("{} {:.2}", v.tier.name(), other / seconds)).collect();
    format!(
        "{:12}{:26}{:>7}{:>12.1}{:>8.1}{:>8.1}{:>8.0} %  {:8} {}{}\n",
        case.kernel.name,
        text(&case.shape),
        case.tokens,
        seconds * 1e6,
        bytes / 1e9,
        operations / 1e9,
        100.0 * limit,
        picked.tier.name(),
        if others.is_empty() { "–".into() } else { others.join("  ") },
        if fast { "" } else { "  SLOW" },
    )
}

fn text(shape: &Shape) -> String {
    match *shape {
        Shape::Matrix { kind, group, rows, cols } => {
            let group = if kind.is_quantized() { format!(" g{group}") } else { String::new() };
            format!("{}{group} {rows} × {cols}", Kind::name(kind))
        }
        Shape::Row { dim } => dim.to_string(),
        Shape::Heads { heads, kv_heads, head_dim, context } => format!("{heads}/{kv_heads} of {head_dim} at {context}"),
    }
}
