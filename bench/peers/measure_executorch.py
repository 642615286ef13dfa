#!/usr/bin/env python3
"""One measurement of ExecuTorch on XNNPACK: prefill and decode from an empty cache, by one program whose calls may have any length.

    measure_executorch.py MODEL.gguf PROMPT DECODE THREADS FOLDER

MODEL is in Q4_0, and the program has its integers: matrices in int4, groups of 32, times activations in int8 by token ("8da4w"), and an
embedding of 4 bits. Keys and values in a static cache and attention are ExecuTorch's operators for language models, in f32. The program is
exported once and kept in FOLDER.
"""
import json
import multiprocessing
import os
import resource
import sys
import time

import executorch.kernels.quantized  # noqa: F401 (for its operators, as the next)
import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
from executorch.extension.pybindings import portable_lib
from torch import nn
from torch.nn import functional as F

from llama_torch import Llama

GROUP = 32


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


IMPORTS = resident()


def int4(tensor, activations=None):
    """The integers and scales of Q4_0 blocks, as torchao has them in an export. XNNPACK rounds scales to bf16, and wants them above 0."""
    from torchao.quantization import IntxUnpackedToInt8Tensor

    blocks = torch.from_numpy(tensor.data.copy()).reshape(tensor.data.shape[0], -1, 2 + GROUP // 2)
    scales = blocks[..., :2].contiguous().view(torch.float16).squeeze(2).float()
    if not (scales > 0).all():
        raise SystemExit(f"{tensor.name} has scales that XNNPACK does not take: this is for the files of bench/shapes.py")
    integers = torch.cat([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], 2).flatten(1).to(torch.int8) - 8
    zeros = torch.zeros_like(scales, dtype=torch.int8)
    weight = IntxUnpackedToInt8Tensor(integers, scales, zeros, torch.int4, (1, GROUP), torch.float32, activations)
    return nn.Parameter(weight, requires_grad=False)


class Int4(nn.Module):
    def __init__(self, tensor):
        super().__init__()
        self.weight = int4(tensor, "int8_asym_per_token")

    def forward(self, x):
        return F.linear(x, self.weight)


class Model(Llama):
    def __init__(self, path, context):
        super().__init__(path, context, torch.float32, Int4)
        self.embed = int4(self.tensors["token_embd"])
        for layer in range(self.layers):
            for part in ("keys", "values"):
                self.register_buffer(f"{part}_{layer}", torch.zeros(1, context, self.kv_heads, self.head_dim))

    def forward(self, tokens, start):
        position, length = start.item(), tokens.shape[1]
        torch._check(position >= 0)
        torch._check(position + length <= self.context)

        def attend(layer, q, k, v):
            keys, kept = getattr(self, f"keys_{layer}"), getattr(self, f"values_{layer}")
            torch.ops.llama.update_cache(k, keys, position)
            torch.ops.llama.update_cache(v, kept, position)
            return torch.ops.llama.custom_sdpa(q, keys, kept, position, None, 0, True).flatten(2)

        cos, sin = (table.narrow(0, position, length) for table in (self.cos, self.sin))
        return self.logits(F.embedding(tokens, self.embed), cos, sin, attend)


def export(path, longest, context, out):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower

    inputs = (torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    shapes = ({1: torch.export.Dim("length", min=1, max=longest)}, None)
    with torch.no_grad():
        program = torch.export.export(Model(path, context).eval(), inputs, dynamic_shapes=shapes, strict=False)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    whole = lowered.to_executorch(ExecutorchBackendConfig(do_quant_fusion_and_const_prop=True))
    with open(f"{out}.partial", "wb") as file:
        whole.write_to_file(file)
    os.rename(f"{out}.partial", out)


def exported(path, longest, context, folder):
    """In a process of its own, whose memory is not the measured one's."""
    out = f"{folder}/{os.path.splitext(os.path.basename(path))[0]}-executorch-{longest}-{context}.pte"
    if not os.path.exists(out):
        process = multiprocessing.get_context("fork").Process(target=export, args=(path, longest, context, out))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{path}: not exported")
    return out


def measure(path, prompt, decode, threads, folder):
    out = exported(path, prompt, max(prompt, decode), folder)
    portable_lib._unsafe_reset_threadpool(threads)
    program = portable_lib._load_for_executorch(out)

    def greedy(tokens, position):
        logits = program.forward((tokens, torch.tensor([position])), clone_outputs=False)[0]
        return logits[0, -1].argmax().reshape(1, 1)

    tokens = torch.tensor([[(i * 7919 + 13) % 30000 + 300 for i in range(prompt)]])
    greedy(tokens, 0), greedy(tokens[:, :1], 0)
    start = time.perf_counter()
    token = greedy(tokens, 0)
    prefill = prompt / (time.perf_counter() - start)
    start = time.perf_counter()
    for position in range(decode):
        token = greedy(token, position)
    return {"prefill_tps": prefill, "decode_tps": decode / (time.perf_counter() - start)}


path, (prompt, decode, threads), folder = sys.argv[1], map(int, sys.argv[2:5]), sys.argv[5]
figures = measure(path, prompt, decode, threads, folder)
print(json.dumps(figures | {"peak_rss_bytes": resident(), "imports_rss_bytes": IMPORTS}))
