//! Somebody else's flood: how long an empty call takes meanwhile, against how long it takes alone, in one run.

use crate::gone::{beginning, message};
use crate::world::{Guest, World, soon};
use computesdk_modal_proto::router::task_exec_stdin_write_stream_request::Payload;
use futures_util::stream;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const CALLS: usize = 400;
/// The bound: so many times as long as alone, on two cores that the flood, its programs, and both clients share. It is there to
/// find a server that stands still for one client, not to measure one; a quiet machine shows 2 to 5.
const MOST_RATIO: u32 = 40;
/// Alone it may take next to nothing; less than this is never too long.
const FINE: Duration = Duration::from_millis(60);
/// Other programs run on this machine too.
const ATTEMPTS: usize = 3;

/// The time that 99 of 100 calls take at most.
async fn p99(own: &crate::world::Who) -> Duration {
    let mut control = own.control();
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begun = Instant::now();
        soon("an answer", control.client_hello(())).await.unwrap();
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[CALLS * 99 / 100]
}

/// Tiny output, a flood of output from many offsets, and tiny input, each as fast as it goes, until it is aborted.
async fn flood(guest: Guest) -> Vec<JoinHandle<()>> {
    let loud = guest.start(&["sh", "-c", "while :; do echo x; done"]).await;
    let large = guest.start(&["sh", "-c", "yes | head -c 20000000"]).await;
    let input = guest.start(&["sh", "-c", "cat > /dev/null"]).await;
    let mut tasks = Vec::new();
    for (exec, copies) in [(loud, 1), (large, 2)] {
        for _ in 0..copies {
            let (guest, exec) = (guest.clone(), exec.clone());
            tasks.push(tokio::spawn(async move {
                loop {
                    let read = guest.router().task_exec_stdio_read(guest.reading(&exec, 0)).await;
                    let Ok(read) = read else { return };
                    let mut read = read.into_inner();
                    while matches!(read.message().await, Ok(Some(_))) {}
                }
            }));
        }
    }
    tasks.push(tokio::spawn(async move {
        let data = (0_u64..).map(|_| message(Payload::Data(bytes::Bytes::from_static(b"xy"))));
        let messages: Vec<_> =
            [beginning(&guest, &input, 0)].into_iter().chain(data.take(10_000_000)).take(2_000_000).collect();
        let _ = guest.router().task_exec_stdin_write_stream(stream::iter(messages)).await;
    }));
    tasks
}

pub(crate) async fn latency() {
    let world = World::with(|options| options.spool_cap = 64 << 20).await;
    let own = world.other.apart().await;
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let alone = p99(&own).await;
        let guest = world.own.sandbox().await.apart().await;
        let tasks = flood(guest.clone()).await;
        let beside = p99(&own).await;
        assert!(tasks.iter().all(|task| !task.is_finished()), "the flood is over too soon");
        tasks.iter().for_each(JoinHandle::abort);
        guest.end().await;
        println!("p99 alone {alone:?}, beside a flood {beside:?}");
        if beside <= FINE.max(alone * MOST_RATIO) {
            world.stop().await;
            return;
        }
        seen.push((alone, beside));
    }
    panic!("p99 of an empty call alone and beside a flood: {seen:?}");
}
