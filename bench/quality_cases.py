"""What bench/quantization.py measures: llama.cpp's types and our recipes."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Theirs:
    """A type of llama.cpp's quantizer, with the importance matrix of the calibration text."""

    name: str
    kind: str


@dataclass(frozen=True)
class Ours:
    name: str
    recipe: dict
    # `auto` at the bits per weight that llama.cpp's file of this name takes.
    bits_of: str | None = None


def method(name):
    """The same format by each method."""
    return {"linear:kind": {"kind": "i4min", "groupsize": 64, "method": name}}


def auto(bits):
    return {"auto": {"bits_per_weight": bits}}


INT4 = {"linear:int4": {"groupsize": 32}}
EXACT = {"activations": {"dtype": "f32"}}
INT16 = {"activations": {"dtype": "int16"}}

CASES = (
    Theirs("Q8_0", "Q8_0"),
    Theirs("Q4_K_M", "Q4_K_M"),
    Theirs("Q4_0", "Q4_0"),
    Theirs("Q3_K_M", "Q3_K_M"),
    Ours("int8", {"linear:int8": {"groupsize": 32}}),
    Ours("int8, int16 activations", {"linear:int8": {"groupsize": 32}} | INT16),
    Ours("int8 gptq, int16 activations", {"linear:kind": {"kind": "i8", "method": "gptq"}, "embedding:kind": {"kind": "i8"}} | INT16),
    Ours("int4 a8w4dq", {"linear:a8w4dq": {"groupsize": 32}}),
    Ours("int4, f32 activations", INT4 | EXACT),
    *(Ours(f"i4min g64 {name}", method(name)) for name in ("nearest", "hqq", "awq", "gptq")),
    Ours("auto at Q4_K_M's size", auto(4.5), bits_of="Q4_K_M"),
    Ours("auto at Q4_0's size", auto(4.5), bits_of="Q4_0"),
    Ours("auto 3.5", auto(3.5)),
)

# What, against what, and at most what part of its divergence and of its change of perplexity.
TARGETS = (
    ("auto at Q4_K_M's size", "Q4_K_M", 0.8),
    ("auto at Q4_0's size", "Q4_0", 0.6),
    ("auto 3.5", "Q3_K_M", 1),
    ("int4 a8w4dq", "int4, f32 activations", 1.15),
)
