//! The gateway: one thread that serves the ways out of all sandboxes of an engine.

use crate::event::Sink;
use crate::inject::Injector;
use crate::policy::Policy;
use crate::port::{self, Ends};
use crate::proxied;
use crate::shared::{Shared, World};
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Serves sandboxes until it is dropped, on a thread and a runtime of its own. What a sandbox sends then waits in the kernel and
/// goes nowhere.
#[derive(Debug)]
pub struct Gateway {
    runtime: Handle,
    world: Arc<World>,
    _stop: oneshot::Sender<()>,
}

/// What a launcher has made in a sandbox's network namespace, all of it non-blocking.
#[derive(Debug)]
#[non_exhaustive]
pub enum Hooks {
    /// Everything that would leave is told.
    Gateway {
        /// Where connections come that were let go.
        listener: OwnedFd,
        /// Where packets are told, registered with the gateway's runtime ([`Gateway::enter`]).
        log: AsyncFd<OwnedFd>,
        /// By which packets of the fourth version are put back.
        raw4: OwnedFd,
        /// And of the sixth.
        raw6: Option<OwnedFd>,
    },
    /// Programs that know of it use an HTTP proxy.
    Proxy {
        /// Where they connect to.
        listener: OwnedFd,
    },
}

/// One sandbox's way out. Dropping it cuts its connections, and closes what came with it.
#[derive(Debug)]
pub struct Port {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Gateway {
    /// Starts its thread.
    ///
    /// # Errors
    /// If this process may have no more threads or descriptors.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopping) = oneshot::channel::<()>();
        let work = move || {
            // Ends when the other end is dropped; what was spawned ends with the runtime.
            let _ = runtime.block_on(stopping);
        };
        std::thread::Builder::new().name(String::from("computesdk-net")).spawn(work)?;
        Ok(Self { runtime: handle, world: Arc::new(World::new()), _stop: stop })
    }

    /// The runtime of its thread, for whoever serves more on it.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// What is registered while this is held belongs to the gateway's runtime.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Serves a sandbox under this policy.
    ///
    /// # Errors
    /// If what the launcher made cannot be registered.
    pub fn attach(&self, hooks: Hooks, policy: Policy, sink: Arc<dyn Sink>) -> io::Result<Port> {
        let shared = Shared::new(Arc::clone(&self.world), policy, sink);
        // What is registered belongs to this runtime.
        let _guard = self.runtime.enter();
        let listen = |fd: OwnedFd| TcpListener::from_std(fd.into());
        let task = match hooks {
            Hooks::Gateway { listener, log, raw4, raw6 } => {
                let ends = Ends { listener: listen(listener)?, log, injector: Injector::new(raw4, raw6) };
                self.runtime.spawn(port::serve(Arc::clone(&shared), ends))
            }
            Hooks::Proxy { listener } => self.runtime.spawn(proxied::serve(Arc::clone(&shared), listen(listener)?)),
        };
        Ok(Port { shared, task: task.abort_handle() })
    }
}

impl Port {
    /// From now on this holds. Connections that it does not allow are cut.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.policy.send_replace(Arc::new(policy));
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.close();
        self.task.abort();
    }
}
