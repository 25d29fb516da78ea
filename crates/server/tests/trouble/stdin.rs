//! Input by offset: each byte is taken once, whoever sends it how often.

use crate::dice::Dice;
use crate::gone::{beginning, message, status};
use crate::look::Peak;
use crate::raw::Breakable;
use crate::world::{Guest, Who, World, control, soon};
use computesdk_modal_proto::router::{TaskExecStdinWriteStreamEnd, task_exec_stdin_write_stream_request::Payload};
use futures_util::{StreamExt as _, future, stream};
use std::time::{Duration, Instant};
use tonic::Code;

pub(crate) async fn offsets() {
    let mut dice = Dice::new("input_in_any_order");
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let data = dice.bytes(100_000);
    let exec = guest.start(&["cat"]).await;
    // Twice, partly known, and with a gap.
    guest.write(&exec, 0, &data[..100], false).await.unwrap();
    guest.write(&exec, 0, &data[..100], false).await.unwrap();
    guest.write(&exec, 50, &data[50..150], false).await.unwrap();
    guest.write(&exec, 10, b"", false).await.unwrap();
    for gap in [151, 1000, u64::MAX] {
        let refused = guest.write(&exec, gap, b"x", false).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    }
    assert_eq!(status(&guest, &exec).await, (150, false));
    // Anything at or before the end of what was taken, in any length.
    let mut taken = 150;
    while taken < data.len() {
        let from = taken - dice.below(taken.min(500));
        let until = (from + dice.below(3000)).min(data.len());
        guest.write(&exec, from as u64, &data[from..until], false).await.unwrap();
        taken = taken.max(until);
    }
    // Two at once with the same bytes at the end: one of them is too late, and that is fine.
    let (one, two) =
        tokio::join!(guest.write(&exec, taken as u64, b"end", true), guest.write(&exec, taken as u64, b"end", true));
    one.unwrap();
    two.unwrap();
    guest.write(&exec, taken as u64 + 3, b"", true).await.unwrap();
    guest.write(&exec, 0, &data[..100], true).await.unwrap();
    let refused = guest.write(&exec, taken as u64 + 3, b"more", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let read = guest.read(&exec, 0, usize::MAX).await;
    assert!(read[..data.len()] == data && &read[data.len()..] == b"end", "{} bytes", read.len());
    assert_eq!(guest.wait(&exec).await, 0);
    // Nobody is left to read.
    let exec = guest.start(&["true"]).await;
    guest.wait(&exec).await;
    let refused = guest.write(&exec, 0, b"x", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    guest.write(&exec, 0, b"", true).await.unwrap();
    world.stop().await;
}

/// A stream of writes is cut; its client asks how far it came and goes on. In the end every byte was taken once.
pub(crate) async fn resumed() {
    let mut dice = Dice::new("input_that_breaks_off");
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let data = dice.bytes(8 << 20);
    let exec = guest.start(&["sh", "-c", "cat > /tmp/in; wc -c < /tmp/in; cat /tmp/in"]).await;
    let mut breaks = 0;
    loop {
        let (taken, closed) = status(&guest, &exec).await;
        assert!(!closed, "a stream that breaks off leaves the input open");
        let from = usize::try_from(taken).unwrap();
        let connection = Breakable::connect(world.addr).await;
        let there = Guest { who: Who { channel: connection.channel.clone(), ..world.own.clone() }, ..guest.clone() };
        if breaks == 6 {
            let pieces = data[from..].chunks(256 << 10).map(|piece| message(Payload::Data(piece.to_vec().into())));
            let mut messages = vec![beginning(&guest, &exec, taken)];
            messages.extend(pieces);
            messages.push(message(Payload::End(TaskExecStdinWriteStreamEnd {})));
            let mut router = there.router();
            soon("all of it", router.task_exec_stdin_write_stream(stream::iter(messages))).await.unwrap();
            break;
        }
        breaks += 1;
        // It begins a little before, as a client that has not heard what was taken.
        let from = from - dice.below(from.min(1000));
        let until = (from + 1000 + dice.below(2 << 20)).min(data.len());
        let pieces = data[from..until].chunks(50_000).map(|piece| message(Payload::Data(piece.to_vec().into())));
        let mut messages = vec![beginning(&guest, &exec, from as u64)];
        messages.extend(pieces);
        let endless = stream::iter(messages).chain(stream::once(future::pending()));
        let mut router = there.router();
        let call = tokio::spawn(async move { router.task_exec_stdin_write_stream(endless).await });
        soon("an answer", control(connection.channel.clone(), world.own.headers()).client_hello(())).await.unwrap();
        match breaks % 3 {
            0 => connection.cut(),
            1 => call.abort(),
            // Not gone at all: put out by whoever asks for the status.
            _ => {
                status(&guest, &exec).await;
                let out = soon("put out", call).await.unwrap();
                assert!(out.is_err_and(|why| why.code() == Code::Aborted));
            }
        }
    }
    assert_eq!(guest.wait(&exec).await, 0);
    let read = guest.read(&exec, 0, usize::MAX).await;
    let head = format!("{}\n", data.len());
    assert!(read.starts_with(head.as_bytes()), "{:?}", String::from_utf8_lossy(&read[..20]));
    assert!(read[head.len()..] == data, "other bytes");
    world.stop().await;
}

/// In messages of a byte or six: as a stream, and in calls of their own.
pub(crate) async fn tiny() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let (peak, begun) = (Peak::begin(), Instant::now());
    let lines: Vec<String> = (1..=100_000).map(|number: u32| format!("{number}\n")).collect();
    let expected = lines.concat();
    let exec = guest.start(&["cat"]).await;
    let messages = [beginning(&guest, &exec, 0)]
        .into_iter()
        .chain(lines.into_iter().map(|line| message(Payload::Data(line.into_bytes().into()))))
        .chain([message(Payload::End(TaskExecStdinWriteStreamEnd {}))]);
    let messages: Vec<_> = messages.collect();
    let mut router = guest.router();
    let (written, read) = tokio::join!(
        soon("all of it", router.task_exec_stdin_write_stream(stream::iter(messages))),
        guest.read(&exec, 0, usize::MAX)
    );
    written.unwrap();
    assert!(read == expected.as_bytes(), "{} bytes", read.len());
    assert_eq!(guest.wait(&exec).await, 0);
    let exec = guest.start(&["cat"]).await;
    let mut taken = 0;
    for _ in 0..5_000 {
        guest.write(&exec, taken, b"xy", false).await.unwrap();
        taken += 2;
    }
    guest.write(&exec, taken, b"", true).await.unwrap();
    assert!(guest.read(&exec, 0, usize::MAX).await == b"xy".repeat(5_000));
    assert!(peak.mib() < 96, "{} MiB", peak.mib());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    world.stop().await;
}
