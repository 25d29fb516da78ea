//! Published ports: reached from this machine, and connections that need no publishing.

use crate::check::{Failure, Outcome, refused, refused_naming};
use crate::context::{Context, soon, until, within};
use crate::server::{dial, get, get_over, plain, serve_greeting, serve_http};
use computesdk::{Sandbox, UrlProtocol};
use computesdk_core::{CreateOptions, ErrorKind, HostPort, Tunnel};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

trials! { "ports";
    a_port_is_published_at_create[Ports, Python],
    a_port_is_published_later[Ports, Python],
    every_loopback_address_is_served[Ports, Python],
    publishing_twice_is_one_tunnel[Ports],
    an_unknown_port_is_told_with_those_there_are[Ports],
    port_0_is_refused[Ports],
    a_port_without_a_server_ends_connections[Ports, Python],
    a_server_may_speak_first[Ports, Python],
    an_end_of_input_is_passed_on[Ports, Python],
    fifty_connections_at_once[Ports, Python],
    two_sandboxes_have_tunnels_of_their_own[Ports, Python],
    a_tunnel_ends_with_its_sandbox[Ports, Python],
    connect_needs_no_publishing[Ports, Python],
    only_those_listed_come_in[Ports, Inbound, Python],
    lists_that_make_no_sense_are_refused[Inbound],
}

async fn publishing(cx: &Context, ports: &[u16]) -> Outcome<Sandbox> {
    let mut options = CreateOptions::default();
    options.ports = ports.to_vec();
    Ok(cx.create(options).await?)
}

/// The tunnel of a published port.
async fn tunnel(sandbox: &Sandbox, port: u16) -> Outcome<Tunnel> {
    let tunnels = sandbox.tunnels().await?;
    let found = tunnels.iter().find(|tunnel| tunnel.port == port).cloned();
    found.ok_or_else(|| Failure::new(format!("port {port} has no tunnel: {tunnels:?}")))
}

fn numbers(tunnels: &[Tunnel]) -> Vec<u16> {
    tunnels.iter().map(|tunnel| tunnel.port).collect()
}

async fn a_port_is_published_at_create(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[8080, 3000]).await?;
    ensure_eq!(numbers(&sandbox.tunnels().await?), [3000, 8080], "the published ports");
    let body = cx.unique("body");
    let _server = serve_http(&sandbox, "0.0.0.0", 8080, &body).await?;
    let tunnel = tunnel(&sandbox, 8080).await?;
    ensure_eq!(get(&tunnel).await?, body, "the answer");
    // It may be asked again.
    ensure_eq!(get(&tunnel).await?, body, "the answer to another request");

    let address = plain(&tunnel)?;
    ensure_eq!(sandbox.get_url(8080).await?, format!("http://{address}"), "the URL");
    ensure_eq!(sandbox.get_url_with(8080, UrlProtocol::Ws).await?, format!("ws://{address}"), "for a WebSocket");
    match &tunnel.tls {
        Some(tls) => {
            ensure_eq!(sandbox.get_url_with(8080, UrlProtocol::Wss).await?, format!("wss://{tls}"), "with TLS");
        }
        None => {
            let url = sandbox.get_url_with(8080, UrlProtocol::Wss).await;
            refused("a URL with TLS where there is none", ErrorKind::Unsupported, url)?;
        }
    }
    Ok(())
}

async fn a_port_is_published_later(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[]).await?;
    ensure_eq!(sandbox.tunnels().await?, [], "the published ports");
    let body = cx.unique("body");
    // With a server there already.
    let _server = serve_http(&sandbox, "127.0.0.1", 9000, &body).await?;
    let published = sandbox.publish(9000).await?;
    ensure_eq!(published.port, 9000, "the published port");
    ensure_eq!(get(&published).await?, body, "the answer");
    ensure_eq!(sandbox.tunnels().await?, [published], "what is published");
    Ok(())
}

async fn every_loopback_address_is_served(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[7001, 7002, 7003]).await?;
    let ipv6 = "import socket; socket.create_server(('::1', 0), family=socket.AF_INET6)";
    let has_ipv6 = sandbox.run_command("python3", ["-c", ipv6]).await?.success();
    for (port, host) in [(7001, "127.0.0.1"), (7002, "0.0.0.0"), (7003, "::1")] {
        if host == "::1" && !has_ipv6 {
            continue;
        }
        let _server = serve_http(&sandbox, host, port, host).await?;
        ensure_eq!(get(&tunnel(&sandbox, port).await?).await?, host, "the answer of {host}");
    }
    Ok(())
}

