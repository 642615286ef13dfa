//! `tcc tokenizer`.

use tcc_core::export::import_tokenizer;
use tcc_core::files::write_atomically;
use tcrt_cli::output::{Result, show};

use crate::args::Tokenizer;
use crate::output::{line, size};

pub fn tokenizer(args: &Tokenizer) -> Result<()> {
    let bytes = import_tokenizer(&args.file).map_err(line)?.bytes;
    write_atomically(&args.output, &bytes).map_err(line)?;
    show(format!("{}: {}\n", args.output.display(), size(bytes.len() as u64)))
}
