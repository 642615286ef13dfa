//! `.pte` files. Every offset is known before the first byte is written: header, flatbuffer and the small segments go out at once,
//! then the weights, packed in parallel straight into their places.

mod encode;
mod layout;
#[cfg(test)]
mod tests;
mod weights;

use std::fs::Permissions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tcrt::program::header::Header;
use tcrt::sys::Mapping;

pub use weights::Progress;

use super::{Artifact, EmitError};

#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub file_bytes: u64,
    pub weight_bytes: u64,
}

/// Writes to a temporary file beside `path`, which the reader that will load it checks before it gets its name. On any error,
/// nothing is left behind.
pub fn write(path: &Path, artifact: &Artifact, progress: Progress) -> Result<Written, EmitError> {
    let failed = EmitError::io(path);
    let layout = layout::layout(artifact)?;
    let mut file = temporary_beside(path).map_err(&failed)?;
    write_small_parts(file.as_file_mut(), artifact, &layout).map_err(&failed)?;
    let weight_bytes = layout.program.weights_segment.size;
    weights::write(&file, path, artifact, &layout.program, progress)?;
    file.as_file().sync_all().map_err(&failed)?;
    verify(file.path())?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(Written { file_bytes: layout.file_size, weight_bytes })
}

/// In the same directory, so that renaming moves no bytes.
fn temporary_beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    if let Some(permissions) = usual_permissions() {
        builder.permissions(permissions);
    }
    builder.tempfile_in(directory)
}

/// What any new file gets (the umask applies), not the private mode of temporary files.
#[cfg(unix)]
fn usual_permissions() -> Option<Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

#[cfg(not(unix))]
fn usual_permissions() -> Option<Permissions> {
    None
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
