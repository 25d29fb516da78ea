// What the JavaScript programs share: the guard, the list of checks, and sandboxes that go away.
//
// A program registers its checks with `check("feature", async () => …)` and ends with `await main()`. Each check becomes
// one line on standard output, in the form that `interop/README.md` describes.

import net from "node:net";
import tls from "node:tls";
import { randomBytes } from "node:crypto";

function refuseUnlessLoopback() {
  // With no address at all the client would talk to the public service.
  let host = "";
  try {
    host = new URL(process.env.MODAL_SERVER_URL ?? "").hostname.replace(/^\[|\]$/g, "");
  } catch {
    // No URL: refused below.
  }
  if (!(host === "localhost" || host === "::1" || (net.isIPv4(host) && host.startsWith("127.")))) {
    console.error(`refusing to run: MODAL_SERVER_URL names ${host || "nothing"}, which is not this machine's loopback`);
    process.exit(2);
  }
}

refuseUnlessLoopback();

/** Milliseconds that one check may take, and that one wait within it may take. */
export const CHECK_DEADLINE = 60_000;
export const PATIENCE = 20_000;

const checks = [];
const cleanups = [];

/** This version of the client does not offer it. */
export class Absent extends Error {}

/** Something is not what it has to be. */
export class Mismatch extends Error {}

/** Registers a check of the feature with this name. */
export function check(feature, run) {
  checks.push([feature, run]);
}

/** Registers a feature that no version of this client offers. */
export function lacks(feature, why) {
  checks.push([
    feature,
    async () => {
      throw new Absent(why);
    },
  ]);
}

/** Runs when the program ends, whatever happened. */
export function cleanup(run) {
  cleanups.push(run);
}

/** Ends the check as absent unless the client has this. */
export function needs(value, name) {
  if (value === undefined || value === null) throw new Absent(`no ${name}`);
}

function short(value) {
  const text = typeof value === "string" ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
  return text.length <= 200 ? text : `${text.slice(0, 200)}… (${text.length} characters)`;
}

/** As text, with the keys of objects in order. */
function sorted(value) {
  const inOrder = (_, part) =>
    part && typeof part === "object" && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).sort()) : part;
  return JSON.stringify(value, inOrder);
}

export function same(actual, expected, what = "value") {
  const equal =
    actual instanceof Uint8Array && expected instanceof Uint8Array
      ? Buffer.compare(actual, expected) === 0
      : sorted(actual) === sorted(expected);
  if (!equal) throw new Mismatch(`${what} is ${short(actual)}, expected ${short(expected)}`);
}

export function holds(condition, what) {
  if (!condition) throw new Mismatch(what);
}

/** The error that this must throw: one of the kinds, or whatever the predicate takes. */
export async function rejects(run, kind, text = "") {
  let value;
  try {
    value = await run();
  } catch (error) {
    if (error instanceof Absent || error instanceof Mismatch) throw error;
    const fits = kind.prototype instanceof Error || kind === Error ? error instanceof kind : kind(error);
    if (fits && String(error.message).toLowerCase().includes(text.toLowerCase())) return error;
    if (sentence(error)) throw error;
    const wanted = kind.name || "another error";
    throw new Mismatch(`threw ${error?.constructor?.name}: ${error?.message}; expected ${wanted} ${text}`);
  }
  throw new Mismatch(`nothing was thrown, but returned ${short(value)}`);
}

/** Whether an error of the gRPC layer has this code. */
export const code = (number) => (error) => error?.code === number;

export const INVALID_ARGUMENT = 3;
export const NOT_FOUND = 5;
export const UNAUTHENTICATED = 16;

export function unique(prefix) {
  return `${prefix}-${randomBytes(5).toString("hex")}`;
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Asks until the answer is true, and returns it. */
export async function eventually(what, probe, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) throw new Mismatch(`not within ${patience / 1000} s: ${what}`);
    await sleep(20);
  }
}

/** Status and body of an answer over HTTP; TLS is verified against the roots of the environment. */
export async function fetchText(url, headers = {}) {
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(PATIENCE) });
  return { status: answer.status, body: await answer.text() };
}

/** The same, once something answers. */
export async function fetchEventually(url, headers = {}) {
  return eventually(`an answer of ${url}`, async () => {
    try {
      return await fetchText(url, headers);
    } catch {
      return undefined;
    }
  });
}

/** What comes back for a few bytes over TCP; undefined if nothing does. */
export function dialogue(host, port, text) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, timeout: PATIENCE }, () => socket.write(text));
    const done = (value) => {
      socket.destroy();
      resolve(value);
    };
    socket.on("data", (data) => done(data.toString()));
    for (const event of ["error", "end", "timeout"]) socket.on(event, () => done(undefined));
  });
}

/** Which of HTTP/2 and HTTP/1.1 the TLS side of a port chooses. */
export function negotiated(host, port) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host, port, servername: host, ALPNProtocols: ["h2", "http/1.1"] }, () => {
      resolve(socket.alpnProtocol);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

/** A web server for inside of a sandbox: answers with its path and the headers it was sent, as JSON. */
export const SERVER = `
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
`;

const IDS = /\b(sb|ta|im|ap|st|vo|mo|sn|fu|ctr)-[0-9A-Za-z]{10,}/g;

function oneLine(text) {
  return String(text).split(/\s+/).filter(Boolean).join(" ").replace(IDS, "$1-…").slice(0, 400);
}

/** What the server said when it answered UNIMPLEMENTED; undefined for any other error. */
function sentence(error) {
  for (let seen = error; seen; seen = seen.cause) {
    if (seen.code === 12) return oneLine(seen.details || seen.message);
    const found = /UNIMPLEMENTED: (.*)/s.exec(String(seen.message ?? ""));
    if (found) return oneLine(found[1]);
  }
  return undefined;
}

async function outcome(feature, run) {
  let timer;
  const overdue = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Mismatch(`not done after ${CHECK_DEADLINE / 1000} s`)), CHECK_DEADLINE);
  });
  try {
    await Promise.race([run(), overdue]);
    return `ok ${feature}`;
  } catch (error) {
    if (error instanceof Absent || /not supported (by experimentalCreate|for V2 sandboxes)/.test(String(error?.message))) {
      return `absent ${feature}: ${oneLine(error.message)}`;
    }
    const refusal = sentence(error);
    if (refusal !== undefined) {
      return refusal.split(" ").length < 4
        ? `not ok ${feature}: refused without a sentence: ${refusal}`
        : `refused ${feature}: ${refusal}`;
    }
    console.error(error);
    return `not ok ${feature}: ${error?.constructor?.name}: ${oneLine(error?.message ?? error)}`;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs the checks; with arguments, only those whose names contain one of them. */
export async function main() {
  const wanted = process.argv.slice(2);
  let failed = false;
  for (const [feature, run] of checks) {
    if (wanted.length > 0 && !wanted.some((part) => feature.includes(part))) continue;
    const started = Date.now();
    const line = await outcome(feature, run);
    failed ||= line.startsWith("not ok");
    console.log(line);
    console.error(`# ${feature}: ${((Date.now() - started) / 1000).toFixed(2)} s`);
  }
  await Promise.all(cleanups.map((run) => Promise.race([run().catch(() => {}), sleep(PATIENCE)])));
  process.exit(failed ? 1 : 0);
}

// A rejection that nobody waits for is no reason to lose the lines of the other checks.
process.on("unhandledRejection", (error) => console.error("unhandled:", error));
