//! Small models as a frontend builds them, with every feature that passes must respect.

use tc_ir::{AttentionSpec, Bounds, Builder, Dtype, Graph, Quant, Scheme, Value, Weight};

pub const VOCAB: u32 = 40;
const DIM: u32 = 48;
const FFN: u32 = 88;
const HEADS: u32 = 4;
const KV_HEADS: u32 = 2;
const HEAD_DIM: u32 = 8;

#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub name: &'static str,
    pub bias: bool,
    pub qk_norm: bool,
    /// Granite's: of the embedding, of attention's and the ffn's results, and of the logits.
    pub multipliers: bool,
    pub window: Option<u32>,
    pub dtype: Dtype,
    /// Of v and up, where a recipe gives them another type.
    pub other: Dtype,
}

pub fn int(bits: u8, group: u32) -> Dtype {
    Dtype::Int(Quant { bits, group, scheme: Scheme::Scale })
}

pub fn all() -> Vec<Model> {
    let plain = Model {
        name: "llama",
        bias: false,
        qk_norm: false,
        multipliers: false,
        window: None,
        dtype: Dtype::F32,
        other: Dtype::F32,
    };
    vec![
        plain,
        Model { name: "int4", dtype: int(4, 32), other: int(4, 32), ..plain },
        Model { name: "mixed", dtype: int(4, 32), other: int(8, 32), ..plain },
        Model { name: "mistral", window: Some(3), dtype: Dtype::F16, other: Dtype::F16, ..plain },
        Model { name: "granite", multipliers: true, dtype: int(8, 64), other: int(8, 64), ..plain },
        Model { name: "qwen2", bias: true, dtype: Dtype::Bf16, other: Dtype::Bf16, ..plain },
        Model { name: "qwen3", qk_norm: true, dtype: int(8, 32), other: int(8, 32), ..plain },
        Model { name: "everything", bias: true, qk_norm: true, multipliers: true, window: Some(4), ..plain },
    ]
}

impl Model {
    pub fn build(&self) -> Graph {
        let mut g = Builder::new(self.name, Bounds { tokens: 16, rows: 16 });
        let mut x = g.embed(Weight::matrix("embed", self.dtype, VOCAB, DIM));
        x = self.scaled(&mut g, x, 3.0);
        let table = g.rope_table(Weight::vector("inv_freq", HEAD_DIM / 2), 10000.0, 1.0);
        for layer in 0..3 {
            x = self.attention(&mut g, x, table, layer);
            x = self.feed_forward(&mut g, x, layer);
        }
        x = g.gather_rows(x);
        x = g.rms_norm(x, Weight::vector("norm", DIM), 1e-5);
        let logits = g.linear(x, Weight::matrix("embed", self.dtype, VOCAB, DIM), None);
        let logits = self.scaled(&mut g, logits, 0.125);
        g.finish(logits).unwrap()
    }

    fn scaled(&self, g: &mut Builder, x: Value, factor: f32) -> Value {
        if self.multipliers { g.scale(x, factor) } else { x }
    }

    fn attention(&self, g: &mut Builder, x: Value, table: Value, layer: u32) -> Value {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let (q_width, kv_width) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        let h = g.rms_norm(x, Weight::vector(name("attention_norm"), DIM), 1e-5);
        let mut project = |part: &str, dtype, rows| {
            let bias = self.bias.then(|| Weight::vector(name(&format!("{part}.bias")), rows));
            g.linear(h, Weight::matrix(name(part), dtype, rows, DIM), bias)
        };
        let (mut q, mut k) = (project("q", self.dtype, q_width), project("k", self.dtype, kv_width));
        let v = project("v", self.other, kv_width);
        if self.qk_norm {
            q = g.head_norm(q, Weight::vector(name("q_norm"), HEAD_DIM), 1e-6, HEAD_DIM);
            k = g.head_norm(k, Weight::vector(name("k_norm"), HEAD_DIM), 1e-6, HEAD_DIM);
        }
        let (q, k) = (g.rope(q, table), g.rope(k, table));
        let spec = AttentionSpec {
            layer,
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: HEAD_DIM,
            scale: 0.35,
            window: self.window,
        };
        let y = g.attention(q, k, v, spec);
        let y = g.linear(y, Weight::matrix(name("o"), self.dtype, DIM, q_width), None);
        let y = self.scaled(g, y, 0.5);
        g.add(x, y)
    }

    fn feed_forward(&self, g: &mut Builder, x: Value, layer: u32) -> Value {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let h = g.rms_norm(x, Weight::vector(name("ffn_norm"), DIM), 1e-5);
        let gate = g.linear(h, Weight::matrix(name("gate"), self.dtype, FFN, DIM), None);
        let up = g.linear(h, Weight::matrix(name("up"), self.other, FFN, DIM), None);
        let gate = g.silu(gate);
        let h = g.mul(gate, up);
        let y = g.linear(h, Weight::matrix(name("down"), self.dtype, DIM, FFN), None);
        let y = self.scaled(g, y, 0.5);
        g.add(x, y)
    }
}

/// What the weights of a graph are in these tests: numbers that their names seed, of about 1 / sqrt(inputs); norms near 1.
pub fn weights(graph: &Graph) -> impl FnMut(&str) -> Option<Vec<f32>> {
    let mut types = std::collections::HashMap::new();
    for node in &graph.nodes {
        let mut note = |weight: &Weight| types.extend(weight.parts.iter().map(|p| (p.name.clone(), p.ty.clone())));
        node.op.weights(&mut |weight| note(weight));
    }
    move |name| {
        let ty = types.get(name)?;
        let (center, spread) = match ty.as_matrix() {
            Some((_, cols)) => (0.0, 2.0 / (cols as f32).sqrt()),
            None if name.ends_with("norm") => (1.0, 0.3),
            None => (0.3, 0.3),
        };
        let noise = noise(name, ty.constant_size()?);
        Some(noise.into_iter().map(|x| center + spread * x).collect())
    }
}

/// Numbers in (-1, 1).
fn noise(name: &str, len: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(17u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}
