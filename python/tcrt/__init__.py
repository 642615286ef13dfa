"""Artifacts of tcc, run by libtcrt."""
import ctypes as c

import numpy as np

from . import abi
from .abi import Error

__all__ = ["Error", "Model", "Session", "Tokenizer"]


def _array(tokens):
    return (c.c_uint32 * len(tokens))(*tokens)


class _Handle:
    """Something of the library that is freed with its Python object."""

    def __init__(self, library, make, free):
        self._library, self._free, self._handle = library, free, c.c_void_p()
        make(c.byref(self._handle))

    def __del__(self):
        if getattr(self, "_handle", None):
            self._free(self._handle)
            self._handle = None


class Tokenizer(_Handle):
    def __init__(self, library, make):
        super().__init__(library, make, library.tokenizer_free)
        info = abi.TokenizerInfo()
        library.tokenizer_get_info(self._handle, c.byref(info))
        some = lambda token: None if token == abi.NO_TOKEN else token
        self.vocab, self.bos, self.eos, self.adds_bos = info.vocab, some(info.bos), some(info.eos), bool(info.adds_bos)

    def encode(self, text, flags=abi.PARSE_SPECIAL):
        data, count = text.encode(), c.c_size_t()
        self._library.tokenize(self._handle, data, len(data), flags, None, 0, c.byref(count))
        tokens = (c.c_uint32 * max(count.value, 1))()
        self._library.tokenize(self._handle, data, len(data), flags, tokens, count.value, c.byref(count))
        return list(tokens[: count.value])

    def decode(self, tokens, show_special=False):
        flags, size, tokens = abi.SHOW_SPECIAL if show_special else 0, c.c_size_t(), _array(tokens)
        self._library.detokenize(self._handle, tokens, len(tokens), flags, None, 0, c.byref(size))
        text = c.create_string_buffer(size.value + 1)
        self._library.detokenize(self._handle, tokens, len(tokens), flags, text, len(text), c.byref(size))
        return text.raw[: size.value].decode(errors="replace")


class Model(_Handle):
    def __init__(self, path, library=None, tokenizer=None):
        library = abi.Library(library)
        super().__init__(library, lambda out: library.model_load(str(path).encode(), out), library.model_free)
        self.info = abi.ModelInfo()
        library.model_get_info(self._handle, c.byref(self.info))
        if tokenizer:
            self.tokenizer = Tokenizer(library, lambda out: library.tokenizer_load(str(tokenizer).encode(), out))
        else:
            self.tokenizer = Tokenizer(library, lambda out: library.tokenizer_of_model(self._handle, out))

    def session(self, context=0, threads=0):
        return Session(self, abi.SessionOptions(context=context, threads=threads))


class Session(_Handle):
    """A sequence of tokens and what the model predicts after it."""

    def __init__(self, model, options):
        library = model._library
        super().__init__(library, lambda out: library.session_new(model._handle, c.byref(options), out), library.session_free)
        self.model, self.tokens = model, []
        self._logits = np.empty(model.info.vocab, dtype=np.float32)

    def _append(self, tokens):
        if len(tokens) == 1:
            self._library.session_decode(self._handle, tokens[0])
        elif tokens:
            self._library.session_prefill(self._handle, _array(tokens), len(tokens))
        self.tokens += tokens

    def hold(self, tokens):
        """Makes the session hold these tokens; what it has in common with them is not run again, but for the last token."""
        common = next((i for i, (a, b) in enumerate(zip(self.tokens, tokens)) if a != b), min(len(self.tokens), len(tokens)))
        common = min(common, len(tokens) - 1)
        self._library.session_rewind(self._handle, common)
        self.tokens = self.tokens[:common]
        self._append(list(tokens[common:]))

    def logits(self):
        """Those after the last token; good until the next call."""
        count, pointer = c.c_size_t(), self._logits.ctypes.data_as(c.POINTER(c.c_float))
        self._library.session_logits(self._handle, pointer, len(self._logits), c.byref(count))
        return self._logits

    def log_likelihood(self, context, continuation):
        """ln of the probability of the tokens of `continuation` after those of `context`, and whether each was the likeliest."""
        self.hold(context)
        total, greedy = 0.0, True
        for i, token in enumerate(continuation):
            if i:
                self._append([continuation[i - 1]])
            logits = self.logits()
            top = float(logits.max())
            total += float(logits[token]) - top - float(np.log(np.exp(logits - np.float32(top)).sum(dtype=np.float64)))
            greedy &= int(logits.argmax()) == token
        return total, greedy

    def generate(self, prompt, max_new, stop_strings=(), temperature=0.0, top_k=0, top_p=0.0, min_p=0.0, seed=0):
        """The text that follows the prompt's tokens."""
        pieces = []

        def on_event(_, event):
            if event.contents.kind == abi.EVENT_TEXT:
                pieces.append(c.string_at(event.contents.text, event.contents.text_size))
            return 0

        sampling = abi.SamplingOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
        stops = (c.c_char_p * max(len(stop_strings), 1))(*[stop.encode() for stop in stop_strings])
        options = abi.GenerateOptions(max_new=max_new, sampling=c.pointer(sampling), stop_strings=stops,
                                      stop_string_count=len(stop_strings), on_event=abi.EventFn(on_event))
        tokenizer = self.model.tokenizer._handle
        # What the session holds afterwards is the library's to know.
        self.tokens = []
        self._library.session_generate(self._handle, tokenizer, _array(prompt), len(prompt), c.byref(options), None)
        return b"".join(pieces).decode(errors="replace")
