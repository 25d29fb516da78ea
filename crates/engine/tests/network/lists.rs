//! Lists of ranges and of names.

use crate::bench::{Bench, Outcome, Room};
use computesdk_engine::{Protocol, Verdict};

fn how(line: &str) -> &str {
    line.split(' ').nth(2).unwrap_or_default()
}

async fn reached(room: &Room, targets: &[&str]) {
    for line in room.probe(&[&["tcp"], targets].concat()).await {
        assert_eq!(how(&line), "ok", "{line}");
    }
}

async fn refused(bench: &Bench, room: &Room, targets: &[&str]) {
    for line in room.probe(&[&["tcp"], targets].concat()).await {
        bench.is_refused(&line);
    }
}

pub(crate) async fn ranges(bench: Bench) -> Outcome {
    let room = bench.room("cidr:203.0.113.8/31,203.0.113.10,2001:db8::/64").await;
    reached(&room, &["203.0.113.10|80", "four.test|80", "2001:db8::10|80", "six.test|80"]).await;
    refused(&bench, &room, &["203.0.113.11|80", "other.test|80", "10.20.30.40|80", "198.51.100.1|8080"]).await;
    refused(&bench, &room, &["::ffff:203.0.113.11|80", "2001:db8:1::1|8080"]).await;
    reached(&room, &["::ffff:203.0.113.10|80"]).await;
    room.refused("203.0.113.11 is in none of the allowed ranges").await;
    if !bench.by_proxy() {
        assert!(room.probe1(&["udp", "203.0.113.10", "7", "100", "5"]).await.contains(" ok "));
        bench.is_refused(&room.probe1(&["udp", "203.0.113.11", "7", "100", "1"]).await);
    }
    Ok(())
}

/// Whoever names a private range means it; whoever names everything means the internet.
pub(crate) async fn private_ranges(bench: Bench) -> Outcome {
    let room = bench.room("cidr:10.99.1.0/24").await;
    reached(&room, &["10.99.1.1|80", "::ffff:10.99.1.1|80"]).await;
    refused(&bench, &room, &["10.99.2.1|80", "203.0.113.10|80"]).await;
    let room = bench.room("cidr:0.0.0.0/0,::/0").await;
    reached(&room, &["203.0.113.10|80", "2001:db8::10|80"]).await;
    let inside = ["10.99.1.1|80", "10.20.30.40|80", "169.254.169.254|80", "198.51.100.1|8080", "fd00:aa::10|80"];
    refused(&bench, &room, &inside).await;
    refused(&bench, &room, &["::ffff:10.20.30.40|80", "64:ff9b::10.20.30.40|80", "2002:c633:6401::1|8080"]).await;
    room.refused("10.20.30.40 is a private address, which no allowed range names").await;
    Ok(())
}

/// An address of the host is reached only where it is listed by itself.
pub(crate) async fn own_addresses(bench: Bench) -> Outcome {
    let room = bench.room("cidr:198.51.100.0/24").await;
    refused(&bench, &room, &["198.51.100.1|8081", "::ffff:198.51.100.1|8081", "198.51.100.7|8080"]).await;
    room.refused("198.51.100.1 is an address of the machine itself, which is not listed alone").await;
    let room = bench.room("cidr:198.51.100.1").await;
    reached(&room, &["198.51.100.1|8081"]).await;
    refused(&bench, &room, &["198.51.100.7|8080", "203.0.113.10|80"]).await;
    Ok(())
}

const CURL: &str = "curl -sSk --max-time 20";

pub(crate) async fn names_over_tls(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    room.needs("curl").await?;
    assert_eq!(room.ok(&format!("{CURL} https://web.test/")).await, "hello from web.test\n");
    assert_eq!(room.ok(&format!("{CURL} --tls-max 1.2 https://web.test/")).await, "hello from web.test\n");
    let told = room.decided("it was let through", |told| told.verdict == Verdict::Allowed && told.port == 443).await;
    assert_eq!(told.host.as_deref(), Some("web.test"));
    let told = room.decided("it has ended", |told| told.verdict == Verdict::Closed && told.port == 443).await;
    assert!(told.sent > 200 && told.received > 200 && told.address.is_some(), "{told:?}");
    Ok(())
}

pub(crate) async fn names_over_http(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    room.needs("curl").await?;
    assert_eq!(room.ok(&format!("{CURL} http://web.test/")).await, "hello from web.test\n");
    assert_eq!(room.ok(&format!("{CURL} http://WEB.test./")).await.to_lowercase(), "hello from web.test\n");
    // A body, which goes with its request.
    let script = format!("head -c 300000 /dev/zero | {CURL} -H Expect: --data-binary @- http://web.test/");
    assert_eq!(room.ok(&script).await, "hello from web.test\n");
    Ok(())
}

