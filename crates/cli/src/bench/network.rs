//! The network: a sandbox that may reach it beside one that may not, a fetch from inside beside one from outside, and a
//! published port beside a server on this machine.
//!
//! Both ends of what is compared are the same two Python programs, started here or in the sandbox; where there is no Python, or
//! this machine has no address but its loopback's, that is said and nothing is measured.

use super::metric::Metric;
use super::plan::Plan;
use super::progress::Progress;
use super::row::{BARE, OURS, Row, ratio};
use super::samples::Samples;
use super::subject::{Subject, broken};
use crate::exit::Failure;
use computesdk::core::Sandbox;
use computesdk::{Error, ExecOptions, Network, Stdio};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};

const WARM_UP: usize = 3;
const SERVER: &str = include_str!("serve.py");
const CLIENT: &str = include_str!("fetch.py");
const FETCHED: usize = 1 << 20;
const TUNNELLED: usize = 256 << 20;
/// Large transfers are measured less often than a first byte.
const LARGE_EACH: usize = 10;
/// No read takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(plan: &Plan, subject: &Subject, progress: &mut Progress) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    if plan.wants(Metric::EgressCreate) {
        rows.extend(creates(plan, subject, progress).await?);
    }
    if plan.wants_any(&[Metric::Fetch, Metric::Tunnel, Metric::TunnelFirstByte]) {
        if Command::new("python3").arg("-c").output().is_err() {
            progress.note("no python3: fetch and tunnel are not measured");
            return Ok(rows);
        }
        if plan.wants(Metric::Fetch) {
            match own_address() {
                Some(address) => rows.extend(fetches(plan, subject, progress, address).await?),
                None => progress.note("this machine has no address but its loopback's: fetch is not measured"),
            }
        }
        if plan.wants_any(&[Metric::Tunnel, Metric::TunnelFirstByte]) {
            rows.extend(tunnels(plan, subject, progress).await?);
        }
    }
    Ok(rows)
}

/// Sandboxes with and without network, by turns.
async fn creates(plan: &Plan, subject: &Subject, progress: &mut Progress) -> Result<Vec<Row>, Failure> {
    let (mut open, mut closed) = (Samples::default(), Samples::default());
    for round in 0..WARM_UP + plan.rounds {
        progress.show("create with network", round.saturating_sub(WARM_UP), plan.rounds);
        for (network, samples) in [(Network::Egress, &mut open), (Network::None, &mut closed)] {
            plan.pause().await;
            let created = subject.create_with(Some(network)).await?;
            subject.destroy(&created.sandbox).await?;
            if round >= WARM_UP {
                samples.push(created.time);
            }
        }
    }
    let closed = Row::new("closed_create", OURS, &closed);
    let mut open = Row::new(Metric::EgressCreate.name(), OURS, &open);
    open.ratio_to.extend(ratio(open.p50_ms, closed.p50_ms).map(|ratio| ("closed", ratio)));
    Ok(vec![open, closed])
}

/// The same client, outside and in a sandbox, fetches from a server of this machine.
async fn fetches(
    plan: &Plan,
    subject: &Subject,
    progress: &mut Progress,
    address: IpAddr,
) -> Result<Vec<Row>, Failure> {
    let server = Server::start(address)?;
    // A machine's own address is reached only where it is named.
    let network = Network::Cidr(vec![address.to_string()]);
    let sandbox = subject.create_with(Some(network)).await?.sandbox;
    let (mut bare, mut ours) = (Samples::default(), Samples::default());
    progress.show("fetch", 0, plan.rounds);
    // Started anew for each block of rounds, so that neither side has the quiet moments for itself.
    let block = plan.rounds.min(10);
    let mut left = plan.rounds;
    while left > 0 {
        let now = left.min(block);
        let argv = [
            "python3",
            "-c",
            CLIENT,
            &address.to_string(),
            &server.port.to_string(),
            &(now + 1).to_string(),
            &FETCHED.to_string(),
        ]
        .map(str::to_owned);
        let output = Command::new(&argv[0]).args(&argv[1..]).output().map_err(bare_failed)?;
        bare.extend(times(&String::from_utf8_lossy(&output.stdout), now)?);
        let said = subject.output(&sandbox, &argv).await?;
        ours.extend(times(&said, now)?);
        left -= now;
        progress.show("fetch", plan.rounds - left, plan.rounds);
    }
    subject.destroy(&sandbox).await?;
    let bare = Row::new("bare_fetch", BARE, &bare).of_bytes(FETCHED);
    let row = Row::new(Metric::Fetch.name(), OURS, &ours).of_bytes(FETCHED).beside(&bare);
    let bare = bare.clone().beside(&bare);
    Ok(vec![row, bare])
}

/// The times that a client printed, but the first: it warmed up.
fn times(said: &str, expected: usize) -> Result<Vec<Duration>, Error> {
    let times: Vec<_> = said.lines().filter_map(|line| line.parse().ok().map(Duration::from_nanos)).collect();
    if times.len() == expected + 1 {
        Ok(times[1..].to_vec())
    } else {
        Err(broken(&format!("the client said {said:?}")))
    }
}