async fn publishing_twice_is_one_tunnel(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[8080, 8080]).await?;
    let first = tunnel(&sandbox, 8080).await?;
    let (second, third) = tokio::join!(sandbox.publish(8080), sandbox.publish(8080));
    ensure_eq!((second?, third?), (first.clone(), first), "the tunnel");
    let (one, two) = tokio::join!(sandbox.publish(9090), sandbox.publish(9090));
    ensure_eq!(one?, two?, "a tunnel that two asked for at once");
    ensure_eq!(numbers(&sandbox.tunnels().await?), [8080, 9090], "the published ports");
    Ok(())
}

async fn an_unknown_port_is_told_with_those_there_are(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[8080, 3000]).await?;
    let error = refused("a port that is not published", ErrorKind::NotFound, sandbox.get_url(9000).await)?;
    let wanted = "No tunnel found for port 9000. Available ports: 3000, 8080";
    ensure!(error.to_string().contains(wanted), "the message: {error}");
    let none = publishing(cx, &[]).await?;
    let error = refused("a port where none is", ErrorKind::NotFound, none.get_url(9000).await)?;
    ensure!(error.to_string().contains("Available ports: none"), "the message: {error}");
    Ok(())
}

async fn port_0_is_refused(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.ports = vec![8080, 0];
    refused_naming("port 0 at create", "ports", cx.create(options).await)?;
    let sandbox = cx.sandbox().await?;
    refused_naming("publishing port 0", "port", sandbox.publish(0).await)?;
    refused_naming("a connection to port 0", "port", sandbox.connect(0).await.map(drop))?;
    // Past the facade, too.
    refused_naming("publishing port 0", "port", sandbox.as_core().publish(0).await)?;
    Ok(())
}

async fn a_port_without_a_server_ends_connections(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[8080]).await?;
    let tunnel = tunnel(&sandbox, 8080).await?;
    if let Ok(mut stream) = dial(&tunnel).await {
        let mut all = Vec::new();
        // An end or a reset, and not silence.
        let _ = soon("the end of the connection", stream.read_to_end(&mut all)).await?;
    }
    ensure!(get(&tunnel).await.is_err(), "somebody answered");
    let _server = serve_http(&sandbox, "127.0.0.1", 8080, "now").await?;
    ensure_eq!(get(&tunnel).await?, "now", "once there is a server");
    Ok(())
}

async fn a_server_may_speak_first(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[2525]).await?;
    let _server = serve_greeting(&sandbox, 2525, "220 ready").await?;
    let mut stream = BufReader::new(dial(&tunnel(&sandbox, 2525).await?).await?);
    let mut greeting = String::new();
    soon("the greeting", stream.read_line(&mut greeting)).await??;
    ensure_eq!(greeting, "220 ready\n", "what came before anything was sent");
    Ok(())
}

async fn an_end_of_input_is_passed_on(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[2525]).await?;
    let _server = serve_greeting(&sandbox, 2525, "hello").await?;
    let stream = dial(&tunnel(&sandbox, 2525).await?).await?;
    let (mut reader, mut writer) = stream.into_split();
    let send = async {
        writer.write_all(&vec![b'x'; 3_000_000]).await?;
        writer.shutdown().await
    };
    let mut answer = String::new();
    let (sent, received) = soon("the answer", async { tokio::join!(send, reader.read_to_string(&mut answer)) }).await?;
    sent?;
    received?;
    ensure_eq!(answer, "hello\n3000000 bytes\n", "the answer after the end of input");
    Ok(())
}

async fn fifty_connections_at_once(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[8080]).await?;
    let body = cx.unique("body").repeat(1000);
    let _server = serve_http(&sandbox, "127.0.0.1", 8080, &body).await?;
    let tunnel = tunnel(&sandbox, 8080).await?;
    // All are there before the first asks.
    let streams =
        within(Duration::from_secs(20), "fifty connections", join_all((0..50).map(|_| dial(&tunnel)))).await?;
    let streams = streams.into_iter().collect::<Outcome<Vec<_>>>()?;
    let answers = within(Duration::from_secs(25), "fifty answers", join_all(streams.into_iter().map(get_over))).await?;
    for answer in answers {
        ensure!(answer? == body, "an answer is not the whole one");
    }
    Ok(())
}

