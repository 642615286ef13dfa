//! Instruction selection: one op, one kernel, one buffer for its result.

use std::collections::HashMap;

use tc_ir::{Dim, Dtype, Graph, Node, Op, Scheme, Value, Weight as IrWeight};
use tc_kernels::layout::{Format, Kind, Values};
use tc_kernels::signature;

use super::LowerError;
use crate::program::{Buffer, BufferKind, Instruction, Operand, Storage, Weight};
use crate::recipe::WeightType;

#[derive(Debug)]
pub struct Selected {
    pub weights: Vec<Weight>,
    pub buffers: Vec<Buffer>,
    pub instructions: Vec<Instruction>,
    pub logits: u32,
}

/// What an op becomes, before its result is appended to the operands.
struct Kernel {
    name: &'static str,
    operands: Vec<Operand>,
    ints: Vec<i64>,
    floats: Vec<f32>,
}

#[derive(Default)]
struct Selector {
    weights: Vec<Weight>,
    /// By parts: equal weights are stored once.
    weight_index: HashMap<Vec<String>, u32>,
}

pub fn select(graph: &Graph) -> Result<Selected, LowerError> {
    let mut selector = Selector::default();
    let (mut buffers, mut instructions) = (Vec::new(), Vec::new());
    for (value, node) in graph.iter() {
        buffers.push(buffer(value, node)?);
        instructions.push(selector.instruction(graph, value, node)?);
    }
    Ok(Selected { weights: selector.weights, buffers, instructions, logits: graph.output.0 })
}

fn buffer(value: Value, node: &Node) -> Result<Buffer, LowerError> {
    let bad = || LowerError::BadType(value.to_string(), format!("no buffer holds {}", node.ty));
    let (rows, width) = node.ty.as_activation().ok_or_else(bad)?;
    let kind = match node.ty.dtype {
        Dtype::F32 => BufferKind::F32,
        Dtype::Q8 => BufferKind::Q8,
        Dtype::Q8x2 => BufferKind::Q8x2,
        Dtype::F16 | Dtype::Bf16 | Dtype::Int(_) => return Err(bad()),
    };
    Ok(Buffer { name: value.to_string(), kind, width, over_rows: rows == Dim::Rows, offset: 0 })
}

impl Selector {
    fn instruction(&mut self, graph: &Graph, value: Value, node: &Node) -> Result<Instruction, LowerError> {
        let no_kernel = || LowerError::NoKernel(format!("{value} = {}", node.op.name()));
        let mut kernel = self.kernel(graph, &node.op)?.ok_or_else(no_kernel)?;
        kernel.operands.push(Operand::Buffer(value.0));
        Ok(Instruction {
            kernel: signature::find(kernel.name).ok_or_else(no_kernel)?,
            operands: kernel.operands,
            ints: kernel.ints,
            floats: kernel.floats,
            barrier: false,
            note: note(value, node),
        })
    }

    /// Operands, ints and floats in the order of `signature.rs`; `None` for an op that no kernel computes.
    fn kernel(&mut self, graph: &Graph, op: &Op) -> Result<Option<Kernel>, LowerError> {
        let kernel =
            |name, operands: Vec<Operand>, ints: Vec<i64>, floats: Vec<f32>| Kernel { name, operands, ints, floats };
        Ok(Some(match op {
            Op::Embed { table, scale } => kernel("embed", vec![self.weight(table)?], vec![], vec![*scale]),
            Op::RopeTable { inv_freq, theta, magnitude, dynamic_factor, original } => kernel(
                "rope_table",
                vec![self.weight(inv_freq)?],
                vec![i64::from(*original)],
                vec![*magnitude, *theta, *dynamic_factor],
            ),
            Op::RmsNorm { x, w, eps, chunk: None } => {
                kernel("rms_norm", vec![read(*x), self.weight(w)?], vec![], vec![*eps])
            }
            Op::RmsNormQ8 { x, w, eps, planes } => {
                let name = if *planes == 1 { "rms_norm_q8" } else { "rms_norm_q8x2" };
                kernel(name, vec![read(*x), self.weight(w)?], vec![], vec![*eps])
            }
            Op::QuantizeQ8 { x, planes } => {
                let name = if *planes == 1 { "quantize_q8" } else { "quantize_q8x2" };
                kernel(name, vec![read(*x)], vec![], vec![])
            }
            Op::Linear { x, w, bias, residual, alpha } => {
                kernel("linear", self.linear(*x, w, bias.as_ref(), *residual)?, vec![], vec![*alpha])
            }
            Op::LinearQ8 { x, w, bias, residual, alpha } => {
                let name = if graph.ty(*x).dtype == Dtype::Q8 { "linear_q8" } else { "linear_q8x2" };
                kernel(name, self.linear(*x, w, bias.as_ref(), *residual)?, vec![], vec![*alpha])
            }
            Op::Swiglu { x } => kernel("swiglu", vec![read(*x)], vec![], vec![]),
            Op::SwigluQ8 { x, planes } => {
                let name = if *planes == 1 { "swiglu_q8" } else { "swiglu_q8x2" };
                kernel(name, vec![read(*x)], vec![], vec![])
            }
            Op::RopeKv { qkv, table, q_norm, k_norm, layer, heads, kv_heads, head_dim, eps } => kernel(
                "rope_kv",
                vec![read(*qkv), read(*table), self.optional(q_norm.as_ref())?, self.optional(k_norm.as_ref())?],
                [*heads, *kv_heads, *head_dim, *layer].map(i64::from).to_vec(),
                vec![*eps],
            ),
            Op::CachedAttention { q, layer, heads, kv_heads, head_dim, scale, window } => kernel(
                "attention",
                vec![read(*q)],
                [*heads, *kv_heads, *head_dim, *layer, window.unwrap_or(0)].map(i64::from).to_vec(),
                vec![*scale],
            ),
            Op::GatherRows { x } => kernel("gather_rows", vec![read(*x)], vec![], vec![]),
            Op::ConcatCols { a, b } => kernel("concat_cols", vec![read(*a), read(*b)], vec![], vec![]),
            Op::Add { a, b, scale } => kernel("add", vec![read(*a), read(*b)], vec![], vec![*scale]),
            Op::Mul { a, b } => kernel("mul", vec![read(*a), read(*b)], vec![], vec![]),
            Op::Silu { x } => kernel("silu", vec![read(*x)], vec![], vec![]),
            Op::Scale { x, factor } => kernel("scale", vec![read(*x)], vec![], vec![*factor]),
            Op::RmsNorm { chunk: Some(_), .. } | Op::Rope { .. } | Op::Attention { .. } | Op::SliceCols { .. } => {
                return Ok(None);
            }
        }))
    }

