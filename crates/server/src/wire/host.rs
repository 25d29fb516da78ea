//! What every call works on.

use super::images::Sight;
use super::status::{not_found, refuse};
use crate::auth::{Caller, Signer};
use crate::live::output::Spool;
use crate::live::sandbox::Live;
use crate::live::table::{Quota, Table};
use crate::state::{Claim, SandboxRecord, State};
use computesdk_core::{Capabilities, Provider};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tonic::{Request, Status};
use tracing::Instrument as _;

/// How long a second call with the same key waits for the first.
const SAME_KEY: Duration = Duration::from_secs(120);

/// How a [`Host`] behaves.
#[derive(Debug, Clone)]
pub(crate) struct HostOptions {
    /// Where the command router is reached if a client's own address for us is not known: `https://127.0.0.1:PORT`.
    pub(crate) router_url: String,
    pub(crate) quota: Quota,
    pub(crate) spool: Spool,
}

/// The provider, the state, and what is alive.
pub(crate) struct Host {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) capabilities: Capabilities,
    pub(crate) state: State,
    pub(crate) signer: Signer,
    pub(crate) table: Table,
    pub(crate) options: HostOptions,
    /// What the provider's image has, once somebody wants to know.
    pub(super) sight: OnceCell<Sight>,
}

/// Who calls, and under which key, so that the same call twice is carried out once.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) key: Option<String>,
}

impl Call {
    /// Takes a request apart. `auth` has put the caller there; without one nothing is answered.
    pub(crate) fn open<T>(request: Request<T>) -> Result<(Self, T), Status> {
        let key = request.metadata().get("x-idempotency-key").and_then(|key| key.to_str().ok());
        let key = key.filter(|key| !key.is_empty() && key.len() <= 256).map(str::to_owned);
        let caller = Caller::of(request.extensions())?.clone();
        Ok((Self { caller, key }, request.into_inner()))
    }

    pub(crate) fn workspace(&self) -> &str {
        &self.caller.workspace
    }
}

/// A sandbox that somebody asks about: alive or just ended, or remembered by the state alone.
pub(crate) enum Found {
    Live(Arc<Live>),
    Past(Box<SandboxRecord>),
}

impl Found {
    pub(crate) fn app_id(&self) -> &str {
        match self {
            Self::Live(live) => &live.identity().app_id,
            Self::Past(record) => &record.app_id,
        }
    }

    /// The one that is alive, or just ended.
    pub(crate) fn live(self) -> Result<Arc<Live>, Status> {
        match self {
            Self::Live(live) => Ok(live),
            Self::Past(record) => {
                let why = record.end.map_or_else(String::new, |end| format!(": {}", end.cause));
                Err(Status::not_found(format!("sandbox {} has ended{why}", record.id)))
            }
        }
    }
}

impl Host {
    pub(crate) fn new(provider: Arc<dyn Provider>, state: State, signer: Signer, options: HostOptions) -> Arc<Self> {
        let capabilities = provider.capabilities();
        let (table, sight) = (Table::default(), OnceCell::new());
        Arc::new(Self { provider, capabilities, state, signer, table, options, sight })
    }

    /// The sandbox with this id, if it is the caller's.
    pub(crate) async fn find(&self, workspace: &str, id: &str) -> Result<Found, Status> {
        if let Some(live) = self.table.get(workspace, id) {
            return Ok(Found::Live(live));
        }
        match self.state.sandbox(workspace, id).await? {
            Some(record) => Ok(Found::Past(Box::new(record))),
            None => Err(not_found("sandbox", id)),
        }
    }

    /// The sandbox with this id, alive or just ended.
    pub(crate) async fn live(&self, workspace: &str, id: &str) -> Result<Arc<Live>, Status> {
        self.find(workspace, id).await?.live()
    }

    /// The one with this id, running; what has ended is told with its reason.
    pub(crate) async fn running(&self, workspace: &str, id: &str) -> Result<Arc<Live>, Status> {
        let live = self.live(workspace, id).await?;
        match live.end() {
            None => Ok(live),
            Some(_) => Err(refuse(live.has_ended())),
        }
    }

    /// The one with this task, alive or just ended.
    pub(crate) async fn by_task(&self, workspace: &str, task_id: &str) -> Result<Arc<Live>, Status> {
        if let Some(live) = self.table.by_task(workspace, task_id) {
            return Ok(live);
        }
        match self.state.sandbox_by_task(workspace, task_id).await? {
            Some(record) => Found::Past(Box::new(record)).live(),
            None => Err(not_found("task", task_id)),
        }
    }

    /// Carries a call out once for each key, whatever becomes of the client meanwhile: the work goes on without it, and its answer waits
    /// for whoever asks again. Without a key it is just carried out.
    ///
    /// # Errors
    /// Those of the work, which leave the key free.
    pub(super) async fn once(
        &self,
        call: &Call,
        method: &'static str,
        work: impl Future<Output = Result<Vec<u8>, Status>> + Send + 'static,
    ) -> Result<Vec<u8>, Status> {
        let claim = match &call.key {
            None => None,
            Some(key) => match self.state.begin(call.workspace(), method, key, SAME_KEY).await? {
                Claim::Done(answer) => return Ok(answer),
                Claim::Fresh(guard) => Some(guard),
            },
        };
        let task = async move {
            let answer = work.await?;
            if let Some(claim) = claim {
                // What was done was done: refusing its answer would have it done a second time.
                if let Err(error) = claim.finish(answer.clone()).await {
                    tracing::error!(%error, method, "an answer cannot be kept for the same call again");
                }
            }
            Ok(answer)
        };
        let task = tokio::spawn(task.in_current_span());
        task.await.map_err(|error| Status::internal(format!("{method} broke off: {error}")))?
    }

    /// Where this caller reaches the command router: at the address under which it reaches us.
    ///
    /// Always `https`: some clients speak TLS then, others none, and the port takes both (modal-wire notes, 2.2).
    pub(crate) fn router_url(&self, caller: &Caller) -> String {
        match caller.authority.as_deref().filter(|authority| is_authority(authority)) {
            Some(authority) => format!("https://{authority}"),
            None => self.options.router_url.clone(),
        }
    }
}

/// `HOST:PORT` and nothing that could become more of an address.
fn is_authority(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    text.len() <= 255
        && text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        for good in ["127.0.0.1:80", "localhost:8930", "[::1]:443", "a-b.example:1"] {
            assert!(is_authority(good), "{good}");
        }
        for bad in ["", "localhost", "host:port", "a/b:80", "a@b:80", "a b:80", "x:99999"] {
            assert!(!is_authority(bad), "{bad}");
        }
    }
}
