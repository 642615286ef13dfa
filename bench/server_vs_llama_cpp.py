#!/usr/bin/env python3
"""Tokens per second of all clients together, `tcrt serve` and llama-cpp-python's server in turn.

    pip install 'llama-cpp-python[server]'          # CMAKE_ARGS=-DGGML_NATIVE=ON, so that both use what the machine has
    bench/server_vs_llama_cpp.py MODEL.pte MODEL.gguf [--tcrt target/release/tcrt] [--clients 1 4 8] [--rounds 3] [--threads 2]

Give both the same weights at the same width. Every round asks each server with each number of clients; printed are medians, ranges, and the ratio
of medians. What is asked is in tests/load/rate.py.
"""
import argparse
import asyncio
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "load"))
import rate  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("pte")
parser.add_argument("gguf")
parser.add_argument("--tcrt", default="target/release/tcrt")
parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--tokens", type=int, default=64)
args = parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ours(port):
    return [args.tcrt, "serve", args.pte, "--port", str(port), "--threads", str(args.threads), "--context", "2048"]


def theirs(port):
    options = {"model": args.gguf, "port": port, "n_threads": args.threads, "n_threads_batch": args.threads}
    options |= {"n_ctx": 2048, "interrupt_requests": "false", "verbose": "false"}
    return [sys.executable, "-m", "llama_cpp.server", *(f"--{name}={value}" for name, value in options.items())]


class Server:
    def __init__(self, command):
        port = free_port()
        self.base = f"http://127.0.0.1:{port}/v1"
        self.process = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.model = self.wait_until_ready()

    def wait_until_ready(self):
        import json

        for _ in range(300):
            try:
                with urllib.request.urlopen(self.base + "/models") as answer:
                    return json.load(answer)["data"][0]["id"]
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server does not start")

    def rate(self, clients):
        return asyncio.run(rate.measure(self.base, self.model, clients, args.tokens))


def main():
    servers = {"tcrt serve": Server(ours), "llama-cpp-python": Server(theirs)}
    try:
        for server in servers.values():
            server.rate(1)
        rates = {(name, clients): [] for clients in args.clients for name in servers}
        for _ in range(args.rounds):
            for name, clients in rates:
                rates[name, clients].append(servers[name].rate(clients))
    finally:
        for server in servers.values():
            server.process.kill()
    print("| clients | server | tokens/s | range |\n|---|---|---|---|")
    for clients in args.clients:
        medians = []
        for name in servers:
            found = sorted(rates[name, clients])
            medians.append(statistics.median(found))
            print(f"| {clients} | {name} | {medians[-1]:.1f} | {found[0]:.1f}–{found[-1]:.1f} |")
        print(f"| {clients} | ratio | {medians[0] / medians[1]:.2f} | |")


main()
