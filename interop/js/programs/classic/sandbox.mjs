// Everything that versions around 0.3 offer: `App.lookup`, `app.createSandbox`, and what a sandbox can do.

import { createHash, randomBytes } from "node:crypto";
import {
  Mismatch, SERVER, UNAUTHENTICATED, check, cleanup, code, dialogue, eventually, fetchEventually, fetchText, holds, main,
  negotiated, rejects, same, unique,
} from "../harness.mjs";
import * as modal from "modal";

const made = {};
const appName = () => (made.name ??= unique("interop"));
const app = () => (made.app ??= modal.App.lookup(appName(), { createIfMissing: true }));
const image = async () => (made.image ??= await (await app()).imageFromRegistry("debian:12-slim"));

async function create(options) {
  const sandbox = await (await app()).createSandbox(await image(), options);
  cleanup(() => sandbox.terminate());
  return sandbox;
}

const shared = () => (made.shared ??= create());
const exec = async (command, options) => (await shared()).exec(command, options);

async function run(command, options = {}, sandbox = undefined) {
  const process = await (sandbox ?? (await shared())).exec(command, options);
  const [output, errors, exit] = await Promise.all([process.stdout.readText(), process.stderr.readText(), process.wait()]);
  if (exit !== 0) throw new Mismatch(`${JSON.stringify(command)} ended with ${exit}: ${errors}`);
  return output;
}

check("app.lookup", async () => {
  holds((await app()).appId.startsWith("ap-"), "no app id");
  same((await modal.App.lookup(appName())).appId, (await app()).appId);
});

check("app.missing", async () => {
  await rejects(() => modal.App.lookup(unique("missing")), modal.NotFoundError);
});

check("create.default", async () => {
  const sandbox = await create();
  same(sandbox.sandboxId.length, 25, "length of the id");
  same(await run(["echo", "hello"], {}, sandbox), "hello\n");
  same(await sandbox.poll(), null);
});

check("create.command", async () => {
  same(await (await create({ command: ["sh", "-c", "exit 3"] })).wait(), 3);
});

check("create.registry", async () => {
  const alpine = await (await app()).imageFromRegistry("alpine:3.21");
  holds(alpine.imageId.startsWith("im-"), `image id ${alpine.imageId}`);
  const sandbox = await (await app()).createSandbox(alpine, { command: ["sh", "-c", "exit 5"] });
  same(await sandbox.wait(), 5);
});

check("create.resources", async () => {
  same(await run(["echo", "ok"], {}, await create({ cpu: 0.25, memory: 256 })), "ok\n");
});

check("create.invalid_arguments", async () => {
  await rejects(() => create({ timeout: 1500 }), Error);
  await rejects(() => create({ unencryptedPorts: [70_000] }), Error);
});

check("create.secrets", async () => {
  const named = await modal.Secret.fromName("interop-secret");
  same(await run(["printenv", "A"], {}, await create({ secrets: [named, named] })), "1\n");
});

check("create.runs_servers", async () => {
  await run(["sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $! > /tmp/pid"]);
  same(await run(["sh", "-c", "kill -0 $(cat /tmp/pid) && echo alive"]), "alive\n");
});

check("create.concurrent", async () => {
  const sandboxes = await Promise.all(Array.from({ length: 20 }, () => create()));
  const said = await Promise.all(sandboxes.map((sandbox, number) => run(["echo", String(number)], {}, sandbox)));
  same(said, sandboxes.map((_, number) => `${number}\n`));
  await Promise.all(sandboxes.map((sandbox) => sandbox.terminate()));
});

check("exec.stdout", async () => {
  same(await run(["sh", "-c", "echo one; echo two"]), "one\ntwo\n");
});

check("exec.stderr", async () => {
  const process = await exec(["sh", "-c", "echo out; echo err >&2"]);
  same(await Promise.all([process.stdout.readText(), process.stderr.readText()]), ["out\n", "err\n"]);
});

check("exec.exit_code", async () => {
  same(await (await exec(["sh", "-c", "exit 42"])).wait(), 42);
});

