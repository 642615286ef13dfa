//! The shapes that synthetic checkpoints can have.

/// A model's shape, as `tcc synth --shape` names it.
#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    pub dim: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub ffn: usize,
    pub vocab: usize,
    pub positions: usize,
    pub theta: f64,
    pub tied: bool,
    pub llama32_rope: bool,
}

const PLAIN: Shape = Shape {
    name: "tiny",
    dim: 64,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    ffn: 172,
    vocab: 512,
    positions: 128,
    theta: 10000.0,
    tied: true,
    llama32_rope: false,
};

pub const SHAPES: [Shape; 5] = [
    PLAIN,
    Shape {
        name: "stories15M",
        dim: 288,
        layers: 6,
        heads: 6,
        kv_heads: 6,
        ffn: 768,
        vocab: 32000,
        positions: 256,
        ..PLAIN
    },
    Shape {
        name: "smollm2-135m",
        dim: 576,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        ffn: 1536,
        vocab: 49152,
        positions: 8192,
        theta: 100000.0,
        ..PLAIN
    },
    Shape {
        name: "llama3.2-1b",
        dim: 2048,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        ffn: 8192,
        vocab: 128256,
        positions: 131072,
        theta: 500000.0,
        llama32_rope: true,
        ..PLAIN
    },
    Shape {
        name: "llama3-8b",
        dim: 4096,
        layers: 32,
        heads: 32,
        kv_heads: 8,
        ffn: 14336,
        vocab: 128256,
        positions: 8192,
        theta: 500000.0,
        tied: false,
        ..PLAIN
    },
];
