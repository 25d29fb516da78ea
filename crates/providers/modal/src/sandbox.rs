//! One sandbox.

use crate::check;
use crate::end;
use crate::error::{NAME, call_error, no_sandbox};
use crate::events::Events;
use crate::files::ModalFiles;
use crate::find;
use crate::main_process::MainProcess;
use crate::network;
use crate::process::{ModalProcess, unsupported};
use crate::wire::{Deadline, Family, Router};
use computesdk_core::{
    BoxStream, EndCause, Error, ErrorKind, EventStream, ExecOptions, Files, HostPort, Network, Process, Result,
    Runtime, Sandbox, SandboxId, SandboxInfo, SandboxStatus, Tunnel, Usage, async_trait,
};
use computesdk_modal_proto::client::{
    SandboxGetTunnelsRequest, SandboxTag, SandboxTagsGetRequest, SandboxTagsSetRequest, SandboxTerminateRequest,
    SandboxWaitRequest, TunnelData,
};
use computesdk_modal_proto::router::TaskSetNetworkAccessRequest;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

/// How long the server may hold a question for the end, and how long we wait for its answer.
const LONG_POLL: f32 = 10.0;
const LONG_POLL_ANSWER: Deadline = Deadline(Duration::from_secs(15));
/// How long the server may take to open tunnels.
const TUNNELS: f32 = 10.0;

/// What does not change any more once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) created_at: SystemTime,
    pub(crate) timeout: Duration,
    pub(crate) name: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) notices: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct ModalSandbox {
    id: SandboxId,
    pub(crate) router: Arc<Router>,
    runtime: Runtime,
    /// Known from `create` or a list; else asked for when somebody wants to know.
    facts: OnceCell<Facts>,
    /// The end, once it is known: it does not change.
    end: Arc<OnceCell<EndCause>>,
    main: Option<Arc<MainProcess>>,
    /// The ports that were published at create; `None` if we were not there.
    ports: Option<Vec<u16>>,
    itself: Weak<Self>,
}

/// What is known of a sandbox beforehand.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) facts: Option<Facts>,
    pub(crate) end: Option<EndCause>,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) ports: Option<Vec<u16>>,
    /// Made without a command: there is no main process of the caller's.
    pub(crate) without_command: bool,
    /// What was written to the main process's input to start it.
    pub(crate) input_offset: u64,
}

impl ModalSandbox {
    pub(crate) fn new(router: Router, known: Known) -> Arc<Self> {
        let router = Arc::new(router);
        let end = Arc::new(OnceCell::new_with(known.end));
        let main = (!known.without_command)
            .then(|| Arc::new(MainProcess::new(Arc::clone(&router), known.input_offset, Arc::clone(&end))));
        Arc::new_cyclic(|itself| Self {
            id: SandboxId::new(router.sandbox_id.as_str()),
            runtime: known.runtime.unwrap_or(router.control.settings.runtime),
            router,
            facts: OnceCell::new_with(known.facts),
            end,
            main,
            ports: known.ports,
            itself: Weak::clone(itself),
        })
    }

    fn strong(&self) -> Arc<Self> {
        // `self` is borrowed from an `Arc`: there is no other way to have one.
        self.itself.upgrade().unwrap_or_else(|| unreachable!("a sandbox lives in an Arc"))
    }

    /// Why it ended, or `None` while it runs.
    pub(crate) async fn poll_end(&self) -> Result<Option<EndCause>, Status> {
        if let Some(end) = self.end.get() {
            return Ok(Some(end.clone()));
        }
        let end = ask_end(&self.router, 0.0).await?;
        if let Some(end) = &end {
            // Somebody else may have been faster, with the same.
            let _ = self.end.set(end.clone());
        }
        Ok(end)
    }

    /// The error of a call on this sandbox: that it has ended is said as such, with the cause.
    pub(crate) async fn error(&self, operation: &'static str, status: Status) -> Error {
        let error = match status.code() {
            Code::NotFound | Code::FailedPrecondition | Code::Cancelled | Code::Unavailable => {
                match self.poll_end().await {
                    Ok(Some(end)) => {
                        let text = format!("sandbox {} has ended: {end}", self.id);
                        Error::new(ErrorKind::NotFound, operation, text).with_provider(NAME)
                    }
                    Err(gone) if gone.code() == Code::NotFound => return no_sandbox(operation, self.id.as_str()),
                    _ => call_error(operation, status),
                }
            }
            _ => call_error(operation, status),
        };
        error.with_context("sandbox", self.id.as_str())
    }

    async fn facts(&self) -> Result<&Facts, Status> {
        self.facts.get_or_try_init(|| find::facts(&self.router)).await
    }

