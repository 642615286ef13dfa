"""A small HTTP client of OpenAI's API on asyncio, with nothing but the standard library: it can leave in the middle of an answer."""

import asyncio
import json
from urllib.parse import urlsplit


class Refused(Exception):
    def __init__(self, status: int, body: str):
        super().__init__(f"{status}: {body[:200]}")
        self.status = status


class Gone(Exception):
    """We left."""


async def post(base_url: str, path: str, body, leave_after: int | None = None) -> list[dict]:
    """The answer, or the events of a streamed one; leaves after so many events."""
    url = urlsplit(base_url)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        head = f"POST {url.path}{path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
        if leave_after == 0:
            raise Gone
        status, headers = await read_head(reader)
        body = chunks(reader) if headers.get("transfer-encoding") == "chunked" else rest(reader)
        if status != 200:
            raise Refused(status, "".join([part.decode() async for part in body]))
        if not headers["content-type"].startswith("text/event-stream"):
            return [json.loads(b"".join([part async for part in body]))]
        return await events(body, leave_after)
    finally:
        writer.close()


async def read_head(reader):
    status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := (await reader.readline()).decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return status, headers


async def rest(reader):
    yield await reader.read()


async def chunks(reader):
    while (size := int(await reader.readline(), 16)) > 0:
        yield await reader.readexactly(size)
        await reader.readexactly(2)


async def events(body, leave_after):
    found, buffer = [], b""
    async for part in body:
        buffer += part
        *whole, buffer = buffer.split(b"\n\n")
        for event in whole:
            if event == b"data: [DONE]":
                return found
            if event.startswith(b"data: "):
                found.append(json.loads(event[6:]))
        if leave_after is not None and len(found) >= leave_after:
            raise Gone
    raise EOFError("a stream ended without [DONE]")
