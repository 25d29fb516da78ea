//! What belongs to another workspace, or to another sandbox, is answered as what has never been: every RPC, every field that names
//! something.

use crate::raw;
use crate::rpcs::{CONTROL, Protos, ROUTER, Rpc};
use crate::world::{Guest, Headers, Who, World, fresh, soon};
use bytes::Bytes;
use computesdk_modal_proto::client::{
    self as wire, ContainerFilesystemExecRequest, ObjectCreationType,
    container_filesystem_exec_request::FileExecRequestOneof,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::{Code, Status};

/// Texts that name something of a workspace's, by the field they stand in; `output_id` is an `exec_id` of a file's.
const NAMES: [&str; 13] = [
    "sandbox_id",
    "task_id",
    "exec_id",
    "secret_id",
    "image_id",
    "app_id",
    "file_descriptor",
    "sandbox_name",
    "app_name",
    "deployment_name",
    "environment_name",
    "name",
    "output_id",
];
/// Lists of them.
const LISTS: [(&str, &str); 1] = [("secret_ids", "secret_id")];
/// Names of things that this server has not, or not yet; nothing can be found by them.
const OF_NOTHING: [&str; 7] = [
    "function_id",
    "function_call_id",
    "parametrized_function_id",
    "container_id",
    "proxy_id",
    "mount_ids",
    "context_mount_id",
];
/// A place in a stream, not a thing.
const PLACES: [&str; 1] = ["last_entry_id"];
/// What answers its owner as it answers everybody: fields that select from what is the caller's own, or that are not looked at.
const SELECT: [&str; 11] = [
    "AppGetOrCreate.environment_name",
    "AppList.environment_name",
    "SecretGetOrCreate.environment_name",
    "SandboxGetFromName.environment_name",
    "SandboxGetFromNameV2.environment_name",
    "SandboxList.environment_name",
    "SandboxListV2.environment_name",
    "SandboxTagsSet.environment_name",
    "SandboxTagsSetV2.environment_name",
    "TaskList.environment_name",
    "TaskExecStart.exec_id",
];

/// One text for each of [`NAMES`].
type Things = BTreeMap<&'static str, String>;

/// Everything that a workspace can have, with a mark in all that is text.
async fn furnish(who: &Who, mark: &str) -> (Guest, Things) {
    let mut control = who.control();
    let (app_name, secret_name, environment) = (fresh(mark), fresh(mark), fresh(mark));
    let app_id = who.app(&app_name).await;
    let request = wire::EnvironmentCreateRequest { name: environment.clone(), ..Default::default() };
    soon("an environment", control.environment_create(request)).await.unwrap();
    let request = wire::SecretGetOrCreateRequest {
        deployment_name: secret_name.clone(),
        object_creation_type: ObjectCreationType::CreateIfMissing.into(),
        env_dict: [(String::from("MARK"), format!("{mark}-value"))].into(),
        ..Default::default()
    };
    let secret_id = soon("a secret", control.secret_get_or_create(request)).await.unwrap().into_inner().secret_id;
    let image = wire::Image {
        dockerfile_commands: vec!["FROM python:3.12".into(), format!("ENV MARK={mark}")],
        ..Default::default()
    };
    let request = wire::ImageGetOrCreateRequest { image: Some(image), app_id: app_id.clone(), ..Default::default() };
    let image_id = soon("an image", control.image_get_or_create(request)).await.unwrap().into_inner().image_id;
    let mut request = who.asking(&["sh", "-c", &format!("echo {mark}; sleep 600")]).await;
    request.app_id = app_id.clone();
    let sandbox_name = fresh(mark);
    request.definition.as_mut().unwrap().name = Some(sandbox_name.clone());
    request.tags = vec![wire::SandboxTag { tag_name: "mark".into(), tag_value: mark.into() }];
    let guest = who.guest(soon("a sandbox", control.sandbox_create_v2(request)).await.unwrap().into_inner());
    let exec_id = guest.start(&["echo", mark]).await;
    guest.wait(&exec_id).await;
    let open = wire::ContainerFileOpenRequest { path: "/etc/hostname".into(), mode: "r".into(), ..Default::default() };
    let request = ContainerFilesystemExecRequest {
        task_id: guest.task.clone(),
        file_exec_request_oneof: Some(FileExecRequestOneof::FileOpenRequest(open)),
    };
    let opened = soon("a file", control.container_filesystem_exec(request)).await.unwrap().into_inner();
    let things = [
        guest.id.clone(),
        guest.task.clone(),
        exec_id,
        secret_id,
        image_id,
        app_id,
        opened.file_descriptor.unwrap(),
        sandbox_name,
        app_name,
        secret_name,
        environment.clone(),
        environment,
        opened.exec_id,
    ];
    (guest, NAMES.into_iter().zip(things).collect())
}

/// As it could be, and is not; each time something else.
fn never(like: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(7_000);
    let end = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    // Digits are in every alphabet that ids have.
    let made = format!("{}{end}", &like[..like.len().saturating_sub(end.len())]);
    assert_ne!(made, like);
    made
}

/// The thing that a text names, and nothing for what names none.
fn kind(rpc: &Rpc, path: &[String]) -> Option<&'static str> {
    let field = match path.last().unwrap().as_str() {
        "exec_id" if rpc.name == "ContainerFilesystemExecGetOutput" => "output_id",
        // It is given, not looked for.
        "name" if rpc.name == "SandboxSetName" => return None,
        field => field,
    };
    let listed = LISTS.iter().find(|(list, _)| *list == field).map(|(_, one)| *one);
    listed.or_else(|| NAMES.iter().find(|name| **name == field).copied())
}

