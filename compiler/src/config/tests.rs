//! Configs as published models have them, and what must be refused.

use serde_json::{Value, json};

use super::meta::{self, Seen};
use super::{Family, ModelConfig, Rope, RopeScaling, Window, hf};

/// The keys that no config lacks, with others in their place or beside them.
fn config(model_type: &str, more: Value) -> Value {
    let mut config = json!({
        "architectures": [format!("{model_type}ForCausalLM")], "model_type": model_type, "hidden_size": 2048,
        "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 200000, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "torch_dtype": "bfloat16", "use_cache": true, "initializer_range": 0.02, "attention_dropout": 0.0,
        "transformers_version": "4.45.0",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

fn parsed(model_type: &str, more: Value) -> ModelConfig {
    hf::parse(&config(model_type, more)).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(model_type: &str, more: Value) -> String {
    hf::parse(&config(model_type, more.clone())).expect_err(&more.to_string())
}

#[test]
fn published_configs_are_understood() {
    let smollm2 = parsed(
        "llama",
        json!({"is_llama_config": true, "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
               "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "pretraining_tp": 1,
               "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}}),
    );
    assert_eq!((smollm2.head_dim, smollm2.tied, smollm2.rope.theta), (64, true, 100000.0));
    assert_eq!((smollm2.bos, &smollm2.stop_tokens[..]), (Some(1), &[2][..]));

    let llama3 = parsed("llama", json!({"eos_token_id": [128001, 128008, 128009], "head_dim": 64, "mlp_bias": false}));
    assert_eq!(llama3.stop_tokens, [128001, 128008, 128009]);

    let open_llama = config("llama", json!({"num_key_value_heads": null}));
    assert_eq!(hf::parse(&open_llama).unwrap().kv_heads, 32);

    let granite = parsed(
        "granite",
        json!({"attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "logits_scaling": 8.0,
               "residual_multiplier": 0.22, "attention_bias": false, "mlp_bias": false}),
    );
    assert_eq!((granite.attention_scale, granite.embedding_multiplier), (Some(0.015625), 12.0));
    assert_eq!((granite.logits_divisor, granite.residual_multiplier), (8.0, 0.22));

    let qwen3 = parsed("qwen3", json!({"head_dim": 128, "attention_bias": false, "sliding_window": null}));
    assert_eq!((qwen3.qk_norm, qwen3.qkv_bias, qwen3.head_dim), (true, false, 128));
    assert_eq!(parsed("qwen3", json!({})).head_dim, 128);
    let qwen2 = parsed("qwen2", json!({"use_mrope": false}));
    assert_eq!((qwen2.qkv_bias, qwen2.o_bias, qwen2.family), (true, false, Family::Qwen2));
    let biased = parsed("llama", json!({"attention_bias": true, "mlp_bias": true}));
    assert_eq!([biased.qkv_bias, biased.o_bias, biased.mlp_bias], [true; 3]);
}

#[test]
fn windows_are_where_the_architecture_has_them() {
    let all = |size| Some(Window { size, from_layer: 0 });
    assert_eq!(parsed("mistral", json!({"sliding_window": 1024})).window, all(1024));
    assert_eq!(parsed("mistral", json!({"sliding_window": null})).window, None);
    assert_eq!(parsed("mistral", json!({})).window, all(4096));
    let qwen = |more: Value| {
        let mut keys = json!({"sliding_window": 512, "max_window_layers": 4});
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parsed("qwen2", keys).window
    };
    assert_eq!(qwen(json!({"use_sliding_window": false})), None);
    assert_eq!(qwen(json!({"use_sliding_window": true})), Some(Window { size: 512, from_layer: 4 }));
    assert_eq!(qwen(json!({"use_sliding_window": true, "max_window_layers": 16})), None);
    let types: Vec<&str> =
        (0..16).map(|layer| if layer < 3 { "full_attention" } else { "sliding_attention" }).collect();
    assert_eq!(
        qwen(json!({"use_sliding_window": true, "layer_types": types})),
        Some(Window { size: 512, from_layer: 3 })
    );
    assert_eq!(qwen(json!({"use_sliding_window": false, "layer_types": vec!["full_attention"; 16]})), None);
    assert!(refused("llama", json!({"sliding_window": 4096})).contains("sliding_window"));
    assert!(refused("qwen2", json!({"use_sliding_window": false, "layer_types": types})).contains("layer_types"));
    let alternating = ["full_attention", "sliding_attention"].repeat(8);
    assert!(refused("qwen2", json!({"use_sliding_window": true, "layer_types": alternating})).contains("layer_types"));
}

#[test]
fn rope_is_understood_in_both_spellings() {
    let llama3 = json!({"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let old = parsed("llama", json!({"rope_theta": 500000.0, "rope_scaling": llama3}));
    let mut inner = llama3.clone();
    inner["rope_theta"] = json!(500000.0);
    let new = parsed("llama", json!({"rope_parameters": inner}));
    let scaling = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192 };
    assert_eq!((&old.rope, old.max_positions), (&Rope { theta: 500000.0, scaling }, 32768));
    assert_eq!(old.rope, new.rope);

    let linear =
        parsed("llama", json!({"rope_scaling": {"type": "linear", "factor": 4.0}, "max_sequence_length": 65536}));
    assert_eq!((linear.rope.scaling, linear.max_positions), (RopeScaling::Linear { factor: 4.0 }, 65536));
    let dynamic = parsed("llama", json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}));
    let expected = RopeScaling::Dynamic { factor: 2.0, original: 32768 };
    assert_eq!((dynamic.rope.scaling, dynamic.max_positions), (expected, 65536));
}

#[test]
fn yarn_resolves_its_magnitude_as_transformers_does() {
    let yarn = |more: Value| {
        let mut keys = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let parsed = parsed("qwen2", json!({"rope_scaling": keys}));
        assert_eq!(parsed.max_positions, 131072);
        match parsed.rope.scaling {
            RopeScaling::Yarn { beta_fast, beta_slow, magnitude, truncate, .. } => {
                (beta_fast, beta_slow, magnitude, truncate)
            }
            other => panic!("{other:?}"),
        }
    };
    let usual = 0.1 * 4f64.ln() + 1.0;
    assert_eq!(yarn(json!({})), (32.0, 1.0, usual, true));
    assert_eq!(yarn(json!({"attention_factor": 1.5, "truncate": false, "beta_fast": 16})), (16.0, 1.0, 1.5, false));
    assert_eq!(yarn(json!({"mscale": 1.0, "mscale_all_dim": 1.0})).2, 1.0);
    assert_eq!(yarn(json!({"mscale": 2.0, "mscale_all_dim": 0.0})).2, usual);
}

#[test]
fn what_changes_the_maths_is_refused_by_its_name() {
    for (more, name) in [
        (json!({"hidden_act": "gelu"}), "hidden_act"),
        (json!({"attention_logit_softcapping": 50.0}), "attention_logit_softcapping"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        (json!({"num_local_experts": 8}), "num_local_experts"),
        (json!({"rope_interleaved": true}), "rope_interleaved"),
        (json!({"rope_scaling": {"type": "longrope", "factor": 2.0}}), "longrope"),
        (json!({"rope_scaling": {"type": "linear"}}), "factor"),
        (json!({"rope_scaling": {"type": "linear", "factor": 2.0, "spin": 3}}), "spin"),
        (json!({"rope_scaling": {"type": "linear", "factor": -2.0}}), "factor"),
        (
            json!({"rope_scaling": {"rope_type": "default"}, "rope_parameters": {"rope_type": "default"}}),
            "rope_parameters",
        ),
        (json!({"architectures": ["LlamaForSequenceClassification"]}), "LlamaForSequenceClassification"),
        (json!({"model_type": "mamba"}), "mamba"),
        (json!({"model_type": null}), "model_type"),
        (json!({"hidden_size": null}), "hidden_size"),
        (json!({"hidden_size": "2048"}), "hidden_size"),
        (json!({"num_hidden_layers": 1e18}), "num_hidden_layers"),
        (json!({"num_hidden_layers": 100_000_000}), "layers"),
        (json!({"num_attention_heads": 0}), "heads"),
        (json!({"num_key_value_heads": 5}), "key/value heads"),
        (json!({"head_dim": 63}), "63"),
        (json!({"rms_norm_eps": 0.0}), "rms_norm_eps"),
        (json!({"eos_token_id": 200000}), "200000"),
        (json!({"eos_token_id": -1}), "eos_token_id"),
        (json!({"tie_word_embeddings": "yes"}), "tie_word_embeddings"),
    ] {
        let error = refused("llama", more);
        assert!(error.contains(name), "{name}: {error}");
    }
    assert!(hf::parse(&json!([])).is_err());
}

#[test]
fn params_json_agrees_with_its_tensors() {
    let llama3 = json!({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256,
                        "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-5, "rope_theta": 500000.0});
    let seen = Seen { vocab: 128256, ffn: 14336, tied: false };
    let model = meta::parse(&llama3, seen).unwrap();
    assert_eq!(
        (model.ffn, model.head_dim, model.max_positions, model.rope.scaling),
        (14336, 128, 8192, RopeScaling::None)
    );
    let error = meta::parse(&llama3, Seen { ffn: 14337, ..seen }).unwrap_err();
    assert!(error.contains("14336") && error.contains("14337"), "{error}");

    let mut scaled = llama3.clone();
    scaled["use_scaled_rope"] = json!(true);
    let expected = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192 };
    assert_eq!(meta::parse(&scaled, seen).unwrap().rope.scaling, expected);
    let mut unknown = llama3.clone();
    unknown["use_qk_norm"] = json!(true);
    assert!(meta::parse(&unknown, seen).unwrap_err().contains("use_qk_norm"));
    let mut lora = llama3;
    lora["lora_args"] = json!({"rank": 16, "scale": 2.0});
    assert!(meta::parse(&lora, seen).unwrap_err().contains("lora_args"));

    let llama2 =
        json!({"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-5, "vocab_size": -1});
    let model = meta::parse(&llama2, Seen { vocab: 32000, ffn: 11008, tied: false }).unwrap();
    assert_eq!((model.vocab, model.kv_heads, model.max_positions), (32000, 32, 4096));
    let gpt_fast = json!({"dim": 4096, "n_layer": 32, "n_head": 32, "n_local_heads": 8, "intermediate_size": 14336,
                          "vocab_size": 32000, "block_size": 2048, "rope_base": 1000000});
    let model = meta::parse(&gpt_fast, Seen { vocab: 32000, ffn: 14336, tied: false }).unwrap();
    assert_eq!((model.kv_heads, model.max_positions, model.rope.theta), (8, 2048, 1000000.0));
}
