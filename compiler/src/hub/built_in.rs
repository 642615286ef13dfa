//! The model that is part of this program, for where nothing can be fetched. It is described in `models/stories`.

use std::io::Write;
use std::path::Path;

use super::{HubError, Result, io_error};
use crate::files::temporary_beside;

/// Its name in the catalog.
pub const NAME: &str = "stories";

const FILE: &str = "stories.gguf";
const BYTES: &[u8] = include_bytes!("../../../models/stories/stories.gguf");

/// Lays the file into `dir`, unless it lies there as it is here; returns its name.
pub(super) fn lay_down(file: &str, dir: &Path) -> Result<String> {
    if file != FILE {
        return Err(HubError::NotBuiltIn { file: file.to_string(), there_is: FILE });
    }
    let path = dir.join(FILE);
    if std::fs::read(&path).is_ok_and(|bytes| bytes == BYTES) {
        return Ok(FILE.to_string());
    }
    std::fs::create_dir_all(dir).map_err(io_error(dir))?;
    let mut part = temporary_beside(&path).map_err(io_error(dir))?;
    part.write_all(BYTES).map_err(io_error(&path))?;
    part.persist(&path).map_err(|error| io_error(&path)(error.error))?;
    Ok(FILE.to_string())
}
