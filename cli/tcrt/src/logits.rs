//! `tcrt logits`: the raw numbers, for comparing with other programs.

use std::io::{BufWriter, Write};

use tcrt::{BatchToken, Engine};

use crate::args::Logits;
use crate::open;
use crate::output::Result;

/// The best tokens shown where the user did not ask for all numbers.
const SHOWN: usize = 10;

pub fn logits(args: &Logits) -> Result<()> {
    let model = open::model(&args.file)?;
    let mut options = open::engine_options(&args.engine);
    options.max_rows = if args.all { options.chunk } else { 1 };
    let mut engine = Engine::new(model, &options)?;
    let sequence = engine.add_sequence()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut done = 0;
    for chunk in args.tokens.chunks(engine.chunk()) {
        let last = args.tokens.len() - 1;
        let wanted = |index: usize| args.all || done + index == last;
        let batch = chunk.iter().enumerate();
        let batch: Vec<_> = batch.map(|(i, &token)| BatchToken { sequence, token, want_logits: wanted(i) }).collect();
        let logits = engine.forward(&batch)?;
        let positions: Vec<_> = (0..chunk.len()).filter(|&index| wanted(index)).map(|index| done + index).collect();
        for (row, position) in positions.into_iter().enumerate() {
            print_row(&mut out, position, logits.row(row), args.json)?;
        }
        done += chunk.len();
    }
    Ok(out.flush()?)
}

/// With `--json` a line for each position, so that long outputs stream.
fn print_row(out: &mut impl Write, position: usize, row: &[f32], json: bool) -> Result<()> {
    if json {
        // A number that JSON cannot say (an infinity, a NaN) becomes null.
        return Ok(writeln!(out, "{}", serde_json::json!({ "position": position, "logits": row }))?);
    }
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    let best: Vec<_> = order.iter().take(SHOWN).map(|&id| format!("{id}:{:.4}", row[id])).collect();
    Ok(writeln!(out, "position {position}: {}", best.join(" "))?)
}
