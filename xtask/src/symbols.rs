//! What a shared library shows.

use crate::Result;
use object::read::elf::{Dyn, ElfFile64};
use object::{Endianness, Object, ObjectSymbol, elf};
use std::path::Path;

pub struct Library {
    pub exports: Vec<String>,
    pub soname: String,
}

pub fn of_library(path: &Path) -> Result<Library> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Library> {
    let text = |error: object::Error| error.to_string();
    let file: ElfFile64<Endianness> = ElfFile64::parse(bytes).map_err(text)?;
    let defined = file.dynamic_symbols().filter(|symbol| symbol.is_definition());
    let mut exports: Vec<String> = defined.filter_map(|symbol| symbol.name().ok().map(String::from)).collect();
    exports.sort();
    let sections = file.elf_section_table();
    let endian = file.endian();
    let mut soname = String::new();
    if let Some((entries, strings)) = sections.dynamic(endian, bytes).map_err(text)? {
        let strings = sections.strings(endian, bytes, strings).map_err(text)?;
        for entry in entries.iter().filter(|entry| entry.tag32(endian) == Some(elf::DT_SONAME)) {
            soname = String::from_utf8_lossy(entry.string(endian, strings).map_err(text)?).into_owned();
        }
    }
    Ok(Library { exports, soname })
}
