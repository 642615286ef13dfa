"""The generator both sides derive weights from; its twin is tests/src/synthetic.rs, and a shared check vector holds them together.

For the tensor NAME (Hugging Face name, UTF-8), row-major element index i and a seed, all in wrapping 64-bit integers:

    state = (fnv1a64(NAME) ^ (seed * 0x9E3779B97F4A7C15)) + i
    z     = splitmix64(state)              # the output function, after adding 0x9E3779B97F4A7C15 to its argument
    unit  = (z >> 40) * 2^-23 - 1          # in [-1, 1), exact in f32
    value = 1 + unit * 2^-2                for a norm's gain       (the name ends in "norm.weight")
            unit * 2^-2                    for a bias              (the name ends in ".bias")
            unit                           for the token embedding (the name ends in "embed_tokens.weight")
            unit * 2^(1 - log2(cols) / 2)  for a linear layer, the exponent in integers (both divisions rounded down)

Every value is exact in f32. The linear layers' scale keeps activations near 1 and logits lively at any width.
"""
import numpy as np

GOLDEN_RATIO = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix64(state):
    z = state + np.uint64(GOLDEN_RATIO)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bits(name, count, seed):
    """The first `count` 64-bit outputs of the tensor's stream."""
    start = fnv1a64(name) ^ ((seed * GOLDEN_RATIO) & MASK)
    return splitmix64(np.uint64(start) + np.arange(count, dtype=np.uint64))


def tensor(name, shape, seed):
    unit = (bits(name, int(np.prod(shape)), seed) >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    unit = unit.reshape(shape)
    if name.endswith("norm.weight"):
        return np.float32(1) + unit * np.float32(0.25)
    if name.endswith(".bias"):
        return unit * np.float32(0.25)
    if name.endswith("embed_tokens.weight"):
        return unit
    return unit * np.float32(2.0 ** (1 - (shape[-1].bit_length() - 1) // 2))


def tokens(label, count, vocab, seed):
    """A prompt: ids below `vocab` from the stream named `label`."""
    return [int(z >> np.uint64(33)) % vocab for z in bits(label, count, seed)]
