//! `tcrt chat`: a conversation, turn by turn, at the terminal or over pipes.

use std::io::{BufRead, IsTerminal};
use std::path::Path;

use tcrt::chat::{ChatFormat, Message, Role};
use tcrt::{Session, prompt};

use crate::args::Talk;
use crate::output::{Failure, Result, show};
use crate::{draft, generate, open, options};

pub fn chat(file: &Path, args: &Talk) -> Result<()> {
    let model = open::model(file)?;
    let tokenizer = open::tokenizer_of(&model, args.tokenizer.as_deref())?;
    let format = open::chat_format(&model)?;
    let stops = prompt::stop_tokens(model.stop_tokens(), &tokenizer, Some(&format));
    let options = options::generation(&args.sampling, stops, format.stop_strings())?;
    let mut draft = draft::of(args, &model)?;
    let mut session = Session::new(model, &draft::engine_options(args))?;
    let person = std::io::stdin().is_terminal();
    if person {
        eprintln!("Type a message; an empty line or Ctrl-D ends.");
    }
    // What the model has seen and said. It is only ever appended to, so earlier turns are not run again.
    let mut tokens = Vec::new();
    while let Some(line) = next_line(person)? {
        tokens.extend(turn(&tokens, &format, &tokenizer, args.system.as_deref(), &line)?);
        let (generation, _) = generate::stream(&mut session, &tokens, &tokenizer, &options, &mut *draft)?;
        show("\n")?;
        if person {
            eprintln!("{}", generate::figures(&generation));
        }
        tokens.extend(&generation.tokens);
    }
    Ok(())
}

fn next_line(person: bool) -> Result<Option<String>> {
    if person {
        show("> ")?;
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::Line(format!("standard input: {error}")))?;
    let line = line.trim();
    Ok((!line.is_empty()).then(|| line.to_string()))
}

/// The tokens that a user's message adds to the conversation.
fn turn(
    before: &[u32],
    format: &ChatFormat,
    tokenizer: &tcrt::tokenizer::Tokenizer,
    system: Option<&str>,
    line: &str,
) -> Result<Vec<u32>> {
    let user = Message { role: Role::User, content: line };
    if before.is_empty() {
        let system = system.map(|content| Message { role: Role::System, content });
        let messages: Vec<_> = system.into_iter().chain([user]).collect();
        return Ok(prompt::conversation(tokenizer, format, &messages)?);
    }
    Ok(prompt::segments(tokenizer, &format.render_after_reply(&[user], true)?)?)
}
