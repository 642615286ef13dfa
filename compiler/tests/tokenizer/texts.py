"""The texts that tokenizers are compared on: a corpus, and random ones that tests/tokenizer/texts.rs makes alike."""

import json
from pathlib import Path

DATA = json.loads((Path(__file__).parent / "texts.json").read_text(encoding="utf-8"))
MASK = (1 << 64) - 1


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % bound

    def scalar(self, first, last):
        code = first + self.below(last - first + 1)
        return chr(code if not 0xD800 <= code < 0xE000 else 0xFFFD)


def random_text(seed):
    random = Random(seed)
    text = ""
    for _ in range(1 + random.below(16)):
        kind = random.below(len(DATA["ranges"]) + len(DATA["lists"]))
        for _ in range(1 + random.below(3)):
            if kind < len(DATA["ranges"]):
                text += random.scalar(*DATA["ranges"][kind])
            else:
                choices = DATA["lists"][kind - len(DATA["ranges"])]
                text += choices[random.below(len(choices))]
    return text


def texts(count):
    return DATA["corpus"] + [random_text(seed) for seed in range(count)]
