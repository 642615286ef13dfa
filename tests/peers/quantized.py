"""Fixtures that come quantized, packed by the packages that people use, which also say what the numbers are:

    pip install gptqmodel autoawq compressed-tensors accelerate

Weights are those of the generator, rounded here to the nearest number of each format.
"""
import json, os
import numpy as np, torch
from safetensors.torch import save_file

SHAPE = dict(dim=64, layers=1, heads=2, kv=1, ffn=96)
SETTINGS = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=32, intermediate_size=96)
F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32


def is_linear(name):
    return "_proj" in name


def rounded(w, bits, group_of, groups, symmetric, scale_dtype=F16):
    """Codes [out, in], scales and zero points [out, groups]: the nearest to `w` with the group of each column given."""
    top = 2**bits - 1
    scales, zeros = torch.empty(w.shape[0], groups, dtype=scale_dtype), torch.empty(w.shape[0], groups, dtype=torch.int32)
    for g in range(groups):
        part = w[:, group_of == g]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        if symmetric:
            high = torch.maximum(-low, high)
            low = -high
        scales[:, g] = ((high - low) / top).to(scale_dtype)
        zeros[:, g] = 2 ** (bits - 1) if symmetric else torch.round(-low / scales[:, g].float()).clamp(1, top).int()
    codes = torch.round(w / scales.float()[:, group_of]) + zeros[:, group_of]
    return codes.clamp(0, top).int(), scales, zeros


def meaning(codes, scales, zeros, group_of):
    return scales.float()[:, group_of] * (codes - zeros[:, group_of]).float()


def runs(cols, group):
    group = cols if group == -1 else group
    return torch.arange(cols) // group, -(-cols // group)


