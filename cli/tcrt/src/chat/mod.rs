//! A conversation, turn by turn, at the terminal or over pipes.

pub mod command;
mod conversation;
pub mod input;
mod markdown;
mod saved;
pub mod settings;

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;

use tcrt::{Draft, Finish, GenerateOptions, Generation, Model, Session, Stats, prompt};

use crate::args::{Converse, Sampling};
use crate::generate::{self, Printer};
use crate::interrupt::Watch;
use crate::output::{Failure, Result, aside, failure, note, show};
use crate::{draft, open, options};
use conversation::{Conversation, Voice};
use input::{Input, Lines};
pub use markdown::Markdown;

const HINT: &str = ": /undo takes a turn back, /reset begins anew, --context makes room";

/// Whether somebody sits there: then there is a prompt, a mistake ends nothing, and Ctrl-C stops a reply.
pub fn is_person() -> bool {
    io::stdin().is_terminal()
}

/// Talks until the lines end.
pub fn chat(file: &Path, args: &Converse, lines: &mut dyn Lines) -> Result<()> {
    let mut chat = Chat::open(file, args)?;
    if let Some(path) = &args.load {
        chat.load(path)?;
    }
    chat.greet();
    let mut interrupted = false;
    loop {
        let message = match lines.read()? {
            Input::End => return Ok(()),
            Input::Interrupted if interrupted => return Ok(()),
            Input::Interrupted => {
                interrupted = true;
                aside("Ctrl-C once more leaves, and so does Ctrl-D.");
                continue;
            }
            Input::Message(message) => message,
        };
        interrupted = false;
        match chat.take(&message) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(Failure::Line(line)) if chat.person => note(line),
            Err(failure) => return Err(failure),
        }
    }
}

struct Chat {
    model: std::sync::Arc<Model>,
    voice: Voice,
    session: Session,
    draft: Box<dyn Draft>,
    sampling: Sampling,
    conversation: Conversation,
    person: bool,
    /// How many replies the last message has had.
    replies: u64,
    last: Option<Generation>,
}

impl Chat {
    fn open(file: &Path, args: &Converse) -> Result<Chat> {
        let talk = &args.talk;
        let model = open::model(file)?;
        let tokenizer = open::tokenizer_of(&model, talk.tokenizer.as_deref())?;
        let voice = Voice { tokenizer, format: model.chat_format()? };
        // Mistakes in the arguments are found before anything is typed.
        options::grammar(&talk.sampling)?;
        options::sampler(&talk.sampling).validate(model.info().vocab)?;
        let conversation = Conversation::new(&voice, talk.system.clone())?;
        let draft = draft::of(talk, &model)?;
        let session = Session::new(model.clone(), &draft::engine_options(talk))?;
        let (sampling, person) = (talk.sampling.clone(), is_person());
        Ok(Chat { model, voice, session, draft, sampling, conversation, person, replies: 0, last: None })
    }

    fn name(&self) -> &str {
        let name = self.model.info().metadata.iter().find(|(key, _)| key == "name");
        name.map_or(self.model.name(), |(_, name)| name)
    }

    fn greet(&self) {
        if !self.person {
            return;
        }
        let base = if self.voice.format.is_some() { "" } else { ", a base model: it goes on from what you write" };
        aside(format!("{}{base}. /help shows the commands, Ctrl-D leaves.", self.name()));
    }

