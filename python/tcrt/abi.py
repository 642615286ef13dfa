"""The part of libtcrt's C interface (tcrt.h) that this package uses, declared for ctypes."""
import ctypes as c
import ctypes.util
import os

VERSION = 1
PARSE_SPECIAL, PROMPT, SHOW_SPECIAL = 1, 2, 4
NO_TOKEN = 0xFFFFFFFF
EVENT_TEXT = 2


class Sized(c.Structure):
    """A structure that begins with its size and version."""

    def __init__(self, **fields):
        super().__init__(size=c.sizeof(self), version=VERSION, **fields)


def sized(name, *fields):
    return type(name, (Sized,), {"_fields_": [("size", c.c_uint32), ("version", c.c_uint32), *fields]})


def words(*names):
    return [(name, c.c_uint32) for name in names]


ModelInfo = sized("ModelInfo", *words("vocab", "max_positions", "layers", "kv_heads", "head_dim", "has_tokenizer", "has_chat", "reserved"),
                  ("weight_bytes", c.c_uint64), ("file_bytes", c.c_uint64), ("load_ns", c.c_uint64))
TokenizerInfo = sized("TokenizerInfo", *words("vocab", "bos", "eos", "adds_bos"))
SessionOptions = sized("SessionOptions", *words("threads", "chunk", "context", "max_sequences", "kv_type", "reserved"))
SamplingOptions = sized(
    "SamplingOptions", ("temperature", c.c_float), ("top_k", c.c_uint32), ("top_p", c.c_float), ("min_p", c.c_float),
    ("repetition_penalty", c.c_float), ("presence_penalty", c.c_float), ("frequency_penalty", c.c_float),
    ("penalty_window", c.c_uint32), ("seed", c.c_uint64), ("logit_bias", c.c_void_p), ("logit_bias_count", c.c_size_t))


class Event(c.Structure):
    _fields_ = [("kind", c.c_uint32), ("token", c.c_uint32), ("text", c.c_void_p), ("text_size", c.c_size_t)]


EventFn = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(Event))
GenerateOptions = sized(
    "GenerateOptions", ("flags", c.c_uint32), ("reserved", c.c_uint32), ("max_new", c.c_uint64),
    ("sampling", c.POINTER(SamplingOptions)), ("stop_tokens", c.POINTER(c.c_uint32)), ("stop_token_count", c.c_size_t),
    ("stop_strings", c.POINTER(c.c_char_p)), ("stop_string_count", c.c_size_t), ("on_event", EventFn), ("user", c.c_void_p))

_handle, _tokens, _count = c.c_void_p, c.POINTER(c.c_uint32), c.POINTER(c.c_size_t)
_FUNCTIONS = {
    "model_load": [c.c_char_p, c.POINTER(_handle)],
    "model_free": [_handle],
    "model_get_info": [_handle, c.POINTER(ModelInfo)],
    "tokenizer_of_model": [_handle, c.POINTER(_handle)],
    "tokenizer_load": [c.c_char_p, c.POINTER(_handle)],
    "tokenizer_free": [_handle],
    "tokenizer_get_info": [_handle, c.POINTER(TokenizerInfo)],
    "tokenize": [_handle, c.c_char_p, c.c_size_t, c.c_uint32, _tokens, c.c_size_t, _count],
    "detokenize": [_handle, _tokens, c.c_size_t, c.c_uint32, c.c_char_p, c.c_size_t, _count],
    "session_new": [_handle, c.POINTER(SessionOptions), c.POINTER(_handle)],
    "session_free": [_handle],
    "session_prefill": [_handle, _tokens, c.c_size_t],
    "session_decode": [_handle, c.c_uint32],
    "session_logits": [_handle, c.POINTER(c.c_float), c.c_size_t, _count],
    "session_rewind": [_handle, c.c_size_t],
    "session_generate": [_handle, _handle, _tokens, c.c_size_t, c.POINTER(GenerateOptions), c.c_void_p],
}


class Error(Exception):
    """What a call that failed says."""


class Library:
    """libtcrt, with its functions as methods that raise."""

    def __init__(self, path=None):
        path = path or os.environ.get("TCRT_LIBRARY") or ctypes.util.find_library("tcrt")
        if not path:
            raise Error("libtcrt is not found: name its file with TCRT_LIBRARY")
        self.library = c.CDLL(path)
        found = self.library.tcrt_abi_version()
        if found != VERSION:
            raise Error(f"{path}: has version {found} of the C interface, not {VERSION}")
        self.library.tcrt_last_error.restype = c.c_char_p
        for name, arguments in _FUNCTIONS.items():
            function = getattr(self.library, f"tcrt_{name}")
            function.argtypes, function.restype = arguments, c.c_int32
            setattr(self, name, self._checked(function))

    def _checked(self, function):
        def call(*arguments):
            if function(*arguments) != 0:
                raise Error(self.library.tcrt_last_error().decode())
        return call
