#!/usr/bin/env python3
"""Writes tests/goldens/*.safetensors: the logits `transformers` computes in f32 for every architecture, on tiny synthetic checkpoints.

    pip install torch transformers safetensors numpy
    make_goldens.py [NAME ...]

The weights are not stored: both sides derive them (tests/synthetic.py). A golden's one metadata entry, "golden", is JSON with the
checkpoint's config.json, the seed, and the names and shapes of its tensors. For each sequence S it holds S.tokens (I32), S.rows (I32,
the positions whose logits are kept) and S.logits (F32, rows by vocabulary).
"""
import json, os, sys, tempfile
import numpy as np, torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import synthetic


def config(model_type, dim, layers, heads, kv, ffn, vocab, **more):
    """config.json in the spelling most published checkpoints carry; None removes a key."""
    name = {"llama": "Llama", "mistral": "Mistral", "granite": "Granite", "qwen2": "Qwen2", "qwen3": "Qwen3"}[model_type]
    out = dict(architectures=[name + "ForCausalLM"], model_type=model_type, hidden_size=dim, num_hidden_layers=layers,
               num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=ffn, vocab_size=vocab, max_position_embeddings=128,
               rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
               torch_dtype="float32") | more
    return {k: v for k, v in out.items() if v is not None}


def llama3_scaling(factor):
    return dict(factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64, rope_type="llama3")


# Two have an eps large enough to show in the logits.
GOLDENS = {
    "llama2": config("llama", 64, 2, 4, 4, 172, 160, pretraining_tp=1),
    "llama3": config("llama", 64, 2, 8, 2, 112, 192, rope_theta=500000.0, attention_bias=False, mlp_bias=False),
    "llama3.1": config("llama", 64, 2, 4, 2, 96, 176, rope_theta=500000.0, rope_scaling=llama3_scaling(8.0), attention_bias=False,
                       mlp_bias=False, eos_token_id=[2, 3, 4]),
    "llama3.2": config("llama", 48, 2, 6, 2, 128, 192, rope_theta=500000.0, rope_scaling=llama3_scaling(32.0), head_dim=16,
                       tie_word_embeddings=True),
    "codellama": config("llama", 64, 2, 4, 4, 172, 144, rope_theta=1000000.0),
    "openllama": config("llama", 80, 2, 5, 5, 212, 128, rms_norm_eps=1e-6, num_key_value_heads=None),
    "tinyllama": config("llama", 64, 3, 8, 1, 176, 128),
    "stories": config("llama", 64, 2, 8, 4, 172, 128, tie_word_embeddings=True),
    "smollm2": config("llama", 72, 3, 9, 3, 192, 160, rope_theta=100000.0, tie_word_embeddings=True),
    "deepseek-r1-distill-llama": config("llama", 64, 2, 8, 2, 112, 160, rope_theta=500000.0, rope_scaling=llama3_scaling(8.0)),
    "llama-biases": config("llama", 48, 2, 6, 2, 100, 128, rms_norm_eps=0.02, attention_bias=True, mlp_bias=True),
    "mistral": config("mistral", 64, 2, 4, 2, 136, 160, sliding_window=8),
    "mistral-nemo": config("mistral", 80, 2, 4, 2, 136, 128, sliding_window=None, head_dim=24, rope_theta=1000000.0),
    "granite3": config("granite", 64, 2, 4, 2, 172, 160, tie_word_embeddings=True, embedding_multiplier=12.0, attention_multiplier=0.0625,
                       residual_multiplier=0.22, logits_scaling=8.0, attention_bias=False, mlp_bias=False),
    "qwen2": config("qwen2", 56, 2, 7, 1, 152, 160, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
                    use_sliding_window=False, sliding_window=64, max_window_layers=2),
    "qwen2-window": config("qwen2", 48, 3, 4, 2, 100, 128, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    "qwen2.5": config("qwen2", 64, 2, 4, 2, 172, 176, rms_norm_eps=1e-6, rope_theta=1000000.0, use_sliding_window=False,
                      sliding_window=64, max_window_layers=2),
    "qwen3": config("qwen3", 64, 2, 4, 2, 96, 160, rms_norm_eps=0.01, rope_theta=1000000.0, head_dim=24, tie_word_embeddings=True,
                    attention_bias=False, use_sliding_window=False, sliding_window=None, max_window_layers=2),
    "rope-linear": config("llama", 64, 2, 4, 2, 96, 128, max_position_embeddings=64, rope_scaling=dict(type="linear", factor=4.0)),
    "rope-dynamic": config("llama", 64, 2, 4, 2, 96, 128, max_position_embeddings=16, rope_scaling=dict(type="dynamic", factor=2.0)),
    "rope-yarn": config("llama", 64, 2, 2, 1, 96, 128, rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)),
    "rope-yarn-tuned": config("qwen3", 64, 2, 4, 2, 96, 128, head_dim=32, rope_scaling=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=4.0, beta_slow=0.5, attention_factor=1.25, truncate=False)),
    # The spelling of transformers 5: rope's parameters together, dtype for torch_dtype.
    "config-v5": config("llama", 48, 2, 4, 2, 100, 128, rope_theta=None, torch_dtype=None, dtype="float32",
                        rope_parameters=llama3_scaling(8.0) | dict(rope_theta=500000.0)),
}
# Sequences that go beyond a window or beyond the context before scaling.
LONG = {"mistral": 40, "qwen2-window": 40, "llama3.1": 96, "llama3.2": 96, "deepseek-r1-distill-llama": 80, "rope-linear": 56,
        "rope-dynamic": 32, "rope-yarn": 96, "rope-yarn-tuned": 80, "config-v5": 80}


