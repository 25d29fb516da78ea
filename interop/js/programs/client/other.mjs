// Secrets, errors, and what the server does not do yet: each check of the latter does the whole thing, so that one which
// the server learns to do becomes a check of it; until then the server's sentence is what users get.

import {
  UNAUTHENTICATED, app, byId, check, client, code, create, holds, image, lacks, main, modal, needs, notFound, rejects, run, same,
  unique,
} from "./common.mjs";

check("secret.from_dict", async () => {
  const secret = await client.secrets.fromObject({ KEY: "a 'b' $c" });
  same(await run(["printenv", "KEY"], {}, await create({ secrets: [secret] })), "a 'b' $c\n");
});

check("secret.missing", async () => {
  await rejects(() => client.secrets.fromName(unique("missing")), modal.NotFoundError);
});

// These clients cannot make a named secret: the runner makes one before they start.
const NAMED = "interop-secret";

check("secret.named", async () => {
  const secret = await client.secrets.fromName(NAMED);
  same(await run(["sh", "-c", "echo $A $B"], {}, await create({ secrets: [secret] })), "1 two words\n");
});

check("secret.required_keys", async () => {
  await client.secrets.fromName(NAMED, { requiredKeys: ["A", "B"] });
  await rejects(() => client.secrets.fromName(NAMED, { requiredKeys: ["A", "MISSING"] }), Error, "MISSING");
});

check("secret.order", async () => {
  const secrets = [await client.secrets.fromName(NAMED), await client.secrets.fromObject({ B: "inline", C: "inline" })];
  const sandbox = await create({ secrets, env: { C: "env" } });
  same(await run(["sh", "-c", "echo $A $B $C"], {}, sandbox), "1 inline env\n");
});

check("secret.delete", async () => {
  needs(client.secrets.delete, "secrets.delete");
  await rejects(() => client.secrets.delete(unique("missing")), modal.NotFoundError);
  await client.secrets.delete(unique("missing"), { allowMissing: true });
  // No version makes named secrets by a method of its own: the call is sent through the client.
  const deploymentName = unique("secret");
  const environmentName = client.environmentName();
  await client.cpClient.secretGetOrCreate({ deploymentName, environmentName, objectCreationType: 2, envDict: { A: "1" } });
  await client.secrets.delete(deploymentName);
  await rejects(() => client.secrets.fromName(deploymentName), modal.NotFoundError);
});

lacks("secret.duplicate", "no method that makes named secrets");
lacks("secret.list", "no list");
lacks("secret.update", "no update");
lacks("secret.info", "no info");
lacks("secret.from_local_environ", "no fromLocalEnviron");
lacks("error.hello", "no hello");

check("error.wrong_token", async () => {
  for (const wrong of [
    { tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: "as-wrong" },
    { tokenId: "ak-wrong", tokenSecret: process.env.MODAL_TOKEN_SECRET },
  ]) {
    const other = new modal.ModalClient(wrong);
    try {
      await rejects(() => other.apps.fromName(unique("interop"), { createIfMissing: true }), code(UNAUTHENTICATED));
    } finally {
      other.close();
    }
  }
});

check("error.wrong_token_sandbox", async () => {
  const sandbox = await create();
  const other = new modal.ModalClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: "as-wrong" });
  try {
    await rejects(() => byId(sandbox.sandboxId, other), code(UNAUTHENTICATED));
  } finally {
    other.close();
  }
});

check("error.unknown_environment", async () => {
  await rejects(() => client.apps.fromName("any", { environment: unique("missing") }), modal.NotFoundError);
});

check("error.unknown_app", async () => {
  // "Not found", or an empty list: what is there of others is not told.
  const [sandbox, sandboxes] = [await create(), client.sandboxes.list({ appId: "ap-0000000000000000000000" })];
  try {
    same((await sandboxes.next()).done, true, `the end of the list, without ${sandbox.sandboxId}`);
  } catch (error) {
    if (!notFound(error)) throw error;
  }
});

check("error.unknown_sandbox", async () => {
  for (const missing of ["sb-0123456789abcdefghijkl", "sb-01K5ZZZZZZZZZZZZZZZZZZZZZZ"]) {
    await rejects(() => byId(missing), notFound);
  }
});

check("error.ended_sandbox", async () => {
  const sandbox = await create({ command: ["true"] });
  await sandbox.wait();
  await rejects(async () => (await sandbox.exec(["echo"])).wait(), Error);
});

/** Made without a word, where no check knows how to tell whether it is kept. */
function accepted(_sandbox) {
  holds(false, "the server took it; write the check of what it does");
}

check("function.lookup", async () => {
  await rejects(() => client.functions.fromName("interop-missing", "missing"), modal.NotFoundError);
});

check("gpu.create", async () => {
  holds((await run(["nvidia-smi", "-L"], {}, await create({ gpu: "T4" }))).includes("T4"), "no such GPU");
});

