//! `tcrt run`: one prompt, one reply.

use std::io::IsTerminal;

use tcrt::chat::{ChatFormat, Message, Role};
use tcrt::tokenizer::Tokenizer;
use tcrt::{Session, prompt};

use crate::args::Run;
use crate::{open, options};
use tcrt_cli::generate;
use tcrt_cli::output::{Result, failure, show};

pub fn run(args: &Run) -> Result<()> {
    let model = open::model(&args.file)?;
    let tokenizer = open::tokenizer_of(&model, args.tokenizer.as_deref())?;
    let text = prompt_text(args)?;
    let format = if args.chat { Some(open::chat_format(&model)?) } else { None };
    let tokens = prompt_tokens(args, &tokenizer, format.as_ref(), &text)?;
    let stops = prompt::stop_tokens(model.stop_tokens(), &tokenizer, format.as_ref());
    let strings = format.as_ref().map_or(&[][..], ChatFormat::stop_strings);
    let options = options::generation(&args.sampling, stops, strings);
    let mut session = Session::new(model, &open::engine_options(&args.engine))?;
    let (generation, _) = generate::stream(&mut session, &tokens, &tokenizer, &options)?;
    show("\n")?;
    eprintln!("{}", generate::figures(&generation));
    Ok(())
}

fn prompt_text(args: &Run) -> Result<String> {
    let text = match &args.prompt {
        Some(text) => text.clone(),
        None if std::io::stdin().is_terminal() => return failure("no prompt: give one with -i, or on standard input"),
        None => generate::read_to_string(std::io::stdin())?,
    };
    if text.is_empty() { failure("the prompt is empty") } else { Ok(text) }
}

fn prompt_tokens(args: &Run, tokenizer: &Tokenizer, format: Option<&ChatFormat>, text: &str) -> Result<Vec<u32>> {
    let Some(format) = format else { return Ok(prompt::plain(tokenizer, text)) };
    let system = args.system.as_deref().map(|content| Message { role: Role::System, content });
    let messages: Vec<_> = system.into_iter().chain([Message { role: Role::User, content: text }]).collect();
    Ok(prompt::conversation(tokenizer, format, &messages)?)
}
