//! What a sandbox that may reach the internet reaches, and what it does not.

use crate::bench::{Bench, Outcome, Room, Skipped};
use crate::world::Who;
use computesdk_engine::{Protocol, Verdict};

/// Private addresses, the host's own, a metadata service, in every disguise.
const INSIDE: [&str; 26] = [
    "10.20.30.40|80",
    "10.20.30.40|443",
    "100.64.9.9|80",
    "169.254.169.254|80",
    "192.168.77.1|8080",
    "198.51.100.1|8080",
    "198.51.100.7|8080",
    "172.16.0.1|80",
    "0.1.2.3|80",
    "192.0.0.9|80",
    "198.18.0.1|80",
    "224.0.0.1|80",
    "240.0.0.1|80",
    "255.255.255.255|80",
    "2001:db8:1::1|8080",
    "fd00:aa::10|80",
    "fd00:ec2::254|80",
    "fec0::1|80",
    "::10.20.30.40|80",
    "::ffff:0:10.20.30.40|80",
    "64:ff9b::10.20.30.40|80",
    "64:ff9b::198.51.100.1|8080",
    "64:ff9b:1::10.20.30.40|80",
    "2002:a14:1e28::1|80",
    "2002:c633:6401::1|8080",
    "2001::10.20.30.40|80",
];

/// The kernel takes these for the addresses of the fourth version that they hold.
const MAPPED: [&str; 4] =
    ["::ffff:10.20.30.40|80", "::ffff:169.254.169.254|80", "::ffff:198.51.100.1|8080", "::ffff:192.168.77.1|8080"];

/// The host's loopback: a sandbox has its own.
const LOOPBACK: [&str; 5] =
    ["127.0.0.1|8080", "127.0.0.53|53", "::1|8080", "::ffff:127.0.0.1|8080", "127.255.255.254|8080"];

fn how(line: &str) -> &str {
    line.split(' ').nth(2).unwrap_or_default()
}

