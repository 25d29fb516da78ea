// Many sandboxes at once. `make N` answers with how many were made, and in how many milliseconds; `echo` with how many of them
// ran a command.

import { createInterface } from "node:readline";

if (new URL(process.env.MODAL_SERVER_URL ?? "http://nowhere").hostname !== "127.0.0.1") {
  throw new Error("refusing to run: MODAL_SERVER_URL is not this machine's loopback");
}

const { ModalClient } = await import("modal");

const client = new ModalClient();
const app = await client.apps.fromName("bench", { createIfMissing: true });
const image = client.images.fromRegistry("debian:12-slim");
const options = { command: ["sleep", "infinity"], timeoutMs: 600_000 };
let live = [];

/** Those that went well; the first trouble is told. */
async function wellOf(promises) {
  const settled = await Promise.allSettled(promises);
  const failed = settled.filter(({ status }) => status === "rejected");
  if (failed.length > 0) console.error(`${failed.length} failed, the first with ${failed[0].reason}`);
  return settled.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
}

async function echo(sandbox) {
  const command = await sandbox.exec(["echo", sandbox.sandboxId]);
  const said = await command.stdout.readText();
  if (said !== `${sandbox.sandboxId}\n`) throw new Error(`echo said ${said}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const [word, count] = line.split(" ");
  let answer = "done";
  if (word === "make") {
    const begun = performance.now();
    live = await wellOf(Array.from({ length: Number(count) }, () => client.sandboxes.create(app, image, options)));
    answer = `${live.length} ${performance.now() - begun}`;
  } else if (word === "echo") {
    answer = (await wellOf(live.map(echo))).length;
  } else if (word === "end") {
    await wellOf(live.map((sandbox) => sandbox.terminate()));
    live = [];
  }
  console.log(answer);
}
client.close();
