#!/usr/bin/env python3
"""The perplexity of a GGUF file by llama.cpp's own arithmetic, over the windows that `tcc eval` has too.

    perplexity_llama_cpp.py MODEL.gguf TEXT
"""
import pathlib
import sys

import llama_cpp as ll
import numpy

import llama_cpp_library as library

model = library.load(sys.argv[1])
params = ll.llama_context_default_params()
params.n_ctx = params.n_batch = library.WINDOW
context = ll.llama_init_from_model(model, params)
vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
text = pathlib.Path(sys.argv[2]).read_text().removesuffix("\n")
total, count = 0.0, 0
for window in library.windows(model, text):
    library.decode(context, window, True)
    for at in range(library.WINDOW // 2, library.WINDOW - 1):
        logits = numpy.ctypeslib.as_array(ll.llama_get_logits_ith(context, at), (vocab,)).astype(numpy.float64)
        total += numpy.log(numpy.exp(logits - logits.max()).sum()) + logits.max() - logits[window[at + 1]]
        count += 1
print(numpy.exp(total / count))
