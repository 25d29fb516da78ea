"""Files of a sandbox, through `sandbox.filesystem`."""

import hashlib
import random
import tempfile
import threading
import time
from pathlib import Path

from harness import check, eventually, holds, main, modal, needs, raises, run, same, shared, unique
from modal.exception import (
    SandboxFilesystemDirectoryNotEmptyError,
    SandboxFilesystemError,
    SandboxFilesystemFileTooLargeError,
    SandboxFilesystemIsADirectoryError,
    SandboxFilesystemNotADirectoryError,
    SandboxFilesystemNotFoundError,
    SandboxFilesystemPathAlreadyExistsError,
    SandboxFilesystemPermissionError,
)
from modal.types import FileType, FileWatchEventType


def files():
    return shared().filesystem


def place():
    """A new, empty directory of the sandbox."""
    path = f"/tmp/{unique('files')}"
    files().make_directory(path)
    return path


@check("file.text")
def _():
    path = f"{place()}/deep/er/text.txt"
    files().write_text("grüße 🦀\n", path)
    same(files().read_text(path), "grüße 🦀\n")
    same(run("cat", path), "grüße 🦀\n", "what a command reads")
    files().write_text("shorter", path)
    same(files().read_text(path), "shorter")
    files().write_text("", path)
    same(files().read_text(path), "")


@check("file.bytes")
def _():
    path = f"{place()}/data"
    data = bytes(range(256)) * 8
    files().write_bytes(data, path)
    same(files().read_bytes(path), data)


@check("file.large")
def _():
    path = f"{place()}/large"
    data = random.Random(3).randbytes(20 * 1024 * 1024)
    files().write_bytes(data, path)
    same(run("sha256sum", path).split()[0], hashlib.sha256(data).hexdigest())
    same(hashlib.sha256(files().read_bytes(path)).hexdigest(), hashlib.sha256(data).hexdigest())


@check("file.copy")
def _():
    with tempfile.TemporaryDirectory() as folder:
        here, back = Path(folder, "here"), Path(folder, "new", "back")
        here.write_bytes(b"\x00local\xff" * 1000)
        remote = f"{place()}/sub/copied"
        files().copy_from_local(here, remote)
        files().copy_to_local(remote, back)
        same(back.read_bytes(), here.read_bytes())
        with raises(SandboxFilesystemNotFoundError):
            files().copy_to_local(f"{remote}-missing", back)
        same(back.read_bytes(), here.read_bytes(), "the local file after a failed copy")


@check("file.list")
def _():
    path = place()
    run("sh", "-c", f"cd {path} && echo 12345 > b && mkdir a && ln -s b c && touch .hidden && mkdir a/below")
    entries = files().list_files(path)
    same([entry.name for entry in entries], [".hidden", "a", "b", "c"])
    same([entry.type for entry in entries], [FileType.FILE, FileType.DIRECTORY, FileType.FILE, FileType.SYMLINK])
    same(entries[2].path, f"{path}/b")
    same(entries[2].size, 6)
    same(entries[3].symlink_target, "b")


@check("file.stat")
def _():
    path = f"{place()}/file"
    run("sh", "-c", f"echo 123 > {path} && chmod 4751 {path} && touch -d @1700000000.25 {path}")
    info = files().stat(path)
    shell = run("stat", "-c", "%s %f %U %G", path).split()
    same([str(info.size), f"{info.mode:x}", info.owner, info.group], shell)
    same(info.permissions, "4751")
    same(round(info.modified_time, 2), 1700000000.25)
    same((info.name, info.type, info.symlink_target), ("file", FileType.FILE, None))
    same(files().stat("/").type, FileType.DIRECTORY)


@check("file.symlink")
def _():
    path = place()
    run("sh", "-c", f"cd {path} && echo there > target && ln -s target link && ln -s nowhere broken")
    same(files().read_text(f"{path}/link"), "there\n")
    same(files().stat(f"{path}/link").type, FileType.SYMLINK)
    same(files().stat(f"{path}/broken").symlink_target, "nowhere")
    files().remove(f"{path}/link")
    same(files().read_text(f"{path}/target"), "there\n", "the target of a removed link")


@check("file.make_directory")
def _():
    path = place()
    files().make_directory(f"{path}/a/b/c")
    files().make_directory(f"{path}/a/b/c")
    files().make_directory(f"{path}/a/d", create_parents=False)
    same(files().stat(f"{path}/a/d").type, FileType.DIRECTORY)
    with raises(SandboxFilesystemPathAlreadyExistsError):
        files().make_directory(f"{path}/a/d", create_parents=False)
    with raises(SandboxFilesystemNotFoundError):
        files().make_directory(f"{path}/x/y", create_parents=False)


