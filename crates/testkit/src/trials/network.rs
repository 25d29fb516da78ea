//! What a sandbox reaches over the network, and what is told of it. No trial needs the internet.

use crate::check::{Failure, Outcome, refused_naming};
use crate::context::{Context, soon};
use crate::need::own_addresses;
use crate::probe::{line, script, start};
use crate::server::{Fetched, answer, fetch, fetch_all, listen, serve_http, url};
use computesdk::Sandbox;
use computesdk_core::{
    CreateOptions, EventKind, ExecOptions, ListFilter, Network, NetworkEvent, NetworkProtocol, Runtime, Verdict,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use tokio::io::AsyncReadExt as _;

trials! { "network";
    none_has_no_interface_but_loopback[NetworkNone],
    none_reaches_nothing[NetworkNone, Python],
    none_has_a_loopback[NetworkNone, Python],
    egress_reaches_nothing_private[NetworkEgress, Python],
    egress_has_a_loopback[NetworkEgress, Python],
    egress_does_not_reach_this_machine[NetworkEgress, Python],
    egress_does_not_reach_another_sandbox[NetworkEgress, Python],
    a_refusal_is_told_with_its_reason[NetworkEgress, Python],
    ranges_are_all_that_is_reached[NetworkCidr, Python],
    what_a_range_allows_is_reached_and_counted[NetworkCidr, Python, OwnAddress],
    names_are_all_that_is_resolved[NetworkDomain, Python],
    ranges_that_make_no_sense_are_refused[NetworkCidr],
    names_that_make_no_sense_are_refused[NetworkDomain],
    an_open_network_can_be_closed_and_opened[NetworkNone, NetworkEgress, Python],
    a_closed_network_can_be_opened[NetworkNone, NetworkEgress, Python],
    closing_cuts_what_is_open[NetworkNone, NetworkCidr, Python, OwnAddress],
}

/// What is not the internet, though it may look like it: private, carrier's, link-local, metadata, multicast, and the same in
/// the disguises of IPv6.
const PRIVATE: &[(&str, u16)] = &[
    ("10.0.0.1", 22),
    ("172.16.0.1", 80),
    ("192.168.1.1", 80),
    ("100.64.0.1", 80),
    ("169.254.0.1", 80),
    ("169.254.169.254", 80),
    ("169.254.170.2", 80),
    ("168.63.129.16", 80),
    ("100.100.100.200", 80),
    ("224.0.0.1", 80),
    ("240.0.0.1", 80),
    ("255.255.255.255", 80),
    ("fd00::1", 80),
    ("fd00:ec2::254", 80),
    ("fe80::1", 80),
    ("ff02::1", 80),
    ("::ffff:10.0.0.1", 80),
    ("64:ff9b::a00:1", 80),
    ("2002:a00:1::", 80),
];

async fn with(cx: &Context, network: Network) -> Outcome<Sandbox> {
    let mut options = CreateOptions::default();
    options.network = Some(network);
    Ok(cx.create(options).await?)
}

fn urls(targets: &[(&str, u16)]) -> Vec<String> {
    targets.iter().map(|(address, port)| url(address, *port)).collect()
}

/// The first event of this sandbox that fits, also of those to come.
async fn event<T>(sandbox: &Sandbox, what: &str, fits: impl Fn(&EventKind) -> Option<T>) -> Outcome<T> {
    let mut events = sandbox.events().await?;
    let mut seen = Vec::new();
    let search = async {
        while let Some(event) = events.next().await {
            match fits(&event.kind) {
                Some(found) => return Some(found),
                None => seen.push(event.kind),
            }
        }
        None
    };
    match soon(what, search).await {
        Ok(Some(found)) => Ok(found),
        _ => Err(Failure::new(format!("no event was told of {what}; told were {}", crate::check::short(&seen)))),
    }
}

/// The event with this verdict about a host or address.
async fn verdict(sandbox: &Sandbox, wanted: Verdict, about: &str, port: u16) -> Outcome<NetworkEvent> {
    event(sandbox, &format!("{wanted:?} {about} port {port}"), |kind| match kind {
        EventKind::Network(event)
            if event.verdict == wanted
                && event.port == port
                && (event.host.as_deref() == Some(about)
                    || event.address.is_some_and(|address| address.to_string() == about)) =>
        {
            Some(event.clone())
        }
        _ => None,
    })
    .await
}

async fn policy_change(sandbox: &Sandbox, wanted: &str) -> Outcome {
    event(sandbox, &format!("a change to `{wanted}`"), |kind| {
        matches!(kind, EventKind::NetworkChanged { policy } if policy == wanted).then_some(())
    })
    .await
}

async fn none_has_no_interface_but_loopback(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::None).await?;
    let interfaces = script(&sandbox, "ls /sys/class/net 2>/dev/null || sed '1,2d;s/:.*//' /proc/net/dev").await?;
    // Those that the kernel makes by itself lead nowhere.
    let harmless = ["lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"];
    let others: Vec<_> = interfaces.split_whitespace().filter(|name| !harmless.contains(name)).collect();
    ensure!(others.is_empty(), "it has the interfaces {others:?}");
    Ok(())
}

