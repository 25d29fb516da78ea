//! Bytes and datagrams, many of them, and what is told of them.

use crate::bench::{Bench, Outcome, Room, eventually};
use crate::servers::pattern;
use computesdk_engine::{EventKind, Protocol, Verdict};
use std::io::Write as _;
use std::process::{Command, Stdio};

const WEB: &str = "203.0.113.10";

pub(crate) async fn datagrams(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for (host, size, count, window) in [
        (WEB, "64", "1000", "8"),
        (WEB, "1400", "200", "4"),
        (WEB, "60000", "20", "1"),
        ("2001:db8::10", "64", "100", "4"),
        ("2001:db8::10", "60000", "5", "1"),
    ] {
        let line = room.probe1(&["udp", host, "7", size, count, window]).await;
        assert!(line.ends_with(&format!(" {count}")) && line.contains(" ok "), "{size} bytes: {line}");
    }
    // Nobody listens there: as without a gateway in between.
    assert!(room.probe1(&["udp", WEB, "9", "100", "1"]).await.contains("ECONNREFUSED"));
    let told = room.decided("a flow", |told| told.protocol == Protocol::Udp && told.verdict == Verdict::Allowed).await;
    assert_eq!((told.address, told.port), (WEB.parse().ok(), 7));
    Ok(())
}

/// TCP Fast Open: bytes that come with the SYN are not lost.
pub(crate) async fn bytes_in_the_first_packet(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for _ in 0..3 {
        assert_eq!(room.probe1(&["fastopen", WEB, "7"]).await, "early");
    }
    Ok(())
}

pub(crate) async fn both_versions(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for target in ["203.0.113.10|7", "2001:db8::10|7", "four.test|7", "six.test|7", "web.test|7"] {
        let line = room.probe1(&["tcp", target]).await;
        assert!(line.contains(" ok "), "{line}");
    }
    assert_eq!(room.probe1(&["echo", "2001:db8::10", "7", "100000"]).await, "100000 True True");
    Ok(())
}

pub(crate) async fn each_direction_ends_for_itself(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for size in ["0", "1", "3000000"] {
        assert_eq!(room.probe1(&["echo", WEB, "7", size]).await, format!("{size} True True"));
    }
    let told = room.decided("the end of the large one", |told| told.sent == 3_000_000).await;
    assert_eq!((told.verdict, told.received, told.reason), (Verdict::Closed, 3_000_000, None));
    Ok(())
}

/// What `sha256sum` says about what the servers send.
fn digest(count: u64) -> String {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = std::io::BufWriter::with_capacity(1 << 20, sum.stdin.take().unwrap());
    pattern(count, &mut input).unwrap();
    input.flush().unwrap();
    drop(input);
    String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap()
}

pub(crate) async fn large_downloads(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    room.needs("curl").await?;
    const SIZE: u64 = 64 << 20;
    assert_eq!(room.ok(&format!("curl -sS http://web.test/bytes/{SIZE} | sha256sum")).await, digest(SIZE));
    let told = room.decided("the download", |told| told.verdict == Verdict::Closed && told.received > SIZE).await;
    assert!(told.received < SIZE + 1000, "{told:?}");
    Ok(())
}

/// What breaks does not look like an end: half of an answer is no answer.
pub(crate) async fn what_breaks_is_not_an_end(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let line = room.probe1(&["raw", WEB, "9003", "GET / HTTP/1.0\\r\\n\\r\\n"]).await;
    assert!(line.starts_with("ECONNRESET") && line.ends_with("b'half\\n'"), "{line}");
    let told = room.decided("its end", |told| told.verdict == Verdict::Closed && told.port == 9003).await;
    assert!(told.reason.unwrap().contains("reset"));
    assert_eq!((told.sent, told.received), (18, 5));
    Ok(())
}

/// A server that answers before it has taken everything, and is gone: its answer arrives, as it would without anybody in
/// between.
pub(crate) async fn an_early_answer(bench: Bench) -> Outcome {
    for network in ["egress", "domain:web.test"] {
        let room = bench.room(network).await;
        room.needs("curl").await?;
        let mut arrived = 0;
        for _ in 0..10 {
            let script = "head -c 3000000 /dev/zero | curl -sS -H Expect: --data-binary @- http://web.test/refuse";
            arrived += usize::from(room.sh(script).await.0.contains("refused"));
        }
        // Curl itself misses one in a thousand or two, with nobody in between.
        assert!(arrived >= 9, "{network}: {arrived} of 10");
    }
    Ok(())
}

