//! Symbols and section headers, for debuggers; the loader needs none.

use object::elf;
use object::write::StringId;
use object::write::elf::{SectionHeader, Sym, Writer};
use tcrt::native::abi::SYMBOL;

use super::super::unwind;
use super::Object;
use super::loaded::{build_id_note, descriptor_symbol, model_note};
use super::place::{CODE_ALIGN, Layout};

/// Of the functions, of their parts, of the descriptor.
pub fn symbol_names(object: &Object) -> Vec<String> {
    let functions = object.functions.iter().map(|function| format!("tcrt_model_{}", function.name));
    let parts = object.parts.iter().map(|(_, _, name)| name.clone());
    functions.chain(parts).chain([SYMBOL.to_owned()]).collect()
}

pub fn write_symbols(writer: &mut Writer, object: &Object, layout: &Layout, names: &[StringId]) {
    let whole = object.functions.iter().enumerate().map(|(i, function)| (i, 0..function.code.len() as u32));
    let parts = object.parts.iter().map(|(function, range, _)| (*function, range.clone()));
    writer.write_null_symbol();
    for ((function, range), name) in whole.chain(parts).zip(names) {
        writer.write_symbol(&Sym {
            name: Some(*name),
            section: None,
            st_info: (elf::STB_LOCAL << 4) | elf::STT_FUNC,
            st_other: elf::STV_DEFAULT,
            st_shndx: Sections::TEXT,
            st_value: (layout.text + layout.functions[function]) as u64 + u64::from(range.start),
            st_size: u64::from(range.end - range.start),
        });
    }
    if let Some(name) = names.last() {
        writer.write_symbol(&descriptor_symbol(layout, *name));
    }
}

/// Names of the sections.
pub struct Sections {
    build_id: StringId,
    model: StringId,
    relocations: StringId,
    rodata: StringId,
    frame_header: StringId,
    frames: StringId,
    text: StringId,
    data: StringId,
    weights: Option<StringId>,
}

impl Sections {
    pub const TEXT: u16 = 10;
    pub const DATA: u16 = 11;

    pub fn reserve(writer: &mut Writer, weights: bool) -> Sections {
        writer.reserve_null_section_index();
        let add = |writer: &mut Writer, name: &'static [u8]| {
            writer.reserve_section_index();
            writer.add_section_name(name)
        };
        let (build_id, model) = (add(writer, b".note.gnu.build-id"), add(writer, b".note.tcrt"));
        writer.reserve_gnu_hash_section_index();
        writer.reserve_dynsym_section_index();
        writer.reserve_dynstr_section_index();
        let (relocations, rodata) = (add(writer, b".rela.dyn"), add(writer, b".rodata"));
        let (frame_header, frames) = (add(writer, b".eh_frame_hdr"), add(writer, b".eh_frame"));
        let (text, data) = (add(writer, b".text"), add(writer, b".data.rel.ro"));
        writer.reserve_dynamic_section_index();
        let weights = weights.then(|| add(writer, b".weights"));
        writer.reserve_symtab_section_index();
        writer.reserve_strtab_section_index();
        writer.reserve_shstrtab_section_index();
        Sections { build_id, model, relocations, rodata, frame_header, frames, text, data, weights }
    }

    pub fn write(&self, writer: &mut Writer, object: &Object, layout: &Layout) {
        writer.write_null_section_header();
        let (first, second) = (build_id_note().len(), model_note().len());
        let alloc = u64::from(elf::SHF_ALLOC);
        let section = |name: StringId, kind: u32, flags: u64, at: usize, size: u64, align: usize| SectionHeader {
            name: Some(name),
            sh_type: kind,
            sh_flags: flags,
            sh_addr: at as u64,
            sh_offset: at as u64,
            sh_size: size,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: align as u64,
            sh_entsize: 0,
        };
        let plain = |name, at, size: usize, align| section(name, elf::SHT_PROGBITS, alloc, at, size as u64, align);
        writer.write_section_header(&section(self.build_id, elf::SHT_NOTE, alloc, layout.notes, first as u64, 4));
        writer.write_section_header(&section(self.model, elf::SHT_NOTE, alloc, layout.notes + first, second as u64, 4));
        writer.write_gnu_hash_section_header(layout.gnu_hash as u64);
        writer.write_dynsym_section_header(layout.dynsym as u64, 1);
        writer.write_dynstr_section_header(layout.dynstr as u64);
        let dynsym = writer.dynsym_index().0;
        let relocations = section(self.relocations, elf::SHT_RELA, alloc, layout.relocations, 0, 8);
        writer.write_section_header(&SectionHeader {
            sh_size: 24 * object.image.pointers.len() as u64,
            sh_link: dynsym,
            sh_entsize: 24,
            ..relocations
        });
        writer.write_section_header(&plain(self.rodata, layout.rodata, object.image.rodata.len(), 16));
        let header = unwind::header_size(object.functions.len());
        writer.write_section_header(&plain(self.frame_header, layout.frame_header, header, 4));
        writer.write_section_header(&plain(self.frames, layout.frames, layout.frames_size, 8));
        let (code, written) = (alloc | u64::from(elf::SHF_EXECINSTR), alloc | u64::from(elf::SHF_WRITE));
        let text = layout.text_size as u64;
        writer.write_section_header(&section(self.text, elf::SHT_PROGBITS, code, layout.text, text, CODE_ALIGN));
        let data = object.image.data.len() as u64;
        writer.write_section_header(&section(self.data, elf::SHT_PROGBITS, written, layout.data, data, 64));
        writer.write_dynamic_section_header(layout.dynamic as u64);
        if let Some(name) = self.weights {
            writer.write_section_header(&section(name, elf::SHT_PROGBITS, alloc, layout.weights, object.weights, 64));
        }
        writer.write_symtab_section_header(1 + (object.functions.len() + object.parts.len()) as u32);
        writer.write_strtab_section_header();
        writer.write_shstrtab_section_header();
    }
}
