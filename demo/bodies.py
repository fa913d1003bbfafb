"""Bodies of requests: uploads that stay within their limits, and calls that name no other file."""

import asyncio
import json
import os
import time
from pathlib import Path

from starlette.types import Message, Receive, Send

STALL_SECONDS = 10.0  # after which an upload must have brought MIN_RATE on average, and any byte
MIN_RATE = 16_000  # bytes/s of an upload; a video from a phone takes minutes even so


class UploadBody:
    """The body of an upload, cut off when it gets too large or is too slow."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self._receive, self._send, self._max_bytes = receive, send, max_bytes
        self._complete = False
        self._begin, self._size = time.monotonic(), 0
        self.too_large = self.cut_off = self.answered = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), STALL_SECONDS)
        except TimeoutError:
            self.cut_off = True
            return {"type": "http.disconnect"}
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        seconds = time.monotonic() - self._begin - STALL_SECONDS
        self.too_large = self._size > self._max_bytes
        self.cut_off = self.too_large or self._size < MIN_RATE * seconds
        return {"type": "http.disconnect"} if self.cut_off else message

    async def send(self, message: Message) -> None:
        """Pass the answer on, unless it is about the upload that was broken off here."""
        if not self.cut_off or self.answered:
            self.answered = True
            await self._send(message)


def names_file_outside(content: bytes, folder: Path) -> bool:
    """Whether the JSON of a call has a ``path`` that is not inside ``folder``.

    Gradio would copy such a file to a place that everybody can read, or fetch it from its address.
    """
    try:
        nodes = [json.loads(content)]
    except RecursionError:
        return True  # nested so deeply only to do harm
    except ValueError:
        return False  # a form, or broken JSON that gradio refuses
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            path = node.get("path")
            if isinstance(path, str) and not Path(os.path.abspath(path)).is_relative_to(folder):
                return True
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)
    return False


def is_object(content: bytes) -> bool:
    """Whether the body of a call is a JSON object."""
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False