def build(settings, seed, dtype=torch.float32):
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(settings, f)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(d), attn_implementation="eager", dtype=dtype)
    shapes = {n: list(p.shape) for n, p in model.named_parameters()}
    missing = model.load_state_dict({n: torch.from_numpy(synthetic.tensor(n, s, seed)) for n, s in shapes.items()}, strict=False)
    assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys, missing
    model.tie_weights()
    return model.eval(), shapes


@torch.no_grad()
def prefill(model, ids):
    return model(torch.tensor([ids])).logits[0].float().numpy()


@torch.no_grad()
def decode(model, ids):
    """One token at a time with a cache."""
    cache, rows = None, []
    for token in ids:
        out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0, -1].float().numpy())
    return np.stack(rows)


def logits_of(name, settings, seed, ids):
    """Prefill's logits, after checking that decoding gives the same. Dynamic NTK is the exception: transformers gives a prefill's every
    position the base of the prefill's last, so a token's result would depend on how the prompt was cut. Decoding gives position p the base
    for length p + 1 whatever came with it; that is the meaning held here."""
    model, _ = build(settings, seed)
    steps = decode(model, ids)
    if name == "rope-dynamic":
        return steps
    full = prefill(model, ids)
    # transformers computes rope's angles in f32 even here, so this measures the noise of the rest.
    exact = prefill(build(settings, seed, torch.float64)[0], ids)
    noise = [np.abs(full - x).max() for x in (steps, exact)]
    print(f"{name:28} {len(ids):3} tokens, logits std {full.std():.2f}, max |prefill - decode| {noise[0]:.1e}, |f32 - f64| {noise[1]:.1e}")
    assert max(noise) < 6e-5, name
    return full


def make(name):
    settings = GOLDENS[name]
    seed = synthetic.fnv1a64(name) & 0xFFFF
    _, shapes = build(settings, seed)
    sequences = {"a": (24, range(24)), "b": (11, (0, 6, 9, 10))}
    if name in LONG:
        n = LONG[name]
        sequences["long"] = (n, (n // 2, n - 3, n - 2, n - 1))
    tensors = {}
    for s, (length, rows) in sequences.items():
        ids = synthetic.tokens(s, length, settings["vocab_size"], seed)
        tensors[s + ".tokens"] = np.array(ids, dtype=np.int32)
        tensors[s + ".rows"] = np.array(rows, dtype=np.int32)
        tensors[s + ".logits"] = np.ascontiguousarray(logits_of(name, settings, seed, ids)[list(rows)])
    golden = json.dumps({"config": settings, "seed": seed, "tensors": shapes})
    save_file(tensors, os.path.join(HERE, name + ".safetensors"), metadata={"golden": golden})


if __name__ == "__main__":
    torch.set_num_threads(1)
    for golden_name in sys.argv[1:] or GOLDENS:
        make(golden_name)
