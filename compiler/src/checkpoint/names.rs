//! What the tensors of each format are called, and their canonical names.

/// How one family of formats names its tensors.
#[derive(Debug)]
pub struct Naming {
    /// Before the number of a layer.
    layer: &'static str,
    /// Before everything, where present.
    prefixes: &'static [&'static str],
    /// Whole names outside the layers.
    outside: &'static [(&'static str, &'static str)],
    /// What follows the layer's number, without `.weight` or `.bias`.
    inside: &'static [(&'static str, &'static str)],
    /// Ends of names that can be computed from the config, or that inference has no use for.
    ignored: &'static [&'static str],
    /// Rope turns neighbouring rows of q and k.
    pub rope_pairs: bool,
}

pub const HUGGING_FACE: Naming = Naming {
    layer: "model.layers.",
    prefixes: &[],
    outside: &[("model.embed_tokens.weight", "embed"), ("model.norm.weight", "norm"), ("lm_head.weight", "head")],
    inside: &[
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "q"),
        ("self_attn.k_proj", "k"),
        ("self_attn.v_proj", "v"),
        ("self_attn.o_proj", "o"),
        ("self_attn.q_norm", "q_norm"),
        ("self_attn.k_norm", "k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "gate"),
        ("mlp.up_proj", "up"),
        ("mlp.down_proj", "down"),
    ],
    ignored: &["rotary_emb.inv_freq"],
    rope_pairs: false,
};

/// Meta's names, which gpt-fast, torchchat and llama2.c's training kept, and torchtune's.
pub const META: Naming = Naming {
    layer: "layers.",
    prefixes: &["_orig_mod.", "module.", "model."],
    outside: &[
        ("tok_embeddings.weight", "embed"),
        ("norm.weight", "norm"),
        ("norm.scale", "norm"),
        ("output.weight", "head"),
    ],
    inside: &[
        ("attention_norm", "attn_norm"),
        ("attention.wqkv", "qkv"),
        ("attention.wq", "q"),
        ("attention.wk", "k"),
        ("attention.wv", "v"),
        ("attention.wo", "o"),
        ("ffn_norm", "ffn_norm"),
        ("feed_forward.w1", "gate"),
        ("feed_forward.w3", "up"),
        ("feed_forward.w2", "down"),
        ("sa_norm", "attn_norm"),
        ("attn.q_proj", "q"),
        ("attn.k_proj", "k"),
        ("attn.v_proj", "v"),
        ("attn.output_proj", "o"),
        ("mlp_norm", "ffn_norm"),
        ("mlp.w1", "gate"),
        ("mlp.w3", "up"),
        ("mlp.w2", "down"),
    ],
    ignored: &["rope.freqs", "freqs_cis", "freqs_cos", "freqs_sin", "causal_mask", "attention.mask"],
    rope_pairs: true,
};

/// llama.cpp's; whether q and k are in pairs depends on the architecture.
pub const GGUF: Naming = Naming {
    layer: "blk.",
    prefixes: &[],
    outside: &[("token_embd.weight", "embed"), ("output_norm.weight", "norm"), ("output.weight", "head")],
    inside: &[
        ("attn_norm", "attn_norm"),
        ("attn_q", "q"),
        ("attn_k", "k"),
        ("attn_v", "v"),
        ("attn_output", "o"),
        ("attn_q_norm", "q_norm"),
        ("attn_k_norm", "k_norm"),
        ("ffn_norm", "ffn_norm"),
        ("ffn_gate", "gate"),
        ("ffn_up", "up"),
        ("ffn_down", "down"),
    ],
    // `rope_freqs` is read with the config.
    ignored: &["rope_freqs.weight", "attn_rot_embd.weight"],
    rope_pairs: true,
};

/// What a tensor's name says.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    Canonical(String),
    Ignored,
    Unknown,
}

impl Naming {
    pub fn meaning(&self, name: &str) -> Meaning {
        let mut name = name;
        while let Some(rest) = self.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            name = rest;
        }
        if self.ignored.iter().any(|end| name.ends_with(end)) {
            return Meaning::Ignored;
        }
        let outside = self.outside.iter().find(|(own, _)| *own == name);
        match outside.map(|(_, canonical)| canonical.to_string()).or_else(|| self.inside(name)) {
            Some(canonical) => Meaning::Canonical(canonical),
            None => Meaning::Unknown,
        }
    }

    fn inside(&self, name: &str) -> Option<String> {
        let (number, rest) = name.strip_prefix(self.layer)?.split_once('.')?;
        // "007" would be a second spelling of a layer.
        let layer: usize = number.parse().ok().filter(|layer: &usize| layer.to_string() == number)?;
        let (own, kind) = rest.rsplit_once('.')?;
        let (_, canonical) = self.inside.iter().find(|(leaf, _)| *leaf == own)?;
        match kind {
            "weight" => Some(format!("layers.{layer}.{canonical}")),
            "scale" if canonical.ends_with("norm") => Some(format!("layers.{layer}.{canonical}")),
            "bias" => Some(format!("layers.{layer}.{canonical}.bias")),
            _ => None,
        }
    }
}