struct Asker<'a> {
    protos: &'a Protos,
    who: &'a Who,
    headers: Headers,
    own: &'a Things,
}

impl Asker<'_> {
    /// Asks with `value` in this place, and in all others what is the caller's own.
    async fn ask(&self, rpc: &Rpc, place: &[String], value: &str) -> Result<Option<Bytes>, Status> {
        let text = |path: &[String]| {
            if path == place {
                return Some(value.to_owned());
            }
            match path.last().unwrap().as_str() {
                "command" | "command_args" | "entrypoint_args" => Some("true".to_owned()),
                // A sandbox of a name that is taken would be refused for that.
                "name" => None,
                // Their things are in the default one.
                "environment_name" => None,
                // A process that runs needs nothing of what else is said.
                "exec_id" if rpc.name == "TaskExecStart" => Some(fresh("exec")),
                _ => kind(rpc, path).map(|kind| self.own[kind].clone()),
            }
        };
        let message = self.protos.message(&rpc.input, place, &text);
        // Whoever waits for its end has been let in.
        let path = rpc.path();
        let asked = raw::call(&self.who.channel, &path, &self.headers, vec![message]);
        tokio::time::timeout(Duration::from_secs(3), asked).await.unwrap_or(Ok(None))
    }

    /// Everywhere what is `theirs` is answered as what has never been.
    async fn all(&self, rpcs: &[Rpc], theirs: &Things, mark: &str) -> usize {
        let mut places = 0;
        let (mut alike, mut unlike) = (BTreeSet::new(), BTreeSet::new());
        let mut later = Vec::new();
        // What makes something under a name that the client gives comes after those that look for it.
        let makes = |rpc: &&Rpc| rpc.name.ends_with("Start") || rpc.name.contains("Create");
        let (makers, lookers): (Vec<_>, Vec<_>) = rpcs.iter().partition(makes);
        for rpc in lookers.into_iter().chain(makers) {
            for place in self.protos.texts(&rpc.input) {
                let field = place.last().unwrap().as_str();
                let Some(kind) = kind(rpc, &place) else {
                    let is_id = field.ends_with("_id") || field.ends_with("_ids");
                    let known = OF_NOTHING.contains(&field) || PLACES.contains(&field);
                    assert!(!is_id || known, "{}: say in this test what {} names", rpc.name, place.join("."));
                    continue;
                };
                places += 1;
                let what = format!("{}.{}", rpc.name, place.join("."));
                let foreign = theirs[kind].as_str();
                let nothing = never(foreign);
                let there = self.ask(rpc, &place, foreign).await;
                let nowhere = self.ask(rpc, &place, &nothing).await;
                match (&there, &nowhere) {
                    (Err(there), Err(nowhere)) => {
                        let hide = |status: &Status, id: &str| (status.code(), status.message().replace(id, "…"));
                        assert_eq!(hide(there, foreign), hide(nowhere, &nothing), "{what}");
                        assert!(!there.message().contains(mark) || foreign.contains(mark), "{what}: {there}");
                    }
                    (Ok(there), Ok(nowhere)) => {
                        for answer in [there, nowhere].into_iter().flatten() {
                            // What was asked for may be repeated; nothing else of theirs is told.
                            let text = String::from_utf8_lossy(answer).replace(foreign, "…").replace(&nothing, "…");
                            let told = theirs.values().find(|theirs| text.contains(theirs.as_str()));
                            assert!(told.is_none() && !text.contains(mark), "{what} tells {told:?}: {text:?}");
                        }
                    }
                    other => panic!("{what}: {other:?}"),
                }
                later.push((rpc, place, kind, what, nowhere));
            }
        }
        // What is one's own is there: last what ends or deletes.
        let ends = |rpc: &Rpc| ["Terminate", "Stop", "Delete"].iter().any(|word| rpc.name.contains(word));
        later.sort_by_key(|(rpc, ..)| ends(rpc));
        for (rpc, place, kind, what, nowhere) in later {
            let here = self.ask(rpc, &place, &self.own[kind]).await;
            let same = match (&here, &nowhere) {
                (Err(here), Err(nowhere)) => here.code() == nowhere.code(),
                (Ok(here), Ok(nowhere)) => here == nowhere,
                _ => false,
            };
            if same {
                alike.insert(what)
            } else {
                unlike.insert(what)
            };
        }
        let unexpected: Vec<_> = alike.iter().filter(|what| !SELECT.contains(&what.as_str())).collect();
        assert!(unexpected.is_empty(), "its own is not there either: {unexpected:#?}");
        let found: Vec<_> = unlike.iter().filter(|what| SELECT.contains(&what.as_str())).collect();
        assert!(found.is_empty(), "there is a difference for the owner, so it is no selection: {found:#?}");
        println!("{places} places, {} of them with a difference for their owner", unlike.len());
        places
    }
}