/// A server in a sandbox through its published port, and the same on this machine.
async fn tunnels(plan: &Plan, subject: &Subject, progress: &mut Progress) -> Result<Vec<Row>, Failure> {
    let server = Server::start([127, 0, 0, 1].into())?;
    let sandbox = subject.create_with(None).await?.sandbox;
    let inside = serve_inside(&sandbox).await?;
    let tunnel = sandbox.publish(inside).await?;
    let plain = tunnel.plain.ok_or_else(|| broken("the tunnel has no plain side"))?;
    let host: IpAddr = plain.host.parse().map_err(|_| broken("the tunnel is at no address"))?;
    let places = [SocketAddr::new(host, plain.port), SocketAddr::from(([127, 0, 0, 1], server.port))];
    let mut first = [Samples::default(), Samples::default()];
    let mut whole = [Samples::default(), Samples::default()];
    for round in 0..WARM_UP + plan.rounds {
        progress.show("tunnel", round.saturating_sub(WARM_UP), plan.rounds);
        for (place, (first, whole)) in places.iter().zip(first.iter_mut().zip(&mut whole)) {
            plan.pause().await;
            let place = *place;
            let fetched = move |size| tokio::task::spawn_blocking(move || fetch(place, size));
            let small = fetched(1).await.map_err(|error| broken("a thread ended").with_source(error))?;
            let (time, _) = small.map_err(bare_failed)?;
            let large = if plan.wants(Metric::Tunnel) && round % (WARM_UP + plan.rounds).div_ceil(LARGE_EACH) == 0 {
                let large = fetched(TUNNELLED).await.map_err(|error| broken("a thread ended").with_source(error))?;
                Some(large.map_err(bare_failed)?.1)
            } else {
                None
            };
            if round >= WARM_UP {
                first.push(time);
            }
            whole.extend(large);
        }
    }
    subject.destroy(&sandbox).await?;
    let mut rows = Vec::new();
    if plan.wants(Metric::TunnelFirstByte) {
        let bare = Row::new("bare_first_byte", BARE, &first[1]);
        rows.push(Row::new(Metric::TunnelFirstByte.name(), OURS, &first[0]).beside(&bare));
        rows.push(bare.clone().beside(&bare));
    }
    if plan.wants(Metric::Tunnel) {
        let bare = Row::new("bare_loopback", BARE, &whole[1]).of_bytes(TUNNELLED);
        let mut row = Row::new(Metric::Tunnel.name(), OURS, &whole[0]).of_bytes(TUNNELLED);
        row.ratio_to_bare = ratio(row.mb_per_s, bare.mb_per_s);
        let mut itself = bare.clone();
        itself.ratio_to_bare = ratio(bare.mb_per_s, bare.mb_per_s);
        rows.extend([row, itself]);
    }
    Ok(rows)
}

/// Connects and reads: the time to the first byte, and to the last.
fn fetch(place: SocketAddr, size: usize) -> io::Result<(Duration, Duration)> {
    let started = Instant::now();
    let mut stream = TcpStream::connect(place)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&(size as u64).to_be_bytes())?;
    let mut buffer = vec![0; 1 << 20];
    let mut got = stream.read(&mut buffer)?;
    let first = started.elapsed();
    loop {
        match stream.read(&mut buffer)? {
            0 if got == size => return Ok((first, started.elapsed())),
            0 => return Err(io::Error::other(format!("{got} bytes of {size}"))),
            more => got += more,
        }
    }
}

/// Starts the server in a sandbox; it ends with it. Returns its port.
async fn serve_inside(sandbox: &Arc<dyn Sandbox>) -> Result<u16, Error> {
    let mut options = ExecOptions::new(["python3", "-c", SERVER, "127.0.0.1"]);
    (options.stdin, options.stderr) = (Stdio::Null, Stdio::Null);
    let process = sandbox.exec(options).await?;
    let stdout = process.take_stdout().ok_or_else(|| broken("it gave no standard output"))?;
    let (mut line, mut stdout) = (String::new(), tokio::io::BufReader::new(stdout.take(64)));
    let read = tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await;
    read.map_err(|_| broken("the server in the sandbox does not start"))?
        .map_err(|error| broken("the server in the sandbox cannot be read").with_source(error))?;
    line.trim().parse().map_err(|_| broken(&format!("the server in the sandbox said {line:?}")))
}

/// The server on this machine. Dropping it ends it.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(address: IpAddr) -> Result<Self, Error> {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, &address.to_string()]);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().map_err(bare_failed)?;
        let mut line = String::new();
        let read = child.stdout.take().map(|stdout| BufReader::new(stdout.take(64)).read_line(&mut line));
        let mut server = Self { child, port: 0 };
        match (read, line.trim().parse()) {
            (Some(Ok(_)), Ok(port)) => server.port = port,
            _ => return Err(broken("the server on this machine does not start")),
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bare_failed(error: io::Error) -> Error {
    broken("the bare machine failed").with_source(error)
}

/// The address by which this machine would talk to others. Nothing is sent: a route is looked up.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
}
