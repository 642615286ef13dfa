#!/usr/bin/env python3
"""Makes the small vocabularies in fixtures/ and the goldens that the Rust test compares with.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 tiktoken==0.14.0 gguf
    ../../../tests/fetch-models.sh MODELS
    python3 make_goldens.py [--models MODELS] [--count N] [--out DIR]

A golden holds a little-endian u32 for each text of texts.py: the FNV-1a of the reference's tokens.
"""

import argparse
import base64
import io
import json
import struct
import tempfile
from pathlib import Path

import sentencepiece
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from texts import DATA, texts

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
LICENSE = HERE.parents[2] / "LICENSE"

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
TEKKEN = rf"{LEAD}{UPPER}*{LOWER}+|{LEAD}{UPPER}+{LOWER}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    rf"{LEAD}{UPPER}*{LOWER}+{CONTRACTIONS}?|{LEAD}{UPPER}+{LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
    "<|eot_id|>", "<|python_tag|>", "<|image|>",
] + [f"<|reserved_special_token_{i}|>" for i in range(2, 246)]
# Normalisation like nmt_nfkc's, but small: replaced, composed, dropped, widened, spaces of many kinds.
CHARSMAP = [(chr(0xFF01 + i), chr(0x21 + i)) for i in range(94)] + [
    ("ﬁ", "fi"), ("ﬃ", "ffi"), ("e\u0301", "é"), ("e\u0302", "ê"), ("e\u0302\u0301", "ế"), ("a\u0323\u0302", "ậ"),
    ("½", "1⁄2"), ("²", "2"), ("…", "..."), ("\u200b", ""), ("\u200d", ""), ("\u00ad", ""), ("\ufeff", ""),
    ("\u3000", " "), ("\u00a0", " "), ("\t", " "), ("\n", " "), ("\r", " "), ("\u2028", " "), ("ſ", "s"), ("\u212b", "Å"),
    ("\u0001", ""), ("\u001f", ""), ("\u1100\u1161", "가"), ("\u1100\u1161\u11a8", "각"), ("🙂", ":)"),
]


def training_texts():
    return LICENSE.read_text().splitlines() + DATA["corpus"] * 2 + [w for words in DATA["lists"] for w in words] * 3


# Vocabularies


def train_sentencepiece(name, **options):
    model = io.BytesIO()
    options.setdefault("normalization_rule_name", "identity")
    sentences = [line for text in training_texts() for line in text.splitlines() if line and "\0" not in line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", num_threads=1,
        split_digits=True, minloglevel=2, **options,
    )
    (FIXTURES / f"{name}.model").write_bytes(model.getvalue())


def train_byte_level(name, pre_tokenizer, normalizer=None, ignore_merges=False, special=(), added=()):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=560, initial_alphabet=alphabet, show_progress=False, min_frequency=2)
    tokenizer.train_from_iterator(training_texts(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=True) for token in added])
    save(tokenizer, name)
    return tokenizer


def save(tokenizer, name):
    (FIXTURES / f"{name}.json").write_text(tokenizer.to_str(), encoding="utf-8")


def split(pattern):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])


