"""How sandboxes live and end, and how they are found again by id."""

import asyncio
import time

from harness import PATIENCE, V2, app, check, create, eventually, holds, keep, main, modal, needs, raises, run, same


@check("life.poll")
def _():
    sandbox = create("sh", "-c", "read line; exit 9")
    same(sandbox.poll(), None, "poll while it runs")
    sandbox.stdin.write("\n")
    sandbox.stdin.drain()
    same(eventually("an exit code", sandbox.poll), 9)


@check("life.wait")
def _():
    sandbox = create("sh", "-c", "sleep 0.5; exit 42")
    sandbox.wait()
    same(sandbox.returncode, 42)


@check("life.killed")
def _():
    sandbox = create("sh", "-c", "kill -9 $$")
    sandbox.wait(raise_on_termination=False)
    same(sandbox.returncode, 137)


@check("life.terminate")
def _():
    sandbox = create()
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    same(sandbox.returncode, 137)
    same(sandbox.poll(), 137, "poll afterwards")


@check("life.terminate_raises")
def _():
    sandbox = create()
    sandbox.terminate()
    with raises(modal.exception.SandboxTerminatedError):
        sandbox.wait()


@check("life.terminate_and_wait")
def _():
    same(create().terminate(wait=True), 137)


@check("life.terminate_twice")
def _():
    sandbox = create()
    sandbox.terminate()
    sandbox.terminate()
    ended = create("true")
    ended.wait()
    ended.terminate()
    same(ended.poll(), 0, "a sandbox that ended by itself keeps its exit code")


@check("life.timeout")
def _():
    started = time.monotonic()
    sandbox = create("sleep", "60", timeout=2)
    with raises(modal.exception.SandboxTimeoutError):
        sandbox.wait()
    same(sandbox.returncode, 124)
    holds(1 < time.monotonic() - started < 20, "at another time than the timeout's")


@check("life.idle_timeout")
def _():
    sandbox = create(idle_timeout=2, timeout=120)
    started = time.monotonic()
    try:
        sandbox.wait(raise_on_termination=False)
    except modal.exception.SandboxTimeoutError:
        pass
    holds(sandbox.returncode not in (None, 0), f"return code {sandbox.returncode}")
    holds(time.monotonic() - started < 30, "long after it was idle")


@check("life.idle_timeout_busy")
def _():
    # An exec that runs is no idleness.
    sandbox = create(idle_timeout=2, timeout=120)
    same(run("sh", "-c", "sleep 4; echo busy", sandbox=sandbox), "busy\n")


@check("life.from_id")
def _():
    sandbox = create()
    run("sh", "-c", "echo kept > /tmp/kept", sandbox=sandbox)
    again = modal.Sandbox.from_id(sandbox.object_id)
    same(run("cat", "/tmp/kept", sandbox=again), "kept\n")
    same(again.poll(), None)


@check("life.from_id_ended")
def _():
    sandbox = create("sh", "-c", "exit 4")
    sandbox.wait()
    again = modal.Sandbox.from_id(sandbox.object_id)
    same(again.returncode, 4)
    same(again.poll(), 4)


@check("life.from_id_missing")
def _():
    missing = "sb-01K5ZZZZZZZZZZZZZZZZZZZZZZ" if V2 else "sb-0123456789abcdefghijkl"
    with raises(modal.exception.NotFoundError):
        modal.Sandbox.from_id(missing)


@check("life.detach")
def _():
    needs(modal.Sandbox, "detach")
    sandbox = create("sh", "-c", "sleep 120")
    sandbox_id = sandbox.object_id
    sandbox.detach()
    with raises(modal.exception.ClientClosed):
        sandbox.exec("true")
    again = keep(modal.Sandbox.from_id(sandbox_id))
    same(run("echo", "still there", sandbox=again), "still there\n")


@check("life.second_client")
def _():
    # Another connection, as another process would have.
    sandbox = create()
    settings = modal.config.config
    client = modal.Client.from_credentials(settings.get("token_id"), settings.get("token_secret"))
    again = modal.Sandbox.from_id(sandbox.object_id, client=client)
    same(run("echo", "second", sandbox=again), "second\n")


@check("life.asyncio")
def _():
    async def body():
        made = await modal.App.lookup.aio("interop-asyncio", create_if_missing=True)
        sandbox = keep(await modal.Sandbox.create.aio("sh", "-c", "echo async; sleep 60", app=made))
        lines = [line async for line in _first(sandbox.stdout)]
        same(lines, ["async\n"])
        same(await sandbox.poll.aio(), None)
        await sandbox.terminate.aio()
        await sandbox.wait.aio(raise_on_termination=False)
        return sandbox.returncode

    same(asyncio.run(body()), 137)


async def _first(stream):
    async for item in stream:
        yield item
        return


@check("life.stats")
def _():
    needs(modal.Sandbox, "_experimental_stats")
    sandbox = create("sh", "-c", "sleep 1")
    sandbox.wait()
    stats = sandbox._experimental_stats()
    holds(0.5 < stats.duration.total_seconds() < 30, f"duration {stats.duration}")


main()