async fn none_reaches_nothing(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::None).await?;
    let (listener, mut targets) = everywhere()?;
    targets.extend(urls(PRIVATE));
    targets.extend(urls(&[("192.0.2.1", 80), ("203.0.113.1", 443), ("2001:db8::1", 80)]));
    // And no name has an address, which is known at once.
    targets.push(url("example.com", 80));
    let all = fetch_all(&sandbox, &targets).await?;
    ensure!(listener.accept().is_err(), "it reached this machine: {all:?}");
    all.iter().try_for_each(Fetched::ensure_refused)
}

async fn none_has_a_loopback(cx: &Context) -> Outcome {
    has_a_loopback(&with(cx, Network::None).await?).await
}

async fn egress_has_a_loopback(cx: &Context) -> Outcome {
    has_a_loopback(&with(cx, Network::Egress).await?).await
}

async fn has_a_loopback(sandbox: &Sandbox) -> Outcome {
    let code = "import socket\n\
                for family, host in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'):\n\
                \x20   try:\n\
                \x20       server = socket.create_server((host, 0), family=family)\n\
                \x20   except OSError:\n\
                \x20       if family == socket.AF_INET6: continue  # a kernel without it\n\
                \x20       raise\n\
                \x20   client = socket.create_connection(server.getsockname()[:2], 5)\n\
                \x20   client.sendall(b'over loopback')\n\
                \x20   assert server.accept()[0].recv(100) == b'over loopback'\n\
                print(socket.gethostbyname('localhost'))";
    let result = sandbox.run_code(code).runtime(Runtime::Python).await?;
    ensure_eq!(result.stdout, "127.0.0.1\n", "the output ({})", result.stderr);
    Ok(())
}

/// A listener on every address of this machine, with URLs for those that others, or it itself, have for it.
fn everywhere() -> Outcome<(TcpListener, Vec<String>)> {
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let mut addresses: Vec<String> = own_addresses().iter().map(ToString::to_string).collect();
    addresses.extend(["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::ffff:127.0.0.1"].map(str::to_owned));
    let mapped: Vec<String> =
        own_addresses().iter().filter(|own| own.is_ipv4()).map(|own| format!("::ffff:{own}")).collect();
    addresses.extend(mapped);
    Ok((listener, addresses.iter().map(|address| url(address, port)).collect()))
}

async fn egress_reaches_nothing_private(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::Egress).await?;
    fetch_all(&sandbox, &urls(PRIVATE)).await?.iter().try_for_each(Fetched::ensure_refused)
}

async fn egress_does_not_reach_this_machine(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::Egress).await?;
    let (listener, targets) = everywhere()?;
    let all = fetch_all(&sandbox, &targets).await?;
    ensure!(listener.accept().is_err(), "it reached this machine: {all:?}");
    all.iter().try_for_each(Fetched::ensure_refused)
}

async fn egress_does_not_reach_another_sandbox(cx: &Context) -> Outcome {
    let (one, two) = (with(cx, Network::Egress).await?, with(cx, Network::Egress).await?);
    let secret = cx.unique("secret");
    let _server = serve_http(&one, "0.0.0.0", 8477, &secret).await?;
    // The addresses that it would send from.
    let code = "import socket\n\
                for family, to in (socket.AF_INET, '203.0.113.1'), (socket.AF_INET6, '2001:db8::1'):\n\
                \x20   try:\n\
                \x20       probe = socket.socket(family, socket.SOCK_DGRAM)\n\
                \x20       probe.connect((to, 9))\n\
                \x20       print(probe.getsockname()[0])\n\
                \x20   except OSError:\n\
                \x20       pass";
    let own = one.run_code(code).runtime(Runtime::Python).await?;
    let targets: Vec<String> =
        own.stdout.lines().chain(["127.0.0.1", "sandbox"]).map(|address| url(address, 8477)).collect();
    ensure_eq!(fetch(&one, url("127.0.0.1", 8477)).await?.body.as_deref(), Some(secret.as_str()), "its own answer");
    for fetched in fetch_all(&two, &targets).await? {
        ensure!(fetched.body.is_none(), "{} leads to another sandbox: {:?}", fetched.url, fetched.body);
    }
    Ok(())
}

