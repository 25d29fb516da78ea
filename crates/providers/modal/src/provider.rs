//! The provider: what is made, and what is found again.

use crate::config::{ModalConfig, Settings};
use crate::create;
use crate::error::{NAME, call_error, no_sandbox};
use crate::find::{self, Query};
use crate::log::{self, LogLine};
use crate::sandbox::{Known, ModalSandbox, tags};
use crate::wire::{Control, Deadline, Family, Router};
use computesdk_core::{
    Capabilities, CreateOptions, Error, ErrorKind, FilesystemSupport, Limits, ListFilter, NetworkModes, Provider,
    Reconnect, Result, Runtime, Sandbox, SandboxId, SandboxInfo, async_trait,
};
use computesdk_modal_proto::client::{SandboxGetFromNameRequest, SandboxHandleMetadata, SandboxWaitRequest};
use std::fmt;
use std::sync::{Arc, OnceLock};
use tonic::{Code, Status};

/// The `modal` provider, ready to be handed to `compute().set_config(…)`. What the configuration leaves out is taken from the
/// environment, see [`ModalConfig::from_env`].
///
/// Nothing is connected, and no credentials are missed, before the first call.
#[must_use]
pub fn modal(config: ModalConfig) -> Arc<dyn Provider> {
    Arc::new(Modal::new(config.or_env()))
}

/// Sandboxes at a server that speaks Modal's protocol. They live on when this is dropped.
///
/// It belongs to the tokio runtime of its first call: its connections live there.
pub struct Modal {
    config: ModalConfig,
    control: OnceLock<Arc<Control>>,
}

