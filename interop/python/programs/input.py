"""Standard input of commands."""

import hashlib
import random

from harness import check, eventually, holds, main, modal, raises, same, shared


@check("stdin.write")
def _():
    process = shared().exec("cat")
    process.stdin.write("hello ")
    process.stdin.drain()
    process.stdin.write(b"world")
    process.stdin.drain()
    process.stdin.write_eof()
    process.stdin.drain()
    same(process.stdout.read(), "hello world")
    same(process.wait(), 0)


@check("stdin.eof")
def _():
    process = shared().exec("sh", "-c", "cat >/dev/null; echo at the end")
    process.stdin.write_eof()
    process.stdin.drain()
    same(process.stdout.read(), "at the end\n")


@check("stdin.with_eof")
def _():
    process = shared().exec("cat")
    process.stdin.write("in one")
    process.stdin.write_eof()
    process.stdin.drain()
    same(process.stdout.read(), "in one")


@check("stdin.binary")
def _():
    data = random.Random(1).randbytes(4096)
    process = shared().exec("cat", text=False)
    process.stdin.write(data)
    process.stdin.write_eof()
    process.stdin.drain()
    same(process.stdout.read(), data)


@check("stdin.large")
def _():
    data = random.Random(2).randbytes(8 * 1024 * 1024)
    process = shared().exec("sha256sum")
    for start in range(0, len(data), 1024 * 1024):
        process.stdin.write(data[start : start + 1024 * 1024])
        process.stdin.drain()
    process.stdin.write_eof()
    process.stdin.drain()
    same(process.stdout.read().split()[0], hashlib.sha256(data).hexdigest())


@check("stdin.dialogue")
def _():
    process = shared().exec("sh", "-c", 'while read line; do echo "<$line>"; done', bufsize=1)
    lines = iter(process.stdout)
    for word in ("one", "two", "three"):
        process.stdin.write(word + "\n")
        process.stdin.drain()
        same(next(lines), f"<{word}>\n")
    process.stdin.write_eof()
    process.stdin.drain()
    same(process.wait(), 0)


@check("stdin.after_exit")
def _():
    process = shared().exec("true")
    same(process.wait(), 0)

    def write():
        process.stdin.write("x" * 100_000)
        process.stdin.drain()

    # What the client makes of the server's answer differs between versions; that it is an error does not.
    with raises((modal.exception.Error, ValueError, OSError)):
        write()


@check("stdin.unread")
def _():
    # The command takes no input; writing a little must not hang.
    process = shared().exec("sh", "-c", "sleep 1; echo slept")
    process.stdin.write("ignored")
    process.stdin.write_eof()
    process.stdin.drain()
    same(process.stdout.read(), "slept\n")


main()