check("exec.signal", async () => {
  same(await (await exec(["sh", "-c", "kill -9 $$"])).wait(), 137);
});

check("exec.not_found", async () => {
  let exit;
  try {
    exit = await (await exec(["no-such-command-1234"])).wait();
  } catch (error) {
    return holds(error.message.includes("no-such-command-1234"), `the error does not name the command: ${error.message}`);
  }
  same(exit, 127);
});

check("exec.workdir", async () => {
  same(await run(["pwd"], { workdir: "/usr/share" }), "/usr/share\n");
});

check("exec.workdir_missing", async () => {
  let exit;
  try {
    exit = await (await exec(["pwd"], { workdir: "/no/such/directory" })).wait();
  } catch (error) {
    return holds(error.message.includes("/no/such/directory"), `the error does not name it: ${error.message}`);
  }
  holds(exit !== 0, "it ran in a directory that is not there");
});

check("exec.secrets", async () => {
  const secret = await modal.Secret.fromName("interop-secret");
  same(await run(["sh", "-c", "echo $A $B"], { secrets: [secret] }), "1 two words\n");
});

check("exec.timeout", async () => {
  const started = Date.now();
  same(await (await exec(["sleep", "60"], { timeout: 1000 })).wait(), 137);
  holds(Date.now() - started < 15_000, "long after the timeout");
});

check("exec.live_lines", async () => {
  const process = await exec(["sh", "-c", "echo first; read line; echo second $line"]);
  const reader = process.stdout.getReader();
  same((await reader.read()).value, "first\n");
  await process.stdin.writeText("x\n");
  same((await reader.read()).value, "second x\n");
  same(await process.wait(), 0);
});

check("exec.binary", async () => {
  const process = await exec(["sh", "-c", "printf '\\377\\000\\376'"], { mode: "binary" });
  same(await process.stdout.readBytes(), new Uint8Array([255, 0, 254]));
});

check("exec.unicode", async () => {
  same(await run(["printf", "%s", "grüße 🦀 漢字"]), "grüße 🦀 漢字");
});

check("exec.large_output", async () => {
  const size = 4 * 1024 * 1024;
  const process = await exec(["sh", "-c", `head -c ${size} /dev/zero`], { mode: "binary" });
  same((await process.stdout.readBytes()).length, size, "bytes");
});

check("exec.unread_output", async () => {
  same(await (await exec(["sh", "-c", "head -c 4000000 /dev/zero; head -c 4000000 /dev/zero >&2"])).wait(), 0);
});

check("exec.devnull", async () => {
  const process = await exec(["sh", "-c", "echo out; echo err >&2"], { stdout: "ignore" });
  same(await Promise.all([process.stdout.readText(), process.stderr.readText()]), ["", "err\n"]);
});

check("exec.late_read", async () => {
  const process = await exec(["sh", "-c", "echo kept; echo also >&2"]);
  same(await process.wait(), 0);
  same(await Promise.all([process.stdout.readText(), process.stderr.readText()]), ["kept\n", "also\n"]);
});

check("exec.empty_output", async () => {
  const process = await exec(["true"]);
  same(await Promise.all([process.stdout.readText(), process.stderr.readText(), process.wait()]), ["", "", 0]);
});

check("exec.background_child", async () => {
  const started = Date.now();
  same(await run(["sh", "-c", "nohup sleep 60 >/dev/null 2>&1 & echo started"]), "started\n");
  holds(Date.now() - started < 15_000, "it waited for the child");
});

check("exec.many_lines", async () => {
  const lines = (await run(["seq", "20000"])).trimEnd().split("\n");
  same(lines.filter((line, index) => line === `${index + 1}`).length, 20_000, "lines in order");
});

check("exec.concurrent", async () => {
  const numbers = Array.from({ length: 16 }, (_, number) => number);
  same(await Promise.all(numbers.map((number) => run(["echo", String(number)]))), numbers.map((number) => `${number}\n`));
});

check("exec.after_end", async () => {
  const sandbox = await create({ command: ["true"] });
  await sandbox.wait();
  await rejects(async () => (await sandbox.exec(["echo", "too late"])).wait(), Error);
});

