//! The collection of sandboxes: create, get, list, destroy.

use crate::{Compute, CreateParams, Sandbox, check};
use computesdk_core::{Error, ErrorKind, IntoProvider, ListFilter, Provider, Result, SandboxId};
use std::sync::Arc;

/// The sandboxes of a [`Compute`]'s default provider, or of one that is named in the call.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    compute: Compute,
}

impl Sandboxes {
    pub(crate) fn new(compute: Compute) -> Self {
        Self { compute }
    }

    /// A sandbox that is ready. It lives until it is destroyed, its timeout passes, or (on `local`) this process
    /// ends: dropping the handle does nothing, see [`Sandbox::into_guard`].
    ///
    /// # Errors
    /// `NoDefaultProvider`; `InvalidArgument` or `Unsupported` before anything is made; otherwise what the provider
    /// says, with nothing left behind.
    pub async fn create(&self, params: impl Into<CreateParams> + Send) -> Result<Sandbox> {
        let CreateParams { provider, options } = params.into();
        let provider = match provider {
            Some(provider) => provider,
            None => self.compute.default_provider("sandbox.create")?,
        };
        check::create(&options)?;
        provider.capabilities().check(&options)?;
        let runtime = options.runtime;
        let core = provider.create(options).await?;
        Ok(Sandbox::assemble(core, Some(&provider), runtime))
    }

    /// The default provider's sandbox with this id, running or ended; `None` if it knows none.
    ///
    /// # Errors
    /// `NoDefaultProvider`, `InvalidArgument` (an empty id), or the provider could not be asked.
    pub async fn get_by_id(&self, id: impl Into<SandboxId> + Send) -> Result<Option<Sandbox>> {
        let provider = self.compute.default_provider("sandbox.get")?;
        get(&provider, &required("sandbox.get", id.into(), "sandboxId is required")?).await
    }

    /// This provider's sandbox with this id, running or ended; `None` if it knows none.
    ///
    /// # Errors
    /// `InvalidArgument` (an empty id), or the provider could not be asked.
    pub async fn get_by_id_with(
        &self,
        provider: impl IntoProvider + Send,
        id: impl Into<SandboxId> + Send,
    ) -> Result<Option<Sandbox>> {
        let provider = provider.into_provider();
        get(&provider, &required("sandbox.get", id.into(), REQUIRED_WITH_PROVIDER)?).await
    }

    /// The default provider's running sandboxes, oldest first.
    ///
    /// # Errors
    /// `NoDefaultProvider`, `Unsupported`, or the provider could not be asked.
    pub async fn list(&self) -> Result<Vec<Sandbox>> {
        list(&self.compute.default_provider("sandbox.list")?, &ListFilter::default()).await
    }

    /// This provider's running sandboxes, oldest first.
    ///
    /// # Errors
    /// `Unsupported`, or the provider could not be asked.
    pub async fn list_with(&self, provider: impl IntoProvider + Send) -> Result<Vec<Sandbox>> {
        let provider = provider.into_provider();
        list(&provider, &ListFilter::default()).await
    }

    /// The default provider's running sandboxes that pass the filter, oldest first.
    ///
    /// # Errors
    /// `NoDefaultProvider`, `Unsupported`, or the provider could not be asked.
    pub async fn list_filtered(&self, filter: &ListFilter) -> Result<Vec<Sandbox>> {
        list(&self.compute.default_provider("sandbox.list")?, filter).await
    }

    /// The default provider's running sandbox with this name.
    ///
    /// # Errors
    /// `NoDefaultProvider`, or the provider could not be asked.
    pub async fn find(&self, name: &str) -> Result<Option<Sandbox>> {
        let provider = self.compute.default_provider("sandbox.find")?;
        Ok(provider.find(name).await?.map(|core| Sandbox::assemble(core, Some(&provider), None)))
    }

    /// Ends the default provider's sandbox with this id. One that it does not know, or that has ended, is fine.
    ///
    /// # Errors
    /// `NoDefaultProvider`, `InvalidArgument` (an empty id), or the provider could not be asked.
    pub async fn destroy(&self, id: impl Into<SandboxId> + Send) -> Result<()> {
        let provider = self.compute.default_provider("sandbox.destroy")?;
        destroy(&provider, &required("sandbox.destroy", id.into(), "sandboxId is required")?).await
    }

    /// Ends this provider's sandbox with this id. One that it does not know, or that has ended, is fine.
    ///
    /// # Errors
    /// `InvalidArgument` (an empty id), or the provider could not be asked.
    pub async fn destroy_with(
        &self,
        provider: impl IntoProvider + Send,
        id: impl Into<SandboxId> + Send,
    ) -> Result<()> {
        let provider = provider.into_provider();
        destroy(&provider, &required("sandbox.destroy", id.into(), REQUIRED_WITH_PROVIDER)?).await
    }
}

const REQUIRED_WITH_PROVIDER: &str = "sandboxId is required when provider is specified";

fn required(operation: &'static str, id: SandboxId, message: &str) -> Result<SandboxId> {
    if id.as_str().is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, operation, message).with_context("field", "sandboxId"));
    }
    Ok(id)
}

async fn get(provider: &Arc<dyn Provider>, id: &SandboxId) -> Result<Option<Sandbox>> {
    Ok(provider.get(id).await?.map(|core| Sandbox::assemble(core, Some(provider), None)))
}

async fn list(provider: &Arc<dyn Provider>, filter: &ListFilter) -> Result<Vec<Sandbox>> {
    let found = provider.list(filter).await?;
    Ok(found.into_iter().map(|core| Sandbox::assemble(core, Some(provider), None)).collect())
}

async fn destroy(provider: &Arc<dyn Provider>, id: &SandboxId) -> Result<()> {
    match provider.get(id).await {
        Ok(Some(sandbox)) => crate::sandbox::terminate(&*sandbox).await,
        Ok(None) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
