//! Clients that are gone in the middle of what they asked for.

use crate::dice::Dice;
use crate::look::{Look, Peak};
use crate::raw::Breakable;
use crate::world::{Guest, Who, World, control, fresh, soon};
use computesdk_modal_proto::client::{
    ContainerExecWaitRequest, ContainerFileCloseRequest, ContainerFileOpenRequest, ContainerFileWriteRequest,
    ContainerFilesystemExecRequest, SandboxCreateV2Response, SandboxGetLogsRequest, SandboxWaitRequest,
    container_filesystem_exec_request::FileExecRequestOneof,
};
use computesdk_modal_proto::router::{
    TaskExecStdinStatusRequest, TaskExecStdinWriteStreamRequest, TaskExecStdinWriteStreamStart, TaskExecWaitRequest,
    task_exec_stdin_write_stream_request::Payload,
};
use futures_util::{StreamExt as _, future, stream};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::{Request, Status};

const KEY: &str = "x-idempotency-key";

/// All long polls at once, from one connection; then it is gone, each way there is.
pub(crate) async fn waiting() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let exec = guest.start(&["sleep", "600"]).await;
    let look = Look::now(&world).await;
    for is_cut in [false, true] {
        let connection = Breakable::connect(world.addr).await;
        let there = Guest { who: Who { channel: connection.channel.clone(), ..world.own.clone() }, ..guest.clone() };
        let mut calls: Vec<JoinHandle<Result<(), Status>>> = Vec::new();
        for _ in 0..20 {
            let (mut control, mut router) = (there.who.control(), there.router());
            let (id, task, exec_id) = (guest.id.clone(), guest.task.clone(), exec.clone());
            calls.push(tokio::spawn(async move {
                let wait = SandboxWaitRequest { sandbox_id: id.clone(), timeout: 600.0 };
                control.sandbox_wait_v2(wait).await.map(drop)
            }));
            let (mut control, id) = (there.who.control(), guest.id.clone());
            calls.push(tokio::spawn(async move {
                let logs = SandboxGetLogsRequest {
                    sandbox_id: id.clone(),
                    timeout: 600.0,
                    file_descriptor: 1,
                    ..Default::default()
                };
                control.sandbox_get_logs(logs).await?.into_inner().message().await.map(drop)
            }));
            let (mut control, exec_id_too) = (there.who.control(), exec_id.clone());
            calls.push(tokio::spawn(async move {
                let wait = ContainerExecWaitRequest { exec_id: exec_id_too, timeout: 600.0 };
                control.container_exec_wait(wait).await.map(drop)
            }));
            calls.push(tokio::spawn(async move {
                router.task_exec_wait(TaskExecWaitRequest { task_id: task, exec_id }).await.map(drop)
            }));
        }
        soon("an answer behind all of them", there.who.control().client_hello(())).await.unwrap();
        assert!(calls.iter().all(|call| !call.is_finished()), "they wait");
        if is_cut {
            connection.cut();
            for call in calls {
                soon("the end of a call", call).await.unwrap().unwrap_err();
            }
        } else {
            calls.iter().for_each(JoinHandle::abort);
            drop(calls);
        }
        drop((connection, there));
        look.and_nothing_more(&world).await;
    }
    assert_eq!(guest.shell("echo fine").await, "fine\n");
    world.stop().await;
}