pub(crate) async fn control() {
    let world = World::start().await;
    let protos = Protos::read();
    let (_, own) = furnish(&world.own, "mine").await;
    let (theirs_too, theirs) = furnish(&world.other, "foreign").await;
    let asker = Asker { protos: &protos, who: &world.own, headers: world.own.headers(), own: &own };
    let places = asker.all(&protos.of(CONTROL), &theirs, "foreign").await;
    assert!(places > 80, "{places}");
    // Nothing of it has reached them.
    assert_eq!(world.other.listed().await, [theirs_too.id.as_str()]);
    let tags = wire::SandboxTagsGetRequest { sandbox_id: theirs_too.id.clone() };
    let tags = soon("tags", world.other.control().sandbox_tags_get_v2(tags)).await.unwrap().into_inner().tags;
    assert_eq!(tags.len(), 1);
    world.stop().await;
}

/// The same there; and a token is good for its sandbox alone, not for another one of the same workspace.
pub(crate) async fn router() {
    let world = World::start().await;
    let protos = Protos::read();
    let (guest, own) = furnish(&world.own, "mine").await;
    let (_, foreign) = furnish(&world.other, "foreign").await;
    let (_, mut second) = furnish(&world.own, "second").await;
    // Of these the whole workspace may use what it has.
    second.insert("secret_id", foreign["secret_id"].clone());
    let asker = Asker { protos: &protos, who: &world.own, headers: guest.headers(), own: &own };
    for (theirs, mark) in [(&foreign, "foreign"), (&second, "second")] {
        let places = asker.all(&protos.of(ROUTER), theirs, mark).await;
        assert!(places > 15, "{places}");
        // Whoever has the task of one sandbox and the token of another gets to neither.
        for rpc in protos.of(ROUTER) {
            let place: Vec<String> = protos.texts(&rpc.input).into_iter().next().unwrap();
            let text = |path: &[String]| kind(&rpc, path).map(|kind| theirs[kind].clone());
            let message = protos.message(&rpc.input, &place, &text);
            let (path, headers) = (rpc.path(), guest.headers());
            let asked = raw::call(&world.own.channel, &path, &headers, vec![message]);
            let refused = soon(&rpc.name, asked).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{}: {refused}", rpc.name);
        }
    }
    world.stop().await;
}
