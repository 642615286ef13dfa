//! `tcc synth`.

use tcc_core::synth;
use tcrt_cli::output::{Result, show};

use crate::args::{Dtype, Synth};
use crate::output::line;
use crate::progress;

pub fn synth(args: &Synth) -> Result<()> {
    let dtype = match args.dtype {
        Dtype::F32 => synth::Dtype::F32,
        Dtype::F16 => synth::Dtype::F16,
        Dtype::Bf16 => synth::Dtype::Bf16,
    };
    let bar = progress::bar("writing");
    let written = synth::synth(&args.shape, &args.output, dtype, &|done, total| progress::set(&bar, done, total));
    bar.finish_and_clear();
    written.map_err(line)?;
    show(format!("{}: a random {} in {}\n", args.output.display(), args.shape, dtype.name()))
}
