//! The draft that the arguments ask for.

use tcrt::{Draft, DraftModel, EngineOptions, Lookup, Model, NoDraft};

use crate::args::{Guessing, Talk};
use crate::open;
use crate::output::Result;

/// The engine's options, with rows of logits for the guesses that a call verifies.
pub fn engine_options(args: &Talk) -> EngineOptions {
    let options = open::engine_options(&args.engine);
    let guesses = if args.guessing.is_wanted() { args.guessing.guesses } else { 0 };
    EngineOptions { max_rows: options.max_rows.max(guesses + 1), ..options }
}

pub fn of(args: &Talk, target: &Model) -> Result<Box<dyn Draft>> {
    let Guessing { lookup, draft, guesses } = &args.guessing;
    let Some(path) = draft else {
        return Ok(if *lookup { Box::new(Lookup::new(*guesses)) } else { Box::new(NoDraft) });
    };
    let model = open::model(path)?;
    let draft = DraftModel::new(model, target, &open::engine_options(&args.engine), *guesses)?;
    Ok(Box::new(draft))
}

impl Guessing {
    fn is_wanted(&self) -> bool {
        self.lookup || self.draft.is_some()
    }
}
