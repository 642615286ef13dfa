use super::handle;
use super::memory::{Buffer, list, text};
use super::model::{nanoseconds, tcrt_model};
use super::sampler::{sampling_options, tcrt_sampling_options};
use super::session::{SessionCell, tcrt_session};

use super::status::tcrt_status::TCRT_INVALID_ARGUMENT;
use super::status::{Outcome, call, fail, tcrt_status};
use super::tokenizer::{TCRT_NO_TOKEN, check_flags, tcrt_tokenizer};
use super::versioned::{Results, read, versioned};
use crate::chat::ChatFormat;
use crate::grammar::Grammar;
use crate::tokenizer::Tokenizer;
use crate::{Event, Finish, GenerateOptions, Generation, Model, prompt};
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::ptr;
use std::sync::Arc;

/// A token of the reply.
pub const TCRT_EVENT_TOKEN: u32 = 1;
/// Text of the reply: whole characters, after the token that completed them. Only with a tokenizer.
pub const TCRT_EVENT_TEXT: u32 = 2;

/// What a reply brings as it comes. Later versions may add kinds, to be ignored, and fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_event {
    /// TCRT_EVENT_TOKEN, TCRT_EVENT_TEXT.
    pub kind: u32,
    pub token: u32,
    /// UTF-8, `text_size` bytes and a NUL after them; valid until the callback returns.
    pub text: *const c_char,
    pub text_size: usize,
}

/// Takes an event; anything but 0 ends the reply. It is called on the thread that called tcrt_session_generate. It may call any function of
/// this library, of which those of the same session are TCRT_BUSY but tcrt_session_cancel. It must return normally: neither a
/// C++ exception nor longjmp may leave it.
pub type tcrt_event_fn = Option<unsafe extern "C" fn(user: *mut c_void, event: *const tcrt_event) -> i32>;

/// The prompt is a conversation: what ends a reply in the model's chat format ends this one.
pub const TCRT_GENERATE_CHAT: u32 = 1;
/// Only the given stop tokens and strings end the reply, not those that the model knows.
pub const TCRT_GENERATE_IGNORE_STOPS: u32 = 2;

/// Options of tcrt_session_generate. Set `size` and `version`; zero everywhere else is the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_generate_options {
    pub size: u32,
    pub version: u32,
    /// TCRT_GENERATE_CHAT, TCRT_GENERATE_IGNORE_STOPS.
    pub flags: u32,
    pub reserved: u32,
    /// Tokens of the reply at most; 0: as many as fit.
    pub max_new: u64,
    /// How tokens are chosen; NULL: greedy.
    pub sampling: *const tcrt_sampling_options,
    /// More tokens that end the reply and are not part of it.
    pub stop_tokens: *const u32,
    pub stop_token_count: usize,
    /// Strings that end the reply and are not part of its text; they need a tokenizer.
    pub stop_strings: *const *const c_char,
    pub stop_string_count: usize,
    pub on_event: tcrt_event_fn,
    /// For `on_event`.
    pub user: *mut c_void,
    /// What the reply must be, in GBNF, llama.cpp's notation of grammars; NULL: anything. Needs a tokenizer.
    pub grammar: *const c_char,
    /// As `grammar`, from a JSON schema; one of the two.
    pub json_schema: *const c_char,
}

versioned!(tcrt_generate_options, "tcrt_generate_options", 96);

/// A stop token ended the reply.
pub const TCRT_FINISH_STOP_TOKEN: u32 = 1;
/// A stop string ended the reply.
pub const TCRT_FINISH_STOP_STRING: u32 = 2;
/// The reply has `max_new` tokens.
pub const TCRT_FINISH_LENGTH: u32 = 3;
/// The context is full.
pub const TCRT_FINISH_CONTEXT: u32 = 4;
/// The callback ended the reply.
pub const TCRT_FINISH_CALLBACK: u32 = 5;
/// tcrt_session_cancel ended the reply.
pub const TCRT_FINISH_CANCELLED: u32 = 6;
/// The reply is all that the grammar allows.
pub const TCRT_FINISH_GRAMMAR: u32 = 7;

/// How a reply went. Set `size` and `version` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_stats {
    pub size: u32,
    pub version: u32,
    /// TCRT_FINISH_STOP_TOKEN and so on; 0 before the first reply.
    pub finish: u32,
    /// The token that ended the reply, or TCRT_NO_TOKEN.
    pub stop_token: u32,
    pub prompt_tokens: u64,
    /// Tokens of the prompt that the session held already, and so did not run again.
    pub reused_tokens: u64,
    pub new_tokens: u64,
    /// Nanoseconds: loading the model, running the prompt, up to the first token, and from there to the last.
    pub load_ns: u64,
    pub prefill_ns: u64,
    pub first_token_ns: u64,
    pub decode_ns: u64,
}

