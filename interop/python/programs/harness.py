"""What the Python programs share: the guard, the list of checks, and sandboxes that go away.

A program registers its checks with `@check("feature")` and ends with `main()`. Each check becomes one line on standard
output, which the runner reads:

    ok FEATURE
    not ok FEATURE: why
    refused FEATURE: what the server says        the server answered UNIMPLEMENTED, in a sentence
    absent FEATURE: why                          this version of the client has no such thing
"""

import ipaddress
import os
import re
import signal
import socket
import ssl
import sys
import time
import traceback
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit


def _refuse_unless_loopback():
    # With no address at all the client would talk to the public service.
    host = urlsplit(os.environ.get("MODAL_SERVER_URL", "")).hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        sys.exit(f"refusing to run: MODAL_SERVER_URL names {host or 'nothing'}, which is not this machine's loopback")


_refuse_unless_loopback()

import modal  # noqa: E402  not before the guard
import modal.config  # noqa: E402
import modal.exception  # noqa: E402

VERSION = tuple(int(part) for part in modal.__version__.split(".")[:2])
# Which of the two families of calls a plain `Sandbox.create` uses.
V2 = modal.config.config.get("sandbox_v2") is True

# Seconds that one check may take, and that one wait within it may take.
CHECK_DEADLINE = 60
PATIENCE = 20

_checks = []
_sandboxes = []
_made = {}


class Absent(Exception):
    """This version of the client does not offer it."""


class Mismatch(AssertionError):
    """Something is not what it has to be."""


def check(feature):
    """Registers a check of the feature with this name."""

    def register(run):
        _checks.append((feature, run))
        return run

    return register


def lacks(feature, why):
    """Registers a feature that no version of this client offers."""

    def run():
        raise Absent(why)

    check(feature)(run)


def needs(holder, name):
    """Ends the check as absent unless the client has this attribute."""
    if not hasattr(holder, name):
        raise Absent(f"no {getattr(holder, '__name__', holder)}.{name}")


def same(actual, expected, what="value"):
    if actual != expected:
        raise Mismatch(f"{what} is {_short(actual)}, expected {_short(expected)}")


def holds(condition, what):
    if not condition:
        raise Mismatch(what)


def _short(value):
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


class raises:
    """A block that has to raise this exception, of exactly this meaning. `error` holds it afterwards."""

    def __init__(self, kind, text=""):
        self.kind, self.text, self.error = kind, text, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        if error is None:
            raise Mismatch(f"nothing was raised, expected {self._names()}")
        if isinstance(error, (Absent, Overdue)) or not isinstance(error, self.kind):
            # Let it through as it is: a refusal by the server must stay one.
            if isinstance(error, modal.exception.UnimplementedError):
                return False
            raise Mismatch(f"raised {type(error).__name__}: {error}; expected {self._names()}") from error
        if self.text.lower() not in str(error).lower():
            raise Mismatch(f"{type(error).__name__} says {_short(str(error))}, without {self.text!r}") from error
        self.error = error
        return True

    def _names(self):
        kinds = self.kind if isinstance(self.kind, tuple) else (self.kind,)
        return " or ".join(kind.__name__ for kind in kinds)


class Overdue(Exception):
    """The check's deadline passed."""


def eventually(what, probe, patience=PATIENCE):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + patience
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Mismatch(f"not within {patience} s: {what}")
        time.sleep(0.02)


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def app():
    """One app for this run of the program."""
    if "app" not in _made:
        _made["app_name"] = unique("interop")
        _made["app"] = modal.App.lookup(_made["app_name"], create_if_missing=True)
    return _made["app"]


def app_name():
    app()
    return _made["app_name"]


def create(*command, **options):
    """A sandbox that is terminated when the program ends."""
    options.setdefault("app", app())
    sandbox = modal.Sandbox.create(*command, **options)
    _sandboxes.append(sandbox)
    return sandbox


def keep(sandbox):
    """Terminates this one too."""
    _sandboxes.append(sandbox)
    return sandbox


def shared():
    """A sandbox that the checks of this program share."""
    if "shared" not in _made:
        _made["shared"] = create()
    return _made["shared"]


def run(*command, sandbox=None, **options):
    """What a command writes, as text, after it ended well."""
    process = (sandbox or shared()).exec(*command, **options)
    output = process.stdout.read()
    code = process.wait()
    if code != 0:
        raise Mismatch(f"{command} ended with {code}: {process.stderr.read()}")
    return output


def fetch(url, headers=None, method="GET", patience=PATIENCE):
    """Status and body of an answer over HTTP; TLS is verified against the roots of the environment."""
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    try:
        with opener.open(request, timeout=patience) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def own_address():
    """An address of this machine that is not loopback, or None. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            return None
    return None if ipaddress.ip_address(address).is_loopback else address


# A web server for inside of a sandbox: answers with its path and the headers it was sent, as JSON.
SERVER = r"""
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"""


def server(port, **options):
    """A sandbox with a web server on this port, once that answers there."""
    sandbox = create("python3", "-c", SERVER, str(port), **options)
    eventually(f"a server on {port}", lambda: _listens(sandbox, port))
    return sandbox


def _listens(sandbox, port):
    probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2).close()"
    return sandbox.exec("python3", "-c", probe).wait() == 0


_ID = re.compile(r"\b(sb|ta|im|ap|st|vo|mo|sn|fu|ctr)-[0-9A-Za-z]{10,}")


def _one_line(text):
    return _ID.sub(lambda found: f"{found[1]}-…", " ".join(str(text).split()))[:400]


def _late(_signal, _frame):
    raise Overdue(f"not done after {CHECK_DEADLINE} s")


def _outcome(feature, run_check):
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(CHECK_DEADLINE)
    try:
        run_check()
        return f"ok {feature}"
    except Absent as absent:
        return f"absent {feature}: {_one_line(absent)}"
    except modal.exception.UnimplementedError as refusal:
        sentence = _one_line(refusal)
        if len(sentence.split()) < 4:
            return f"not ok {feature}: refused without a sentence: {sentence!r}"
        return f"refused {feature}: {sentence}"
    except BaseException as error:  # A program tells of all its checks, whatever one of them did.
        traceback.print_exc()
        return f"not ok {feature}: {type(error).__name__}: {_one_line(error)}"
    finally:
        signal.alarm(0)


def _end(sandbox):
    try:
        sandbox.terminate()
    except Exception:
        # Ended by itself, or detached.
        pass


def main():
    """Runs the checks; with arguments, only those whose names contain one of them."""
    chosen = [entry for entry in _checks if len(sys.argv) < 2 or any(part in entry[0] for part in sys.argv[1:])]
    failed = False
    for feature, run_check in chosen:
        started = time.monotonic()
        line = _outcome(feature, run_check)
        failed |= line.startswith("not ok")
        print(line, flush=True)
        print(f"# {feature}: {time.monotonic() - started:.2f} s", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_end, _sandboxes))
    sys.exit(1 if failed else 0)
