#!/usr/bin/env python3
"""Writes a GGUF file of a shape with random weights in one of llama.cpp's types, so that every program reads the same file."""
import sys

import gguf
import numpy as np

from cases import SHAPES

Type = gguf.GGMLQuantizationType
BLOCK = 32


def blocks(rng, rows, cols, data_bytes, largest):
    """Random blocks of 32 weights behind an f16 scale, which keeps the weights' variance near 1 / cols."""
    out = rng.integers(0, 256, (rows, cols // BLOCK, 2 + data_bytes), dtype=np.uint8)
    scale = rng.uniform(0.5, 1.5, (rows, cols // BLOCK)) * 1.7 / largest / np.sqrt(cols)
    out[:, :, :2] = scale.astype(np.float16).view(np.uint8).reshape(rows, cols // BLOCK, 2)
    return out.reshape(rows, -1)


def matrix(rng, kind, rows, cols):
    if kind == "Q4_0":
        return blocks(rng, rows, cols, BLOCK // 2, 8), Type.Q4_0
    if kind == "Q8_0":
        return blocks(rng, rows, cols, BLOCK, 127), Type.Q8_0
    values = rng.standard_normal((rows, cols), dtype=np.float32) / np.float32(np.sqrt(cols))
    if kind == "F16":
        return values.astype(np.float16), Type.F16
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(rows, -1), Type.BF16


def vocabulary(writer, size):
    """A SentencePiece vocabulary of the size, with all bytes, so that both programs have a tokenizer to load."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"t{i}" for i in range(len(tokens), size)]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (size - 259)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(shape, kind, path):
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"{shape.name} shape, random {kind}")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(shape.dim // shape.heads)
    vocabulary(writer, shape.vocab)

    def add(name, rows, cols):
        data, dtype = matrix(rng, kind, rows, cols)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=dtype)

    def norm(name):
        writer.add_tensor(f"{name}.weight", np.ones(shape.dim, np.float32))

    kv = shape.dim // shape.heads * shape.kv_heads
    add("token_embd", shape.vocab, shape.dim)
    if not shape.tied:
        add("output", shape.vocab, shape.dim)
    norm("output_norm")
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm")
        norm(block + "ffn_norm")
        for name, rows, cols in (
            ("attn_q", shape.dim, shape.dim),
            ("attn_k", kv, shape.dim),
            ("attn_v", kv, shape.dim),
            ("attn_output", shape.dim, shape.dim),
            ("ffn_gate", shape.ffn, shape.dim),
            ("ffn_up", shape.ffn, shape.dim),
            ("ffn_down", shape.dim, shape.ffn),
        ):
            add(block + name, rows, cols)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(SHAPES[sys.argv[1]], sys.argv[2], sys.argv[3])
