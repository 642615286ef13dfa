#!/usr/bin/env python3
"""One measurement of AOTInductor, torch's ahead-of-time compiler: prefill and decode from an empty cache, each of them a package of its own.

    measure_aotinductor.py MODEL.gguf KIND PROMPT DECODE THREADS FOLDER

KIND is `f32`, `bf16`, or `int4` (groups of 32, activations in bf16, as torchchat's). The model is written as gpt-fast and torchchat write
it: a static cache, one graph for each length. Packages are compiled once and kept in FOLDER.
"""
import json
import os
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

from llama_torch import Llama, values

GROUP = 32


class Int4(nn.Module):
    """The numbers of Q4_0 blocks, as torch's CPU kernel has them: `(q - 8) * scale`."""

    def __init__(self, weight):
        super().__init__()
        groups = weight.reshape(weight.shape[0], -1, GROUP)
        largest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
        scales = torch.where(largest == 0, 1.0, largest / -8)
        q = (groups / scales).round().clamp(-8, 7).reshape(weight.shape).to(torch.int32) + 8
        scales = scales.squeeze(2).t().to(torch.bfloat16)
        self.register_buffer("packed", torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.contiguous(), 1))
        self.register_buffer("scales", torch.stack([scales, torch.zeros_like(scales)], 2).contiguous())

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, GROUP, self.scales)
        return y.reshape(*x.shape[:-1], -1)


class Dense(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x):
        return F.linear(x, self.weight)


class Model(Llama):
    """Keys and values come with each call, in a static cache."""

    def __init__(self, path, kind, context):
        dtype = torch.float32 if kind == "f32" else torch.bfloat16
        super().__init__(path, context, dtype, lambda tensor: Int4(values(tensor)) if kind == "int4" else Dense(values(tensor).to(dtype)))
        self.dtype = dtype
        self.embed = nn.Parameter(values(self.tensors["token_embd"]).to(dtype), requires_grad=False)

    def forward(self, tokens, positions, cache):
        mask = positions[:, None] >= torch.arange(self.context)[None]
        repeat = lambda kept: kept[None].repeat_interleave(self.heads // self.kv_heads, 1)

        def attend(layer, q, k, v):
            cache[layer, 0].index_copy_(1, positions, k[0].transpose(0, 1))
            cache[layer, 1].index_copy_(1, positions, v[0].transpose(0, 1))
            y = F.scaled_dot_product_attention(q.transpose(1, 2), repeat(cache[layer, 0]), repeat(cache[layer, 1]), attn_mask=mask)
            return y.transpose(1, 2).flatten(2)

        return self.logits(self.embed[tokens], self.cos[positions], self.sin[positions], attend)

    def cache(self):
        return torch.zeros(self.layers, 2, self.kv_heads, self.context, self.head_dim, dtype=self.dtype)


class Package:
    """The model for calls of `length` tokens, up to `context` of them in the cache."""

    def __init__(self, path, kind, length, context, folder):
        stem = os.path.splitext(os.path.basename(path))[0]
        out = f"{folder}/{stem}-{kind}-{length}-{context}.pt2"
        with open(f"{out}.json", "a+") as kept:
            kept.seek(0)
            cache = json.loads(kept.read() or "null")
            if not cache:
                cache = self.compile(Model(path, kind, context).eval(), length, out)
                kept.write(json.dumps(cache))
        self.cache = torch.zeros(cache, dtype=torch.float32 if kind == "f32" else torch.bfloat16)
        self.run = torch._inductor.aoti_load_package(out)

    def compile(self, model, length, out):
        cache = model.cache()
        inputs = (torch.zeros(1, length, dtype=torch.long), torch.arange(length), cache)
        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(torch.export.export(model, inputs, strict=False), package_path=out)
        return list(cache.shape)

    def greedy(self, tokens, position):
        positions = torch.arange(position, position + tokens.shape[1])
        return self.run(tokens, positions, self.cache)[0, -1].argmax().reshape(1, 1)


def measure(path, kind, prompt, decode, threads, folder):
    torch.set_num_threads(threads)
    whole, single = (Package(path, kind, length, context, folder) for length, context in ((prompt, prompt), (1, decode)))
    tokens = torch.tensor([[(i * 7919 + 13) % 30000 + 300 for i in range(prompt)]])
    with torch.no_grad():
        whole.greedy(tokens, 0), single.greedy(tokens[:, :1], 0)
        start = time.perf_counter()
        token = whole.greedy(tokens, 0)
        prefill = prompt / (time.perf_counter() - start)
        start = time.perf_counter()
        for position in range(decode):
            token = single.greedy(token, position)
        return {"prefill_tps": prefill, "decode_tps": decode / (time.perf_counter() - start)}


path, kind, (prompt, decode, threads), folder = sys.argv[1], sys.argv[2], map(int, sys.argv[3:6]), sys.argv[6]
figures = measure(path, kind, prompt, decode, threads, folder)
figures["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(figures))
