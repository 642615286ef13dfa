//! Machine code as text. The symbols of an artifact name the instruction of the program that each piece of code came from.

use std::fmt::Write;

use object::{Architecture, Object, ObjectSection, ObjectSymbol, SymbolKind};
use yaxpeax_arch::{Decoder, LengthedInstruction, U8Reader};
use yaxpeax_arm::armv8::a64;
use yaxpeax_x86::amd64;

struct Symbol<'a> {
    begin: u64,
    end: u64,
    name: &'a str,
}

pub fn disassemble(bytes: &[u8]) -> Result<String, String> {
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(bytes).map_err(|error| error.to_string())?;
    let text = file.section_by_name(".text").ok_or("no machine code")?;
    let (base, code) = (text.address(), text.data().map_err(|error| error.to_string())?);
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let mut symbols: Vec<Symbol> = symbols
        .filter_map(|symbol| {
            let (begin, name) = (symbol.address(), symbol.name().ok()?);
            Some(Symbol { begin, end: begin.checked_add(symbol.size())?, name })
        })
        .collect();
    // Of those that begin together, the function comes before its part.
    symbols.sort_by_key(|symbol| (symbol.begin, std::cmp::Reverse(symbol.end)));
    let mut out = String::new();
    let mut at = base;
    for (i, symbol) in symbols.iter().enumerate() {
        let next = symbols.get(i + 1).map_or(symbol.end, |next| next.begin.min(symbol.end));
        let comment = if symbol.name.contains('.') { "  ; " } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}{comment}{}", if comment.is_empty() { "\n" } else { "" }, symbol.name);
        at = at.max(symbol.begin);
        while at < next {
            let rest = usize::try_from(at - base).ok().and_then(|at| code.get(at..)).unwrap_or_default();
            let Some((size, text)) = instruction(file.architecture(), rest) else { break };
            let _ = writeln!(out, "{at:8x}  {text}");
            at += size;
        }
    }
    Ok(out)
}

/// The first instruction of these bytes; none at their end.
fn instruction(architecture: Architecture, code: &[u8]) -> Option<(u64, String)> {
    let shown = |size: u64, text: Result<String, String>| (size, text.unwrap_or_else(|error| format!("({error})")));
    if code.is_empty() {
        return None;
    }
    let mut reader = U8Reader::new(code);
    match architecture {
        Architecture::Aarch64 => {
            let decoded = a64::InstDecoder::default().decode(&mut reader);
            Some(shown(4, decoded.map(|i| i.to_string()).map_err(|error| error.to_string())))
        }
        _ => {
            let decoded = amd64::InstDecoder::default().decode(&mut reader);
            let size = decoded.as_ref().map_or(1, |i| i.len().to_const());
            Some(shown(size, decoded.map(|i| i.to_string()).map_err(|error| error.to_string())))
        }
    }
}
