//! Files of safetensors: a JSON header with every tensor's dtype, shape and place. The `safetensors` crate reads the header and
//! checks that places are in the file and do not overlap.

use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};

use super::assemble::Found;
use super::encoding::Encoding;
use super::error::{CheckpointError, Result, error};
use super::file::SourceFile;
use super::tensor::{Place, Tensor};

/// The header's length, then an opening brace: no other format begins so.
pub fn recognise(bytes: &[u8]) -> bool {
    let header = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    header.is_some_and(|length| (2..1 << 32).contains(&length)) && bytes.get(8) == Some(&b'{')
}

pub fn read(file: &Arc<SourceFile>, found: &mut Found) -> Result<()> {
    let header = SafeTensors::read_metadata(file.bytes()).map_err(|e| file.fault(CheckpointError::new(e)))?;
    let (header_len, metadata) = header;
    let data = header_len + size_of::<u64>();
    for (name, info) in metadata.tensors() {
        let tensor = tensor(file, &name, info, data);
        if found.insert(name.clone(), tensor).is_some() {
            return Err(file.fault(error!("tensor {name}: is in another file as well")));
        }
    }
    Ok(())
}

fn tensor(file: &Arc<SourceFile>, name: &str, info: &TensorInfo, data: usize) -> Result<Tensor> {
    let encoding = match info.dtype {
        Dtype::F64 => Encoding::F64,
        Dtype::F32 => Encoding::F32,
        Dtype::F16 => Encoding::F16,
        Dtype::BF16 => Encoding::Bf16,
        Dtype::I8 => Encoding::I8,
        Dtype::I32 => Encoding::I32,
        Dtype::I64 => Encoding::I64,
        other => return Err(file.fault(error!("tensor {name}: dtype {other:?} is not one that weights have"))),
    };
    let offset = info.data_offsets.0.saturating_add(data);
    // A single number has no dimensions.
    let shape: &[usize] = if info.shape.is_empty() { &[1] } else { &info.shape };
    Tensor::stored(name, shape, Place { file: Arc::clone(file), offset, encoding })
}
