// Makes the named secret that the other programs look up: no version for JavaScript has a method for it, so this one
// sends the call itself, through the client.

import { client } from "./common.mjs";

const OVERWRITE = 3;

await client.cpClient.secretGetOrCreate({
  deploymentName: "interop-secret",
  environmentName: client.environmentName(),
  objectCreationType: OVERWRITE,
  envDict: { A: "1", B: "two words" },
});
client.close();
