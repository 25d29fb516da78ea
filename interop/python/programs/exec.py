"""Commands in a running sandbox: output, exit, environment, time, terminals."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import check, create, eventually, holds, main, modal, raises, run, same, shared
from modal.stream_type import StreamType


@check("exec.stdout")
def _():
    same(run("sh", "-c", "echo one; echo two"), "one\ntwo\n")


@check("exec.stderr")
def _():
    process = shared().exec("sh", "-c", "echo out; echo err >&2")
    same((process.stdout.read(), process.stderr.read()), ("out\n", "err\n"))


@check("exec.exit_code")
def _():
    process = shared().exec("sh", "-c", "exit 42")
    same(process.wait(), 42)
    same(process.returncode, 42)


@check("exec.signal")
def _():
    same(shared().exec("sh", "-c", "kill -9 $$").wait(), 137)


@check("exec.poll")
def _():
    process = shared().exec("sh", "-c", "read line; exit 5")
    same(process.poll(), None, "poll while it runs")
    process.stdin.write("\n")
    process.stdin.drain()
    same(eventually("an exit code", process.poll), 5)


@check("exec.not_found")
def _():
    try:
        process = shared().exec("no-such-command-1234")
        same(process.wait(), 127)
    except modal.exception.Error as error:
        holds("no-such-command-1234" in str(error), f"the error does not name the command: {error}")


@check("exec.workdir")
def _():
    same(run("pwd", workdir="/usr/share"), "/usr/share\n")


@check("exec.workdir_missing")
def _():
    try:
        process = shared().exec("pwd", workdir="/no/such/directory")
        holds(process.wait() != 0, "it ran in a directory that is not there")
    except modal.exception.Error as error:
        holds("/no/such/directory" in str(error), f"the error does not name the directory: {error}")


@check("exec.env")
def _():
    same(run("sh", "-c", 'echo "$A-${B-none}"', env={"A": "1 2", "B": None}), "1 2-none\n")


@check("exec.secrets")
def _():
    secret = modal.Secret.from_dict({"TOKEN": "hidden", "BOTH": "secret"})
    same(run("sh", "-c", "echo $TOKEN $BOTH", secrets=[secret], env={"BOTH": "env"}), "hidden env\n")
    same(run("sh", "-c", "echo ${TOKEN-none}"), "none\n", "the secret in the next exec")


@check("exec.timeout")
def _():
    started = time.monotonic()
    process = shared().exec("sleep", "61", timeout=1)
    # Whoever notices first: the client's own deadline, or the server's kill.
    holds(process.wait() in (-1, 137), f"ended with {process.returncode}")
    holds(time.monotonic() - started < 15, "long after the timeout")
    # The client's deadline may pass a moment before the server's.
    eventually("the command is gone", lambda: shared().exec("pgrep", "-x", "-f", "sleep 61").wait() == 1)


@check("exec.text_by_line")
def _():
    process = shared().exec("printf", "a\\nb\\n\\nlast", bufsize=1)
    same(list(process.stdout), ["a\n", "b\n", "\n", "last"])


@check("exec.live_lines")
def _():
    process = shared().exec("sh", "-c", "echo first; read line; echo second $line", bufsize=1)
    lines = iter(process.stdout)
    same(next(lines), "first\n", "a line while the command still runs")
    process.stdin.write("x\n")
    process.stdin.drain()
    same(next(lines), "second x\n")
    same(process.wait(), 0)


@check("exec.binary")
def _():
    process = shared().exec("sh", "-c", r"printf '\377\000\376'", text=False)
    same(process.stdout.read(), b"\xff\x00\xfe")


@check("exec.unicode")
def _():
    same(run("printf", "%s", "grüße 🦀 漢字"), "grüße 🦀 漢字")


@check("exec.large_output")
def _():
    size = 16 * 1024 * 1024
    process = shared().exec("sh", "-c", f"head -c {size} /dev/zero", text=False)
    data = process.stdout.read()
    same(len(data), size, "bytes")
    holds(not data.strip(b"\0"), "other bytes than were written")


@check("exec.unread_output")
def _():
    # Nobody reads; the command must end all the same.
    same(shared().exec("sh", "-c", "head -c 4000000 /dev/zero; head -c 4000000 /dev/zero >&2").wait(), 0)


@check("exec.devnull")
def _():
    process = shared().exec("sh", "-c", "head -c 1000000 /dev/zero; echo err >&2", stdout=StreamType.DEVNULL)
    same(process.stderr.read(), "err\n")
    same(process.wait(), 0)


@check("exec.late_read")
def _():
    process = shared().exec("sh", "-c", "echo kept; echo also >&2")
    same(process.wait(), 0)
    same((process.stdout.read(), process.stderr.read()), ("kept\n", "also\n"))


@check("exec.empty_output")
def _():
    process = shared().exec("true")
    same((process.stdout.read(), process.stderr.read(), process.wait()), ("", "", 0))


@check("exec.background_child")
def _():
    # The shell ends, a child that inherited nothing of its streams stays.
    started = time.monotonic()
    same(run("sh", "-c", "nohup sleep 60 >/dev/null 2>&1 & echo started"), "started\n")
    holds(time.monotonic() - started < 15, "it waited for the child")


@check("exec.pty")
def _():
    process = shared().exec("sh", "-c", "test -t 0 && test -t 1 && echo a terminal; echo err >&2", pty=True)
    text = process.stdout.read().replace("\r", "")
    holds("a terminal\n" in text and "err\n" in text, f"it said {text!r}")
    same(process.stderr.read(), "")
    same(process.wait(), 0)


@check("exec.pty_input")
def _():
    process = shared().exec("sh", "-c", 'read line; echo "got $line"', pty=True)
    process.stdin.write("typed\n")
    process.stdin.drain()
    holds("got typed" in process.stdout.read(), "the terminal did not pass the line on")
    same(process.wait(), 0)


@check("exec.concurrent")
def _():
    shared()
    with ThreadPoolExecutor(16) as pool:
        outputs = list(pool.map(lambda number: run("echo", str(number)), range(32)))
    same(outputs, [f"{number}\n" for number in range(32)])


@check("exec.many_lines")
def _():
    process = shared().exec("seq", "20000", bufsize=1)
    count = sum(1 for number, line in enumerate(process.stdout, 1) if line == f"{number}\n")
    same(count, 20000, "lines in order")


@check("exec.asyncio")
def _():
    import asyncio

    async def body():
        process = await shared().exec.aio("sh", "-c", "cat; echo done >&2")
        process.stdin.write(b"async")
        process.stdin.write_eof()
        await process.stdin.drain.aio()
        return await asyncio.gather(process.stdout.read.aio(), process.stderr.read.aio(), process.wait.aio())

    same(asyncio.run(body()), ["async", "done\n", 0])


@check("exec.after_end")
def _():
    sandbox = create("true")
    sandbox.wait()
    with raises((modal.exception.Error, OSError)):
        sandbox.exec("echo", "too late").wait()


main()
