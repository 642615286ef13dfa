//! A GGUF file's header: key/value metadata, and where each tensor lies.
//!
//! Layout: `GGUF`, version u32, tensor count u64, metadata count u64; each key a string and a value; for each tensor a name, its
//! dimensions (columns first), its type and its offset from the data, which begins at the next multiple of the alignment.
//! Versions 2 and 3 are laid out alike (3 added big-endian files).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::encoding::Encoding;
use super::super::error::{CheckpointError, Result, error};
use super::super::file::{Cursor, SourceFile};
use super::super::tensor::{Place, Tensor};

pub const MAGIC: &[u8; 4] = b"GGUF";

/// A metadata value. Integers of every width are one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
}

#[derive(Debug)]
pub struct Header {
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, Result<Tensor>>,
}

/// A tensor as the header describes it.
struct Info {
    name: String,
    shape: Vec<usize>,
    kind: u32,
    offset: usize,
}

pub fn read(file: &Arc<SourceFile>) -> Result<Header> {
    let mut cursor = Cursor::new(file.bytes());
    let fault = |e: CheckpointError| file.fault(e);
    let (metadata, infos) = read_all(&mut cursor).map_err(fault)?;
    let data = data_start(&metadata, cursor.position()).map_err(fault)?;
    let tensors = infos.iter().map(|info| (info.name.clone(), place(file, data, info))).collect();
    check_overlaps(&infos).map_err(fault)?;
    Ok(Header { metadata, tensors })
}

fn read_all(cursor: &mut Cursor) -> Result<(BTreeMap<String, Value>, Vec<Info>)> {
    if &cursor.array::<4>()? != MAGIC {
        return Err(error!("is not a GGUF file"));
    }
    match cursor.u32()? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => return Err(error!("is a big-endian GGUF file")),
        version => return Err(error!("is GGUF version {version}; 2 and 3 are supported")),
    }
    let (tensors, pairs) = (cursor.length()?, cursor.length()?);
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        let key = text(cursor).map_err(|e| e.at("a metadata key"))?;
        let kind = cursor.u32()?;
        let value = value(cursor, kind).map_err(|e| e.at(format_args!("\"{key}\"")))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(error!("\"{key}\": is there twice"));
        }
    }
    let mut infos: Vec<Info> = Vec::new();
    for _ in 0..tensors {
        infos.push(info(cursor)?);
    }
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    match infos.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(error!("tensor {}: is there twice", pair[0].name)),
        None => Ok((metadata, infos)),
    }
}

fn text(cursor: &mut Cursor) -> Result<String> {
    let len = cursor.length()?;
    // Vocabularies hold pieces of UTF-8 characters; what is not UTF-8 stays visible as such.
    Ok(String::from_utf8_lossy(cursor.take(len)?).into_owned())
}

fn value(cursor: &mut Cursor, kind: u32) -> Result<Value> {
    Ok(match kind {
        0 => Value::Int(i128::from(cursor.u8()?)),
        1 => Value::Int(i128::from(cursor.u8()? as i8)),
        2 => Value::Int(i128::from(cursor.u16()?)),
        3 => Value::Int(i128::from(cursor.u16()? as i16)),
        4 => Value::Int(i128::from(cursor.u32()?)),
        5 => Value::Int(i128::from(cursor.i32()?)),
        6 => Value::Float(f64::from(f32::from_le_bytes(cursor.array()?))),
        7 => Value::Bool(cursor.u8()? != 0),
        8 => Value::Text(text(cursor)?),
        9 => array(cursor)?,
        10 => Value::Int(i128::from(cursor.u64()?)),
        11 => Value::Int(i128::from(cursor.u64()? as i64)),
        12 => Value::Float(f64::from_le_bytes(cursor.array()?)),
        other => return Err(error!("byte {}: {other} is not a type of value", cursor.position())),
    })
}

/// Capacity is never taken from the count alone: every element read is bounded by the bytes that are left.
fn array(cursor: &mut Cursor) -> Result<Value> {
    let (kind, count) = (cursor.u32()?, cursor.length()?);
    if count > cursor.remaining() {
        return Err(error!("byte {}: an array of {count} does not fit in the file", cursor.position()));
    }
    if kind == 9 {
        return Err(error!("byte {}: an array of arrays", cursor.position()));
    }
    let (mut texts, mut ints, mut floats, mut bools) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        match value(cursor, kind)? {
            Value::Text(text) => texts.push(text),
            Value::Float(float) => floats.push(float as f32),
            Value::Bool(bool) => bools.push(bool),
            // A u64 beyond i64 is no token, count or type; it saturates.
            Value::Int(int) => ints.push(i64::try_from(int).unwrap_or(i64::MAX)),
            Value::Texts(_) | Value::Ints(_) | Value::Floats(_) | Value::Bools(_) => {}
        }
    }
    Ok(match kind {
        8 => Value::Texts(texts),
        6 | 12 => Value::Floats(floats),
        7 => Value::Bools(bools),
        _ => Value::Ints(ints),
    })
}

fn info(cursor: &mut Cursor) -> Result<Info> {
    let name = text(cursor).map_err(|e| e.at("a tensor's name"))?;
    let fault = |e: CheckpointError| e.at(format_args!("tensor {name}"));
    let dims = cursor.u32().map_err(fault)?;
    if !(1..=4).contains(&dims) {
        return Err(fault(error!("has {dims} dimensions")));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        shape.push(cursor.length().map_err(fault)?);
    }
    while shape.len() > 1 && shape.last() == Some(&1) {
        shape.pop();
    }
    shape.reverse();
    let kind = cursor.u32().map_err(fault)?;
    let offset = cursor.length().map_err(fault)?;
    Ok(Info { name, shape, kind, offset })
}

fn data_start(metadata: &BTreeMap<String, Value>, header_end: usize) -> Result<usize> {
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Int(value @ 1..=65536)) => *value as usize,
        Some(other) => return Err(error!("\"general.alignment\" is {other:?}")),
    };
    Ok(header_end.next_multiple_of(alignment))
}

fn place(file: &Arc<SourceFile>, data: usize, info: &Info) -> Result<Tensor> {
    let encoding = encoding(info.kind)
        .map_err(|name| file.fault(error!("tensor {}: the type {name} is not supported", info.name)))?;
    let offset = info.offset.saturating_add(data);
    Tensor::stored(&info.name, &info.shape, Place { file: Arc::clone(file), offset, encoding })
}

/// Two tensors that share bytes: one of the offsets is wrong.
fn check_overlaps(infos: &[Info]) -> Result<()> {
    let mut spans: Vec<(usize, usize, &str)> = infos
        .iter()
        .filter_map(|info| {
            let elements = info.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
            let len = encoding(info.kind).ok()?.bytes(elements)?;
            Some((info.offset, info.offset.saturating_add(len), info.name.as_str()))
        })
        .collect();
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(error!("tensors {} and {} overlap", pair[0].2, pair[1].2)),
        None => Ok(()),
    }
}

/// `enum ggml_type`; the error is the name of a type that is not read.
fn encoding(kind: u32) -> std::result::Result<Encoding, String> {
    Ok(match kind {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        10 => Encoding::Q2K,
        11 => Encoding::Q3K,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        20 => Encoding::Iq4Nl,
        23 => Encoding::Iq4Xs,
        28 => Encoding::F64,
        30 => Encoding::Bf16,
        other => {
            let known = UNSUPPORTED.iter().find(|(id, _)| *id == other);
            return Err(known.map_or_else(|| other.to_string(), |(_, name)| name.to_string()));
        }
    })
}

const UNSUPPORTED: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];
