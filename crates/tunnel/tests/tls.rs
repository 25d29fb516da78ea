//! The TLS side, as clients see it that trust `ca.pem` and nothing else.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod common;

use common::{nobody, read_all, read_head, sandbox, soon};
use computesdk_tunnel::{Authority, TlsFace, Tunnel, TunnelOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "p8080-sb-abc.localhost";

struct Fixture {
    dir: tempfile::TempDir,
    authority: Arc<Authority>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(&dir.path().join("ca")).unwrap();
        Self { dir, authority }
    }

    async fn open(&self, dial: Arc<dyn computesdk_tunnel::Dial>, h2: bool) -> Tunnel {
        let mut face = TlsFace::new(Arc::clone(&self.authority), [NAME, "localhost"]);
        face.h2 = h2;
        let mut options = TunnelOptions::default();
        options.tls = Some(face);
        Tunnel::open(dial, options).await.unwrap()
    }

    async fn try_connect(&self, tunnel: &Tunnel, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority.path()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(tunnel.tls_addr().unwrap()).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    async fn connect(&self, tunnel: &Tunnel, name: &str) -> TlsStream<TcpStream> {
        self.try_connect(tunnel, name, &[]).await.unwrap()
    }
}

async fn http() -> Arc<dyn computesdk_tunnel::Dial> {
    sandbox(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n").await.unwrap();
    })
    .await
}

#[tokio::test]
async fn whoever_trusts_the_authority_gets_through() {
    let fixture = Fixture::new();
    let tunnel = fixture.open(http().await, false).await;
    for name in [NAME, "localhost", "127.0.0.1", "::1"] {
        let mut client = fixture.connect(&tunnel, name).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(read_all(&mut client).await.ends_with("hello\n"), "{name}");
    }
    fixture.try_connect(&tunnel, "other.localhost", &[]).await.unwrap_err();
    fixture.try_connect(&tunnel, "example.com", &[]).await.unwrap_err();
}

#[tokio::test]
async fn protocols_are_offered_as_asked() {
    let fixture = Fixture::new();
    for (h2, expected) in [(false, "http/1.1"), (true, "h2")] {
        let tunnel = fixture.open(http().await, h2).await;
        let client = fixture.try_connect(&tunnel, NAME, &["http/1.1", "h2"]).await.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(expected.as_bytes()));
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let fixture = Fixture::new();
    let dial = sandbox(|mut stream| async move {
        let question = read_all(&mut stream).await;
        stream.write_all(question.repeat(100_000).as_bytes()).await.unwrap();
    });
    let tunnel = fixture.open(dial.await, false).await;
    let mut client = fixture.connect(&tunnel, NAME).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await.len(), 800_000);

    let heard = Arc::new(tokio::sync::Notify::new());
    let hears = Arc::clone(&heard);
    let dial = sandbox(move |mut stream| {
        let hears = Arc::clone(&hears);
        async move {
            stream.write_all(b"all I have").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, "thanks");
            hears.notify_one();
        }
    });
    let tunnel = fixture.open(dial.await, false).await;
    let mut client = fixture.connect(&tunnel, NAME).await;
    // A read to the end that is no error: `close_notify` was there.
    assert_eq!(read_all(&mut client).await, "all I have");
    client.write_all(b"thanks").await.unwrap();
    client.flush().await.unwrap();
    // Many clients go without `close_notify`; the sandbox sees an end, not a reset.
    drop(client);
    soon(heard.notified()).await;
}

#[tokio::test]
async fn a_sandbox_that_is_not_reached_resets_the_client() {
    let fixture = Fixture::new();
    let tunnel = fixture.open(common::dial_to(nobody().await), false).await;
    let mut client = fixture.connect(&tunnel, NAME).await;
    assert_eq!(soon(client.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(tunnel.stats().failed_dials, 1);
}

#[tokio::test]
async fn what_is_no_tls_is_ended() {
    let fixture = Fixture::new();
    let tunnel = fixture.open(http().await, false).await;
    let mut client = TcpStream::connect(tunnel.tls_addr().unwrap()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let _ = soon(client.read_to_end(&mut bytes)).await;
    assert!(!bytes.starts_with(b"HTTP"));
    common::eventually("it is gone", || tunnel.stats().open == 0).await;
}

/// Its output, or nothing where the machine lacks the program.
async fn output(program: &str, args: &[&str], envs: &[(&str, &Path)]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).envs(envs.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let output = match soon(command.output()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: there is no {program} here");
            return None;
        }
        output => output.unwrap(),
    };
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {text}");
    Some(text)
}

#[tokio::test]
async fn curl_python_and_openssl_agree() {
    let fixture = Fixture::new();
    let tunnel = fixture.open(http().await, false).await;
    let pem = fixture.authority.path();
    let port = tunnel.tls_addr().unwrap().port();
    for host in [NAME, "localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/");
        let resolve = format!("{host}:{port}:127.0.0.1");
        let args =
            ["-sS", "-m", "20", "--noproxy", "*", "--resolve", &resolve, "--cacert", pem.to_str().unwrap(), &url];
        if let Some(text) = output("/usr/bin/curl", &args, &[]).await {
            assert_eq!(text, "hello\n", "{host}");
        }
        let script = format!(
            "import socket, ssl\n\
             context = ssl.create_default_context()\n\
             context.verify_flags |= ssl.VERIFY_X509_STRICT\n\
             raw = socket.create_connection(('127.0.0.1', {port}), 20)\n\
             with context.wrap_socket(raw, server_hostname='{host}') as s:\n\
             \x20   s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\n\
             \x20   answer = b''\n\
             \x20   while part := s.recv(4096): answer += part\n\
             print(answer.decode().split()[-1])\n"
        );
        if let Some(text) = output("/usr/bin/python3", &["-c", &script], &[("SSL_CERT_FILE", pem)]).await {
            assert_eq!(text, "hello\n", "{host}");
        }
    }
    let args = ["x509", "-in", pem.to_str().unwrap(), "-noout", "-text"];
    if let Some(text) = output("/usr/bin/openssl", &args, &[]).await {
        assert!(text.contains("X509v3 Name Constraints: critical"), "{text}");
        assert!(text.contains("DNS:localhost") && text.contains("IP:127.0.0.0/255.0.0.0"), "{text}");
        assert!(text.contains("CA:TRUE, pathlen:0"), "{text}");
    }
}

/// Not a test by itself: what the processes of the next one run.
#[test]
fn opens_an_authority_when_told_to() {
    if let Some(dir) = std::env::var_os("TUNNEL_TEST_CA") {
        Authority::open(Path::new(&dir)).unwrap();
    }
}

#[tokio::test]
async fn processes_that_open_it_at_once_get_the_same() {
    let fixture = Fixture::new();
    let dir = fixture.dir.path().join("shared");
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let args = ["--exact", "opens_an_authority_when_told_to"];
    let envs = [("TUNNEL_TEST_CA", dir.as_path())];
    let one = || output(program, &args, &envs);
    tokio::join!(one(), one(), one(), one());
    Authority::open(&dir).unwrap();
}
