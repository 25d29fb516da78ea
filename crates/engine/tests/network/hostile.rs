//! Programs and servers that mean harm: bounded, refused, and told.

use crate::bench::{Bench, Outcome, Room};
use crate::flows::memory;
use computesdk_engine::{Decision, Protocol, Verdict};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::time::Instant;

/// The first words may take ten seconds.
pub(crate) async fn slow_to_say_what_it_wants(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    let begun = Instant::now();
    let first = |words: &'static str| {
        let room = room.clone();
        async move { room.probe1(&["raw", "web.test", "80", words]).await }
    };
    let to_proxy = |words: &'static str| {
        let room = room.clone();
        async move { room.probe1(&["toproxy", words]).await }
    };
    if bench.by_proxy() {
        let lines = tokio::join!(
            to_proxy("CONNECT web.te"),
            to_proxy("GET http://web.test/ HTTP/1.1\\r\\nX: "),
            first("\\x16\\x03\\x01\\x02\\x00\\x01"),
            to_proxy("READ"),
        );
        assert!(lines.0.contains("408") && lines.1.contains("408"), "{lines:?}");
        assert!(lines.2.ends_with("b''"), "{lines:?}");
    } else {
        let lines = tokio::join!(
            first("GET / HTTP/1.1\\r\\nHo"),
            first("\\x16\\x03\\x01\\x02\\x00\\x01"),
            first("READ"),
            first("\\x16"),
        );
        for line in [&lines.0, &lines.1, &lines.2, &lines.3] {
            assert!(line.starts_with("ECONNRESET") && line.ends_with("b''"), "{line}");
        }
        room.refused("it named no host in time").await;
    }
    let took = begun.elapsed().as_secs();
    assert!((9..16).contains(&took), "{took} s");
    Ok(())
}

pub(crate) async fn much_and_never_a_name(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    let before = memory();
    let line = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    let parts = |first: &str| {
        let mut parts = vec![first.to_owned()];
        // Two megabytes in all.
        let many = format!("{line}\\r\\n").repeat(100);
        parts.extend(std::iter::repeat_n(many, 250));
        parts
    };
    let (long, endless) = ("/".repeat(40_000), parts("GET http://web.test/ HTTP/1.1\\r\\nHost: web.test\\r\\n"));
    let tries: [Vec<String>; 3] = [
        vec![format!("GET {long}")],
        endless,
        if bench.by_proxy() { vec![format!("CONNECT {long}")] } else { vec!["\\x16\\x03\\x01\\x40\\x00".repeat(5000)] },
    ];
    for parts in tries {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let to: &[&str] = if bench.by_proxy() { &["toproxy"] } else { &["raw", "web.test", "80"] };
        let line = room.probe1(&[to, &parts].concat()).await;
        let refused = line.contains("400 Bad Request")
            || line.ends_with("b''") && ["ECONNRESET", "EPIPE"].iter().any(|how| line.starts_with(how));
        assert!(refused, "{line}");
    }
    let refused = room.decisions().await.into_iter().filter(|told| told.verdict == Verdict::Refused).count();
    assert!(refused >= 3, "{refused} were told");
    let grown = memory().saturating_sub(before);
    assert!(grown < 16, "{grown} MiB more");
    Ok(())
}

/// Heads that never end are carried as they come, and kept by nobody.
pub(crate) async fn servers_that_do_not_end(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    room.needs("curl").await?;
    let (label, before) = (bench.label("endless"), memory());
    let (output, code) = room.sh(&format!("curl -sS --max-time 2 http://web.test/endless/{label} -o /dev/null")).await;
    assert_ne!(code, 0, "{output}");
    bench.servers.sees(&["endless", &label, "end"]).await;
    // One that takes the request and says nothing.
    assert_eq!(room.sh("curl -sS --max-time 1 http://web.test:9000/").await.1, 28);
    let grown = memory().saturating_sub(before);
    assert!(grown < 16, "{grown} MiB more");
    Ok(())
}

/// Two seconds of connections that nobody allows; a neighbour hardly notices.
pub(crate) async fn a_flood_beside_a_neighbour(bench: Bench) -> Outcome {
    let (room, neighbour) = (bench.room("egress").await, bench.room("egress").await);
    neighbour.needs("curl").await?;
    let before = memory();
    // One that is refused, and one that is silent: as many connections wait for that as a sandbox may have.
    for (target, reason) in [
        ("10.20.30.40", "10.20.30.40 is a private address"),
        ("203.0.113.66", "the sandbox has 1024 connections already"),
    ] {
        let mut flood = room.start(&["flood", target, "80", "2"]).await;
        assert_eq!(flood.line().await, "begun");
        let begun = Instant::now();
        let mut slowest = std::time::Duration::ZERO;
        let mut fetched = 0;
        while begun.elapsed().as_millis() < 1500 {
            let one = Instant::now();
            assert_eq!(neighbour.ok("curl -sS --max-time 10 http://web.test/").await, "hello from web.test\n");
            slowest = slowest.max(one.elapsed());
            fetched += 1;
        }
        println!("{target}: {fetched} fetches beside it, the slowest {slowest:?}");
        assert!(slowest.as_millis() < 2000, "a fetch took {slowest:?}");
        let begun: u32 = flood.line().await.parse().unwrap();
        assert!(begun > 100, "that was no flood: {begun}");
        room.refused(reason).await;
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 64, "{grown} MiB more");
    Ok(())
}

