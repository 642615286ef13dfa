use super::handle;
use super::memory::{Buffer, list, text};
use super::model::tcrt_model;
use super::status::tcrt_status::TCRT_INVALID_ARGUMENT;
use super::status::{Outcome, call, fail, tcrt_status};
use super::tokenizer::{check_flags, tcrt_tokenizer};
use super::versioned::{read, versioned};
use crate::chat::{Date, Message, Role};
use crate::tokenizer::Tokenizer;
use crate::{Model, prompt};
use std::ffi::c_char;
use std::sync::Arc;

/// A message's role: who speaks.
pub const TCRT_SYSTEM: u32 = 0;
pub const TCRT_USER: u32 = 1;
pub const TCRT_ASSISTANT: u32 = 2;

/// A message of a conversation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_message {
    /// TCRT_SYSTEM, TCRT_USER or TCRT_ASSISTANT.
    pub role: u32,
    /// UTF-8, ended by a NUL.
    pub content: *const c_char,
}

/// The messages follow a reply that the session holds: only what comes after that reply is written, the end of its turn first.
pub const TCRT_CHAT_AFTER_REPLY: u32 = 1;
/// Does not end with the beginning of the reply.
pub const TCRT_CHAT_NO_REPLY: u32 = 2;

/// Options of tcrt_chat_apply. Set `size` and `version`; zero everywhere else is the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_chat_options {
    pub size: u32,
    pub version: u32,
    /// TCRT_CHAT_AFTER_REPLY, TCRT_CHAT_NO_REPLY.
    pub flags: u32,
    /// The date, for formats that print it; zero leaves it as the model's own template has it.
    pub year: u32,
    pub month: u32,
    pub day: u32,
}

versioned!(tcrt_chat_options, "tcrt_chat_options", 24);

/// The tokens of a conversation in the model's chat format, up to the beginning of the reply. What messages say never becomes a special
/// token. Buffers are as for tcrt_tokenize. `options` may be NULL. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_chat_apply(
    model: *mut tcrt_model,
    tokenizer: *mut tcrt_tokenizer,
    messages: *const tcrt_message,
    message_count: usize,
    options: *const tcrt_chat_options,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> tcrt_status {
    call("tcrt_chat_apply", || {
        // SAFETY: this function's contract, as the header states it.
        let (messages, options, out) = unsafe {
            (list("messages", messages, message_count)?, read(options)?, Buffer::new(tokens, capacity, count)?)
        };
        check_flags(options.flags, TCRT_CHAT_AFTER_REPLY | TCRT_CHAT_NO_REPLY)?;
        // SAFETY: as above: the messages' texts are the caller's.
        let messages = messages.iter().map(|message| unsafe { self::message(message) }).collect::<Outcome<Vec<_>>>()?;
        let (model, tokenizer) = (handle::get::<Arc<Model>>(model)?, handle::get::<Tokenizer>(tokenizer)?);
        let Some(mut format) = model.chat_format()? else {
            return fail(TCRT_INVALID_ARGUMENT, format!("{}: holds no chat format", model.name()));
        };
        if let Some(date) = date(&options)? {
            format.date = date;
        }
        let reply = options.flags & TCRT_CHAT_NO_REPLY == 0;
        let segments = match options.flags & TCRT_CHAT_AFTER_REPLY {
            0 => format.render(&messages, reply)?,
            _ => format.render_after_reply(&messages, reply)?,
        };
        out.fill(&prompt::segments(&tokenizer, &segments)?)
    })
}

/// # Safety
/// The content is NULL or a string that lives for `'a`.
unsafe fn message<'a>(message: &tcrt_message) -> Outcome<Message<'a>> {
    let role = match message.role {
        TCRT_SYSTEM => Role::System,
        TCRT_USER => Role::User,
        TCRT_ASSISTANT => Role::Assistant,
        other => return fail(TCRT_INVALID_ARGUMENT, format!("a message's role is {other}")),
    };
    // SAFETY: promised by the caller.
    Ok(Message { role, content: unsafe { text("a message's content", message.content)? } })
}

fn date(options: &tcrt_chat_options) -> Outcome<Option<Date>> {
    let &tcrt_chat_options { year, month, day, .. } = options;
    if (year, month, day) == (0, 0, 0) {
        return Ok(None);
    }
    let small = |number: u32| u8::try_from(number).unwrap_or(0);
    Ok(Some(Date::new(u16::try_from(year).unwrap_or(0), small(month), small(day))?))
}
