//! `tcc inspect`.

use tcc_core::inspect;
use tcrt_cli::output::{Result, show};

use crate::args::Inspect;
use crate::output::line;
use crate::progress;

pub fn inspect(args: &Inspect) -> Result<()> {
    let recipe = args.format.recipe().map_err(line)?;
    let pass = args.ir.as_ref().and_then(Option::as_deref);
    inspect::check_pass(pass).map_err(line)?;
    let path = progress::resolve(&args.model, None)?;
    let text = match args.ir {
        _ if args.disasm => inspect::disassembly(&path),
        Some(_) => inspect::graph(&path, args.params_path.clone(), &recipe, pass),
        None => inspect::inspect(&path, args.params_path.clone()),
    };
    show(format!("{}\n", text.map_err(line)?.trim_end()))
}
