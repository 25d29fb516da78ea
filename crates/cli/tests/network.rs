//! The network as a user of the command line meets it: what is reached, what is told of it, and published ports.
//!
//! Needs user namespaces, and no internet.

#![allow(missing_docs, clippy::print_stderr)]

mod common;

use common::{compute, expect, json, parts, run, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStderr, Command};
use std::time::{Duration, Instant};

/// Asks a URL, by the proxy of the environment if there is one, and prints the answer or that there was none.
const FETCH: &str = "import sys, urllib.request\n\
                     try: print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())\n\
                     except OSError as error: print('nothing')";

const SERVER: &str = "import http.server\n\
                      class Handler(http.server.BaseHTTPRequestHandler):\n\
                      \x20   def do_GET(self):\n\
                      \x20       self.send_response(200); self.send_header('Content-Length', '6'); self.end_headers()\n\
                      \x20       self.wfile.write(b'inside')\n\
                      \x20   def log_message(self, *args): pass\n\
                      http.server.HTTPServer(('127.0.0.1', 8080), Handler).serve_forever()";

/// The lines of the log.
fn told(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("network: ")).collect()
}

/// An address of this machine beyond loopback; nothing is sent to find out.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("203.0.113.1", 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

#[test]
fn what_is_refused_is_told_with_its_reason() {
    let output = run(&["run", "--network-log", "-c", FETCH, "--", "http://10.0.0.1:22/"]);
    let (code, stdout, stderr) = parts(&output);
    assert_eq!((code, stdout.as_str()), (Some(0), "nothing\n"), "{stderr}");
    let lines = told(&stderr);
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].starts_with("network: refused ") && lines[0].contains(" 10.0.0.1 port 22: "), "{stderr}");
    assert!(lines[0].ends_with("10.0.0.1 is a private address"), "{stderr}");

    let output = run(&["run", "-o", "json", "--network-log", "-c", FETCH, "--", "http://10.0.0.1:22/"]);
    let result = json(&output);
    assert_eq!((&result["stdout"], output.stderr.as_slice()), (&"nothing\n".into(), &b""[..]), "{result}");
    let events = result["network"].as_array().expect("an array");
    assert_eq!(events.len(), 1, "{result}");
    assert_eq!((&events[0]["event"], &events[0]["verdict"]), (&"network".into(), &"refused".into()), "{result}");
    assert_eq!(&events[0]["port"], &22, "{result}");
    assert!(events[0]["at"].is_string() && events[0]["reason"].is_string(), "{result}");
}

#[test]
fn a_closed_network_has_nothing_to_tell() {
    let args = ["run", "--network", "none", "--network-log", "-c", FETCH, "--", "http://10.0.0.1:22/"];
    let (code, stdout, stderr) = parts(&run(&args));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "nothing\n", ""));
    let result = json(&run(&[&["-o", "json"], &args[..]].concat()));
    assert_eq!(result["network"], serde_json::json!([]), "{result}");
}

#[test]
fn what_is_allowed_is_told_from_beginning_to_end() {
    let Some(own) = own_address() else {
        eprintln!("skipped: this machine has no address beyond loopback that a sandbox could be allowed to reach");
        return;
    };
    let listener = TcpListener::bind((own, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {}
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\noutside");
        }
    });
    let (policy, url) = (format!("cidr:{own}"), format!("http://{own}:{port}/"));
    let args = ["run", "--network", &policy, "--network-log", "-c", FETCH, "--", &url];
    let (code, stdout, stderr) = parts(&run(&args));
    assert_eq!((code, stdout.as_str()), (Some(0), "outside\n"), "{stderr}");
    let lines = told(&stderr);
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(
        lines[0].starts_with("network: allowed ") && lines[0].ends_with(&format!(" {own} port {port}")),
        "{stderr}"
    );
    assert!(lines[1].starts_with("network: closed ") && lines[1].contains(" bytes, received "), "{stderr}");

    // A program that ends without closing anything does not take the last line away.
    let hasty = "import os, sys, urllib.request; answer = urllib.request.urlopen(sys.argv[1], timeout=20); os._exit(3)";
    let (code, _, stderr) = parts(&run(&["run", "--network", &policy, "--network-log", "-c", hasty, "--", &url]));
    assert_eq!((code, told(&stderr).len()), (Some(3), 2), "{stderr}");
}

/// A `compute run` with a published port, whose address has been told.
struct Published {
    child: Child,
    stderr: BufReader<ChildStderr>,
    line: String,
    plain: SocketAddr,
}

impl Published {
    fn start(options: &[&str], data: &std::path::Path) -> Self {
        let args = [&["run", "--port", "8080"], options, &["-c", SERVER]].concat();
        let mut child = compute(&args).env("XDG_DATA_HOME", data).spawn().expect("compute starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        let plain =
            line.strip_prefix("compute: port 8080 is at http://").and_then(|rest| rest.split_whitespace().next());
        let plain = plain.and_then(|address| address.parse().ok());
        let Some(plain) = plain else { panic!("no address in {line:?}") };
        Self { child, stderr, line, plain }
    }

    fn end(mut self) -> String {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it runs");
        assert_eq!(self.child.wait().expect("compute ends").code(), Some(143));
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).expect("text");
        rest
    }
}

