"""Errors, as this client's own exception types."""

from harness import V2, app, check, create, holds, main, modal, raises, same, unique


def _client(token_id, token_secret):
    return modal.Client.from_credentials(token_id, token_secret)


def _settings():
    return modal.config.config.get("token_id"), modal.config.config.get("token_secret")


@check("error.wrong_token")
def _():
    token_id, token_secret = _settings()
    for wrong in ((token_id, "as-wrong"), ("ak-wrong", token_secret), ("x", "x")):
        with raises(modal.exception.AuthError):
            modal.App.lookup(unique("interop"), create_if_missing=True, client=_client(*wrong))


@check("error.wrong_token_sandbox")
def _():
    sandbox = create()
    token_id, _ = _settings()
    with raises(modal.exception.AuthError):
        modal.Sandbox.from_id(sandbox.object_id, client=_client(token_id, "as-wrong"))


@check("error.hello")
def _():
    token_id, token_secret = _settings()
    _client(token_id, token_secret).hello()
    with raises(modal.exception.AuthError):
        _client(token_id, "as-wrong").hello()


@check("error.unknown_environment")
def _():
    with raises(modal.exception.NotFoundError):
        modal.App.lookup("any", environment_name=unique("missing"))


@check("error.unknown_app")
def _():
    # "Not found", or an empty list: what is there of others is not told.
    create()
    try:
        same(list(modal.Sandbox.list(app_id="ap-0000000000000000000000")), [])
    except modal.exception.NotFoundError:
        pass


@check("error.unknown_sandbox")
def _():
    for missing in ("sb-0123456789abcdefghijkl", "sb-01K5ZZZZZZZZZZZZZZZZZZZZZZ"):
        with raises(modal.exception.NotFoundError):
            modal.Sandbox.from_id(missing)


@check("error.ended_sandbox")
def _():
    sandbox = create("true")
    sandbox.wait()
    with raises(modal.exception.Error):
        sandbox.exec("echo").wait()
    same(modal.Sandbox.from_id(sandbox.object_id).poll(), 0)


main()
