//! `.pte` files. Every offset is known before the first byte is written: header, flatbuffer and the small segments go out at once,
//! then the weights, packed in parallel straight into their places.

mod encode;
pub(super) mod layout;
#[cfg(test)]
mod tests;

use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;

use tcrt::program::header::Header;
use tcrt::sys::Mapping;
use tempfile::NamedTempFile;

use super::{Artifact, EmitError, Progress, Written, weights};
use crate::files::{WriteError, temporary_beside};

/// Writes to a temporary file beside `path`, which the reader that will load it checks before it gets its name. On any error,
/// nothing is left behind.
pub fn write(path: &Path, artifact: &Artifact, progress: Progress) -> Result<Written, EmitError> {
    let failed = WriteError::at(path);
    let mut file = temporary_beside(path).map_err(&failed)?;
    let written = fill(&mut file, path, artifact, progress)?;
    file.as_file().sync_all().map_err(&failed)?;
    verify(file.path())?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(written)
}

/// Writes to a temporary file, for a program that is run at once and then forgotten.
pub fn write_temporary(artifact: &Artifact) -> Result<NamedTempFile, EmitError> {
    let path = std::env::temp_dir();
    let mut file = NamedTempFile::new().map_err(WriteError::at(&path))?;
    fill(&mut file, &path, artifact, &|_, _| ControlFlow::Continue(()))?;
    Ok(file)
}

/// `path` is for errors.
fn fill(file: &mut NamedTempFile, path: &Path, artifact: &Artifact, progress: Progress) -> Result<Written, EmitError> {
    let layout = layout::layout(artifact)?;
    write_small_parts(file.as_file_mut(), artifact, &layout).map_err(WriteError::at(path))?;
    let weight_bytes = layout.program.weights_segment.size;
    weights::write(file, path, artifact, layout.program.weights_segment.offset, progress)?;
    Ok(Written { file_bytes: layout.file_size, weight_bytes })
}

fn write_small_parts(file: &mut std::fs::File, artifact: &Artifact, layout: &layout::Layout) -> std::io::Result<()> {
    let program = &layout.program;
    let header = Header::new(layout::PROGRAM_OFFSET, layout.flatbuffer.len() as u64, layout.file_size);
    file.set_len(layout.file_size)?;
    file.write_all(&header.encode())?;
    file.write_all(&layout.flatbuffer)?;
    for (segment, bytes) in [(program.tokenizer_segment, &artifact.tokenizer), (program.chat_segment, &artifact.chat)] {
        file.seek(SeekFrom::Start(segment.offset))?;
        file.write_all(bytes)?;
    }
    Ok(())
}

/// What the loader does before it runs anything.
fn verify(path: &Path) -> Result<(), EmitError> {
    let file = Mapping::open(path).map_err(EmitError::Rejected)?;
    tcrt::program::read(&file).map_err(EmitError::Rejected)?;
    Ok(())
}
