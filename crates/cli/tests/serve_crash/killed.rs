//! Killed, and told to stop.

use crate::client::{Client, routed, soon};
use crate::common::{PATIENCE, marker, processes, wait_for};
use crate::footprint::Footprint;
use crate::home::{Home, has_sandboxes};
use computesdk_modal_proto::client::{
    Sandbox as Definition, SandboxCreateV2Request, SandboxCreateV2Response, SandboxGetFromNameRequest,
    SandboxTagsGetRequest, SandboxWaitRequest, SecretSource, generic_result::GenericStatus, secret_source::Source,
};
use computesdk_modal_proto::router::{TaskExecStdioReadRequest, task_command_router_client::TaskCommandRouterClient};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::Code;

/// Killed and started again with so many.
const SANDBOXES: usize = 50;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Many at once, each with a main process and an exec with the marker, one of them in a session of its own.
async fn populate(client: &Client, app: &str, marker: &str, many: usize) -> Vec<SandboxCreateV2Response> {
    let creates = (0..many).map(|number| {
        let (client, app, marker) = (client.clone(), app.to_owned(), marker.to_owned());
        tokio::spawn(async move {
            let main = "trap '' TERM INT HUP; while :; do sleep 1000; done";
            let made =
                client.create(&app, &format!("crash-{number}"), &["sh", "-c", main, &marker]).await.expect("made");
            let exec = "setsid sh -c 'while :; do sleep 1000; done' \"$0\" & while :; do echo x; sleep 0.2; done";
            client.exec(&made, &["sh", "-c", exec, &marker]).await;
            made
        })
    });
    let mut made = Vec::new();
    for create in creates.collect::<Vec<_>>() {
        made.push(soon(create).await.expect("no panic"));
    }
    made
}

#[test]
fn killed_with_fifty_sandboxes() {
    let home = Home::new();
    if !has_sandboxes(&home) {
        return;
    }
    let marker = marker("serve-killed");
    let serving = home.serve();
    let token = serving.token.clone();
    let runtime = runtime();
    let (app, secret, made) = runtime.block_on(async {
        let client = serving.client().await;
        let app = client.app(true).await.expect("an app");
        let secret = client.secret("kept", Some("its value")).await.expect("a secret");
        let made = populate(&client, &app, &marker, SANDBOXES).await;
        assert_eq!(client.listed(false).await.len(), SANDBOXES);
        (app, secret, made)
    });
    wait_for("all processes", || processes(&marker).len() >= 3 * SANDBOXES);
    let footprint = Footprint::of(serving.pid());
    assert!(footprint.processes.len() >= 4 * SANDBOXES, "{}", footprint.processes.len());
    assert!(footprint.left().is_err(), "what is looked for can be seen");
    serving.kill();
    footprint.nothing_is_left();
    assert_eq!(processes(&marker), Vec::<String>::new());

    let again = home.serve();
    runtime.block_on(async {
        // The token of before is good.
        let client = again.client_with(token).await;
        let ids: BTreeSet<String> = made.iter().map(|sandbox| sandbox.sandbox_id.clone()).collect();
        assert_eq!(client.listed(false).await, BTreeSet::new());
        assert_eq!(client.listed(true).await, ids);
        for (number, sandbox) in made.iter().enumerate() {
            let (status, exception) = client.end_of(&sandbox.sandbox_id).await.expect("it has ended");
            assert_eq!(status, GenericStatus::InternalFailure);
            assert!(exception.starts_with("host lost"), "{exception}");
            let tags = SandboxTagsGetRequest { sandbox_id: sandbox.sandbox_id.clone() };
            let tags =
                soon(client.control().sandbox_tags_get_v2(client.request(tags))).await.expect("tags").into_inner();
            assert_eq!(tags.tags[0].tag_value, format!("crash-{number}"));
            let named = SandboxGetFromNameRequest {
                sandbox_name: format!("crash-{number}"),
                app_name: "crash".into(),
                ..Default::default()
            };
            let named = soon(client.control().sandbox_get_from_name_v2(client.request(named))).await;
            assert_eq!(named.expect_err("it runs no more").code(), Code::NotFound);
            // The answer to the call that made it is remembered, too.
            let same = client.create(&app, &format!("crash-{number}"), &["true"]).await.expect("remembered");
            assert_eq!((&same.sandbox_id, &same.task_id), (&sandbox.sandbox_id, &sandbox.task_id));
        }
        // What is no sandbox is as it was, and the names are free.
        assert_eq!(client.app(false).await.expect("the app"), app);
        assert_eq!(client.secret("kept", None).await.expect("the secret"), secret);
        let definition = Definition { name: Some("crash-7".into()), timeout_secs: 600, ..Default::default() };
        let request = SandboxCreateV2Request {
            app_id: app.clone(),
            definition: Some(definition),
            secret_sources: vec![SecretSource { source: Some(Source::SecretId(secret)) }],
            ..Default::default()
        };
        let second =
            soon(client.control().sandbox_create_v2(client.request(request))).await.expect("a free name").into_inner();
        let exec = client.exec(&second, &["sh", "-c", "echo \"$KEPT\""]).await;
        assert_eq!(client.output(&second, exec).await, "its value\n");
        // The fresh token is good beside the old one.
        assert_eq!(again.client().await.listed(false).await, [second.sandbox_id].into());
    });
    let footprint = Footprint::of(again.pid());
    again.send(Signal::TERM);
    let (code, said) = again.ended(PATIENCE);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("{SANDBOXES} sandboxes ended with the server before this one")), "{said}");
    footprint.nothing_is_left();
}

