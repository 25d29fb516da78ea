//! Calls of Modal's API that are not served: one sentence each, naming the feature, for whoever meets it in an exception.

/// Features by the prefixes of their calls. The longest prefix holds.
const FEATURES: &[(&str, Feature)] = {
    use Feature::{Not, OnlySandboxes};
    &[
        ("App", Not("deployed and running Apps are", "an App here is a name to create sandboxes under")),
        ("AppGetLogs", Not("the log stream of an App is", "use the logs of its sandboxes")),
        ("Attempt", OnlySandboxes("Functions")),
        ("Audit", OnlySandboxes("audit logs")),
        ("Blob", Not("local files and blobs are", IMAGES)),
        ("Class", OnlySandboxes("classes")),
        ("CliCommand", OnlySandboxes("suggestions for the `modal` command")),
        ("Cls", OnlySandboxes("classes")),
        ("Cluster", OnlySandboxes("clusters")),
        ("Container", OnlySandboxes("containers of Functions")),
        ("ContainerCheckpoint", Not("memory snapshots are", SANDBOXES)),
        ("ContainerReloadVolumes", Not("volumes are", IMAGES)),
        ("Curl", OnlySandboxes("tokens for `modal curl`")),
        ("Dict", OnlySandboxes("Dicts")),
        ("Domain", OnlySandboxes("web endpoints and their domains")),
        ("Endpoint", OnlySandboxes("web endpoints")),
        ("Environment", Not("budgets, roles and settings of environments are", "an environment here is a name")),
        ("EnvironmentBilling", OnlySandboxes("billing")),
        ("Flash", OnlySandboxes("Flash servers")),
        ("Function", OnlySandboxes("Functions")),
        ("Image", Not("image builds, names and tags of images are", IMAGES)),
        ("Map", OnlySandboxes("Functions (`map`)")),
        ("Metrics", OnlySandboxes("metrics")),
        ("Mount", Not("local files (mounts) are", IMAGES)),
        ("Notebook", OnlySandboxes("notebooks")),
        ("Object", OnlySandboxes("suggestions of objects' names")),
        ("PersistentSandbox", Not("persistent sandboxes are", "create an ordinary sandbox")),
        ("Proxy", OnlySandboxes("proxies")),
        ("Queue", OnlySandboxes("Queues")),
        ("SandboxContainer", Not("sidecar containers are", "run the program in the sandbox itself")),
        ("SandboxGetExitSnapshot", Not("snapshots are", IMAGES)),
        ("SandboxGetTimeRange", OnlySandboxes("metrics over time")),
        ("SandboxRestore", Not("memory snapshots are", SANDBOXES)),
        (
            "SandboxSetOutbound",
            Not(
                "changes to the outbound network policy of a running sandbox are",
                "set it when you create the sandbox",
            ),
        ),
        ("SandboxSnapshot", Not("memory snapshots are", SANDBOXES)),
        ("SandboxSnapshotFs", Not("snapshots are", IMAGES)),
        ("Server", OnlySandboxes("web servers on Functions")),
        ("ServiceUser", OnlySandboxes("service users")),
        ("SharedVolume", Not("network file systems (NFS) are", "write into the sandbox with its file calls")),
        ("Task", OnlySandboxes("tasks of Functions")),
        ("TaskContainer", Not("sidecar containers are", "run the program in the sandbox itself")),
        ("TaskMount", Not("image mounts are", IMAGES)),
        ("TaskReloadVolumes", Not("volumes are", IMAGES)),
        (
            "TaskSetOutbound",
            Not(
                "changes to the outbound network policy of a running sandbox are",
                "set it when you create the sandbox",
            ),
        ),
        ("TaskSnapshot", Not("snapshots are", IMAGES)),
        ("TaskSnapshotMemory", Not("memory snapshots are", SANDBOXES)),
        ("TaskUnmount", Not("image mounts are", IMAGES)),
        ("Template", OnlySandboxes("templates")),
        ("Token", OnlySandboxes("token management")),
        ("Tokens", OnlySandboxes("token management")),
        ("Tunnel", Not("tunnels of Functions (`modal.forward`) are", "name a sandbox's ports when you create it")),
        ("UserGroup", OnlySandboxes("user groups")),
        ("Volume", Not("volumes are", IMAGES)),
        ("Webhook", OnlySandboxes("web endpoints and their tokens")),
        ("Workspace", OnlySandboxes("workspace management")),
        ("WorkspaceBilling", OnlySandboxes("billing")),
    ]
};

