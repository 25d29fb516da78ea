// Apps, images, and everything that `create` takes.

import {
  INVALID_ARGUMENT, V2, app, appName, check, client, code, create, holds, image, lacks, main, modal, needs, rejects, run,
  same, unique,
} from "./common.mjs";

check("app.lookup", async () => {
  const first = await app();
  holds(first.appId.startsWith("ap-"), `app id ${first.appId}`);
  same((await client.apps.fromName(appName())).appId, first.appId);
});

check("app.missing", async () => {
  await rejects(() => client.apps.fromName(unique("missing")), modal.NotFoundError);
});

check("create.default", async () => {
  const sandbox = await create();
  holds(sandbox.sandboxId.startsWith("sb-"), `sandbox id ${sandbox.sandboxId}`);
  same(sandbox.sandboxId.length, V2 ? 29 : 25, "length of the id");
  same(await run(["echo", "hello"], {}, sandbox), "hello\n");
  same(await sandbox.poll(), null);
});

check("create.command", async () => {
  const sandbox = await create({ command: ["sh", "-c", "exit 3"] });
  same(await sandbox.wait(), 3);
});

check("create.registry", async () => {
  const sandbox = await create({ image: client.images.fromRegistry("alpine:3.21") });
  same(await run(["sh", "-c", "echo $0 $1", "a", "b c"], {}, sandbox), "a b c\n");
});

check("image.env", async () => {
  const built = image().dockerfileCommands(["ENV FROM_IMAGE='x y'"]);
  same(await run(["printenv", "FROM_IMAGE"], {}, await create({ image: built })), "x y\n");
});

check("image.workdir", async () => {
  const built = image().dockerfileCommands(["WORKDIR /var/tmp"]);
  same(await run(["pwd"], {}, await create({ image: built })), "/var/tmp\n");
});

check("image.cmd", async () => {
  const built = image().dockerfileCommands(['CMD ["sh", "-c", "exit 21"]']);
  same(await (await create({ image: built })).wait(), 21);
});

check("image.entrypoint", async () => {
  const built = image().dockerfileCommands(['ENTRYPOINT ["/bin/sh", "-c", "exit $0"]']);
  same(await (await create({ image: built, command: ["22"] })).wait(), 22);
});

check("image.build", async () => {
  const built = await image().dockerfileCommands(["ENV BUILT=1"]).build(await app());
  holds(built.imageId.startsWith("im-"), `image id ${built.imageId}`);
  const again = await client.images.fromId(built.imageId);
  same(await run(["printenv", "BUILT"], {}, await create({ image: again })), "1\n");
});

check("image.from_id_missing", async () => {
  await rejects(() => client.images.fromId("im-0000000000000000000000"), modal.NotFoundError);
});

check("image.delete", async () => {
  const built = await image().dockerfileCommands([`ENV DELETED=${unique("x")}`]).build(await app());
  await client.images.delete(built.imageId);
  await rejects(() => client.images.fromId(built.imageId), modal.NotFoundError);
});

check("image.run_commands", async () => {
  const built = image().dockerfileCommands(["RUN echo made > /made-by-run"]);
  same(await run(["cat", "/made-by-run"], {}, await create({ image: await build(built) })), "made\n");
});

/** A build that the server refuses ends as a refusal. */
async function build(wanted) {
  try {
    return await wanted.build(await app());
  } catch (error) {
    // A refused line arrives as a failed build, with the client's words before the server's.
    const sentence = /failed with the exception:\s*(.*this server does not.*)/s.exec(error.message);
    throw sentence ? Object.assign(error, { code: 12, details: sentence[1] }) : error;
  }
}

check("create.env", async () => {
  const sandbox = await create({ env: { GIVEN: "a 'b' $c" } });
  same(await run(["printenv", "GIVEN"], {}, sandbox), "a 'b' $c\n");
});

check("create.secrets", async () => {
  const first = await client.secrets.fromObject({ A: "1", B: "1" });
  const second = await client.secrets.fromObject({ B: "2" });
  const sandbox = await create({ secrets: [first, second] });
  same(await run(["sh", "-c", "echo $A $B"], {}, sandbox), "1 2\n", "the later one wins");
});

check("create.workdir", async () => {
  same(await run(["pwd"], {}, await create({ workdir: "/usr/lib" })), "/usr/lib\n");
});

check("create.pty", async () => {
  const sandbox = await create({ command: ["sh", "-c", "test -t 0 && test -t 1 || exit 4"], pty: true });
  same(await sandbox.wait(), 0);
});

check("create.resources", async () => {
  const sandbox = await create({ cpu: 0.25, cpuLimit: 1, memoryMiB: 128, memoryLimitMiB: 512 });
  same(await run(["echo", "ok"], {}, sandbox), "ok\n");
});

check("create.cloud_and_region", async () => {
  await create({ cloud: "aws", regions: ["us-east-1", "us-west-2"] });
});

check("create.invalid_cloud", async () => {
  await rejects(() => create({ cloud: "invalid-cloud" }), code(INVALID_ARGUMENT), "INVALID_ARGUMENT");
});

check("create.invalid_region", async () => {
  await rejects(() => create({ regions: ["invalid-region"] }), code(INVALID_ARGUMENT), "INVALID_ARGUMENT");
});

check("create.invalid_arguments", async () => {
  await rejects(() => create({ workdir: "relative/path" }), Error);
  await rejects(() => create({ timeoutMs: -1 }), Error);
  await rejects(() => create({ timeoutMs: 1500 }), Error);
});

check("create.second_family", async () => {
  needs(client.sandboxes.experimentalCreate, "experimentalCreate");
  const sandbox = await client.sandboxes.experimentalCreate(await app(), image());
  try {
    same(sandbox.sandboxId.length, 29, "length of the id");
    same(await run(["echo", "in it"], {}, sandbox), "in it\n");
    same(await (await client.sandboxes.fromId(sandbox.sandboxId)).poll(), null);
  } finally {
    same(await sandbox.terminate({ wait: true }), 137);
  }
});

check("create.runs_servers", async () => {
  // What an exec leaves behind keeps running.
  await run(["sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $! > /tmp/pid"]);
  same(await run(["sh", "-c", "kill -0 $(cat /tmp/pid) && echo alive"]), "alive\n");
});

lacks("create.debian_slim", "no Image.debianSlim");
lacks("image.pip_install", "no pipInstall");
lacks("image.add_local_file", "no local files");
lacks("image.mount_local_file", "no local files");

check("create.concurrent", async () => {
  const numbers = Array.from({ length: 20 }, (_, number) => number);
  const sandboxes = await Promise.all(numbers.map((number) => create({ env: { N: String(number) } })));
  const said = await Promise.all(sandboxes.map((sandbox) => run(["sh", "-c", "echo $N"], {}, sandbox)));
  same(said, numbers.map((number) => `${number}\n`));
  await Promise.all(sandboxes.map((sandbox) => sandbox.terminate()));
});

await main();