/// As many flows as there may be, and then no more; they do not keep connections from being made.
pub(crate) async fn a_flood_of_datagrams(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let script = "import socket\nfor port in range(20000, 20600):\n  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n  \
                  s.connect(('203.0.113.10', 7))\n  s.send(b'x')\n  s.close()\n";
    room.run(&["python3", "-c", script]).await;
    room.refused("exchanges of datagrams already").await;
    assert!(room.probe1(&["tcp", "203.0.113.10|80"]).await.contains(" ok "));
    Ok(())
}

/// What waits for programs that do not read is bounded, however many they are.
pub(crate) async fn many_slow_readers(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    room.probe1(&["tcp", "203.0.113.10|80"]).await;
    let before = memory();
    let mut deaf = room.start(&["manydeaf", "203.0.113.10", "9001", "200"]).await;
    assert_eq!(deaf.line().await, "connected");
    for number in [0, 50, 100, 150, 199] {
        bench.servers.sees(&["flood", &format!("deaf-{number}"), "stalled"]).await;
    }
    let grown = memory().saturating_sub(before);
    println!("{grown} MiB for 200 connections");
    assert!(grown < 64, "{grown} MiB more");
    Ok(())
}

/// A process has so many descriptors, a thousand as a rule: one sandbox does not take them from everybody else.
pub(crate) async fn all_the_descriptors(bench: Bench) -> Outcome {
    let limit = Rlimit { current: Some(1024), maximum: Some(1024) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let (room, neighbour) = (bench.room("egress").await, bench.room("egress").await);
    let hoard = async |room: &Room| {
        let mut hoard = room.start(&["hoard", "203.0.113.10", "9000", "1500"]).await;
        assert_eq!(hoard.line().await, "begun");
        hoard
    };
    let _one = hoard(&room).await;
    room.refused("connections already").await;
    assert!(neighbour.probe1(&["tcp", "203.0.113.10|80"]).await.contains(" ok "));
    // Nor do several.
    let (third, fourth) = (bench.room("egress").await, bench.room("egress").await);
    let _others = (hoard(&third).await, hoard(&fourth).await);
    let told =
        |told: &Decision| told.reason.as_ref().is_some_and(|reason| reason.contains("all sandboxes together have"));
    fourth.decided("there are no more", told).await;
    assert_eq!(neighbour.ok("echo on").await, "on\n");
    bench.room("egress").await.ok("true").await;
    Ok(())
}

/// The resolver is asked for one sandbox as for another.
pub(crate) async fn a_flood_of_questions(bench: Bench) -> Outcome {
    let (room, neighbour) = (bench.room("egress").await, bench.room("egress").await);
    let mut flood = room.start(&["questions", "20000"]).await;
    assert_eq!(flood.line().await, "begun");
    let begun = Instant::now();
    assert_eq!(neighbour.probe1(&["resolve", "four.test"]).await, "four.test 203.0.113.10");
    let took = begun.elapsed();
    assert!(took.as_millis() < 2000, "{took:?}");
    assert_eq!(flood.line().await, "sent");
    assert_eq!(room.probe1(&["resolve", "four.test"]).await, "four.test 203.0.113.10");
    Ok(())
}

/// Two servers that answer each other, because a program says that it is one of them.
pub(crate) async fn a_false_sender(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    room.probe1(&["spoof", "203.0.113.10", "7", "203.0.113.11", "7"]).await;
    let told = room.decisions().await;
    let of = |told: &Decision| told.protocol == Protocol::Udp && told.verdict == Verdict::Allowed;
    assert_eq!(
        told.iter().filter(|told| of(told)).count(),
        1,
        "its answer was taken for another of its datagrams: {told:#?}"
    );
    for source in ["127.0.0.1", "192.0.0.2"] {
        assert_eq!(room.probe1(&["bound", source, "203.0.113.10", "80"]).await, "ok", "from {source}");
        assert_eq!(room.probe1(&["bound", source, "10.20.30.40", "80"]).await, "ECONNREFUSED", "from {source}");
    }
    Ok(())
}