def act_order(cols, group, label, synthetic):
    """Groups of columns in an order of their own, as activation order makes them."""
    order = np.argsort(synthetic.bits(label, cols, 1), kind="stable")
    group_of = torch.empty(cols, dtype=torch.int64)
    group_of[torch.from_numpy(order)] = torch.arange(cols) // group
    return group_of, -(-cols // group)


def write_hf(m, name, stored, quantization, values, dtypes):
    folder = m.folder(name)
    save_file({n: t.contiguous() for n, t in stored.items()}, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    m.write_json(os.path.join(folder, "config.json"), m.hf_config(torch_dtype="float16", quantization_config=quantization, **SETTINGS))
    m.expect(name, name, values, dtypes, **SETTINGS)


def plain_parts(m):
    """The tensors that stay floats, and a place for those that do not."""
    w = m.model(F16, **SHAPE)
    return {n: t for n, t in w.items() if not is_linear(n)}, {n: t.float() for n, t in w.items() if is_linear(n)}


# ---- GPTQ, by GPTQModel ----

def gptq_layer(name, w, bits, group, symmetric, version, order=None):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    rows, cols = w.shape
    group_of, groups = order if order else runs(cols, group)
    codes, scales, zeros = rounded(w, bits, group_of, groups, symmetric)
    value = meaning(codes, scales, zeros, group_of)
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = value.clone()
    packed = TorchLinear(bits=bits, group_size=group, sym=symmetric, desc_act=order is not None, in_features=cols, out_features=rows)
    packed.pack_original(linear, scales.float(), zeros, group_of.int())
    theirs = packed.dequantize_weight().T.float()
    # Theirs multiplies in f16.
    assert torch.equal(theirs, (value.to(F16)).float()), name
    if version == 1:
        convert_gptq_v2_to_v1_format_module(packed, packed)
    base = name.removesuffix(".weight")
    return {f"{base}.{k}": getattr(packed, k) for k in ("qweight", "qzeros", "scales", "g_idx")}, value


def gptq(m):
    common = dict(quant_method="gptq", damp_percent=0.1, static_groups=False, true_sequential=True, model_name_or_path=None)
    for name, bits, group, symmetric, version, choose, config in [
        ("gptq", 4, 32, False, 1, lambda n: {}, dict(desc_act=False)),
        ("gptq-act-order", 4, 32, True, 1, lambda n: dict(order=True), dict(desc_act=True)),
        ("gptq-v2-mixed", 3, 32, False, 2,
         lambda n: dict(bits=8, group=96) if "down" in n else dict(bits=2) if "v_proj" in n else dict(bits=8, symmetric=True) if "o_proj" in n else {},
         dict(desc_act=False, checkpoint_format="gptq_v2",
              dynamic={"+:.*down.*": {"bits": 8, "group_size": 96}, "+:.*v_proj": {"bits": 2}, "+:.*o_proj": {"bits": 8, "sym": True}})),
    ]:
        stored, linears = plain_parts(m)
        values, dtypes = dict(stored), {}
        for n, w in linears.items():
            how = dict(bits=bits, group=group, symmetric=symmetric) | choose(n)
            if how.pop("order", None):
                # Layers that read the same inputs have the same order.
                shared = "down" if "down" in n else "o" if "o_proj" in n else "mlp" if "mlp" in n else "qkv"
                how["order"] = act_order(w.shape[1], group, shared, m.synthetic)
            parts, values[n] = gptq_layer(n, w, version=version, **how)
            stored |= parts
            dtypes[n] = f"int{how['bits']} groups"
            if name == "gptq":  # Quantizers leave these behind.
                stored[n.replace(".weight", ".bias")] = torch.zeros(w.shape[0], dtype=F16)
        write_hf(m, name, stored, common | dict(bits=bits, group_size=group, sym=symmetric) | config, values, dtypes)


# ---- AWQ, by AutoAWQ ----

def awq(m):
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm
    stored, linears = plain_parts(m)
    values, dtypes = dict(stored), {}
    for n, w in linears.items():
        group_of, groups = runs(w.shape[1], 32)
        codes, scales, zeros = rounded(w, 4, group_of, groups, False)
        values[n], dtypes[n] = meaning(codes, scales, zeros, group_of), "int4 groups"
        linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        linear.weight.data = values[n].clone()
        packed = WQLinear_GEMM.from_linear(linear, 4, 32, scales=scales.float().T.contiguous(), zeros=zeros.T.contiguous())
        theirs = dequantize_gemm(packed.qweight, packed.qzeros, packed.scales, 4, 32).T.float()
        assert torch.equal(theirs, values[n].to(F16).float()), n
        stored |= {n.replace(".weight", f".{k}"): getattr(packed, k) for k in ("qweight", "qzeros", "scales")}
    config = dict(quant_method="awq", bits=4, group_size=32, version="gemm", zero_point=True, modules_to_not_convert=None)
    write_hf(m, "awq", stored, config, values, dtypes)


# ---- compressed-tensors, by itself ----

def compressed(m):
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor as Packed
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from compressed_tensors.compressors.naive_quantized.base import IntQuantizationCompressor as Bytes
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    def layer(kind, n, w, args, dtype, order=None):
        group_of, groups = order if order else runs(w.shape[1], args.group_size or -1)
        codes, scales, zeros = rounded(w, args.num_bits, group_of, groups, args.symmetric, dtype)
        value = meaning(codes, scales, zeros, group_of)
        if args.strategy == "tensor":  # one scale for all rows
            scales[:] = scales.float().amax().to(dtype)
            half = 2 ** (args.num_bits - 1)
            value = scales.float() * (torch.round(w / scales.float())).clamp(-half, half - 1)
            scales = scales[:1, 0]
        base = n.removesuffix("weight")
        if order:  # Which the package no longer writes, but reads.
            packed = pack_to_int32((codes - 8).to(torch.int8), args.num_bits)
            shape = torch.tensor(w.shape)
            return {base + "weight_packed": packed, base + "weight_scale": scales, base + "weight_shape": shape, base + "weight_g_idx": group_of.int()}, value
        zeros = (zeros - 2 ** (args.num_bits - 1)).to(torch.int8)
        state = {"weight": value, "weight_scale": scales, "weight_zero_point": zeros}
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        state = kind.compress({k: t.clone() for k, t in state.items() if k != "weight_zero_point" or not args.symmetric}, scheme)
        theirs = kind.decompress(state, scheme)["weight"]
        assert torch.equal(theirs, value.to(theirs.dtype)), n
        return {base + k: t for k, t in state.items() if t is not None}, value

    four = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=32, symmetric=False)
    even = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=32, symmetric=True)
    eight = QuantizationArgs(num_bits=8, type="int", strategy="channel", symmetric=True)
    odd = QuantizationArgs(num_bits=8, type="int", strategy="channel", symmetric=False)
    whole = QuantizationArgs(num_bits=8, type="int", strategy="tensor", symmetric=True)
    for name, kind, dtype, groups in [
        ("compressed-pack", Packed, F16, {"group_0": (four, "qkvgate"), "group_1": (even, "up"), "group_2": (eight, "o"), "group_3": (odd, "down")}),
        ("compressed-int", Bytes, BF16, {"group_0": (eight, "qkogate"), "group_1": (odd, "up"), "group_2": (whole, "vdown")}),
    ]:
        stored, linears = plain_parts(m)
        values, dtypes = dict(stored), {}
        for n, w in linears.items():
            leaf = n.split(".")[-2].removesuffix("_proj")
            args = next(args for args, leaves in groups.values() if leaf in leaves)
            order = act_order(w.shape[1], 32, "mlp", m.synthetic) if args is even else None
            parts, values[n] = layer(kind, n, w, args, dtype, order)
            stored |= parts
            dtypes[n] = f"int{args.num_bits} groups"
        config = dict(quant_method="compressed-tensors", quantization_status="compressed", ignore=["lm_head"], kv_cache_scheme=None,
                      format="pack-quantized" if kind is Packed else "int-quantized", global_compression_ratio=None,
                      config_groups={g: dict(targets=["Linear"], weights=json.loads(a.model_dump_json()), input_activations=None, output_activations=None)
                                     for g, (a, _) in groups.items()})
        write_hf(m, name, stored, config, values, dtypes)