check("volume.mount", async () => {
  const volume = await client.volumes.fromName(unique("volume"), { createIfMissing: true });
  const first = await create({ volumes: { "/data": volume } });
  await run(["sh", "-c", "echo kept > /data/file"], {}, first);
  await first.terminate({ wait: true });
  same(await run(["cat", "/data/file"], {}, await create({ volumes: { "/data": volume } })), "kept\n");
});

check("volume.ephemeral", async () => {
  const volume = await client.volumes.ephemeral();
  volume.closeEphemeral();
});

check("volume.reload", async () => {
  const sandbox = await create();
  needs(sandbox.reloadVolumes, "reloadVolumes");
  await sandbox.reloadVolumes();
});

check("snapshot.filesystem", async () => {
  const sandbox = await create();
  await run(["sh", "-c", "echo kept > /snapshotted"], {}, sandbox);
  const snapshot = await sandbox.snapshotFilesystem();
  same(await run(["cat", "/snapshotted"], {}, await create({ image: snapshot })), "kept\n");
});

check("snapshot.directory", async () => {
  const sandbox = await create();
  await run(["sh", "-c", "mkdir /project && echo kept > /project/file"], {}, sandbox);
  const snapshot = await sandbox.snapshotDirectory("/project");
  const other = await create();
  await other.mountImage("/mounted", snapshot);
  same(await run(["cat", "/mounted/file"], {}, other), "kept\n");
  await other.unmountImage("/mounted");
});

check("snapshot.mount_empty", async () => {
  const sandbox = await create();
  await sandbox.mountImage("/empty");
  same(await run(["ls", "-A", "/empty"], {}, sandbox), "");
});

check("snapshot.memory", async () => {
  needs(client.sandboxSnapshots, "sandboxSnapshots");
  const sandbox = await create({ experimentalEnableSnapshot: true });
  const restored = await client.sandboxes.experimentalFromSnapshot(await sandbox.experimentalSnapshot());
  same(await run(["echo", "restored"], {}, restored), "restored\n");
  await restored.terminate();
});

check("snapshot.exit", async () => {
  needs(modal.Sandbox.prototype.experimentalGetExitSnapshot, "experimentalGetExitSnapshot");
  const sandbox = await create({ command: ["true"], experimentalOptions: { enable_exit_snapshot: true } });
  await sandbox.wait();
  await sandbox.experimentalGetExitSnapshot({ timeoutMs: 30_000 });
});

lacks("function.run", "functions are looked up here, not made");
lacks("function.deploy", "functions are looked up here, not made");
lacks("other.persistent", "no persistent sandboxes");
lacks("other.network_file_system", "no network file systems");
lacks("other.dict", "no dicts");

check("other.outbound_policy", async () => {
  needs(modal.ExperimentalOutboundPolicy, "ExperimentalOutboundPolicy");
  const replaced = { domain: "allowed.example", headers: { "X-Replaced": "yes" } };
  const experimentalOutboundPolicy = new modal.ExperimentalOutboundPolicy().withHeaderReplacement(replaced);
  accepted(await create({ experimentalOutboundPolicy }));
});

check("other.sidecars", async () => {
  const sandbox = await create();
  needs(sandbox.experimentalSidecars, "experimentalSidecars");
  const built = await image().build(await app());
  const sidecar = await sandbox.experimentalSidecars.create("beside", built, { command: ["sleep", "60"] });
  const process = await sidecar.exec(["echo", "beside"]);
  same(await process.stdout.readText(), "beside\n");
});

check("other.oidc_token", async () => {
  const sandbox = await create({ includeOidcIdentityToken: true });
  holds(await run(["printenv", "MODAL_IDENTITY_TOKEN"], {}, sandbox), "no token");
});

check("other.docker", async () => {
  await run(["docker", "info"], {}, await create({ experimentalOptions: { enable_docker: true } }));
});

check("other.proxy", async () => {
  accepted(await create({ proxy: await client.proxies.fromName(unique("proxy")) }));
});

check("other.cloud_bucket", async () => {
  const secret = await client.secrets.fromObject({ AWS_ACCESS_KEY_ID: "x", AWS_SECRET_ACCESS_KEY: "y" });
  accepted(await create({ cloudBucketMounts: { "/bucket": client.cloudBucketMounts.create("bucket", { secret }) } }));
});

check("other.custom_domain", async () => {
  accepted(await create({ customDomain: "sandboxes.example" }));
});

check("other.queue", async () => {
  const queue = await client.queues.ephemeral();
  await queue.put("item");
  same(await queue.get(), "item");
  queue.closeEphemeral();
});

check("environment.manage", async () => {
  needs(client.environments, "environments");
  const name = unique("env");
  await client.environments.objects.create(name);
  const names = [];
  for await (const environment of client.environments.objects.list()) names.push(environment.name);
  holds(names.includes(name), `environments: ${names}`);
  await client.environments.objects.delete(name);
});

await main();
