//! Somebody else's flood: how long an empty call takes meanwhile, against how long it takes alone, in one run.

use crate::gone::{beginning, message};
use crate::world::{Guest, World, soon};
use computesdk_modal_proto::router::task_exec_stdin_write_stream_request::Payload;
use futures_util::{StreamExt as _, stream};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

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

/// Tiny output, a flood of output from its beginning again and again, and tiny input, each as fast as it goes, until it is stopped.
async fn flood(guest: Guest) {
    let loud = guest.start(&["sh", "-c", "while :; do echo x; done"]).await;
    let large = guest.start(&["sh", "-c", "yes | head -c 20000000"]).await;
    let input = guest.start(&["sh", "-c", "cat > /dev/null"]).await;
    let read = async |exec: &str| {
        loop {
            let stream = guest.router().task_exec_stdio_read(guest.reading(exec, 0)).await;
            let Ok(stream) = stream else { return };
            let mut stream = stream.into_inner();
            while matches!(stream.message().await, Ok(Some(_))) {}
        }
    };
    let write = async {
        let piece = bytes::Bytes::from_static(b"xy");
        let pieces = stream::repeat_with(move || message(Payload::Data(piece.clone())));
        let messages = stream::iter([beginning(&guest, &input, 0)]).chain(pieces);
        let _ = guest.router().task_exec_stdin_write_stream(messages).await;
    };
    tokio::join!(read(&loud), read(&large), read(&large), write);
}

/// A client with threads of its own, as somebody else's program has them. It ends with this.
struct Elsewhere(Option<oneshot::Sender<()>>, Option<std::thread::JoinHandle<bool>>);

impl Elsewhere {
    fn run(guest: Guest) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let guest = guest.apart().await;
                tokio::select! {
                    () = flood(guest) => false,
                    _ = stopped => true,
                }
            })
        });
        Self(Some(stop), Some(thread))
    }

    /// Whether it went on until now.
    fn stop(mut self) -> bool {
        drop(self.0.take());
        self.1.take().unwrap().join().unwrap()
    }
}

pub(crate) async fn latency() {
    let world = World::with(|options| options.spool_cap = 64 << 20).await;
    let own = world.other.apart().await;
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let alone = p99(&own).await;
        let guest = world.own.sandbox().await;
        let elsewhere = Elsewhere::run(guest.clone());
        let beside = p99(&own).await;
        assert!(elsewhere.stop(), "the flood is over too soon");
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
