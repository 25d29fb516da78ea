//! A sandbox that ends with its scope.

use crate::Sandbox;
use computesdk_core::Result;
use std::ops::Deref;
use tokio::runtime::Handle;

/// Destroys its sandbox when it is dropped; used like a [`Sandbox`].
///
/// The drop cannot wait: it hands the work to the Tokio runtime that was current when the guard was made (else at the
/// drop), and errors are lost. Without a runtime, or if that runtime is shutting down, nothing is destroyed. Where
/// that matters, call [`SandboxGuard::destroy`], which waits and reports.
#[derive(Debug)]
#[must_use = "dropping the guard destroys the sandbox"]
pub struct SandboxGuard {
    sandbox: Sandbox,
    handle: Option<Handle>,
    armed: bool,
}

impl SandboxGuard {
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, handle: Handle::try_current().ok(), armed: true }
    }

    /// Ends the sandbox now and waits for it.
    ///
    /// # Errors
    /// If the provider could not be asked; the drop has then tried once more.
    pub async fn destroy(mut self) -> Result<()> {
        self.sandbox.destroy().await?;
        self.armed = false;
        Ok(())
    }

    /// Gives the handle back; the sandbox is no longer ended by a drop.
    #[must_use]
    pub fn disarm(mut self) -> Sandbox {
        self.armed = false;
        self.sandbox.clone()
    }
}

impl Deref for SandboxGuard {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for SandboxGuard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Some(handle) = self.handle.clone().or_else(|| Handle::try_current().ok()) {
            let sandbox = self.sandbox.clone();
            handle.spawn(async move {
                // Nobody is left to be told.
                let _ = sandbox.destroy().await;
            });
        }
    }
}