impl fmt::Debug for Modal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modal").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Modal {
    /// A provider with these settings alone: nothing is taken from the environment.
    #[must_use]
    pub fn new(config: ModalConfig) -> Self {
        Self { config, control: OnceLock::new() }
    }

    fn control(&self) -> Result<&Arc<Control>> {
        if let Some(control) = self.control.get() {
            return Ok(control);
        }
        let settings = Settings::of(&self.config)?;
        Ok(self.control.get_or_init(|| Arc::new(Control::new(settings))))
    }

    /// Every sandbox of the environment, of whatever app, oldest first; with `include_finished`, those that have ended as
    /// well, as far as the server remembers them.
    ///
    /// # Errors
    /// If the server could not be asked.
    pub async fn list_all(&self, include_finished: bool) -> Result<Vec<SandboxInfo>> {
        let control = self.control()?;
        let query = Query { include_finished, ..Query::default() };
        let found = find::list(control, &query).await.map_err(|status| call_error("sandbox.list", status))?;
        Ok(found.iter().rev().map(|info| find::info_of(info, control.settings.runtime)).collect())
    }

    /// What the main process of a sandbox has written so far, also after its end, earliest first. The server keeps text, and as
    /// much of it as it likes; the bytes of a sandbox that runs are read from its [`Sandbox::main_process`].
    ///
    /// # Errors
    /// `NotFound` if there is no such sandbox, or the server could not be asked.
    pub async fn logs(&self, id: &SandboxId) -> Result<Vec<LogLine>> {
        let control = self.control()?;
        let missing = || no_sandbox("sandbox.logs", id.as_str());
        let asked = async {
            let Some((_, metadata)) = self.look(control, id).await? else { return Ok(None) };
            log::fetch(control, metadata.app_id, id.as_str().to_owned()).await.map(Some)
        };
        asked.await.map_err(|status| call_error("sandbox.logs", status))?.ok_or_else(missing)
    }

    /// Whether there is such a sandbox, and how it is.
    async fn look(
        &self,
        control: &Arc<Control>,
        id: &SandboxId,
    ) -> Result<Option<(Known, SandboxHandleMetadata)>, Status> {
        let Some(family) = Family::of(id.as_str()) else { return Ok(None) };
        let request = SandboxWaitRequest { sandbox_id: id.as_str().to_owned(), timeout: 0.0 };
        let call = control.call(Deadline::SHORT, request, move |mut client, request| async move {
            match family {
                Family::V1 => client.sandbox_wait(request).await,
                Family::V2 => client.sandbox_wait_v2(request).await,
            }
        });
        match call.await {
            Ok(answer) => {
                let known = Known { end: crate::end::cause(answer.result.as_ref()), ..Known::default() };
                Ok(Some((known, answer.metadata.unwrap_or_default())))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    fn handle(control: &Arc<Control>, id: String, known: Known) -> Option<Arc<ModalSandbox>> {
        let family = Family::of(&id)?;
        Some(ModalSandbox::new(Router::new(Arc::clone(control), id, family), known))
    }

    async fn by_name(control: &Control, name: &str) -> Result<Option<String>, Status> {
        let request = |app_name| SandboxGetFromNameRequest {
            sandbox_name: name.to_owned(),
            environment_name: control.settings.environment.clone(),
            app_name,
            include_terminated: false,
        };
        for family in [Family::V2, Family::V1] {
            let request = request(control.settings.app_name.clone());
            let call = control.call(Deadline::SHORT, request, move |mut client, request| async move {
                match family {
                    Family::V1 => client.sandbox_get_from_name(request).await,
                    Family::V2 => client.sandbox_get_from_name_v2(request).await,
                }
            });
            match call.await {
                Ok(answer) => return Ok(Some(answer.sandbox_id)),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(status),
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Provider for Modal {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none(NAME);
        capabilities.runtimes = vec![Runtime::Python];
        if self.config.image.is_some() {
            // Who names an image knows what it holds.
            capabilities.runtimes.push(Runtime::Node);
        }
        capabilities.filesystem = FilesystemSupport::Limited;
        capabilities.watch = true;
        capabilities.list = true;
        capabilities.reconnect = Reconnect::AnyProcess;
        capabilities.names = true;
        capabilities.command = true;
        capabilities.streaming = true;
        capabilities.pty = true;
        capabilities.images = true;
        capabilities.ports = true;
        capabilities.inbound = true;
        capabilities.network = NetworkModes { none: true, egress: true, cidr: true, domain: true };
        capabilities.limits = Limits {
            memory: true,
            cpus: true,
            timeout: true,
            idle_timeout: true,
            exec_timeout: true,
            ..capabilities.limits
        };
        capabilities
    }

    async fn create(&self, options: CreateOptions) -> Result<Arc<dyn Sandbox>> {
        self.capabilities().check(&options)?;
        let control = self.control()?;
        if let Some(id) = &options.sandbox_id {
            return self.get(id).await?.ok_or_else(|| create::not_found(id));
        }
        create::create(control, options).await.map(|sandbox| sandbox as Arc<dyn Sandbox>)
    }

    async fn get(&self, id: &SandboxId) -> Result<Option<Arc<dyn Sandbox>>> {
        let control = self.control()?;
        let looked = self.look(control, id).await.map_err(|status| call_error("sandbox.get", status))?;
        let Some((known, _)) = looked else { return Ok(None) };
        Ok(Self::handle(control, id.as_str().to_owned(), known).map(|sandbox| sandbox as Arc<dyn Sandbox>))
    }

    async fn find(&self, name: &str) -> Result<Option<Arc<dyn Sandbox>>> {
        let control = self.control()?;
        let found = Self::by_name(control, name).await.map_err(|status| call_error("sandbox.find", status))?;
        let Some(id) = found else { return Ok(None) };
        match Self::handle(control, id.clone(), Known::default()) {
            Some(sandbox) => Ok(Some(sandbox)),
            None => {
                let text = format!("the server sent {id:?}, which is no id of a sandbox");
                Err(Error::new(ErrorKind::Unexpected, "sandbox.find", text).with_provider(NAME))
            }
        }
    }

    async fn list(&self, filter: &ListFilter) -> Result<Vec<Arc<dyn Sandbox>>> {
        let control = self.control()?;
        let listed = async {
            let app_id = control.app().await?.to_owned();
            find::list(control, &Query { app_id, tags: tags(&filter.metadata), ..Query::default() }).await
        };
        let found = listed.await.map_err(|status| call_error("sandbox.list", status))?;
        let handle = |info: &computesdk_modal_proto::client::SandboxInfo| {
            let known = Known { facts: Some(find::facts_of(info)), ..Known::default() };
            Self::handle(control, info.id.clone(), known).map(|sandbox| sandbox as Arc<dyn Sandbox>)
        };
        // The wire has the newest first.
        Ok(found.iter().rev().filter_map(handle).collect())
    }
}