versioned!(tcrt_stats, "tcrt_stats", 72);

/// Makes a reply to `prompt`: all the tokens that the model is to see, from the first on. Those that the session holds already are not run
/// again, and those it holds beyond are forgotten; so a conversation is the same call with ever more tokens. The reply's tokens
/// come through `on_event` and stay in the session (the last one may not be run yet, and then is not part of it).
///
/// `tokenizer` gives the reply's text, and may be NULL. `options` and `stats` may be NULL. Cancelling is no error: `stats` tells.
/// One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_generate(
    session: *mut tcrt_session,
    tokenizer: *mut tcrt_tokenizer,
    prompt: *const u32,
    prompt_count: usize,
    options: *const tcrt_generate_options,
    stats: *mut tcrt_stats,
) -> tcrt_status {
    call("tcrt_session_generate", || {
        // SAFETY: this function's contract, as the header states it.
        let (prompt, given) = unsafe { (list("prompt", prompt, prompt_count)?, read(options)?) };
        // SAFETY: as above.
        let out = if stats.is_null() { None } else { Some(unsafe { Results::new(stats)? }) };
        let tokenizer = if tokenizer.is_null() { None } else { Some(handle::get::<Tokenizer>(tokenizer)?) };
        let cell = handle::get::<SessionCell>(session)?;
        let mut state = cell.begin()?;
        // SAFETY: as above: the options' own pointers are the caller's.
        let mut options = unsafe { generate_options(&given, state.session.model(), tokenizer.as_deref())? };
        options.cancel = Some(Arc::clone(&cell.cancel));
        // SAFETY: as above: so are the callback and what it is handed.
        let show = |event: Event<'_>| unsafe { show(&given, event) };
        let reply = state.session.generate(prompt, tokenizer.as_deref(), &options, show)?;
        if let Some(out) = out {
            out.write(&stats_of(Some(&reply)));
        }
        state.last = Some(reply);
        Ok(())
    })
}

/// The tokens that end a reply, for loops of one's own: those of the model, of `tokenizer` (which may be NULL), and with `flags`
/// TCRT_GENERATE_CHAT, which needs a tokenizer, those of the chat format. Buffers are as for tcrt_tokenize. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_model_stop_tokens(
    model: *mut tcrt_model,
    tokenizer: *mut tcrt_tokenizer,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> tcrt_status {
    call("tcrt_model_stop_tokens", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Buffer::new(tokens, capacity, count)? };
        check_flags(flags, TCRT_GENERATE_CHAT)?;
        let model = handle::get::<Arc<Model>>(model)?;
        let tokenizer = if tokenizer.is_null() { None } else { Some(handle::get::<Tokenizer>(tokenizer)?) };
        out.fill(&stop_tokens(&model, tokenizer.as_deref(), chat_format(&model, flags)?.as_ref()))
    })
}

/// How the session's last reply went. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_get_stats(session: *mut tcrt_session, stats: *mut tcrt_stats) -> tcrt_status {
    call("tcrt_session_get_stats", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Results::new(stats)? };
        out.write(&stats_of(handle::get::<SessionCell>(session)?.lock()?.last.as_ref()));
        Ok(())
    })
}

/// # Safety
/// The pointers inside `given` are NULL or lead to what their counts say.
unsafe fn generate_options(
    given: &tcrt_generate_options,
    model: &Model,
    tokenizer: Option<&Tokenizer>,
) -> Outcome<GenerateOptions> {
    check_flags(given.flags, TCRT_GENERATE_CHAT | TCRT_GENERATE_IGNORE_STOPS)?;
    if given.reserved != 0 {
        return fail(TCRT_INVALID_ARGUMENT, "reserved must be 0");
    }
    // SAFETY: promised by the caller.
    let (tokens, strings) = unsafe {
        let tokens = list("stop_tokens", given.stop_tokens, given.stop_token_count)?;
        (tokens, list("stop_strings", given.stop_strings, given.stop_string_count)?)
    };
    // SAFETY: promised by the caller.
    let strings =
        strings.iter().map(|string| unsafe { text("a stop string", *string) }).collect::<Outcome<Vec<_>>>()?;
    let format = chat_format(model, given.flags)?;
    let (own_tokens, own_strings) = match given.flags & TCRT_GENERATE_IGNORE_STOPS {
        0 => {
            (stop_tokens(model, tokenizer, format.as_ref()), format.as_ref().map_or(&[][..], ChatFormat::stop_strings))
        }
        _ => (Vec::new(), &[][..]),
    };
    Ok(GenerateOptions {
        max_new: if given.max_new == 0 { usize::MAX } else { given.max_new as usize },
        // SAFETY: promised by the caller.
        sampling: unsafe { sampling_options(given.sampling)? },
        stop_tokens: tokens.iter().copied().chain(own_tokens).collect(),
        stop_strings: strings.into_iter().map(String::from).chain(own_strings.iter().cloned()).collect(),
        // SAFETY: promised by the caller.
        grammar: unsafe { grammar(given)? },
        cancel: None,
    })
}

