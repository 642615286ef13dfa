use super::handle::{self, Behind};
use super::memory::{Out, list, list_mut};
use super::model::tcrt_model;
use super::session::{SessionCell, tcrt_session};
use super::status::tcrt_status::TCRT_BUSY;
use super::status::{Outcome, call, fail, tcrt_status};
use super::versioned::{read, versioned};
use crate::Model;
use crate::sampling::{Sampler, SamplerOptions};
use std::sync::{Arc, Mutex, MutexGuard};

/// Chooses tokens for loops of one's own. tcrt_session_generate needs none.
pub struct tcrt_sampler {
    _private: (),
}

/// A sampler, and logits that it may change.
pub struct SamplerCell(Mutex<(Sampler, Vec<f32>)>);

impl Behind for SamplerCell {
    type Handle = tcrt_sampler;
    const NAME: &'static str = "sampler";
}

impl SamplerCell {
    fn lock(&self) -> Outcome<MutexGuard<'_, (Sampler, Vec<f32>)>> {
        self.0.try_lock().or_else(|_| fail(TCRT_BUSY, "the sampler is in use"))
    }
}

/// Added to the logit of a token; -INFINITY forbids it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_logit_bias {
    pub token: u32,
    pub bias: f32,
}

/// How tokens are chosen. Set `size` and `version`; zero everywhere else is greedy: the most likely token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_sampling_options {
    pub size: u32,
    pub version: u32,
    /// 0: greedy, and nothing of the following but the penalties and biases matters.
    pub temperature: f32,
    /// Only the so many most likely tokens; 0: all.
    pub top_k: u32,
    /// Only the fewest most likely tokens whose share reaches this; 0: all.
    pub top_p: f32,
    /// Only tokens at least this times as likely as the most likely; 0: all.
    pub min_p: f32,
    /// Divides the logits of tokens that were seen; 0 and 1: off.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that were seen.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens as often as they were seen.
    pub frequency_penalty: f32,
    /// How many of the last tokens the penalties look at; 0: all.
    pub penalty_window: u32,
    /// The choices are a function of this and the logits.
    pub seed: u64,
    pub logit_bias: *const tcrt_logit_bias,
    pub logit_bias_count: usize,
}

versioned!(tcrt_sampling_options, "tcrt_sampling_options", 64);

/// # Safety
/// `pointer` is NULL or leads to options whose own pointers are right.
pub unsafe fn sampling_options(pointer: *const tcrt_sampling_options) -> Outcome<SamplerOptions> {
    // SAFETY: promised by the caller.
    let options = unsafe { read(pointer)? };
    // SAFETY: promised by the caller.
    let biases = unsafe { list("logit_bias", options.logit_bias, options.logit_bias_count)? };
    let or_off = |value: f32| if value == 0.0 { 1.0 } else { value };
    Ok(SamplerOptions {
        temperature: options.temperature,
        top_k: options.top_k as usize,
        top_p: or_off(options.top_p),
        min_p: options.min_p,
        repetition_penalty: or_off(options.repetition_penalty),
        presence_penalty: options.presence_penalty,
        frequency_penalty: options.frequency_penalty,
        penalty_window: if options.penalty_window == 0 { usize::MAX } else { options.penalty_window as usize },
        seed: options.seed,
        logit_bias: biases.iter().map(|entry| (entry.token, entry.bias)).collect(),
    })
}

/// Makes a sampler for a model's logits. `options` may be NULL: greedy. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_sampler_new(
    model: *mut tcrt_model,
    options: *const tcrt_sampling_options,
    sampler: *mut *mut tcrt_sampler,
) -> tcrt_status {
    call("tcrt_sampler_new", || {
        // SAFETY: this function's contract, as the header states it.
        let (options, out) = unsafe { (sampling_options(options)?, Out::new("sampler", sampler)?) };
        let model = handle::get::<Arc<Model>>(model)?;
        let made = Sampler::new(options, model.info().vocab)?;
        out.write(handle::new(SamplerCell(Mutex::new((made, Vec::new())))));
        Ok(())
    })
}

/// Frees a sampler; NULL is fine. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_sampler_free(sampler: *mut tcrt_sampler) -> tcrt_status {
    call("tcrt_sampler_free", || handle::free::<SamplerCell>(sampler))
}

/// Chooses the token to follow those of the session, from the logits after the last of them; append it with tcrt_session_decode.
/// Thread-safe; TCRT_BUSY where another call uses the sampler or the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_sampler_sample(
    sampler: *mut tcrt_sampler,
    session: *mut tcrt_session,
    token: *mut u32,
) -> tcrt_status {
    call("tcrt_sampler_sample", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Out::new("token", token)? };
        let (sampler, session) = (handle::get::<SamplerCell>(sampler)?, handle::get::<SessionCell>(session)?);
        let (mut sampler, mut state) = (sampler.lock()?, session.lock()?);
        let (sampler, logits) = &mut *sampler;
        // Penalties and biases are made in a copy, so that sampling again begins from what the model gave.
        logits.clear();
        logits.extend_from_slice(state.session.last_logits()?);
        out.write(sampler.sample(logits, state.session.tokens())?);
        Ok(())
    })
}

/// Chooses a token from the caller's logits, one for each token of the vocabulary, which are changed in place; -INFINITY marks a token that
/// must not come. `history` is what the penalties look at. Thread-safe; TCRT_BUSY where another call uses the sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_sampler_sample_logits(
    sampler: *mut tcrt_sampler,
    logits: *mut f32,
    logit_count: usize,
    history: *const u32,
    history_count: usize,
    token: *mut u32,
) -> tcrt_status {
    call("tcrt_sampler_sample_logits", || {
        // SAFETY: this function's contract, as the header states it.
        let (logits, history, out) = unsafe {
            let logits = list_mut("logits", logits, logit_count)?;
            (logits, list("history", history, history_count)?, Out::new("token", token)?)
        };
        let sampler = handle::get::<SamplerCell>(sampler)?;
        out.write(sampler.lock()?.0.sample(logits, history)?);
        Ok(())
    })
}
