"""Tokens per second of all clients together: python rate.py BASE_URL MODEL CLIENTS [TOKENS] [REQUESTS EACH]

The prompts differ, so that nothing is shared but the system message; every reply is exactly TOKENS long where the server takes `ignore_eos`, and what
`usage` says is what counts.
"""

import asyncio
import sys
import time

from client import post


async def client(base_url: str, model: str, number: int, tokens: int, repeat: int) -> int:
    made = 0
    for turn in range(repeat):
        text = f"Story {number * 31 + turn}: write a long story about the number {number * 7 + turn * 3 + 2}, with many details."
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": tokens}
        body |= {"temperature": 0, "ignore_eos": True}
        answer = await post(base_url, "/chat/completions", body)
        made += answer[0]["usage"]["completion_tokens"]
    return made


async def measure(base_url: str, model: str, clients: int, tokens: int = 64, repeat: int = 2) -> float:
    begin = time.perf_counter()
    made = await asyncio.gather(*(client(base_url, model, number, tokens, repeat) for number in range(clients)))
    return sum(made) / (time.perf_counter() - begin)


if __name__ == "__main__":
    base, name, *numbers = sys.argv[1:]
    print(f"{asyncio.run(measure(base, name, *map(int, numbers))):.1f}")
