"""What the server does not do yet, or never: each check does the whole thing, so that one which the server learns to do
becomes a check of it; until then the server's sentence is what users get."""

import warnings

from harness import Absent, app, check, create, holds, main, modal, needs, run, same, unique

warnings.simplefilter("ignore")


def _accepted(_sandbox):
    """Made without a word, where no check knows how to tell whether it is kept."""
    holds(False, "the server took it; write the check of what it does")


@check("function.run")
def _():
    functions = modal.App(unique("interop"))

    @functions.function(serialized=True)
    def double(number):
        return 2 * number

    with functions.run():
        same(double.remote(21), 42)


@check("function.deploy")
def _():
    functions = modal.App(unique("interop"))

    @functions.function(serialized=True)
    def double(number):
        return 2 * number

    functions.deploy()


@check("function.lookup")
def _():
    try:
        modal.Function.from_name("interop-missing", "missing").hydrate()
    except modal.exception.NotFoundError:
        # Nothing is deployed, so nothing is there.
        return


@check("gpu.create")
def _():
    sandbox = create(gpu="T4")
    holds("T4" in run("nvidia-smi", "-L", sandbox=sandbox), "no such GPU")


@check("volume.mount")
def _():
    volume = modal.Volume.from_name(unique("volume"), create_if_missing=True)
    sandbox = create(volumes={"/data": volume})
    run("sh", "-c", "echo kept > /data/file", sandbox=sandbox)
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    same(run("cat", "/data/file", sandbox=create(volumes={"/data": volume})), "kept\n")


@check("snapshot.filesystem")
def _():
    sandbox = create()
    run("sh", "-c", "echo kept > /snapshotted", sandbox=sandbox)
    image = sandbox.snapshot_filesystem()
    same(run("cat", "/snapshotted", sandbox=create(image=image)), "kept\n")


@check("snapshot.directory")
def _():
    sandbox = create()
    run("sh", "-c", "mkdir /project && echo kept > /project/file", sandbox=sandbox)
    image = sandbox.snapshot_directory("/project")
    other = create()
    other.mount_image("/mounted", image)
    same(run("cat", "/mounted/file", sandbox=other), "kept\n")
    other.unmount_image("/mounted")


@check("snapshot.mount_empty")
def _():
    sandbox = create()
    sandbox.mount_image("/empty", modal.Image.from_scratch())
    same(run("ls", "-A", "/empty", sandbox=sandbox), "")


@check("snapshot.memory")
def _():
    sandbox = create(_experimental_enable_snapshot=True)
    snapshot = sandbox._experimental_snapshot()
    restored = modal.Sandbox._experimental_from_snapshot(snapshot)
    same(run("echo", "restored", sandbox=restored), "restored\n")
    restored.terminate()


@check("snapshot.exit")
def _():
    needs(modal.Sandbox, "_experimental_get_exit_snapshot")
    sandbox = create("sh", "-c", "echo kept > /left", experimental_options={"enable_exit_snapshot": True})
    sandbox.wait()
    image = sandbox._experimental_get_exit_snapshot(timeout=30)
    same(run("cat", "/left", sandbox=create(image=image)), "kept\n")


@check("volume.ephemeral")
def _():
    with modal.Volume.ephemeral() as volume:
        same(volume.listdir("/"), [])


@check("volume.reload")
def _():
    create().reload_volumes()


@check("other.sidecars")
def _():
    needs(modal.Sandbox, "_experimental_sidecars")
    image = modal.Image.debian_slim().build(app())
    sidecar = create()._experimental_sidecars.create("sleep", "60", name="beside", image=image)
    process = sidecar.exec("echo", "beside")
    same(process.stdout.read(), "beside\n")


@check("other.persistent")
def _():
    try:
        sandbox = create(timeout=None, _experimental_persistent=True)
    except TypeError as error:
        raise Absent(str(error)) from error
    _accepted(sandbox)


@check("other.oidc_token")
def _():
    holds(run("printenv", "MODAL_IDENTITY_TOKEN", sandbox=create(include_oidc_identity_token=True)), "no token")


@check("other.docker")
def _():
    run("docker", "info", sandbox=create(experimental_options={"enable_docker": True}))


@check("other.network_file_system")
def _():
    needs(modal, "NetworkFileSystem")
    shared = modal.NetworkFileSystem.from_name(unique("nfs"), create_if_missing=True)
    run("touch", "/nfs/file", sandbox=create(network_file_systems={"/nfs": shared}))


@check("other.cloud_bucket")
def _():
    secret = modal.Secret.from_dict({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"})
    _accepted(create(volumes={"/bucket": modal.CloudBucketMount("bucket", secret=secret)}))


@check("other.proxy")
def _():
    _accepted(create(proxy=modal.Proxy.from_name(unique("proxy"))))


@check("other.custom_domain")
def _():
    _accepted(create(custom_domain="sandboxes.example"))


@check("other.outbound_policy")
def _():
    import modal.experimental

    needs(modal.experimental, "OutboundPolicy")
    replaced = {"domain": "allowed.example", "headers": {"X-Replaced": "yes"}}
    policy = modal.experimental.OutboundPolicy().with_header_replacement(**replaced)
    _accepted(create(_experimental_outbound_policy=policy))


@check("other.queue")
def _():
    with modal.Queue.ephemeral() as queue:
        queue.put("item")
        same(queue.get(), "item")


@check("other.dict")
def _():
    with modal.Dict.ephemeral() as shared:
        shared["key"] = "value"
        same(shared["key"], "value")


main()
