// Everything that versions around 0.3 offer: `App.lookup`, `app.createSandbox`, and what a sandbox can do.

import { createHash, randomBytes } from "node:crypto";
import net from "node:net";
import * as modal from "modal";
import {
  Absent, Mismatch, PATIENCE, SERVER, check, cleanup, eventually, fetchText, holds, main, needs, rejects, same, unique,
} from "../harness.mjs";

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

// The credentials of this version are those of the whole program.
check("error.wrong_token", async () => {
  modal.initializeClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: "as-wrong" });
  try {
    await rejects(() => modal.App.lookup(unique("interop"), { createIfMissing: true }), (error) => error?.code === 16);
  } finally {
    modal.initializeClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: process.env.MODAL_TOKEN_SECRET });
  }
});

await main();
