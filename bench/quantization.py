#!/usr/bin/env python3
"""Measures what quantizing costs, ours and llama.cpp's on the same weights and texts, and writes the table and the plot of docs/quantization.md.

    cargo build --release && bench/quantization.py                 # every case, three seeds, two texts: some hours on two cores
    bench/quantization.py --only auto --seeds 1 --limit 8 --text FILE   # some cases, printed and not written

SmolLM2-135M-Instruct comes from a Python package, in 4 bits; bench/off_grid.py takes its weights off their grid, once for each seed. Both
quantizers start from that file and read the same calibration text. `tcc eval` measures all results against the f16 weights: it reads
llama.cpp's files number for number and multiplies them with f32 activations, while ours run as they are, int8 activations included.
"""
import argparse
import json
import os
import subprocess

import environment
import quality_report as report
from quality_cases import CASES, TARGETS, Theirs, auto

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CALIBRATION = f"{ROOT}/compiler/src/quantize/calibration/calibration.txt"
EXACT = json.dumps({"activations": {"dtype": "f32"}})
# Of docs/quantization.md; what stands between them is written anew.
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
ROUNDS = 3

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
parser.add_argument("--text", nargs="+", default=[f"{ROOT}/compiler/src/quality/mansfield-park.txt"], help="what is predicted")
parser.add_argument("--limit", type=int, help="only so many windows of 512 tokens")
parser.add_argument("--only", default="", help="cases whose name contains this; nothing is written")
parser.add_argument("--speed", action="store_true", help="measure decoding too")
parser.add_argument("--verify", action="store_true", help="compare tcc's perplexity of llama.cpp's files with llama.cpp's own")
parser.add_argument("--venv", default=f"{ROOT}/target/bench/venv", help="the peer's Python environment")
parser.add_argument("--models", default=f"{ROOT}/target/bench/quantization", help="where models and results are kept; what is there is not made again")
parser.add_argument("--bin", default=f"{ROOT}/target/release", help="where tcc and tcrt are")
args = parser.parse_args()


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def made(path, make):
    """A file that appears whole or not at all, and is made once."""
    if not os.path.exists(path):
        stem, extension = os.path.splitext(path)
        partial = f"{stem}.partial{extension}"
        make(partial)
        os.rename(partial, path)
    return path


class Bench:
    def __init__(self):
        self.python = environment.prepare(args.venv)
        os.makedirs(args.models, exist_ok=True)
        run(f"{ROOT}/tests/fetch-models.sh", args.models)

    def checkpoint(self, seed):
        source = f"{args.models}/SmolLM2-135M-Instruct.Q4_1.gguf"
        return made(f"{args.models}/{seed}-f16.gguf", lambda out: run(self.python, f"{HERE}/off_grid.py", source, seed, out))

    def base(self, seed):
        return made(f"{args.models}/{seed}-f16.pte", lambda out: run(f"{args.bin}/tcc", "export", self.checkpoint(seed), "-o", out))

    def theirs(self, case, seed):
        quantize = lambda out: run(
            self.python, f"{HERE}/peers/quantize_llama_cpp.py", self.checkpoint(seed), case.kind, out, CALIBRATION
        )
        return made(f"{args.models}/{seed}-{case.kind}.gguf", quantize)

    def artifact(self, case, seed):
        stem = "".join(letter if letter.isalnum() else "-" for letter in case.name)
        out = f"{args.models}/{seed}-{stem}.pte"
        if isinstance(case, Theirs):
            return made(out, lambda out: run(f"{args.bin}/tcc", "export", self.theirs(case, seed), "-o", out, "--quantize", EXACT))
        recipe = auto(self.bits(case.bits_of, seed)) if case.bits_of else case.recipe
        export = lambda out: run(f"{args.bin}/tcc", "export", self.checkpoint(seed), "-o", out, "--quantize", json.dumps(recipe))
        return made(out, export)

    def bits(self, name, seed):
        """What llama.cpp's file takes for a weight."""
        case = next(case for case in CASES if case.name == name)
        return float(run(self.python, f"{HERE}/peers/bits_per_weight.py", self.theirs(case, seed)))

    def figures(self, case, seed, text):
        path, stem = self.artifact(case, seed), os.path.splitext(os.path.basename(text))[0]
        limit = ["--limit", args.limit] if args.limit else []
        measure = lambda out: open(out, "w").write(
            run(f"{args.bin}/tcc", "eval", path, "--text", text, "--base", self.base(seed), "--json", *limit)
        )
        kept = f"{os.path.splitext(path)[0]}-{stem}-{args.limit or 'all'}.json"
        found = json.load(open(made(kept, measure)))
        figures = found["report"] | {key: found[key] for key in ("bits_per_weight", "weight_bytes")}
        if isinstance(case, Theirs):
            # What counts is the file that llama.cpp wrote, not our copy of its numbers.
            weights = 8 * figures["weight_bytes"] / figures["bits_per_weight"]
            figures["bits_per_weight"] = self.bits(case.name, seed)
            figures["weight_bytes"] = figures["bits_per_weight"] * weights / 8
        return figures

    def speed(self, case, seed):
        path = self.theirs(case, seed) if isinstance(case, Theirs) else self.artifact(case, seed)
        if isinstance(case, Theirs):
            out = run(self.python, f"{HERE}/peers/measure_llama_cpp.py", path, 128, 64, 0, os.cpu_count())
        else:
            out = run(f"{args.bin}/tcrt", "bench", path, "-p", 128, "-n", 64, "-r", 1, "--json")
        return json.loads(out.strip().splitlines()[-1])["decode_tps"]


