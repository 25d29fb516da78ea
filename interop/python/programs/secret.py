"""Secrets: inline, named, from the local environment."""

import os

from harness import check, create, main, modal, needs, raises, run, same, unique


def _environment(sandbox, *names):
    return run("sh", "-c", "; ".join(f'echo "${{{name}-unset}}"' for name in names), sandbox=sandbox).splitlines()


@check("secret.from_dict")
def _():
    sandbox = create(secrets=[modal.Secret.from_dict({"KEY": "a 'b' $c", "NONE": None})])
    same(_environment(sandbox, "KEY", "NONE"), ["a 'b' $c", "unset"])


@check("secret.named")
def _():
    name = unique("secret")
    modal.Secret.objects.create(name, {"USER": "me", "PASSWORD": "words\nlines"})
    sandbox = create(secrets=[modal.Secret.from_name(name)])
    same(_environment(sandbox, "USER", "PASSWORD"), ["me", "words", "lines"])
    same(run("printenv", "USER", sandbox=create(), secrets=[modal.Secret.from_name(name)]), "me\n")


@check("secret.missing")
def _():
    with raises(modal.exception.NotFoundError):
        modal.Secret.from_name(unique("missing")).hydrate()
    with raises(modal.exception.NotFoundError):
        create(secrets=[modal.Secret.from_name(unique("missing"))])


@check("secret.required_keys")
def _():
    name = unique("secret")
    modal.Secret.objects.create(name, {"HAVE": "1"})
    modal.Secret.from_name(name, required_keys=["HAVE"]).hydrate()
    with raises(modal.exception.Error, "MISSING"):
        modal.Secret.from_name(name, required_keys=["HAVE", "MISSING"]).hydrate()


@check("secret.duplicate")
def _():
    name = unique("secret")
    modal.Secret.objects.create(name, {"A": "1"})
    with raises(modal.exception.AlreadyExistsError):
        modal.Secret.objects.create(name, {"A": "2"})
    modal.Secret.objects.create(name, {"A": "3"}, allow_existing=True)
    same(_environment(create(secrets=[modal.Secret.from_name(name)]), "A"), ["1"])


@check("secret.list")
def _():
    names = [unique("secret") for _ in range(3)]
    for name in names:
        modal.Secret.objects.create(name, {"A": "1"})
    listed = [secret.name for secret in modal.Secret.objects.list(max_objects=3)]
    same(listed, list(reversed(names)), "newest first")


@check("secret.delete")
def _():
    name = unique("secret")
    modal.Secret.objects.create(name, {"A": "1"})
    modal.Secret.objects.delete(name)
    with raises(modal.exception.NotFoundError):
        modal.Secret.from_name(name).hydrate()
    with raises(modal.exception.NotFoundError):
        modal.Secret.objects.delete(name)
    modal.Secret.objects.delete(name, allow_missing=True)


@check("secret.update")
def _():
    needs(modal.Secret, "update")
    name = unique("secret")
    modal.Secret.objects.create(name, {"A": "1", "B": "1"})
    modal.Secret.from_name(name).update({"B": "2"})
    same(_environment(create(secrets=[modal.Secret.from_name(name)]), "A", "B"), ["1", "2"])


@check("secret.info")
def _():
    needs(modal.Secret, "info")
    name = unique("secret")
    modal.Secret.objects.create(name, {"A": "1"})
    same(modal.Secret.from_name(name).info().name, name)


@check("secret.from_local_environ")
def _():
    os.environ["INTEROP_LOCAL"] = "from here"
    sandbox = create(secrets=[modal.Secret.from_local_environ(["INTEROP_LOCAL"])])
    same(_environment(sandbox, "INTEROP_LOCAL"), ["from here"])


@check("secret.order")
def _():
    name = unique("secret")
    modal.Secret.objects.create(name, {"A": "named", "B": "named", "C": "named"})
    inline = modal.Secret.from_dict({"B": "inline", "C": "inline"})
    sandbox = create(secrets=[modal.Secret.from_name(name), inline], env={"C": "env"})
    same(_environment(sandbox, "A", "B", "C"), ["named", "inline", "env"])


main()