check("stdin.write", async () => {
  const process = await exec(["cat"]);
  await process.stdin.writeText("hello ");
  await process.stdin.writeText("world");
  await process.stdin.close();
  same(await process.stdout.readText(), "hello world");
});

check("stdin.eof", async () => {
  const process = await exec(["sh", "-c", "cat >/dev/null; echo at the end"]);
  await process.stdin.close();
  same(await process.stdout.readText(), "at the end\n");
});

check("stdin.binary", async () => {
  const data = new Uint8Array(randomBytes(4096));
  const process = await exec(["cat"], { mode: "binary" });
  await process.stdin.writeBytes(data);
  await process.stdin.close();
  same(await process.stdout.readBytes(), data);
});

check("stdin.large", async () => {
  const data = new Uint8Array(randomBytes(4 << 20));
  const process = await exec(["sh", "-c", "sha256sum | cut -d' ' -f1"], { mode: "binary" });
  for (let start = 0; start < data.length; start += 1 << 20) {
    await process.stdin.writeBytes(data.subarray(start, start + (1 << 20)));
  }
  await process.stdin.close();
  const digest = Buffer.from(await process.stdout.readBytes()).toString();
  same(digest, `${createHash("sha256").update(data).digest("hex")}\n`);
});

check("stdin.dialogue", async () => {
  const process = await exec(["sh", "-c", 'while read line; do echo "<$line>"; done']);
  const reader = process.stdout.getReader();
  for (const word of ["one", "two", "three"]) {
    await process.stdin.writeText(`${word}\n`);
    same((await reader.read()).value, `<${word}>\n`);
  }
  await process.stdin.close();
  same(await process.wait(), 0);
});

check("stdin.after_exit", async () => {
  const process = await exec(["true"]);
  same(await process.wait(), 0);
  await rejects(() => process.stdin.writeText("x".repeat(100_000)), Error);
});

check("stdin.unread", async () => {
  const process = await exec(["sh", "-c", "sleep 1; echo slept"]);
  await process.stdin.writeText("ignored");
  await process.stdin.close();
  same(await process.stdout.readText(), "slept\n");
});

check("life.poll", async () => {
  const sandbox = await create({ command: ["sh", "-c", "sleep 1; exit 9"] });
  same(await sandbox.poll(), null);
  await eventually("an exit code", async () => (await sandbox.poll()) === 9);
});

check("life.wait", async () => {
  same(await (await create({ command: ["sh", "-c", "sleep 0.5; exit 42"] })).wait(), 42);
});

check("life.killed", async () => {
  same(await (await create({ command: ["sh", "-c", "kill -9 $$"] })).wait(), 137);
});

check("life.terminate", async () => {
  const sandbox = await create();
  await sandbox.terminate();
  same(await sandbox.wait(), 137);
  same(await sandbox.poll(), 137);
});

check("life.terminate_twice", async () => {
  const sandbox = await create();
  await sandbox.terminate();
  await sandbox.terminate();
});

check("life.timeout", async () => {
  same(await (await create({ command: ["sleep", "60"], timeout: 2000 })).wait(), 124);
});

check("life.from_id", async () => {
  const sandbox = await create();
  await run(["sh", "-c", "echo kept > /tmp/kept"], {}, sandbox);
  same(await run(["cat", "/tmp/kept"], {}, await modal.Sandbox.fromId(sandbox.sandboxId)), "kept\n");
});

check("life.from_id_ended", async () => {
  const sandbox = await create({ command: ["sh", "-c", "exit 4"] });
  await sandbox.wait();
  same(await (await modal.Sandbox.fromId(sandbox.sandboxId)).poll(), 4);
});

check("life.from_id_missing", async () => {
  await rejects(() => modal.Sandbox.fromId("sb-0123456789abcdefghijkl"), modal.NotFoundError);
});

check("stdio.stdout", async () => {
  const sandbox = await create({ command: ["sh", "-c", "echo out; echo err >&2"] });
  same(await Promise.all([sandbox.stdout.readText(), sandbox.stderr.readText()]), ["out\n", "err\n"]);
});

