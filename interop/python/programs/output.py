"""What the main command of a sandbox writes and reads, and its logs."""

from datetime import datetime, timedelta, timezone

from harness import check, create, eventually, holds, main, modal, needs, run, same


@check("stdio.stdout")
def _():
    sandbox = create("sh", "-c", "echo out; echo err >&2")
    same((sandbox.stdout.read(), sandbox.stderr.read()), ("out\n", "err\n"))


@check("stdio.lines")
def _():
    sandbox = create("sh", "-c", "echo one; read line; echo two $line; exec sleep 60")
    lines = iter(sandbox.stdout)
    same(next(lines), "one\n", "a line while it runs")
    sandbox.stdin.write("x\n")
    sandbox.stdin.drain()
    same(next(lines), "two x\n")


@check("stdio.stdin")
def _():
    sandbox = create("cat")
    sandbox.stdin.write("from ")
    sandbox.stdin.drain()
    sandbox.stdin.write(b"here")
    sandbox.stdin.write_eof()
    sandbox.stdin.drain()
    same(sandbox.stdout.read(), "from here")
    sandbox.wait()
    same(sandbox.returncode, 0)


@check("stdio.large")
def _():
    sandbox = create("sh", "-c", "seq 1 200000")
    text = sandbox.stdout.read()
    same(len(text.splitlines()), 200_000, "lines")
    same(text[-7:], "200000\n")


@check("stdio.unicode")
def _():
    # Many short writes of more than one byte a character.
    sandbox = create("python3", "-c", "import sys\nfor _ in range(5000): sys.stdout.write('ü🦀漢'); sys.stdout.flush()")
    same(sandbox.stdout.read(), "ü🦀漢" * 5000)


@check("stdio.after_end")
def _():
    sandbox = create("sh", "-c", "echo kept")
    sandbox.wait()
    same(sandbox.stdout.read(), "kept\n")
    same(modal.Sandbox.from_id(sandbox.object_id).stdout.read(), "kept\n")


@check("stdio.unread")
def _():
    sandbox = create("sh", "-c", "head -c 8000000 /dev/zero | tr '\\0' x; echo; exit 7")
    sandbox.wait()
    same(sandbox.returncode, 7)


@check("logs.tail")
def _():
    needs(modal.Sandbox, "logs")
    sandbox = create("sh", "-c", "for n in 1 2 3 4 5; do echo line $n; done; echo err >&2")
    sandbox.wait()

    def tail(*arguments, **options):
        return "".join(entry.message for entry in sandbox.logs.tail(*arguments, **options))

    eventually("all lines", lambda: tail().count("line") == 5 and "err" in tail())
    holds("line 5" in tail(2) and "line 1" not in tail(2), f"the last two entries are {tail(2)!r}")
    same(tail(source="stderr"), "err\n")
    holds("err" not in tail(source="stdout"), "stderr among stdout")


@check("logs.fetch")
def _():
    needs(modal.Sandbox, "logs")
    sandbox = create("sh", "-c", "echo first; sleep 60")
    run("echo", "of an exec", sandbox=sandbox)
    since = datetime.now(timezone.utc) - timedelta(minutes=1)

    def fetched(**options):
        return "".join(entry.message for entry in sandbox.logs.fetch(since=since, **options))

    eventually("the line", lambda: fetched() == "first\n")
    same(fetched(search_text="nothing like it"), "")


main()
