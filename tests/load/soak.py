"""Many clients, some of them rude, for a while: python soak.py BASE_URL MODEL PID [CLIENTS] [SECONDS]

Every answer is compared with the one the same server gave alone. Prints a summary, and fails where an answer is lost, mixed up or changed, or
where the memory of the server (process PID) grows after its first third.
"""

import asyncio
import collections
import json
import random
import sys
import time

from client import Gone, Refused, post

TOPICS = "the sea,a train,bread,the moon,an old clock,rain,a blue door,mathematics,a small dog,winter".split(",")
FORMS = ["Write about {}.", "Name three things about {}.", "Ask me a question about {}.", "Why is {} like a book?"]


def request(index: int) -> dict:
    text = FORMS[index % len(FORMS)].format(TOPICS[index // len(FORMS) % len(TOPICS)])
    if index % 7 == 0:
        text += " Take your time." * 20
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 8 + index % 5 * 8}


REQUESTS = [request(index) for index in range(len(TOPICS) * len(FORMS))]
BAD = [b"{", b"[]", b"null", b'{"messages": 3}', b'{"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', b"\xff" * 100]


def said(answer: list[dict]) -> str:
    if "message" in answer[0]["choices"][0]:
        return answer[0]["choices"][0]["message"]["content"]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in answer)


async def one(base_url, model, expected, counts, rng):
    index = rng.randrange(len(REQUESTS))
    body = {**REQUESTS[index], "model": model, "stream": rng.random() < 0.7}
    kind = rng.choices(["asks", "leaves", "errs"], [0.75, 0.15, 0.1])[0]
    try:
        if kind == "errs":
            await post(base_url, "/chat/completions", rng.choice(BAD))
            counts["WRONG: a bad request was answered"] += 1
            return
        leave = rng.randrange(6) if kind == "leaves" else None
        answer = await post(base_url, "/chat/completions", {**body, "stream": body["stream"] or kind == "leaves"}, leave)
        same = said(answer) == expected[index]
        counts["answers as computed alone" if same else "WRONG: another answer"] += 1
    except Gone:
        counts["left"] += 1
    except Refused as refused:
        right = refused.status == 429 or (kind == "errs" and refused.status == 400)
        counts[f"status {refused.status}" if right else f"WRONG: {refused}"] += 1
        if refused.status == 429:
            await asyncio.sleep(0.2)
    except (EOFError, OSError, ValueError) as error:
        counts[f"WRONG: {type(error).__name__}: {error}"] += 1


def memory(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


async def main(base_url: str, model: str, pid: str, clients: str = "64", seconds: str = "60") -> None:
    expected = [said(await post(base_url, "/chat/completions", {**body, "model": model})) for body in REQUESTS]
    counts, end, sizes = collections.Counter(), time.monotonic() + float(seconds), []

    async def client(number):
        rng = random.Random(number)
        while time.monotonic() < end:
            await one(base_url, model, expected, counts, rng)

    async def watch():
        while time.monotonic() < end:
            sizes.append(memory(int(pid)))
            await asyncio.sleep(float(seconds) / 12)

    await asyncio.gather(watch(), *(client(number) for number in range(int(clients))))
    for what, count in sorted(counts.items()):
        print(f"{count:7} {what}")
    print("memory, MB:", " ".join(f"{size:.0f}" for size in sizes))
    wrong = [what for what in counts if what.startswith("WRONG")]
    grown = max(sizes[-4:]) > 1.1 * max(sizes[:5])
    if wrong or grown or counts["answers as computed alone"] == 0:
        sys.exit("failed: " + ("memory grows" if grown else json.dumps(wrong)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