    async fn metadata(&self) -> Result<BTreeMap<String, String>, Status> {
        let request = SandboxTagsGetRequest { sandbox_id: self.id.as_str().to_owned() };
        let family = self.router.family;
        let call = self.router.control.call(Deadline::SHORT, request, move |mut client, request| async move {
            match family {
                Family::V1 => client.sandbox_tags_get(request).await,
                Family::V2 => client.sandbox_tags_get_v2(request).await,
            }
        });
        Ok(call.await?.tags.into_iter().map(|tag| (tag.tag_name, tag.tag_value)).collect())
    }

    async fn ask_tunnels(&self) -> Result<Vec<Tunnel>, Status> {
        if self.end.initialized() || self.ports.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let request = SandboxGetTunnelsRequest { sandbox_id: self.id.as_str().to_owned(), timeout: TUNNELS };
        let family = self.router.family;
        let call = self.router.control.call(Deadline::SHORT, request, move |mut client, request| async move {
            match family {
                Family::V1 => client.sandbox_get_tunnels(request).await,
                Family::V2 => client.sandbox_get_tunnels_v2(request).await,
            }
        });
        let mut tunnels: Vec<Tunnel> = match call.await {
            Ok(answer) => answer.tunnels.into_iter().filter_map(tunnel).collect(),
            Err(status) => {
                return match self.poll_end().await {
                    Ok(Some(_)) => Ok(Vec::new()),
                    _ => Err(status),
                };
            }
        };
        if self.poll_end().await?.is_some() {
            return Ok(Vec::new());
        }
        tunnels.sort_by_key(|tunnel| tunnel.port);
        Ok(tunnels)
    }
}

/// A tunnel as the waist has it; `None` for a port that is none.
fn tunnel(data: TunnelData) -> Option<Tunnel> {
    let mut tunnel = Tunnel::new(u16::try_from(data.container_port).ok()?);
    let host_port = |host: String, port: u32| {
        let port = u16::try_from(port).ok()?;
        (!host.is_empty() && port != 0).then(|| HostPort::new(host, port))
    };
    tunnel.tls = host_port(data.host, data.port);
    tunnel.plain = host_port(data.unencrypted_host.unwrap_or_default(), data.unencrypted_port.unwrap_or_default());
    Some(tunnel)
}

/// Why a sandbox ended, if it does so within this many seconds.
pub(crate) async fn ask_end(router: &Router, seconds: f32) -> Result<Option<EndCause>, Status> {
    let request = SandboxWaitRequest { sandbox_id: router.sandbox_id.clone(), timeout: seconds };
    let deadline = if seconds > 0.0 { LONG_POLL_ANSWER } else { Deadline::SHORT };
    let family = router.family;
    let call = router.control.call(deadline, request, move |mut client, request| async move {
        match family {
            Family::V1 => client.sandbox_wait(request).await,
            Family::V2 => client.sandbox_wait_v2(request).await,
        }
    });
    Ok(end::cause(call.await?.result.as_ref()))
}

/// Returns once the sandbox has ended.
pub(crate) async fn until_end(router: &Router, end: &OnceCell<EndCause>) -> Result<EndCause, Status> {
    let ask = || async {
        loop {
            if let Some(end) = ask_end(router, LONG_POLL).await? {
                return Ok(end);
            }
        }
    };
    // However many wait, one asks.
    end.get_or_try_init(ask).await.cloned()
}

/// Metadata as tags.
pub(crate) fn tags(metadata: &BTreeMap<String, String>) -> Vec<SandboxTag> {
    let tag = |(name, value): (&String, &String)| SandboxTag { tag_name: name.clone(), tag_value: value.clone() };
    metadata.iter().map(tag).collect()
}

