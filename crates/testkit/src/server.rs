//! Servers for trials, in a sandbox and on this machine, and clients of them.

use crate::check::{Failure, Outcome};
use crate::context::{soon, within};
use crate::probe::{exec, line, start};
use computesdk::Sandbox;
use computesdk_core::{BoxRead, ExecOptions, HostPort, Process, Tunnel};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Answers every GET with its third argument.
const HTTP: &str = r#"
import http.server, socket, sys
host, port, body = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    request_queue_size = 128
server = Server((host, port), Handler)
print("up", flush=True)
server.serve_forever()
"#;

/// Greets each client with its third argument, and at the end of what it sends tells how much that was.
const GREETER: &str = r#"
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
while True:
    client, _ = server.accept()
    client.sendall(sys.argv[3].encode() + b"\n")
    count = sum(len(part) for part in iter(lambda: client.recv(65536), b""))
    client.sendall(b"%d bytes\n" % count)
    client.close()
"#;

/// Asks each URL, by the proxy that the environment names if it names one, and prints what came of it.
const FETCH: &str = r#"
import json, sys, time, urllib.request
for url in sys.argv[1:]:
    begun = time.monotonic()
    try:
        told = {"body": urllib.request.urlopen(url, timeout=20).read().decode()}
    except Exception as error:
        told = {"error": repr(error)}
    told["seconds"] = time.monotonic() - begun
    print(json.dumps(told))
"#;

/// A server in a sandbox, which listens.
pub(crate) struct Server {
    // What it writes is read, should it write.
    _stdout: BoxRead,
    _process: Arc<dyn Process>,
}

/// Starts a program of Python that prints `up` once it listens, with these arguments.
pub(crate) async fn serve(sandbox: &Sandbox, program: &str, args: &[&str]) -> Outcome<Server> {
    let process = start(sandbox, ExecOptions::new([&["python3", "-c", program], args].concat())).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    match line(&mut stdout).await {
        Ok(up) if up == "up" => Ok(Server { _stdout: stdout, _process: process }),
        _ => {
            let mut said = String::new();
            let stderr = process.take_stderr().ok_or_else(|| Failure::new("no standard error"))?;
            soon("its errors", stderr.take(4096).read_to_string(&mut said)).await??;
            Err(Failure::new(format!("the server with {args:?} did not come up: {said}")))
        }
    }
}

/// Starts an HTTP server that answers with `body`.
pub(crate) async fn serve_http(sandbox: &Sandbox, host: &str, port: u16, body: &str) -> Outcome<Server> {
    serve(sandbox, HTTP, &[host, &port.to_string(), body]).await
}

/// Starts a server that speaks first, and answers at the end of what the client sends.
pub(crate) async fn serve_greeting(sandbox: &Sandbox, port: u16, greeting: &str) -> Outcome<Server> {
    serve(sandbox, GREETER, &["127.0.0.1", &port.to_string(), greeting]).await
}

/// The same as the command of a main process. Nothing tells when it listens.
pub(crate) fn greeter(port: u16, greeting: &str) -> [String; 6] {
    ["python3", "-c", GREETER, "127.0.0.1", &port.to_string(), greeting].map(str::to_owned)
}

/// What came of a request that a sandbox made.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) url: String,
    pub(crate) body: Option<String>,
    pub(crate) error: String,
    pub(crate) seconds: f64,
}

impl Fetched {
    /// Fails the trial if anything was reached, or if the program had to wait for its error.
    #[track_caller]
    pub(crate) fn ensure_refused(&self) -> Outcome {
        ensure!(self.body.is_none(), "{} was reached: {:?}", self.url, self.body);
        ensure!(self.seconds < 2.0, "{} took {:.1} s to fail: {}", self.url, self.seconds, self.error);
        Ok(())
    }
}

/// Asks these URLs from within a sandbox, one after the other.
pub(crate) async fn fetch_all(sandbox: &Sandbox, urls: &[String]) -> Outcome<Vec<Fetched>> {
    let argv = ["python3", "-c", FETCH].into_iter().chain(urls.iter().map(String::as_str));
    let output = within(Duration::from_secs(25), "the requests", exec(sandbox, ExecOptions::new(argv))).await??;
    let text = output.text();
    ensure_eq!(text.lines().count(), urls.len(), "how many requests were told ({})", output.error_text());
    urls.iter()
        .zip(text.lines())
        .map(|(url, line)| {
            let told: serde_json::Value = serde_json::from_str(line)?;
            Ok(Fetched {
                url: url.clone(),
                body: told["body"].as_str().map(str::to_owned),
                error: told["error"].as_str().unwrap_or_default().to_owned(),
                seconds: told["seconds"].as_f64().unwrap_or(f64::MAX),
            })
        })
        .collect()
}

/// Asks one URL from within a sandbox.
pub(crate) async fn fetch(sandbox: &Sandbox, url: String) -> Outcome<Fetched> {
    fetch_all(sandbox, &[url]).await?.pop().ok_or_else(|| Failure::new("no request was told"))
}

/// `http://ADDRESS:PORT/`.
pub(crate) fn url(address: &str, port: u16) -> String {
    format!("http://{}/", HostPort::new(address, port))
}

/// A listener of this machine, and its port.
pub(crate) async fn listen(address: IpAddr) -> Outcome<(TcpListener, u16)> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Reads the head of a request, and sends this.
pub(crate) async fn answer(stream: &mut TcpStream, response: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        head.push(stream.read_u8().await?);
    }
    stream.write_all(response.as_bytes()).await
}

/// Where a published port is reached without TLS.
pub(crate) fn plain(tunnel: &Tunnel) -> Outcome<&HostPort> {
    tunnel.plain.as_ref().ok_or_else(|| Failure::new(format!("it has no plain address: {tunnel:?}")))
}

/// Connects to a published port.
pub(crate) async fn dial(tunnel: &Tunnel) -> Outcome<TcpStream> {
    let to = plain(tunnel)?;
    Ok(soon("a connection to the tunnel", TcpStream::connect((to.host.as_str(), to.port))).await??)
}

/// Asks a published port for `/`: the body, if the answer has status 200.
pub(crate) async fn get(tunnel: &Tunnel) -> Outcome<String> {
    get_over(dial(tunnel).await?).await
}

/// The same over a connection that there is.
pub(crate) async fn get_over(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Outcome<String> {
    let exchange = async {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = soon("an answer", exchange).await??;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split_whitespace().nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(Failure::new(format!("no answer with status 200: {answer:?}"))),
    }
}
