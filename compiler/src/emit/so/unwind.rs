//! Unwind information: how to find a caller's frame from any instruction of the code.

use cranelift_codegen::isa::OwnedTargetIsa;
use gimli::write::{Address, EhFrame, EndianVec, FrameTable};
use gimli::{DW_EH_PE_pcrel, DW_EH_PE_sdata4, DwEhPe, RunTimeEndian};

use super::super::EmitError;
use super::compile::Compiled;

/// The `.eh_frame` section. Function `i` lies `offsets[i]` bytes behind the section's beginning.
pub fn frames(isa: &OwnedTargetIsa, functions: &[Compiled], offsets: &[u64]) -> Result<Vec<u8>, EmitError> {
    let failed = |error: gimli::write::Error| EmitError::Code(error.to_string());
    let mut table = FrameTable::default();
    let mut cie = isa.create_systemv_cie().ok_or_else(|| EmitError::Code("no unwind information".to_string()))?;
    cie.fde_address_encoding = DwEhPe(DW_EH_PE_pcrel.0 | DW_EH_PE_sdata4.0);
    let cie = table.add_cie(cie);
    for (function, offset) in functions.iter().zip(offsets) {
        table.add_fde(cie, function.unwind.to_fde(Address::Constant(*offset)));
    }
    let mut section = EhFrame(EndianVec::new(RunTimeEndian::Little));
    table.write_eh_frame(&mut section).map_err(failed)?;
    let mut bytes = section.0.into_vec();
    // Readers that walk the section stop at a length of zero.
    bytes.extend([0; 4]);
    Ok(bytes)
}

/// The `.eh_frame_hdr` section, `distance` bytes before `.eh_frame`: a table that is searched instead.
pub fn header(frames: &[u8], distance: u64, offsets: &[u64]) -> Vec<u8> {
    // Version 1; pcrel sdata4, udata4, datarel sdata4.
    let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
    bytes.extend((distance as u32 - 4).to_le_bytes());
    bytes.extend((offsets.len() as u32).to_le_bytes());
    for (frame, function) in descriptions(frames).into_iter().zip(offsets) {
        bytes.extend((distance as u32 + *function as u32).to_le_bytes());
        bytes.extend((distance as u32 + frame as u32).to_le_bytes());
    }
    bytes
}

/// Bytes of a header for so many functions.
pub fn header_size(functions: usize) -> usize {
    12 + 8 * functions
}

/// Where each frame description begins.
fn descriptions(frames: &[u8]) -> Vec<usize> {
    let word = |at: usize| {
        let bytes = frames.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes) as usize
    };
    let (mut at, mut found) = (0, Vec::new());
    while word(at) > 0 {
        // A CIE has zero where a description has the way back to its CIE.
        if word(at + 4) != 0 {
            found.push(at);
        }
        at += 4 + word(at);
    }
    found
}