/// A flood that its reader leaves: it goes on, within bounds, and somebody else can have all of it.
pub(crate) async fn reading() {
    let world = World::with(|options| options.spool_cap = 64 << 20).await;
    let guest = world.own.sandbox().await;
    let look = Look::now(&world).await;
    let exec = guest.start(&["sh", "-c", "yes | head -c 20000000; cat"]).await;
    let peak = Peak::begin();
    for is_cut in [false, true, false, true, false, true] {
        let connection = Breakable::connect(world.addr).await;
        let there = Guest { who: Who { channel: connection.channel.clone(), ..world.own.clone() }, ..guest.clone() };
        let mut streams = Vec::new();
        for _ in 0..30 {
            let mut stream = soon("a stream", there.router().task_exec_stdio_read(there.reading(&exec, 0)))
                .await
                .unwrap()
                .into_inner();
            assert!(soon("output", stream.message()).await.unwrap().is_some());
            // Not read any further.
            streams.push(stream);
        }
        if is_cut {
            connection.cut();
        }
        drop((streams, there, connection));
    }
    assert!(peak.mib() < 200, "{} MiB", peak.mib());
    let all = guest.read(&exec, 0, 20_000_000).await;
    assert!(all.len() == 20_000_000 && all.chunks(2).all(|line| line == b"y\n"));
    guest.write(&exec, 0, b"", true).await.unwrap();
    assert_eq!(guest.wait(&exec).await, 0);
    guest.end().await;
    let other = world.own.sandbox().await;
    assert_eq!(other.shell("echo fine").await, "fine\n");
    other.end().await;
    // Of what has ended the output is kept: one nameless file.
    look.with_more_files(1).and_nothing_more(&world).await;
    world.stop().await;
}

pub(crate) fn message(payload: Payload) -> TaskExecStdinWriteStreamRequest {
    TaskExecStdinWriteStreamRequest { payload: Some(payload) }
}

pub(crate) fn beginning(guest: &Guest, exec: &str, offset: u64) -> TaskExecStdinWriteStreamRequest {
    let (task_id, exec_id) = (guest.task.clone(), exec.to_owned());
    message(Payload::Start(TaskExecStdinWriteStreamStart { task_id, exec_id, offset }))
}

/// Streams of input that nobody ends, to a program that does not read: its client is gone, and another one goes on.
pub(crate) async fn writing() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let look = Look::now(&world).await;
    // It reads when it is told by a file.
    let exec = guest.start(&["sh", "-c", "while ! [ -e /tmp/go ]; do sleep 0.05; done; wc -c"]).await;
    let data = vec![b'x'; 300_000];
    for is_cut in [false, true, false, true] {
        let connection = Breakable::connect(world.addr).await;
        let there = Guest { who: Who { channel: connection.channel.clone(), ..world.own.clone() }, ..guest.clone() };
        let taken = status(&guest, &exec).await.0;
        let messages = vec![
            beginning(&guest, &exec, taken),
            message(Payload::Data(data[usize::try_from(taken).unwrap()..].to_vec().into())),
        ];
        let mut router = there.router();
        let call = tokio::spawn(async move {
            let endless = stream::iter(messages).chain(stream::once(future::pending()));
            router.task_exec_stdin_write_stream(endless).await
        });
        // The pipe is full, and the rest waits.
        soon("an answer", control(connection.channel.clone(), world.own.headers()).client_hello(())).await.unwrap();
        if is_cut {
            connection.cut();
            soon("the end of a call", call).await.unwrap().unwrap_err();
        } else {
            call.abort();
        }
    }
    let (taken, closed) = status(&guest, &exec).await;
    assert!(taken < 300_000 && !closed, "{taken} {closed}");
    guest.shell("touch /tmp/go").await;
    let rest = &data[usize::try_from(taken).unwrap()..];
    guest.write(&exec, taken, rest, true).await.unwrap();
    assert_eq!(guest.read(&exec, 0, 100).await.trim_ascii(), b"300000");
    guest.end().await;
    look.and_nothing_more(&world).await;
    world.stop().await;
}

pub(crate) async fn status(guest: &Guest, exec: &str) -> (u64, bool) {
    let request = TaskExecStdinStatusRequest { task_id: guest.task.clone(), exec_id: exec.to_owned() };
    let status = soon("a status", guest.router().task_exec_stdin_status(request)).await.unwrap().into_inner();
    (status.num_bytes_written, status.closed)
}

