"""What a sandbox may reach.

Nothing outside of this machine is asked: the addresses are of documentation ranges, which lead nowhere, and of this
machine itself.
"""

import contextlib
import http.server
import threading

from harness import Absent, check, create, holds, main, modal, needs, own_address, raises, run, same

NOWHERE = "192.0.2.7"

DIAL = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as peer:
        peer.sendall(b"GET / HTTP/1.0\\r\\nHost: other.example\\r\\n\\r\\n")
        print("answered" if peer.recv(100) else "closed")
except TimeoutError:
    print("silence")
except socket.gaierror:
    print("no such name")
except OSError as error:
    print(type(error).__name__, error.errno)
"""


def dial(sandbox, host, port=80):
    return run("python3", "-c", DIAL, host, str(port), sandbox=sandbox).strip()


@contextlib.contextmanager
def own_server():
    """A web server on an address of this machine that is not loopback, for as long as the block runs."""
    address = own_address()
    if address is None:
        yield None, 0
        return
    listener = http.server.ThreadingHTTPServer((address, 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield address, listener.server_address[1]
    finally:
        listener.shutdown()
        listener.server_close()


@check("network.block")
def _():
    sandbox = create(block_network=True)
    same(dial(sandbox, NOWHERE), "OSError 101", "network is unreachable")
    holds(dial(sandbox, "name.example") in ("no such name", "OSError 101"), "names are resolved")


@check("network.loopback")
def _():
    # Its own loopback is always there, and is its own.
    sandbox = create(block_network=True)
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); print('ok')"
    same(run("python3", "-c", code, sandbox=sandbox), "ok\n")


@check("network.host_is_closed")
def _():
    with own_server() as (address, port):
        if address is None:
            raise Absent("this machine has no address but loopback")
        same(dial(create(), address, port), "ConnectionRefusedError 111")


@check("network.cidr_allowlist")
def _():
    with own_server() as (address, port):
        listed = ["203.0.113.0/24"] + ([f"{address}/32"] if address else [])
        sandbox = create(outbound_cidr_allowlist=listed)
        same(dial(sandbox, NOWHERE), "ConnectionRefusedError 111", "an address that is not listed")
        if address:
            same(dial(sandbox, address, port), "answered", "an address that is listed")


@check("network.domain_allowlist")
def _():
    sandbox = create(outbound_domain_allowlist=["*.allowed.example"])
    same(dial(sandbox, "other.example"), "no such name")
    answer = dial(sandbox, NOWHERE)
    holds(answer not in ("answered", "silence"), f"a request to a host that is not listed: {answer}")


@check("network.change")
def _():
    needs(modal.Sandbox, "_experimental_set_outbound_network_policy")
    with own_server() as (address, port):
        if address is None:
            raise Absent("this machine has no address but loopback")
        sandbox = create(outbound_cidr_allowlist=["203.0.113.0/24"])
        same(dial(sandbox, address, port), "ConnectionRefusedError 111", "before")
        sandbox._experimental_set_outbound_network_policy(outbound_cidr_allowlist=[f"{address}/32"])
        same(dial(sandbox, address, port), "answered", "after the change")
        sandbox._experimental_set_outbound_network_policy(outbound_domain_allowlist=["allowed.example"])
        holds(dial(sandbox, address, port) != "answered", "after it was closed again")


@check("network.invalid")
def _():
    with raises(modal.exception.InvalidError, "not-an-ip/8"):
        create(outbound_cidr_allowlist=["not-an-ip/8"])
    with raises(modal.exception.InvalidError):
        create(outbound_domain_allowlist=["not a domain!"])
    with raises(modal.exception.InvalidError):
        create(block_network=True, outbound_cidr_allowlist=["10.0.0.0/8"])
    with raises(modal.exception.InvalidError):
        create(inbound_cidr_allowlist=["300.0.0.0/8"])


main()
