//! Times kernels at given shapes, the least and the median of many short runs, for comparing builds on a busy machine:
//! `case linear_q8:i4:32:1536x576:128 attention:9/3x64:1024:8 swiglu_q8:1536:128 …`. The name of a tier, `avx2`, has those after it run in that tier at most.

use std::time::Instant;

use tc_kernels::layout::Kind;
use tc_kernels::measure::{Case, Lines, Shape};
use tc_kernels::table::Tier;

fn main() {
    let weights = Lines::new(256 << 20);
    let mut most = Tier::ALL[Tier::ALL.len() - 1];
    for what in std::env::args().skip(1) {
        if let Some(tier) = Tier::from_name(&what) {
            most = tier;
            continue;
        }
        let (kernel, shape, tokens) = parse(&what).unwrap_or_else(|| panic!("{what}: not understood"));
        let mut case = Case::new(kernel, shape, tokens, &weights).unwrap_or_else(|| panic!("{what}: no such case"));
        let variant = case.variants().filter(|v| v.tier <= most).last().unwrap_or_else(|| panic!("{what}: no variant"));
        let brief = (1e-3 / case.seconds(variant, 1)).clamp(1.0, 1e4) as usize;
        // What comes from memory comes around no sooner than all weights have been read.
        let turns = if case.streams { brief.max(weights.len() / case.bytes as usize) } else { brief };
        let begin = Instant::now();
        let mut times = Vec::new();
        while begin.elapsed().as_secs_f64() < 0.5 || times.len() < 10 {
            times.push(case.seconds(variant, turns));
        }
        times.sort_by(f64::total_cmp);
        let (least, median) = (times[0], times[times.len() / 2]);
        let rate = case.operations as f64 / least / 1e9;
        println!(
            "{what:40} {:7} {:10.1} µs least {:10.1} µs median {rate:7.1} GOP/s",
            variant.tier.name(),
            least * 1e6,
            median * 1e6
        );
    }
}

fn parse(what: &str) -> Option<(&str, Shape, usize)> {
    let parts: Vec<&str> = what.split(':').collect();
    let number = |text: &str| text.parse().ok();
    Some(match parts[..] {
        [kernel, kind, group, shape, tokens] => {
            let (rows, cols) = shape.split_once('x')?;
            let (kind, group) = (Kind::from_name(kind)?, number(group)?);
            (kernel, Shape::Matrix { kind, group, rows: number(rows)?, cols: number(cols)? }, number(tokens)?)
        }
        [kernel, heads, context, tokens] => {
            let (heads, head_dim) = heads.split_once('x')?;
            let (heads, kv_heads) = heads.split_once('/')?;
            let heads = Shape::Heads {
                heads: number(heads)?,
                kv_heads: number(kv_heads)?,
                head_dim: number(head_dim)?,
                context: number(context)?,
            };
            (kernel, heads, number(tokens)?)
        }
        [kernel, dim, tokens] => (kernel, Shape::Row { dim: number(dim)? }, number(tokens)?),
        _ => return None,
    })
}