def from_sentencepiece(model_path, metaspace):
    """As `transformers` converts a Llama vocabulary."""
    spm = sentencepiece.SentencePieceProcessor(model_file=str(model_path))
    vocab = {spm.id_to_piece(i): i for i in range(len(spm))}
    scores = {spm.id_to_piece(i): spm.get_score(i) for i in range(len(spm))}
    merges = []
    for piece in vocab:
        splits = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        splits = [pair for pair in splits if pair[0] in vocab and pair[1] in vocab]
        merges += sorted(((scores[piece], *pair) for pair in splits), key=lambda m: (vocab[m[1]], vocab[m[2]]))
    merges.sort(key=lambda merge: -merge[0])
    bpe = models.BPE(vocab, [m[1:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    return tokenizer


def ranks_of(tokenizer):
    """The normal tokens of a byte-level tokenizer as bytes, in the order that tiktoken ranks have."""
    alphabet = dict(zip(byte_alphabet(), range(256)))
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [bytes(alphabet[c] for c in token) for token in model["vocab"] if all(c in alphabet for c in token)]
    single = [bytes([byte]) for byte in range(256)]
    merged = [token for token in tokens if len(token) > 1]
    return {token: rank for rank, token in enumerate(single + merged)}


def byte_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def write_llama2c(model_path, out):
    spm = sentencepiece.SentencePieceProcessor(model_file=str(model_path))
    entries = []
    for i in range(len(spm)):
        text = {1: "\n<s>\n", 2: "\n</s>\n"}.get(i, spm.id_to_piece(i).replace("▁", " ")).encode()
        entries.append(struct.pack("<fI", spm.get_score(i), len(text)) + text)
    out.write_bytes(struct.pack("<I", max(map(len, entries)) - 8) + b"".join(entries))


def make_fixtures():
    FIXTURES.mkdir(exist_ok=True)
    train_sentencepiece("spm", vocab_size=700, byte_fallback=True, remove_extra_whitespaces=False,
                        character_coverage=0.98)
    write_llama2c(FIXTURES / "spm.model", FIXTURES / "llama2c.bin")
    train_sentencepiece("spm-collapse", vocab_size=480, character_coverage=0.98,
                        user_defined_symbols=["<tool>", "(", "<tool_call>"], control_symbols=["[INST]"])
    train_sentencepiece("spm-bare", vocab_size=500, byte_fallback=True, remove_extra_whitespaces=False,
                        add_dummy_prefix=False, character_coverage=0.98)
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        for source, target in CHARSMAP:
            rules.write("\t".join(" ".join(f"{ord(c):X}" for c in text) for text in (source, target)) + "\n")
        rules.flush()
        train_sentencepiece("spm-charsmap", vocab_size=600, byte_fallback=True, character_coverage=0.98,
                            user_defined_symbols=["<tool>", "Ａ", "e\u0301x"], normalization_rule_name="user_defined",
                            normalization_rule_tsv=rules.name)
    for metaspace, name in [(False, "llama2"), (True, "metaspace")]:
        save(from_sentencepiece(FIXTURES / "spm.model", metaspace), name)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    train_byte_level("gpt2", byte_level, special=["<|endoftext|>"])
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    chatml = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    train_byte_level("smollm", digits, special=chatml)
    llama3 = train_byte_level("llama3", split(LLAMA3), ignore_merges=True, special=LLAMA3_SPECIAL[:12])
    train_byte_level("qwen2", split(QWEN2), normalizers.NFC(), special=chatml, added=["<tool_call>", "</tool_call>"])
    tekken = train_byte_level("tekken-hf", split(TEKKEN), special=["<s>", "</s>", "[INST]", "[/INST]"])
    train_byte_level("o200k", split(O200K), special=["<|eot_id|>"])
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks_of(llama3).items()]
    (FIXTURES / "llama3.model").write_text("".join(lines))
    write_tekken(ranks_of(tekken), FIXTURES / "tekken.json")


def write_tekken(ranks, out):
    vocab = [{"rank": r, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for t, r in ranks.items()]
    config = {"pattern": TEKKEN, "num_vocab_tokens": len(vocab), "default_vocab_size": len(vocab) + 20,
              "default_num_special_tokens": 30, "version": "v3"}
    out.write_text(json.dumps({"config": config, "vocab": vocab}))


# References: the tokens of a text with special tokens as text, with special tokens parsed (None: no reference has
# that), and the text that those of the first decode to.


class Hf:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def encode(self, text, parse):
        self.tokenizer.encode_special_tokens = not parse
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids)


class SentencePiece:
    def __init__(self, path):
        self.spm = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text, parse):
        return None if parse else self.spm.encode(text)

    def decode(self, ids):
        # Ours leaves the unknown token out.
        return self.spm.decode([i for i in ids if not self.spm.is_unknown(i)])


class Tiktoken:
    def __init__(self, pattern, ranks, special=(), first=0):
        """`first`: the id of rank 0."""
        self.first = first
        special = {token: len(ranks) + at for at, token in enumerate(special)}
        self.encoding = tiktoken.Encoding("", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)

    def encode(self, text, parse):
        if parse and self.first:
            return None
        allowed = "all" if parse else set()
        return [self.first + rank for rank in
                self.encoding.encode(text, allowed_special=allowed, disallowed_special=())]

    def decode(self, ids):
        return self.encoding.decode([i - self.first for i in ids])


def read_ranks(path):
    pairs = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def read_tekken(path):
    file = json.loads(path.read_text(encoding="utf-8"))
    config = file["config"]
    count = config["default_vocab_size"] - config["default_num_special_tokens"]
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in file["vocab"] if t["rank"] < count}
    return Tiktoken(config["pattern"], ranks, first=config["default_num_special_tokens"])


def read_smollm_gguf(path):
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    tokens, types, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return Hf(tokenizer)


def fixture_references():
    for name in ["gpt2", "smollm", "llama3", "qwen2", "tekken-hf", "o200k", "llama2", "metaspace"]:
        yield f"{name}.json", Hf(Tokenizer.from_file(str(FIXTURES / f"{name}.json")))
    for name in ["spm", "spm-collapse", "spm-bare", "spm-charsmap"]:
        yield f"{name}.model", SentencePiece(FIXTURES / f"{name}.model")
    yield "llama2c.bin", SentencePiece(FIXTURES / "spm.model")
    yield "llama3.model", Tiktoken(LLAMA3, read_ranks(FIXTURES / "llama3.model"), LLAMA3_SPECIAL)
    yield "tekken.json", read_tekken(FIXTURES / "tekken.json")


def real_references(found):
    yield "real-llama3", Tiktoken(LLAMA3, read_ranks(found / "llama3-tokenizer.model"), LLAMA3_SPECIAL)
    yield "real-mistral-v1", SentencePiece(found / "tokenizer.model.v1")
    yield "real-mistral-v3", SentencePiece(found / "mistral_instruct_tokenizer_240323.model.v3")
    yield "real-tekken", read_tekken(found / "tekken_240911.json")
    yield "real-smollm2", read_smollm_gguf(found / "SmolLM2-135M-Instruct.Q4_1.gguf")


def fnv(data):
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def write_goldens(name, reference, out, count):
    all_texts = texts(count)
    as_text = [reference.encode(text, parse=False) for text in all_texts]
    parsed = [reference.encode(text, parse=True) for text in all_texts]
    goldens = {"text": as_text, "parse": parsed, "decode": [reference.decode(ids).encode() for ids in as_text]}
    for what, results in goldens.items():
        if None not in results:
            data = [r if isinstance(r, bytes) else struct.pack(f"<{len(r)}I", *r) for r in results]
            (out / f"{name}.{what}").write_bytes(struct.pack(f"<{len(data)}I", *map(fnv, data)))
    print(name, sum(map(len, as_text)), "tokens")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    if args.out == FIXTURES:
        make_fixtures()
    references = [*fixture_references(), *(real_references(args.models) if args.models else ())]
    for name, reference in references:
        write_goldens(name, reference, args.out, args.count)


main()