check("stdio.stdin", async () => {
  const sandbox = await create({ command: ["cat"] });
  await sandbox.stdin.writeText("from here");
  await sandbox.stdin.close();
  same(await sandbox.stdout.readText(), "from here");
  same(await sandbox.wait(), 0);
});

check("stdio.lines", async () => {
  const sandbox = await create({ command: ["sh", "-c", "echo one; read line; echo two $line; exec sleep 60"] });
  const reader = sandbox.stdout.getReader();
  same((await reader.read()).value, "one\n");
  await sandbox.stdin.writeText("x\n");
  same((await reader.read()).value, "two x\n");
});

check("stdio.after_end", async () => {
  const sandbox = await create({ command: ["sh", "-c", "echo kept"] });
  await sandbox.wait();
  same(await sandbox.stdout.readText(), "kept\n");
});

check("stdio.large", async () => {
  const sandbox = await create({ command: ["sh", "-c", "seq 1 200000"] });
  same((await sandbox.stdout.readText()).trimEnd().split("\n").length, 200_000, "lines");
});

check("stdio.unicode", async () => {
  const code = "import sys\nfor _ in range(5000): sys.stdout.write('ü🦀漢'); sys.stdout.flush()";
  same(await (await create({ command: ["python3", "-c", code] })).stdout.readText(), "ü🦀漢".repeat(5000));
});

check("stdio.unread", async () => {
  const command = ["sh", "-c", "head -c 8000000 /dev/zero | tr '\\0' x; exit 7"];
  same(await (await create({ command })).wait(), 7);
});

/** A new, empty directory of the sandbox. */
async function place() {
  const folder = `/tmp/${unique("files")}`;
  await run(["mkdir", folder]);
  return folder;
}

const text = (string) => new TextEncoder().encode(string);
const open = async (file, mode) => (await shared()).open(file, mode);

async function put(file, mode, content) {
  const handle = await open(file, mode);
  await handle.write(typeof content === "string" ? text(content) : content);
  await handle.close();
}

async function get(file, mode = "r") {
  const handle = await open(file, mode);
  const bytes = await handle.read();
  await handle.close();
  return bytes;
}

check("open.write_read", async () => {
  const file = `${await place()}/text`;
  await put(file, "w", "hello grüße");
  same(new TextDecoder().decode(await get(file)), "hello grüße");
  await put(file, "w", "new");
  same(await run(["cat", file]), "new");
});

check("open.binary", async () => {
  const file = `${await place()}/data`;
  const data = new Uint8Array(randomBytes(3 << 20));
  await put(file, "w", data);
  same(new Uint8Array(await get(file)), data);
});

check("open.append", async () => {
  const file = `${await place()}/log`;
  await put(file, "a", "one");
  await put(file, "a", "two");
  await put(file, "a+", "three");
  same(await run(["cat", file]), "onetwothree");
});

check("open.update", async () => {
  const file = `${await place()}/update`;
  await put(file, "w+", "0123456789");
  await put(file, "r+", "XY");
  same(await run(["cat", file]), "XY23456789");
});

check("open.flush", async () => {
  const file = `${await place()}/flushed`;
  const handle = await open(file, "w");
  await handle.write(text("seen before close"));
  await handle.flush();
  same(await run(["cat", file]), "seen before close");
  await handle.close();
});

check("open.errors", async () => {
  const folder = await place();
  await rejects(() => open(`${folder}/missing`, "r"), Error);
  await rejects(() => open(folder, "w"), Error);
});

check("open.reopen", async () => {
  const file = `${await place()}/handles`;
  const [first, second] = [await open(file, "w"), await open(file, "w")];
  await first.write(text("first"));
  await first.close();
  await second.write(text("2"));
  await second.close();
  same(await run(["cat", file]), "2irst");
});

async function server(port, options) {
  const sandbox = await create({ command: ["python3", "-c", SERVER, String(port)], ...options });
  const probe = `import socket; socket.create_connection(('127.0.0.1', ${port}), 2).close()`;
  await eventually(`a server on ${port}`, async () => (await (await sandbox.exec(["python3", "-c", probe])).wait()) === 0);
  return sandbox;
}

