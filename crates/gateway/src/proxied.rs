//! The way out of a sandbox whose kernel has no packet filter: an HTTP proxy on its loopback, and nothing else.

use crate::dial::{self, DialError};
use crate::event::{Protocol, Verdict};
use crate::policy::Policy;
use crate::proxy::{self, Dialer, End};
use crate::relay::{Copied, reset, swallow};
use crate::shared::{Shared, Slot};
use crate::target::Target;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long a program may take to say what it wants.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing is accepted after this process had no room for it.
const NO_ROOM: Duration = Duration::from_millis(100);

/// Serves a sandbox for as long as it is polled.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match shared.slot() {
                    Ok(slot) => drop(tasks.spawn(one(Arc::clone(&shared), stream, slot))),
                    // Nobody knows whom it would have been for.
                    Err(reason) => {
                        reset(&stream);
                        shared.refused(&nowhere(&shared), reason);
                    }
                },
                Err(_) => sleep(NO_ROOM).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Of a connection that has not said whom it is for.
fn nowhere(shared: &Shared) -> Target {
    Target { address: None, ..shared.target(Protocol::Http, SocketAddr::new([0; 4].into(), 0)) }
}

/// Serves one connection.
async fn one(shared: Arc<Shared>, mut stream: TcpStream, _slot: Slot) {
    let copied = Arc::new(Copied::default());
    let dialer = Judging { shared: &shared, target: Mutex::default(), copied: &copied };
    let outcome = tokio::select! {
        outcome = proxy::serve(&mut stream, &dialer, HEAD_WITHIN, &copied) => Some(outcome),
        () = dialer.forbidden() => None,
    };
    let Some(target) = dialer.target() else {
        // It never said whom it wants to talk to.
        if let Some(End::Bad(why)) = outcome.map(|outcome| outcome.end) {
            shared.refused(&nowhere(&shared), why);
        }
        return;
    };
    let Some(outcome) = outcome else {
        reset(&stream);
        return shared.tell(&target, Verdict::Closed, Some(String::from("the policy was changed")), copied.bytes());
    };
    let bytes = (outcome.sent, outcome.received);
    let (verdict, reason) = match outcome.end {
        End::Carried => (Verdict::Closed, None),
        End::Broken(error) => {
            swallow(&mut stream).await;
            reset(&stream);
            (Verdict::Closed, Some(error.to_string()))
        }
        End::Refused(reason) | End::Mismatch(reason) => (Verdict::Refused, Some(reason)),
        End::TimedOut => (Verdict::Failed, Some(String::from("nobody answered in time"))),
        End::Failed(error) => (Verdict::Failed, Some(error.to_string())),
        End::Bad(why) => (Verdict::Refused, Some(why.to_owned())),
        End::TooSlow => (Verdict::Closed, Some(String::from("it did not say in time what it wants"))),
        End::Gone => (Verdict::Closed, Some(String::from("the program was gone"))),
    };
    shared.tell(&target, verdict, reason, bytes);
}

/// Dials under the policy.
struct Judging<'a> {
    shared: &'a Shared,
    target: Mutex<Option<Target>>,
    copied: &'a Arc<Copied>,
}

impl Judging<'_> {
    fn target(&self) -> Option<Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, target: &Target) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target.clone());
    }

    /// Returns when the policy does not allow the connection any longer.
    async fn forbidden(&self) {
        let mut policy = self.shared.policy.subscribe();
        while policy.changed().await.is_ok() {
            let now = Arc::clone(&policy.borrow_and_update());
            if self.target().is_some_and(|target| !self.shared.still_allowed(&now, &target)) {
                return;
            }
        }
        // The sandbox is going.
        std::future::pending::<()>().await;
    }

    /// Looks a name up and connects to the first address that may be reached.
    async fn by_address(&self, policy: &Policy, host: &str, port: u16) -> Result<(TcpStream, IpAddr), DialError> {
        let shared = self.shared;
        let addresses = shared.world.resolver.addresses(host).await.map_err(DialError::Failed)?;
        let mut last = DialError::Failed(io::ErrorKind::NotFound.into());
        for address in addresses {
            if let Err(reason) = shared.judge(policy, address, port) {
                last = DialError::Refused(format!("{address}: {reason}"));
                continue;
            }
            match dial::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => last = DialError::Failed(error),
            }
        }
        Err(last)
    }
}

impl Dialer for Judging<'_> {
    type Stream = TcpStream;

    fn cut(&self, stream: &TcpStream) {
        reset(stream);
    }

    fn checks_names(&self) -> bool {
        self.shared.policy().allowed_names().is_some()
    }

    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let mut target = Target::named(self.shared.number(), Protocol::Http, host, port);
        self.set(&target);
        let policy = self.shared.policy();
        let dialed = match &*policy {
            // Before it is looked up: a question tells something, too.
            Policy::Nothing => return Err(DialError::Refused(String::from("nothing may be reached"))),
            Policy::Names(names) if !names.allows(host) => {
                return Err(DialError::Refused(String::from("the name is not on the list")));
            }
            Policy::Names(_) => dial::connect_named(self.shared, host, port).await,
            _ => self.by_address(&policy, host, port).await,
        };
        match dialed {
            Ok((stream, address)) => {
                target.address = Some(address);
                self.set(&target);
                self.shared.allowed(&target, self.copied);
                Ok(stream)
            }
            Err(error) => Err(error),
        }
    }
}
