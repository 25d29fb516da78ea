"""Ports of a sandbox, from outside: tunnels with and without TLS, and connect tokens."""

import json
import socket
import ssl

from harness import PATIENCE, check, create, eventually, fetch, holds, main, raises, run, same, server


@check("tunnel.tls")
def _():
    sandbox = server(8000, encrypted_ports=[8000])
    tunnel = sandbox.tunnels()[8000]
    holds(tunnel.url.startswith("https://"), f"url {tunnel.url}")
    status, body = fetch(f"{tunnel.url}/path?q=1")
    same((status, json.loads(body)["path"]), (200, "/path?q=1"))
    host, port = tunnel.tls_socket
    holds(bool(host) and 0 < port < 65536, f"tls socket {tunnel.tls_socket}")


@check("tunnel.plain")
def _():
    sandbox = server(8001, unencrypted_ports=[8001])
    tunnel = sandbox.tunnels()[8001]
    host, port = tunnel.tcp_socket
    status, body = fetch(f"http://{host}:{port}/plain")
    same((status, json.loads(body)["path"]), (200, "/plain"))
    # Programs use the URL of such ports too, and that is always https.
    same(fetch(f"{tunnel.url}/tls")[0], 200)


@check("tunnel.raw_tcp")
def _():
    echo = (
        "import socket\n"
        "s = socket.create_server(('127.0.0.1', 9000))\n"
        "while True:\n"
        "    c, _ = s.accept()\n"
        "    while data := c.recv(65536): c.sendall(data[::-1])\n"
        "    c.close()\n"
    )
    sandbox = create("python3", "-u", "-c", echo, unencrypted_ports=[9000])
    address = sandbox.tunnels()[9000].tcp_socket

    def dialogue():
        try:
            with socket.create_connection(address, timeout=PATIENCE) as peer:
                peer.sendall(b"\x00abc\xff")
                return peer.recv(100)
        except OSError:
            return None

    same(eventually("an echo", dialogue), b"\xffcba\x00")


@check("tunnel.http2")
def _():
    sandbox = create("sleep", "120", h2_ports=[8002])
    host, port = sandbox.tunnels()[8002].tls_socket
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((host, port), timeout=PATIENCE) as raw:
        with context.wrap_socket(raw, server_hostname=host) as peer:
            same(peer.selected_alpn_protocol(), "h2")


@check("tunnel.several")
def _():
    sandbox = create(encrypted_ports=[8080, 8081], unencrypted_ports=[2222], h2_ports=[9090])
    same(sorted(sandbox.tunnels()), [2222, 8080, 8081, 9090])
    same(len({tunnel.url for tunnel in sandbox.tunnels().values()}), 4, "different addresses")


@check("tunnel.none")
def _():
    same(create().tunnels(), {})


@check("tunnel.large")
def _():
    code = (
        "import http.server\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.send_header('content-length', str(20 << 20)); self.end_headers()\n"
        "        self.wfile.write(b'z' * (20 << 20))\n"
        "    def log_message(self, *a): pass\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', 8003), H).serve_forever()\n"
    )
    sandbox = create("python3", "-c", code, encrypted_ports=[8003])
    url = sandbox.tunnels()[8003].url

    def answer():
        try:
            return fetch(url)
        except OSError:
            return None

    status, body = eventually("an answer", answer)
    same((status, len(body)), (200, 20 << 20))


@check("tunnel.inbound_allowlist")
def _():
    open_to_us = server(8004, encrypted_ports=[8004], inbound_cidr_allowlist=["127.0.0.0/8", "::1/128"])
    same(fetch(open_to_us.tunnels()[8004].url)[0], 200)
    closed = server(8005, unencrypted_ports=[8005], inbound_cidr_allowlist=["203.0.113.0/24"])
    with raises(OSError):
        with socket.create_connection(closed.tunnels()[8005].tcp_socket, timeout=PATIENCE) as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if not peer.recv(100):
                raise ConnectionResetError("closed without an answer")


@check("connect.token")
def _():
    sandbox = server(8080)
    credentials = sandbox.create_connect_token(user_metadata={"user": "me"})
    holds(bool(credentials.url and credentials.token), "no credentials")
    same(fetch(f"{credentials.url}/x")[0], 401, "status without the token")
    status, body = fetch(f"{credentials.url}/x", {"Authorization": f"Bearer {credentials.token}"})
    same(status, 200)
    answer = json.loads(body)
    same(answer["path"], "/x")
    same(json.loads(answer["headers"]["x-verified-user-data"]), {"user": "me"})
    holds(credentials.token not in body.decode(), "the server in the sandbox saw the token")
    same(fetch(f"{credentials.url}/q?_modal_connect_token={credentials.token}")[0], 200, "status with the token in the query")


@check("connect.port")
def _():
    sandbox = server(3000)
    credentials = sandbox.create_connect_token(user_metadata="text", port=3000)
    status, body = fetch(credentials.url, {"Authorization": f"Bearer {credentials.token}"})
    same(status, 200)
    same(json.loads(body)["headers"]["x-verified-user-data"], "text")


main()
