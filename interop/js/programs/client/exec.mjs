// Commands in a running sandbox: output, input, exit, environment, time, terminals.

import { createHash, randomBytes } from "node:crypto";
import { check, client, create, holds, lacks, main, rejects, run, same, shared } from "./common.mjs";

const exec = async (command, options) => (await shared()).exec(command, options);

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

check("exec.env", async () => {
  same(await run(["sh", "-c", 'echo "$A"'], { env: { A: "1 2" } }), "1 2\n");
});

check("exec.secrets", async () => {
  const secret = await client.secrets.fromObject({ TOKEN: "hidden", BOTH: "secret" });
  same(await run(["sh", "-c", "echo $TOKEN $BOTH"], { secrets: [secret], env: { BOTH: "env" } }), "hidden env\n");
  same(await run(["sh", "-c", "echo ${TOKEN-none}"]), "none\n", "the secret in the next exec");
});

check("exec.timeout", async () => {
  const started = Date.now();
  const command = await exec(["sleep", "60"], { timeoutMs: 1000 });
  // A wait that fails at first is tried again by the client until the same deadline, and then it says so.
  const late = (error) => (process.env.INTEROP_FAULTS && error.message === "Deadline exceeded" ? 137 : Promise.reject(error));
  same(await command.wait().catch(late), 137);
  const took = Date.now() - started;
  holds(took > 800 && took < 15_000, `after ${took} ms`);
});

check("exec.live_lines", async () => {
  const process = await exec(["sh", "-c", "echo first; read line; echo second $line"]);
  const reader = process.stdout.getReader();
  same((await reader.read()).value, "first\n", "output while the command still runs");
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
  const size = 16 * 1024 * 1024;
  const process = await exec(["sh", "-c", `head -c ${size} /dev/zero`], { mode: "binary" });
  const bytes = await process.stdout.readBytes();
  same(bytes.length, size, "bytes");
  holds(bytes.every((byte) => byte === 0), "other bytes than were written");
});

check("exec.unread_output", async () => {
  same(await (await exec(["sh", "-c", "head -c 4000000 /dev/zero; head -c 4000000 /dev/zero >&2"])).wait(), 0);
});

check("exec.devnull", async () => {
  const process = await exec(["sh", "-c", "head -c 1000000 /dev/zero; echo err >&2"], { stdout: "ignore" });
  same(await process.stderr.readText(), "err\n");
  same(await process.stdout.readText(), "");
  same(await process.wait(), 0);
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

check("exec.pty", async () => {
  const process = await exec(["sh", "-c", "test -t 0 && test -t 1 && echo a terminal; stty size; echo err >&2"], { pty: true });
  const text = (await process.stdout.readText()).replaceAll("\r", "");
  holds(text.includes("a terminal\n") && text.includes("err\n"), `it said ${JSON.stringify(text)}`);
  holds(text.includes("24 80\n"), `the size of the terminal: ${JSON.stringify(text)}`);
  same(await process.wait(), 0);
});

check("exec.pty_input", async () => {
  const process = await exec(["sh", "-c", 'read line; echo "got $line"'], { pty: true });
  await process.stdin.writeText("typed\n");
  holds((await process.stdout.readText()).includes("got typed"), "the terminal did not pass the line on");
  same(await process.wait(), 0);
});

check("exec.concurrent", async () => {
  const numbers = Array.from({ length: 32 }, (_, number) => number);
  same(await Promise.all(numbers.map((number) => run(["echo", String(number)]))), numbers.map((number) => `${number}\n`));
});

check("exec.many_lines", async () => {
  const lines = (await run(["seq", "20000"])).trimEnd().split("\n");
  same(lines.filter((line, index) => line === `${index + 1}`).length, 20_000, "lines in order");
});

lacks("exec.poll", "no ContainerProcess.poll");
lacks("exec.text_by_line", "streams have no mode for lines");
lacks("exec.asyncio", "Python's");
lacks("stdin.with_eof", "close is a call of its own");

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
  same(await process.wait(), 0);
});

check("stdin.eof", async () => {
  const process = await exec(["sh", "-c", "cat >/dev/null; echo at the end"]);
  if (process.closeStdin) await process.closeStdin();
  else await process.stdin.close();
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
  const data = new Uint8Array(randomBytes(8 * 1024 * 1024));
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

await main();