/// A create whose client goes away: it is there for the same call again, once, or not at all.
pub(crate) async fn creating() {
    let mut dice = Dice::new("clients_that_vanish_while_a_sandbox_is_made");
    let world = World::start().await;
    // The first one makes the image.
    world.own.sandbox().await.end().await;
    let request = world.own.asking(&[]).await;
    let look = Look::now(&world).await;
    let mut keys = Vec::new();
    for turn in 0..24 {
        let key = fresh("key");
        let connection = Breakable::connect(world.addr).await;
        let headers = world.own.headers();
        let mut client = control(connection.channel.clone(), headers);
        let mut call = Request::new(request.clone());
        call.metadata_mut().insert(KEY, key.parse().unwrap());
        let create = tokio::spawn(async move { client.sandbox_create_v2(call).await });
        let patience = Duration::from_micros(u64::try_from(dice.below(60_000)).unwrap());
        tokio::time::sleep(patience).await;
        if turn % 2 == 0 {
            create.abort();
        } else {
            connection.cut();
        }
        keys.push(key);
    }
    // Half of them come again, each twice at once.
    let mut made = BTreeSet::new();
    for key in keys.iter().step_by(2) {
        let again = || {
            let mut call = Request::new(request.clone());
            call.metadata_mut().insert(KEY, key.parse().unwrap());
            let mut client = world.own.control();
            async move {
                client
                    .sandbox_create_v2(call)
                    .await
                    .map(|made: tonic::Response<SandboxCreateV2Response>| made.into_inner())
            }
        };
        let (one, two) = soon("the same again", future::join(again(), again())).await;
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((&one.sandbox_id, &one.task_id), (&two.sandbox_id, &two.task_id));
        let guest = world.own.guest(one);
        assert_eq!(guest.shell("echo fine").await, "fine\n");
        assert!(made.insert(guest.id), "each has its own");
    }
    // The server has no other than those, and those whose client did not come again; the provider no other than the server.
    let listed: BTreeSet<String> = world.own.listed().await.into_iter().collect();
    assert!(listed.is_superset(&made) && listed.len() <= keys.len(), "{listed:?}, {made:?}");
    for key in keys.iter().skip(1).step_by(2) {
        let mut call = Request::new(request.clone());
        call.metadata_mut().insert(KEY, key.parse().unwrap());
        made.insert(soon("late", world.own.control().sandbox_create_v2(call)).await.unwrap().into_inner().sandbox_id);
    }
    let listed: BTreeSet<String> = world.own.listed().await.into_iter().collect();
    assert_eq!((&listed, listed.len()), (&made, keys.len()));
    assert_eq!(world.alive().await, keys.len());
    for id in &listed {
        world.own.end(id).await;
    }
    look.and_nothing_more(&world).await;
    world.stop().await;
}

/// A start whose client goes away: the same id again is the same process, with all of its output.
pub(crate) async fn starting() {
    let mut dice = Dice::new("clients_that_vanish_while_a_process_starts");
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    guest.shell("true").await;
    let look = Look::now(&world).await;
    for turn in 0..40 {
        let id = fresh("start");
        let script = format!("echo x >> /tmp/{id}; echo said; echo complained >&2");
        let request = guest.starting(&id, &["sh", "-c", &script]);
        let connection = Breakable::connect(world.addr).await;
        let there = Guest { who: Who { channel: connection.channel.clone(), ..world.own.clone() }, ..guest.clone() };
        let mut router = there.router();
        let first = tokio::spawn({
            let request = request.clone();
            async move { router.task_exec_start(request).await }
        });
        tokio::time::sleep(Duration::from_micros(u64::try_from(dice.below(4_000)).unwrap())).await;
        if turn % 2 == 0 {
            first.abort();
        } else {
            connection.cut();
        }
        soon("the start again", guest.router().task_exec_start(request)).await.unwrap();
        assert_eq!(guest.read(&id, 0, usize::MAX).await, b"said\n");
        assert_eq!(guest.wait(&id).await, 0);
        assert_eq!(guest.shell(&format!("cat /tmp/{id}")).await, "x\n", "it ran once");
    }
    look.and_nothing_more(&world).await;
    world.stop().await;
}

