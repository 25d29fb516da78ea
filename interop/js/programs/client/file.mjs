// Files of a sandbox: `sandbox.filesystem`, and the older `sandbox.open`.

import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { check, holds, lacks, main, modal, needs, rejects, run, same, shared, sleep, unique } from "./common.mjs";

async function files() {
  const { filesystem } = await shared();
  needs(filesystem, "filesystem");
  return filesystem;
}

/** A new, empty directory of the sandbox. */
async function place() {
  const folder = `/tmp/${unique("files")}`;
  await run(["mkdir", folder]);
  return folder;
}

check("file.text", async () => {
  const fs = await files();
  const file = `${await place()}/deep/er/text.txt`;
  await fs.writeText("grüße 🦀\n", file);
  same(await fs.readText(file), "grüße 🦀\n");
  same(await run(["cat", file]), "grüße 🦀\n", "what a command reads");
  await fs.writeText("shorter", file);
  same(await fs.readText(file), "shorter");
  await fs.writeText("", file);
  same(await fs.readText(file), "");
});

check("file.bytes", async () => {
  const fs = await files();
  const file = `${await place()}/data`;
  const data = new Uint8Array(randomBytes(2048));
  await fs.writeBytes(data, file);
  same(new Uint8Array(await fs.readBytes(file)), data);
});

check("file.large", async () => {
  const fs = await files();
  const file = `${await place()}/large`;
  const data = new Uint8Array(randomBytes(20 << 20));
  const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
  await fs.writeBytes(data, file);
  same((await run(["sha256sum", file])).split(" ")[0], digest(data));
  same(digest(await fs.readBytes(file)), digest(data));
});

check("file.copy", async () => {
  const fs = await files();
  const folder = await mkdtemp(path.join(tmpdir(), "interop-"));
  try {
    const here = path.join(folder, "here");
    const back = path.join(folder, "new", "back");
    await writeFile(here, "local \u0000 bytes");
    const remote = `${await place()}/sub/copied`;
    await fs.copyFromLocal(here, remote);
    await fs.copyToLocal(remote, back);
    same(await readFile(back, "utf8"), "local \u0000 bytes");
    await rejects(() => fs.copyToLocal(`${remote}-missing`, back), modal.SandboxFilesystemNotFoundError);
  } finally {
    await rm(folder, { recursive: true });
  }
});

check("file.list", async () => {
  const fs = await files();
  const folder = await place();
  await run(["sh", "-c", `cd ${folder} && echo 12345 > b && mkdir a && ln -s b c && touch .hidden && mkdir a/below`]);
  const entries = await fs.listFiles(folder);
  same(entries.map((entry) => entry.name), [".hidden", "a", "b", "c"]);
  same(entries.map((entry) => entry.type), ["file", "directory", "file", "symlink"]);
  same([entries[2].path, entries[2].size, entries[3].symlinkTarget], [`${folder}/b`, 6, "b"]);
});

check("file.stat", async () => {
  const fs = await files();
  const file = `${await place()}/file`;
  await run(["sh", "-c", `echo 123 > ${file} && chmod 4751 ${file} && touch -d @1700000000.25 ${file}`]);
  const info = await fs.stat(file);
  const shell = (await run(["stat", "-c", "%s %f %U %G", file])).trim();
  same(`${info.size} ${info.mode.toString(16)} ${info.owner} ${info.group}`, shell);
  same([info.permissions, info.modifiedTime, info.name, info.type], ["4751", 1700000000.25, "file", "file"]);
});

check("file.symlink", async () => {
  const fs = await files();
  const folder = await place();
  await run(["sh", "-c", `cd ${folder} && echo there > target && ln -s target link && ln -s nowhere broken`]);
  same(await fs.readText(`${folder}/link`), "there\n");
  same((await fs.stat(`${folder}/broken`)).symlinkTarget, "nowhere");
  await fs.remove(`${folder}/link`);
  same(await fs.readText(`${folder}/target`), "there\n");
});

check("file.make_directory", async () => {
  const fs = await files();
  const folder = await place();
  await fs.makeDirectory(`${folder}/a/b/c`);
  await fs.makeDirectory(`${folder}/a/b/c`);
  const alone = (name) => fs.makeDirectory(`${folder}/${name}`, { createParents: false });
  await alone("a/d");
  await rejects(() => alone("a/d"), modal.SandboxFilesystemPathAlreadyExistsError);
  await rejects(() => alone("x/y"), modal.SandboxFilesystemNotFoundError);
});

check("file.remove", async () => {
  const fs = await files();
  const folder = await place();
  await fs.writeText("x", `${folder}/dir/sub/file`);
  await rejects(() => fs.remove(`${folder}/dir`), modal.SandboxFilesystemDirectoryNotEmptyError);
  await fs.remove(`${folder}/dir`, { recursive: true });
  same(await fs.listFiles(folder), []);
});

