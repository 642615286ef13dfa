#!/usr/bin/env python3
"""Decode and prefill speed of tcrt and llama.cpp, in turn, in one run.

    pip install llama-cpp-python          # CMAKE_ARGS=-DGGML_NATIVE=ON, so that both use what the machine has
    bench/decode_vs_llama_cpp.py MODEL.gguf [--tcrt target/release/tcrt] [--tcc target/release/tcc] [--rounds 5] [--threads 2] [--depth 4096]

The checkpoint is exported with int4 group 32 and int8 group 32, and quantized by llama.cpp to Q4_0 and Q8_0 (every
matrix, the embedding included, so that both read the same bits for each weight). Every round runs all four; printed
are medians, ranges, and the ratio of medians. Both measure a prefill of P tokens and a decode of N tokens, each into a
context of DEPTH tokens; both have an f16 cache.
"""
import argparse, ctypes, json, os, statistics, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("gguf")
parser.add_argument("--tcrt", default="target/release/tcrt")
parser.add_argument("--tcc", default="target/release/tcc")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("-p", type=int, default=128)
parser.add_argument("-n", type=int, default=64)
parser.add_argument("-d", "--depth", type=int, default=0)
parser.add_argument("--dir", help="keeps the exported files here")
parser.add_argument("--peer", help=argparse.SUPPRESS)
args = parser.parse_args()

RECIPES = {
    "int4 g32": ("Q4_0", {"linear:int4": {"groupsize": 32}, "embedding": {"bitwidth": 4, "groupsize": 32}}),
    "int8 g32": ("Q8_0", {"linear:int8": {"groupsize": 32}, "embedding": {"bitwidth": 8, "groupsize": 32}}),
}


def silence(ll):
    global quiet  # the callback must outlive every call
    quiet = ll.llama_log_callback(lambda *_: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))


def measure_llama_cpp(path):
    """One measurement in a process of its own, as tcrt's are."""
    import llama_cpp as ll

    silence(ll)
    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
    cp = ll.llama_context_default_params()
    cp.n_ctx, cp.n_batch, cp.n_ubatch = args.depth + args.p + args.n + 8, 512, 512
    cp.n_threads = cp.n_threads_batch = args.threads
    ctx = ll.llama_init_from_model(model, cp)
    vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    tokens = [(i * 7919 + 13) % (vocab - 300) + 200 for i in range(args.depth + args.p)]

    def decode(ids):
        array = (ll.llama_token * len(ids))(*ids)
        if ll.llama_decode(ctx, ll.llama_batch_get_one(array, len(ids))) != 0:
            raise SystemExit("llama_decode failed")

    def greedy():
        logits = ll.llama_get_logits_ith(ctx, -1)
        import numpy

        return int(numpy.ctypeslib.as_array(logits, shape=(vocab,)).argmax())

    def forget():
        if not ll.llama_memory_seq_rm(ll.llama_get_memory(ctx), 0, args.depth, -1):
            raise SystemExit("llama.cpp could not rewind")

    decode(tokens[:8])  # warm up: repacked weights and buffers
    ll.llama_memory_clear(ll.llama_get_memory(ctx), True)
    for begin in range(0, args.depth, 512):
        decode(tokens[begin : min(begin + 512, args.depth)])
    start = time.perf_counter()
    for begin in range(args.depth, args.depth + args.p, 512):
        decode(tokens[begin : begin + 512])
    token = greedy()
    prefill = args.p / (time.perf_counter() - start)
    forget()
    start = time.perf_counter()
    for _ in range(args.n):
        decode([token])
        token = greedy()
    print(json.dumps({"prefill_tps": prefill, "decode_tps": args.n / (time.perf_counter() - start)}))


def quantize(kind, out):
    import llama_cpp as ll

    params = ll.llama_model_quantize_default_params()
    params.ftype = {"Q4_0": ll.LLAMA_FTYPE_MOSTLY_Q4_0, "Q8_0": ll.LLAMA_FTYPE_MOSTLY_Q8_0}[kind]
    params.allow_requantize = True
    params.pure = True
    params.nthread = args.threads
    silence(ll)
    if ll.llama_model_quantize(args.gguf.encode(), out.encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp could not quantize to {kind}")


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    work = args.dir or tempfile.mkdtemp()
    os.makedirs(work, exist_ok=True)
    contenders = []
    for name, (kind, recipe) in RECIPES.items():
        ours, theirs = f"{work}/{kind}.pte", f"{work}/{kind}.gguf"
        if not os.path.exists(ours):
            subprocess.run([args.tcc, "export", args.gguf, "-o", ours, "--quantize", json.dumps(recipe)], check=True, stdout=sys.stderr)
        if not os.path.exists(theirs):
            quantize(kind, theirs)
        numbers = ["-p", str(args.p), "-n", str(args.n), "-d", str(args.depth), "--threads", str(args.threads)]
        contenders.append((name, "tcrt", ours, [args.tcrt, "bench", ours, *numbers, "-r", "1", "--json"]))
        contenders.append((kind, "llama.cpp", theirs, [sys.executable, __file__, args.gguf, *numbers, "--peer", theirs]))
    results = {name: [] for name, *_ in contenders}
    for _ in range(args.rounds):
        for name, _, _, command in contenders:
            results[name].append(run(command))
    for name, program, path, _ in contenders:
        cells = []
        for key in ("prefill_tps", "decode_tps"):
            values = [result[key] for result in results[name]]
            cells.append(f"{key} {statistics.median(values):8.1f} [{min(values):.1f}-{max(values):.1f}]")
        print(f"{program:10} {name:9} {os.path.getsize(path) / 1e6:7.1f} MB   {'   '.join(cells)}")
    for name, (kind, _) in RECIPES.items():
        ratio = lambda key: statistics.median(r[key] for r in results[name]) / statistics.median(r[key] for r in results[kind])
        print(f"{name} / {kind}: prefill {ratio('prefill_tps'):.2f} x, decode {ratio('decode_tps'):.2f} x")


if args.peer:
    measure_llama_cpp(args.peer)
else:
    main()
