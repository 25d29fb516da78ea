//! The same call more than once.

use crate::world::{Guest, Who, World, fresh, soon};
use computesdk_modal_proto::client::{
    SandboxCreateRequest, SandboxCreateV2Request, SandboxCreateV2Response, SandboxWaitRequest,
    generic_result::GenericStatus,
};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use tonic::{Code, Request, Status};

fn keyed<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-idempotency-key", key.parse().unwrap());
    request
}

async fn create(who: &Who, request: &SandboxCreateV2Request, key: &str) -> Result<SandboxCreateV2Response, Status> {
    let (mut control, request) = (who.control(), keyed(request.clone(), key));
    soon("a create", control.sandbox_create_v2(request)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn creates() {
    let world = World::start().await;
    let own = &world.own;
    let mut request = own.asking(&["sh", "-c", "sleep 600"]).await;
    request.definition.as_mut().unwrap().name = Some("only-one".into());
    // At once: from one connection and from many.
    let key = fresh("key");
    let apart = join_all((0..8).map(|_| own.apart())).await;
    let answers = join_all((0..32).map(|turn| create(&apart[turn % 8], &request, &key))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let same = |made: &SandboxCreateV2Response| {
        (made.sandbox_id.clone(), made.task_id.clone(), made.metadata.clone(), made.tunnels.clone())
    };
    assert!(answers.iter().all(|answer| same(answer) == same(&answers[0])), "{answers:?}");
    // Each with a way to it that works.
    for answer in &answers[..3] {
        assert_eq!(own.guest(answer.clone()).shell("echo fine").await, "fine\n");
    }
    // One after the other, and with something else in it: the key says what it is.
    let later = create(own, &request, &key).await.unwrap();
    assert_eq!(same(&later), same(&answers[0]));
    let mut other = request.clone();
    other.definition.as_mut().unwrap().name = Some("another".into());
    assert_eq!(same(&create(own, &other, &key).await.unwrap()), same(&answers[0]));
    // The key is this workspace's, and this call's.
    let others = SandboxCreateV2Request { app_id: world.other.app("trouble").await, ..request.clone() };
    let others = create(&world.other, &others, &key).await.unwrap();
    assert_ne!(others.sandbox_id, later.sandbox_id);
    let v1 = SandboxCreateRequest { app_id: request.app_id.clone(), ..Default::default() };
    let v1 = soon("V1", own.control().sandbox_create(keyed(v1, &key))).await.unwrap().into_inner().sandbox_id;
    assert_eq!(own.listed().await.into_iter().collect::<BTreeSet<_>>(), [v1, later.sandbox_id.clone()].into());
    // What failed was not done: the same key again does it.
    let taken = fresh("key");
    let refused = join_all((0..8).map(|_| create(own, &request, &taken))).await;
    assert!(refused.iter().all(|answer| answer.as_ref().is_err_and(|why| why.code() == Code::AlreadyExists)));
    own.end(&later.sandbox_id).await;
    let second = create(own, &request, &taken).await.unwrap();
    assert_ne!(second.sandbox_id, later.sandbox_id);
    // And what was done stays done, also when it is over.
    assert_eq!(create(own, &request, &key).await.unwrap().sandbox_id, later.sandbox_id);
    assert_eq!(world.alive().await, 3);
    world.stop().await;
}

/// Over the same folder the answer is the same, and the sandbox is the one that ended with the server before.
pub(crate) async fn restart() {
    let world = World::start().await;
    let request = world.own.asking(&[]).await;
    let keys: Vec<String> = (0..5).map(|_| fresh("key")).collect();
    let before: Vec<_> = join_all(keys.iter().map(|key| create(&world.own, &request, key))).await;
    let before: Vec<_> = before.into_iter().map(Result::unwrap).collect();
    let world = world.again().await;
    for (key, before) in keys.iter().zip(before) {
        let after = join_all((0..4).map(|_| create(&world.own, &request, key))).await;
        for after in after {
            let after = after.unwrap();
            let same = (&after.sandbox_id, &after.task_id, &after.metadata);
            assert_eq!(same, (&before.sandbox_id, &before.task_id, &before.metadata));
        }
        let wait = SandboxWaitRequest { sandbox_id: before.sandbox_id, timeout: 0.0 };
        let ended = soon("a poll", world.own.control().sandbox_wait_v2(wait)).await.unwrap().into_inner().result;
        // It was ended by the stop.
        assert_eq!(ended.unwrap().status(), GenericStatus::Terminated);
    }
    assert_eq!((world.own.listed().await.len(), world.alive().await), (0, 0));
    // A new key makes a new one.
    create(&world.own, &request, &fresh("key")).await.unwrap();
    assert_eq!((world.own.listed().await.len(), world.alive().await), (1, 1));
    world.stop().await;
}

/// One id is one process, however often and from wherever it is started.
pub(crate) async fn starts() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let apart: Vec<Guest> = join_all((0..4).map(|_| guest.apart())).await;
    for turn in 0..10 {
        let id = fresh("once");
        let script = format!("echo started >> /tmp/{id}; echo said; cat");
        let request = guest.starting(&id, &["sh", "-c", &script]);
        let starts = (0..32).map(|at| {
            let (mut router, request) = (apart[at % 4].router(), request.clone());
            async move { soon("a start", router.task_exec_start(request)).await.map(drop) }
        });
        for started in join_all(starts).await {
            started.unwrap();
        }
        // Readers from each connection see the same.
        let reads = join_all(apart.iter().map(|guest| guest.read(&id, 0, 5))).await;
        assert!(reads.iter().all(|read| read == b"said\n"), "{turn}: {reads:?}");
        guest.write(&id, 0, b"", true).await.unwrap();
        assert_eq!(guest.wait(&id).await, 0);
        // Also after its end.
        soon("a late start", guest.router().task_exec_start(request)).await.unwrap();
        assert_eq!(guest.wait(&id).await, 0);
        assert_eq!(guest.shell(&format!("cat /tmp/{id}")).await, "started\n");
    }
    world.stop().await;
}
