//! Sandboxes with a life of their own: those of a server, from one `compute` to the next.
//!
//! ```text
//! commands/{create,exec,ps,logs,cp,stop,rm,tags}
//!     └► Remote: the provider at that server, a sandbox by its name or id
//!           └ server: which server, and as whom        copy: trees of files, either way
//! ```
//!
//! The server is one of ours, never Modal's cloud by accident: a token in the environment alone leads nowhere.

pub(crate) mod args;
pub(crate) mod copy;
mod server;

use crate::exit::Failure;
use args::ServerArgs;
use computesdk::core::Provider as _;
use computesdk::modal::{Modal, ModalConfig};
use computesdk::{Compute, Error, ErrorKind, Sandbox, SandboxId, SandboxInfo};
use server::Server;
use std::sync::Arc;

/// What to do where no server answers.
const START: &str = "start one: compute serve";

/// The sandboxes of one server.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) modal: Arc<Modal>,
    url: String,
}

impl Remote {
    /// Finds out which server is meant. Nothing is asked of it yet.
    pub(crate) fn open(args: &ServerArgs) -> Result<Self, Failure> {
        let Server { url, token_id, token_secret, environment } = Server::find(args.server.as_deref())?;
        let mut config = ModalConfig::default();
        config.server_url = Some(url.clone());
        config.token_id = Some(token_id);
        config.token_secret = Some(token_secret);
        config.environment = environment;
        Ok(Self { modal: Arc::new(Modal::new(config)), url })
    }

    /// The facade over it.
    pub(crate) fn compute(&self) -> Compute {
        Compute::with_provider(Arc::clone(&self.modal))
    }

    /// What a call answers; a server that is not there is told as such.
    pub(crate) fn told<T>(&self, result: computesdk::Result<T>) -> Result<T, Failure> {
        result.map_err(|error| self.failure(error))
    }

    /// The failure of a call.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        if error.kind() != ErrorKind::Unavailable || error.hint().is_some() {
            return error.into();
        }
        let text = format!("the server at {} does not answer: {error}", self.url);
        error.with_message(text).with_hint(START).into()
    }

    /// The sandbox with this id, or the running one with this name.
    pub(crate) async fn sandbox(&self, target: &str) -> Result<Sandbox, Failure> {
        match self.find(target).await? {
            Some(sandbox) => Ok(sandbox),
            None => Err(unknown(target).into()),
        }
    }

    /// The same; `None` if there is none.
    pub(crate) async fn find(&self, target: &str) -> Result<Option<Sandbox>, Failure> {
        if let Some(sandbox) = self.told(self.modal.get(&SandboxId::new(target)).await)? {
            return Ok(Some(Sandbox::from_core(sandbox)));
        }
        if let Some(sandbox) = self.told(self.modal.find(target).await)? {
            return Ok(Some(Sandbox::from_core(sandbox)));
        }
        // Names are unique within an app, and Modal's SDKs make apps of their own.
        let list = self.told(self.modal.list_all(false).await)?;
        let named: Vec<_> = list.into_iter().filter(|info| info.name.as_deref() == Some(target)).collect();
        match &*named {
            [] => Ok(None),
            [one] => Ok(self.told(self.modal.get(&one.id).await)?.map(Sandbox::from_core)),
            several => Err(ambiguous(target, several).into()),
        }
    }
}

fn unknown(target: &str) -> Error {
    Error::new(ErrorKind::NotFound, "sandbox.find", format!("no running sandbox has the name or id {target:?}"))
        .with_hint("`compute ps` lists those that run, `compute ps -a` also those that have ended")
}

fn ambiguous(name: &str, several: &[SandboxInfo]) -> Error {
    let ids: Vec<&str> = several.iter().map(|info| info.id.as_str()).collect();
    let text =
        format!("several sandboxes, in different apps, have the name {name:?}: give one of the ids {}", ids.join(", "));
    Error::new(ErrorKind::InvalidArgument, "sandbox.find", text)
}
