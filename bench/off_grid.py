#!/usr/bin/env python3
"""Writes a GGUF checkpoint whose function is that of another, but whose weights lie on no grid.

    off_grid.py MODEL.gguf SEED OUT.gguf

Weights that were quantized once lie on a grid, and quantizing them again to that grid costs nothing, which flatters whoever has it.
Channels are multiplied by random factors where something before or after can be divided by them: a norm's gain against the columns
that read it, v against o, up against down. Matrices are written in f16.
"""
import sys

import gguf
import numpy as np

SPREAD = 0.3  # standard deviation of the factors' logarithms


class Checkpoint:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        decoded = lambda tensor: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        self.tensors = {tensor.name: decoded(tensor) for tensor in self.reader.tensors}
        self.layers = self.number("block_count")
        self.heads = self.number("attention.head_count")
        self.kv_heads = self.number("attention.head_count_kv")
        self.dim = self.number("embedding_length")
        self.ffn = self.number("feed_forward_length")

    def number(self, key):
        return self.reader.fields[f"llama.{key}"].contents()

    def scale(self, name, rows=None, cols=None):
        self.tensors[name] *= rows[:, None] if rows is not None else cols

    def write(self, path):
        writer = gguf.GGUFWriter(path, "llama")
        for field in self.reader.fields.values():
            if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
                continue
            kind, inner = field.types[0], field.types[-1]
            writer.add_key_value(field.name, field.contents(), kind, inner if kind == gguf.GGUFValueType.ARRAY else None)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        for name, values in self.tensors.items():
            writer.add_tensor(name, values.astype(np.float16) if values.ndim == 2 else values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def rescale(model, seed):
    """The order in which numbers are drawn is part of what a seed means."""
    rng = np.random.default_rng(seed)
    draw = lambda count: np.exp(rng.normal(0, SPREAD, count)).astype(np.float32)
    for layer in range(model.layers):
        name = lambda part: f"blk.{layer}.{part}.weight"
        head_dim = model.dim // model.heads
        read, values = draw(model.dim), draw(model.kv_heads * head_dim)
        model.scale(name("attn_norm"), cols=1 / read)
        for part in ("attn_q", "attn_k", "attn_v"):
            model.scale(name(part), cols=read)
        model.scale(name("attn_v"), rows=values)
        of_heads = np.repeat(values.reshape(model.kv_heads, head_dim), model.heads // model.kv_heads, axis=0)
        model.scale(name("attn_output"), cols=1 / of_heads.reshape(-1))
        read, inner = draw(model.dim), draw(model.ffn)
        model.scale(name("ffn_norm"), cols=1 / read)
        for part in ("ffn_gate", "ffn_up"):
            model.scale(name(part), cols=read)
        model.scale(name("ffn_up"), rows=inner)
        model.scale(name("ffn_down"), cols=1 / inner)


if __name__ == "__main__":
    checkpoint = Checkpoint(sys.argv[1])
    rescale(checkpoint, int(sys.argv[2]))
    checkpoint.write(sys.argv[3])
