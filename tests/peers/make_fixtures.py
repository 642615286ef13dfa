#!/usr/bin/env python3
"""Writes tests/fixtures: one tiny Llama in every checkpoint format, each file written by a program that is not ours
(torch, transformers, safetensors, gguf), except llama2.c's three .bin layouts, which are written here from their description.

    pip install torch transformers safetensors gguf numpy
    make_fixtures.py [NAME ...]

With names of functions below or in quantized.py only their fixtures are made again.

The weights come from tests/synthetic.py under their Hugging Face names, so every fixture holds the same model. expected.json gives
for each fixture each tensor's shape, stored dtype, sum, sum of squares, first moment (which sees order) and first 8 values, under its Hugging Face name and in
Hugging Face's row order (the halves order of rope), whatever the file's own names and order are, after rounding to the stored dtype; and the
logits that transformers computes in f32 with those values after a prompt.
"""
import json, os, pickle, shutil, struct, sys, zipfile
from collections import OrderedDict
import numpy as np, torch, gguf
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import quantized, synthetic

OUT = os.path.join(os.path.dirname(HERE), "fixtures")
SEED = 1
DIM, LAYERS, HEADS, KV, FFN, VOCAB, CONTEXT = 16, 2, 4, 2, 44, 40, 64
PROMPT = [5, 7, 9, 0, 2, 11, 15, 1, 6, 8, 3, 14]
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPE_NAME = {F32: "f32", F16: "f16", BF16: "bf16"}
expected = {}


# ---- the model ----

def shapes(dim=DIM, layers=LAYERS, heads=HEADS, kv=KV, ffn=FFN, vocab=VOCAB, head_dim=None, tied=False, biases=False, qk_norm=False):
    hd = head_dim or dim // heads
    out = {"model.embed_tokens.weight": (vocab, dim)}
    for i in range(layers):
        p = f"model.layers.{i}."
        out |= {p + "input_layernorm.weight": (dim,), p + "self_attn.q_proj.weight": (heads * hd, dim),
                p + "self_attn.k_proj.weight": (kv * hd, dim), p + "self_attn.v_proj.weight": (kv * hd, dim),
                p + "self_attn.o_proj.weight": (dim, heads * hd), p + "post_attention_layernorm.weight": (dim,),
                p + "mlp.gate_proj.weight": (ffn, dim), p + "mlp.up_proj.weight": (ffn, dim), p + "mlp.down_proj.weight": (dim, ffn)}
        if biases:
            out |= {f"{p}self_attn.{k}_proj.bias": (n * hd,) for k, n in (("q", heads), ("k", kv), ("v", kv))}
        if qk_norm:
            out |= {f"{p}self_attn.{k}_norm.weight": (hd,) for k in "qk"}
    out["model.norm.weight"] = (dim,)
    return out if tied else out | {"lm_head.weight": (vocab, dim)}


def model(dtype=F32, vectors=None, tied=False, **more):
    """The tiny model, each tensor in the dtype a fixture stores: `dtype`, and for norms and biases `vectors` where given."""
    pick = lambda n: vectors if vectors is not None and n.endswith(("norm.weight", ".bias")) else dtype
    return {n: torch.from_numpy(synthetic.tensor(n, s, SEED)).to(pick(n)) for n, s in shapes(tied=tied, **more).items()}