pub(crate) async fn errors_are_those_of_the_network(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for (target, expected) in [
        ("203.0.113.10|80", "ok"),
        ("2001:db8::10|80", "ok"),
        ("203.0.113.10|9", "ECONNREFUSED"),
        ("203.0.113.10|1", "ECONNREFUSED"),
        ("2001:db8::10|9", "ECONNREFUSED"),
        ("203.0.113.77|80", "EHOSTUNREACH"),
        ("203.0.113.78|80", "ENETUNREACH"),
        ("2001:db8::77|80", "EHOSTUNREACH"),
        // Its own: as on any machine.
        ("127.0.0.1|9", "ECONNREFUSED"),
        ("::1|9", "ECONNREFUSED"),
        ("192.0.0.2|9", "ECONNREFUSED"),
    ] {
        let line = room.probe1(&["tcp", target]).await;
        assert_eq!(how(&line), expected, "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<u32>().unwrap() < 1000, "{line}: it takes too long");
    }
    let failed = room.decided("nobody listens", |told| told.verdict == Verdict::Failed && told.port == 9).await;
    assert!(failed.reason.unwrap().contains("refused"));
    Ok(())
}

/// No answer is not a refusal: the program waits as long as it wants to.
pub(crate) async fn a_silent_address_is_waited_for(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let lines = room.probe(&["impatient", "2", "203.0.113.66|80", "2001:db8::66|80"]).await;
    for line in &lines {
        assert_eq!(how(line), "timeout", "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<u32>().unwrap() >= 2000, "{line}");
    }
    // One that answers and says nothing, too.
    room.needs("curl").await?;
    assert_eq!(room.sh("curl -sS --max-time 2 http://203.0.113.10:9000/").await.1, 28);
    Ok(())
}

async fn all_refused(bench: &Bench, room: &Room, targets: &[&str]) {
    for line in room.probe(&[&["tcp"], targets].concat()).await {
        bench.is_refused(&line);
    }
}

pub(crate) async fn what_is_not_the_internet(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    all_refused(&bench, &room, &INSIDE).await;
    all_refused(&bench, &room, &MAPPED).await;
    if bench.by_proxy() {
        all_refused(&bench, &room, &LOOPBACK[..1]).await;
        all_refused(&bench, &room, &LOOPBACK[2..]).await;
    } else {
        for line in room.probe(&[&["tcp"], &LOOPBACK[..]].concat()).await {
            assert_eq!(how(&line), "ECONNREFUSED", "{line}");
        }
    }
    room.refused("10.20.30.40 is a private address").await;
    room.refused("169.254.169.254 is a metadata service").await;
    let own = room.refused("198.51.100.1 is an address of the machine itself").await;
    assert_eq!(own.port, 8080);
    room.refused("2001:db8:1::1 is an address of the machine itself").await;
    Ok(())
}

/// Names of the internet that lead there.
pub(crate) async fn what_is_not_the_internet_by_name(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let names = [
        "private.test|80",
        "metadata.test|80",
        "own.test|8080",
        "ula.test|80",
        "mapped.test|80",
        "mapped-own.test|8080",
        "translated.test|80",
        "translated-own.test|8080",
    ];
    all_refused(&bench, &room, &names).await;
    if bench.by_proxy() {
        all_refused(&bench, &room, &["loopback.test|8080", "localhost|8080"]).await;
    } else {
        assert_eq!(how(&room.probe1(&["tcp", "loopback.test|8080"]).await), "ECONNREFUSED");
    }
    Ok(())
}

pub(crate) async fn what_is_not_the_internet_by_datagram(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for target in INSIDE.iter().chain(&MAPPED) {
        // A program does not send to everybody by accident: it has to ask for it.
        let (host, port) = target.rsplit_once('|').unwrap();
        if host == "255.255.255.255" {
            continue;
        }
        let port = if port == "8080" { port } else { "7" };
        let line = room.probe1(&["udp", host, port, "100", "1"]).await;
        bench.is_refused(&line);
        assert!(line.ends_with(" 0"), "{line}");
    }
    room.refused("10.20.30.40 is a private address").await;
    Ok(())
}

/// All of them have the same addresses, and see nothing of each other.
pub(crate) async fn other_sandboxes(bench: Bench) -> Outcome {
    let (room, neighbour) = (bench.room("egress").await, bench.room("egress").await);
    let mut listening = neighbour.start(&["listen", "7777"]).await;
    assert_eq!(listening.line().await, "listening");
    let own = ["192.0.0.2|7777", "127.0.0.1|7777", "::1|7777", "fdc0:c0de:5db0::2|7777"];
    for line in room.probe(&[&["straight"], &own[..]].concat()).await {
        let expected: &[&str] = if bench.by_proxy() { &["ECONNREFUSED", "ENETUNREACH"] } else { &["ECONNREFUSED"] };
        assert!(expected.contains(&how(&line)), "{line}");
    }
    if bench.by_proxy() {
        all_refused(&bench, &room, &own).await;
    }
    let line = room.probe1(&["abstract", "computesdk-neighbour"]).await;
    assert!(line.ends_with("ECONNREFUSED"), "{line}");
    // It is there all the same.
    assert!(neighbour.probe1(&["straight", "127.0.0.1|7777"]).await.contains(" ok "));
    assert_eq!(listening.line().await, "reached");
    Ok(())
}

pub(crate) async fn abstract_sockets(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let line = room.probe1(&["abstract", "computesdk-world"]).await;
    assert!(line.ends_with("ECONNREFUSED"), "{line}");
    Ok(())
}

/// It serves names on its own address, and whom the filter sends; nobody else.
pub(crate) async fn the_gateway_itself(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    all_refused(&bench, &room, &["192.0.0.1|80", "192.0.0.1|1", "192.0.0.1|3128", "192.0.0.1|54"]).await;
    room.refused("the gateway serves names only").await;
    bench.is_refused(&room.probe1(&["udp", "192.0.0.1", "7", "100", "1"]).await);
    for own in ["127.0.0.1", "192.0.0.2", "::1", "fdc0:c0de:5db0::2"] {
        let line = room.probe1(&["raw", own, "1", "GET / HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n"]).await;
        let reset =
            line.starts_with("ECONNRESET") || line.starts_with("EPIPE") || line.starts_with("refused ECONNRESET");
        assert!(reset, "{own}: {line}");
    }
    // No proxy either.
    assert!(room.probe1(&["straight", "127.0.0.1|3128"]).await.contains("ECONNREFUSED"));
    assert!(room.sandbox.network_notice().is_none());
    Ok(())
}

pub(crate) async fn the_proxy_itself(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    all_refused(&bench, &room, &["127.0.0.1|3128", "localhost|3128", "::1|3128", "192.0.0.1|53", "0.0.0.0|3128"]).await;
    // What is no request for a proxy.
    for request in [
        "GET / HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n",
        "GET https://web.test/ HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n",
        "GET http://web.test/ HTTP/1.1\\r\\nHost: other.test\\r\\n\\r\\n",
        "CONNECT web.test HTTP/1.1\\r\\n\\r\\n",
        "\\x16\\x03\\x01\\r\\n\\r\\n",
        "SSH-2.0-x\\r\\n\\r\\n",
    ] {
        let line = room.probe1(&["toproxy", request]).await;
        assert!(line.contains("400 Bad Request"), "{request}: {line}");
    }
    assert!(room.sandbox.network_notice().unwrap().contains("HTTP_PROXY"));
    Ok(())
}

/// Without the variables there is no way, not even to names.
pub(crate) async fn nothing_but_the_proxy(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let targets = ["203.0.113.10|80", "2001:db8::10|80", "10.20.30.40|80", "198.51.100.1|8080"];
    for line in room.probe(&[&["straight"], &targets[..]].concat()).await {
        assert_eq!(how(&line), "ENETUNREACH", "{line}");
    }
    assert!(room.probe1(&["udp", "203.0.113.10", "7", "100", "1"]).await.contains("ENETUNREACH"));
    assert_eq!(room.probe1(&["ask", "192.0.0.1", "web.test", "udp"]).await, "ENETUNREACH");
    Ok(())
}

/// It has no way out, and that is told.
pub(crate) async fn ping(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    let line = room.probe1(&["ping", "203.0.113.10"]).await;
    if bench.who != Who::Root && line == "EACCES" {
        return Err(Skipped(String::from("without root the kernel lets nobody ping here (ping_group_range)")));
    }
    assert!(["timeout", "EHOSTUNREACH"].contains(&line.as_str()), "{line}");
    let told = room.refused("ping has no way out").await;
    assert_eq!((told.protocol, told.address), (Protocol::Other, "203.0.113.10".parse().ok()));
    assert_eq!(room.probe1(&["ping", "127.0.0.1"]).await, "answered 8");
    Ok(())
}

pub(crate) async fn no_way_around(bench: Bench) -> Outcome {
    let room = bench.room("egress").await;
    for line in room.probe(&["sockets"]).await {
        assert!(!line.ends_with("made") || bench.by_proxy() && line.starts_with("gateway's port"), "{line}");
    }
    // Its root has no power over the network: neither the packet filter nor addresses are its own.
    for script in ["ip link add x type dummy", "ip address add 10.0.0.1/8 dev lo", "ip route flush table local"] {
        let (output, code) = room.sh(&format!("PATH=$PATH:/usr/sbin:/sbin; {script}")).await;
        assert_ne!(code, 0, "{script}: {output}");
    }
    let (output, code) = room.sh("echo 1 > /proc/sys/net/ipv4/ip_forward").await;
    assert_ne!(code, 0, "{output}");
    if !bench.by_proxy() {
        // The filter still stands.
        assert!(room.probe1(&["tcp", "203.0.113.10|80"]).await.contains(" ok "));
        bench.is_refused(&room.probe1(&["tcp", "10.20.30.40|80"]).await);
    }
    Ok(())
}

/// The default: no way out, and nothing that pretends to be one.
pub(crate) async fn nothing_at_all(bench: Bench) -> Outcome {
    let room = bench.room("none").await;
    let targets = ["203.0.113.10|80", "2001:db8::10|80", "10.20.30.40|80", "198.51.100.1|8080", "192.0.0.1|53"];
    for line in room.probe(&[&["straight"], &targets[..]].concat()).await {
        assert_eq!(how(&line), "ENETUNREACH", "{line}");
    }
    for line in room.probe(&["straight", "127.0.0.1|1", "127.0.0.1|3128", "127.0.0.1|8080", "::1|8080"]).await {
        assert_eq!(how(&line), "ECONNREFUSED", "{line}");
    }
    let (output, code) = room.sh("env | grep -i proxy").await;
    assert_eq!(code, 1, "{output}");
    assert!(room.decisions().await.is_empty());
    Ok(())
}