#[async_trait]
impl Sandbox for ModalSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn provider(&self) -> &str {
        NAME
    }

    async fn info(&self) -> Result<SandboxInfo> {
        let asked = async {
            let end = self.poll_end().await?;
            let facts = self.facts().await?.clone();
            let metadata = match self.metadata().await {
                // Those of an ended one may be forgotten.
                Err(status) if end.is_some() && status.code() == Code::NotFound => facts.metadata.clone(),
                other => other?,
            };
            Ok((end, facts, metadata))
        };
        let (end, facts, metadata) = match asked.await {
            Ok(known) => known,
            Err(status) => return Err(self.error("sandbox.info", status).await),
        };
        Ok(SandboxInfo {
            id: self.id.clone(),
            provider: NAME.to_owned(),
            runtime: self.runtime,
            status: SandboxStatus::of(end.as_ref()),
            created_at: facts.created_at,
            timeout: facts.timeout,
            name: facts.name,
            isolation: None,
            end,
            usage: Usage::default(),
            last_output: None,
            notices: facts.notices,
            metadata,
        })
    }

    fn main_process(&self) -> Option<Arc<dyn Process>> {
        self.main.as_ref().map(|main| Arc::clone(main) as Arc<dyn Process>)
    }

    async fn exec(&self, options: ExecOptions) -> Result<Arc<dyn Process>> {
        check::exec(&options)?;
        match ModalProcess::start(&self.strong(), options).await {
            Ok(process) => Ok(Arc::new(process)),
            Err(status) => Err(self.error("sandbox.exec", status).await),
        }
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(ModalFiles::new(self.strong()))
    }

    async fn wait(&self) -> Result<EndCause> {
        match until_end(&self.router, &self.end).await {
            Ok(end) => Ok(end),
            Err(status) => Err(self.error("sandbox.wait", status).await),
        }
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    async fn terminate(&self) -> Result<()> {
        if self.end.initialized() {
            return Ok(());
        }
        let request = SandboxTerminateRequest { sandbox_id: self.id.as_str().to_owned() };
        let family = self.router.family;
        let call = self.router.control.call(Deadline::SHORT, request, move |mut client, request| async move {
            match family {
                Family::V1 => client.sandbox_terminate(request).await,
                Family::V2 => client.sandbox_terminate_v2(request).await,
            }
        });
        let ended = async {
            call.await?;
            until_end(&self.router, &self.end).await
        };
        match ended.await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Err(no_sandbox("sandbox.terminate", self.id.as_str())),
            Err(status) => Err(call_error("sandbox.terminate", status).with_context("sandbox", self.id.as_str())),
        }
    }

    async fn publish(&self, port: u16) -> Result<Tunnel> {
        if port == 0 {
            return Err(Error::invalid("sandbox.publish", "port", "it is from 1 to 65535").with_provider(NAME));
        }
        let tunnels = match self.ask_tunnels().await {
            Ok(tunnels) => tunnels,
            Err(status) => return Err(self.error("sandbox.publish", status).await),
        };
        if let Some(tunnel) = tunnels.into_iter().find(|tunnel| tunnel.port == port) {
            return Ok(tunnel);
        }
        if let Ok(Some(_)) = self.poll_end().await {
            return Err(self.error("sandbox.publish", Status::not_found("")).await);
        }
        Err(unsupported("sandbox.publish", "port", "on Modal ports are published when the sandbox is made")
            .with_context("port", port.to_string())
            .with_hint("give it in `ports` at create"))
    }

    async fn tunnels(&self) -> Result<Vec<Tunnel>> {
        match self.ask_tunnels().await {
            Ok(tunnels) => Ok(tunnels),
            Err(status) => Err(self.error("sandbox.tunnels", status).await),
        }
    }

    async fn connect(&self, port: u16) -> Result<BoxStream> {
        Err(unsupported("sandbox.connect", "connect", "Modal has no way to a port that is not published")
            .with_context("port", port.to_string()))
    }

    async fn set_network(&self, network: Network) -> Result<()> {
        let access = network::access("sandbox.set_network", Some(&network))?;
        let set = async {
            let task_id = self.router.task().await?.to_owned();
            let request = TaskSetNetworkAccessRequest { task_id, network_access: Some(access) };
            let call = self.router.call(Deadline::SHORT, request, |mut client, request| async move {
                client.task_set_network_access(request).await
            });
            call.await
        };
        match set.await {
            Ok(_) => Ok(()),
            Err(status) => Err(self.error("sandbox.set_network", status).await),
        }
    }

    async fn events(&self) -> Result<Box<dyn EventStream>> {
        let created_at = match self.facts().await {
            Ok(facts) => facts.created_at,
            Err(status) => return Err(self.error("sandbox.events", status).await),
        };
        Ok(Box::new(Events::new(self.strong(), created_at)))
    }

    async fn set_metadata(&self, metadata: BTreeMap<String, String>) -> Result<()> {
        let request = SandboxTagsSetRequest {
            environment_name: self.router.control.settings.environment.clone(),
            sandbox_id: self.id.as_str().to_owned(),
            tags: tags(&metadata),
        };
        let family = self.router.family;
        let call = self.router.control.call(Deadline::SHORT, request, move |mut client, request| async move {
            match family {
                Family::V1 => client.sandbox_tags_set(request).await,
                Family::V2 => client.sandbox_tags_set_v2(request).await,
            }
        });
        match call.await {
            Ok(()) => Ok(()),
            Err(status) => Err(self.error("sandbox.set_metadata", status).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_have_the_ways_that_were_told() {
        let both = tunnel(TunnelData {
            host: "a".into(),
            port: 443,
            unencrypted_host: Some("b".into()),
            unencrypted_port: Some(1234),
            container_port: 80,
        });
        let both = both.unwrap();
        assert_eq!(
            (both.url(true).unwrap(), both.url(false).unwrap()),
            ("https://a:443".into(), "http://b:1234".into())
        );
        let one = tunnel(TunnelData { host: "a".into(), port: 443, container_port: 80, ..Default::default() }).unwrap();
        assert_eq!(one.plain, None);
        assert!(tunnel(TunnelData { container_port: 70_000, ..Default::default() }).is_none());
    }
}