@check("file.remove")
def _():
    path = place()
    files().write_text("x", f"{path}/dir/file")
    with raises(SandboxFilesystemDirectoryNotEmptyError):
        files().remove(f"{path}/dir")
    files().remove(f"{path}/dir/file")
    files().remove(f"{path}/dir")
    files().write_text("x", f"{path}/dir/sub/file")
    files().remove(f"{path}/dir", recursive=True)
    same(files().list_files(path), [])


@check("file.error.not_found")
def _():
    missing = f"{place()}/missing"
    for operation in (files().read_text, files().read_bytes, files().list_files, files().stat, files().remove):
        with raises(SandboxFilesystemNotFoundError):
            operation(missing)


@check("file.error.is_directory")
def _():
    path = place()
    with raises(SandboxFilesystemIsADirectoryError):
        files().read_text(path)
    with raises(SandboxFilesystemIsADirectoryError):
        files().write_text("x", path)


@check("file.error.not_a_directory")
def _():
    path = f"{place()}/file"
    files().write_text("x", path)
    with raises(SandboxFilesystemNotADirectoryError):
        files().list_files(path)
    with raises(SandboxFilesystemNotADirectoryError):
        files().stat(f"{path}/below")
    with raises(SandboxFilesystemNotADirectoryError):
        files().write_text("x", f"{path}/below")
    with raises(SandboxFilesystemNotADirectoryError):
        files().make_directory(f"{path}/below/deeper")


@check("file.error.permission")
def _():
    # Root of the sandbox may do nearly everything; the kernel's own settings are not among it.
    with raises(SandboxFilesystemPermissionError):
        files().write_text("x", "/proc/sys/kernel/panic")


@check("file.error.too_large")
def _():
    path = f"{place()}/sparse"
    run("truncate", "-s", "6G", path)
    started = time.monotonic()
    with raises(SandboxFilesystemFileTooLargeError):
        files().read_bytes(path)
    holds(time.monotonic() - started < 10, "it read the file before it refused")


@check("file.error.relative_path")
def _():
    with raises(modal.exception.InvalidError):
        files().read_text("relative")


@check("file.error.device")
def _():
    path = f"{place()}/fifo"
    run("mkfifo", path)
    with raises(SandboxFilesystemError):
        files().read_text(path)


@check("file.many")
def _():
    path = place()
    run("sh", "-c", f"cd {path} && seq -f file%05g 3000 | xargs touch")
    same([entry.name for entry in files().list_files(path)], [f"file{number:05}" for number in range(1, 3001)])


@check("file.odd_names")
def _():
    path = place()
    for name in ("with space", "quote'\"", "new\nline", "-dash", "ünï🦀", "$(dollar)"):
        files().write_text(name, f"{path}/{name}")
        same(files().read_text(f"{path}/{name}"), name)
    same(len(files().list_files(path)), 6)


def _watched(make_events, expected, **options):
    """Collects events of a watch while others make them, until the expected one came."""
    needs(type(files()), "watch")
    path = place()
    stop = threading.Event()

    def churn():
        # The watch starts some time after the call: make events until one is seen.
        number = 0
        while not stop.is_set():
            make_events(path, number)
            number += 1
            stop.wait(0.2)

    worker = threading.Thread(target=churn, daemon=True)
    worker.start()
    try:
        for event in files().watch(path, timeout=30, **options):
            if expected(path, event):
                return
        holds(False, "the watch ended without the event")
    finally:
        stop.set()
        worker.join()


@check("file.watch")
def _():
    _watched(
        lambda path, number: run("sh", "-c", f"echo x > {path}/new-{number}"),
        lambda path, event: event.type == FileWatchEventType.Create and event.paths[0].startswith(f"{path}/new-"),
    )


@check("file.watch_filter")
def _():
    seen = []

    def expected(path, event):
        seen.append(event.type)
        return event.type == FileWatchEventType.Remove

    _watched(
        lambda path, number: run("sh", "-c", f"echo x > {path}/f && rm {path}/f"),
        expected,
        filter=[FileWatchEventType.Remove],
    )
    same(set(seen), {FileWatchEventType.Remove})


@check("file.watch_recursive")
def _():
    _watched(
        lambda path, number: run("sh", "-c", f"mkdir -p {path}/a/b && echo {number} >> {path}/a/b/f"),
        lambda path, event: any(found.startswith(f"{path}/a/b/") for found in event.paths),
        recursive=True,
    )


@check("file.watch_ends")
def _():
    needs(type(files()), "watch")
    started = time.monotonic()
    same(list(files().watch(place(), timeout=1)), [])
    holds(0.5 < time.monotonic() - started < 20, "at another time than the timeout's")
    with raises(SandboxFilesystemNotFoundError):
        list(files().watch("/tmp/no/such/directory", timeout=5))


main()
