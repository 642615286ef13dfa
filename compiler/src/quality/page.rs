//! The page: a template, with the figures of its exports as JSON inside.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Quality;
use crate::files::{WriteError, write_atomically};

const TEMPLATE: &str = include_str!("page.html");
const PLACE: &str = "[/* exports */]";
/// What stands around the figures.
const BEGIN: &str = r#"<script id="exports" type="application/json">"#;
const END: &str = "</script>";

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("{}: {why}", path.display())]
    Read { path: PathBuf, why: String },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A page as it was found, or an empty one.
#[derive(Debug)]
pub struct Page {
    path: PathBuf,
    exports: Vec<Value>,
}

impl Page {
    /// A file that is no such page is left as it is: an error.
    pub fn open(path: &Path) -> Result<Page, PageError> {
        let failed = |why: &str| PageError::Read { path: path.to_path_buf(), why: why.to_string() };
        let exports = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&error.to_string())),
            Ok(text) if text.is_empty() => Vec::new(),
            Ok(text) => exports(&text).ok_or_else(|| failed("is there already, and is no quality report"))?,
        };
        Ok(Page { path: path.to_path_buf(), exports })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// In place of what was known of an artifact of that name on that text.
    pub fn add(&mut self, quality: &Quality) {
        let quality = json!(quality);
        let same = |other: &Value| ["artifact", "model", "text"].iter().all(|key| other[key] == quality[key]);
        match self.exports.iter_mut().find(|other| same(other)) {
            Some(other) => *other = quality,
            None => self.exports.push(quality),
        }
    }

    pub fn write(&self) -> Result<(), PageError> {
        // "</script>" in a name must not end the element.
        let exports = json!(self.exports).to_string().replace('<', "\\u003c");
        Ok(write_atomically(&self.path, TEMPLATE.replace(PLACE, &exports).as_bytes())?)
    }
}

fn exports(page: &str) -> Option<Vec<Value>> {
    let (_, after) = page.split_once(BEGIN)?;
    serde_json::from_str(after.split_once(END)?.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_one_place_for_figures() {
        assert_eq!(TEMPLATE.matches(PLACE).count(), 1);
        assert!(TEMPLATE.contains(&format!("{BEGIN}{PLACE}{END}")));
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.html");
        std::fs::write(&path, "<p>mine</p>").unwrap();
        let message = Page::open(&path).unwrap_err().to_string();
        assert!(message.contains("page.html") && message.contains("no quality report"), "{message}");
    }
}
