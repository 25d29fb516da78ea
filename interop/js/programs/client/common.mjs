// One client, one app, and sandboxes of the family that `INTEROP_FAMILY` names, for the versions with `ModalClient`.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";
import * as harness from "../harness.mjs";
import * as modal from "modal";

export * from "../harness.mjs";
export { modal };

const entry = createRequire(import.meta.url).resolve("modal");
const { version } = JSON.parse(readFileSync(path.join(path.dirname(entry), "..", "package.json"), "utf8"));

/** Such as 0.11. */
export const VERSION = version.split(".").slice(0, 2).map(Number);
/** Whether the version is at least this one. */
export const since = (major, minor) => VERSION[0] > major || (VERSION[0] === major && VERSION[1] >= minor);

export const client = new modal.ModalClient();

/** `v2` makes sandboxes with `experimentalCreate` where a plain `create` would make those of the first family. */
const experimental = process.env.INTEROP_FAMILY === "v2" && !since(0, 9);
/** Whether sandboxes are of the second family. */
export const V2 = experimental || (since(0, 9) && process.env.MODAL_SANDBOX_V2 !== "0");

const made = {};

export function appName() {
  made.name ??= harness.unique("interop");
  return made.name;
}

export function app() {
  made.app ??= client.apps.fromName(appName(), { createIfMissing: true });
  return made.app;
}

export const image = () => client.images.fromRegistry("debian:12-slim");

/** Terminates this one when the program ends. */
export function keep(sandbox) {
  harness.cleanup(async () => {
    // The handle may be closed; another one is not.
    await (await client.sandboxes.fromId(sandbox.sandboxId)).terminate();
  });
  return sandbox;
}

/** A sandbox by its id. Later versions ask the server only when the handle is used. */
export async function byId(id, from = client) {
  const sandbox = await from.sandboxes.fromId(id);
  await sandbox.poll();
  return sandbox;
}

export const notFound = (error) => error instanceof modal.NotFoundError || error?.code === harness.NOT_FOUND;

/** A sandbox that is terminated when the program ends. */
export async function create({ image: from = image(), app: inApp, ...options } = {}) {
  const service = client.sandboxes;
  const method = experimental ? service.experimentalCreate : service.create;
  return keep(await method.call(service, inApp ?? (await app()), from, options));
}

/** A sandbox that the checks of this program share. */
export function shared() {
  made.shared ??= create();
  return made.shared;
}

/** What a command writes, as text, after it ended well. */
export async function run(command, options = {}, sandbox = undefined) {
  const process = await (sandbox ?? (await shared())).exec(command, options);
  const [output, errors, exit] = await Promise.all([process.stdout.readText(), process.stderr.readText(), process.wait()]);
  if (exit !== 0) throw new harness.Mismatch(`${JSON.stringify(command)} ended with ${exit}: ${errors}`);
  return output;
}

/** A sandbox with a web server on this port, once that answers there. */
export async function server(port, options) {
  const sandbox = await create({ command: ["python3", "-c", harness.SERVER, String(port)], ...options });
  const probe = `import socket; socket.create_connection(('127.0.0.1', ${port}), 2).close()`;
  await harness.eventually(`a server on ${port}`, async () => {
    const process = await sandbox.exec(["python3", "-c", probe], { stdout: "ignore", stderr: "ignore" });
    return (await process.wait()) === 0;
  });
  return sandbox;
}
