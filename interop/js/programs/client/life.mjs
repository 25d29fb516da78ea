// How sandboxes live and end, their main command's stdio, how they are found again, names, tags and lists.

import {
  Absent, byId, notFound, V2, app, appName, check, client, create, eventually, holds, lacks, main, modal, needs, rejects, run, same, since,
  unique,
} from "./common.mjs";

check("life.poll", async () => {
  const sandbox = await create({ command: ["sh", "-c", "sleep 1; exit 9"] });
  same(await sandbox.poll(), null, "poll while it runs");
  same(await eventually("an exit code", async () => ((await sandbox.poll()) === 9 ? "9" : "")), "9");
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
  const again = await client.sandboxes.fromId(sandbox.sandboxId);
  same(await again.wait(), 137);
  same(await again.poll(), 137);
});

check("life.terminate_and_wait", async () => {
  const sandbox = await create();
  const exit = await sandbox.terminate({ wait: true });
  if (exit === undefined) throw new Absent("terminate takes no wait");
  same(exit, 137);
});

check("life.terminate_twice", async () => {
  const sandbox = await create();
  await sandbox.terminate();
  await (await client.sandboxes.fromId(sandbox.sandboxId)).terminate();
  const ended = await create({ command: ["true"] });
  await ended.wait();
  await (await client.sandboxes.fromId(ended.sandboxId)).terminate();
  same(await (await client.sandboxes.fromId(ended.sandboxId)).poll(), 0);
});

check("life.timeout", async () => {
  const started = Date.now();
  const sandbox = await create({ command: ["sleep", "60"], timeoutMs: 2000 });
  same(await sandbox.wait(), 124);
  const took = Date.now() - started;
  holds(took > 1000 && took < 20_000, `after ${took} ms`);
});

check("life.idle_timeout", async () => {
  const started = Date.now();
  const sandbox = await create({ idleTimeoutMs: 2000, timeoutMs: 120_000 });
  holds((await sandbox.wait()) !== 0, "it ended as if all were well");
  holds(Date.now() - started < 30_000, "long after it was idle");
});

check("life.idle_timeout_busy", async () => {
  // An exec that runs is no idleness.
  const sandbox = await create({ idleTimeoutMs: 2000, timeoutMs: 120_000 });
  same(await run(["sh", "-c", "sleep 4; echo busy"], {}, sandbox), "busy\n");
});

lacks("life.terminate_raises", "`wait` returns the exit code");
lacks("life.asyncio", "Python's");
lacks("life.stats", "no statistics");

check("life.from_id", async () => {
  const sandbox = await create();
  await run(["sh", "-c", "echo kept > /tmp/kept"], {}, sandbox);
  const again = await client.sandboxes.fromId(sandbox.sandboxId);
  same(await run(["cat", "/tmp/kept"], {}, again), "kept\n");
  same(await again.poll(), null);
});

check("life.from_id_ended", async () => {
  const sandbox = await create({ command: ["sh", "-c", "exit 4"] });
  await sandbox.wait();
  same(await (await client.sandboxes.fromId(sandbox.sandboxId)).poll(), 4);
});

check("life.from_id_missing", async () => {
  const missing = V2 ? "sb-01K5ZZZZZZZZZZZZZZZZZZZZZZ" : "sb-0123456789abcdefghijkl";
  await rejects(() => byId(missing), notFound);
});

check("life.detach", async () => {
  const sandbox = await create();
  needs(sandbox.detach, "detach");
  sandbox.detach();
  await rejects(() => sandbox.exec(["true"]), modal.ClientClosedError);
  same(await run(["echo", "still there"], {}, await client.sandboxes.fromId(sandbox.sandboxId)), "still there\n");
});

check("life.second_client", async () => {
  const sandbox = await create();
  const second = new modal.ModalClient();
  try {
    same(await run(["echo", "second"], {}, await second.sandboxes.fromId(sandbox.sandboxId)), "second\n");
  } finally {
    second.close();
  }
});

