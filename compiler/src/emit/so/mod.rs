//! `.so` files: the program compiled to machine code, in a shared object that needs nothing; docs/native-artifacts.md describes it.

mod args;
mod code;
mod compile;
mod elf;
mod fuse;
mod image;
mod inline;
mod schedule;
mod state;
#[cfg(test)]
mod tests;
mod unwind;

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tc_kernels::table::in_parts;
use tc_targets::Target;
use tcrt::native::abi::WEIGHTS_OFFSET;
use tcrt::program::header::Header;
use tcrt::program::verify::{Op, Verified, verify};
use xxhash_rust::xxh3::xxh3_128;

use super::pte::layout;
use super::{Artifact, EmitError, Progress, Written, weights};
use crate::files::{WriteError, temporary_beside};
use compile::{Compiled, compile, isa};
use image::{Place, WEIGHTS_ID};

/// How to write a native artifact.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub target: &'static Target,
    /// Weights in a file beside the artifact, which several artifacts may share.
    pub separate_weights: bool,
}

/// Writes to temporary files beside `path`, which get their names when they are complete. On any error, nothing is left behind.
pub fn write(path: &Path, artifact: &Artifact, options: Options, progress: Progress) -> Result<Written, EmitError> {
    let failed = WriteError::at(path);
    let verified = verified(artifact)?;
    let weights_path = options.separate_weights.then(|| path.with_extension("weights"));
    let weights_name =
        weights_path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let place = weights_name.as_deref().map_or(Place::Inside, Place::Beside);
    let weight_bytes = verified.program().weights_segment.size;
    let mut file = build(artifact, &verified, options.target, &place, weight_bytes)?;

    let mut output = temporary_beside(path).map_err(&failed)?;
    let mut beside = weights_path.as_deref().map(temporary_beside).transpose().map_err(&failed)?;
    let hash = match &mut beside {
        Some(beside) => write_weights(beside, path, artifact, weight_bytes, progress)?,
        None => {
            output.as_file().set_len(file.weights + weight_bytes).map_err(&failed)?;
            weights::write(&output, path, artifact, file.weights, progress)?
        }
    };
    if beside.is_some() {
        file.bytes[file.data + WEIGHTS_ID..][..16].copy_from_slice(&hash.to_le_bytes());
    }
    // The id names code and weights alike.
    let id = xxh3_128(&[xxh3_128(&file.bytes).to_le_bytes(), hash.to_le_bytes()].concat());
    file.bytes[file.build_id].copy_from_slice(&id.to_le_bytes());
    output.seek(SeekFrom::Start(0)).and_then(|_| output.write_all(&file.bytes)).map_err(&failed)?;
    output.as_file().sync_all().map_err(&failed)?;
    if let Some((beside, path)) = beside.zip(weights_path) {
        beside.as_file().sync_all().map_err(&failed)?;
        beside.persist(&path).map_err(|error| WriteError::at(&path)(error.error))?;
    }
    output.persist(path).map_err(|error| failed(error.error))?;
    let inside = if options.separate_weights { file.bytes.len() as u64 } else { file.weights + weight_bytes };
    Ok(Written { file_bytes: inside, weight_bytes })
}

/// The program as the reader of program files sees it, with everything checked that it checks.
fn verified(artifact: &Artifact) -> Result<Verified, EmitError> {
    let layout = layout::layout(artifact)?;
    let header = Header::new(layout::PROGRAM_OFFSET, layout.flatbuffer.len() as u64, layout.file_size);
    verify(layout.program, &header).map_err(EmitError::Rejected)
}

