#!/usr/bin/env python3
"""Writes tests/goldens/stories_greedy.json: greedy tokens of the model that tcc carries inside (models/stories), by PyTorch in f32 on the
same dequantized weights, and the perplexity of stories.txt (`write_stories.py --documents 40 --seed 2000001 --plain`), reckoned as llama.cpp does (windows of 512, of which the second half is predicted).

    make_stories_greedy.py      # needs torch, gguf, tokenizers

`lead` is the smallest lead of the best logit over the second, which says how much noise the comparison can take.
"""
import json, os, sys

import gguf, torch
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))
STORIES = os.path.join(HERE, "..", "..", "models", "stories")
sys.path.insert(0, STORIES)
from model import Model, Shape
from text import CHAT_TEMPLATE, END, SPECIALS
from to_gguf import gguf_name

COUNT, WINDOW = 96, 512
RAW = ["Once upon a time", "One day, a little robot", "The Bear and the Drum\n\n"]
CHATS = [
    [{"role": "user", "content": "Tell me a story about a fox and a lantern."}],
    [{"role": "user", "content": "Why is the sky blue?"}],
    [{"role": "system", "content": "You tell stories."}, {"role": "user", "content": "Hello!"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello! Shall I tell you a story?"}, {"role": "user", "content": "A story about a cat named Tom and a kite, please."}],
]


def load():
    reader = gguf.GGUFReader(os.path.join(STORIES, "stories.gguf"))
    field = lambda name: reader.fields[name].contents()
    size = lambda name: field(f"llama.{name}")
    shape = Shape(vocab=size("vocab_size"), dim=size("embedding_length"), layers=size("block_count"), heads=size("attention.head_count"), kv_heads=size("attention.head_count_kv"), ffn=size("feed_forward_length"), context=size("context_length"), rope_base=size("rope.freq_base"), norm_eps=size("attention.layer_norm_rms_epsilon"))
    tensors = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).copy()).reshape(*reversed([int(n) for n in t.shape])) for t in reader.tensors}
    model = Model(shape)
    model.load_state_dict({name: tensors[gguf_name(name)] for name in model.state_dict()})
    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return model.eval(), tokenizer


def render(messages):
    import jinja2
    return jinja2.Template(CHAT_TEMPLATE).render(messages=messages, add_generation_prompt=True)


@torch.no_grad()
def greedy(model, ids):
    """The ids generated, by how much each led, and the logits after the prompt's last token."""
    out, leads, first = [], [], None
    for _ in range(COUNT):
        logits = model(torch.tensor([ids + out]))[0, -1]
        best = torch.topk(logits, 2)
        leads.append(round(float(best.values[0] - best.values[1]), 3))
        first = logits if first is None else first
        out.append(int(best.indices[0]))
    return out, leads, first


@torch.no_grad()
def perplexity(model, tokenizer, text):
    end = tokenizer.token_to_id(END)
    ids = [end] + tokenizer.encode(text).ids
    losses = []
    for at in range(0, len(ids) - WINDOW + 1, WINDOW):
        window = ids[at : at + WINDOW]
        inputs = torch.tensor([[end] + window[1:]])
        half = WINDOW // 2
        losses.append(torch.nn.functional.cross_entropy(model(inputs)[0, half:-1], torch.tensor(window[half + 1 :]), reduction="none"))
    return float(torch.cat(losses).mean().exp())


def main():
    model, tokenizer = load()
    prompts = [dict(text=text, ids=tokenizer.encode(END + text).ids) for text in RAW]
    for messages in CHATS:
        text = render(messages)
        prompts.append(dict(messages=messages, text=text, ids=tokenizer.encode(text).ids))
    for p in prompts:
        p["generated"], p["leads"], first = greedy(model, p["ids"])
        top = torch.topk(first, 8)
        p["first_logits"] = {str(int(i)): round(float(v), 5) for i, v in zip(top.indices, top.values)}
        p["decoded"] = tokenizer.decode(p["generated"], skip_special_tokens=False)
        print(f"{len(p['ids'])} + {COUNT} tokens, least lead {min(p['leads'])}: {p['decoded']!r}")
    with open(os.path.join(HERE, "stories.txt")) as text:
        expected = perplexity(model, tokenizer, text.read())
    print(f"perplexity {expected:.4f}")
    with open(os.path.join(HERE, "stories_greedy.json"), "w") as f:
        lines = ",\n".join(json.dumps(p, ensure_ascii=False) for p in prompts)
        f.write(f'{{"perplexity": {expected:.5f}, "prompts": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