async fn two_sandboxes_have_tunnels_of_their_own(cx: &Context) -> Outcome {
    let (one, two) = (publishing(cx, &[8080]).await?, publishing(cx, &[8080]).await?);
    let _servers =
        (serve_http(&one, "127.0.0.1", 8080, "one").await?, serve_http(&two, "127.0.0.1", 8080, "two").await?);
    let (first, second) = (tunnel(&one, 8080).await?, tunnel(&two, 8080).await?);
    ensure!(first.plain != second.plain, "both have the address {:?}", first.plain);
    ensure!(first.tls.is_none() || first.tls != second.tls, "both have the address {:?}", first.tls);
    ensure_eq!(get(&first).await?, "one", "the first answer");
    ensure_eq!(get(&second).await?, "two", "the second answer");
    // The end of one is not the other's.
    one.destroy().await?;
    ensure_eq!(get(&second).await?, "two", "the answer of the one that is left");
    Ok(())
}

async fn a_tunnel_ends_with_its_sandbox(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[8080]).await?;
    let body = cx.unique("body");
    let _server = serve_http(&sandbox, "127.0.0.1", 8080, &body).await?;
    let tunnel = tunnel(&sandbox, 8080).await?;
    ensure_eq!(get(&tunnel).await?, body, "the answer");
    let mut open = dial(&tunnel).await?;
    sandbox.destroy().await?;
    let _ = soon("the end of an open connection", open.read_to_end(&mut Vec::new())).await?;
    ensure_eq!(sandbox.tunnels().await?, [], "its tunnels");
    let address: HostPort = plain(&tunnel)?.clone();
    // Somebody else may have the address by now.
    until(&format!("nothing of it answers at {address}"), || async {
        Ok(get(&tunnel).await.map_or(true, |answer| answer != body))
    })
    .await?;
    refused("publishing a port of it", ErrorKind::NotFound, sandbox.publish(8080).await)?;
    refused("a connection to it", ErrorKind::NotFound, sandbox.connect(8080).await.map(drop))?;
    refused("a URL of it", ErrorKind::NotFound, sandbox.get_url(8080).await)?;
    Ok(())
}

async fn connect_needs_no_publishing(cx: &Context) -> Outcome {
    let sandbox = publishing(cx, &[]).await?;
    let nobody = soon("a connection to nobody", sandbox.connect(8080)).await?;
    refused("a connection to a port where nobody listens", ErrorKind::Unavailable, nobody.map(drop))?;
    let _servers =
        (serve_http(&sandbox, "127.0.0.1", 8080, "web").await?, serve_greeting(&sandbox, 2525, "hello").await?);
    ensure_eq!(get_over(soon("a connection", sandbox.connect(8080)).await??).await?, "web", "the answer");
    let mut stream = sandbox.connect(2525).await?;
    stream.write_all(b"four").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await??;
    ensure_eq!(answer, "hello\n4 bytes\n", "the answer after the end of input");
    ensure_eq!(sandbox.tunnels().await?, [], "what is published");
    Ok(())
}

async fn only_those_listed_come_in(cx: &Context) -> Outcome {
    // A documentation range: this machine's address is not in it, whichever it is.
    for (ranges, comes_in) in [(&["203.0.113.0/24"][..], false), (&["0.0.0.0/0", "::/0"], true)] {
        let mut options = CreateOptions::default();
        options.ports = vec![8080];
        options.inbound = Some(ranges.iter().map(|&range| range.to_owned()).collect());
        let sandbox = cx.create(options).await?;
        let _server = serve_http(&sandbox, "127.0.0.1", 8080, "in").await?;
        let answer = get(&tunnel(&sandbox, 8080).await?).await;
        ensure_eq!(answer.is_ok(), comes_in, "whether one comes in with {ranges:?} ({answer:?})");
    }
    Ok(())
}

async fn lists_that_make_no_sense_are_refused(cx: &Context) -> Outcome {
    for range in ["", "everybody", "10.0.0.0/33", "example.com", "10.0.0.1:80"] {
        let mut options = CreateOptions::default();
        options.inbound = Some(vec!["203.0.113.0/24".into(), range.into()]);
        refused_naming(&format!("the range {range:?}"), "inbound", cx.create(options).await)?;
    }
    Ok(())
}
