//! From Cranelift's IR to machine code.

use std::ops::Range;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::unwind::UnwindInfo;
use cranelift_codegen::isa::unwind::systemv;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use tc_targets::Target;

use super::super::EmitError;

/// A function's code. It has no relocations: whatever it needs, it is given.
pub struct Compiled {
    pub name: &'static str,
    pub code: Vec<u8>,
    /// Which bytes belong to which instruction of the program.
    pub ranges: Vec<(Range<u32>, usize)>,
    pub unwind: systemv::UnwindInfo,
}

fn failed(error: impl std::fmt::Display) -> EmitError {
    EmitError::Code(error.to_string())
}

pub fn isa(target: &Target) -> Result<OwnedTargetIsa, EmitError> {
    let mut flags = settings::builder();
    let chosen = [
        ("opt_level", "speed"),
        ("is_pic", "true"),
        ("unwind_info", "true"),
        // Profilers walk the stack by them.
        ("preserve_frame_pointers", "true"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ];
    for (name, value) in chosen {
        flags.set(name, value).map_err(failed)?;
    }
    let architecture = target.triple.split('-').next().unwrap_or_default();
    let mut builder = isa::lookup_by_name(target.triple).map_err(|error| failed(format!("{architecture}: {error}")))?;
    let _ = &mut builder;
    builder.finish(settings::Flags::new(flags)).map_err(failed)
}

pub fn compile(isa: &OwnedTargetIsa, name: &'static str, function: Function) -> Result<Compiled, EmitError> {
    let mut context = Context::for_function(function);
    let compiled =
        context.compile(&**isa, &mut ControlPlane::default()).map_err(|error| failed(format!("{:?}", error.inner)))?;
    if !compiled.buffer.relocs().is_empty() {
        return Err(failed(format!("{name} has relocations, which is a bug")));
    }
    let unwind = match compiled.create_unwind_info(&**isa).map_err(failed)? {
        Some(UnwindInfo::SystemV(unwind)) => unwind,
        _ => return Err(failed(format!("{name} has no unwind information, which is a bug"))),
    };
    let sources = compiled.buffer.get_srclocs_sorted().iter();
    let ranges = sources.filter(|source| !source.loc.is_default());
    let ranges = ranges.map(|source| (source.start..source.end, source.loc.bits() as usize)).collect();
    Ok(Compiled { name, code: compiled.code_buffer().to_vec(), ranges, unwind })
}
