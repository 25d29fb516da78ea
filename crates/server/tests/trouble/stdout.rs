//! Output by offset: whatever is asked for, and however often, the bytes are the same.

use crate::dice::Dice;
use crate::look::Peak;
use crate::raw::Breakable;
use crate::world::{Guest, Who, World, soon};
use std::time::{Duration, Instant};

const FLOOD: usize = 20 << 20;

/// What the program writes.
fn numbers(length: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(length + 16);
    for number in 1.. {
        if all.len() >= length {
            break;
        }
        all.extend_from_slice(format!("{number}\n").as_bytes());
    }
    all.truncate(length);
    all
}

pub(crate) async fn every_offset() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let expected = numbers(300);
    let exec = guest.start(&["sh", "-c", "seq 1 1000 | head -c 300; cat"]).await;
    // While it runs, as far as it has come; then to its end, and beyond.
    for offset in 0..300 {
        let read = guest.read(&exec, offset as u64, 300 - offset).await;
        assert_eq!(read, &expected[offset..], "from {offset}, running");
    }
    guest.write(&exec, 0, b"", true).await.unwrap();
    assert_eq!(guest.wait(&exec).await, 0);
    for offset in 0..=300 {
        assert_eq!(guest.read(&exec, offset as u64, usize::MAX).await, &expected[offset..], "from {offset}");
    }
    for offset in [301, 1 << 20, u64::MAX / 2, u64::MAX] {
        assert_eq!(guest.read(&exec, offset, usize::MAX).await, b"", "from {offset}");
    }
    // Errors too, which are another stream.
    let exec = guest.start(&["sh", "-c", "echo complaint >&2"]).await;
    for offset in 0..=10_u64 {
        let mut request = guest.reading(&exec, offset);
        request.file_descriptor = 1;
        let mut stream = soon("a stream", guest.router().task_exec_stdio_read(request)).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(message) = soon("output", stream.message()).await.unwrap() {
            found.extend_from_slice(&message.data);
        }
        assert_eq!(found, &b"complaint\n"[usize::try_from(offset).unwrap()..]);
    }
    world.stop().await;
}

async fn flooded(guest: &Guest) -> String {
    guest.start(&["sh", "-c", &format!("seq 1 100000000 | head -c {FLOOD}")]).await
}

pub(crate) async fn flood() {
    let mut dice = Dice::new("output_from_any_offset_of_a_flood");
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let expected = numbers(FLOOD);
    let exec = flooded(&guest).await;
    let compare = |read: &[u8], offset: usize| {
        // Not `assert_eq`: twenty megabytes are no message.
        assert!(read == &expected[offset..offset + read.len()], "other bytes from {offset}");
    };
    // While it is written, and afterwards, when most of it is on the disk.
    let all = guest.read(&exec, 0, usize::MAX).await;
    assert_eq!(all.len(), FLOOD);
    compare(&all, 0);
    guest.wait(&exec).await;
    let mut offsets: Vec<usize> = (0..24).map(|_| dice.below(FLOOD)).collect();
    // The limits of what is in memory and of what is handed out at a time.
    offsets.extend([0, 1, (256 << 10) - 1, 256 << 10, FLOOD - (1 << 20), FLOOD - (1 << 20) - 1, FLOOD - 1]);
    for (turn, offset) in offsets.into_iter().enumerate() {
        let most = if turn % 8 == 0 { usize::MAX } else { 1 << 20 };
        let read = guest.read(&exec, offset as u64, most).await;
        assert!(read.len() >= most.min(FLOOD - offset), "{} from {offset}", read.len());
        compare(&read, offset);
    }
    // Many at once.
    let many = futures_util::future::join_all((0..16).map(|_| {
        let offset = dice.below(FLOOD);
        let guest = &guest;
        let exec = &exec;
        async move { (offset, guest.read(exec, offset as u64, 1 << 20).await) }
    }));
    for (offset, read) in many.await {
        compare(&read, offset);
    }
    world.stop().await;
}

/// The connection is cut again and again, and each time the reader goes on where it was.
pub(crate) async fn pieces() {
    let mut dice = Dice::new("output_in_pieces");
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let expected = numbers(FLOOD);
    let exec = flooded(&guest).await;
    let mut read = Vec::with_capacity(FLOOD);
    let mut cuts = 0;
    'all: loop {
        let connection = Breakable::connect(world.addr).await;
        let there = Guest { who: Who { channel: connection.channel.clone(), ..world.own.clone() }, ..guest.clone() };
        let request = there.reading(&exec, read.len() as u64);
        let mut stream = soon("a stream", there.router().task_exec_stdio_read(request)).await.unwrap().into_inner();
        let until = read.len() + 1 + dice.below(2 << 20);
        loop {
            match soon("output", stream.message()).await {
                Ok(Some(message)) => read.extend_from_slice(&message.data),
                Ok(None) => break 'all,
                // Cut while more was under way.
                Err(_) => break,
            }
            if read.len() >= until {
                cuts += 1;
                if cuts % 2 == 0 {
                    connection.cut();
                } else {
                    break;
                }
            }
        }
    }
    assert!(cuts >= 8, "{cuts}");
    assert!(read == expected, "{} bytes, and others", read.len());
    world.stop().await;
}

/// Each of a byte or six, in a write of its own.
pub(crate) async fn tiny() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let (peak, begun) = (Peak::begin(), Instant::now());
    let script = "i=1; while [ $i -le 100000 ]; do echo $i; i=$((i+1)); done; cat";
    let exec = guest.start(&["sh", "-c", script]).await;
    let expected: Vec<u8> = (1..=100_000).flat_map(|number: u32| format!("{number}\n").into_bytes()).collect();
    // Somebody reads as it comes, somebody from the middle, somebody afterwards.
    let half = expected.len() / 2;
    let (all, second) =
        tokio::join!(guest.read(&exec, 0, expected.len()), guest.read(&exec, half as u64, expected.len() - half));
    assert!(all == expected && second == expected[half..], "{} and {} bytes", all.len(), second.len());
    assert!(guest.read(&exec, 0, expected.len()).await == expected);
    guest.write(&exec, 0, b"", true).await.unwrap();
    assert_eq!(guest.wait(&exec).await, 0);
    assert!(peak.mib() < 64, "{} MiB for {} bytes", peak.mib(), expected.len());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    world.stop().await;
}
