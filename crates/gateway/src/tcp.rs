//! TCP connections of a sandbox.
//!
//! ```text
//! SYN told ─ judged ─┬─ refused ──► reset                                 program: connection refused
//!                    ├─ dialing ─┬─ refused there ──► reset               program: connection refused
//!                    │           └─ dialed ──► SYN let go ──► accepted ──► relayed
//!                    └─ names ──► SYN let go ──► accepted ──► first bytes name a host ─ judged ─ dialed ──► relayed
//! ```
//!
//! A program's `connect` thus ends as it would without a gateway in between, but under a list of names, where the name is
//! said only on the connection: there it is cut.

use crate::dial::{self, DialError};
use crate::event::{Protocol, Verdict};
use crate::hello::{Hello, hello};
use crate::http::{self, Head};
use crate::inject::Injector;
use crate::names;
use crate::packet::Packet;
use crate::policy::Policy;
use crate::relay::{Copied, relay, reset};
use crate::shared::{Shared, Slot};
use crate::target::Target;
use computesdk_guest_protocol::outlet::NAMESERVER;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a connection that was let go may take to be there: its handshake is inside this machine.
const THERE_WITHIN: Duration = Duration::from_secs(60);
/// How long the first bytes may take under a list of names, and how many there may be.
const NAMED_WITHIN: Duration = Duration::from_secs(10);
const MOST_NAMED: usize = 16 * 1024;

type Key = (SocketAddr, SocketAddr);

/// The connections of one sandbox.
#[derive(Debug)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
    injector: Arc<Injector>,
    begun: Mutex<HashMap<Key, Begun>>,
}

/// A connection whose SYN was told.
#[derive(Debug)]
enum Begun {
    Dialing,
    LetGo { opened: Opened, target: Target, slot: Slot, since: Instant },
}

#[derive(Debug)]
enum Opened {
    Dialed(TcpStream, Arc<Copied>),
    /// What is said on it decides.
    ByName,
    /// It goes to the name server.
    NameServer,
}

impl Connections {
    pub(crate) fn new(shared: Arc<Shared>, injector: Arc<Injector>) -> Arc<Self> {
        Arc::new(Self { shared, injector, begun: Mutex::default() })
    }

    /// A SYN was told.
    pub(crate) fn syn(self: &Arc<Self>, packet: &Packet<'_>, tasks: &mut JoinSet<()>) {
        let Some(key @ (_, to)) = packet.ends().filter(|_| packet.is_syn()) else { return };
        match self.begun().get(&key) {
            None => {}
            Some(Begun::Dialing) => return,
            // It was lost on the way.
            Some(Begun::LetGo { .. }) => return self.injector.send(packet.again()),
        }
        let mut target = self.shared.target(Protocol::Tcp, to);
        let slot = match self.shared.slot() {
            Ok(slot) => slot,
            Err(reason) => return self.refuse(packet, &target, reason),
        };
        let policy = self.shared.policy();
        let opened = if to.ip() == IpAddr::V4(NAMESERVER) {
            if to.port() != 53 || matches!(*policy, Policy::Nothing) {
                return self.refuse(packet, &target, "the gateway serves names only");
            }
            target.protocol = Protocol::Dns;
            Opened::NameServer
        } else if let Some(names) = policy.allowed_names() {
            if !target.host.as_ref().is_some_and(|host| names.allows(host)) {
                return self.refuse(packet, &target, "not the address of a name on the list");
            }
            Opened::ByName
        } else {
            return match self.shared.judge(&policy, to.ip(), to.port()) {
                Err(reason) => self.refuse(packet, &target, reason),
                Ok(()) => {
                    let copied = Arc::default();
                    self.shared.allowed(&target, &copied);
                    self.begun().insert(key, Begun::Dialing);
                    tasks.spawn(Arc::clone(self).dial(key, packet.to_vec(), target, (copied, slot)));
                }
            };
        };
        self.begun().insert(key, Begun::LetGo { opened, target, slot, since: Instant::now() });
        self.injector.send(packet.again());
    }

    fn refuse(&self, packet: &Packet<'_>, target: &Target, reason: impl Into<String>) {
        self.shared.refused(target, reason);
        // Not "prohibited", by ICMP: Linux wakes a program before that error can be read, and now and then it takes its connection for made.
        self.injector.send(packet.reset());
    }

    async fn dial(self: Arc<Self>, key: Key, packet: Vec<u8>, target: Target, (copied, slot): (Arc<Copied>, Slot)) {
        let dialed = dial::connect(key.1).await;
        let Some(packet) = Packet::parse(&packet) else { return };
        match dialed {
            Ok(stream) => {
                let opened = Opened::Dialed(stream, copied);
                self.begun().insert(key, Begun::LetGo { opened, target, slot, since: Instant::now() });
                self.injector.send(packet.again());
            }
            Err(error) => {
                self.begun().remove(&key);
                self.injector.send(answer(&packet, &error));
                self.shared.tell(&target, Verdict::Failed, Some(error.to_string()), (0, 0));
            }
        }
    }