check("stdio.stdout", async () => {
  const sandbox = await create({ command: ["sh", "-c", "echo out; echo err >&2"] });
  same(await Promise.all([sandbox.stdout.readText(), sandbox.stderr.readText()]), ["out\n", "err\n"]);
});

check("stdio.lines", async () => {
  const sandbox = await create({ command: ["sh", "-c", "echo one; read line; echo two $line; exec sleep 60"] });
  const reader = sandbox.stdout.getReader();
  same((await reader.read()).value, "one\n");
  await sandbox.stdin.writeText("x\n");
  same((await reader.read()).value, "two x\n");
});

check("stdio.stdin", async () => {
  const sandbox = await create({ command: ["cat"] });
  await sandbox.stdin.writeText("from ");
  await sandbox.stdin.writeText("here");
  await sandbox.stdin.close();
  same(await sandbox.stdout.readText(), "from here");
  same(await sandbox.wait(), 0);
});

check("stdio.large", async () => {
  const sandbox = await create({ command: ["sh", "-c", "seq 1 200000"] });
  const text = await sandbox.stdout.readText();
  same(text.trimEnd().split("\n").length, 200_000, "lines");
});

check("stdio.unicode", async () => {
  const code = "import sys\nfor _ in range(5000): sys.stdout.write('ü🦀漢'); sys.stdout.flush()";
  const sandbox = await create({ command: ["python3", "-c", code] });
  same(await sandbox.stdout.readText(), "ü🦀漢".repeat(5000));
});

check("stdio.after_end", async () => {
  const sandbox = await create({ command: ["sh", "-c", "echo kept"] });
  await sandbox.wait();
  same(await (await client.sandboxes.fromId(sandbox.sandboxId)).stdout.readText(), "kept\n");
});

check("stdio.unread", async () => {
  const sandbox = await create({ command: ["sh", "-c", "head -c 8000000 /dev/zero | tr '\\0' x; exit 7"] });
  same(await sandbox.wait(), 7);
});

check("logs.tail", async () => {
  const sandbox = await create({ command: ["sh", "-c", "for n in 1 2 3; do echo line $n; done; echo err >&2"] });
  needs(sandbox.logs, "logs");
  await sandbox.wait();
  const tail = async (options) => {
    let text = "";
    for await (const entry of sandbox.logs.tail(options)) text += entry.message;
    return text;
  };
  await eventually("all lines", async () => {
    const text = await tail();
    return text.includes("line 3") && text.includes("err");
  });
  same(await tail({ source: "stderr" }), "err\n");
});

check("logs.fetch", async () => {
  const sandbox = await create({ command: ["sh", "-c", "echo first; sleep 60"] });
  needs(sandbox.logs, "logs");
  await eventually("the line", async () => {
    let text = "";
    for await (const entry of sandbox.logs.fetch({ since: new Date(Date.now() - 60_000) })) text += entry.message;
    return text === "first\n";
  });
});

check("name.from_name", async () => {
  const name = unique("named");
  const sandbox = await create({ name });
  const found = await byName(name);
  same(found.sandboxId, sandbox.sandboxId);
  same(await run(["echo", "by name"], {}, found), "by name\n");
});

/** Version 0.7 has no lookup by name for sandboxes of the second family. */
function byName(name) {
  if (V2 && !since(0, 9)) throw new Absent("fromName is not supported for V2 sandboxes");
  return client.sandboxes.fromName(appName(), name);
}

check("name.missing", async () => {
  await app();
  await rejects(() => client.sandboxes.fromName(appName(), unique("missing")), modal.NotFoundError);
});

check("name.duplicate", async () => {
  const name = unique("twice");
  await create({ name });
  await rejects(() => create({ name }), modal.AlreadyExistsError, "already exists");
});

check("name.free_again", async () => {
  const name = unique("again");
  await (await create({ name })).terminate();
  const second = await eventually("the name is free", () => create({ name }).catch(() => undefined));
  holds(second.sandboxId.startsWith("sb-"), "no second sandbox");
});

