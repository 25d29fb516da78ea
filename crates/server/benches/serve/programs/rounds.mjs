// Makes a sandbox and reads the first output of a command in it, whenever it is told to.

import { createInterface } from "node:readline";

if (new URL(process.env.MODAL_SERVER_URL ?? "http://nowhere").hostname !== "127.0.0.1") {
  throw new Error("refusing to run: MODAL_SERVER_URL is not this machine's loopback");
}

const { ModalClient } = await import("modal");

const client = new ModalClient();
const app = await client.apps.fromName("bench", { createIfMissing: true });
const image = client.images.fromRegistry("debian:12-slim");
let sandbox;
let command;

for await (const line of createInterface({ input: process.stdin })) {
  let answer = "done";
  if (line === "make") {
    const begun = performance.now();
    sandbox = await client.sandboxes.create(app, image, { command: ["sleep", "infinity"], timeoutMs: 600_000 });
    command = await sandbox.exec(["echo", "hello"]);
    const { value } = await command.stdout.getReader().read();
    answer = performance.now() - begun;
    if (value !== "hello\n") throw new Error(`echo said ${value}`);
  } else if (line === "end") {
    if ((await command.wait()) !== 0) throw new Error("echo failed");
    await sandbox.terminate();
  }
  console.log(answer);
}
client.close();
