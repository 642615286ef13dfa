"""What the peers on torch share: a Llama, written as gpt-fast and torchchat write it, with the numbers of a GGUF file."""
import gguf
import torch
from torch import nn
from torch.nn import functional as F


def values(tensor):
    return torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy()).float()


class Llama(nn.Module):
    """All but the embedding, the cache, and its attention; `linear` makes a module of a matrix of the file."""

    def __init__(self, path, context, dtype, linear):
        super().__init__()
        self.context = context
        reader = gguf.GGUFReader(path)
        number = lambda key: reader.fields[f"llama.{key}"].contents()
        self.layers, self.heads, self.kv_heads = number("block_count"), number("attention.head_count"), number("attention.head_count_kv")
        self.eps, self.head_dim = number("attention.layer_norm_rms_epsilon"), number("embedding_length") // self.heads
        self.tensors = {tensor.name.removesuffix(".weight").replace(".", "_"): tensor for tensor in reader.tensors}
        matrices = {name: tensor for name, tensor in self.tensors.items() if len(tensor.shape) == 2 and name != "token_embd"}
        matrices.setdefault("output", self.tensors["token_embd"])
        self.matrices = nn.ModuleDict({name: linear(tensor) for name, tensor in matrices.items()})
        vectors = {name: values(tensor).to(dtype) for name, tensor in self.tensors.items() if len(tensor.shape) == 1}
        self.norms = nn.ParameterDict({name: nn.Parameter(vector, requires_grad=False) for name, vector in vectors.items()})
        frequencies = number("rope.freq_base") ** (-torch.arange(0, self.head_dim, 2).float() / self.head_dim)
        angles = torch.outer(torch.arange(context).float(), frequencies)
        self.register_buffer("cos", angles.cos()[:, None])
        self.register_buffer("sin", angles.sin()[:, None])

    def norm(self, x, name):
        return F.rms_norm(x, x.shape[-1:], self.norms[name], self.eps)

    def rope(self, x, cos, sin):
        even, odd = x[..., ::2].float(), x[..., 1::2].float()
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2).to(x.dtype)

    def project(self, layer, x, cos, sin):
        split = lambda part, heads: self.matrices[f"blk_{layer}_attn_{part}"](x).view(1, -1, heads, self.head_dim)
        return self.rope(split("q", self.heads), cos, sin), self.rope(split("k", self.kv_heads), cos, sin), split("v", self.kv_heads)

    def logits(self, x, cos, sin, attend):
        """Of the last token. `attend` keeps the keys and values of a layer, and returns what the queries find."""
        for layer in range(self.layers):
            found = attend(layer, *self.project(layer, self.norm(x, f"blk_{layer}_attn_norm"), cos, sin))
            x = x + self.matrices[f"blk_{layer}_attn_output"](found)
            h = self.norm(x, f"blk_{layer}_ffn_norm")
            part = lambda name, h: self.matrices[f"blk_{layer}_ffn_{name}"](h)
            x = x + part("down", F.silu(part("gate", h)) * part("up", h))
        return self.matrices["output"](self.norm(x[:, -1:], "output_norm"))
