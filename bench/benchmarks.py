#!/usr/bin/env python3
"""Compares tcrt with its peers on equal files, in turn, in one run, and writes the table of docs/benchmarks.md and its plot.

    cargo build --release && bench/benchmarks.py              # everything: about 15 minutes, 13 GB of disk
    bench/benchmarks.py --only 135M --rounds 3                # some cases, printed and not written
    bench/benchmarks.py --torch --executorch                  # AOTInductor and ExecuTorch, too

Python and a C++ compiler are all that it needs: it makes an environment of its own, builds llama.cpp (llama-cpp-python) for
this machine, and writes the models, random weights in real shapes. All programs start from the same GGUF file: tcc
carries its blocks over bit for bit.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys

import environment
import report
from cases import CASES, KINDS, SHAPES

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
# Of docs/benchmarks.md; what stands between them is written anew.
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--only", default="", help="the case of this name, or all whose names contain it; nothing is written")
parser.add_argument("--torch", action="store_true", help="measure AOTInductor, too: several gigabytes more, and minutes to compile a model")
parser.add_argument("--executorch", action="store_true", help="measure ExecuTorch, too: as many gigabytes, and a quarter of an hour to export a model")
parser.add_argument("--venv", default=f"{ROOT}/target/bench/venv", help="the peers' Python environment")
parser.add_argument("--models", default=f"{ROOT}/target/bench/models", help="where the models are made")
parser.add_argument("--bin", default=f"{ROOT}/target/release", help="where tcc and tcrt are")
args = parser.parse_args()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def files(case, python):
    """The GGUF file of a case and our artifact of it, made where they are missing."""
    os.makedirs(args.models, exist_ok=True)
    stem = f"{args.models}/{case.shape}-{KINDS[case.kind]}"
    theirs, ours = f"{stem}.gguf", f"{stem}.{'so' if case.native else 'pte'}"
    if not os.path.exists(theirs):
        partial = f"{theirs}.partial"
        run([python, f"{HERE}/shapes.py", case.shape, KINDS[case.kind], partial])
        os.rename(partial, theirs)
    if not os.path.exists(ours):
        run([f"{args.bin}/tcc", "export", theirs, "-o", ours])
    return ours, theirs


def commands(case, python):
    ours, theirs = files(case, python)
    lengths = ["-p", str(case.prompt), "-n", str(case.decode), "-d", str(case.depth)]
    numbers = [str(n) for n in (case.prompt, case.decode, case.depth, args.threads)]
    programs = {
        "tcrt": [f"{args.bin}/tcrt", "bench", ours, *lengths, "-r", "1", "--threads", str(args.threads), "--bandwidth", "--json"],
        "llama.cpp": [python, f"{HERE}/peers/measure_llama_cpp.py", theirs, *numbers],
    }
    counts = [str(n) for n in (case.prompt, case.decode, args.threads)]
    if args.torch and case.aotinductor:
        torch = environment.prepare_torch(f"{args.venv}-torch")
        programs[report.AOTINDUCTOR] = [torch, f"{HERE}/peers/measure_aotinductor.py", theirs, case.aotinductor, *counts, args.models]
    if args.executorch and case.executorch and (executorch := environment.prepare_executorch(f"{args.venv}-executorch")):
        programs[report.EXECUTORCH] = [executorch, f"{HERE}/peers/measure_executorch.py", theirs, *counts, args.models]
    return programs


def measure(case, python):
    programs = commands(case, python)
    results = {program: [] for program in programs}
    for _ in range(args.rounds):
        for program, command in programs.items():
            results[program].append(json.loads(run(command).strip().splitlines()[-1]))
    return results


def section(rows, python):
    commit = run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]).strip()
    versions = ", ".join(f"{name} {environment.version(python, name)}" for name in environment.PACKAGES)
    return f"""
Machine: {environment.processor()}; {args.threads} threads; {datetime.date.today()}. tcrt at {commit}; {versions}, built with
`-DGGML_NATIVE=ON`. {args.rounds} rounds.

![Ratios to llama.cpp](benchmarks.svg)

{report.table(rows)}

Peak memory, MiB:

{report.memory(rows)}

{aotinductor(rows)}{executorch(rows)}"""


def having(rows, peer):
    return [row for row in rows if peer in row[1]]


def aotinductor(rows):
    rows = having(rows, report.AOTINDUCTOR)
    if not rows:
        return ""
    torch = environment.version(f"{args.venv}-torch/bin/python", "torch")
    return f"""AOTInductor of torch {torch}, which keeps activations in bf16, has lengths compiled in and no int4 embedding:

{report.against(rows, report.AOTINDUCTOR)}

"""


def executorch(rows):
    rows = having(rows, report.EXECUTORCH)
    if not rows:
        return ""
    imports = max(r["imports_rss_bytes"] for _, results in rows for r in results[report.EXECUTORCH]) / 2**20
    version = environment.version(f"{args.venv}-executorch/bin/python", "executorch")
    return f"""ExecuTorch {version} on XNNPACK, with the same int4 but for scales in bf16, int8 activations by token, and keys and values in f32; {imports:.0f} MiB of its
memory are Python's imports:

{report.against(rows, report.EXECUTORCH)}

"""


def write(rows, python):
    path = f"{ROOT}/docs/benchmarks.md"
    before, rest = open(path).read().split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w") as page:
        page.write(before + BEGIN + "\n" + section(rows, python) + END + after)
    with open(f"{ROOT}/docs/benchmarks.svg", "w") as plot:
        plot.write(report.svg(rows))


def chosen():
    return [case for case in CASES if case.name == args.only] or [case for case in CASES if args.only in case.name]


def main():
    python = environment.prepare(args.venv)
    rows = []
    for case in chosen():
        rows.append((case, measure(case, python)))
        print(report.table(rows[-1:]).splitlines()[-1], flush=True)
        for peer in (report.AOTINDUCTOR, report.EXECUTORCH):
            if having(rows[-1:], peer):
                print(f"{peer}: {report.against(rows[-1:], peer).splitlines()[-1]}", flush=True)
    if not rows:
        raise SystemExit(f"no case has {args.only!r} in its name: {', '.join(case.name for case in CASES)}")
    if not args.only:
        write(rows, python)


main()
