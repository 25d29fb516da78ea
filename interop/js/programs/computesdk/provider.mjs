// The `computesdk` package with `@computesdk/modal`: every method of the provider, and what its users expect of them.

import {
  Mismatch, SERVER, check, cleanup, eventually, fetchEventually, holds, main, rejects, same, sleep, unique,
} from "../harness.mjs";
import { modal } from "@computesdk/modal";
import { compute } from "computesdk";

const provider = modal({ appName: unique("interop") });
compute.setConfig({ provider });

async function create(options) {
  const sandbox = await compute.sandbox.create(options);
  cleanup(() => sandbox.destroy());
  return sandbox;
}

let made;
const shared = () => (made ??= create());

async function run(command, options) {
  const result = await (await shared()).runCommand(command, options);
  if (result.exitCode !== 0) throw new Mismatch(`${command} ended with ${result.exitCode}: ${result.stderr}`);
  return result.stdout;
}

check("provider.create", async () => {
  const sandbox = await create();
  holds(typeof sandbox.sandboxId === "string" && sandbox.sandboxId.startsWith("sb-"), `id ${sandbox.sandboxId}`);
  same(sandbox.provider, "modal");
  same(await (await sandbox.runCommand("node --version")).exitCode, 0, "exit code of node");
  // The default image has no command of its own that stays: the sandbox has to.
  await sleep(1500);
  same((await sandbox.getInfo()).status, "running");
});

check("provider.create_options", async () => {
  const name = unique("named");
  const sandbox = await create({ envs: { GIVEN: "a b" }, timeout: 60_000, name, cpu: 0.5, memoryMiB: 256 });
  same((await sandbox.runCommand("printenv GIVEN")).stdout, "a b\n");
  await rejects(() => create({ name }), Error, "already exists");
});

check("provider.create_template", async () => {
  const sandbox = await create({ templateId: "python:3.13-slim" });
  holds((await sandbox.runCommand("python3 --version")).stdout.startsWith("Python 3"), "no python3");
});

check("provider.create_scalable", async () => {
  const sandbox = await create({ scalableSandboxes: true });
  same(sandbox.sandboxId.length, 29, "length of the id");
  same((await sandbox.runCommand("echo second family")).stdout, "second family\n");
  same((await sandbox.getInfo()).status, "running");
});

check("provider.create_aborted", async () => {
  const controller = new AbortController();
  const creating = create({ signal: controller.signal });
  controller.abort();
  await rejects(() => creating, (error) => error.name === "AbortError");
});

check("provider.get_by_id", async () => {
  const sandbox = await shared();
  const again = await compute.sandbox.getById(sandbox.sandboxId);
  same(again?.sandboxId, sandbox.sandboxId);
  same((await again.runCommand("echo again")).stdout, "again\n");
  same(await compute.sandbox.getById("sb-0123456789abcdefghijkl"), null);
  same(await compute.sandbox.getById("no-sandbox"), null);
});

check("provider.list", async () => {
  await rejects(() => compute.sandbox.list(), Error, "does not support listing");
});

check("provider.destroy", async () => {
  const sandbox = await create();
  await sandbox.destroy();
  const again = await compute.sandbox.getById(sandbox.sandboxId);
  holds(again === null || (await again.getInfo()).status !== "running", "it still runs");
  await compute.sandbox.destroy(sandbox.sandboxId);
});

check("provider.get_info", async () => {
  const sandbox = await create();
  const info = await sandbox.getInfo();
  same([info.id, info.provider, info.status], [sandbox.sandboxId, "modal", "running"]);
  await sandbox.destroy();
  await eventually("that it is not running", async () => (await sandbox.getInfo()).status === "error");
});

check("provider.get_instance", async () => {
  const sandbox = await shared();
  same(sandbox.getInstance().sandboxId, sandbox.sandboxId);
  same(sandbox.getProvider().name, "modal");
});

check("provider.run_command", async () => {
  const sandbox = await shared();
  const result = await sandbox.runCommand("echo out; echo err >&2; exit 3");
  same([result.stdout, result.stderr, result.exitCode], ["out\n", "err\n", 3]);
  holds(result.durationMs >= 0, "no duration");
});

check("provider.run_command_quoting", async () => {
  same(await run(`sh -c 'echo "hello world"'`), "hello world\n");
  same(await run(`sh -c 'echo "test content" > /tmp/quoted && cat /tmp/quoted'`), "test content\n");
  holds((await run(`sh -c 'echo "$HOME"'`)).trim() !== "", "no home");
  same(await run("printf '%s' 'a  b' | tr a-z A-Z"), "A  B");
});

check("provider.run_command_env", async () => {
  same(await run('echo "$A-$B"', { env: { A: 'quote " and $dollar', B: "`tick`" } }), "-\n");
  same(await run("printenv A", { env: { A: 'quote " and $dollar `tick` \\' } }), 'quote " and $dollar `tick` \\\n');
});

check("provider.run_command_cwd", async () => {
  same(await run("pwd", { cwd: "/usr/share" }), "/usr/share\n");
});

check("provider.run_command_missing", async () => {
  const result = await (await shared()).runCommand("no-such-command-12345");
  same(result.exitCode, 127);
  holds(result.stderr.includes("no-such-command-12345"), `stderr ${result.stderr}`);
});

check("provider.run_command_background", async () => {
  const started = Date.now();
  same(await run("sleep 30", { background: true }), "");
  holds(Date.now() - started < 10_000, "it waited for the command");
  same((await (await shared()).runCommand("pgrep -x sleep")).exitCode, 0, "whether it runs");
});

