"""From documents to tokens: the tokenizer, the chat format, and batches of whole documents."""

import json

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = [END, TURN, END_OF_TURN]
# Every document begins with END, which is also how a text ends.
CHAT_TEMPLATE = (
    "{{ '<|endoftext|>' }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def read_documents(path):
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def pieces(document):
    """A document's texts in order, each with whether the model is to learn to write it."""
    if "text" in document:
        return [(document["text"], True)]
    out = []
    for message in document["messages"]:
        writes = message["role"] == "assistant"
        out.append((f"{TURN}{message['role']}\n", False))
        out.append((f"{message['content']}{END_OF_TURN}", writes))
        out.append(("\n", False))
    return out


def train_tokenizer(documents, vocab):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = (text for document in documents for text, _ in pieces(document))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, documents):
    """Each document's tokens, the END before them among them, and which of them the model is to learn."""
    parts = [pieces(document) for document in documents]
    encoded = iter(tokenizer.encode_batch_fast([text for document in parts for text, _ in document], add_special_tokens=False))
    end = tokenizer.token_to_id(END)
    for document, texts in zip(documents, parts):
        tokens, learned = [end], [False]
        for _, writes in texts:
            ids = next(encoded).ids
            tokens += ids
            learned += [writes] * len(ids)
        # A text's end, which is the next document's beginning, is learned too.
        yield (tokens + [end], learned + [True]) if "text" in document else (tokens, learned)


IGNORED = -100


def batches(encoded, tokens, random):
    """Every document once, as batches of documents of about the same length, each of at most so many tokens after padding."""
    order = random.permutation(len(encoded))
    out = []
    for at in range(0, len(order), 512):
        batch = []
        for i in sorted(order[at : at + 512], key=lambda i: len(encoded[i][0])):
            if batch and (len(batch) + 1) * len(encoded[i][0]) > tokens:
                out.append(batch)
                batch = []
            batch.append(encoded[i])
        out.append(batch)
    return [out[i] for i in random.permutation(len(out))]


def padded(batch):
    """A row for each document: inputs, and targets with what is not to be learned as IGNORED."""
    length = max(len(tokens) for tokens, _ in batch) - 1
    inputs, targets = np.zeros((len(batch), length), np.int64), np.full((len(batch), length), IGNORED)
    for i, (tokens, learned) in enumerate(batch):
        inputs[i, : len(tokens) - 1] = tokens[:-1]
        targets[i, : len(tokens) - 1] = np.where(learned[1:], tokens[1:], IGNORED)
    return inputs, targets