/// What to say where images, files and volumes are to come.
const IMAGES: &str = "this server does not keep images or volumes yet";
const SANDBOXES: &str = "this server keeps running sandboxes only";

enum Feature {
    /// Part of Modal, and no part of its sandboxes.
    OnlySandboxes(&'static str),
    /// Part of its sandboxes; and what to know.
    Not(&'static str, &'static str),
}

/// Why a call is not served. `rpc` is a method's name, with or without its path.
pub(crate) fn sentence(rpc: &str) -> String {
    let name = rpc.rsplit('/').next().unwrap_or(rpc);
    let fits = FEATURES.iter().filter(|(prefix, _)| is_prefix(prefix, name));
    match fits.max_by_key(|(prefix, _)| prefix.len()) {
        Some((_, Feature::OnlySandboxes(feature))) => {
            format!("{} are not served here ({name}): this server runs Modal's sandboxes only", capital(feature))
        }
        Some((_, Feature::Not(feature, hint))) => format!("{} not served here ({name}): {hint}", capital(feature)),
        // What a peer makes up is not repeated at any length.
        None => format!("{} is not known to this server", name.chars().take(100).collect::<String>()),
    }
}

/// `Map` starts `MapAwait` and not `Mapping`.
fn is_prefix(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn capital(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every call of both services in the clients of every generation, one a line.
    const ALL: &str = include_str!("rpcs.txt");
    const SERVED: [&str; 2] = [
        include_str!("../../../modal-proto/proto/modal/client.proto"),
        include_str!("../../../modal-proto/proto/modal/router.proto"),
    ];

    #[test]
    fn every_call_of_the_clients_is_served_or_named() {
        let served = |name: &str| SERVED.iter().any(|proto| proto.contains(&format!("rpc {name}(")));
        let mut unserved = 0;
        for name in ALL.lines().filter(|name| !served(name)) {
            let sentence = sentence(name);
            assert!(sentence.contains(" not served here") && sentence.contains(name), "{name}: {sentence}");
            unserved += 1;
        }
        assert!(unserved > 150 && served("SandboxCreateV2") && served("TaskExecStart"), "{unserved}");
    }

    #[test]
    fn features_are_named() {
        for (rpc, feature) in [
            ("/modal.client.ModalClient/FunctionMap", "Functions are not served here (FunctionMap): this server runs"),
            ("MapAwait", "Functions (`map`)"),
            ("AttemptStart", "Functions"),
            ("ClassGet", "Classes"),
            ("ClsGet", "Classes"),
            ("WebhookTokenList", "Web endpoints"),
            ("DomainCreate", "Web endpoints"),
            ("QueuePut", "Queues"),
            ("DictGet", "Dicts"),
            ("SharedVolumeGetOrCreate", "Network file systems (NFS)"),
            ("VolumeGetOrCreate", "Volumes"),
            ("MountPutFile", "Local files"),
            ("BlobCreate", "Local files"),
            ("SandboxSnapshotFs", "Snapshots"),
            ("SandboxSnapshotFsAsyncGet", "Snapshots"),
            ("SandboxSnapshotWait", "Memory snapshots"),
            ("TaskSnapshotMemory", "Memory snapshots"),
            ("TaskSnapshotDirectory", "Snapshots"),
            ("TaskMountDirectory", "Image mounts"),
            ("PersistentSandboxCreate", "Persistent sandboxes"),
            ("SandboxContainerCreateV2", "Sidecar containers"),
            ("TaskContainerWait", "Sidecar containers"),
            ("TunnelStart", "Tunnels"),
            ("WorkspaceMembersList", "Workspace management"),
            ("WorkspaceBillingReport", "Billing"),
            ("EnvironmentBillingSummary", "Billing"),
            ("NotebookKernelPublishResults", "Notebooks"),
            ("FlashContainerList", "Flash"),
        ] {
            assert!(sentence(rpc).starts_with(feature), "{rpc}: {}", sentence(rpc));
        }
    }

    #[test]
    fn what_nobody_knows_is_said_so() {
        assert_eq!(sentence("/modal.client.ModalClient/Frobnicate"), "Frobnicate is not known to this server");
        assert_eq!(sentence("Mapping"), "Mapping is not known to this server");
        assert_eq!(sentence(""), " is not known to this server");
        assert!(sentence(&"x".repeat(10_000)).len() < 200);
    }
}