/// A name of the list whose owner has it served under another.
pub(crate) async fn aliases(bench: Bench) -> Outcome {
    let room = bench.room("domain:four.test.alias.test,own.test.alias.test").await;
    room.needs("curl").await?;
    assert_eq!(room.ok(&format!("{CURL} http://four.test.alias.test/")).await, "hello from four.test.alias.test\n");
    assert_ne!(room.sh(&format!("{CURL} -f http://four.test/")).await.1, 0);
    assert_ne!(room.sh(&format!("{CURL} -f http://own.test.alias.test:8080/")).await.1, 0);
    Ok(())
}

/// One request, after which there are none.
pub(crate) async fn a_websocket(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    let head = "HTTP/1.1\\r\\nHost: web.test\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n";
    let line = if bench.by_proxy() {
        room.probe1(&["toproxy", &format!("GET http://web.test/ {head}"), "READ", "frame"]).await
    } else {
        room.probe1(&["raw", "web.test", "80", &format!("GET / {head}"), "READ", "frame"]).await
    };
    assert!(line.starts_with("eof") && line.contains("101 Switching") && line.ends_with("frame'"), "{line}");
    Ok(())
}

pub(crate) async fn wildcards(bench: Bench) -> Outcome {
    let room = bench.room("domain:*.wild.test").await;
    room.needs("curl").await?;
    for name in ["a.wild.test", "b.a.wild.test"] {
        assert_eq!(room.ok(&format!("{CURL} https://{name}/")).await, format!("hello from {name}\n"));
    }
    for name in ["wild.test", "web.test", "a.wild.test.other.test"] {
        let (output, code) = room.sh(&format!("{CURL} https://{name}/")).await;
        assert_ne!(code, 0, "{name}: {output}");
    }
    Ok(())
}

pub(crate) async fn other_names_do_not_exist(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    assert_eq!(room.probe1(&["resolve", "web.test"]).await, "web.test 2001:db8::10 203.0.113.10");
    let name = format!("{}.test", bench.label("exfiltrated"));
    assert_eq!(room.probe1(&["resolve", &name]).await, format!("{name} noname"));
    assert_eq!(room.probe1(&["resolve", "x.web.test"]).await, "x.web.test noname");
    assert_eq!(bench.servers.log(&["dns", &name]), "", "its question has left");
    let told = room.refused("the name is not on the list").await;
    assert_eq!((told.protocol, told.host), (Protocol::Dns, Some(name)));
    // Nor by another name server.
    bench.is_refused(&room.probe1(&["udp", "203.0.113.53", "53", "100", "1"]).await);
    refused(&bench, &room, &["203.0.113.53|53"]).await;
    Ok(())
}

/// Many names share an address: the address allows nothing.
pub(crate) async fn another_name_on_an_allowed_address(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    room.needs("curl").await?;
    let to_web = if bench.by_proxy() { "web.test" } else { "203.0.113.10" };
    if !bench.by_proxy() {
        room.probe1(&["resolve", "web.test"]).await;
    }
    for name in ["shared.test", "evil.web.test", ""] {
        let line = room.probe1(&["tls", to_web, "443", name]).await;
        assert!(line.starts_with("cut"), "{name}: {line}");
    }
    if bench.by_proxy() {
        room.refused("a tunnel to web.test was used for TLS with shared.test").await;
        room.refused("a tunnel to web.test was used for TLS without a name").await;
    } else {
        let told = room.decided("another name", |told| {
            told.verdict == Verdict::Refused && told.host.as_deref() == Some("shared.test")
        });
        assert_eq!(told.await.reason.as_deref(), Some("the name is not on the list"));
        room.refused("its TLS handshake names no host").await;
        let (_, code) = room.sh(&format!("{CURL} -H 'Host: shared.test' http://web.test/")).await;
        assert_ne!(code, 0);
    }
    assert_eq!(bench.servers.log(&["shared.test"]), "", "the server has seen it");
    assert_eq!(bench.servers.log(&["evil.web.test"]), "");
    Ok(())
}

pub(crate) async fn an_address_in_place_of_a_name(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    room.needs("curl").await?;
    refused(&bench, &room, &["203.0.113.11|80", "203.0.113.11|443", "2001:db8::11|80", "10.20.30.40|80"]).await;
    if !bench.by_proxy() {
        room.refused("not the address of a name on the list").await;
        room.probe1(&["resolve", "web.test"]).await;
        for url in ["http://203.0.113.10/", "https://203.0.113.10/", "http://[2001:db8::10]/"] {
            let (output, code) = room.sh(&format!("{CURL} {url}")).await;
            assert_ne!(code, 0, "{url}: {output}");
        }
        bench.is_refused(&room.probe1(&["udp", "203.0.113.10", "443", "100", "1"]).await);
        room.refused("lets through what names its host").await;
    }
    Ok(())
}