    /// A connection has come to the listener.
    pub(crate) fn accepted(self: &Arc<Self>, stream: TcpStream, from: SocketAddr, tasks: &mut JoinSet<()>) {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let begun = stream.local_addr().ok().and_then(|to| self.begun().remove(&(plain(from), plain(to))));
        let Some(Begun::LetGo { opened, target, slot, .. }) = begun else {
            // Somebody in the sandbox has found the listener: nobody is served there.
            reset(&stream);
            return;
        };
        let shared = Arc::clone(&self.shared);
        tasks.spawn(async move {
            match opened {
                Opened::Dialed(outer, copied) => carry(&shared, &target, stream, outer, &copied).await,
                Opened::ByName => by_name(&shared, target, stream).await,
                Opened::NameServer => {
                    let mut stream = stream;
                    let _ = names::serve(&shared, &mut stream).await;
                }
            }
            drop(slot);
        });
    }

    /// Forgets connections that were let go and never came.
    pub(crate) fn sweep(&self) {
        let mut gone = Vec::new();
        self.begun().retain(|_, begun| match begun {
            Begun::LetGo { since, target, opened, .. } if since.elapsed() > THERE_WITHIN => {
                gone.extend(matches!(opened, Opened::Dialed(..)).then(|| target.clone()));
                false
            }
            _ => true,
        });
        for target in gone {
            self.shared.tell(&target, Verdict::Closed, Some(String::from("the program was gone")), (0, 0));
        }
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<Key, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the program is told when the other side cannot be reached.
fn answer(packet: &Packet<'_>, error: &io::Error) -> Option<Vec<u8>> {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable => packet.no_route(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut => packet.no_host(),
        _ => packet.reset(),
    }
}

/// Copies between a program and who it wants to talk to, until both have ended or the policy forbids it.
async fn carry(shared: &Shared, target: &Target, mut inner: TcpStream, mut outer: TcpStream, copied: &Copied) {
    let ended = tokio::select! {
        ended = relay(&mut inner, &mut outer, copied) => Some(ended),
        () = shared.forbidden(target) => None,
    };
    let reason = match ended {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(error.to_string()),
        None => {
            reset(&inner);
            reset(&outer);
            Some(String::from("the policy was changed"))
        }
    };
    shared.tell(target, Verdict::Closed, reason, copied.bytes());
}

/// Lets the program say whom it wants to talk to, and carries it there if that is on the list.
async fn by_name(shared: &Shared, mut target: Target, mut inner: TcpStream) {
    let refuse = |inner: &TcpStream, target: &Target, reason: String| {
        reset(inner);
        shared.refused(target, reason);
    };
    let named = match timeout(NAMED_WITHIN, first_words(&mut inner)).await {
        Ok(Ok(named)) => named,
        Ok(Err(reason)) => return refuse(&inner, &target, reason),
        Err(_) => return refuse(&inner, &target, String::from("it named no host in time")),
    };
    (target.host, target.is_named) = (Some(named.name.clone()), true);
    if !shared.still_allowed(&shared.policy(), &target) {
        return refuse(&inner, &target, String::from("the name is not on the list"));
    }
    let copied = Arc::default();
    shared.allowed(&target, &copied);
    match dial::connect_named(shared, &named.name, target.port).await {
        Ok((mut outer, address)) => {
            target.address = Some(address);
            if let Err(error) = outer.write_all(&named.said).await {
                reset(&inner);
                shared.tell(&target, Verdict::Failed, Some(error.to_string()), (0, 0));
                return;
            }
            copied.add_out(named.said.len() as u64);
            carry(shared, &target, inner, outer, &copied).await;
        }
        Err(DialError::Refused(reason)) => refuse(&inner, &target, reason),
        Err(DialError::Failed(error)) => {
            reset(&inner);
            shared.tell(&target, Verdict::Failed, Some(error.to_string()), (0, 0));
        }
    }
}

/// Whom a program named, and what it has said so far, as it is passed on.
struct Named {
    name: String,
    said: Vec<u8>,
}

/// Reads until it is clear whom a program wants to talk to.
async fn first_words(inner: &mut TcpStream) -> Result<Named, String> {
    let mut said = Vec::with_capacity(2048);
    loop {
        match hello(&said) {
            Hello::Name(name) => return Ok(Named { name, said }),
            Hello::NoName => return Err(String::from("its TLS handshake names no host")),
            Hello::More => {}
            Hello::NotTls => match http::head(&said) {
                Head::More => {}
                Head::Request(request) => {
                    let Some((name, _)) = &request.host else {
                        return Err(String::from("its HTTP request names no host"));
                    };
                    let name = name.clone();
                    // One request a connection: the next one may name another host.
                    let mut head = http::origin_form(&said[..request.len])
                        .ok_or_else(|| String::from("its HTTP request cannot be passed on"))?;
                    head.extend_from_slice(&said[request.len..]);
                    return Ok(Named { name, said: head });
                }
                Head::Bad(why) => {
                    return Err(format!("neither TLS nor HTTP, which alone name their hosts ({why})"));
                }
            },
        }
        if said.len() >= MOST_NAMED {
            return Err(format!("it named no host in its first {MOST_NAMED} bytes"));
        }
        match inner.read_buf(&mut said).await {
            Ok(0) => return Err(String::from("it ended before it named a host")),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
