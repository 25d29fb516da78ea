//! Names, whatever the host's resolver is.

use crate::bench::{Bench, Outcome};
use computesdk_engine::{Protocol, Verdict};

/// One name looked up, and the resolver that was asked for it.
async fn by(bench: &Bench, resolver: &str) -> Outcome {
    let room = bench.room("egress").await;
    room.needs("curl").await?;
    let name = format!("{}.test", bench.label("resolved"));
    bench.servers.zone(&name, "203.0.113.10,2001:db8::10");
    assert_eq!(room.ok(&format!("curl -sS http://{name}/")).await, format!("hello from {name}\n"));
    assert_ne!(bench.servers.log(&["dns", resolver, &name, "1"]), "", "the host's resolver was not asked");
    if !bench.by_proxy() {
        assert_eq!(room.probe1(&["resolve", &name]).await, format!("{name} 2001:db8::10 203.0.113.10"));
        assert_eq!(room.probe1(&["resolve", "nowhere.test"]).await, "nowhere.test noname");
        for over in ["udp", "tcp"] {
            assert_eq!(room.probe1(&["ask", "192.0.0.1", &name, over]).await, "cb00710a", "{over}");
        }
        let told =
            room.decided("a question", |told| told.protocol == Protocol::Dns && told.host.as_ref() == Some(&name));
        assert_eq!(told.await.verdict, Verdict::Allowed);
    }
    Ok(())
}

pub(crate) async fn by_a_public_resolver(bench: Bench) -> Outcome {
    by(&bench, "203.0.113.53").await
}

/// As with systemd-resolved: the sandbox's own `127.0.0.53` is another one.
pub(crate) async fn by_a_loopback_resolver(bench: Bench) -> Outcome {
    by(&bench, "127.0.0.53").await?;
    let room = bench.room("egress").await;
    if !bench.by_proxy() {
        assert_eq!(room.probe1(&["ask", "127.0.0.53", "web.test", "udp"]).await, "ECONNREFUSED");
    }
    Ok(())
}

/// Its address is private, and answers questions; nothing else on it does.
pub(crate) async fn by_a_private_resolver(bench: Bench) -> Outcome {
    by(&bench, "10.20.30.53").await?;
    let room = bench.room("egress").await;
    bench.is_refused(&room.probe1(&["tcp", "10.20.30.53|80"]).await);
    bench.is_refused(&room.probe1(&["tcp", "10.20.30.40|53"]).await);
    if !bench.by_proxy() {
        for over in ["udp", "tcp"] {
            assert_eq!(room.probe1(&["ask", "10.20.30.53", "web.test", over]).await, "cb00710a", "{over}");
            let other = room.probe1(&["ask", "10.20.30.40", "web.test", over]).await;
            let expected = if over == "udp" { "EHOSTUNREACH" } else { "ECONNREFUSED" };
            assert_eq!(other, expected, "{over}");
        }
        let datagram = room.probe1(&["udp", "10.20.30.53", "7", "100", "1"]).await;
        assert!(datagram.contains("EHOSTUNREACH"), "{datagram}");
    }
    Ok(())
}

pub(crate) async fn by_a_resolver_of_the_sixth_version(bench: Bench) -> Outcome {
    by(&bench, "2001:db8::53").await
}

/// A host that is connected to nothing: errors at once, and sandboxes as ever.
pub(crate) async fn without_a_network(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for target in ["203.0.113.10|80", "2001:db8::10|80", "web.test|80"] {
        let line = room.probe1(&["tcp", target]).await;
        let how = line.split(' ').nth(2).unwrap();
        assert!(["ENETUNREACH", "noname", "502"].contains(&how), "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<u32>().unwrap() < 5000, "{line}");
    }
    bench.is_refused(&room.probe1(&["tcp", "10.20.30.40|80"]).await);
    assert!(room.probe1(&["straight", "127.0.0.1|9"]).await.contains("ECONNREFUSED"));
    Ok(())
}

/// Programs are told that nobody answers, before they give up by themselves.
pub(crate) async fn by_no_resolver(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    if bench.by_proxy() {
        let line = room.probe1(&["tcp", "web.test|80"]).await;
        assert!(line.contains(" 502 ") || line.contains(" 504 "), "{line}");
        return Ok(());
    }
    let line = room.probe1(&["resolve", "web.test"]).await;
    assert!(line.contains("Temporary failure"), "{line}");
    let failed = room.decided("a question without an answer", |told| told.verdict == Verdict::Failed).await;
    assert!(failed.reason.unwrap().contains("no resolver"));
    Ok(())
}

/// What does not fit into a datagram is asked for again.
pub(crate) async fn large_answers(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let line = room.probe1(&["resolve", "many.test"]).await;
    assert_eq!(line.split(' ').count(), 61, "{line}");
    Ok(())
}

/// The host's own list counts, as far as it leads somewhere.
pub(crate) async fn names_of_the_host(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    room.needs("curl").await?;
    assert_eq!(room.ok("curl -sS http://listed.test/").await, "hello from listed.test\n");
    if bench.by_proxy() {
        bench.is_refused(&room.probe1(&["tcp", "secret.test|80"]).await);
    } else {
        assert_eq!(room.probe1(&["resolve", "secret.test"]).await, "secret.test noname");
        assert!(room.probe1(&["resolve", "localhost"]).await.contains("127.0.0.1"));
    }
    Ok(())
}