check("tunnel.tls", async () => {
  const tunnel = (await (await server(8000, { encryptedPorts: [8000] })).tunnels())[8000];
  const { status, body } = await fetchText(`${tunnel.url}/path?q=1`);
  same([status, JSON.parse(body).path], [200, "/path?q=1"]);
});

check("tunnel.plain", async () => {
  const tunnel = (await (await server(8001, { unencryptedPorts: [8001] })).tunnels())[8001];
  const [host, port] = tunnel.tcpSocket;
  same((await fetchText(`http://${host}:${port}/plain`)).status, 200);
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
  const [host, port] = (await (await create({ h2Ports: [8002] })).tunnels())[8002].tlsSocket;
  same(await negotiated(host, port), "h2");
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

check("tunnel.several", async () => {
  const sandbox = await create({ encryptedPorts: [8080], unencryptedPorts: [2222], h2Ports: [9090] });
  same(Object.keys(await sandbox.tunnels()).map(Number).sort((a, b) => a - b), [2222, 8080, 9090]);
});

check("tunnel.none", async () => {
  same(await (await create()).tunnels(), {});
});

check("secret.named", async () => {
  const sandbox = await create({ secrets: [await modal.Secret.fromName("interop-secret")] });
  same(await run(["sh", "-c", "echo $A $B"], {}, sandbox), "1 two words\n");
});

check("secret.missing", async () => {
  await rejects(() => modal.Secret.fromName(unique("missing")), modal.NotFoundError);
});

check("secret.required_keys", async () => {
  await modal.Secret.fromName("interop-secret", { requiredKeys: ["A"] });
  await rejects(() => modal.Secret.fromName("interop-secret", { requiredKeys: ["MISSING"] }), Error, "MISSING");
});

check("function.lookup", async () => {
  await rejects(() => modal.Function_.lookup("interop-missing", "missing"), modal.NotFoundError);
});

check("volume.mount", async () => {
  const volume = await modal.Volume.fromName(unique("volume"), { createIfMissing: true });
  same(await run(["touch", "/data/file"], {}, await create({ volumes: { "/data": volume } })), "");
});

check("snapshot.filesystem", async () => {
  const sandbox = await create();
  await run(["sh", "-c", "echo kept > /snapshotted"], {}, sandbox);
  const snapshot = await sandbox.snapshotFilesystem();
  const again = await (await app()).createSandbox(snapshot);
  cleanup(() => again.terminate());
  same(await run(["cat", "/snapshotted"], {}, again), "kept\n");
});

check("other.queue", async () => {
  const queue = await modal.Queue.ephemeral();
  await queue.put("item");
  same(await queue.get(), "item");
  queue.closeEphemeral();
});

check("error.unknown_sandbox", async () => {
  await rejects(() => modal.Sandbox.fromId("sb-0123456789abcdefghijkl"), modal.NotFoundError);
});

check("error.ended_sandbox", async () => {
  const sandbox = await create({ command: ["true"] });
  await sandbox.wait();
  await rejects(async () => (await sandbox.exec(["echo"])).wait(), Error);
});

// The credentials of this version are those of the whole program.
check("error.wrong_token", async () => {
  modal.initializeClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: "as-wrong" });
  try {
    await rejects(() => modal.App.lookup(unique("interop"), { createIfMissing: true }), code(UNAUTHENTICATED));
  } finally {
    modal.initializeClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: process.env.MODAL_TOKEN_SECRET });
  }
});

check("error.wrong_token_sandbox", async () => {
  const { sandboxId } = await create();
  modal.initializeClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: "as-wrong" });
  try {
    await rejects(() => modal.Sandbox.fromId(sandboxId), code(UNAUTHENTICATED));
  } finally {
    modal.initializeClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: process.env.MODAL_TOKEN_SECRET });
  }
});

check("error.unknown_environment", async () => {
  await rejects(() => modal.App.lookup("any", { environment: unique("missing") }), modal.NotFoundError);
});

await main();
