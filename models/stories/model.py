"""The model: Llama's architecture, small. Rope turns neighboring pairs, which is how GGUF files hold Llama's weights, so that no row needs to move."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    vocab: int = 2560
    dim: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 352
    context: int = 1024
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self):
        return self.dim // self.heads


def rotate(x, cos, sin):
    """`x`: batch, heads, positions, head_dim; pairs (0, 1), (2, 3), … turn by the position's angles."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head_dim
        self.attn_norm, self.ffn_norm = (nn.RMSNorm(shape.dim, eps=shape.norm_eps) for _ in range(2))
        self.q, self.o = (nn.Linear(shape.dim, shape.dim, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(shape.dim, kv, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(shape.dim, shape.ffn, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.ffn, shape.dim, bias=False)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attn_norm(x), cos, sin)
        y = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))

    def attention(self, x, cos, sin):
        batch, length, dim = x.shape
        heads = lambda y: y.view(batch, length, -1, self.shape.head_dim).transpose(1, 2)
        q, k, v = rotate(heads(self.q(x)), cos, sin), rotate(heads(self.k(x)), cos, sin), heads(self.v(x))
        repeats = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(batch, length, dim))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab, shape.dim)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        angles = torch.outer(
            torch.arange(shape.context).float(),
            shape.rope_base ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim),
        )
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        for layer in self.layers:
            for matrix in (layer.q, layer.k, layer.v, layer.gate, layer.up):
                nn.init.normal_(matrix.weight, std=shape.dim**-0.5)
            nn.init.zeros_(layer.o.weight)
            nn.init.zeros_(layer.down.weight)

    def forward(self, tokens):
        return self.logits(self.hidden(tokens))

    def logits(self, hidden):
        return F.linear(hidden, self.embedding.weight)

    def hidden(self, tokens):
        x = self.embedding(tokens)
        length = tokens.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        return self.norm(x)

    def matrices(self):
        return [p for layer in self.layers for p in layer.parameters() if p.ndim == 2]
