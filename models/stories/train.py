"""Trains the story model on a corpus of write_stories.py.

    python3 train.py --corpus corpus.jsonl --validation validation.jsonl --out run/

Writes run/tokenizer.json and run/checkpoint.pt (from which a broken-off run goes on) and run/best.pt, the average of the weights where
its validation loss was lowest."""

import argparse
import copy
import itertools
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from model import Model, Shape
from muon import Muon
from storyteller import Words
from text import IGNORED, batches, encode, padded, read_documents, train_tokenizer


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6400)
    parser.add_argument("--tokens", type=int, default=2048, help="of one step, padding included")
    parser.add_argument("--matrix-rate", type=float, default=0.012, help="learning rate of Muon, for the matrices")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of AdamW, for the rest")
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--content-weight", type=float, default=5, help="of a name, a character or a thing, where any other token weighs 1")
    parser.add_argument("--average", type=float, default=0.99, help="of the average of the weights, what stays at each step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=100, help="steps from one validation and checkpoint to the next")
    return parser.parse_args()


def rate(step, args):
    """Rises, then falls along a cosine to a hundredth."""
    if step < args.warmup:
        return (step + 1) / args.warmup
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + torch.cos(torch.tensor(done * torch.pi)).item())


def optimizers_of(model, args):
    matrices = model.matrices()
    ours = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in ours]
    return [
        Muon(matrices, lr=args.matrix_rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=args.rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Documents:
    """Batches without end, in an order that the seed alone decides. No document sees another."""

    def __init__(self, encoded, context, tokens, seed):
        self.encoded = [document for document in encoded if len(document[0]) <= context + 1]
        self.tokens, self.seed = tokens, seed

    def once(self, epoch=0):
        return batches(self.encoded, self.tokens, np.random.default_rng(self.seed + epoch))

    def from_step(self, step):
        epochs = (batch for epoch in itertools.count() for batch in self.once(epoch))
        return itertools.islice(epochs, step, None)


def losses_of(model, batch):
    """Of each token that is learned, and these tokens."""
    inputs, targets = map(torch.from_numpy, padded(batch))
    learned = targets != IGNORED
    targets = targets[learned]
    return F.cross_entropy(model.logits(model.hidden(inputs)[learned]), targets, reduction="none"), targets


def weights_of(tokenizer, shape, args):
    """Of each token. A story's grammar is soon learned; whom and what it is about takes long, and is a small part of the tokens."""
    words = Words()
    content = [noun for nouns in words.characters.values() for noun, _ in nouns] + [noun for noun, _ in words.every_thing]
    content += [name for names in words.names.values() for name in names]
    weights = torch.ones(shape.vocab)
    for word in content:
        token, *rest = tokenizer.encode(" " + word, add_special_tokens=False).ids
        if not rest:
            weights[token] = args.content_weight
    return weights


@torch.no_grad()
def follow(average, model, share):
    """Moves the average of the weights, which predicts better than the weights of any one step while these still move far."""
    for mean, p in zip(average.parameters(), model.parameters()):
        mean.lerp_(p, 1 - share)


@torch.no_grad()
def validate(model, documents):
    """Mean loss of a learned token."""
    return torch.cat([losses_of(model, batch)[0] for batch in documents.once()]).mean().item()


def documents_of(path, tokenizer, shape, args):
    return Documents(list(encode(tokenizer, read_documents(path))), shape.context, args.tokens, args.seed)


def tokenizer_of(path, corpus, vocab):
    if not path.exists():
        train_tokenizer(read_documents(corpus)[:20000], vocab).save(str(path))
    return Tokenizer.from_file(str(path))


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    shape = Shape()
    tokenizer = tokenizer_of(args.out / "tokenizer.json", args.corpus, shape.vocab)
    documents, held_out = (documents_of(path, tokenizer, shape, args) for path in (args.corpus, args.validation))
    weights = weights_of(tokenizer, shape, args)
    model = Model(shape)
    average = copy.deepcopy(model)
    optimizers = optimizers_of(model, args)
    tokens = sum(len(tokens) for tokens, _ in documents.encoded)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {tokens} tokens", flush=True)
    first, best, checkpoint = 0, float("inf"), args.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        first, best = saved["step"], saved["best"]
    begin, seen = time.time(), 0.0
    for step, batch in zip(range(first, args.steps), documents.from_step(first)):
        for optimizer, full in zip(optimizers, (args.matrix_rate, args.rate)):
            for group in optimizer.param_groups:
                group["lr"] = full * rate(step, args)
        losses, targets = losses_of(model, batch)
        loss = (losses * weights[targets]).sum() / weights[targets].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        follow(average, model, min(args.average, step / (step + 10)))
        seen += loss.item()
        if (step + 1) % args.every and step + 1 < args.steps:
            continue
        validation = validate(average, held_out)
        speed = (step + 1 - first) * args.tokens / (time.time() - begin)
        print(f"step {step + 1}: training loss {seen / args.every:.4f}, validation loss {validation:.4f}, {speed:.0f} tokens/s", flush=True)
        seen = 0.0
        if validation < best:
            best = validation
            torch.save({"shape": asdict(shape), "model": average.state_dict(), "validation": validation, "step": step + 1}, args.out / "best.pt")
        saved = {"model": model.state_dict(), "average": average.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers], "step": step + 1, "best": best}
        torch.save(saved, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)


if __name__ == "__main__":
    main()
