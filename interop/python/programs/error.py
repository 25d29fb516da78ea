"""Errors, as this client's own exception types."""

from harness import V2, app, check, create, holds, main, modal, raises, same, unique


def _client(token_id, token_secret):
    return modal.Client.from_credentials(token_id, token_secret)


def _settings():
    return modal.config.config.get("token_id"), modal.config.config.get("token_secret")


@check("error.wrong_token")
def _():
    token_id, token_secret = _settings()
    for wrong in ((token_id, "as-wrong"), ("ak-wrong", token_secret), ("", "")):
        with raises(modal.exception.AuthError):
            with _client(*wrong) as client:
                modal.App.lookup(unique("interop"), create_if_missing=True, client=client)


@check("error.wrong_token_sandbox")
def _():
    sandbox = create()
    token_id, _ = _settings()
    with _client(token_id, "as-wrong") as client:
        with raises(modal.exception.AuthError):
            modal.Sandbox.from_id(sandbox.object_id, client=client)


@check("error.hello")
def _():
    token_id, token_secret = _settings()
    with _client(token_id, token_secret) as client:
        client.hello()
    with raises(modal.exception.AuthError):
        with _client(token_id, "as-wrong") as client:
            client.hello()


@check("error.unknown_environment")
def _():
    with raises(modal.exception.NotFoundError):
        modal.App.lookup("any", environment_name=unique("missing"))


@check("error.unknown_app")
def _():
    with raises(modal.exception.NotFoundError):
        list(modal.Sandbox.list(app_id="ap-0000000000000000000000"))


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
