//! Ports of a sandbox for those who show a token: what Modal calls connect tokens.

use computesdk_core::{Error, ErrorKind, Result, Sandbox};
use computesdk_tunnel::{Dialed, Guard, Tunnel, TunnelOptions, dial_fn};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

const OPERATION: &str = "sandbox.share";

type Open = HashMap<u16, (Tunnel, Guard)>;

/// The shared ports of one sandbox, each opened when it is first asked for.
pub(crate) struct Shares {
    sandbox: Arc<dyn Sandbox>,
    /// By port; `None` once the sandbox has ended.
    open: Arc<Mutex<Option<Open>>>,
}

impl std::fmt::Debug for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

/// Where a shared port is reached, and the token that opens it.
pub(crate) struct Shared {
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Shares {
    pub(crate) fn new(sandbox: Arc<dyn Sandbox>) -> Self {
        Self { sandbox, open: Arc::new(Mutex::new(Some(HashMap::new()))) }
    }

    /// A token for a port; requests with it carry `user_data`.
    pub(crate) async fn issue(&self, port: u16, user_data: Option<String>) -> Result<Shared> {
        let mut open = self.open.lock().await;
        let Some(open) = open.as_mut() else {
            return Err(Error::new(ErrorKind::NotFound, OPERATION, "the sandbox has ended"));
        };
        let (tunnel, guard) = match open.entry(port) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let guard = Guard::new();
                let tunnel = self.listen(port, guard.clone()).await?;
                place.insert((tunnel, guard))
            }
        };
        let token = guard.issue(user_data, None).map_err(|error| match error {
            computesdk_tunnel::GuardError::UserData => {
                Error::invalid(OPERATION, "user_metadata", &error).with_source(error)
            }
            _ => Error::new(ErrorKind::QuotaExceeded, OPERATION, error.to_string()).with_source(error),
        })?;
        Ok(Shared { url: format!("http://{}", tunnel.plain_addr()), token: token.as_str().to_owned() })
    }

    async fn listen(&self, port: u16, guard: Guard) -> Result<Tunnel> {
        let mut options = TunnelOptions::default();
        options.guard = Some(guard);
        options.runtime = Handle::try_current().ok();
        let sandbox = Arc::clone(&self.sandbox);
        let dial = dial_fn(move || {
            let sandbox = Arc::clone(&sandbox);
            async move { sandbox.connect(port).await.map(Dialed::other).map_err(io::Error::other) }
        });
        Tunnel::open(Arc::new(dial), options).await.map_err(|error| {
            let text = format!("port {port} cannot be shared: {error}");
            Error::new(ErrorKind::Unavailable, OPERATION, text).with_source(error)
        })
    }

    /// Closes them all, and opens none from now on.
    pub(crate) fn close(&self) {
        let open = Arc::clone(&self.open);
        if let Ok(mut open) = open.try_lock() {
            *open = None;
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { *open.lock().await = None });
        }
    }
}
