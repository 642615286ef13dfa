//! The windows of a text, as llama.cpp's `perplexity` cuts them: `ctx` tokens each, without overlap, what is left at the end
//! dropped. Each begins with `bos`, which replaces the token there, so windows stay where they are. The first half is context; of
//! the second, every token but the first is predicted.

use super::{EvalError, EvalOptions, Text};

const SMALLEST: usize = 4;

pub struct Windows<'a> {
    text: &'a Text,
    ctx: usize,
    count: usize,
}

pub struct Window(Vec<u32>);

impl<'a> Windows<'a> {
    pub fn new(text: &'a Text, options: &EvalOptions) -> Result<Windows<'a>, EvalError> {
        let (tokens, ctx) = (text.tokens.len(), options.text_window());
        if ctx < SMALLEST {
            return Err(EvalError::Context(ctx));
        }
        match options.limit.unwrap_or(usize::MAX).min(tokens / ctx) {
            0 => Err(EvalError::TooShort { tokens, ctx }),
            count => Ok(Windows { text, ctx, count }),
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn get(&self, index: usize) -> Window {
        let mut tokens = self.text.tokens[index * self.ctx..][..self.ctx].to_vec();
        if let Some(bos) = self.text.bos {
            tokens[0] = bos;
        }
        Window(tokens)
    }
}

impl Window {
    fn half(&self) -> usize {
        self.0.len() / 2
    }

    /// What is read before the first prediction.
    pub fn past(&self) -> &[u32] {
        &self.0[..self.half()]
    }

    /// What each prediction is made after.
    pub fn inputs(&self) -> &[u32] {
        &self.0[self.half()..self.0.len() - 1]
    }

    /// What is to be predicted.
    pub fn targets(&self) -> &[u32] {
        &self.0[self.half() + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap_and_begin_with_bos() {
        let text = Text { tokens: (10..37).collect(), bos: Some(1) };
        let options = EvalOptions { ctx: Some(8), ..EvalOptions::default() };
        let windows = Windows::new(&text, &options).unwrap();
        assert_eq!(windows.count(), 3);
        let second = windows.get(1);
        assert_eq!(second.past(), [1, 19, 20, 21]);
        assert_eq!(second.inputs(), [22, 23, 24]);
        assert_eq!(second.targets(), [23, 24, 25]);
        let plain = Text { bos: None, ..text };
        assert_eq!(Windows::new(&plain, &options).unwrap().get(0).past(), [10, 11, 12, 13]);
    }

    #[test]
    fn what_has_nothing_to_predict_is_refused() {
        let text = Text { tokens: vec![0; 7], bos: None };
        let message = |ctx, limit| {
            let options = EvalOptions { ctx: Some(ctx), limit, ..EvalOptions::default() };
            Windows::new(&text, &options).err().map(|error| error.to_string())
        };
        assert_eq!(message(7, None), None);
        assert!(message(8, None).unwrap().contains("7 tokens"));
        assert!(message(3, None).unwrap().contains("windows of 3"));
    }
}