def to_pairs(w, heads):
    """Hugging Face's row order (rope halves) to Meta's and GGUF's (rope pairs)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).transpose(1, 2).reshape(w.shape).contiguous()


def is_rotated(name):
    return name.endswith("q_proj.weight") or name.endswith("k_proj.weight")


def meta_name(name, pattern=None):
    """What `pattern` (Meta's names by default) maps a Hugging Face name to."""
    parts, pattern = name.split("."), pattern or META
    return f"layers.{parts[2]}.{pattern['.'.join(parts[3:-1])]}" if "layers" in parts else pattern[name]


def renamed(weights, pattern):
    """`weights` under the names `pattern` maps Hugging Face's to, q and k in pair order."""
    paired = lambda name, w: to_pairs(w, HEADS if "q_proj" in name else KV) if is_rotated(name) else w
    return {meta_name(name, pattern): paired(name, w) for name, w in weights.items()}


META = {"model.embed_tokens.weight": "tok_embeddings.weight", "model.norm.weight": "norm.weight", "lm_head.weight": "output.weight",
        "self_attn.q_proj": "attention.wq.weight", "self_attn.k_proj": "attention.wk.weight", "self_attn.v_proj": "attention.wv.weight",
        "self_attn.o_proj": "attention.wo.weight", "input_layernorm": "attention_norm.weight", "post_attention_layernorm": "ffn_norm.weight",
        "mlp.gate_proj": "feed_forward.w1.weight", "mlp.up_proj": "feed_forward.w3.weight", "mlp.down_proj": "feed_forward.w2.weight"}
TUNE = {"model.embed_tokens.weight": "tok_embeddings.weight", "model.norm.weight": "norm.scale", "lm_head.weight": "output.weight",
        "self_attn.q_proj": "attn.q_proj.weight", "self_attn.k_proj": "attn.k_proj.weight", "self_attn.v_proj": "attn.v_proj.weight",
        "self_attn.o_proj": "attn.output_proj.weight", "input_layernorm": "sa_norm.scale", "post_attention_layernorm": "mlp_norm.scale",
        "mlp.gate_proj": "mlp.w1.weight", "mlp.up_proj": "mlp.w3.weight", "mlp.down_proj": "mlp.w2.weight"}


# ---- bookkeeping ----

@torch.no_grad()
def logits_of(weights, **settings):
    """The logits after PROMPT that `transformers` computes in f32 with these weights."""
    settings = hf_config(tie_word_embeddings="lm_head.weight" not in weights) | settings
    config = AutoConfig.for_model(**settings)
    m = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=F32)
    m.load_state_dict({n: w.to(F32) for n, w in weights.items()}, strict=not settings["tie_word_embeddings"])
    m.tie_weights()
    return [float(str(np.float32(v))) for v in m.eval()(torch.tensor([PROMPT])).logits[0, -1].numpy()]


def expect(fixture, path, weights, dtypes=None, **settings):
    """Notes what a reader must find in `path` (a file or a directory under fixtures/), and what the model computes; `settings` is what
    its config says differently from hf_config()."""
    rows = {}
    for name, w in weights.items():
        dtype = (dtypes or {}).get(name) or DTYPE_NAME[w.dtype]
        x = w.to(torch.float64).numpy().ravel()
        rows[name] = {"shape": list(w.shape), "dtype": dtype, "sum": float(x.sum()), "sum_sq": float((x * x).sum()),
                      "moment": float((x * (np.arange(x.size) + 1)).sum()) / x.size,
                      "first": [float(str(np.float32(v))) for v in x[:8]]}
    expected[fixture] = {"path": path, "prompt": PROMPT, "logits": logits_of(weights, **settings), "tensors": rows}


def folder(name):
    path = os.path.join(OUT, name)
    os.makedirs(path, exist_ok=True)
    return path


def write_json(path, value):
    with open(path, "w") as f:
        f.write(json.dumps(value, indent=1) + "\n")


def meta_params(**more):
    return dict(dim=DIM, n_layers=LAYERS, n_heads=HEADS, n_kv_heads=KV, multiple_of=4, norm_eps=1e-5) | more


# ---- Hugging Face ----

def hf_config(**more):
    # The spelling real checkpoints carry; this many of them were written before transformers 5 renamed keys.
    return dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=DIM, intermediate_size=FFN, num_hidden_layers=LAYERS,
                num_attention_heads=HEADS, num_key_value_heads=KV, vocab_size=VOCAB, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5,
                rope_theta=10000.0, rope_scaling=None, hidden_act="silu", attention_bias=False, mlp_bias=False, tie_word_embeddings=False,
                bos_token_id=1, eos_token_id=2, torch_dtype="float32") | more


