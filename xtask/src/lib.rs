//! Chores of the project, as a library for the tests that hold them.

pub mod abi;
pub mod dist;
pub mod docs;
pub mod header;
pub mod symbols;

use std::path::{Path, PathBuf};

/// A chore that failed, in a line.
pub type Result<T = ()> = std::result::Result<T, String>;

/// The workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where the C ABI is described.
pub fn include() -> PathBuf {
    root().join("runtime/include")
}

pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

pub fn write(path: &Path, text: &str) -> Result {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

pub fn make_folder(path: &Path) -> Result {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}
