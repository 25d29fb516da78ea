"""Makes a sandbox and reads the first output of a command in it, whenever it is told to."""

import sys
import time
from urllib.parse import urlsplit
import os

if urlsplit(os.environ.get("MODAL_SERVER_URL", "")).hostname != "127.0.0.1":
    sys.exit("refusing to run: MODAL_SERVER_URL is not this machine's loopback")

import modal  # noqa: E402  not before the guard

app = modal.App.lookup("bench", create_if_missing=True)
sandbox = process = None

for line in sys.stdin:
    word = line.strip()
    answer = "done"
    if word == "make":
        begun = time.perf_counter()
        sandbox = modal.Sandbox.create("sleep", "infinity", app=app, timeout=600)
        process = sandbox.exec("echo", "hello")
        first = next(iter(process.stdout))
        answer = (time.perf_counter() - begun) * 1e3
        assert first == "hello\n", first
    elif word == "end":
        assert process.wait() == 0
        sandbox.terminate()
    print(answer, flush=True)
