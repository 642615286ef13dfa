#!/usr/bin/env python3
"""Decode and prefill speed of `tcrt bench` against llama-cpp-python, in turn on the same machine, so that drift hits both alike.

    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python
    compare_speed.py TCRT MODEL.gguf int4.pte=Q4_0 int8.pte=Q8_0 [--threads 2] [--rounds 3]

MODEL.gguf is requantized to the type after each `=` (kept beside it). Threads of both wait by spinning: run this on an idle machine. Prints for each pair the median and range over the rounds.
"""
import argparse, json, os, statistics, subprocess, time
import llama_cpp

PROMPT, DECODE = 128, 64
QUIET = llama_cpp.llama_log_callback(lambda level, text, data: None)
llama_cpp.llama_log_set(QUIET, None)


def requantized(source, kind):
    path = f"{os.path.splitext(source)[0]}.{kind}.compare.gguf"
    if not os.path.exists(path):
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
        params.allow_requantize = True
        params.pure = True  # every matrix in the one type, the embedding too
        if llama_cpp.llama_model_quantize(source.encode(), path.encode(), params):
            raise SystemExit(f"{source}: cannot be quantized to {kind}")
    return path


def llama_cpp_speed(path, threads):
    model = llama_cpp.Llama(path, n_ctx=512, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    ids = [(i * 37) % 1000 + 300 for i in range(PROMPT)]
    model.eval(ids[:16])  # warms up
    model.reset()
    start = time.perf_counter()
    model.eval(ids)
    prefilled = time.perf_counter()
    for i in range(DECODE):
        model.eval([ids[i]])
    done = time.perf_counter()
    return PROMPT / (prefilled - start), DECODE / (done - prefilled)


def tcrt_speed(tcrt, path, threads):
    command = [tcrt, "bench", path, "-p", str(PROMPT), "-n", str(DECODE), "-r", "1", "--threads", str(threads), "--json"]
    out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    median = lambda v: v["median"] if isinstance(v, dict) else v
    return median(out["prefill_tps"]), median(out["decode_tps"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tcrt"); p.add_argument("gguf"); p.add_argument("pairs", nargs="+")
    p.add_argument("--threads", type=int, default=2); p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    pairs = [pair.rsplit("=", 1) for pair in a.pairs]
    seen = {}
    for _ in range(a.rounds):
        for pte, kind in pairs:
            seen.setdefault(f"tcrt {os.path.basename(pte)}", []).append(tcrt_speed(a.tcrt, pte, a.threads))
            seen.setdefault(f"llama.cpp {kind}", []).append(llama_cpp_speed(requantized(a.gguf, kind), a.threads))
    print(f"{'':32} {'prefill t/s':>22} {'decode t/s':>22}")
    for name, runs in seen.items():
        columns = [f"{statistics.median(c):7.1f} [{min(c):.0f}-{max(c):.0f}]" for c in zip(*runs)]
        print(f"{name:32} {columns[0]:>22} {columns[1]:>22}")


if __name__ == "__main__":
    main()
