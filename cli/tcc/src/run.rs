//! `tcc generate` and `tcc chat`: `tcrt`'s commands on a model that is exported when it is first asked for.

use tcrt_cli::output::Result;

use crate::args::{Chat, Generate};
use crate::artifact;

pub fn generate(args: &Generate) -> Result<()> {
    tcrt_cli::run::run(&artifact::of(&args.subject)?, &args.ask)
}

pub fn chat(args: &Chat) -> Result<()> {
    tcrt_cli::chat::chat(&artifact::of(&args.subject)?, &args.talk)
}