/// Whoever reads nothing holds the server up, and costs this process next to nothing.
pub(crate) async fn a_slow_reader(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let label = bench.label("deaf");
    let before = memory();
    let mut deaf = room.start(&["deaf", WEB, "9001", &label]).await;
    assert_eq!(deaf.line().await, "connected");
    let seen = bench.servers.sees(&["flood", &label, "stalled"]).await;
    let taken: u64 = seen.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    println!("{taken} bytes were taken");
    // What the kernel's sockets hold on both sides of the gateway: `tcp_rmem` of new kernels goes up to 32 MiB each.
    assert!(taken < 128 << 20, "{taken} bytes were taken");
    let grown = memory().saturating_sub(before);
    assert!(grown < 16, "{grown} MiB more");
    drop(deaf.exec.take_stdin());
    deaf.ends().await;
    bench.servers.sees(&["flood", &label, "end"]).await;
    Ok(())
}

/// Memory of this process that is its own, in MiB (`proc_pid_status(5)`).
pub(crate) fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

pub(crate) async fn many_connections(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    assert_eq!(room.probe1(&["many", WEB, "7", "200"]).await, "200");
    let decisions = room.decisions().await;
    let allowed = decisions.iter().filter(|told| told.verdict == Verdict::Allowed && told.port == 7).count();
    assert_eq!(allowed, 200);
    Ok(())
}

pub(crate) async fn many_sandboxes(bench: Bench) -> Outcome {
    const COUNT: usize = 40;
    bench.room("egress").await.needs("curl").await?;
    let one = |number: usize| {
        let engine = bench.engine.clone();
        async move {
            let room = Room::new(&engine, "egress").await;
            let output = room.ok(&format!("curl -sS http://web.test/bytes/{} | wc -c", 1000 + number)).await;
            assert_eq!(output.trim(), (1000 + number).to_string());
            room
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    (0..COUNT).for_each(|number| drop(tasks.spawn(one(number))));
    let rooms = tasks.join_all().await;
    // All of them are still there, each with its own.
    for room in &rooms {
        assert!(room.sandbox.ended().is_none());
        assert!(room.decisions().await.iter().any(|told| told.verdict == Verdict::Allowed && told.port == 80));
    }
    Ok(())
}

pub(crate) async fn events_in_order(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    assert_eq!(room.probe1(&["echo", "four.test", "7", "1000"]).await, "1000 True True");
    bench.is_refused(&room.probe1(&["tcp", "10.20.30.40|80"]).await);
    let closed = room.decided("the end", |told| told.verdict == Verdict::Closed && told.port == 7).await;
    room.refused("10.20.30.40 is a private address").await;
    room.end().await;
    let mut events = room.sandbox.events();
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    assert!(all.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert_eq!(all.first().unwrap().kind, EventKind::Created);
    assert!(matches!(all.last().unwrap().kind, EventKind::Ended(_)));
    let of = |connection: u64| {
        let told = all.iter().filter_map(move |event| match &event.kind {
            EventKind::Network(told) if told.connection == connection => Some(told.clone()),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let echo = of(closed.connection);
    let verdicts: Vec<_> = echo.iter().map(|told| told.verdict).collect();
    assert_eq!(verdicts, [Verdict::Allowed, Verdict::Closed]);
    assert!(echo.iter().all(|told| told.address == WEB.parse().ok() && told.host.as_deref() == Some("four.test")));
    assert_eq!((echo[1].sent, echo[1].received, &echo[1].reason), (1000, 1000, &None));
    if !bench.by_proxy() {
        let dns = all.iter().position(|event| {
            matches!(&event.kind, EventKind::Network(told) if told.protocol == Protocol::Dns
                && told.host.as_deref() == Some("four.test"))
        });
        let begin = all.iter().position(|event| event.kind == EventKind::Network(echo[0].clone()));
        assert!(dns.unwrap() < begin.unwrap());
    }
    // Asked for again, they are told again.
    eventually("told again", || Ok(())).await;
    assert_eq!(room.sandbox.events().next().await.unwrap().kind, EventKind::Created);
    Ok(())
}
