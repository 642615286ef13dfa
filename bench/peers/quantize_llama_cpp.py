#!/usr/bin/env python3
"""Quantizes a GGUF file with llama.cpp, with an importance matrix of a text where one is given.

    quantize_llama_cpp.py MODEL.gguf TYPE OUT.gguf [TEXT]

The matrix is what llama-imatrix computes: the mean of the squares of each input of each matrix, in windows of 512 tokens.
"""
import ctypes
import pathlib
import sys

import llama_cpp as ll
import numpy

import llama_cpp_library as library

# The results, as llama.cpp's graph names them, that each matrix of a layer reads.
READERS = {
    "attn_norm": ("attn_q", "attn_k", "attn_v"),
    "kqv_out": ("attn_output",),
    "ffn_norm": ("ffn_gate", "ffn_up"),
    "ffn_swiglu": ("ffn_down",),
}


def ggml():
    folder = pathlib.Path(ll.__file__).parent / "lib"
    base = ctypes.CDLL(str(next(folder.glob("libggml-base.so*"))))
    for name, result in (("ggml_get_name", ctypes.c_char_p), ("ggml_get_data_f32", ctypes.POINTER(ctypes.c_float))):
        function = getattr(base, name)
        function.restype, function.argtypes = result, [ctypes.c_void_p]
    base.ggml_nelements.restype, base.ggml_nelements.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    return base


class Importance:
    """Sums of squares by matrix."""

    def __init__(self):
        self.sums, self.count, self.base = {}, 0, ggml()

    def see(self, tensor, ask, _):
        value, _, layer = self.base.ggml_get_name(tensor).decode().rpartition("-")
        if value not in READERS:
            return not ask
        if not ask:
            values = numpy.ctypeslib.as_array(self.base.ggml_get_data_f32(tensor), (self.base.ggml_nelements(tensor),))
            squares = (values.reshape(self.tokens, -1).astype(numpy.float64) ** 2).sum(axis=0)
            for reader in READERS[value]:
                name = f"blk.{layer}.{reader}.weight"
                self.sums[name] = self.sums.get(name, 0) + squares
        return True

    def of(self, path, text):
        model = library.load(path)
        see = ll.ggml_backend_sched_eval_callback(self.see)
        params = ll.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = library.WINDOW
        params.cb_eval = see
        context = ll.llama_init_from_model(model, params)
        for window in library.windows(model, text):
            self.tokens = len(window)
            self.count += len(window)
            library.decode(context, window, True)
        ll.llama_free(context)
        ll.llama_model_free(model)
        return {name: (sums / self.count).astype(numpy.float32) for name, sums in self.sums.items()}


def as_array(importance):
    entries = (ll.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items()):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return entries


def main():
    path, kind, out = sys.argv[1:4]
    importance = Importance().of(path, pathlib.Path(sys.argv[4]).read_text()) if len(sys.argv) > 4 else {}
    if not importance:
        library.load(path)
    params = ll.llama_model_quantize_default_params()
    params.ftype = getattr(ll, f"LLAMA_FTYPE_MOSTLY_{kind}")
    entries = as_array(importance)
    if importance:
        params.imatrix = entries
    if ll.llama_model_quantize(path.encode(), out.encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp does not quantize {path} to {kind}")


main()
