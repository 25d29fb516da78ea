// Ports of a sandbox from outside, what it may reach, readiness, and limits.
//
// Nothing outside of this machine is asked: the addresses are of documentation ranges, which lead nowhere, and of this
// machine itself.

import http from "node:http";
import os from "node:os";
import {
  Absent, SERVER, check, create, dialogue, eventually, fetchEventually, fetchText, holds, main, modal, needs, negotiated,
  rejects, run, same, server, since,
} from "./common.mjs";

check("tunnel.tls", async () => {
  const sandbox = await server(8000, { encryptedPorts: [8000] });
  const tunnel = (await sandbox.tunnels())[8000];
  holds(tunnel.url.startsWith("https://"), `url ${tunnel.url}`);
  const { status, body } = await fetchText(`${tunnel.url}/path?q=1`);
  same([status, JSON.parse(body).path], [200, "/path?q=1"]);
});

check("tunnel.plain", async () => {
  const sandbox = await server(8001, { unencryptedPorts: [8001] });
  const tunnel = (await sandbox.tunnels())[8001];
  const [host, port] = tunnel.tcpSocket;
  same((await fetchText(`http://${host}:${port}/plain`)).status, 200);
  // Programs use the URL of such ports too, and that is always https.
  same((await fetchText(tunnel.url)).status, 200);
});

check("tunnel.raw_tcp", async () => {
  const echo =
    "import socket\ns = socket.create_server(('127.0.0.1', 9000))\n" +
    "while True:\n    c, _ = s.accept()\n    while data := c.recv(65536): c.sendall(data[::-1])\n    c.close()\n";
  const sandbox = await create({ command: ["python3", "-u", "-c", echo], unencryptedPorts: [9000] });
  const [host, port] = (await sandbox.tunnels())[9000].tcpSocket;
  same(await eventually("an echo", () => dialogue(host, port, "abc")), "cba");
});

check("tunnel.http2", async () => {
  const sandbox = await create({ h2Ports: [8002] });
  const [host, port] = (await sandbox.tunnels())[8002].tlsSocket;
  same(await negotiated(host, port), "h2");
});

check("tunnel.several", async () => {
  const sandbox = await create({ encryptedPorts: [8080, 8081], unencryptedPorts: [2222], h2Ports: [9090] });
  const tunnels = await sandbox.tunnels();
  same(Object.keys(tunnels).map(Number).sort((a, b) => a - b), [2222, 8080, 8081, 9090]);
  same(new Set(Object.values(tunnels).map((tunnel) => tunnel.url)).size, 4, "different addresses");
});

check("tunnel.none", async () => {
  same(await (await create()).tunnels(), {});
});

check("tunnel.large", async () => {
  const code =
    "import http.server\nclass H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n" +
    "        self.send_response(200); self.send_header('content-length', str(20 << 20)); self.end_headers()\n" +
    "        self.wfile.write(b'z' * (20 << 20))\n    def log_message(self, *a): pass\n" +
    "http.server.ThreadingHTTPServer(('127.0.0.1', 8003), H).serve_forever()\n";
  const sandbox = await create({ command: ["python3", "-c", code], encryptedPorts: [8003] });
  const { status, body } = await fetchEventually((await sandbox.tunnels())[8003].url);
  same([status, body.length], [200, 20 << 20]);
});

check("tunnel.inbound_allowlist", async () => {
  const open = await server(8004, { encryptedPorts: [8004], inboundCidrAllowlist: ["127.0.0.0/8", "::1/128"] });
  same((await fetchText((await open.tunnels())[8004].url)).status, 200);
  const closed = await server(8005, { unencryptedPorts: [8005], inboundCidrAllowlist: ["203.0.113.0/24"] });
  const [host, port] = (await closed.tunnels())[8005].tcpSocket;
  same(await dialogue(host, port, "GET / HTTP/1.0\r\n\r\n"), undefined, "an answer");
});

check("connect.token", async () => {
  const sandbox = await server(8080);
  const { url, token } = await sandbox.createConnectToken({ userMetadata: "me" });
  same((await fetchText(url)).status, 401, "status without the token");
  const { status, body } = await fetchText(url, { authorization: `Bearer ${token}` });
  same([status, JSON.parse(body).headers["x-verified-user-data"]], [200, "me"]);
});

check("connect.port", async () => {
  if (!since(0, 9)) throw new Absent("createConnectToken takes no port");
  const sandbox = await server(3000);
  const { url, token } = await sandbox.createConnectToken({ port: 3000 });
  same((await fetchText(url, { authorization: `Bearer ${token}` })).status, 200);
});

const NOWHERE = "192.0.2.7";

const DIAL = `
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
`;

const dial = async (sandbox, host, port = 80) =>
  (await run(["python3", "-c", DIAL, host, String(port)], {}, sandbox)).trim();

/** Runs with a web server on an address of this machine that is not loopback. */
async function withOwnServer(body) {
  const address = Object.values(os.networkInterfaces()).flat().find((found) => found.family === "IPv4" && !found.internal);
  if (!address) throw new Absent("this machine has no address but loopback");
  const listener = http.createServer((_, answer) => answer.end("here"));
  await new Promise((resolve) => listener.listen(0, address.address, resolve));
  try {
    await body(address.address, listener.address().port);
  } finally {
    listener.closeAllConnections();
    listener.close();
  }
}

