//! `tcc list`, `download`, `where` and `remove`: the models that have names, and those that are here.

use std::path::Path;

use serde_json::{Value, json};
use tcc_core::hub::catalog::{self, Model};
use tcc_core::hub::store::{self, Usage};
use tcc_core::hub::{self, built_in};
use tcrt_cli::output::{Result, failure, show};

use crate::args::{Download, List, Named, Remove};
use crate::output::{line, size};
use crate::progress;

/// Bits for each weight, scales included.
const FORMATS: [(&str, f64); 3] = [("f16", 16.0), ("int8", 8.5), ("int4", 4.5)];
/// What is left for weights of a machine's memory: the rest is the cache, the system and other programs.
const SHARE_FOR_WEIGHTS: f64 = 0.8;

/// The model to begin with: small, and it converses.
pub const FIRST: &str = "smollm2";

struct Row {
    model: Model,
    usage: Usage,
    here: bool,
}

impl Row {
    fn new(model: Model) -> Result<Row> {
        let usage = store::usage(&model).map_err(line)?;
        let here = model.is_built_in() || store::cached(&model).map_err(line)?.is_some();
        Ok(Row { model, usage, here })
    }

    fn bytes(&self, bits: f64) -> Option<u64> {
        self.model.weights().map(|weights| (weights * bits / 8.0) as u64)
    }

    /// The format with most bits that fits into so much memory.
    fn fits(&self, memory: u64) -> Option<&'static str> {
        let room = memory as f64 * SHARE_FOR_WEIGHTS;
        let fits = |(_, bits): &&(&str, f64)| self.bytes(*bits).is_some_and(|bytes| bytes as f64 <= room);
        FORMATS.iter().find(fits).map(|(name, _)| *name)
    }

    fn state(&self) -> String {
        match (self.here, self.usage.checkpoint) {
            _ if self.model.is_built_in() => "built in".into(),
            (true, 0) => "yes".into(),
            (true, bytes) => size(bytes),
            (false, 0) => "-".into(),
            (false, bytes) => format!("{} of it", size(bytes)),
        }
    }
}

pub fn list(args: &List) -> Result<()> {
    let named = catalog::models().map_err(line)?;
    let others = store::repositories().map_err(line)?;
    let rows = named.into_iter().chain(others).map(Row::new).collect::<Result<Vec<Row>>>()?;
    let memory = physical_memory();
    if args.json {
        let rows: Vec<Value> = rows.iter().map(|row| as_json(row, memory)).collect();
        return show(format!("{}\n", Value::from(rows)));
    }
    let mut table = vec![["NAME", "MODEL", "WEIGHTS", "KIND", "F16", "INT8", "INT4", "HERE", "FITS"].map(String::from)];
    table.extend(rows.iter().map(|row| columns(row, memory)));
    show(aligned(&table))?;
    let memory = memory.map_or(String::new(), |memory| {
        format!("FITS: the most bits that leave room in this machine's {} of memory.\n", size(memory))
    });
    show(format!("\n{memory}HERE: what lies in {}. `tcc chat NAME` fetches what is not here.\n", cache()?))
}

fn cache() -> Result<String> {
    Ok(store::cache_dir().map_err(line)?.display().to_string())
}

fn columns(row: &Row, memory: Option<u64>) -> [String; 9] {
    let model = &row.model;
    let bytes = |at: usize| row.bytes(FORMATS[at].1).map_or("?".into(), size);
    let fits = match (memory, model.weights()) {
        (Some(memory), Some(_)) => row.fits(memory).unwrap_or("no").into(),
        _ => "?".into(),
    };
    let weights = if model.parameters.is_empty() { "?".into() } else { model.parameters.clone() };
    let kind = if model.chat { "chat" } else { "base" };
    let kind = if model.alias.contains('/') { "?" } else { kind };
    [model.alias.clone(), model.name.clone(), weights, kind.into(), bytes(0), bytes(1), bytes(2), row.state(), fits]
}

fn as_json(row: &Row, memory: Option<u64>) -> Value {
    let model = &row.model;
    json!({
        "name": model.alias, "other_names": model.aka, "model": model.name, "parameters": model.weights(), "chat": model.chat,
        "bytes": FORMATS.iter().map(|(name, bits)| (name.to_string(), json!(row.bytes(*bits)))).collect::<serde_json::Map<_, _>>(),
        "downloaded": row.here, "built_in": model.is_built_in(), "checkpoint_bytes": row.usage.checkpoint, "artifact_bytes": row.usage.artifacts,
        "fits": memory.and_then(|memory| row.fits(memory)),
    })
}

/// Columns as wide as their widest cell.
fn aligned<const N: usize>(table: &[[String; N]]) -> String {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let text = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    table.iter().map(text).collect()
}

pub fn download(args: &Download) -> Result<()> {
    let model = catalog::find(&args.model).map_err(line)?;
    let path = progress::fetch(&model, args.hf_token.clone())?;
    show(format!("{}\n", path.display()))
}

pub fn place(args: &Named) -> Result<()> {
    let model = catalog::find(&args.model).map_err(line)?;
    let path = match model.is_built_in() {
        true => Some(progress::fetch(&model, None)?),
        false => store::cached(&model).map_err(line)?,
    };
    match path {
        Some(path) => show(format!("{}\n", path.display())),
        None => failure(format!("{}: is not here; `tcc download {}` fetches it", model.alias, args.model)),
    }
}

pub fn remove(args: &Remove) -> Result<()> {
    let name = hub::called(&args.model).map_err(line)?;
    let freed = match Path::new(&args.model).exists() {
        true => store::remove_artifacts(&name),
        false => catalog::find(&name).and_then(|model| store::remove(&model)),
    };
    let freed = freed.map_err(line)?;
    if freed == Usage::default() && name == built_in::NAME {
        return failure(format!("{name}: is built in; nothing of it is in the cache"));
    }
    if freed == Usage::default() {
        return failure(format!("{name}: nothing of it is in {}", cache()?));
    }
    let (checkpoint, artifacts) = (size(freed.checkpoint), size(freed.artifacts));
    show(format!("removed {name}: {checkpoint} of checkpoint, {artifacts} of artifacts\n"))
}

/// The model to run where none was named; which one is said on stderr.
pub fn unnamed() -> Result<String> {
    if store::cached(&catalog::find(FIRST).map_err(line)?).map_err(line)?.is_some() {
        eprintln!("no model was named: this is {FIRST}");
        return Ok(FIRST.into());
    }
    let name = built_in::NAME;
    eprintln!(
        "no model was named: this is {name}, which is built in and can only tell little stories; `tcc chat {FIRST}` fetches one that knows more"
    );
    Ok(name.into())
}

/// Of this machine, where the system tells.
fn physical_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(parameters: &str) -> Row {
        let mut model = Model::repository("some/model");
        model.parameters = parameters.into();
        Row { model, usage: Usage::default(), here: false }
    }

    #[test]
    fn the_format_with_most_bits_that_fits_is_named() {
        let gib = 1 << 30;
        let fits = [24 * gib, 16 * gib, 8 * gib, 4 * gib].map(|memory| row("8B").fits(memory));
        assert_eq!(fits, [Some("f16"), Some("int8"), Some("int4"), None]);
        assert_eq!(row("").fits(u64::MAX), None);
    }

    #[test]
    fn columns_line_up() {
        let table = [["A".to_string(), "LONG".into()], ["wide".into(), "x".into()]];
        assert_eq!(aligned(&table), "A     LONG\nwide  x\n");
    }
}
