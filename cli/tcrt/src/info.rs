//! `tcrt info`: what a file holds, and what a session over it will use.

use tcrt::{MemoryPlan, ModelInfo, memory_plan};

use crate::args::Info;
use crate::open;
use crate::output::{Result, show};

pub fn info(args: &Info) -> Result<()> {
    let model = open::model(&args.file)?;
    let plan = memory_plan(&model, &open::engine_options(&args.engine))?;
    let tokenizer = model.tokenizer()?.map(|tokenizer| tokenizer.vocab_size());
    let chat = model.chat_format()?.is_some();
    if args.json {
        return show(format!("{}\n", json(model.info(), &plan, model.stop_tokens(), tokenizer, chat)));
    }
    show(text(model.info(), &plan, model.stop_tokens(), tokenizer, chat))
}

fn json(info: &ModelInfo, plan: &MemoryPlan, stops: &[u32], tokenizer: Option<usize>, chat: bool) -> serde_json::Value {
    let metadata: serde_json::Map<_, _> =
        info.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    serde_json::json!({
        "metadata": metadata,
        "vocab": info.vocab,
        "max_positions": info.max_positions,
        "layers": info.cache.layers,
        "kv_heads": info.cache.kv_heads,
        "head_dim": info.cache.head_dim,
        "instructions": info.instructions,
        "kernels": info.kernels,
        "weights": info.weights,
        "weight_bytes": info.weight_bytes,
        "file_bytes": info.file_bytes,
        "stop_tokens": stops,
        "tokenizer_vocab": tokenizer,
        "chat_format": chat,
        "load_ms": info.load_time.as_secs_f64() * 1e3,
        "session": {
            "context": plan.context,
            "chunk": plan.chunk,
            "arena_bytes": plan.arena_bytes,
            "kv_block_bytes": plan.kv_block_bytes,
            "kv_max_bytes": plan.kv_max_bytes,
            "call_bytes": plan.call_bytes,
            "max_bytes": plan.max_bytes(),
        },
    })
}

fn text(info: &ModelInfo, plan: &MemoryPlan, stops: &[u32], tokenizer: Option<usize>, chat: bool) -> String {
    let mut lines: Vec<(String, String)> = info.metadata.clone();
    let mut line = |name: &str, value: String| lines.push((name.into(), value));
    line("vocabulary", info.vocab.to_string());
    line("positions", info.max_positions.to_string());
    line("cache", format!("{} layers, {} KV heads of {}", info.cache.layers, info.cache.kv_heads, info.cache.head_dim));
    line("program", format!("{} instructions, kernels {}", info.instructions, info.kernels.join(" ")));
    line("weights", format!("{} in {}", bytes(info.weight_bytes), info.weights));
    line("tokenizer", tokenizer.map_or_else(|| "none".into(), |size| format!("{size} tokens")));
    line("chat format", if chat { "yes" } else { "none" }.into());
    line("stop tokens", stops.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    line("file", bytes(info.file_bytes));
    line("session", format!("context {}, chunk {}", plan.context, plan.chunk));
    line("  activations", bytes(plan.arena_bytes));
    line("  KV cache", format!("{} a block of 64, at most {}", bytes(plan.kv_block_bytes), bytes(plan.kv_max_bytes)));
    line("  call", bytes(plan.call_bytes));
    line("  at most, with weights", bytes(plan.max_bytes()));
    lines.iter().map(|(name, value)| format!("{name:<24}{value}\n")).collect()
}

/// `12.3 MB (12345678 bytes)`: for reading, and to the byte.
fn bytes(count: u64) -> String {
    let scaled = match count {
        0..1_000 => return format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    };
    format!("{scaled} ({count} bytes)")
}