    fn linear(
        &mut self,
        x: Value,
        w: &IrWeight,
        bias: Option<&IrWeight>,
        residual: Option<Value>,
    ) -> Result<Vec<Operand>, LowerError> {
        Ok(vec![read(x), self.weight(w)?, self.optional(bias)?, residual.map_or(Operand::None, read)])
    }

    fn optional(&mut self, weight: Option<&IrWeight>) -> Result<Operand, LowerError> {
        weight.map_or(Ok(Operand::None), |weight| self.weight(weight))
    }

    fn weight(&mut self, weight: &IrWeight) -> Result<Operand, LowerError> {
        let parts: Vec<String> = weight.parts.iter().map(|part| part.name.clone()).collect();
        if let Some(index) = self.weight_index.get(&parts) {
            return Ok(Operand::Weight(*index));
        }
        let index = self.weights.len() as u32;
        self.weights.push(stored(weight, parts.clone())?);
        self.weight_index.insert(parts, index);
        Ok(Operand::Weight(index))
    }
}

fn read(value: Value) -> Operand {
    Operand::Buffer(value.0)
}

fn stored(weight: &IrWeight, parts: Vec<String>) -> Result<Weight, LowerError> {
    let name = merged_name(&parts);
    let bad = |why: String| LowerError::BadType(format!("@{name}"), why);
    let ty = weight.ty().map_err(bad)?;
    if let Some(rows) = ty.as_vector() {
        return Ok(Weight { name, parts, storage: Storage::Vector, rows, cols: 1 });
    }
    let (Some((rows, cols)), Some(packed)) = (ty.as_matrix(), weight_type(ty.dtype)) else {
        return Err(bad(format!("no layout holds {ty}")));
    };
    Ok(Weight { name, parts, storage: Storage::Packed(packed), rows, cols })
}

/// `layers.0.q+k+v` for the three matrices of a layer.
fn merged_name(parts: &[String]) -> String {
    let layer = parts.first().and_then(|first| Some(first.rsplit_once('.')?.0)).unwrap_or_default();
    let short = |part: &String| part.strip_prefix(layer).and_then(|rest| rest.strip_prefix('.')).map(str::to_string);
    let shorts: Option<Vec<String>> = parts.iter().skip(1).map(short).collect();
    match (parts, shorts) {
        ([first], _) => first.clone(),
        ([first, ..], Some(shorts)) => format!("{first}+{}", shorts.join("+")),
        _ => parts.join("+"),
    }
}

/// The IR's dtype of a stored format.
pub fn dtype(weight: WeightType) -> Dtype {
    match (weight.kind, weight.kind.format()) {
        (_, Some(format)) => {
            Dtype::Int(tc_ir::Quant { bits: format.bits as u8, group: weight.group, scheme: scheme(format) })
        }
        (Kind::F16, None) => Dtype::F16,
        (Kind::Bf16, None) => Dtype::Bf16,
        (_, None) => Dtype::F32,
    }
}

fn scheme(format: Format) -> Scheme {
    match format {
        Format { values: Values::Table(_), .. } => Scheme::Table,
        Format { values: Values::Trellis(_), .. } => Scheme::Trellis,
        Format { sub: 0, min: false, .. } => Scheme::Scale,
        Format { sub: 0, min: true, .. } => Scheme::Minimum,
        _ => Scheme::SubScales,
    }
}

fn weight_type(dtype: Dtype) -> Option<WeightType> {
    let (kind, group) = match dtype {
        Dtype::F32 => (Kind::F32, 0),
        Dtype::F16 => (Kind::F16, 0),
        Dtype::Bf16 => (Kind::Bf16, 0),
        Dtype::Int(quant) => {
            let is_it = |format: Format| (format.bits as u8, scheme(format)) == (quant.bits, quant.scheme);
            (Kind::ALL.into_iter().find(|kind| kind.format().is_some_and(is_it))?, quant.group)
        }
        Dtype::Q8 | Dtype::Q8x2 => return None,
    };
    (kind.is_quantized() == (group > 0) && group.is_multiple_of(32)).then_some(WeightType { kind, group })
}

/// What the op was: its value, its name, its weights.
fn note(value: Value, node: &Node) -> String {
    let mut note = format!("{value} = {}", node.op.name());
    node.op.weights(&mut |weight| {
        let parts: Vec<String> = weight.parts.iter().map(|part| part.name.clone()).collect();
        note.push(' ');
        note.push_str(&merged_name(&parts));
    });
    note
}