def hf_model(weights, tied=False):
    m = LlamaForCausalLM(LlamaConfig(**hf_config(tie_word_embeddings=tied)))
    m.load_state_dict(weights, strict=not tied)
    return m


def hugging_face():
    w = model()
    hf_model(w).save_pretrained(folder("hf"))  # config.json as transformers 5 writes it
    os.remove(os.path.join(OUT, "hf", "generation_config.json"))
    expect("hf", "hf", w)

    w = model(BF16, tied=True)
    hf_model(w, tied=True).to(BF16).save_pretrained(folder("hf-sharded"), max_shard_size="5KB")
    os.remove(os.path.join(OUT, "hf-sharded", "generation_config.json"))
    write_json(os.path.join(OUT, "hf-sharded", "config.json"), hf_config(tie_word_embeddings=True, torch_dtype="bfloat16"))
    expect("hf-sharded", "hf-sharded", w)


def pytorch_bin():
    w = model(BF16)
    state = hf_model(w).to(BF16).state_dict()  # an OrderedDict with a _metadata attribute
    torch.save(state, os.path.join(folder("bin"), "pytorch_model.bin"))
    write_json(os.path.join(OUT, "bin", "config.json"), hf_config())
    expect("bin", "bin", w)

    w = model(F16, vectors=F32)
    torch.save(w, os.path.join(folder("bin-legacy"), "pytorch_model.bin"), _use_new_zipfile_serialization=False)
    write_json(os.path.join(OUT, "bin-legacy", "config.json"), hf_config())
    expect("bin-legacy", "bin-legacy", w)

    # Two shards with an index; some tensors are Parameters, some are views: transposed, or a slice of a larger storage.
    w = model(BF16, vectors=F32)
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    where = {n: files[0 if "layers.0" in n or "embed" in n else 1] for n in w}
    stored = {n: x.t().contiguous().t() if "o_proj" in n else torch.nn.Parameter(x) if "mlp" in n else x for n, x in w.items()}
    for i in range(LAYERS):
        kv = [f"model.layers.{i}.self_attn.{k}_proj.weight" for k in "kv"]
        stored |= zip(kv, torch.cat([w[n] for n in kv]).chunk(2))
    for f in files:
        torch.save({n: x for n, x in stored.items() if where[n] == f}, os.path.join(folder("bin-sharded"), f))
    size = sum(x.numel() * x.element_size() for x in w.values())
    write_json(os.path.join(OUT, "bin-sharded", "pytorch_model.bin.index.json"), {"metadata": {"total_size": size}, "weight_map": where})
    write_json(os.path.join(OUT, "bin-sharded", "config.json"), hf_config())
    expect("bin-sharded", "bin-sharded", w)


# ---- Meta and its relatives ----

def meta_shard(weights, rank, count, embedding_axis):
    """Rank `rank`'s part: column-parallel layers are split by rows, row-parallel ones by columns, norms are repeated."""
    out = {}
    for name, w in weights.items():
        leaf = name.split(".")[-2]
        axis = embedding_axis if leaf == "tok_embeddings" else 1 if leaf in ("wo", "w2") else None if "norm" in leaf else 0
        out[name] = w if axis is None else w.chunk(count, axis)[rank].clone()
    return out