# ---- Llama 3.2 as Meta publishes it quantized ----

def meta_int4(m):
    """Signed bytes, of which linear layers use 4 bits in groups, the embedding and the head all 8 with a scale for each row."""
    weights = {n: t.float() for n, t in m.model(F32, **SHAPE).items()}
    values, dtypes, scales = {}, {}, {}
    for n, w in weights.items():
        if n.endswith("norm.weight"):
            values[n] = w
            continue
        bits, group = (4, 32) if is_linear(n) else (8, -1)
        group_of, groups = runs(w.shape[1], group)
        codes, scales[n], zeros = rounded(w, bits, group_of, groups, True, F32)
        values[n], dtypes[n] = meaning(codes, scales[n], zeros, group_of), f"int{bits} groups"
    heads = {"q_proj": SHAPE["heads"], "k_proj": SHAPE["kv"]}

    def paired(n, t):
        return m.to_pairs(t, heads[n.split(".")[-2]]) if m.is_rotated(n) else t

    stored = {}
    for n, w in values.items():
        own = m.meta_name(n)
        if n not in scales:
            stored[own] = w
            continue
        group_of = runs(w.shape[1], 32 if is_linear(n) else -1)[0]
        numbers = torch.round(w / scales[n][:, group_of]).to(torch.int8)
        stored[own], stored[own.replace(".weight", ".scales")] = paired(n, numbers), paired(n, scales[n])
    torch.save(stored, os.path.join(m.folder("meta-int4"), "consolidated.00.pth"))
    arguments = dict(scheme="int4_weight_int8_dynamic_activation", group_size=32, spinquant=False)
    params = dict(dim=64, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=m.VOCAB, multiple_of=32, ffn_dim_multiplier=0.5, norm_eps=1e-5)
    m.write_json(os.path.join(m.folder("meta-int4"), "params.json"), params | dict(quantization_args=arguments))
    m.expect("meta-int4", "meta-int4", values, dtypes, **SETTINGS)


ALL = (gptq, awq, compressed, meta_int4)
