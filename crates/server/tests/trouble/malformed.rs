//! Messages that are none, are too large, never come, or break off.

use crate::dice::Dice;
use crate::look::{Look, Peak};
use crate::raw::{self, Breakable};
use crate::rpcs::{CONTROL, Protos, Rpc, put, put_number};
use crate::world::{Guest, Headers, MOST_MESSAGE, World, soon};
use bytes::{Bytes, BytesMut};
use computesdk_modal_proto::client::SandboxWaitRequest;
use futures_util::{StreamExt as _, future, stream};
use prost::Message as _;
use std::time::Duration;
use tonic::Code;

/// What a message of this many bytes is refused with.
const TOO_LARGE: [Code; 2] = [Code::OutOfRange, Code::ResourceExhausted];

fn headers(rpc: &Rpc, guest: &Guest) -> Headers {
    if rpc.service == CONTROL { guest.who.headers() } else { guest.headers() }
}

/// Bytes that are no message of any kind, and messages with a field of the wrong kind: an error of a client's, no panic, no hang, and
/// whoever comes next is served.
pub(crate) async fn nonsense() {
    let mut dice = Dice::new("messages_that_are_none");
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let protos = Protos::read();
    let look = Look::now(&world).await;
    let mut refused = 0;
    for rpc in &protos.rpcs {
        let headers = headers(rpc, &guest);
        let filled = protos.filled(&rpc.input, "\u{0}\n/../ä", u64::from(u32::MAX));
        let mut bodies: Vec<Bytes> = vec![
            filled.clone(),
            protos.filled(&rpc.input, "", u64::MAX),
            protos.filled(&rpc.input, &"x".repeat(100_000), 0x7ff0_0000_0000_0000),
        ];
        bodies.extend((0..8).map(|_| {
            let length = dice.below(300);
            dice.bytes(length).into()
        }));
        if !filled.is_empty() {
            bodies.extend((0..4).map(|_| filled.slice(..dice.below(filled.len()))));
            bodies.extend((0..4).map(|_| {
                let mut changed = filled.to_vec();
                changed[dice.below(filled.len())] ^= 1 << dice.below(8);
                Bytes::from(changed)
            }));
        }
        // The first 40 fields as a number, a text, eight bytes, a group, and as what there is not.
        for wire_type in [0, 1, 2, 3, 5, 6, 7] {
            let fields = (1..40_u8).flat_map(|field| [(field << 3 | wire_type) % 128, 1, 2, 3]);
            bodies.push(fields.collect());
        }
        // Messages in messages, deeper than anything is.
        let nested = (0..200).fold(BytesMut::new(), |inner, _| {
            let mut outer = BytesMut::new();
            put(&mut outer, 2, &inner);
            outer
        });
        bodies.push(nested.freeze());
        for body in bodies {
            let (path, shown) = (rpc.path(), body.clone());
            let asked = raw::call(&world.own.channel, &path, &headers, vec![body]);
            // Whoever waits for something was understood.
            match tokio::time::timeout(Duration::from_secs(5), asked).await {
                Err(_) | Ok(Ok(_)) => {}
                Ok(Err(status)) => {
                    refused += 1;
                    let code = status.code();
                    let text = status.message();
                    assert!(!matches!(code, Code::Unknown | Code::Unavailable), "{}: {status}: {shown:?}", rpc.name);
                    // tonic's own word for what cannot be decoded.
                    let is_ours = code != Code::Internal || text.contains("decode") || text.contains("Decode");
                    assert!(is_ours, "{}: {status}: {shown:?}", rpc.name);
                    assert!(!text.contains("panic") && text.len() < 2000, "{}: {status}", rpc.name);
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
    assert_eq!(guest.shell("echo fine").await, "fine\n");
    // What was created by chance has a place in a list.
    for id in world.own.listed().await {
        if id != guest.id {
            world.own.end(&id).await;
        }
    }
    look.and_nothing_more(&world).await;
    world.stop().await;
}

/// Fields that this server does not know, of every kind, change nothing.
pub(crate) async fn unknown_fields() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let with_more = |message: Vec<u8>| {
        let mut bytes = BytesMut::from(&message[..]);
        put(&mut bytes, 1999, b"from a later version");
        put_number(&mut bytes, 2000, u64::MAX);
        put(&mut bytes, 536_870_911, &[0xff; 1000]);
        bytes.freeze()
    };
    let request = SandboxWaitRequest { sandbox_id: guest.id.clone(), timeout: 0.0 };
    let path = "/modal.client.ModalClient/SandboxWaitV2";
    let mut answers = Vec::new();
    for message in [Bytes::from(request.encode_to_vec()), with_more(request.encode_to_vec())] {
        let headers = world.own.headers();
        answers.push(soon("an answer", raw::call(&world.own.channel, path, &headers, vec![message])).await.unwrap());
    }
    assert!(answers[0].as_ref().is_some_and(|answer| !answer.is_empty()));
    assert_eq!(answers[0], answers[1]);
    // Also where something is made of it, and in the message within.
    let mut request = world.own.asking(&["true"]).await;
    let definition = with_more(request.definition.take().unwrap().encode_to_vec());
    let mut bytes = BytesMut::from(&request.encode_to_vec()[..]);
    put(&mut bytes, 2, &definition);
    let path = "/modal.client.ModalClient/SandboxCreateV2";
    let message = vec![with_more(bytes.to_vec())];
    let headers = world.own.headers();
    soon("a sandbox", raw::call(&world.own.channel, path, &headers, message)).await.unwrap().unwrap();
    let start = guest.starting("unknown", &["true"]).encode_to_vec();
    let path = "/modal.task_command_router.TaskCommandRouter/TaskExecStart";
    let (headers, message) = (guest.headers(), vec![with_more(start)]);
    soon("a start", raw::call(&world.own.channel, path, &headers, message)).await.unwrap();
    assert_eq!(guest.wait("unknown").await, 0);
    world.stop().await;
}

/// 101 MiB are refused by their announcement: they are not kept, and mostly not even read.
pub(crate) async fn oversized() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let look = Look::now(&world).await;
    let piece = Bytes::from(vec![0x5a; 256 << 10]);
    for rpc in Protos::read().rpcs {
        let length = 101 << 20;
        let pieces =
            stream::iter([raw::prefix(length)]).chain(stream::repeat(piece.clone()).take(length / piece.len()));
        let (peak, headers) = (Peak::begin(), headers(&rpc, &guest));
        let own = world.own.apart().await;
        let path = rpc.path();
        let refused = soon(&rpc.name, raw::body(&own.channel, &path, &headers, pieces)).await.unwrap_err();
        assert!(TOO_LARGE.contains(&refused.code()), "{}: {refused}", rpc.name);
        assert!(peak.mib() < 50, "{}: {} MiB", rpc.name, peak.mib());
    }
    // What is just small enough is read.
    let mut request = BytesMut::new();
    put(&mut request, 1, b"sb-none");
    let padding = MOST_MESSAGE - request.len() - 16;
    put(&mut request, 1999, &vec![0; padding]);
    let (path, headers) = ("/modal.client.ModalClient/SandboxWaitV2", world.own.headers());
    let pieces = [raw::prefix(request.len()), request.freeze()];
    let refused = soon("a large one", raw::body(&world.own.channel, path, &headers, stream::iter(pieces))).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    assert_eq!(guest.shell("echo fine").await, "fine\n");
    look.and_nothing_more(&world).await;
    world.stop().await;
}

/// A thousand calls that announce 100 MiB each and send a little of it: nothing is set aside for what has not come.
pub(crate) async fn promised() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let look = Look::now(&world).await;
    let connection = Breakable::connect(world.addr).await;
    let peak = Peak::begin();
    let calls: Vec<_> = (0..900)
        .map(|_| {
            let (channel, headers) = (connection.channel.clone(), world.own.headers());
            let start = [raw::prefix(MOST_MESSAGE), Bytes::from_static(&[0; 100])];
            let pieces = stream::iter(start).chain(stream::once(future::pending()));
            tokio::spawn(async move {
                raw::body(&channel, "/modal.client.ModalClient/SandboxWaitV2", &headers, pieces).await
            })
        })
        .collect();
    // Behind all of them on the same connection.
    let mut honest = crate::world::control(connection.channel.clone(), world.own.headers());
    soon("an answer", honest.client_hello(())).await.unwrap();
    assert!(peak.mib() < 200, "{} MiB", peak.mib());
    connection.cut();
    for call in calls {
        soon("the end of a call", call).await.unwrap().unwrap_err();
    }
    assert_eq!(guest.shell("echo fine").await, "fine\n");
    drop((connection, honest));
    look.and_nothing_more(&world).await;
    world.stop().await;
}

/// Every RPC: half of a message, then a reset of the stream, or of the connection.
pub(crate) async fn resets() {
    let world = World::start().await;
    let guest = world.own.sandbox().await;
    let look = Look::now(&world).await;
    for rpc in Protos::read().rpcs {
        let headers = headers(&rpc, &guest);
        for is_cut in [false, true] {
            let connection = Breakable::connect(world.addr).await;
            let pieces = [raw::prefix(1000), Bytes::from_static(&[0x0a; 500])];
            let pieces = stream::iter(pieces).chain(stream::once(future::pending()));
            let (channel, path) = (connection.channel.clone(), rpc.path());
            let call = tokio::spawn({
                let headers = headers.clone();
                async move { raw::body(&channel, &path, &headers, pieces).await }
            });
            // An answer to the next call says that the half has come.
            let mut honest = crate::world::control(connection.channel.clone(), world.own.headers());
            soon("an answer", honest.client_hello(())).await.unwrap();
            if is_cut {
                connection.cut();
                soon(&rpc.name, call).await.unwrap().unwrap_err();
            } else {
                call.abort();
                soon("an answer after the reset", honest.client_hello(())).await.unwrap();
            }
        }
    }
    assert_eq!(guest.shell("echo fine").await, "fine\n");
    look.and_nothing_more(&world).await;
    world.stop().await;
}