/// The answer of an HTTP server, if there is one.
fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

#[test]
fn a_published_port_is_there_as_long_as_the_sandbox() {
    let data = tempfile::tempdir().expect("a directory");
    // What goes in is no matter of what goes out.
    let published = Published::start(&["--network", "none"], data.path());
    let plain = published.plain;
    assert!(plain.ip().is_loopback(), "{plain}");
    wait_for("the server", || get(plain).is_some_and(|body| body == "inside"));
    over_tls(&published.line, data.path());
    assert_eq!(published.end(), "");
    assert_eq!(get(plain), None);
}

/// Asks the address with TLS that this line tells of, trusting the authority that `compute ca path` names.
fn over_tls(line: &str, data: &std::path::Path) {
    let (_, https) = line.trim_end().split_once(" and https://").expect("an address with TLS");
    let (name, port) = https.rsplit_once(':').expect("a port");
    let ca = compute(&["ca", "path"]).env("XDG_DATA_HOME", data).output().expect("compute starts");
    let ca = String::from_utf8(ca.stdout).expect("text");
    let client = "import socket, ssl, sys\n\
                  context = ssl.create_default_context(cafile=sys.argv[1])\n\
                  stream = context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[3])), 10), \
                  server_hostname=sys.argv[2])\n\
                  stream.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n\
                  print(b''.join(iter(lambda: stream.recv(4096), b'')).decode())";
    let output = Command::new("python3").args(["-c", client, ca.trim_end(), name, port]).output();
    match output {
        Err(error) => eprintln!("skipped: no python3 here as a client for TLS: {error}"),
        Ok(output) => {
            let (_, stdout, stderr) = parts(&output);
            if stderr.contains("No module named") {
                return eprintln!("skipped: this machine's python3 has no TLS: {stderr}");
            }
            assert!(stdout.trim_end().ends_with("inside"), "{stdout}{stderr}");
        }
    }
}

#[test]
fn who_is_not_listed_does_not_come_in() {
    let data = tempfile::tempdir().expect("a directory");
    let published = Published::start(&["--inbound", "203.0.113.0/24", "--inbound", "2001:db8::/32"], data.path());
    // Long enough for the server to come up, were it reached.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        assert_eq!(get(published.plain), None);
    }
    published.end();

    let published = Published::start(&["--inbound", "127.0.0.0/8"], data.path());
    wait_for("the server", || get(published.plain).is_some_and(|body| body == "inside"));
    published.end();
}

#[test]
fn bad_values_are_refused_before_anything_is_made() {
    for (args, parts_of_it) in [
        (&["--network", "cidr:10.0.0.1/8"][..], ["`network`", "`10.0.0.0/8`"]),
        (&["--network", "domain:https://pypi.org"], ["`network`", "name of the host alone"]),
        (&["--port", "80", "--inbound", "all"], ["`inbound`", "203.0.113.0/24"]),
    ] {
        let output = run(&[&["run", "-o", "json", "-c", "1"], args].concat());
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(125), &b""[..]), "{args:?}");
        let error = &json(&output)["error"];
        assert_eq!((&error["kind"], &error["operation"]), (&"InvalidArgument".into(), &"sandbox.create".into()));
        let text = error["message"].as_str().expect("text");
        assert!(parts_of_it.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn the_authority_is_made_once_and_told_of() {
    let data = tempfile::tempdir().expect("a directory");
    let ca = |args: &[&str]| compute(args).env("XDG_DATA_HOME", data.path()).output().expect("compute starts");
    let path = data.path().join("computesdk/ca/ca.pem");
    let (code, stdout, stderr) = parts(&ca(&["ca", "path"]));
    assert_eq!((code, stdout, stderr.as_str()), (Some(0), format!("{}\n", path.display()), ""));
    let made = std::fs::read(&path).expect("a certificate");
    assert_eq!(json(&ca(&["ca", "path", "-o", "json"]))["path"], path.display().to_string());
    let (code, hint, _) = parts(&ca(&["ca", "install-hint"]));
    assert!(code == Some(0) && hint.contains(&format!("--cacert {}", path.display())), "{hint}");
    assert_eq!(std::fs::read(&path).expect("a certificate"), made);

    let key = data.path().join("computesdk/ca/ca.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a new mode");
    let (code, stdout, stderr) = parts(&ca(&["ca", "path"]));
    assert_eq!((code, stdout.as_str()), (Some(125), ""), "{stderr}");
    assert!(stderr.contains(&format!("chmod 600 '{}'", key.display())), "{stderr}");
}

#[test]
fn the_default_is_the_internet_and_nothing_private() {
    // What is asked for by name and what comes unasked are the same.
    for network in [&[][..], &["--network", "egress"]] {
        let args = [&["run"], network, &["--network-log", "-c", FETCH, "--", "http://192.168.0.1/"]].concat();
        let (code, stdout, stderr) = parts(&run(&args));
        assert_eq!((code, stdout.as_str()), (Some(0), "nothing\n"), "{stderr}");
        assert!(stderr.contains("192.168.0.1 is a private address"), "{stderr}");
    }
    expect(&["run", "--network", "none", "-c", "print(1)"], 0, "1\n");
}
