"""Readiness probes, and limits of resources."""

import time

from harness import SERVER, check, create, holds, main, modal, raises, run, same


@check("ready.tcp")
def _():
    code = "import time; time.sleep(1)\n" + SERVER
    sandbox = create("python3", "-c", code, "8080", readiness_probe=modal.Probe.with_tcp(8080))
    started = time.monotonic()
    sandbox.wait_until_ready(timeout=30)
    holds(time.monotonic() - started < 25, "long after it listened")
    run("python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8080))", sandbox=sandbox)


@check("ready.exec")
def _():
    probe = modal.Probe.with_exec("sh", "-c", "test -f /tmp/ready", interval_ms=50)
    sandbox = create("sh", "-c", "sleep 1; touch /tmp/ready; exec sleep 60", readiness_probe=probe)
    sandbox.wait_until_ready(timeout=30)
    run("test", "-f", "/tmp/ready", sandbox=sandbox)
    sandbox.wait_until_ready(timeout=1)


@check("ready.never")
def _():
    sandbox = create(readiness_probe=modal.Probe.with_exec("false"))
    started = time.monotonic()
    with raises(modal.exception.TimeoutError):
        sandbox.wait_until_ready(timeout=2)
    holds(1 < time.monotonic() - started < 20, "at another time than the timeout's")


@check("ready.no_probe")
def _():
    with raises(modal.exception.Error):
        create().wait_until_ready(timeout=3)


@check("ready.ended")
def _():
    sandbox = create("sh", "-c", "exit 3", readiness_probe=modal.Probe.with_tcp(8080))
    sandbox.wait()
    started = time.monotonic()
    with raises(modal.exception.Error):
        sandbox.wait_until_ready(timeout=10)
    holds(time.monotonic() - started < 20, "it kept waiting for a sandbox that has ended")


@check("limit.memory_exec")
def _():
    sandbox = create(memory=(64, 128))
    process = sandbox.exec("python3", "-c", "b = bytearray(400 << 20); print(len(b))")
    holds(process.wait() != 0, "it got more memory than it may have")
    holds(process.stdout.read() == "", "it got more memory than it may have")


@check("limit.memory_main")
def _():
    sandbox = create("python3", "-c", "b = bytearray(400 << 20); print(len(b))", memory=(64, 128))
    sandbox.wait(raise_on_termination=False)
    same(sandbox.returncode, 137)


@check("limit.cpu")
def _():
    sandbox = create(cpu=(0.25, 0.5))
    burn = "import os, time; t = time.monotonic()\nwhile time.monotonic() - t < 2: pass\nprint(sum(os.times()[:2]))"
    used = float(run("python3", "-c", burn, sandbox=sandbox))
    holds(used < 1.6, f"{used:.2f} s of processor time in 2 s under a limit of half a core")


@check("limit.invalid")
def _():
    with raises(modal.exception.InvalidError):
        create(memory=(512, 128))
    with raises(modal.exception.InvalidError):
        create(cpu=(2.0, 1.0))


main()