/// # Safety
/// The two texts are NULL or end with a NUL.
unsafe fn grammar(given: &tcrt_generate_options) -> Outcome<Option<Grammar>> {
    match (given.grammar.is_null(), given.json_schema.is_null()) {
        (true, true) => Ok(None),
        // SAFETY: promised by the caller.
        (false, true) => Ok(Some(Grammar::gbnf(unsafe { text("grammar", given.grammar)? })?)),
        // SAFETY: promised by the caller.
        (true, false) => Ok(Some(Grammar::json_schema(unsafe { text("json_schema", given.json_schema)? })?)),
        (false, false) => fail(TCRT_INVALID_ARGUMENT, "grammar and json_schema are both given"),
    }
}

fn chat_format(model: &Model, flags: u32) -> Outcome<Option<ChatFormat>> {
    if flags & TCRT_GENERATE_CHAT == 0 {
        return Ok(None);
    }
    match model.chat_format()? {
        None => fail(TCRT_INVALID_ARGUMENT, format!("{}: holds no chat format", model.name())),
        format => Ok(format),
    }
}

fn stop_tokens(model: &Model, tokenizer: Option<&Tokenizer>, format: Option<&ChatFormat>) -> Vec<u32> {
    match tokenizer {
        Some(tokenizer) => prompt::stop_tokens(model.stop_tokens(), tokenizer, format),
        None => model.stop_tokens().to_vec(),
    }
}

/// # Safety
/// `given` has the caller's callback, if any, and what it is to be handed.
unsafe fn show(given: &tcrt_generate_options, event: Event<'_>) -> ControlFlow<()> {
    let Some(on_event) = given.on_event else { return ControlFlow::Continue(()) };
    let empty = tcrt_event { kind: TCRT_EVENT_TOKEN, token: TCRT_NO_TOKEN, text: ptr::null(), text_size: 0 };
    let stop = match event {
        // SAFETY: promised by the caller.
        Event::Token(token) => unsafe { on_event(given.user, &tcrt_event { token, ..empty }) },
        Event::Text(text) => {
            // A NUL inside ends the text for those who do not look at its size.
            let ended = [text.as_bytes(), &[0]].concat();
            let event =
                tcrt_event { kind: TCRT_EVENT_TEXT, text: ended.as_ptr().cast(), text_size: text.len(), ..empty };
            // SAFETY: promised by the caller.
            unsafe { on_event(given.user, &event) }
        }
    };
    if stop == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn stats_of(reply: Option<&Generation>) -> tcrt_stats {
    let (finish, stop_token) = match reply.map(|reply| reply.finish) {
        None => (0, None),
        Some(Finish::StopToken(token)) => (TCRT_FINISH_STOP_TOKEN, Some(token)),
        Some(Finish::StopString) => (TCRT_FINISH_STOP_STRING, None),
        Some(Finish::Length) => (TCRT_FINISH_LENGTH, None),
        Some(Finish::Context) => (TCRT_FINISH_CONTEXT, None),
        Some(Finish::Stopped) => (TCRT_FINISH_CALLBACK, None),
        Some(Finish::Cancelled) => (TCRT_FINISH_CANCELLED, None),
        Some(Finish::Grammar) => (TCRT_FINISH_GRAMMAR, None),
    };
    let stats = reply.map(|reply| reply.stats).unwrap_or_default();
    tcrt_stats {
        size: 0,
        version: 0,
        finish,
        stop_token: stop_token.unwrap_or(TCRT_NO_TOKEN),
        prompt_tokens: stats.prompt_tokens as u64,
        reused_tokens: stats.reused_tokens as u64,
        new_tokens: stats.new_tokens as u64,
        load_ns: nanoseconds(stats.load),
        prefill_ns: nanoseconds(stats.prefill),
        first_token_ns: nanoseconds(stats.first_token),
        decode_ns: nanoseconds(stats.decode),
    }
}
