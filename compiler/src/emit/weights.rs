//! Packing the weights into the file, on every core. The work is cut into chunks of blocks; each worker packs a chunk and writes it to
//! its place, so what is in memory is a chunk a worker, whatever the model's size.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tc_kernels::abi::BLOCK_ROWS;
use tc_kernels::layout::block_bytes;
use tcrt::program::header::DATA_ALIGN;
use xxhash_rust::xxh3::xxh3_128;

use super::constants::Numbers;
use super::pack::pack_blocks;
use super::{Artifact, EmitError};
use crate::checkpoint::Tensor;
use crate::files::WriteError;
use crate::program::{Program, Storage, Weight};
use crate::recipe::WeightType;

/// Told the packed bytes so far and in all, from any thread; breaking cancels the export.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync);

/// Packed bytes that a worker has in memory.
const CHUNK_BYTES: usize = 1 << 20;

/// Each of so many chunks has all before it on the disk, so that not all of the writing is left to the end.
const SYNCED: usize = 64;

/// Workers beyond one for each core, for those that wait for the disk.
const WAITING: usize = 2;

/// Where each weight begins among all of them, and how many bytes they are together.
pub fn place(program: &Program) -> (Vec<u64>, u64) {
    let mut end = 0u64;
    let place = |weight: &Weight| {
        let offset = end.next_multiple_of(DATA_ALIGN);
        end = offset + weight.bytes();
        offset
    };
    let offsets = program.weights.iter().map(place).collect();
    // Kernels read vectors in blocks: the last one ends in bytes of the segment.
    (offsets, end.next_multiple_of(DATA_ALIGN))
}

/// A piece of work: bytes of the file, and where they come from.
enum Chunk<'a> {
    Vector { offset: u64, values: &'a [f32] },
    Blocks { offset: u64, bytes: usize, tensor: &'a Tensor, weight: WeightType, row: usize },
}

/// Writes every weight of an artifact to its place after byte `begin` of the file. Returns a hash of all the bytes, in order.
pub fn write(
    temporary: &tempfile::NamedTempFile,
    path: &Path,
    artifact: &Artifact,
    begin: u64,
    progress: Progress,
) -> Result<u128, EmitError> {
    let numbers = artifact.program.weights.iter().map(|weight| artifact.constants.numbers(weight));
    let numbers: Vec<Numbers> = numbers.collect::<Result<_, _>>()?;
    let chunks = chunks(artifact, begin, &numbers);
    let total = chunks.iter().map(Chunk::bytes).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let workers = std::thread::available_parallelism().map_or(1, usize::from) + WAITING;
    let work = || -> Result<Vec<(usize, u128)>, EmitError> {
        let mut file = temporary.reopen().map_err(WriteError::at(path))?;
        let (mut bytes, mut hashes) = (Vec::new(), Vec::new());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(at) else { return Ok(hashes) };
            chunk.pack(&mut bytes)?;
            hashes.push((at, xxh3_128(&bytes)));
            write_at(&mut file, chunk.offset(), &bytes).map_err(WriteError::at(path))?;
            if at % SYNCED == SYNCED - 1 {
                file.sync_data().map_err(WriteError::at(path))?;
            }
            let done = done.fetch_add(chunk.bytes(), Ordering::Relaxed) + chunk.bytes();
            if progress(done, total).is_break() {
                return Err(EmitError::Cancelled);
            }
        }
    };
    // Where one fails, the others find no more chunks.
    let work = || work().inspect_err(|_| next.store(chunks.len(), Ordering::Relaxed));
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut hashes: Vec<(usize, u128)> = results.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    hashes.sort_unstable();
    Ok(xxh3_128(&hashes.iter().flat_map(|(_, hash)| hash.to_le_bytes()).collect::<Vec<u8>>()))
}

fn write_at(file: &mut File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

fn chunks<'a>(artifact: &Artifact, begin: u64, numbers: &'a [Numbers]) -> Vec<Chunk<'a>> {
    let mut chunks = Vec::new();
    let placed = artifact.program.weights.iter().zip(place(artifact.program).0);
    for ((weight, offset), numbers) in placed.zip(numbers) {
        let offset = begin + offset;
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
