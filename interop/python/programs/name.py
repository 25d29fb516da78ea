"""Names, tags and lists."""

from concurrent.futures import ThreadPoolExecutor

from harness import (
    VERSION,
    Absent,
    app,
    app_name,
    check,
    create,
    eventually,
    holds,
    main,
    modal,
    needs,
    raises,
    run,
    same,
    unique,
)


@check("name.from_name")
def _():
    name = unique("named")
    sandbox = create(name=name)
    found = modal.Sandbox.from_name(app_name(), name)
    same(found.object_id, sandbox.object_id)
    same(run("echo", "by name", sandbox=found), "by name\n")


@check("name.missing")
def _():
    with raises(modal.exception.NotFoundError):
        modal.Sandbox.from_name(app_name(), unique("missing"))
    with raises(modal.exception.NotFoundError):
        modal.Sandbox.from_name(unique("missing-app"), "name")


@check("name.duplicate")
def _():
    name = unique("twice")
    create(name=name)
    with raises(modal.exception.AlreadyExistsError, "already exists"):
        create(name=name)


@check("name.free_again")
def _():
    name = unique("again")
    first = create(name=name)
    first.terminate()
    first.wait(raise_on_termination=False)
    with raises(modal.exception.NotFoundError):
        modal.Sandbox.from_name(app_name(), name)
    second = create(name=name)
    same(modal.Sandbox.from_name(app_name(), name).object_id, second.object_id)


@check("name.per_app")
def _():
    name = unique("shared")
    other_name = unique("interop")
    other = modal.App.lookup(other_name, create_if_missing=True)
    here, there = create(name=name), create(name=name, app=other)
    same(modal.Sandbox.from_name(app_name(), name).object_id, here.object_id)
    same(modal.Sandbox.from_name(other_name, name).object_id, there.object_id)


@check("name.include_terminated")
def _():
    if VERSION < (1, 6):
        raise Absent("from_name takes no include_terminated")
    name = unique("ended")
    sandbox = create("sh", "-c", "exit 6", name=name)
    sandbox.wait()
    found = modal.Sandbox.from_name(app_name(), name, include_terminated=True)
    same((found.object_id, found.poll()), (sandbox.object_id, 6))


@check("name.set_later")
def _():
    needs(modal.Sandbox, "_experimental_set_name")
    sandbox = create() if VERSION >= (1, 6) else modal.Sandbox._experimental_create(app=app())
    name = unique("later")
    try:
        sandbox._experimental_set_name(name)
    except modal.exception.InvalidError as error:
        # The first family of calls has none; the client says so itself.
        raise Absent(str(error)) from error
    found = modal.Sandbox._experimental_from_name(app_name(), name)
    same(found.object_id, sandbox.object_id)
    sandbox._experimental_set_name(name)
    with raises(modal.exception.ConflictError):
        sandbox._experimental_set_name(unique("another"))
    sandbox.terminate()


@check("tags.create")
def _():
    same(create(tags={"team": "a", "kind": "x y"}).get_tags(), {"team": "a", "kind": "x y"})
    same(create().get_tags(), {})


@check("tags.set")
def _():
    sandbox = create(tags={"old": "1"})
    sandbox.set_tags({"new": "2", "more": "3"})
    same(sandbox.get_tags(), {"new": "2", "more": "3"})
    sandbox.set_tags({})
    same(sandbox.get_tags(), {})


def _listed(**filters):
    return [sandbox.object_id for sandbox in modal.Sandbox.list(**filters)]


@check("list.by_app")
def _():
    ours = modal.App.lookup(unique("interop"), create_if_missing=True)
    made = [create(app=ours) for _ in range(3)]
    create()
    same(_listed(app_id=ours.app_id), [sandbox.object_id for sandbox in reversed(made)], "newest first")


@check("list.by_tags")
def _():
    ours = modal.App.lookup(unique("interop"), create_if_missing=True)
    both = create(app=ours, tags={"a": "1", "b": "2"})
    create(app=ours, tags={"a": "1"})
    create(app=ours, tags={"a": "2", "b": "2"})
    same(_listed(app_id=ours.app_id, tags={"a": "1", "b": "2"}), [both.object_id])
    same(len(_listed(app_id=ours.app_id, tags={"a": "1"})), 2)
    same(_listed(app_id=ours.app_id, tags={"a": "3"}), [])


@check("list.only_running")
def _():
    ours = modal.App.lookup(unique("interop"), create_if_missing=True)
    running, ended = create(app=ours), create("true", app=ours)
    ended.wait()
    same(eventually("only the running one", lambda: _listed(app_id=ours.app_id) == [running.object_id]), True)


@check("list.across_apps")
def _():
    sandbox = create(tags={"mark": unique("mark")})
    same(_listed(tags=sandbox.get_tags()), [sandbox.object_id])


@check("list.pages")
def _():
    ours = modal.App.lookup(unique("interop"), create_if_missing=True)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create(app=ours), range(105)))
    listed = _listed(app_id=ours.app_id)
    same(len(listed), 105, "sandboxes listed")
    same(set(listed), {sandbox.object_id for sandbox in made})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda sandbox: sandbox.terminate(), made))


@check("environment.manage")
def _():
    needs(modal, "Environment")
    name = unique("env")
    modal.Environment.objects.create(name)

    def listed():
        return name in [environment.name for environment in modal.Environment.objects.list()]

    holds(listed(), "it is not listed")
    made = modal.App.lookup(unique("interop"), create_if_missing=True, environment_name=name)
    holds(made.app_id.startswith("ap-"), f"app id {made.app_id}")
    modal.Environment.objects.delete(name)
    holds(not listed(), "it is still listed")
    with raises(modal.exception.NotFoundError):
        modal.App.lookup(unique("interop"), environment_name=name)


@check("create.concurrent")
def _():
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda number: create(env={"N": str(number)}), range(20)))
        said = list(pool.map(lambda sandbox: run("sh", "-c", "echo $N", sandbox=sandbox), made))
        list(pool.map(lambda sandbox: sandbox.terminate(), made))
    same(said, [f"{number}\n" for number in range(20)])
    holds(len({sandbox.object_id for sandbox in made}) == 20, "ids are not unique")


main()