/// A piece for the end of a file, from a client that goes away and sends it again: it is there once.
pub(crate) async fn filing() {
    let mut dice = Dice::new("clients_that_vanish_while_a_file_grows");
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let look = Look::now(&world).await;
    let exec = |request| ContainerFilesystemExecRequest {
        task_id: guest.task.clone(),
        file_exec_request_oneof: Some(request),
    };
    let open = ContainerFileOpenRequest { path: "/tmp/log".into(), mode: "a".into(), ..Default::default() };
    let open = exec(FileExecRequestOneof::FileOpenRequest(open));
    let opened = soon("a file", world.own.control().container_filesystem_exec(open)).await.unwrap().into_inner();
    let file_descriptor = opened.file_descriptor.unwrap();
    let mut expected = Vec::new();
    for turn in 0..30 {
        let data = dice.bytes(200_000);
        expected.extend_from_slice(&data);
        let write = ContainerFileWriteRequest { file_descriptor: file_descriptor.clone(), data: data.into() };
        let write = exec(FileExecRequestOneof::FileWriteRequest(write));
        let key = fresh("key");
        let keyed = || {
            let mut request = Request::new(write.clone());
            request.metadata_mut().insert(KEY, key.parse().unwrap());
            request
        };
        let connection = Breakable::connect(world.addr).await;
        let mut client = control(connection.channel.clone(), world.own.headers());
        let request = keyed();
        let first = tokio::spawn(async move { client.container_filesystem_exec(request).await });
        tokio::time::sleep(Duration::from_micros(u64::try_from(dice.below(5_000)).unwrap())).await;
        if turn % 2 == 0 {
            first.abort();
        } else {
            connection.cut();
        }
        soon("the write again", world.own.control().container_filesystem_exec(keyed())).await.unwrap();
    }
    let close = exec(FileExecRequestOneof::FileCloseRequest(ContainerFileCloseRequest { file_descriptor }));
    soon("its end", world.own.control().container_filesystem_exec(close)).await.unwrap();
    let read = guest.start(&["cat", "/tmp/log"]).await;
    let found = guest.read(&read, 0, usize::MAX).await;
    assert!(found == expected, "{} bytes instead of {}", found.len(), expected.len());
    // The output that was just read.
    look.with_more_files(1).and_nothing_more(&world).await;
    world.stop().await;
}

/// In HTTP/2 whoever closes one way closes both: what such a client waits for is not waited for any more, and what it has made stays.
pub(crate) async fn half() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let exec = guest.start(&["sleep", "600"]).await;
    let look = Look::now(&world).await;
    for _ in 0..10 {
        let connection = Breakable::connect(world.addr).await;
        let there = Guest { who: Who { channel: connection.channel.clone(), ..world.own.clone() }, ..guest.clone() };
        let (mut router, request) =
            (there.router(), TaskExecWaitRequest { task_id: guest.task.clone(), exec_id: exec.clone() });
        let call = tokio::spawn(async move { router.task_exec_wait(request).await });
        soon("an answer", there.who.control().client_hello(())).await.unwrap();
        assert!(!call.is_finished());
        connection.half_close();
        soon("the end of the call", call).await.unwrap().unwrap_err();
    }
    look.and_nothing_more(&world).await;
    assert_eq!(guest.shell("echo fine").await, "fine\n");
    let wait = ContainerExecWaitRequest { exec_id: exec, timeout: 0.0 };
    let waited = soon("a poll", world.own.control().container_exec_wait(wait)).await.unwrap().into_inner();
    assert!(!waited.completed);
    world.stop().await;
}
