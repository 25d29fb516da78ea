"""Apps, images, and everything that `Sandbox.create` takes."""

import tempfile
from pathlib import Path

from harness import (
    V2,
    app,
    check,
    create,
    holds,
    keep,
    lacks,
    main,
    modal,
    needs,
    raises,
    run,
    same,
    shared,
    unique,
)


@check("app.lookup")
def _():
    name = unique("interop")
    made = modal.App.lookup(name, create_if_missing=True)
    holds(made.app_id.startswith("ap-"), f"app id {made.app_id}")
    same(modal.App.lookup(name).app_id, made.app_id, "the id of the second lookup")


@check("app.missing")
def _():
    with raises(modal.exception.NotFoundError):
        modal.App.lookup(unique("missing"))


@check("create.default")
def _():
    sandbox = create()
    holds(sandbox.object_id.startswith("sb-"), f"sandbox id {sandbox.object_id}")
    same(len(sandbox.object_id) == 3 + 22, not V2, "whether the id has the form of the first family")
    same(run("echo", "hello", sandbox=sandbox), "hello\n")
    same(sandbox.poll(), None, "poll without a command")


@check("create.command")
def _():
    sandbox = create("sh", "-c", "echo from the command; exit 3")
    same(sandbox.stdout.read(), "from the command\n")
    sandbox.wait()
    same(sandbox.returncode, 3)


@check("create.debian_slim")
def _():
    sandbox = create(image=modal.Image.debian_slim())
    holds(run("python3", "--version", sandbox=sandbox).startswith("Python 3"), "no python3")
    same(sandbox.poll(), None, "poll without a command")


@check("create.registry")
def _():
    sandbox = create("sh", "-c", "echo $0 $1", "a", "b c", image=modal.Image.from_registry("debian:12-slim"))
    same(sandbox.stdout.read(), "a b c\n")


@check("image.env")
def _():
    image = modal.Image.debian_slim().env({"FROM_IMAGE": "x y'z"})
    same(run("sh", "-c", 'printf %s "$FROM_IMAGE"', sandbox=create(image=image)), "x y'z")


@check("image.workdir")
def _():
    image = modal.Image.debian_slim().workdir("/var/tmp")
    same(run("pwd", sandbox=create(image=image)), "/var/tmp\n")


@check("image.entrypoint")
def _():
    image = modal.Image.debian_slim().entrypoint(["/bin/sh", "-c", "echo entry: $*", "sh"])
    sandbox = create("one", "two", image=image)
    same(sandbox.stdout.read(), "entry: one two\n")
    same(create("echo", "none", image=modal.Image.debian_slim().entrypoint([])).stdout.read(), "none\n")


@check("image.cmd")
def _():
    image = modal.Image.debian_slim().cmd(["sh", "-c", "echo from cmd"])
    same(create(image=image).stdout.read(), "from cmd\n")


@check("image.build")
def _():
    image = modal.Image.debian_slim().env({"BUILT": "1"}).build(app())
    holds(image.object_id.startswith("im-"), f"image id {image.object_id}")
    again = modal.Image.from_id(image.object_id)
    same(run("printenv", "BUILT", sandbox=create(image=again)), "1\n")


@check("image.from_id_missing")
def _():
    with raises(modal.exception.NotFoundError):
        modal.Image.from_id("im-0000000000000000000000").build(app())


lacks("image.delete", "no Image.delete")


def _built(image, *command, **options):
    """Runs in a sandbox of this image; a build that the server refuses ends as a refusal."""
    try:
        return run(*command, sandbox=create(image=image, **options))
    except (modal.exception.RemoteError, modal.exception.InvalidError) as error:
        # A refused line arrives as a failed build, with the client's words before the server's.
        _, found, sentence = str(error).partition("failed with the exception:")
        if found and "this server does not" in sentence:
            raise modal.exception.UnimplementedError(sentence.strip()) from error
        raise


@check("image.run_commands")
def _():
    image = modal.Image.debian_slim().run_commands("echo made > /made-by-run")
    same(_built(image, "cat", "/made-by-run"), "made\n")


@check("image.pip_install")
def _():
    image = modal.Image.debian_slim().pip_install("six==1.17.0")
    same(_built(image, "python3", "-c", "import six; print(six.__version__)"), "1.17.0\n")


@check("image.add_local_file")
def _():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "local.txt")
        path.write_text("local")
        image = modal.Image.debian_slim().add_local_file(path, "/from-local.txt", copy=True)
        same(_built(image, "cat", "/from-local.txt"), "local")


@check("image.mount_local_file")
def _():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "local.txt")
        path.write_text("mounted")
        image = modal.Image.debian_slim().add_local_file(path, "/from-mount.txt")
        same(_built(image, "cat", "/from-mount.txt"), "mounted")


@check("create.env")
def _():
    needs_env = create(env={"GIVEN": "a b", "DROPPED": None})
    same(run("sh", "-c", 'echo "$GIVEN/${DROPPED-unset}"', sandbox=needs_env), "a b/unset\n")
    same(create("printenv", "GIVEN", env={"GIVEN": "to main"}).stdout.read(), "to main\n")


@check("create.secrets")
def _():
    sandbox = create(secrets=[modal.Secret.from_dict({"A": "1", "B": "1"}), modal.Secret.from_dict({"B": "2"})])
    same(run("sh", "-c", "echo $A $B", sandbox=sandbox), "1 2\n", "the later one wins")


@check("create.workdir")
def _():
    sandbox = create("pwd", workdir="/usr/lib")
    same(sandbox.stdout.read(), "/usr/lib\n")
    same(run("pwd", sandbox=create(workdir="/usr/lib")), "/usr/lib\n", "the working directory of an exec")


@check("create.pty")
def _():
    sandbox = create("sh", "-c", "test -t 0 && test -t 1 && echo a terminal; echo to stderr >&2", pty=True)
    text = sandbox.stdout.read().replace("\r", "")
    holds("a terminal\n" in text and "to stderr\n" in text, f"it said {text!r}")


@check("create.resources")
def _():
    sandbox = create(cpu=(0.25, 1.0), memory=(128, 512))
    same(run("echo", "ok", sandbox=sandbox), "ok\n")


@check("create.cloud_and_region")
def _():
    create(cloud="aws", region=["us-east-1", "us-west-2"])


@check("create.invalid_cloud")
def _():
    with raises(modal.exception.InvalidError):
        create(cloud="no-such-cloud")


@check("create.invalid_region")
def _():
    with raises(modal.exception.InvalidError):
        create(region="no-such-region")


@check("create.invalid_arguments")
def _():
    with raises(modal.exception.InvalidError):
        create(workdir="relative/path")
    with raises(modal.exception.InvalidError):
        create(name="no spaces or / in names")
    with raises(modal.exception.InvalidError):
        create("x" * 200_000)


@check("create.second_family")
def _():
    needs(modal.Sandbox, "_experimental_create")
    sandbox = keep(modal.Sandbox._experimental_create("sh", "-c", "echo second; sleep 60", app=app(), tags={"k": "v"}))
    holds(len(sandbox.object_id) == 3 + 26, f"sandbox id {sandbox.object_id}")
    same(run("echo", "in it", sandbox=sandbox), "in it\n")
    same(next(iter(sandbox.stdout)), "second\n")
    same(sandbox.get_tags(), {"k": "v"})
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    same(sandbox.returncode, 137)


@check("create.runs_servers")
def _():
    # What `sb.exec` leaves behind keeps running.
    run("sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $! > /tmp/pid")
    same(run("sh", "-c", "kill -0 $(cat /tmp/pid) && echo alive"), "alive\n")


main()
