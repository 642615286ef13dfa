#!/usr/bin/env python3
"""Times one model's artifacts against each other in one process, turn about: native code (.so) must be nowhere slower than the portable program (.pte).

    cargo build --release -p tcrt && TCRT_LIBRARY=target/release/libtcrt.so bench/native_vs_portable.py model.pte model.so

Every round takes all artifacts in a new random order, each for one prefill and one run of decoding from the same state. Printed are medians and,
since a shared machine drifts, the ratios to the first artifact in the same round: their median, with the 95 % interval of the median."""

import argparse
import ctypes as c
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "python" / "tcrt"))
import abi  # noqa: E402  (by itself, since the package wants numpy)


class Artifact:
    def __init__(self, library, path, threads):
        self.library, self.path = library, path
        model, self.session, info = c.c_void_p(), c.c_void_p(), abi.ModelInfo()
        library.model_load(path.encode(), c.byref(model))
        library.model_get_info(model, c.byref(info))
        library.session_new(model, c.byref(abi.SessionOptions(threads=threads)), c.byref(self.session))
        self.vocab = info.vocab

    def times(self, prompt, decode):
        """Seconds of a prefill of so many tokens, and of decoding so many after them."""
        self.library.session_rewind(self.session, 0)
        tokens = (c.c_uint32 * prompt)(*(7919 * i % self.vocab for i in range(prompt)))
        begin = time.perf_counter()
        self.library.session_prefill(self.session, tokens, prompt)
        between = time.perf_counter()
        for token in range(decode):
            self.library.session_decode(self.session, token % self.vocab)
        return between - begin, time.perf_counter() - between


def interval_of_median(values):
    """Ranks from the binomial distribution, by its normal approximation."""
    ordered, half = sorted(values), 0.98 * len(values) ** 0.5
    low, high = int(len(values) / 2 - half), int(len(values) / 2 + half)
    return ordered[max(low, 0)], ordered[min(high, len(values) - 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("-p", "--prompt", type=int, default=128)
    parser.add_argument("-n", "--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    library = abi.Library()
    artifacts = [Artifact(library, path, args.threads) for path in args.artifacts]
    for artifact in artifacts:
        artifact.times(args.prompt, args.decode)  # brings its pages in
    seconds = {artifact: [] for artifact in artifacts}
    for _ in range(args.rounds):
        for artifact in random.sample(artifacts, len(artifacts)):
            seconds[artifact].append(artifact.times(args.prompt, args.decode))
    for phase, (name, tokens) in enumerate((("prefill", args.prompt), ("decode", args.decode))):
        first = [times[phase] for times in seconds[artifacts[0]]]
        for artifact in artifacts:
            own = [times[phase] for times in seconds[artifact]]
            ratios = [a / b for a, b in zip(first, own)]
            low, high = interval_of_median(ratios)
            print(f"{name:8}{artifact.path}: {tokens / statistics.median(own):.1f} tokens/s, "
                  f"{statistics.median(ratios):.3f} x {artifacts[0].path} [{low:.3f}–{high:.3f}]")


if __name__ == "__main__":
    main()
