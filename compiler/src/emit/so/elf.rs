//! The ELF file. Offsets in the file are addresses: segments begin at multiples of 16 KiB, so the file maps as it is, with pages of 4,
//! 16 or (but for the weights' neighbours) 64 KiB. Everything but the weights is made in memory.

use cranelift_codegen::isa::OwnedTargetIsa;
use object::Endianness;
use object::elf;
use object::write::StringId;
use object::write::elf::{FileHeader, ProgramHeader, Rel, SectionHeader, Sym, Writer};
use tcrt::native::abi::{Descriptor, MAJOR, MINOR, NOTE_OWNER, NOTE_TYPE, SYMBOL};

use super::super::EmitError;
use super::compile::Compiled;
use super::image::{Image, Target};
use super::unwind;

const PAGE: usize = 16384;
const BUILD_ID_BYTES: usize = 16;
/// Functions begin at cache lines.
const CODE_ALIGN: usize = 64;

/// What goes into the file.
pub struct Object<'a> {
    pub isa: &'a OwnedTargetIsa,
    pub functions: &'a [Compiled],
    pub image: &'a Image,
    /// Bytes of weights inside.
    pub weights: u64,
    /// Names for parts of functions: function, range in it, name.
    pub parts: &'a [(usize, std::ops::Range<u32>, String)],
}

/// All of the file before the weights.
pub struct File {
    pub bytes: Vec<u8>,
    /// Where the build id goes, which is to be made from everything else.
    pub build_id: std::ops::Range<usize>,
    /// Where the image's data lies.
    pub data: usize,
    /// Where the weights begin.
    pub weights: u64,
}

struct Machine {
    number: u16,
    /// Adds the object's address to a word.
    relative: u32,
}

fn machine(isa: &OwnedTargetIsa) -> Result<Machine, EmitError> {
    match isa.name() {
        "x64" => Ok(Machine { number: elf::EM_X86_64, relative: elf::R_X86_64_RELATIVE }),
        "aarch64" => Ok(Machine { number: elf::EM_AARCH64, relative: elf::R_AARCH64_RELATIVE }),
        other => Err(EmitError::Code(format!("no ELF files for {other}"))),
    }
}

/// Where everything lies.
struct Layout {
    notes: usize,
    gnu_hash: usize,
    dynsym: usize,
    dynstr: usize,
    relocations: usize,
    rodata: usize,
    frame_header: usize,
    frames: usize,
    frames_size: usize,
    read_only_end: usize,
    text: usize,
    /// Of each function in the text.
    functions: Vec<usize>,
    text_size: usize,
    data: usize,
    dynamic: usize,
    data_end: usize,
    weights: usize,
}

const SEGMENTS: u32 = 9;
const DYNAMIC_ENTRIES: usize = 10;

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

fn build_id_note() -> Vec<u8> {
    note(b"GNU\0", elf::NT_GNU_BUILD_ID, &[0; BUILD_ID_BYTES])
}

fn model_note() -> Vec<u8> {
    let version = [MAJOR.to_le_bytes(), MINOR.to_le_bytes(), [0; 2], [0; 2]].concat();
    note(NOTE_OWNER, NOTE_TYPE, &version)
}

fn function_offsets(functions: &[Compiled]) -> (Vec<usize>, usize) {
    let mut end = 0usize;
    let place = |function: &Compiled| {
        let at = end.next_multiple_of(CODE_ALIGN);
        end = at + function.code.len();
        at
    };
    (functions.iter().map(place).collect(), end)
}

/// The file's parts in order; `write` writes them so.
pub fn write(object: &Object) -> Result<File, EmitError> {
    let machine = machine(object.isa)?;
    let mut bytes = Vec::new();
    let names: Vec<String> = symbol_names(object);
    let mut writer = Writer::new(Endianness::Little, true, &mut bytes);
    let sections = Sections::reserve(&mut writer, object.weights > 0);
    let exported = writer.add_dynamic_string(SYMBOL.as_bytes());
    writer.reserve_null_dynamic_symbol_index();
    writer.reserve_dynamic_symbol_index();
    let strings: Vec<StringId> = names.iter().map(|name| writer.add_string(name.as_bytes())).collect();
    writer.reserve_null_symbol_index();
    for _ in &names {
        writer.reserve_symbol_index(None);
    }
    let layout = reserve(&mut writer, object)?;
    writer.reserve_symtab();
    writer.reserve_strtab();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();
    let layout = Layout { weights: writer.reserved_len().next_multiple_of(PAGE), ..layout };

    let header = FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_DYN,
        e_machine: machine.number,
        e_entry: 0,
        e_flags: 0,
    };
    writer.write_file_header(&header).map_err(|error| EmitError::Code(error.to_string()))?;
    write_segments(&mut writer, &layout, object.weights);
    let build_id = write_loaded(&mut writer, object, &layout, &machine, exported)?;
    write_symbols(&mut writer, object, &layout, &sections, &strings);
    writer.write_strtab();
    writer.write_shstrtab();
    sections.write(&mut writer, object, &layout);
    let (data, weights) = (layout.data, layout.weights as u64);
    Ok(File { bytes, build_id, data, weights })
}

fn reserve(writer: &mut Writer, object: &Object) -> Result<Layout, EmitError> {
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

fn write_segments(writer: &mut Writer, layout: &Layout, weights: u64) {
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
        (if weights > 0 { elf::PT_LOAD } else { elf::PT_NULL }, elf::PF_R, layout.weights, weights, 0, page),
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

/// Everything that is mapped, but for the weights. Returns where the build id goes.
fn write_loaded(
    writer: &mut Writer,
    object: &Object,
    layout: &Layout,
    machine: &Machine,
    exported: StringId,
) -> Result<std::ops::Range<usize>, EmitError> {
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

fn descriptor_symbol(layout: &Layout, name: StringId) -> Sym {
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

/// Of the functions, of their parts, of the descriptor.
fn symbol_names(object: &Object) -> Vec<String> {
    let functions = object.functions.iter().map(|function| format!("tcrt_model_{}", function.name));
    let parts = object.parts.iter().map(|(_, _, name)| name.clone());
    functions.chain(parts).chain([SYMBOL.to_owned()]).collect()
}

fn write_symbols(writer: &mut Writer, object: &Object, layout: &Layout, _: &Sections, names: &[StringId]) {
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

/// Names of the sections, for debuggers; the loader needs none.
struct Sections {
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
    const TEXT: u16 = 10;
    const DATA: u16 = 11;

    fn reserve(writer: &mut Writer, weights: bool) -> Sections {
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

    fn write(&self, writer: &mut Writer, object: &Object, layout: &Layout) {
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
