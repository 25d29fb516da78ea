//! Policies that change while a sandbox runs.

use crate::bench::{Bench, Outcome, Room, policy, within};
use computesdk_engine::{EventKind, Verdict};

async fn set(room: &Room, text: &str) {
    within("a new policy", room.sandbox.set_network(policy(text))).await.unwrap();
}

pub(crate) async fn what_is_open_is_cut(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let (cut, kept) = (bench.label("cut"), bench.label("kept"));
    let mut first = room.start(&["hold", "203.0.113.11", "9002", &cut]).await;
    let mut second = room.start(&["hold", "203.0.113.10", "9002", &kept]).await;
    assert_eq!((first.line().await, second.line().await), ("held".into(), "held".into()));
    // What the new one allows as well goes on.
    set(&room, "cidr:203.0.113.10").await;
    let ended = first.line().await;
    assert_eq!(ended, "ended ECONNRESET");
    bench.servers.sees(&["hold", &cut, "end"]).await;
    let told = room.decided("it was cut", |told| told.verdict == Verdict::Closed && told.port == 9002).await;
    assert_eq!(told.reason.as_deref(), Some("the policy was changed"));
    assert_eq!(told.address, "203.0.113.11".parse().ok());
    assert_eq!(bench.servers.log(&["hold", &kept, "end"]), "");
    set(&room, "none").await;
    let ended = second.line().await;
    assert_eq!(ended, "ended ECONNRESET");
    bench.servers.sees(&["hold", &kept, "end"]).await;
    Ok(())
}

pub(crate) async fn opened_and_closed(bench: Bench) -> Outcome {
    let room = bench.room("none").await;
    room.needs("curl").await?;
    let fetch = "curl -sS --max-time 20 http://web.test/";
    assert_ne!(room.sh(fetch).await.1, 0);
    for _ in 0..2 {
        set(&room, "egress").await;
        assert_eq!(room.ok(fetch).await, "hello from web.test\n");
        set(&room, "none").await;
        let (output, code) = room.sh(&format!("{fetch} -f")).await;
        assert_ne!(code, 0, "{output}");
        bench.is_refused(&room.probe1(&["tcp", "203.0.113.10|80"]).await);
    }
    room.refused("nothing may be reached").await;
    room.end().await;
    let (mut events, mut changes) = (room.sandbox.events(), Vec::new());
    while let Some(event) = events.next().await {
        if let EventKind::NetworkChanged(text) = event.kind {
            changes.push(text);
        }
    }
    assert_eq!(changes, ["egress", "none", "egress", "none"]);
    // One that has ended has no network to change.
    room.sandbox.set_network(policy("egress")).await.unwrap_err();
    Ok(())
}

pub(crate) async fn from_list_to_list(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    room.needs("curl").await?;
    let fetch = |name: &str| format!("curl -fsSk --max-time 20 https://{name}/");
    room.ok(&fetch("web.test")).await;
    assert_ne!(room.sh(&fetch("other.test")).await.1, 0);
    set(&room, "domain:other.test").await;
    room.ok(&fetch("other.test")).await;
    assert_ne!(room.sh(&fetch("web.test")).await.1, 0);
    set(&room, "cidr:203.0.113.10,2001:db8::10").await;
    room.ok(&fetch("web.test")).await;
    assert_ne!(room.sh(&fetch("other.test")).await.1, 0);
    // Nothing names a connection under a list of ranges: a list of names does not keep it.
    let label = bench.label("unnamed");
    let mut held = room.start(&["hold", "203.0.113.10", "9002", &label]).await;
    assert_eq!(held.line().await, "held");
    set(&room, "domain:web.test").await;
    assert!(held.line().await.starts_with("ended"));
    Ok(())
}

/// Not even a question leaves.
pub(crate) async fn nothing_is_asked_once_closed(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    assert!(room.probe1(&["tcp", "four.test|80"]).await.contains(" ok "));
    set(&room, "none").await;
    let name = format!("{}.test", bench.label("exfiltrated"));
    room.probe1(&["tcp", &format!("{name}|80")]).await;
    assert_eq!(bench.servers.log(&["dns", &name]), "", "its question has left");
    Ok(())
}