check("name.per_app", async () => {
  const [name, otherName] = [unique("shared"), unique("interop")];
  const other = await client.apps.fromName(otherName, { createIfMissing: true });
  const [here, there] = [await create({ name }), await create({ name, app: other })];
  same((await byName(name)).sandboxId, here.sandboxId);
  same((await client.sandboxes.fromName(otherName, name)).sandboxId, there.sandboxId);
});

check("name.include_terminated", async () => {
  if (!since(0, 11)) throw new Absent("fromName takes no includeTerminated");
  const name = unique("ended");
  const sandbox = await create({ name, command: ["sh", "-c", "exit 6"] });
  await sandbox.wait();
  const found = await client.sandboxes.fromName(appName(), name, { includeTerminated: true });
  same([found.sandboxId, await found.poll()], [sandbox.sandboxId, 6]);
});

check("name.set_later", async () => {
  const sandbox = await create();
  needs(sandbox.experimentalSetName, "experimentalSetName");
  const name = unique("later");
  try {
    await sandbox.experimentalSetName(name);
  } catch (error) {
    if (error instanceof modal.InvalidError && !V2) throw new Absent(error.message);
    throw error;
  }
  same((await client.sandboxes.experimentalFromName(appName(), name)).sandboxId, sandbox.sandboxId);
  await rejects(() => sandbox.experimentalSetName(unique("another")), modal.ConflictError);
});

check("tags.create", async () => {
  same(await (await create({ tags: { team: "a", kind: "x y" } })).getTags(), { team: "a", kind: "x y" });
});

check("tags.set", async () => {
  const sandbox = await create();
  same(await sandbox.getTags(), {});
  await sandbox.setTags({ new: "2", more: "3" });
  const tags = await sandbox.getTags();
  same([tags.new, tags.more, Object.keys(tags).length], ["2", "3", 2]);
  await sandbox.setTags({});
  same(await sandbox.getTags(), {});
});

async function listed(options) {
  if (V2 && !since(0, 9)) throw new Absent("list is not supported for V2 sandboxes");
  const found = [];
  for await (const sandbox of client.sandboxes.list(options)) found.push(sandbox.sandboxId);
  return found;
}

check("list.by_app", async () => {
  const ours = await client.apps.fromName(unique("interop"), { createIfMissing: true });
  const made = [];
  for (let number = 0; number < 3; number++) made.unshift((await create({ app: ours })).sandboxId);
  same(await listed({ appId: ours.appId }), made, "newest first");
});

check("list.by_tags", async () => {
  const ours = await client.apps.fromName(unique("interop"), { createIfMissing: true });
  const both = await create({ app: ours, tags: { a: "1", b: "2" } });
  await create({ app: ours, tags: { a: "1" } });
  same(await listed({ appId: ours.appId, tags: { a: "1", b: "2" } }), [both.sandboxId]);
  same((await listed({ appId: ours.appId, tags: { a: "1" } })).length, 2);
});

check("list.only_running", async () => {
  const ours = await client.apps.fromName(unique("interop"), { createIfMissing: true });
  const running = await create({ app: ours });
  await (await create({ app: ours, command: ["true"] })).wait();
  await eventually("only the running one", async () => {
    const found = await listed({ appId: ours.appId });
    return found.length === 1 && found[0] === running.sandboxId;
  });
});

check("list.across_apps", async () => {
  if (V2 && !since(0, 9)) throw new Absent("tags are not supported by experimentalCreate");
  const mark = unique("mark");
  const sandbox = await create({ tags: { mark } });
  same(await listed({ tags: { mark } }), [sandbox.sandboxId]);
});

check("list.pages", async () => {
  const ours = await client.apps.fromName(unique("interop"), { createIfMissing: true });
  await listed({ appId: ours.appId });
  const made = await Promise.all(Array.from({ length: 105 }, () => create({ app: ours })));
  const found = await listed({ appId: ours.appId });
  same([found.length, new Set(found).size], [105, 105], "sandboxes listed");
  await Promise.all(made.map((sandbox) => sandbox.terminate()));
});

await main();
