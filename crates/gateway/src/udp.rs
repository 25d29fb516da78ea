//! UDP datagrams of a sandbox: each pair of ends is a socket of this machine for as long as it is used.

use crate::event::{Protocol, Verdict};
use crate::inject::Injector;
use crate::names;
use crate::packet::{self, Packet};
use crate::relay::Copied;
use crate::shared::{Shared, Slot};
use crate::target::Target;
use computesdk_guest_protocol::outlet::NAMESERVER;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long nothing must pass before a flow is over: RFC 4787 asks for two minutes at least.
const IDLE: Duration = Duration::from_secs(120);
/// Flows of one sandbox at a time.
const MOST_FLOWS: usize = 256;
/// Questions of one sandbox that wait for their answers.
const MOST_QUESTIONS: usize = 64;
const DNS: u16 = 53;

type Key = (SocketAddr, SocketAddr);

/// The flows of one sandbox.
#[derive(Debug)]
pub(crate) struct Flows {
    shared: Arc<Shared>,
    injector: Arc<Injector>,
    flows: Mutex<HashMap<Key, Arc<Flow>>>,
    questions: AtomicUsize,
}

#[derive(Debug)]
struct Flow {
    socket: UdpSocket,
    target: Target,
    copied: Arc<Copied>,
    _slot: Slot,
}

impl Flows {
    pub(crate) fn new(shared: Arc<Shared>, injector: Arc<Injector>) -> Arc<Self> {
        Arc::new(Self { shared, injector, flows: Mutex::default(), questions: AtomicUsize::new(0) })
    }

    /// A datagram was told.
    pub(crate) fn datagram(self: &Arc<Self>, packet: &Packet<'_>, tasks: &mut JoinSet<()>) {
        let (Some(key @ (from, to)), Some(content)) = (packet.ends(), packet.datagram()) else { return };
        if to == SocketAddr::new(NAMESERVER.into(), DNS) {
            return self.question(from, to, content.to_vec(), tasks);
        }
        let known = self.flows().get(&key).cloned();
        let flow = match known {
            Some(flow) => flow,
            None => match self.begin(key) {
                Ok(flow) => {
                    tasks.spawn(Arc::clone(self).listen(key, Arc::clone(&flow)));
                    flow
                }
                Err((target, verdict, reason)) => {
                    self.injector.send(packet.prohibited());
                    return self.shared.tell(&target, verdict, Some(reason), (0, 0));
                }
            },
        };
        // One that cannot be sent now is lost, as datagrams may be. Tried at once: the runtime does not know yet that a new
        // socket can be written to.
        match send(&flow.socket, content, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => flow.copied.add_out(len as u64),
            Err(Errno::CONNREFUSED) => self.injector.send(packet.no_port()),
            Err(_) => {}
        }
    }

    fn begin(&self, key: Key) -> Result<Arc<Flow>, (Target, Verdict, String)> {
        let (shared, to) = (&self.shared, key.1);
        let target = shared.target(Protocol::Udp, to);
        let refused = |reason: String| (target.clone(), Verdict::Refused, reason);
        let policy = shared.policy();
        if to.ip() == IpAddr::V4(NAMESERVER) {
            return Err(refused(String::from("the gateway serves names only")));
        }
        if policy.allowed_names().is_some() {
            return Err(refused(String::from(
                "a list of names lets through what names its host: HTTP and TLS over TCP",
            )));
        }
        shared.judge(&policy, to.ip(), to.port()).map_err(|reason| refused(reason.into_owned()))?;
        if self.flows().len() >= MOST_FLOWS {
            return Err(refused(format!("the sandbox has {MOST_FLOWS} exchanges of datagrams already")));
        }
        let slot = shared.slot().map_err(refused)?;
        let socket = open(to).map_err(|error| (target.clone(), Verdict::Failed, error.to_string()))?;
        let copied = Arc::default();
        shared.allowed(&target, &copied);
        let flow = Flow { socket, target, copied, _slot: slot };
        let flow = Arc::new(flow);
        self.flows().insert(key, Arc::clone(&flow));
        Ok(flow)
    }

    /// Passes back what comes, until nothing has passed for a while.
    async fn listen(self: Arc<Self>, key: Key, flow: Arc<Flow>) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut passed = 0;
        let mut forbidden = std::pin::pin!(self.shared.forbidden(&flow.target));
        let reason = loop {
            let received = tokio::select! {
                received = timeout(IDLE, flow.socket.recv(&mut buffer)) => received,
                () = &mut forbidden => break Some(String::from("the policy was changed")),
            };
            match received {
                Ok(Ok(len)) => {
                    flow.copied.add_back(len as u64);
                    self.injector.send(packet::datagram(key.1, key.0, &buffer[..len]));
                }
                // Told to whoever sends next.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let nothing = packet::datagram(key.0, key.1, &[]);
                    let refused = nothing.as_deref().and_then(Packet::parse).and_then(|packet| packet.no_port());
                    self.injector.send(refused);
                }
                Ok(Err(error)) => break Some(error.to_string()),
                Err(_) => {
                    let (sent, _) = flow.copied.bytes();
                    if sent == passed {
                        break None;
                    }
                    passed = sent;
                }
            }
        };
        self.flows().remove(&key);
        self.shared.tell(&flow.target, Verdict::Closed, reason, flow.copied.bytes());
    }

    /// A question to the sandbox's name server.
    fn question(self: &Arc<Self>, from: SocketAddr, to: SocketAddr, query: Vec<u8>, tasks: &mut JoinSet<()>) {
        let few = self.questions.fetch_add(1, Ordering::Relaxed) < MOST_QUESTIONS;
        let Some(slot) = few.then(|| self.shared.slot().ok()).flatten() else {
            // It is asked again.
            self.questions.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let this = Arc::clone(self);
        tasks.spawn(async move {
            if let Some(response) = names::answer(&this.shared, &query, false).await {
                this.injector.send(packet::datagram(to, from, &response));
            }
            drop(slot);
            this.questions.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flow>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that talks to this address alone.
fn open(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
