"""A real OpenAI-compatible server for tests: adds two numbers, and misbehaves exactly as it is told.

`python -m rocassay.suites.accuracy.server FILE [PLAN]` writes its port to FILE. PLAN is a JSON object: `delay`
(seconds per answer), `tokenizer` (whether `/tokenize` exists), `models`, `behaviours` (first number of a question ->
what its successive requests get; after the last of them, right answers; a final "forever" repeats the one before).
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANG_SECONDS = 60.0
KEY_ECHO = "echo"
"""Behaviour: a 401 that repeats the key, as careless servers do."""


class Server(ThreadingHTTPServer):
    """Counts what it is asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan = plan
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.bodies: dict[str, Any] = {}
        self.now = self.most_at_once = 0

    def behaviour(self, number: str) -> str:
        """What this request gets, counting it."""
        with self.lock:
            place = self.seen[number]
            self.seen[number] += 1
        behaviours = self.plan.get("behaviours", {}).get(number, [])
        if behaviours and behaviours[-1] == "forever":
            return behaviours[min(place, len(behaviours) - 2)]
        return behaviours[place] if place < len(behaviours) else "answer"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        """Models, and what was counted."""
        if self.path == "/v1/models":
            names = self.server.plan.get("models", ["adder"])
            self.reply(200, {"object": "list", "data": [{"id": name} for name in names]})
        elif self.path == "/stats":
            with self.server.lock:
                stats = {"seen": dict(self.server.seen), "most_at_once": self.server.most_at_once}
                self.reply(200, {**stats, "now": self.server.now, "bodies": self.server.bodies})
        else:
            self.reply(404, {"error": {"message": f"no {self.path}"}})

    def do_POST(self) -> None:
        """Completions and tokens."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize" and self.server.plan.get("tokenizer", True):
            count = len(body["prompt"].split())
            self.reply(200, {"count": count, "max_model_len": 4096, "tokens": list(range(count))})
        elif self.path == "/v1/completions":
            self.counted(body)
        else:
            self.reply(404, {"error": {"message": f"no {self.path}"}})

    def counted(self, body: dict[str, Any]) -> None:
        """Answer while being counted among those at work."""
        server = self.server
        with server.lock:
            server.now += 1
            server.most_at_once = max(server.most_at_once, server.now)
        try:
            self.complete(body)
        finally:
            with server.lock:
                server.now -= 1

    def complete(self, body: dict[str, Any]) -> None:
        """Answer the last question of the prompt, or do what the plan says instead."""
        left, right = re.findall(r"What is (\d+) plus (\d+)\?", body["prompt"])[-1]
        behaviour, _, argument = self.server.behaviour(left).partition(":")
        with self.server.lock:
            self.server.bodies[left] = {"stop": body["stop"], "temperature": body["temperature"]}
        time.sleep(self.server.plan.get("delay", 0.0))
        text = f" {left} + {right} = {int(left) + int(right)}\n#### {int(left) + int(right)}"
        if behaviour == "hang":
            time.sleep(HANG_SECONDS)
        elif behaviour == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        elif behaviour == "malformed":
            self.send(200, b'{"choices": [{"te')
        elif behaviour == "nochoices":
            self.reply(200, {"choices": []})
        elif behaviour == KEY_ECHO:
            self.reply(401, {"error": {"message": f"bad key {self.headers['Authorization']}"}})
        elif behaviour.isdigit():
            headers = {"Retry-After": argument} if argument else {}
            self.reply(int(behaviour), {"error": {"message": f"injected {behaviour}"}}, headers)
        else:
            self.reply(200, self.answer(body, text, behaviour))

    def answer(self, body: dict[str, Any], text: str, behaviour: str) -> dict[str, Any]:
        """A completion: right, empty, cut at the token limit, or ended by the server."""
        given, reason = {"length": (text[:8], "length"), "empty": ("", "stop"), "abort": (text[:4], "abort")}.get(
            behaviour, (text, "stop")
        )
        usage = {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": len(given.split())}
        return {"model": body["model"], "choices": [{"text": given, "finish_reason": reason}], "usage": usage}

    def reply(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON."""
        self.send(status, json.dumps(value).encode(), headers)

    def send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        """Send bytes."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until killed."""
    server = Server(json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    ready = Path(sys.argv[1])
    ready.with_suffix(".new").write_text(str(server.server_address[1]))
    ready.with_suffix(".new").rename(ready)
    server.serve_forever()


if __name__ == "__main__":
    main()