def meta():
    freqs = lambda dtype: {"rope.freqs": (10000.0 ** (-torch.arange(0, DIM // HEADS, 2) / (DIM // HEADS))).to(dtype)}
    # use_scaled_rope does not say the factor: 8 in Llama 3.1, 32 in Llama 3.2's narrow models, as this one is.
    scaling = dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    for name, dtype, axis, extra, params, settings in [
        ("meta-llama2", F16, 1, freqs(F16), meta_params(vocab_size=-1), {}),
        ("meta-llama3", BF16, 0, {}, meta_params(vocab_size=VOCAB, ffn_dim_multiplier=1.05, rope_theta=500000.0, use_scaled_rope=True),
         dict(rope_theta=500000.0, rope_scaling=scaling, max_position_embeddings=131072)),
    ]:
        w = model(dtype)
        for rank in range(2):
            shard = meta_shard(renamed(w, META), rank, 2, axis) | extra
            torch.save(shard, os.path.join(folder(name), f"consolidated.{rank:02}.pth"))
        write_json(os.path.join(OUT, name, "params.json"), params)
        expect(name, name, w, **settings)
    w = model(BF16, vectors=F32)
    torch.save(renamed(w, META), os.path.join(folder("meta-mixed"), "consolidated.00.pth"))
    write_json(os.path.join(OUT, "meta-mixed", "params.json"), meta_params(vocab_size=VOCAB))
    expect("meta-mixed", "meta-mixed", w)


def fused_qkv(weights):
    out = {}
    for name, w in weights.items():
        if name.endswith("wq.weight"):
            out[name.replace("wq", "wqkv")] = torch.cat([weights[name.replace("wq", k)] for k in ("wq", "wk", "wv")])
        elif not name.endswith(("wk.weight", "wv.weight")):
            out[name] = w
    return out


def single_pth():
    """Single files that need --params-path for the shape: gpt-fast (fused qkv), torchchat (separate), torchtune (its own names)."""
    for name, w, convert in [
        ("gpt-fast", model(BF16), lambda w: fused_qkv(renamed(w, META))),
        ("torchchat", model(F16), lambda w: renamed(w, META)),
        ("torchtune", model(BF16), lambda w: renamed(w, TUNE)),
    ]:
        torch.save(convert(w), os.path.join(folder(name), "model.pth"))
        write_json(os.path.join(OUT, name, "params.json"), meta_params(vocab_size=VOCAB))
        expect(name, f"{name}/model.pth", w)


def tinyllamas():
    """A training checkpoint as llama2.c saves it: shape inside, names of a compiled module, an optimizer next to the model, tied output."""
    w = model(F32, tied=True)
    state = OrderedDict(("_orig_mod." + n, x) for n, x in renamed(w, META).items())
    state["_orig_mod.output.weight"] = state["_orig_mod.tok_embeddings.weight"]
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([parameter], lr=5e-4, betas=(0.9, 0.95))
    parameter.sum().backward()
    optimizer.step()
    args = dict(dim=DIM, n_layers=LAYERS, n_heads=HEADS, n_kv_heads=KV, vocab_size=VOCAB, multiple_of=4, max_seq_len=CONTEXT, dropout=0.0)
    torch.save({"model": state, "optimizer": optimizer.state_dict(), "model_args": args, "iter_num": 3, "best_val_loss": torch.tensor(1.25),
                "config": {"out_dir": "out", "device": "cpu", "compile": True, "learning_rate": 5e-4}}, os.path.join(OUT, "tinyllamas.pt"))
    expect("tinyllamas", "tinyllamas.pt", w)


def hostile_pickle():
    """A file that would run a command if its pickle were executed."""
    class Evil:
        def __reduce__(self):
            return os.system, ("echo executed > /tmp/executed-by-pickle",)
    with zipfile.ZipFile(os.path.join(OUT, "evil.pth"), "w") as z:
        z.writestr(zipfile.ZipInfo("archive/data.pkl"), pickle.dumps({"tok_embeddings.weight": Evil()}, protocol=2))
        z.writestr(zipfile.ZipInfo("archive/version"), "3\n")


# ---- llama2.c ----

def llama2c():
    def header(version, vocab, shared, group=None):
        out = struct.pack("<Ii", 0x616B3432, version) if version else b""
        out += struct.pack("<7i", DIM, FFN, LAYERS, HEADS, KV, vocab, CONTEXT)
        out += struct.pack("<B", shared) if version else b""
        out += struct.pack("<i", group) if group else b""
        return out.ljust(256, b"\0") if version else out

    def f32(names, meta):
        return b"".join(meta[n].numpy().astype("<f4").tobytes() for n in names)

    def each(leaf):
        return [f"layers.{i}.{leaf}.weight" for i in range(LAYERS)]

    attention = [each("attention." + k) for k in ("wq", "wk", "wv", "wo")]
    ffn = [each("feed_forward." + k) for k in ("w1", "w2", "w3")]
    flat = lambda lists: [n for names in lists for n in names]

    w = model()
    meta = renamed(w, META)
    angles = np.outer(np.arange(CONTEXT), 10000.0 ** (-np.arange(0, DIM // HEADS, 2) / (DIM // HEADS)))
    rope = np.cos(angles).astype("<f4").tobytes() + np.sin(angles).astype("<f4").tobytes()
    order = ["tok_embeddings.weight"] + each("attention_norm") + flat(attention) + each("ffn_norm") + flat(ffn) + ["norm.weight"]
    # A negative vocabulary says that the output layer has weights of its own.
    data = header(0, -VOCAB, 0) + f32(order, meta) + rope + f32(["output.weight"], meta)
    open(os.path.join(OUT, "llama2c-legacy.bin"), "wb").write(data)
    expect("llama2c-legacy", "llama2c-legacy.bin", w)

    w = model(tied=True)
    meta = renamed(w, META)
    norms = each("attention_norm") + each("ffn_norm") + ["norm.weight"]
    matrices = ["tok_embeddings.weight"] + flat(attention) + flat(ffn)
    open(os.path.join(OUT, "llama2c-v1.bin"), "wb").write(header(1, VOCAB, 1) + f32(norms + matrices, meta))
    expect("llama2c-v1", "llama2c-v1.bin", w)

    w = model()
    meta = renamed(w, META)
    group = DIM  # the largest power of two up to 64 that divides dim; groups run on across the rows of w2
    data = header(2, VOCAB, 0, group) + f32(norms, meta)
    back = dict(w)
    hf_name = {v: k for k, v in zip(w, renamed({n: torch.tensor([[0.0]]).expand(HEADS * 2, 1) for n in w}, META))}
    for name in matrices + ["output.weight"]:
        groups = meta[name].reshape(-1, group)
        scale = groups.abs().amax(1, keepdim=True) / 127.0
        q = (groups / scale).round().to(torch.int8)
        data += q.numpy().tobytes() + scale.numpy().astype("<f4").tobytes()
        restored = (q.to(F32) * scale).reshape(meta[name].shape)
        hf = hf_name[name]
        if is_rotated(hf):  # pairs back to halves
            h = HEADS if "q_proj" in hf else KV
            restored = restored.reshape(h, DIM // HEADS // 2, 2, DIM).transpose(1, 2).reshape(restored.shape)
        back[hf] = restored
    open(os.path.join(OUT, "llama2c-v2.bin"), "wb").write(data)
    expect("llama2c-v2", "llama2c-v2.bin", back, {n: "q8" for n in w if not n.endswith("norm.weight")})


# ---- GGUF ----

GGUF_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight",
              "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
              "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    parts = name.split(".")
    return f"blk.{parts[2]}.{GGUF_NAMES['.'.join(parts[3:-1])]}.{parts[-1]}" if "layers" in parts else GGUF_NAMES[name]


def gguf_writer(path, dim=DIM, ffn=FFN, layers=LAYERS, heads=HEADS, kv=KV, vocab=VOCAB, head_dim=None, arch="llama"):
    w = gguf.GGUFWriter(path, arch)
    w.add_name("tiny")
    w.add_block_count(layers); w.add_context_length(CONTEXT); w.add_embedding_length(dim); w.add_feed_forward_length(ffn)
    w.add_head_count(heads); w.add_head_count_kv(kv); w.add_layer_norm_rms_eps(1e-5); w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(head_dim or dim // heads); w.add_vocab_size(vocab)
    if head_dim:
        w.add_key_length(head_dim); w.add_value_length(head_dim)
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(3)] + ["▁", "a", "b", "▁a", "ab"]
    pieces += [f"t{i}" for i in range(vocab - len(pieces))]
    w.add_tokenizer_model("llama"); w.add_token_list(pieces); w.add_token_scores([-float(i) for i in range(vocab)])
    w.add_token_types([2, 3, 3, 6, 6, 6] + [1] * (vocab - 6))
    w.add_bos_token_id(1); w.add_eos_token_id(2); w.add_add_bos_token(True)
    w.add_chat_template("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}")
    return w


def gguf_finish(w):
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


def gguf_tensors(g, weights, permuted=True):
    for n, x in weights.items():
        heads = HEADS if "q_proj" in n else KV
        g.add_tensor(gguf_name(n), (to_pairs(x, heads) if permuted and is_rotated(n) else x).numpy())
    gguf_finish(g)


def gguf_plain():
    w = model(F16, vectors=F32)
    gguf_tensors(gguf_writer(os.path.join(OUT, "tiny-f16.gguf")), w)
    expect("gguf-f16", "tiny-f16.gguf", w)
    # Version 2 has the same little-endian layout as 3, which only added big-endian files; the writer writes 3.
    path = os.path.join(OUT, "tiny-f32-v2.gguf")
    w = model(tied=True)
    gguf_tensors(gguf_writer(path), w)
    with open(path, "r+b") as f:
        f.seek(4); f.write(struct.pack("<I", 2))
    expect("gguf-f32-v2", "tiny-f32-v2.gguf", w)


def gguf_families():
    """What each family adds: llama 3.1's frequency factors, granite's multipliers, qwen's biases and norms (and rows not permuted)."""
    small = dict(vectors=F32, tied=True)
    g, w = gguf_writer(os.path.join(OUT, "llama3-factors.gguf")), model(F16, **small)
    g.add_tensor("rope_freqs.weight", np.array([1.0, 8.0], dtype=np.float32))
    gguf_tensors(g, w)
    # Factors of 1 and 8 are what llama3's scaling gives for a context that splits the two frequencies.
    expect("gguf-llama3-factors", "llama3-factors.gguf", w, rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=48))

    g, w = gguf_writer(os.path.join(OUT, "granite.gguf"), arch="granite"), model(F16, **small)
    g.add_embedding_scale(12.0); g.add_residual_scale(0.25); g.add_attention_scale(0.125); g.add_logit_scale(8.0)
    gguf_tensors(g, w)
    expect("gguf-granite", "granite.gguf", w, model_type="granite", embedding_multiplier=12.0, residual_multiplier=0.25,
           attention_multiplier=0.125, logits_scaling=8.0)

    g, w = gguf_writer(os.path.join(OUT, "qwen2.gguf"), arch="qwen2"), model(F16, biases=True, **small)
    gguf_tensors(g, w, permuted=False)
    expect("gguf-qwen2", "qwen2.gguf", w, model_type="qwen2")

    g, w = gguf_writer(os.path.join(OUT, "qwen3.gguf"), head_dim=8, arch="qwen3"), model(F16, head_dim=8, qk_norm=True, **small)
    gguf_tensors(g, w, permuted=False)
    expect("gguf-qwen3", "qwen3.gguf", w, model_type="qwen3", head_dim=8)


Q = gguf.GGMLQuantizationType
# Where a block's f16 scales are (ggml's block structs): random bytes there would give infinities.
SCALES_AT = {Q.Q2_K: (80, 82), Q.Q3_K: (108,), Q.Q4_K: (0, 2), Q.Q5_K: (0, 2), Q.Q6_K: (208,), Q.IQ4_NL: (0,), Q.IQ4_XS: (0,)}
MIXED = dict(dim=256, ffn=32, layers=2, heads=2, kv=1, vocab=16, head_dim=16)
MIXED_TYPES = {"model.embed_tokens.weight": Q.Q6_K, "lm_head.weight": Q.Q8_0,
               "0.q": Q.Q2_K, "0.k": Q.Q3_K, "0.v": Q.Q4_K, "0.gate": Q.Q5_K, "0.up": Q.Q6_K, "0.o": Q.Q4_0, "0.down": Q.IQ4_NL,
               "1.q": Q.IQ4_XS, "1.k": Q.Q8_0, "1.v": Q.F16, "1.gate": Q.Q4_1, "1.up": Q.Q5_0, "1.o": Q.Q5_1, "1.down": Q.BF16}


def mixed_type(name):
    if name.endswith("norm.weight"):
        return Q.F32
    parts = name.split(".")
    return MIXED_TYPES[f"{parts[2]}.{parts[4].removesuffix('_proj')}" if "layers" in parts else name]


def random_blocks(name, shape, qtype):
    size, width = gguf.GGML_QUANT_SIZES[qtype]
    rows, blocks = shape[0], shape[1] // size
    raw = synthetic.bits(name, rows * blocks * width, SEED).astype(np.uint8).reshape(-1, width)
    for at in SCALES_AT[qtype]:
        scale = np.abs(synthetic.tensor(f"{name}@{at}", (raw.shape[0], 64), SEED)[:, 0]).astype(np.float16) / np.float16(256)
        raw[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return raw.reshape(rows, blocks * width)


def gguf_mixed():
    """Every quantized type in one model. Types gguf can quantize to hold the generator's weights; the others hold random blocks."""
    path = os.path.join(OUT, "mixed.gguf")
    g = gguf_writer(path, **MIXED)
    back, dtypes = {}, {}
    for name, shape in shapes(**MIXED).items():
        qtype = mixed_type(name)
        heads = {"q_proj": MIXED["heads"], "k_proj": MIXED["kv"]}.get(name.split(".")[-2])
        values = torch.from_numpy(synthetic.tensor(name, shape, SEED))
        if qtype in SCALES_AT:
            raw = random_blocks(name, shape, qtype)
        else:
            raw = gguf.quants.quantize((to_pairs(values, heads) if heads else values).numpy(), qtype)
        g.add_tensor(gguf_name(name), raw, raw_dtype=None if qtype == Q.F32 else qtype)
        restored = torch.from_numpy(gguf.quants.dequantize(raw, qtype).astype(np.float32)).reshape(shape)
        if heads:  # pairs back to halves
            restored = restored.reshape(heads, shape[0] // heads // 2, 2, shape[1]).transpose(1, 2).reshape(shape)
        back[name], dtypes[name] = restored, qtype.name.lower()
    gguf_finish(g)
    m = MIXED
    expect("gguf-mixed", "mixed.gguf", back, dtypes, hidden_size=m["dim"], intermediate_size=m["ffn"], num_attention_heads=m["heads"],
           num_key_value_heads=m["kv"], head_dim=m["head_dim"], vocab_size=m["vocab"])


FLOATS = (hugging_face, pytorch_bin, meta, single_pth, tinyllamas, hostile_pickle, llama2c, gguf_plain, gguf_families, gguf_mixed)


def main(names):
    torch.manual_seed(0)
    path = os.path.join(OUT, "expected.json")
    if names:
        with open(path) as f:
            expected.update(json.load(f))
    else:
        shutil.rmtree(OUT, ignore_errors=True)
        os.makedirs(OUT)
    for make in FLOATS:
        if not names or make.__name__ in names:
            make()
    for make in quantized.ALL:
        if not names or make.__name__ in names:
            make(sys.modules[__name__])
    with open(path, "w") as f:
        lines = []
        for name, e in expected.items():
            rows = ",\n".join(f"   {json.dumps(n)}: {json.dumps(t)}" for n, t in e["tensors"].items())
            lines.append(f' {json.dumps(name)}: {{"path": {json.dumps(e["path"])}, "prompt": {e["prompt"]}, "logits": {e["logits"]}, "tensors": {{\n{rows}}}}}')
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