check("file.error.not_found", async () => {
  const fs = await files();
  const missing = `${await place()}/missing`;
  for (const operation of ["readText", "readBytes", "listFiles", "stat", "remove"]) {
    await rejects(() => fs[operation](missing), modal.SandboxFilesystemNotFoundError);
  }
});

check("file.error.is_directory", async () => {
  const fs = await files();
  const folder = await place();
  await rejects(() => fs.readText(folder), modal.SandboxFilesystemIsADirectoryError);
  await rejects(() => fs.writeText("x", folder), modal.SandboxFilesystemIsADirectoryError);
});

check("file.error.not_a_directory", async () => {
  const fs = await files();
  const file = `${await place()}/file`;
  await fs.writeText("x", file);
  await rejects(() => fs.listFiles(file), modal.SandboxFilesystemNotADirectoryError);
  await rejects(() => fs.stat(`${file}/below`), modal.SandboxFilesystemNotADirectoryError);
  await rejects(() => fs.writeText("x", `${file}/below`), modal.SandboxFilesystemNotADirectoryError);
});

check("file.error.permission", async () => {
  const fs = await files();
  await rejects(() => fs.writeText("x", "/proc/sys/kernel/panic"), modal.SandboxFilesystemPermissionError);
});

check("file.error.too_large", async () => {
  const fs = await files();
  const file = `${await place()}/sparse`;
  await run(["truncate", "-s", "6G", file]);
  await rejects(() => fs.readBytes(file), modal.SandboxFilesystemFileTooLargeError);
});

check("file.error.relative_path", async () => {
  const fs = await files();
  await rejects(() => fs.readText("relative"), modal.InvalidError);
});

check("file.error.device", async () => {
  const fs = await files();
  const file = `${await place()}/fifo`;
  await run(["mkfifo", file]);
  await rejects(() => fs.readText(file), modal.SandboxFilesystemError);
});

check("file.many", async () => {
  const fs = await files();
  const folder = await place();
  await run(["sh", "-c", `cd ${folder} && seq -f file%05g 3000 | xargs touch`]);
  const names = (await fs.listFiles(folder)).map((entry) => entry.name);
  same([names.length, names[0], names[2999]], [3000, "file00001", "file03000"]);
});

check("file.odd_names", async () => {
  const fs = await files();
  const folder = await place();
  for (const name of ["with space", "quote'\"", "new\nline", "-dash", "ünï🦀", "$(dollar)"]) {
    await fs.writeText(name, `${folder}/${name}`);
    same(await fs.readText(`${folder}/${name}`), name);
  }
  same((await fs.listFiles(folder)).length, 6);
});

/** Collects events of a watch while others make them, until the expected one came. */
async function watched(event, expected, params) {
  const fs = await files();
  needs(fs.watch, "filesystem.watch");
  const folder = await place();
  let stop = false;
  // The watch starts some time after the call: make events until one is seen.
  const churn = (async () => {
    for (let number = 0; !stop; number++) {
      await run(["sh", "-c", event(folder, number)]);
      await sleep(200);
    }
  })();
  try {
    for await (const found of fs.watch(folder, { timeoutMs: 30_000, ...params })) {
      if (expected(folder, found)) return;
    }
    holds(false, "the watch ended without the event");
  } finally {
    stop = true;
    await churn;
  }
}

check("file.watch", async () => {
  await watched(
    (folder, number) => `echo x > ${folder}/new-${number}`,
    (folder, event) => event.eventType === "Create" && event.paths[0].startsWith(`${folder}/new-`),
  );
});

check("file.watch_filter", async () => {
  const seen = new Set();
  await watched(
    (folder) => `echo x > ${folder}/f && rm ${folder}/f`,
    (_, event) => seen.add(event.eventType).has("Remove"),
    { filter: ["Remove"] },
  );
  same([...seen], ["Remove"]);
});

check("file.watch_recursive", async () => {
  await watched(
    (folder, number) => `mkdir -p ${folder}/a/b && echo ${number} >> ${folder}/a/b/f`,
    (folder, event) => event.paths.some((found) => found.startsWith(`${folder}/a/b/`)),
    { recursive: true },
  );
});

check("file.watch_ends", async () => {
  const fs = await files();
  needs(fs.watch, "filesystem.watch");
  const started = Date.now();
  for await (const event of fs.watch(await place(), { timeoutMs: 1000 })) holds(false, `event ${event.eventType}`);
  holds(Date.now() - started < 20_000, "long after the timeout");
});

const text = (string) => new TextEncoder().encode(string);

/** Opens a file the older way, writes, and closes it again. */
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

async function open(file, mode) {
  const sandbox = await shared();
  needs(sandbox.open, "Sandbox.open");
  return sandbox.open(file, mode);
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

lacks("open.exclusive", "no mode for it");
lacks("open.seek", "no seek");
lacks("open.lines", "no readline");
lacks("open.ls", "no ls");
lacks("open.mkdir", "no mkdir");
lacks("open.rm", "no rm");
lacks("open.watch", "no watch");

await main();