/// Killed while sandboxes are being made: none is left, on the machine or in the state, and the same calls go through afterwards.
#[test]
fn killed_while_sandboxes_are_made() {
    let home = Home::new();
    if !has_sandboxes(&home) {
        return;
    }
    let runtime = runtime();
    // The first one makes what all share.
    let serving = home.serve();
    let token = serving.token.clone();
    runtime.block_on(async {
        let client = serving.client().await;
        let app = client.app(true).await.expect("an app");
        client.create(&app, "first", &[]).await.expect("made");
    });
    serving.kill();
    for round in 0..4_u64 {
        let marker = marker(&format!("serve-making-{round}"));
        let serving = home.serve();
        let (answered, footprint) = runtime.block_on(async {
            let client = serving.client_with(token.clone()).await;
            let app = client.app(false).await.expect("the app");
            let creates = (0..30).map(|number| {
                let (client, app, marker) = (client.clone(), app.clone(), marker.clone());
                tokio::spawn(async move {
                    client.create(&app, &format!("made-{round}-{number}"), &["sh", "-c", "sleep 1000", &marker]).await
                })
            });
            let creates: Vec<_> = creates.collect();
            // Some moment in the middle; which, is not important.
            while processes(&marker).len() < 3 + usize::try_from(round).expect("small") * 5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            serving.send(Signal::STOP);
            let footprint = Footprint::of(serving.pid());
            serving.kill();
            let mut answered = BTreeSet::new();
            for (number, create) in creates.into_iter().enumerate() {
                if let Ok(made) = soon(create).await.expect("no panic") {
                    answered.insert((number, made.sandbox_id));
                }
            }
            (answered, footprint)
        });
        footprint.nothing_is_left();
        assert_eq!(processes(&marker), Vec::<String>::new());
        let again = home.serve();
        runtime.block_on(async {
            let client = again.client_with(token.clone()).await;
            assert_eq!(client.listed(false).await, BTreeSet::new());
            let app = client.app(false).await.expect("the app");
            for (_, id) in &answered {
                let (status, exception) = client.end_of(id).await.expect("it has ended");
                assert!(status == GenericStatus::InternalFailure && exception.starts_with("host lost"), "{exception}");
            }
            let mut made = BTreeSet::new();
            for number in 0..30 {
                let name = format!("made-{round}-{number}");
                let sandbox = client.create(&app, &name, &["sh", "-c", "sleep 1000", &marker]).await.expect("made");
                match answered.iter().find(|(answered, _)| *answered == number) {
                    Some((_, id)) => assert_eq!(sandbox.sandbox_id, *id),
                    // Its answer may have been kept, though it did not arrive.
                    None => drop(made.insert(sandbox.sandbox_id)),
                }
            }
            assert!(client.listed(false).await.is_subset(&made));
        });
        let footprint = Footprint::of(again.pid());
        again.kill();
        footprint.nothing_is_left();
    }
}

#[test]
fn told_to_stop_in_the_middle_of_everything() {
    let home = Home::new();
    if !has_sandboxes(&home) {
        return;
    }
    let marker = marker("serve-stopped");
    let serving = home.serve();
    let token = serving.token.clone();
    let runtime = runtime();
    let (made, waits) = runtime.block_on(async {
        let client = serving.client().await;
        let app = client.app(true).await.expect("an app");
        let made = populate(&client, &app, &marker, 20).await;
        // Somebody waits for each of them, somebody reads.
        let waits: Vec<_> = made
            .iter()
            .map(|sandbox| {
                let client = client.clone();
                let request = SandboxWaitRequest { sandbox_id: sandbox.sandbox_id.clone(), timeout: 600.0 };
                tokio::spawn(async move { client.control().sandbox_wait_v2(client.request(request)).await })
            })
            .collect();
        let read = TaskExecStdioReadRequest {
            task_id: made[0].task_id.clone(),
            exec_id: format!("exec-of-{}", made[0].sandbox_id),
            ..Default::default()
        };
        let mut router = TaskCommandRouterClient::new(client.channel.clone());
        let mut stream = soon(router.task_exec_stdio_read(routed(read, &made[0]))).await.expect("output").into_inner();
        assert!(soon(stream.message()).await.expect("output").is_some());
        (made, waits)
    });
    wait_for("all processes", || processes(&marker).len() >= 60);
    let footprint = Footprint::of(serving.pid());
    serving.send(Signal::TERM);
    let (code, said) = serving.ended(2 * PATIENCE);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    footprint.nothing_is_left();
    assert_eq!(processes(&marker), Vec::<String>::new());
    for wait in waits {
        // Told how it ended, or that the server goes: not left hanging.
        let answer = runtime.block_on(soon(wait)).expect("no panic");
        if let Ok(waited) = answer {
            let status = waited.into_inner().result.map(|result| result.status());
            assert!(matches!(status, None | Some(GenericStatus::Terminated)), "{status:?}");
        }
    }
    let again = home.serve();
    runtime.block_on(async {
        let client = again.client_with(token).await;
        for sandbox in &made {
            let (status, exception) = client.end_of(&sandbox.sandbox_id).await.expect("it has ended");
            assert_eq!(status, GenericStatus::Terminated, "{exception}");
        }
    });
}
