//! What is mapped, but for the weights: notes, symbols and relocations for the loader, constants, code, the descriptor.

use std::ops::Range;

use object::elf;
use object::write::StringId;
use object::write::elf::{Rel, Sym, Writer};
use tcrt::native::abi::{Descriptor, MAJOR, MINOR, NOTE_OWNER, NOTE_TYPE, SYMBOL};

use super::super::super::EmitError;
use super::super::image::Target;
use super::super::unwind;
use super::place::Layout;
use super::sections::Sections;
use super::{Machine, Object};

const BUILD_ID_BYTES: usize = 16;

fn note(owner: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [owner.len() as u32, descriptor.len() as u32, kind] {
        bytes.extend(number.to_le_bytes());
    }
    for part in [owner, descriptor] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

pub fn build_id_note() -> Vec<u8> {
    note(b"GNU\0", elf::NT_GNU_BUILD_ID, &[0; BUILD_ID_BYTES])
}

pub fn model_note() -> Vec<u8> {
    let version = [MAJOR.to_le_bytes(), MINOR.to_le_bytes(), [0; 2], [0; 2]].concat();
    note(NOTE_OWNER, NOTE_TYPE, &version)
}

/// Returns where the build id goes.
pub fn write(
    writer: &mut Writer,
    object: &Object,
    layout: &Layout,
    machine: &Machine,
    exported: StringId,
) -> Result<Range<usize>, EmitError> {
    writer.pad_until(layout.notes);
    let build_id = build_id_note();
    let build_id_at = layout.notes + build_id.len() - BUILD_ID_BYTES;
    writer.write(&build_id);
    writer.write(&model_note());
    writer.write_gnu_hash(1, 1, 1, 1, 1, |_| elf::gnu_hash(SYMBOL.as_bytes()));
    writer.write_null_dynamic_symbol();
    writer.write_dynamic_symbol(&descriptor_symbol(layout, exported));
    writer.write_dynstr();
    writer.write_align_relocation();
    for (at, target) in &object.image.pointers {
        let r_addend = address(layout, *target) as i64;
        let r_offset = layout.data as u64 + at;
        writer.write_relocation(true, &Rel { r_offset, r_sym: 0, r_type: machine.relative, r_addend });
    }
    writer.pad_until(layout.rodata);
    writer.write(&object.image.rodata);
    let behind_frames: Vec<u64> =
        layout.functions.iter().map(|offset| (layout.text + offset - layout.frames) as u64).collect();
    let frames = unwind::frames(object.isa, object.functions, &behind_frames)?;
    writer.pad_until(layout.frame_header);
    writer.write(&unwind::header(&frames, (layout.frames - layout.frame_header) as u64, &behind_frames));
    writer.pad_until(layout.frames);
    writer.write(&frames);
    for (function, offset) in object.functions.iter().zip(&layout.functions) {
        writer.pad_until(layout.text + offset);
        writer.write(&function.code);
    }
    writer.pad_until(layout.data);
    writer.write(&object.image.data);
    writer.write_align_dynamic();
    write_dynamic(writer, object, layout);
    Ok(build_id_at..build_id_at + BUILD_ID_BYTES)
}

fn address(layout: &Layout, target: Target) -> u64 {
    match target {
        Target::Rodata(at) => layout.rodata as u64 + at,
        Target::Data(at) => layout.data as u64 + at,
        Target::Function(number) => (layout.text + layout.functions[number]) as u64,
        Target::Weights => layout.weights as u64,
    }
}

fn write_dynamic(writer: &mut Writer, object: &Object, layout: &Layout) {
    let relocations = object.image.pointers.len() as u64;
    let strings = writer.dynstr_len() as u64;
    let entries = [
        (elf::DT_GNU_HASH, layout.gnu_hash as u64),
        (elf::DT_SYMTAB, layout.dynsym as u64),
        (elf::DT_SYMENT, 24),
        (elf::DT_STRTAB, layout.dynstr as u64),
        (elf::DT_STRSZ, strings),
        (elf::DT_RELA, layout.relocations as u64),
        (elf::DT_RELASZ, 24 * relocations),
        (elf::DT_RELAENT, 24),
        (elf::DT_RELACOUNT, relocations),
        (elf::DT_NULL, 0),
    ];
    entries.into_iter().for_each(|(tag, value)| writer.write_dynamic(tag, value));
}

pub fn descriptor_symbol(layout: &Layout, name: StringId) -> Sym {
    Sym {
        name: Some(name),
        section: None,
        st_info: (elf::STB_GLOBAL << 4) | elf::STT_OBJECT,
        st_other: elf::STV_DEFAULT,
        st_shndx: Sections::DATA,
        st_value: layout.data as u64,
        st_size: size_of::<Descriptor>() as u64,
    }
}