    fn take(&mut self, message: &str) -> Result<ControlFlow<()>> {
        match command::parse(message) {
            _ if message.is_empty() => {}
            None => {
                self.conversation.ask(&self.voice, message)?;
                self.replies = 0;
                // A message that gets no reply is not part of the conversation.
                self.reply().inspect_err(|_| drop(self.conversation.undo()))?;
            }
            Some((Ok("quit"), _)) => return Ok(ControlFlow::Break(())),
            Some((Ok(name), argument)) => self.command(name, argument)?,
            Some((Err(unknown), _)) => return failure(format!("/{unknown} is no command; /help shows them")),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn command(&mut self, name: &str, argument: &str) -> Result<()> {
        match name {
            "set" if argument.is_empty() => note(settings::shown(&self.sampling)),
            "set" => self.set(argument)?,
            "system" if argument.is_empty() => {
                note(self.conversation.system().unwrap_or("There is no system message."))
            }
            "system" => self.set_system(command::unquoted(argument))?,
            "undo" => self.undo()?,
            "regen" => self.regenerate()?,
            "stats" => note(self.stats()?),
            "save" | "load" if argument.is_empty() => return failure(format!("/{name} needs the name of a file")),
            "save" => self.save(&saved::path(command::unquoted(argument)))?,
            "load" => self.load(&saved::path(command::unquoted(argument)))?,
            "reset" => self.reset()?,
            _ => note(command::help()),
        }
        Ok(())
    }

    /// What a person wants to know, and a pipe does not.
    fn say(&self, line: impl std::fmt::Display) {
        if self.person {
            aside(line);
        }
    }

    fn set(&mut self, argument: &str) -> Result<()> {
        let (name, value) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
        let value = value.trim();
        if value.is_empty() {
            return failure(format!("/set {name} needs a value; \"\" is none"));
        }
        self.sampling = settings::set(&self.sampling, name, command::unquoted(value), self.model.info().vocab)?;
        Ok(())
    }

    fn set_system(&mut self, text: &str) -> Result<()> {
        let system = (!text.is_empty()).then(|| text.to_string());
        Ok(self.conversation.set_system(&self.voice, system)?)
    }

    fn undo(&mut self) -> Result<()> {
        let Some(turn) = self.conversation.undo() else { return failure("there is nothing to take back") };
        self.say(format!("Taken back: {}", turn.message));
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        let system = self.conversation.system().map(String::from);
        self.conversation = Conversation::new(&self.voice, system)?;
        self.say("The conversation is forgotten.");
        Ok(())
    }

    fn regenerate(&mut self) -> Result<()> {
        if self.conversation.turns().is_empty() {
            return failure("there is no message to reply to");
        }
        let old = self.conversation.answer(Vec::new(), String::new());
        self.replies += 1;
        let outcome = self.reply();
        if let (Err(_), Some((tokens, reply))) = (&outcome, old) {
            self.conversation.answer(tokens, reply);
        }
        outcome
    }

    /// Lets the model reply to the last message.
    fn reply(&mut self) -> Result<()> {
        let watch = self.person.then(Watch::interrupts).transpose();
        let watch = watch.map_err(|error| Failure::Line(format!("cannot listen to Ctrl-C: {error}")))?;
        let options = self.options(watch.as_ref())?;
        let (tokens, context) = (self.conversation.tokens(&self.voice), self.session.context());
        if tokens.len() > context {
            let count = tokens.len();
            return failure(format!(
                "the conversation would have {count} tokens, more than the context of {context}{HINT}"
            ));
        }
        let (session, tokenizer) = (&mut self.session, &self.voice.tokenizer);
        let mut printer = Printer::styled();
        let (generation, text) =
            generate::stream_to(&mut printer, session, &tokens, tokenizer, &options, &mut *self.draft)?;
        if generation.finish == Finish::Cancelled && generation.tokens.is_empty() {
            return failure("stopped before the reply began; the message is taken back");
        }
        let tokens = match generation.finish {
            // A stop string is the format's to say.
            Finish::StopString => self.voice.reply(&text),
            _ => generation.tokens.clone(),
        };
        self.conversation.answer(tokens, text);
        show("\n")?;
        self.say(format!("{}\n", generate::brief_figures(&generation)));
        self.last = Some(generation);
        Ok(())
    }

    fn options(&self, watch: Option<&Watch>) -> Result<GenerateOptions> {
        let format = self.voice.format.as_ref();
        let stops = prompt::stop_tokens(self.model.stop_tokens(), &self.voice.tokenizer, format);
        let strings = format.map_or(&[][..], |format| format.stop_strings());
        let mut options = options::generation(&self.sampling, stops, strings)?;
        // A further reply with the same seed would be the same one.
        options.sampling.seed = options.sampling.seed.wrapping_add(self.replies);
        options.cancel = watch.map(|watch| watch.asked().clone());
        Ok(options)
    }

    fn stats(&self) -> Result<String> {
        let turns = self.conversation.turns().len();
        let (used, context) = (self.conversation.tokens(&self.voice).len(), self.session.context());
        let cache = self.session.kv_bytes()? as f64 / 1e6;
        let mut text = format!("turns      {turns}\ncontext    {used} of {context} tokens, {cache:.1} MB");
        if let Some(last) = &self.last {
            let Stats { reused_tokens: reused, prompt_tokens: prompt, .. } = last.stats;
            text += &format!(
                "\nlast reply {}\n           reused {reused} of {prompt} prompt tokens",
                generate::figures(last)
            );
        }
        Ok(text)
    }

    fn save(&mut self, path: &Path) -> Result<()> {
        let tokens = self.conversation.tokens(&self.voice);
        if tokens.is_empty() {
            return failure("nothing was said yet");
        }
        catch_up(&mut self.session, &tokens)?;
        self.session.save_file(&saved::state_path(path))?;
        saved::write(path, self.name(), &self.conversation)?;
        self.say(format!("{} holds {}.", path.display(), turns(self.conversation.turns().len())));
        Ok(())
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let saved = saved::read(path)?;
        let state = saved::state_path(path);
        // Without a state that fits, everything is run again with the next message.
        let restored = if state.exists() { self.session.restore_file(&state).err() } else { None };
        let mut conversation = Conversation::new(&self.voice, saved.system)?;
        for turn in &saved.turns {
            let held = self.session.tokens();
            conversation.recall(&self.voice, &turn.message, &turn.reply, held, turn.tokens)?;
        }
        self.conversation = conversation;
        if let Some(error) = restored {
            self.say(format!("{error}; the conversation will be read again"));
        }
        if let Some(turn) = self.conversation.turns().last() {
            let turns = turns(saved.turns.len());
            self.say(format!("{turns}; the last is:\n> {}\n{}", turn.message, turn.reply));
        }
        Ok(())
    }
}

fn turns(count: usize) -> String {
    if count == 1 { "1 turn".into() } else { format!("{count} turns") }
}

/// Has the session hold these tokens and no others.
fn catch_up(session: &mut Session, tokens: &[u32]) -> Result<()> {
    let held = session.tokens().iter().zip(tokens).take_while(|(held, wanted)| held == wanted).count();
    session.rewind(held)?;
    if held < tokens.len() {
        session.prefill(&tokens[held..])?;
    }
    Ok(())
}
