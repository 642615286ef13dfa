//! Packing the weights into the file, on every core. The work is cut into chunks of blocks; each worker packs a chunk and writes it to
//! its place, so what is in memory is a chunk a worker, whatever the model's size.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tc_kernels::abi::BLOCK_ROWS;
use tc_kernels::layout::block_bytes;
use tcrt::program as file;

use super::super::constants::Numbers;
use super::super::pack::pack_blocks;
use super::super::{Artifact, EmitError};
use crate::checkpoint::Tensor;
use crate::files::WriteError;
use crate::program::Storage;
use crate::recipe::WeightType;

/// Told the packed bytes so far and in all, from any thread; breaking cancels the export.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync);

/// Packed bytes that a worker has in memory.
const CHUNK_BYTES: usize = 1 << 20;

/// A piece of work: bytes of the file, and where they come from.
enum Chunk<'a> {
    Vector { offset: u64, values: &'a [f32] },
    Blocks { offset: u64, bytes: usize, tensor: &'a Tensor, weight: WeightType, row: usize },
}

pub fn write(
    temporary: &tempfile::NamedTempFile,
    path: &Path,
    artifact: &Artifact,
    program: &file::Program,
    progress: Progress,
) -> Result<(), EmitError> {
    let numbers = artifact.program.weights.iter().map(|weight| artifact.constants.numbers(weight));
    let numbers: Vec<Numbers> = numbers.collect::<Result<_, _>>()?;
    let chunks = chunks(artifact, program, &numbers);
    let total = chunks.iter().map(Chunk::bytes).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let failure: Mutex<Option<EmitError>> = Mutex::new(None);
    let work = || -> Result<(), EmitError> {
        let mut file = temporary.reopen().map_err(WriteError::at(path))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            chunk.pack(&mut bytes)?;
            write_at(&mut file, chunk.offset(), &bytes).map_err(WriteError::at(path))?;
            let done = done.fetch_add(chunk.bytes(), Ordering::Relaxed) + chunk.bytes();
            if progress(done, total).is_break() {
                return Err(EmitError::Cancelled);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                if let Err(error) = work() {
                    // The others find no more chunks.
                    next.store(chunks.len(), Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    failure.get_or_insert(error);
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
}

fn write_at(file: &mut File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

fn chunks<'a>(artifact: &Artifact, program: &file::Program, numbers: &'a [Numbers]) -> Vec<Chunk<'a>> {
    let mut chunks = Vec::new();
    for ((weight, placed), numbers) in artifact.program.weights.iter().zip(&program.weights).zip(numbers) {
        let offset = program.weights_segment.offset + placed.offset;
        match (numbers, weight.storage) {
            (Numbers::Matrix(tensor), Storage::Packed(weight)) => cut(tensor, weight, offset, &mut chunks),
            (Numbers::Vector(values), _) => chunks.push(Chunk::Vector { offset, values }),
            // `Constants::numbers` reads a packed weight as a matrix.
            (Numbers::Matrix(_), Storage::Vector) => {}
        }
    }
    chunks
}

fn cut<'a>(tensor: &'a Tensor, weight: WeightType, offset: u64, chunks: &mut Vec<Chunk<'a>>) {
    let block = block_bytes(weight.kind, tensor.cols(), weight.group as usize);
    let blocks = tensor.rows().div_ceil(BLOCK_ROWS);
    let step = (CHUNK_BYTES / block).max(1);
    chunks.extend((0..blocks).step_by(step).map(|first| Chunk::Blocks {
        offset: offset + (first * block) as u64,
        bytes: step.min(blocks - first) * block,
        tensor,
        weight,
        row: first * BLOCK_ROWS,
    }));
}

impl Chunk<'_> {
    fn offset(&self) -> u64 {
        match self {
            Chunk::Vector { offset, .. } | Chunk::Blocks { offset, .. } => *offset,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Chunk::Vector { values, .. } => 4 * values.len() as u64,
            Chunk::Blocks { bytes, .. } => *bytes as u64,
        }
    }

    fn pack(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Chunk::Vector { values, .. } => {
                out.clear();
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                Ok(())
            }
            Chunk::Blocks { bytes, tensor, weight, row, .. } => {
                out.resize(*bytes, 0);
                pack_blocks(tensor, *weight, *row, out)
            }
        }
    }
}
