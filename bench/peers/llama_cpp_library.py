"""What the scripts of this folder share: llama.cpp's library, silent, and a model with its tokens."""
import ctypes

import llama_cpp as ll

WINDOW = 512


def load(path):
    load.silent = ll.llama_log_callback(lambda *_: None)  # must outlive every call
    ll.llama_log_set(load.silent, ctypes.c_void_p(0))
    ll.llama_backend_init()
    return ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())


def tokens(model, text):
    vocab = ll.llama_model_get_vocab(model)
    data = text.encode()
    found = (ll.llama_token * (len(data) + 8))()
    count = ll.llama_tokenize(vocab, data, len(data), found, len(found), ll.llama_vocab_get_add_bos(vocab), False)
    return list(found[:count])


def windows(model, text):
    """Whole windows; each begins with the begin token where the model's prompts do."""
    vocab = ll.llama_model_get_vocab(model)
    ids = tokens(model, text)
    cut = [ids[at : at + WINDOW] for at in range(0, len(ids) - WINDOW + 1, WINDOW)]
    begin = [ll.llama_vocab_bos(vocab)] if ll.llama_vocab_get_add_bos(vocab) else []
    return [begin + window[len(begin) :] for window in cut]


def decode(context, window, logits):
    """Runs a window from an empty cache; logits of every token or of the last one."""
    ll.llama_memory_clear(ll.llama_get_memory(context), True)
    batch = ll.llama_batch_init(len(window), 0, 1)
    batch.n_tokens = len(window)
    for at, token in enumerate(window):
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0] = token, at, 1, 0
        batch.logits[at] = logits or at == len(window) - 1
    if ll.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")
    ll.llama_batch_free(batch)