async fn a_refusal_is_told_with_its_reason(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::Egress).await?;
    fetch(&sandbox, url("10.0.0.1", 22)).await?.ensure_refused()?;
    let event = verdict(&sandbox, Verdict::Refused, "10.0.0.1", 22).await?;
    ensure!(event.reason.as_ref().is_some_and(|reason| reason.contains("private")), "the reason: {:?}", event.reason);
    ensure!([NetworkProtocol::Tcp, NetworkProtocol::Http].contains(&event.protocol), "it is told as {event:?}");
    ensure_eq!((event.sent, event.received), (0, 0), "what it carried");
    Ok(())
}

async fn ranges_are_all_that_is_reached(cx: &Context) -> Outcome {
    // A documentation range: nobody is there, and it is no neighbour of an address that the trial asks for.
    let sandbox = with(cx, Network::Cidr(vec!["198.51.100.0/24".into()])).await?;
    let mut targets = urls(PRIVATE);
    targets.extend(urls(&[("203.0.113.1", 80), ("198.51.101.1", 80), ("2001:db8::1", 80)]));
    for fetched in fetch_all(&sandbox, &targets).await? {
        fetched.ensure_refused()?;
    }
    let event = verdict(&sandbox, Verdict::Refused, "203.0.113.1", 80).await?;
    ensure!(event.reason.is_some(), "it has no reason: {event:?}");
    // One that contains private ranges does not open them.
    let sandbox = with(cx, Network::Cidr(vec!["0.0.0.0/0".into(), "::/0".into()])).await?;
    fetch_all(&sandbox, &urls(PRIVATE)).await?.iter().try_for_each(Fetched::ensure_refused)
}

async fn what_a_range_allows_is_reached_and_counted(cx: &Context) -> Outcome {
    for own in own_addresses() {
        let (listener, port) = listen(own).await?;
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await?;
                answer(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nfrom the host")
                    .await?;
            }
        };
        let sandbox = with(cx, Network::Cidr(vec![own.to_string()])).await?;
        let ask = fetch(&sandbox, url(&own.to_string(), port));
        let fetched = tokio::select! {
            fetched = ask => fetched?,
            ended = serve => { let ended: std::io::Result<()> = ended; return Ok(ended?) }
        };
        ensure_eq!(fetched.body.as_deref(), Some("from the host"), "the answer of {own} ({})", fetched.error);
        let allowed = verdict(&sandbox, Verdict::Allowed, &own.to_string(), port).await?;
        let closed = verdict(&sandbox, Verdict::Closed, &own.to_string(), port).await?;
        ensure_eq!(closed.connection, allowed.connection, "the number of the connection");
        ensure!(closed.received > 13 && closed.sent > 10, "what it carried: {closed:?}");
    }
    Ok(())
}

async fn names_are_all_that_is_resolved(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::Domain(vec!["example.org".into(), "*.example.net".into()])).await?;
    let mut targets = urls(&[("www.example.com", 80), ("www.example.org", 80), ("example.net", 80)]);
    targets.extend(urls(&[("203.0.113.1", 80), ("10.0.0.1", 80), ("2001:db8::1", 80)]));
    for fetched in fetch_all(&sandbox, &targets).await? {
        fetched.ensure_refused()?;
    }
    // A question for the name, or a request to the proxy.
    let event = event(&sandbox, "the name that is not listed", |kind| match kind {
        EventKind::Network(event) if event.host.as_deref() == Some("www.example.com") => Some(event.clone()),
        _ => None,
    })
    .await?;
    ensure_eq!(event.verdict, Verdict::Refused, "what was decided");
    ensure!(event.reason.is_some(), "it has no reason: {event:?}");
    verdict(&sandbox, Verdict::Refused, "203.0.113.1", 80).await?;
    Ok(())
}