/// Nothing but TLS and HTTP says whom it is for.
pub(crate) async fn what_names_no_host(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    let label = bench.label("unnamed");
    let before = bench.servers.log(&["hold", &label]);
    for said in [
        format!("{label}\\n"),
        String::from("SSH-2.0-OpenSSH_9\\r\\n"),
        String::from("GET / HTTP/1.1\\r\\n\\r\\n"),
        String::from("GET / HTTP/1.1\\r\\nHost: web.test\\r\\nHost: other.test\\r\\n\\r\\n"),
        String::from("GET http://other.test/ HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n"),
        String::from("PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n"),
        String::from("\\x00\\x01\\x02\\x03\\r\\n\\r\\n"),
    ] {
        let line = room.probe1(&["raw", "web.test", "9002", &said]).await;
        // Without a word from anybody.
        assert!(line.starts_with("ECONNRESET") || line.starts_with("eof"), "{said}: {line}");
        assert!(line.ends_with("b''"), "{said}: {line}");
    }
    assert_eq!(before, bench.servers.log(&["hold", &label]));
    let why = if bench.by_proxy() { "something other than TLS" } else { "neither TLS nor HTTP" };
    room.refused(why).await;
    Ok(())
}

/// A connection serves one request: a second one might be for another host.
pub(crate) async fn a_second_request(bench: Bench) -> Outcome {
    let room = bench.room("domain:web.test").await;
    let secret = bench.label("/second");
    let first = "GET /head HTTP/1.1\\r\\nHost: web.test\\r\\nConnection: keep-alive\\r\\n\\r\\n";
    let second = format!("GET {secret} HTTP/1.1\\r\\nHost: shared.test\\r\\n\\r\\n");
    let url = first.replace("GET /", "GET http://web.test/");
    for parts in [vec![first, "READ", &second], vec![first, &second]] {
        let line = if bench.by_proxy() {
            let parts: Vec<&str> = parts.iter().map(|part| if *part == first { url.as_str() } else { part }).collect();
            room.probe1(&[&["toproxy"], &parts[..]].concat()).await
        } else {
            room.probe1(&[&["raw", "web.test", "80"], &parts[..]].concat()).await
        };
        assert!(line.contains("Connection: close"), "{line}");
        assert!(!line.contains("keep-alive") && line.matches("200 OK").count() == 1, "{line}");
    }
    let seen = bench.servers.log(&["http", &secret]);
    assert_eq!(seen, "", "the server has taken it for a request");
    Ok(())
}

/// A name that leads elsewhere from one question to the next.
pub(crate) async fn rebinding(bench: Bench) -> Outcome {
    for (what, inside, port) in [
        ("private", "10.20.30.40", 80),
        ("own", "198.51.100.1", 8080),
        ("mapped", "::ffff:198.51.100.1", 8080),
        ("translated", "64:ff9b::c633:6401", 8080),
        ("tunnelled", "2002:c633:6401::1", 8080),
        ("metadata", "169.254.169.254", 80),
    ] {
        let name = format!("{}.test", bench.label(what));
        let room = bench.room(&format!("domain:{name}")).await;
        room.needs("curl").await?;
        if bench.by_proxy() {
            bench.servers.zone(&name, inside);
            let (output, code) = room.sh(&format!("{CURL} http://{name}:{port}/")).await;
            assert_eq!(code, 0, "{output}");
            assert!(output.contains(&format!("{name} leads to")), "{output}");
        } else {
            // The sandbox is told a good address, and uses it; the gateway looks for itself.
            bench.servers.zone(&name, &format!("203.0.113.10;{inside}"));
            assert_eq!(room.probe1(&["ask", "192.0.0.1", &name, "udp"]).await, "cb00710a");
            room.probe1(&["resolve", &name]).await;
            let resolved = format!("--resolve {name}:{port}:203.0.113.10");
            let (output, code) = room.sh(&format!("{CURL} {resolved} http://{name}:{port}/")).await;
            assert_ne!(code, 0, "{output}");
            let (_, code) = room.sh(&format!("{CURL} {resolved} https://{name}:{port}/")).await;
            assert_ne!(code, 0);
        }
        room.refused(&format!("{name} leads to {inside}")).await;
        room.end().await;
    }
    Ok(())
}

/// A list of names opens no private address: whoever answers for a name is not whoever wrote the list.
pub(crate) async fn names_that_lead_inside(bench: Bench) -> Outcome {
    let names = ["private.test", "own.test", "metadata.test", "ula.test", "mapped-own.test", "translated-own.test"];
    let room = bench.room(&format!("domain:{},loopback.test", names.join(","))).await;
    for name in names.into_iter().chain(["loopback.test"]) {
        for port in ["80", "8080"] {
            let request = format!("GET / HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n");
            let line = room.probe1(&["raw", name, port, &request]).await;
            assert!(line.starts_with("refused") || line.ends_with("b''"), "{name}:{port}: {line}");
        }
    }
    Ok(())
}
