//! What all tasks that serve one sandbox share: its policy, what is told of it, and the world around.

use crate::address::held;
use crate::event::{Protocol, Sink, Verdict};
use crate::host::Host;
use crate::known::Known;
use crate::ledger::Ledger;
use crate::policy::Policy;
use crate::relay::Copied;
use crate::resolve::Resolver;
use crate::target::Target;
use rustix::process::{Resource, getrlimit};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Connections of one sandbox at a time.
const MOST_CONNECTIONS: usize = 1024;

const DNS: u16 = 53;

/// This machine, as all sandboxes of an engine meet it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) resolver: Resolver,
    host: Mutex<Host>,
    open: AtomicUsize,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { resolver: Resolver::default(), host: Mutex::new(Host::new()), open: AtomicUsize::new(0) }
    }

    /// Whether an address is this machine's own, or holds one that is: a kernel takes `::ffff:192.0.2.1` for what it holds, and so do
    /// translators with their addresses.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.is_own(address) || held(address).is_some_and(|held| host.is_own(held.into()))
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: Arc<World>,
    pub(crate) policy: watch::Sender<Arc<Policy>>,
    sink: Arc<dyn Sink>,
    known: Mutex<Known>,
    ledger: Mutex<Ledger>,
    next: AtomicU64,
    open: AtomicUsize,
}

/// Counts for the limits of connections until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.world.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections all sandboxes may have: each is two descriptors of this process, and half of those that it may have are
/// for everything else that it does.
fn room() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 4).unwrap_or(usize::MAX)
}

impl Shared {
    pub(crate) fn new(world: Arc<World>, policy: Policy, sink: Arc<dyn Sink>) -> Arc<Self> {
        Arc::new(Self {
            world,
            policy: watch::channel(Arc::new(policy)).0,
            sink,
            known: Mutex::default(),
            ledger: Mutex::default(),
            next: AtomicU64::new(1),
            open: AtomicUsize::new(0),
        })
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for the next connection.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A target of a new connection.
    pub(crate) fn target(&self, protocol: Protocol, to: SocketAddr) -> Target {
        let mut target = Target::new(self.number(), protocol, to);
        target.host = self.known().name(to.ip()).map(str::to_owned);
        target
    }

    /// Room for one more connection, if there is.
    pub(crate) fn slot(self: &Arc<Self>) -> Result<Slot, String> {
        self.slot_of(room())
    }

    fn slot_of(self: &Arc<Self>, room: usize) -> Result<Slot, String> {
        let slot = Slot(Arc::clone(self));
        let own = self.open.fetch_add(1, Ordering::Relaxed);
        let all = self.world.open.fetch_add(1, Ordering::Relaxed);
        // None leaves the others without.
        let most = MOST_CONNECTIONS.min(room / 2);
        if own >= most {
            Err(format!("the sandbox has {most} connections already"))
        } else if all >= room {
            Err(format!(
                "all sandboxes together have {room} connections already, by this process's limit of open files"
            ))
        } else {
            Ok(slot)
        }
    }

    /// What was decided, or became of a connection: that it is over, unless it is allowed.
    pub(crate) fn tell(&self, target: &Target, verdict: Verdict, reason: Option<String>, bytes: (u64, u64)) {
        if self.ledger().end(target) {
            self.sink.tell(target.decision(verdict, reason, bytes));
        }
    }

    pub(crate) fn refused(&self, target: &Target, reason: impl Into<String>) {
        self.tell(target, Verdict::Refused, Some(reason.into()), (0, 0));
    }

    /// A connection is allowed; its bytes are counted there.
    pub(crate) fn allowed(&self, target: &Target, copied: &Arc<Copied>) {
        if self.ledger().begin(target, copied) {
            self.sink.tell(target.decision(Verdict::Allowed, None, (0, 0)));
        }
    }

    /// The sandbox is over: so are its connections. Nothing is told after this.
    pub(crate) fn close(&self) {
        let open = self.ledger().close();
        for (target, copied) in open {
            let reason = Some(String::from("the sandbox ended"));
            self.sink.tell(target.decision(Verdict::Closed, reason, copied.bytes()));
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an address may be reached under a policy that judges addresses.
    pub(crate) fn judge(&self, policy: &Policy, address: IpAddr, port: u16) -> Result<(), Cow<'static, str>> {
        if matches!(policy, Policy::Internet) && port == DNS && self.world.resolver.is_server(address) {
            // The resolver of a private network is in a private range.
            return Ok(());
        }
        policy.decide(address, self.world.is_own(address)).map_err(|refusal| refusal.reason)
    }

    /// Whether an address may be reached for a name of a list: as on the internet, whoever answers for the name.
    pub(crate) fn judge_resolved(&self, name: &str, address: IpAddr) -> Result<(), String> {
        Policy::Internet
            .decide(address, self.world.is_own(address))
            .map_err(|refusal| format!("{name} leads to {address}: {}", refusal.reason))
    }

    /// Whether a connection that goes on may do so under this policy.
    pub(crate) fn still_allowed(&self, policy: &Policy, target: &Target) -> bool {
        match (policy.allowed_names(), &target.host, target.address) {
            (Some(names), Some(host), _) => target.is_named && names.allows(host),
            (None, _, Some(address)) => self.judge(policy, address, target.port).is_ok(),
            _ => false,
        }
    }

    /// Returns when a connection is not allowed any longer.
    pub(crate) async fn forbidden(&self, target: &Target) {
        let mut policy = self.policy.subscribe();
        loop {
            let now = Arc::clone(&policy.borrow_and_update());
            if !self.still_allowed(&now, target) {
                return;
            }
            if policy.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Decision;

    #[derive(Debug)]
    struct Deaf;

    impl Sink for Deaf {
        fn tell(&self, _: Decision) {}
    }

    #[test]
    fn sandboxes_leave_each_other_and_the_process_room() {
        let world = Arc::new(World::new());
        let sandbox = || Shared::new(Arc::clone(&world), Policy::Internet, Arc::new(Deaf));
        let (one, two, three) = (sandbox(), sandbox(), sandbox());
        let take = |sandbox: &Arc<Shared>| (0..20).map_while(|_| sandbox.slot_of(16).ok()).collect::<Vec<_>>();
        let (first, second) = (take(&one), take(&two));
        assert_eq!((first.len(), second.len()), (8, 8));
        assert!(three.slot_of(16).unwrap_err().contains("all sandboxes"));
        assert!(one.slot_of(100).is_ok());
        drop(first);
        assert_eq!(take(&three).len(), 8);
        assert!(two.slot_of(16).unwrap_err().contains("the sandbox has 8"));
        drop(second);
        assert_eq!(world.open.load(Ordering::Relaxed), 0);
        assert!(one.slot_of(usize::MAX).is_ok() && room() > 0);
    }

    #[test]
    fn an_address_that_holds_an_own_one_is_own() {
        let world = World::new();
        let own = |address: &str| world.is_own(address.parse().unwrap());
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "::127.0.0.1"] {
            assert!(own(address), "{address}");
        }
        for address in ["203.0.113.77", "::ffff:203.0.113.77", "64:ff9b::203.0.113.77"] {
            assert!(!own(address), "{address}");
        }
        // And the address by which others see this machine, if there is one.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("203.0.113.77:9").is_ok()
            && let IpAddr::V4(seen) = socket.local_addr().unwrap().ip()
        {
            assert!(world.is_own(seen.to_ipv6_mapped().into()), "{seen}");
        }
    }
}