/// These policies are refused at create, before anything is made, and later.
async fn all_refused(cx: &Context, policy: fn(Vec<String>) -> Network, lists: &[&[&str]]) -> Outcome {
    let mark = BTreeMap::from([("mark".to_owned(), cx.unique("mark"))]);
    let sandbox = cx.sandbox().await?;
    for list in lists {
        let network = policy(list.iter().map(|&entry| entry.to_owned()).collect());
        let mut options = CreateOptions::default();
        (options.network, options.metadata) = (Some(network.clone()), mark.clone());
        refused_naming(&format!("{network:?}"), "network", cx.create(options).await)?;
        refused_naming(&format!("a change to {network:?}"), "network", sandbox.set_network(network).await)?;
    }
    if cx.capabilities.list {
        let mut filter = ListFilter::default();
        filter.metadata = mark;
        ensure_eq!(cx.provider.list(&filter).await?.len(), 0, "how many sandboxes were made");
    }
    Ok(())
}

async fn ranges_that_make_no_sense_are_refused(cx: &Context) -> Outcome {
    let lists: &[&[&str]] = &[
        &[],
        &[""],
        &["10.0.0.1/8"],
        &["10.0.0.0/33"],
        &["10.0.0"],
        &["2001:db8::1/32"],
        &["example.com"],
        &["203.0.113.0/24", "all"],
    ];
    all_refused(cx, Network::Cidr, lists).await
}

async fn names_that_make_no_sense_are_refused(cx: &Context) -> Outcome {
    let lists: &[&[&str]] = &[
        &[],
        &[""],
        &["https://example.com"],
        &["example.com/path"],
        &["example.com:443"],
        &["10.0.0.1"],
        &["*"],
        &["www.*.com"],
        &["a b.com"],
        &["example.com", "."],
    ];
    all_refused(cx, Network::Domain, lists).await
}

async fn an_open_network_can_be_closed_and_opened(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::Egress).await?;
    sandbox.set_network(Network::None).await?;
    policy_change(&sandbox, "none").await?;
    for fetched in fetch_all(&sandbox, &urls(&[("203.0.113.1", 80), ("example.com", 80)])).await? {
        fetched.ensure_refused()?;
    }
    sandbox.set_network(Network::Egress).await?;
    policy_change(&sandbox, "egress").await?;
    // What is refused for its own sake tells that somebody decides again.
    fetch(&sandbox, url("10.0.0.2", 81)).await?.ensure_refused()?;
    let event = verdict(&sandbox, Verdict::Refused, "10.0.0.2", 81).await?;
    ensure!(event.reason.as_ref().is_some_and(|reason| reason.contains("private")), "the reason: {:?}", event.reason);
    Ok(())
}

async fn a_closed_network_can_be_opened(cx: &Context) -> Outcome {
    let sandbox = with(cx, Network::None).await?;
    sandbox.set_network(Network::Egress).await?;
    policy_change(&sandbox, "egress").await?;
    fetch(&sandbox, url("10.0.0.3", 82)).await?.ensure_refused()?;
    verdict(&sandbox, Verdict::Refused, "10.0.0.3", 82).await?;
    Ok(())
}

async fn closing_cuts_what_is_open(cx: &Context) -> Outcome {
    let Some(&own) = own_addresses().first() else { return Err(Failure::new("it has an own address no more")) };
    let (listener, port) = listen(own).await?;
    let sandbox = with(cx, Network::Cidr(vec![own.to_string()])).await?;
    let code = "import sys, urllib.request\n\
                answer = urllib.request.urlopen(sys.argv[1], timeout=25)\n\
                print(answer.read(5).decode(), flush=True)\n\
                try:\n\
                \x20   print('whole:', len(answer.read()))\n\
                except Exception as error:\n\
                \x20   print('cut:', repr(error))";
    let target = url(&own.to_string(), port);
    let process = start(&sandbox, ExecOptions::new(["python3", "-c", code, target.as_str()])).await?;
    let (mut stream, _) = soon("its connection", listener.accept()).await??;
    answer(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin").await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    ensure_eq!(line(&mut stdout).await?, "begin", "what came before");
    sandbox.set_network(Network::None).await?;
    let told = line(&mut stdout).await?;
    ensure!(told.starts_with("cut:"), "after the change: {told}");
    // And at the other end. A reset is as good as an end.
    let _ = soon("the end of the connection here", stream.read_to_end(&mut Vec::new())).await?;
    Ok(())
}