fn build(
    artifact: &Artifact,
    verified: &Verified,
    target: &Target,
    place: &Place,
    weight_bytes: u64,
) -> Result<elf::File, EmitError> {
    let (program, ops) = (verified.program(), verified.ops());
    let schedule = schedule::one_token(artifact.program, ops);
    let state = state::layout(program, artifact.program, ops, &schedule);
    let isa = isa(target)?;
    let convention = isa.default_call_conv();
    let kernels = kernels(artifact.program, ops, &schedule);
    let lowered = artifact.program;
    let source =
        code::Source { program, lowered, ops, schedule: &schedule, state: &state, kernels: &kernels, convention };
    let functions = code::functions(&source).into_iter().map(|(name, function)| compile(&isa, name, function));
    let functions: Vec<Compiled> = functions.collect::<Result<_, _>>()?;
    // One more where a context may be cut.
    let steps = |phase: &schedule::Phase| phase.steps.len() + usize::from(phase.attends(ops).is_some());
    let steps = schedule.phases.iter().map(steps).sum::<usize>().max(ops.len()) as u32;
    let image = image::image(artifact, verified, &kernels, state.size, steps, place);
    let parts = parts(&names(artifact.program, ops), &functions);
    let weights = if matches!(place, Place::Inside) { weight_bytes } else { 0 };
    elf::write(&elf::Object { isa: &isa, functions: &functions, image: &image, weights, parts: &parts })
}

/// Every kernel that the code calls.
fn kernels(program: &crate::program::Program, ops: &[Op], schedule: &schedule::Schedule) -> Vec<&'static str> {
    let parts = schedule.phases.iter().flat_map(|phase| &phase.steps).flat_map(|step| &step.chain);
    let cut = schedule.phases.iter().filter_map(|phase| phase.attends(ops)).map(|[_, attention]| attention);
    let cut = cut.filter_map(|part| Some((part.at, in_parts(part.kernel)?)));
    let parts = parts.map(|part| (part.at, part.kernel)).chain(cut);
    let whole = program.instructions.iter().enumerate().map(|(at, instruction)| (at, instruction.kernel.name));
    let called = whole.chain(parts).filter(|(at, _)| !inline::is_inline(&ops[*at]));
    called.map(|(_, kernel)| kernel).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of each instruction of the program, its number, kernel and tensor op; where others share its loop, theirs too.
fn names(program: &crate::program::Program, ops: &[Op]) -> Vec<String> {
    let all: Vec<usize> = (0..ops.len()).collect();
    let mut names: Vec<String> = program
        .instructions
        .iter()
        .map(|instruction| format!("{} {}", instruction.kernel.name, instruction.note))
        .collect();
    for piece in inline::pieces(program, ops, &all) {
        if let inline::Piece::Loop(inside) = piece {
            let joined: Vec<&str> = inside.instructions.iter().map(|at| names[*at].as_str()).collect();
            names[inside.instructions[0]] = joined.join("; ");
        }
    }
    names
}

/// A name for the code of each instruction, so that disassemblers, debuggers and profilers speak of tensor ops.
fn parts(names: &[String], functions: &[Compiled]) -> Vec<(usize, std::ops::Range<u32>, String)> {
    let mut parts = Vec::new();
    for (number, function) in functions.iter().enumerate() {
        let mut last = None;
        for (range, at) in &function.ranges {
            if last == Some(*at) {
                if let Some((_, whole, _)) = parts.last_mut() {
                    let whole: &mut std::ops::Range<u32> = whole;
                    whole.end = range.end;
                }
                continue;
            }
            last = Some(*at);
            let Some(name) = names.get(*at) else { continue };
            parts.push((number, range.clone(), format!("{}.{at}.{}", function.name, name.trim_end())));
        }
    }
    parts
}

fn write_weights(
    file: &mut tempfile::NamedTempFile,
    path: &Path,
    artifact: &Artifact,
    size: u64,
    progress: Progress,
) -> Result<u128, EmitError> {
    let failed = WriteError::at(path);
    file.as_file().set_len(WEIGHTS_OFFSET + size).map_err(&failed)?;
    let hash = weights::write(file, path, artifact, WEIGHTS_OFFSET, progress)?;
    let header = tcrt::native::encode_weights_header(size, &hash.to_le_bytes());
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header)).map_err(&failed)?;
    Ok(hash)
}
