"""Files of a sandbox, the older way: `sandbox.open`, `ls`, `mkdir`, `rm`, `watch`."""

import io
import random
import threading
import warnings

from harness import Absent, V2, check, holds, main, modal, raises, run, same, shared, unique
from modal.types import FileWatchEventType

warnings.simplefilter("ignore")


def sandbox():
    """The shared one, if this version has the older calls at all."""
    if not hasattr(modal.Sandbox, "open"):
        raise Absent("no Sandbox.open")
    if V2:
        raise Absent("Sandbox.open is of the first family of calls")
    return shared()


def place():
    path = f"/tmp/{unique('files')}"
    sandbox().mkdir(path)
    return path


def contents(path, mode="r"):
    with sandbox().open(path, mode) as file:
        return file.read()


@check("open.write_read")
def _():
    path = f"{place()}/text"
    with sandbox().open(path, "w") as file:
        file.write("hello ")
        file.write("grüße")
    same(contents(path), "hello grüße")
    same(run("cat", path), "hello grüße")
    with sandbox().open(path, "w") as file:
        file.write("new")
    same(contents(path), "new")


@check("open.binary")
def _():
    path = f"{place()}/data"
    data = random.Random(4).randbytes(3 * 1024 * 1024)
    with sandbox().open(path, "wb") as file:
        file.write(data)
    same(contents(path, "rb"), data)


@check("open.append")
def _():
    path = f"{place()}/log"
    for word in ("one", "two"):
        with sandbox().open(path, "a") as file:
            file.write(word)
    same(contents(path), "onetwo")
    with sandbox().open(path, "a+") as file:
        file.seek(0)
        same(file.read(), "onetwo")
        file.write("three")
    same(contents(path), "onetwothree")


@check("open.update")
def _():
    path = f"{place()}/update"
    with sandbox().open(path, "w+") as file:
        file.write("0123456789")
        file.seek(2)
        file.write("ab")
        file.seek(0)
        same(file.read(), "01ab456789")
    with sandbox().open(path, "r+") as file:
        file.seek(-3, 2)
        same(file.read(), "789")
        file.seek(0)
        file.write("X")
    same(contents(path), "X1ab456789")


@check("open.exclusive")
def _():
    path = f"{place()}/exclusive"
    with sandbox().open(path, "x") as file:
        file.write("first")
    with raises(FileExistsError):
        sandbox().open(path, "x")


@check("open.seek")
def _():
    path = f"{place()}/seek"
    with sandbox().open(path, "w") as file:
        file.write("0123456789")
    with sandbox().open(path, "rb") as file:
        file.seek(4)
        same(file.read(2), b"45")
        file.seek(1, 1)
        same(file.read(1), b"7")
        file.seek(-1, 2)
        same(file.read(), b"9")
        same(file.read(), b"", "at the end")


@check("open.lines")
def _():
    path = f"{place()}/lines"
    with sandbox().open(path, "w") as file:
        file.write("one\ntwo\nlast")
    with sandbox().open(path) as file:
        same(file.readline(), "one\n")
        same(file.readlines(), ["two\n", "last"])
        same(file.readline(), "")


@check("open.flush")
def _():
    path = f"{place()}/flushed"
    file = sandbox().open(path, "w")
    file.write("seen before close")
    file.flush()
    same(run("cat", path), "seen before close")
    file.close()
    with raises(ValueError):
        file.write("too late")


@check("open.errors")
def _():
    path = place()
    with raises(FileNotFoundError):
        sandbox().open(f"{path}/missing")
    with raises(FileNotFoundError):
        sandbox().open(f"{path}/no/parent", "w")
    with raises(IsADirectoryError):
        sandbox().open(path, "w")
    with raises(ValueError):
        sandbox().open(f"{path}/file", "rw")
    with sandbox().open(f"{path}/file", "w") as file:
        with raises(io.UnsupportedOperation):
            file.read()
    with raises(NotADirectoryError):
        sandbox().open(f"{path}/file/below", "w")


@check("open.ls")
def _():
    path = place()
    run("sh", "-c", f"cd {path} && touch b a .hidden && mkdir dir && touch dir/below")
    same(sorted(sandbox().ls(path)), [".hidden", "a", "b", "dir"])
    with raises(FileNotFoundError):
        sandbox().ls(f"{path}/missing")


@check("open.mkdir")
def _():
    path = place()
    sandbox().mkdir(f"{path}/a/b", parents=True)
    sandbox().mkdir(f"{path}/c")
    same(run("ls", path), "a\nc\n")
    with raises(FileNotFoundError):
        sandbox().mkdir(f"{path}/x/y")
    with raises(FileExistsError):
        sandbox().mkdir(f"{path}/c")


@check("open.rm")
def _():
    path = place()
    run("sh", "-c", f"mkdir -p {path}/dir/sub && touch {path}/file {path}/dir/sub/f")
    sandbox().rm(f"{path}/file")
    sandbox().rm(f"{path}/dir", recursive=True)
    same(sandbox().ls(path), [])
    with raises(FileNotFoundError):
        sandbox().rm(f"{path}/file")


@check("open.watch")
def _():
    path = place()
    stop = threading.Event()

    def churn():
        number = 0
        while not stop.is_set():
            run("sh", "-c", f"echo x > {path}/new-{number}")
            number += 1
            stop.wait(0.2)

    worker = threading.Thread(target=churn, daemon=True)
    worker.start()
    try:
        for event in sandbox().watch(path, filter=[FileWatchEventType.Create], timeout=20):
            same(event.type, FileWatchEventType.Create)
            holds(event.paths[0].startswith(f"{path}/new-"), f"event of {event.paths}")
            return
        holds(False, "the watch ended without an event")
    finally:
        stop.set()
        worker.join()


@check("open.reopen")
def _():
    # Handles of one sandbox are of that sandbox.
    path = f"{place()}/handles"
    first, second = sandbox().open(path, "w"), sandbox().open(path, "w")
    first.write("first")
    first.close()
    second.write("2")
    second.close()
    same(contents(path), "2irst")


main()
