//! Where everything lies in the file, and the segments.

use object::elf;
use object::write::elf::{ProgramHeader, Writer};

use super::super::super::EmitError;
use super::super::compile::Compiled;
use super::super::unwind;
use super::Object;
use super::loaded::{build_id_note, model_note};

pub const PAGE: usize = 16384;
/// Of the weights' segment: what huge pages hold on x86-64 and, with pages of 4 KiB, on aarch64. A loader that heeds it (glibc from 2.35 on) lets
/// an address and its place in the file agree modulo this, which is what kernels need to map the file by huge pages.
const WEIGHTS_ALIGN: u64 = 2 << 20;
/// Functions begin at cache lines.
pub const CODE_ALIGN: usize = 64;

/// Where everything lies.
pub struct Layout {
    pub notes: usize,
    pub gnu_hash: usize,
    pub dynsym: usize,
    pub dynstr: usize,
    pub relocations: usize,
    pub rodata: usize,
    pub frame_header: usize,
    pub frames: usize,
    pub frames_size: usize,
    pub read_only_end: usize,
    pub text: usize,
    /// Of each function in the text.
    pub functions: Vec<usize>,
    pub text_size: usize,
    pub data: usize,
    pub dynamic: usize,
    pub data_end: usize,
    pub weights: usize,
}

const SEGMENTS: u32 = 9;
pub const DYNAMIC_ENTRIES: usize = 10;

fn function_offsets(functions: &[Compiled]) -> (Vec<usize>, usize) {
    let mut end = 0usize;
    let place = |function: &Compiled| {
        let at = end.next_multiple_of(CODE_ALIGN);
        end = at + function.code.len();
        at
    };
    (functions.iter().map(place).collect(), end)
}

pub fn reserve(writer: &mut Writer, object: &Object) -> Result<Layout, EmitError> {
    writer.reserve_file_header();
    writer.reserve_program_headers(SEGMENTS);
    let notes = writer.reserve(build_id_note().len() + model_note().len(), 4);
    let gnu_hash = writer.reserve_gnu_hash(1, 1, 1);
    let dynsym = writer.reserve_dynsym();
    let dynstr = writer.reserve_dynstr();
    let relocations = writer.reserve_relocations(object.image.pointers.len(), true);
    let rodata = writer.reserve(object.image.rodata.len(), 16);
    let frame_header = writer.reserve(unwind::header_size(object.functions.len()), 4);
    let (functions, text_size) = function_offsets(object.functions);
    // Its size does not depend on where things are, so long as the code comes after it.
    let frames_size = unwind::frames(object.isa, object.functions, &vec![1 << 24; functions.len()])?.len();
    let frames = writer.reserve(frames_size, 8);
    let read_only_end = writer.reserved_len();
    let text = writer.reserve(text_size, PAGE);
    let data = writer.reserve(object.image.data.len(), PAGE);
    let dynamic = writer.reserve_dynamic(DYNAMIC_ENTRIES);
    let data_end = writer.reserved_len();
    Ok(Layout {
        notes,
        gnu_hash,
        dynsym,
        dynstr,
        relocations,
        rodata,
        frame_header,
        frames,
        frames_size,
        read_only_end,
        text,
        functions,
        text_size,
        data,
        dynamic,
        data_end,
        weights: 0,
    })
}

pub fn write_segments(writer: &mut Writer, layout: &Layout, weights: u64) {
    writer.write_align_program_headers();
    let notes = build_id_note().len() + model_note().len();
    let page = PAGE as u64;
    // Whole pages, which are made read-only after relocation.
    let data_memory = (layout.data_end - layout.data).next_multiple_of(PAGE) as u64;
    let dynamic = layout.data_end - layout.dynamic;
    let segments = [
        (elf::PT_LOAD, elf::PF_R, 0, layout.read_only_end as u64, 0, page),
        (elf::PT_LOAD, elf::PF_R | elf::PF_X, layout.text, layout.text_size as u64, 0, page),
        (elf::PT_LOAD, elf::PF_R | elf::PF_W, layout.data, (layout.data_end - layout.data) as u64, data_memory, page),
        (if weights > 0 { elf::PT_LOAD } else { elf::PT_NULL }, elf::PF_R, layout.weights, weights, 0, WEIGHTS_ALIGN),
        (elf::PT_DYNAMIC, elf::PF_R | elf::PF_W, layout.dynamic, dynamic as u64, 0, 8),
        (elf::PT_NOTE, elf::PF_R, layout.notes, notes as u64, 0, 4),
        (elf::PT_GNU_EH_FRAME, elf::PF_R, layout.frame_header, (layout.frames - layout.frame_header) as u64, 0, 4),
        (elf::PT_GNU_RELRO, elf::PF_R, layout.data, (layout.data_end - layout.data) as u64, data_memory, 1),
        (elf::PT_GNU_STACK, elf::PF_R | elf::PF_W, 0, 0, 0, 16),
    ];
    for (kind, flags, offset, size, memory, align) in segments {
        let offset = if kind == elf::PT_NULL { 0 } else { offset as u64 };
        writer.write_program_header(&ProgramHeader {
            p_type: kind,
            p_flags: flags,
            p_offset: offset,
            p_vaddr: offset,
            p_paddr: offset,
            p_filesz: size,
            p_memsz: if memory > 0 { memory } else { size },
            p_align: align,
        });
    }
}
