//! As many sandboxes as there may be, never one more, and each place free again at its end.

use crate::world::{Who, World, eventually, soon};
use computesdk_modal_proto::client::SandboxCreateV2Request;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tonic::{Code, Status};

async fn create(who: &Who, request: &SandboxCreateV2Request) -> Result<String, Status> {
    let (mut control, request) = (who.control(), request.clone());
    soon("a create", control.sandbox_create_v2(request)).await.map(|made| made.into_inner().sandbox_id)
}

/// Watches the provider for as long as it is kept.
struct Watch {
    most: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn begin(world: &World) -> Self {
        let (most, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (local, seen, ended) = (Arc::clone(&world.local), Arc::clone(&most), Arc::clone(&over));
        tokio::spawn(async move {
            use computesdk_core::Provider as _;
            while !ended.load(Ordering::Relaxed) {
                let alive = local.list(&computesdk_core::ListFilter::default()).await.unwrap().len();
                seen.fetch_max(alive, Ordering::Relaxed);
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        });
        Self { most, over }
    }

    fn most(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.most.load(Ordering::Relaxed)
    }
}

fn sorted(answers: Vec<Result<String, Status>>, most: usize, option: &str) -> Vec<String> {
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    for status in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        let text = status.message();
        assert!(text.contains(&most.to_string()) && text.contains(option), "{text}");
    }
    made.into_iter().map(Result::unwrap).collect()
}

pub(crate) async fn total() {
    let world = World::with(|options| options.max_sandboxes = Some(3)).await;
    let (own, other) = (&world.own, &world.other);
    let request = own.asking(&[]).await;
    let others = other.asking(&[]).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(create(own, &request).await.unwrap());
    }
    // For everybody.
    for (who, request) in [(own, &request), (other, &others)] {
        assert!(sorted(vec![create(who, request).await], 3, "--max-sandboxes").is_empty());
    }
    // Each end is a place, in whatever way it comes.
    own.end(&made.pop().unwrap()).await;
    let mut short = own.asking(&["sh", "-c", "exit 3"]).await;
    let its_own = create(own, &short).await.unwrap();
    let wait = computesdk_modal_proto::client::SandboxWaitRequest { sandbox_id: its_own, timeout: 60.0 };
    let ended = soon("its end", own.control().sandbox_wait_v2(wait)).await.unwrap().into_inner().result.unwrap();
    assert_eq!(ended.exitcode, 3);
    made.push(create(own, &request).await.unwrap());
    assert!(sorted(vec![create(own, &request).await], 3, "--max-sandboxes").is_empty());
    // One that cannot be made takes none.
    own.end(&made.pop().unwrap()).await;
    short.definition.as_mut().unwrap().entrypoint_args = vec!["/no/such/program".into()];
    for _ in 0..5 {
        if let Ok(id) = create(own, &short).await {
            let wait = computesdk_modal_proto::client::SandboxWaitRequest { sandbox_id: id, timeout: 60.0 };
            soon("its end", own.control().sandbox_wait_v2(wait)).await.unwrap();
        }
        let mut refused = request.clone();
        refused.definition.as_mut().unwrap().workdir = Some("not/absolute".into());
        create(own, &refused).await.unwrap_err();
    }
    made.push(create(own, &request).await.unwrap());
    for id in &made {
        own.end(id).await;
    }
    // Forty at once, again and again, of two tokens: never more than three.
    for _ in 0..4 {
        let watch = Watch::begin(&world);
        let answers =
            join_all((0..40).map(|turn| if turn % 2 == 0 { create(own, &request) } else { create(other, &others) }));
        let answers = answers.await;
        let alive = world.alive().await;
        let made = sorted(answers, 3, "--max-sandboxes");
        assert_eq!((made.len(), alive), (3, 3));
        assert!(watch.most() <= 3);
        let (mine, theirs) = (own.listed().await, other.listed().await);
        assert_eq!(mine.len() + theirs.len(), 3);
        join_all(mine.iter().map(|id| own.end(id))).await;
        join_all(theirs.iter().map(|id| other.end(id))).await;
    }
    world.stop().await;
}

pub(crate) async fn per_token() {
    let world = World::with(|options| options.max_sandboxes_per_token = Some(2)).await;
    let (own, other) = (&world.own, &world.other);
    let (request, others) = (own.asking(&[]).await, other.asking(&[]).await);
    let (mine, theirs) = tokio::join!(
        join_all((0..20).map(|_| create(own, &request))),
        join_all((0..20).map(|_| create(other, &others)))
    );
    let (mine, theirs) = (sorted(mine, 2, "--max-sandboxes-per-token"), sorted(theirs, 2, "--max-sandboxes-per-token"));
    assert_eq!((mine.len(), theirs.len()), (2, 2));
    own.end(&mine[0]).await;
    assert!(sorted(vec![create(other, &others).await], 2, "--max-sandboxes-per-token").is_empty());
    create(own, &request).await.unwrap();
    // A lifetime that is over is an end, too.
    own.end(&mine[1]).await;
    let mut short = request.clone();
    short.definition.as_mut().unwrap().timeout_secs = 1;
    create(own, &short).await.unwrap();
    create(own, &request).await.unwrap_err();
    let alive = Arc::new(AtomicUsize::new(usize::MAX));
    let seen = Arc::clone(&alive);
    let local = Arc::clone(&world.local);
    let watching = tokio::spawn(async move {
        use computesdk_core::Provider as _;
        loop {
            seen.store(local.list(&computesdk_core::ListFilter::default()).await.unwrap().len(), Ordering::Relaxed);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    eventually("its time is over", || match alive.load(Ordering::Relaxed) {
        3 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    watching.abort();
    create(own, &request).await.unwrap();
    world.stop().await;
}
