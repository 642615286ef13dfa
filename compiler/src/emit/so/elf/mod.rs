//! The ELF file. Offsets in the file are addresses: segments begin at multiples of 16 KiB, so the file maps as it is, with pages of 4,
//! 16 or (but for the weights' neighbours) 64 KiB. Everything but the weights is made in memory.

mod loaded;
mod place;
mod sections;

use cranelift_codegen::isa::OwnedTargetIsa;
use object::Endianness;
use object::elf;
use object::write::StringId;
use object::write::elf::{FileHeader, Writer};

use tcrt::native::abi::SYMBOL;

use super::super::EmitError;
use super::compile::Compiled;
use super::image::Image;
use place::Layout;
use sections::Sections;

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

/// The file's parts in order; `write` writes them so.
pub fn write(object: &Object) -> Result<File, EmitError> {
    let machine = machine(object.isa)?;
    let mut bytes = Vec::new();
    let names: Vec<String> = sections::symbol_names(object);
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
    let layout = place::reserve(&mut writer, object)?;
    writer.reserve_symtab();
    writer.reserve_strtab();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();
    let layout = Layout { weights: writer.reserved_len().next_multiple_of(place::PAGE), ..layout };

    let header = FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_DYN,
        e_machine: machine.number,
        e_entry: 0,
        e_flags: 0,
    };
    writer.write_file_header(&header).map_err(|error| EmitError::Code(error.to_string()))?;
    place::write_segments(&mut writer, &layout, object.weights);
    let build_id = loaded::write(&mut writer, object, &layout, &machine, exported)?;
    sections::write_symbols(&mut writer, object, &layout, &strings);
    writer.write_strtab();
    writer.write_shstrtab();
    sections.write(&mut writer, object, &layout);
    let (data, weights) = (layout.data, layout.weights as u64);
    Ok(File { bytes, build_id, data, weights })
}