check("provider.run_command_large", async () => {
  same((await run("head -c 3000000 /dev/zero | tr '\\0' x")).length, 3_000_000, "characters");
});

check("provider.stream_stdout", async () => {
  const sandbox = await create();
  const chunks = [];
  const started = Date.now();
  const result = await sandbox.runCommand("for n in 1 2 3; do echo tick $n; sleep 1; done", {
    onStdout: (data) => chunks.push([Date.now() - started, data]),
  });
  same(result.exitCode, 0);
  same(chunks.map(([, data]) => data).join(""), "tick 1\ntick 2\ntick 3\n");
  const took = Date.now() - started;
  holds(chunks[0][0] < took - 1500, `the first chunk came after ${chunks[0][0]} ms of ${took} ms: nothing was live`);
});

check("provider.stream_stderr", async () => {
  const sandbox = await create();
  let [out, err] = ["", ""];
  const result = await sandbox.runCommand("echo out; echo err >&2; exit 4", {
    onStdout: (data) => (out += data),
    onStderr: (data) => (err += data),
  });
  same([result.exitCode, out, err, result.stdout, result.stderr], [4, "out\n", "err\n", "out\n", "err\n"]);
  // Again: the daemon is reused.
  out = "";
  same((await sandbox.runCommand("echo again", { onStdout: (data) => (out += data) })).exitCode, 0);
  same(out, "again\n");
});

check("provider.stream_background", async () => {
  const sandbox = await shared();
  await rejects(() => sandbox.runCommand("true", { background: true, onStdout: () => {} }), Error, "background");
});

check("provider.get_url", async () => {
  const sandbox = await create({ ports: [3000] });
  await sandbox.filesystem.writeFile("/tmp/server.py", SERVER);
  await sandbox.runCommand("python3 /tmp/server.py 3000", { background: true });
  const url = await sandbox.getUrl({ port: 3000 });
  holds(url.startsWith("https://"), `url ${url}`);
  const { status, body } = await fetchEventually(`${url}/hello`);
  same([status, JSON.parse(body).path], [200, "/hello"]);
  holds((await sandbox.getUrl({ port: 3000, protocol: "wss" })).startsWith("wss://"), "no wss");
  await rejects(() => sandbox.getUrl({ port: 4000 }), Error, "Available ports: 3000, 38989");
});

check("provider.write_read", async () => {
  const { filesystem } = await shared();
  await filesystem.writeFile("/tmp/file.txt", "Hello, grüße 🦀!\nsecond line\n");
  same(await filesystem.readFile("/tmp/file.txt"), "Hello, grüße 🦀!\nsecond line\n");
  await filesystem.writeFile("/tmp/file.txt", "");
  same(await filesystem.readFile("/tmp/file.txt"), "");
  const large = "x".repeat(2_000_000);
  await filesystem.writeFile("/tmp/large.txt", large);
  holds((await filesystem.readFile("/tmp/large.txt")) === large, "another content");
});

check("provider.read_missing", async () => {
  const { filesystem } = await shared();
  await rejects(() => filesystem.readFile("/no/such/file.txt"), Error, "Failed to read file /no/such/file.txt");
});

check("provider.mkdir", async () => {
  const { filesystem } = await shared();
  await filesystem.mkdir("/tmp/made/deep");
  same(await filesystem.exists("/tmp/made/deep"), true);
  await filesystem.mkdir("/tmp/made/deep");
});

check("provider.readdir", async () => {
  const { filesystem } = await shared();
  await filesystem.mkdir("/tmp/listed/below");
  await filesystem.writeFile("/tmp/listed/one.txt", "1234");
  const entries = await filesystem.readdir("/tmp/listed");
  const found = Object.fromEntries(entries.map((entry) => [entry.name, entry]));
  same([found["one.txt"].type, found["one.txt"].size, found.below.type], ["file", 4, "directory"]);
  await rejects(() => filesystem.readdir("/no/such/directory"), Error, "ls failed");
});

check("provider.exists", async () => {
  const { filesystem } = await shared();
  same([await filesystem.exists("/etc"), await filesystem.exists("/no/such")], [true, false]);
});

check("provider.remove", async () => {
  const { filesystem } = await shared();
  await filesystem.writeFile("/tmp/removed/file", "x").catch(() => undefined);
  await filesystem.mkdir("/tmp/removed");
  await filesystem.writeFile("/tmp/removed/file", "x");
  await filesystem.remove("/tmp/removed");
  same(await filesystem.exists("/tmp/removed"), false);
});

check("provider.snapshot", async () => {
  const sandbox = await create();
  await sandbox.runCommand("echo kept > /snapshotted");
  const snapshot = await compute.snapshot.create(sandbox.sandboxId);
  const again = await create({ snapshotId: snapshot.id });
  same((await again.runCommand("cat /snapshotted")).stdout, "kept\n");
  await compute.snapshot.delete(snapshot.id);
});

check("provider.snapshot_list", async () => {
  same(await compute.snapshot.list(), []);
});

check("provider.concurrent", async () => {
  const sandboxes = await Promise.all(Array.from({ length: 20 }, () => create()));
  const results = await Promise.all(sandboxes.map((sandbox, number) => sandbox.runCommand(`echo ${number}`)));
  same(results.map((result) => result.stdout), sandboxes.map((_, number) => `${number}\n`));
  await Promise.all(sandboxes.map((sandbox) => sandbox.destroy()));
});

check("provider.wrong_token", async () => {
  const other = modal({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: "as-wrong" });
  await rejects(() => other.sandbox.create(), Error, "authentication failed");
});

await main();
