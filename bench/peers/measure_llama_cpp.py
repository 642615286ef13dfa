#!/usr/bin/env python3
"""One measurement of llama.cpp, in a process of its own as tcrt's are: prefill and decode, each after DEPTH tokens.

    measure_llama_cpp.py MODEL.gguf PROMPT DECODE DEPTH THREADS
"""
import ctypes
import json
import resource
import sys
import time

import llama_cpp as ll
import numpy

path, (prompt, decode, depth, threads) = sys.argv[1], map(int, sys.argv[2:6])


def context(model):
    params = ll.llama_context_default_params()
    params.n_ctx = depth + max(prompt, decode) + 8
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = threads
    return ll.llama_init_from_model(model, params)


class Runner:
    def __init__(self):
        self.silent = ll.llama_log_callback(lambda *_: None)  # must outlive every call
        ll.llama_log_set(self.silent, ctypes.c_void_p(0))
        ll.llama_backend_init()
        model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
        self.context = context(model)
        self.memory = ll.llama_get_memory(self.context)
        self.vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))

    def token(self, index):
        return (index * 7919 + 13) % (self.vocab - 300) + 300

    def feed(self, ids):
        for begin in range(0, len(ids), 512):
            part = ids[begin : begin + 512]
            array = (ll.llama_token * len(part))(*part)
            if ll.llama_decode(self.context, ll.llama_batch_get_one(array, len(part))) != 0:
                raise SystemExit("llama_decode failed")

    def greedy(self):
        logits = ll.llama_get_logits_ith(self.context, -1)
        return int(numpy.ctypeslib.as_array(logits, shape=(self.vocab,)).argmax())

    def rewind(self):
        ll.llama_memory_seq_rm(self.memory, 0, depth, -1)

    def measure(self):
        self.feed([self.token(i) for i in range(max(depth, 8))])  # also repacks weights and touches buffers
        self.rewind()
        start = time.perf_counter()
        self.feed([self.token(i) for i in range(prompt)])
        token = self.greedy()
        prefill = prompt / (time.perf_counter() - start)
        self.rewind()
        start = time.perf_counter()
        for _ in range(decode):
            self.feed([token])
            token = self.greedy()
        return {"prefill_tps": prefill, "decode_tps": decode / (time.perf_counter() - start)}


figures = Runner().measure()
figures["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(figures))