check("network.block", async () => {
  const sandbox = await create({ blockNetwork: true });
  same(await dial(sandbox, NOWHERE), "OSError 101", "network is unreachable");
});

check("network.loopback", async () => {
  // Its own loopback is always there, and is its own.
  const sandbox = await create({ blockNetwork: true });
  const script =
    "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); print('ok')";
  same(await run(["python3", "-c", script], {}, sandbox), "ok\n");
});

check("network.host_is_closed", async () => {
  await withOwnServer(async (host, port) => same(await dial(await create(), host, port), "ConnectionRefusedError 111"));
});

check("network.cidr_allowlist", async () => {
  await withOwnServer(async (host, port) => {
    const sandbox = await create({ outboundCidrAllowlist: ["203.0.113.0/24", `${host}/32`] });
    same(await dial(sandbox, NOWHERE), "ConnectionRefusedError 111", "an address that is not listed");
    same(await dial(sandbox, host, port), "answered", "an address that is listed");
  });
});

check("network.domain_allowlist", async () => {
  if (!since(0, 9)) throw new Absent("create takes no outboundDomainAllowlist");
  const sandbox = await create({ outboundDomainAllowlist: ["*.allowed.example"] });
  same(await dial(sandbox, "other.example"), "no such name");
});

check("network.change", async () => {
  const sandbox = await create({ outboundCidrAllowlist: ["203.0.113.0/24"] });
  needs(sandbox.updateNetworkPolicy, "updateNetworkPolicy");
  await withOwnServer(async (host, port) => {
    same(await dial(sandbox, host, port), "ConnectionRefusedError 111", "before");
    await sandbox.updateNetworkPolicy({ outboundCidrAllowlist: [`${host}/32`], outboundDomainAllowlist: [] });
    same(await dial(sandbox, host, port), "answered", "after the change");
  });
});

check("network.invalid", async () => {
  await rejects(() => create({ outboundCidrAllowlist: ["not-an-ip/8"] }), Error, "Invalid CIDR: not-an-ip/8");
  await rejects(() => create({ blockNetwork: true, outboundCidrAllowlist: ["10.0.0.0/8"] }), Error);
});

check("ready.tcp", async () => {
  needs(modal.Probe, "Probe");
  const command = ["python3", "-c", `import time; time.sleep(1)\n${SERVER}`, "8080"];
  const sandbox = await create({ command, readinessProbe: modal.Probe.withTcp(8080) });
  await sandbox.waitUntilReady(30_000);
  await run(["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8080))"], {}, sandbox);
});

check("ready.exec", async () => {
  needs(modal.Probe, "Probe");
  const sandbox = await create({
    command: ["sh", "-c", "sleep 1; touch /tmp/ready; exec sleep 60"],
    readinessProbe: modal.Probe.withExec(["test", "-f", "/tmp/ready"], { intervalMs: 50 }),
  });
  await sandbox.waitUntilReady(30_000);
  await run(["test", "-f", "/tmp/ready"], {}, sandbox);
});

check("ready.never", async () => {
  needs(modal.Probe, "Probe");
  const sandbox = await create({ readinessProbe: modal.Probe.withExec(["false"]) });
  const started = Date.now();
  await rejects(() => sandbox.waitUntilReady(2000), modal.TimeoutError);
  const took = Date.now() - started;
  holds(took > 1000 && took < 20_000, `after ${took} ms`);
});

check("ready.no_probe", async () => {
  const sandbox = await create();
  await rejects(() => sandbox.waitUntilReady(3000), Error);
});

check("ready.ended", async () => {
  needs(modal.Probe, "Probe");
  const sandbox = await create({ command: ["sh", "-c", "exit 3"], readinessProbe: modal.Probe.withTcp(8080) });
  await sandbox.wait();
  const started = Date.now();
  await rejects(() => sandbox.waitUntilReady(10_000), Error);
  holds(Date.now() - started < 20_000, "it kept waiting for a sandbox that has ended");
});

check("limit.cpu", async () => {
  const sandbox = await create({ cpu: 0.25, cpuLimit: 0.5 });
  const burn = "import os, time; t = time.monotonic()\nwhile time.monotonic() - t < 2: pass\nprint(sum(os.times()[:2]))";
  const used = Number(await run(["python3", "-c", burn], {}, sandbox));
  holds(used < 1.6, `${used} s of processor time in 2 s under a limit of half a core`);
});

check("limit.invalid", async () => {
  await rejects(() => create({ memoryMiB: 512, memoryLimitMiB: 128 }), Error);
  await rejects(() => create({ cpu: 2, cpuLimit: 1 }), Error);
});

check("limit.memory_exec", async () => {
  const sandbox = await create({ memoryMiB: 64, memoryLimitMiB: 128 });
  const process = await sandbox.exec(["python3", "-c", "b = bytearray(400 << 20); print(len(b))"]);
  holds((await process.wait()) !== 0, "it got more memory than it may have");
});

check("limit.memory_main", async () => {
  const command = ["python3", "-c", "b = bytearray(400 << 20); print(len(b))"];
  same(await (await create({ command, memoryMiB: 64, memoryLimitMiB: 128 })).wait(), 137);
});

await main();
