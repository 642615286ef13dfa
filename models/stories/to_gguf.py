"""Writes the trained weights as one GGUF file: int8 in groups of 32 (Q8_0), with the tokenizer and the chat template.

    python3 to_gguf.py --run run/ --validation validation.jsonl --out stories.gguf

Prints the validation loss as trained and as stored."""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer

from model import Model, Shape
from text import CHAT_TEMPLATE, END, END_OF_TURN, SPECIALS, encode, read_documents
from train import Documents, validate

Q8_0 = gguf.GGMLQuantizationType.Q8_0
NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down", "attn_norm": "attn_norm", "ffn_norm": "ffn_norm"}


def gguf_name(name):
    """`layers.0.q.weight` as `blk.0.attn_q.weight`."""
    if name.startswith("layers."):
        _, layer, part, _ = name.split(".")
        return f"blk.{layer}.{NAMES[part]}.weight"
    return {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]


def write(path, shape, weights, tokenizer):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Stories")
    writer.add_license("apache-2.0")
    writer.add_description("Tells little stories. Made from scratch by the scripts of tcc's models/stories.")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    add_tokenizer(writer, tokenizer)
    for name, weight in weights.items():
        stored = quantize(weight, Q8_0) if weight.ndim == 2 else weight
        writer.add_tensor(gguf_name(name), stored, raw_dtype=Q8_0 if weight.ndim == 2 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer, tokenizer):
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in SPECIALS else normal for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokens.index(END))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_eot_token_id(tokens.index(END_OF_TURN))
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def as_stored(weights):
    return {name: dequantize(quantize(weight, Q8_0), Q8_0) if weight.ndim == 2 else weight for name, weight in weights.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    best = torch.load(args.run / "best.pt")
    shape = Shape(**best["shape"])
    tokenizer = Tokenizer.from_file(str(args.run / "tokenizer.json"))
    weights = {name: weight.numpy().astype(np.float32) for name, weight in best["model"].items()}
    write(args.out, shape, weights, tokenizer)
    held_out = Documents(list(encode(tokenizer, read_documents(args.validation))), shape.context, 4096, seed=0)
    model = Model(shape)
    for kind, tensors in (("trained", weights), ("stored", as_stored(weights))):
        model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
        print(f"as {kind}: validation loss {validate(model, held_out):.4f}")
    print(f"{Path(args.out).stat().st_size} bytes")


if __name__ == "__main__":
    main()
