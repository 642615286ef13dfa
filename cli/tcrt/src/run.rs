//! `tcrt run`: one prompt, one reply, or several.

use std::io::IsTerminal;
use std::path::Path;

use tcrt::chat::{ChatFormat, Message, Role};
use tcrt::tokenizer::Tokenizer;
use tcrt::{Session, prompt};

use crate::args::Ask;
use crate::generate::Printer;
use crate::output::{Result, aside, failure, show};
use crate::{draft, generate, open, options};

/// Tokens of a reply that is asked for once: there is nobody to stop one that goes on and on.
const MOST_TOKENS: usize = 256;

pub fn run(file: &Path, args: &Ask) -> Result<()> {
    if args.talk.system.is_some() && !args.chat {
        return failure("--system is for --chat");
    }
    let model = open::model(file)?;
    let tokenizer = open::tokenizer_of(&model, args.talk.tokenizer.as_deref())?;
    let text = prompt_text(args)?;
    let format = if args.chat { Some(open::chat_format(&model)?) } else { None };
    let tokens = prompt_tokens(args, &tokenizer, format.as_ref(), &text)?;
    let stops = prompt::stop_tokens(model.stop_tokens(), &tokenizer, format.as_ref());
    let strings = format.as_ref().map_or(&[][..], ChatFormat::stop_strings);
    let mut options = options::generation(&args.talk.sampling, stops, strings)?;
    options.max_new = args.talk.sampling.max.unwrap_or(MOST_TOKENS);
    let mut draft = draft::of(&args.talk, &model)?;
    let mut session = Session::new(model, &draft::engine_options(&args.talk))?;
    for sample in 0..args.num_samples {
        if sample > 0 {
            show("\n")?;
            options.sampling.seed = options.sampling.seed.wrapping_add(1);
        }
        // The prompt is not run again: what it shares with the text before stays in the session.
        let mut printer = if args.chat { Printer::styled() } else { Printer::plain() };
        let (generation, _) =
            generate::stream_to(&mut printer, &mut session, &tokens, &tokenizer, &options, &mut *draft)?;
        show("\n")?;
        aside(generate::figures(&generation));
    }
    Ok(())
}

fn prompt_text(args: &Ask) -> Result<String> {
    let text = match &args.prompt {
        Some(text) => text.clone(),
        None if std::io::stdin().is_terminal() => return failure("no prompt: give one with -i, or on standard input"),
        None => generate::read_to_string(std::io::stdin())?,
    };
    if text.is_empty() { failure("the prompt is empty") } else { Ok(text) }
}

fn prompt_tokens(args: &Ask, tokenizer: &Tokenizer, format: Option<&ChatFormat>, text: &str) -> Result<Vec<u32>> {
    let Some(format) = format else { return Ok(prompt::plain(tokenizer, text)) };
    let system = args.talk.system.as_deref().map(|content| Message { role: Role::System, content });
    let messages: Vec<_> = system.into_iter().chain([Message { role: Role::User, content: text }]).collect();
    Ok(prompt::conversation(tokenizer, format, &messages)?)
}
