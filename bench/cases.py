"""What is compared: shapes, weight types, and the lengths of prompt and answer."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    name: str
    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    context: int
    tied: bool


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("stories15M", 288, 6, 6, 6, 768, 32000, 1024, True),
        Shape("SmolLM2-135M", 576, 30, 9, 3, 1536, 49152, 8192, True),
        Shape("Llama-3.2-1B", 2048, 16, 32, 8, 8192, 128256, 8192, True),
        Shape("Llama-3-8B", 4096, 32, 32, 8, 14336, 128256, 8192, False),
    )
}

# Our name of a weight type, and llama.cpp's: the same bits for each weight.
KINDS = {"int4 g32": "Q4_0", "int8 g32": "Q8_0", "f16": "F16", "bf16": "BF16"}


@dataclass(frozen=True)
class Case:
    shape: str
    kind: str
    prompt: int
    decode: int
    depth: int = 0
    native: bool = False

    @property
    def name(self):
        depth = f" after {self.depth}" if self.depth else ""
        return f"{self.shape} {self.kind}{' .so' if self.native else ''}{depth}"

    @property
    def aotinductor(self):
        """What AOTInductor is given to do the same, where it is measured: its lengths are compiled in, and a model takes minutes."""
        return {"int4 g32": "int4", "bf16": "bf16"}.get(self.kind) if self.shape == "SmolLM2-135M" and not self.depth else None

    @property
    def executorch(self):
        """Whether ExecuTorch is measured: its int4 is the one format that is ours too, and an export takes a quarter of an hour."""
        return self.aotinductor == "int4"


CASES = (
    Case("stories15M", "int4 g32", 128, 128),
    Case("stories15M", "int4 g32", 128, 128, native=True),
    *(Case("SmolLM2-135M", kind, 512, 64) for kind in KINDS),
    Case("SmolLM2-135M", "f16", 512, 64, depth=4096),
    Case("SmolLM2-135M", "int4 g32", 512, 64, depth=4096),
    Case("Llama-3.2-1B", "int4 g32", 128, 48),
    Case("Llama-3-8B", "int4 g32", 64, 16),
)