def measure(bench):
    rows = []
    for case in (case for case in CASES if args.only in case.name):
        row = report.Row(case.name, isinstance(case, Theirs))
        for text in args.text:
            for seed in args.seeds:
                row.add(text, seed, bench.figures(case, seed, text))
                print(row.line(text, seed), flush=True)
                if args.verify and row.theirs:
                    own = float(run(bench.python, f"{HERE}/peers/perplexity_llama_cpp.py", bench.theirs(case, seed), text))
                    print(f"{'':28} llama.cpp's own perplexity: {own:.3f}", flush=True)
        rows.append((case, row))
    if args.speed:
        # In turn, so that a drift of the machine meets all of them.
        for _ in range(ROUNDS):
            for case, row in rows:
                row.speeds.append(bench.speed(case, args.seeds[0]))
    return [row for _, row in rows]


def section(rows, python):
    texts = rows[0].texts()
    commit = run("git", "-C", ROOT, "rev-parse", "--short", "HEAD").strip()
    peer = f"llama.cpp of llama-cpp-python {environment.version(python, 'llama-cpp-python')}"
    parts = [
        f"{BEGIN}\n\nWritten by `bench/quantization.py` at {commit}: SmolLM2-135M-Instruct off its grid, seeds {', '.join(map(str, args.seeds))}; {peer}. "
        "Means over the seeds, [from–to]. Decode: 64 tokens into an empty context, medians, "
        f"{environment.processor()}.\n\n![Divergence against bits per weight](quantization.svg)\n",
        f"{report.targets(rows, TARGETS)}\n",
    ]
    parts += [f"On `{text}`:\n\n{report.table(rows, text)}\n" for text in texts]
    return "\n".join(parts) + f"\n{END}"


def write(rows, python):
    path = f"{ROOT}/docs/quantization.md"
    text = open(path).read()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w") as page:
        page.write(before + section(rows, python) + after)
    with open(f"{ROOT}/docs/quantization.svg", "w") as plot:
        plot.write(report.svg(rows, rows[0].texts()[0]))


def main():
    bench = Bench()
    rows = measure(bench)
    if not rows:
        raise SystemExit(f"no case has {args.only!r} in its name: {', '.join(case.name for case in CASES)}")
    if not args.only:
        write(rows, bench.python)


if __name__ == "__main__":
    main()
