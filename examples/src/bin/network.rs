//! A server in a sandbox, reached by its URL; and what the sandbox may reach itself, decided and told.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, CreateParams, EventKind, Network, Probe, Result, local};
use computesdk_examples::ensure;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let list = Network::Domain(vec!["pypi.org".into(), "*.pythonhosted.org".into()]);
    let params = CreateParams::new().network(list).port(8000).file("/srv/index.html", "Hello from a sandbox!\n");
    let sandbox = compute.sandbox().create(params).await?.into_guard();

    // A server, and when it is there.
    let server = sandbox.run_command("python3", ["-m", "http.server", "8000", "-d", "/srv"]).spawn().await?;
    sandbox.wait_until_ready(Probe::tcp(8000).deadline(Duration::from_secs(20))).await?;
    let url = sandbox.get_url(8000).await?;
    ensure(url.starts_with("http://127.0.0.1:"), &url)?;
    let page = get(url.trim_start_matches("http://")).await.map_err(|error| {
        computesdk::Error::new(computesdk::ErrorKind::Unavailable, "example", error.to_string()).with_source(error)
    })?;
    println!("the page: {}", page.lines().last().unwrap_or_default());
    let unknown = sandbox.get_url(9000).await.expect_err("it is not published");
    println!("{unknown}");

    // From inside: nothing that is not on the list.
    let reach = sandbox
        .run_code(
            r#"
import socket
for host, port in [("example.com", 443), ("169.254.169.254", 80)]:
    try:
        socket.create_connection((host, port), 5)
        print(host, "reached")
    except OSError as error:
        print(host, "not reached:", error)
"#,
        )
        .await?;
    print!("{}", reach.stdout);
    ensure(!reach.stdout.contains(" reached\n"), &reach.stdout)?;

    let mut events = sandbox.events().await?;
    server.kill().await?;
    sandbox.destroy().await?;
    while let Some(event) = events.next().await {
        if let EventKind::Network(decided) = event.kind {
            let whom = decided.host.unwrap_or_else(|| decided.address.map(|a| a.to_string()).unwrap_or_default());
            println!("{:?} {whom}: {}", decided.verdict, decided.reason.unwrap_or_default());
        }
    }
    Ok(())
}

/// What a server answers.
async fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
