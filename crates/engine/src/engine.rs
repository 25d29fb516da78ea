//! The engine: one launcher, its runtime, and the sandboxes it makes.
//!
//! The engine has a thread of its own with a small tokio runtime, which reads the control sockets and keeps the
//! deadlines. So handles work from any runtime and any thread, and none of it stops when a caller's runtime does. The
//! launcher, and every sandbox with it, ends when the last handle is dropped, when [`Engine::shut_down`] is called, or
//! when this process ends, however it ends.

use crate::cgroup::{self, Groups};
use crate::host::{self, Host, failed};
use crate::image::HostImage;
use crate::journal::Journal;
use crate::launcher::Launcher;
use crate::network::{Networks, WayOut};
use crate::rung::{Attempt, PrivilegeName};
use crate::sandbox::Shared;
use crate::stream::{Drains, Store};
use crate::{EngineError, KeptLimits, Rung, Sandbox, SandboxSpec, ids, rung};
use computesdk_guest_protocol::launcher::{Create, Layer, OwnedDir};
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// Host name of every sandbox. It is in the image's `/etc/hosts`.
const HOSTNAME: &str = "sandbox";

/// How to start an engine. `Default` is right for most.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Journals. Default: `$XDG_STATE_HOME/computesdk`.
    pub state_dir: Option<PathBuf>,
    /// The generated part of the host image. Default: `$XDG_CACHE_HOME/computesdk`.
    pub cache_dir: Option<PathBuf>,
    /// The Python to offer. Default: the first one on `PATH` that is not a virtual environment's own.
    pub python: Option<PathBuf>,
    /// The Node.js to offer. Default: the first one on `PATH`.
    pub node: Option<PathBuf>,
    /// Accept an empty `/proc` where the kernel refuses a fresh one.
    pub degraded: bool,
    /// The control group below which those of the sandboxes are made, as it stands in `/proc/PID/cgroup`. Default:
    /// `COMPUTESDK_CGROUP`, else the own one where that can be written.
    pub cgroup: Option<PathBuf>,
    /// Most bytes of one stream that are set aside while nobody reads it; a program that writes more then waits. At
    /// least 1 MiB, which stays in memory; the rest goes to a nameless file below `state_dir`. Default: 1 GiB.
    pub unread_output_bytes: Option<u64>,
    /// How sandboxes get out, if they may. Default: the best way that the kernel offers.
    pub way_out: WayOut,
}

/// A running engine. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// The process that started it. In a fork of that process the thread is missing and the sockets are shared.
    pub(crate) process: u32,
    pub(crate) runtime: Handle,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) image: HostImage,
    /// Keeps the image's generated part on disk.
    pub(crate) _image_held: File,
    pub(crate) attempt: Attempt,
    pub(crate) ranges: Mutex<ids::Ranges>,
    pub(crate) next: AtomicU64,
    pub(crate) stop: Mutex<Option<oneshot::Sender<()>>>,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) networks: Networks,
    pub(crate) drains: Arc<Drains>,
    pub(crate) store: Store,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("rung", &self.attempt.rung()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the launcher on the best rung that this host offers.
    ///
    /// The first start after a boot tries the rungs by making a sandbox; later ones use what worked.
    ///
    /// # Errors
    /// [`EngineError::NoIsolation`] with the reason of every rung; [`EngineError::Image`] if the host image cannot be
    /// made, which includes an interpreter option that is none.
    pub async fn start(options: EngineOptions) -> Result<Self, EngineError> {
        let host = Host::new(options)?;
        if let Some(attempt) = host.known() {
            match host.start(&attempt, false).await {
                Ok(engine) => return Ok(engine),
                Err(EngineError::Image(error)) if error.is_everywhere() => return Err(EngineError::Image(error)),
                // What worked before does not any more: look again.
                Err(_) => host.forget(),
            }
        }
        let (attempts, mut failures) = rung::attempts(host.options.degraded);
        for attempt in attempts {
            match host.start(&attempt, true).await {
                Ok(engine) => {
                    host.remember(&attempt);
                    return Ok(engine);
                }
                Err(EngineError::Image(error)) if error.is_everywhere() => return Err(EngineError::Image(error)),
                Err(error) => failures.push(failed(&attempt, &error)),
            }
        }
        Err(EngineError::NoIsolation(failures))
    }

    /// Whether sandboxes will have more users than root, as far as can be told without starting: by what worked last,
    /// else by what would be tried first.
    #[must_use]
    pub fn will_have_users(options: &EngineOptions) -> bool {
        let attempt = host::likely_attempt(options);
        attempt.is_some_and(|attempt| attempt.privilege != PrivilegeName::SingleId)
    }

    /// Which limits can be kept here, as far as can be told without starting.
    #[must_use]
    pub fn will_keep(options: &EngineOptions) -> KeptLimits {
        KeptLimits::of(&cgroup::find(options.cgroup.as_deref()))
    }

    /// Makes a sandbox. Dropping the future undoes it.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a limit that makes no sense and [`EngineError::NoLimit`] for one that cannot be kept
    /// here, before anything is made; [`EngineError::Create`] with the step that failed, nothing being left (the last steps are
    /// taken while this returns already: if one of them fails, which it does not where it worked before, the first call on
    /// the sandbox has that error); [`EngineError::HostLost`] if the launcher
    /// is gone.
    pub async fn create(&self, spec: &SandboxSpec) -> Result<Sandbox, EngineError> {
        let inner = &self.inner;
        inner.check_process()?;
        spec.limits.check()?;
        let plan = inner.groups.plan(&spec.limits)?;
        let number = inner.next.fetch_add(1, Ordering::Relaxed);
        inner.journal.will_create(number)?;
        let (ids, range) = inner.ids()?;
        let shared = Shared::new(number, inner, range);
        let outlet = inner.networks.outlet(&spec.network);
        let create = Create {
            sandbox: number,
            hostname: HOSTNAME.to_owned(),
            ids,
            idmapped: inner.attempt.idmapped,
            layers: wire_layers(&inner.image, inner.attempt.idmapped),
            disk_bytes: spec.limits.disk_bytes.unwrap_or(0),
            hierarchies: plan.hierarchies,
            limits: plan.limits,
            outlet,
            open_files: spec.limits.open_files.unwrap_or(0),
            without_proc: inner.attempt.without_proc,
        };
        let mut fresh = inner.launcher.create(&shared, create).await?;
        let hooks = fresh.hooks();
        if let Some(shared) = fresh.shared() {
            // If this fails, the sandbox ends with `fresh`.
            shared.begin_network(&inner.networks, outlet, hooks, spec.network.clone())?;
        }
        fresh
            .take()
            .map(|shared| Sandbox::new(shared, Arc::clone(inner), spec))
            .ok_or_else(|| EngineError::HostLost(String::from("the sandbox was taken by somebody else")))
    }

    /// How strong the isolation is.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.inner.rung()
    }

    /// Whether it can still make sandboxes: it was not shut down, its launcher lives, and this is its process.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.inner.check_process().is_ok() && self.inner.launcher.is_running() && !*self.inner.stopped.borrow()
    }

    /// What is in the sandboxes.
    #[must_use]
    pub fn image(&self) -> &HostImage {
        &self.inner.image
    }

    /// Ends every sandbox and the launcher, and returns when they are gone. Other handles of this engine then fail.
    pub async fn shut_down(&self) {
        self.inner.stop();
        let mut stopped = self.inner.stopped.clone();
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl Inner {
    pub(crate) fn check_process(&self) -> Result<(), EngineError> {
        if std::process::id() == self.process { Ok(()) } else { Err(EngineError::Forked) }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn rung(&self) -> Rung {
        self.attempt.rung()
    }

    pub(crate) fn give_back(&self, range: u32) {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).give_back(range);
    }

    /// The ids of a new sandbox, in the launcher's user namespace; and the range to give back, if there is one.
    fn ids(&self) -> Result<((u32, u32), Option<u32>), EngineError> {
        Ok(match self.attempt.privilege {
            PrivilegeName::Root => {
                let first = self.ranges.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                ((first, ids::COUNT), Some(first))
            }
            // In the launcher's namespace, 0 is the user and the subordinate ids begin at 1.
            PrivilegeName::SubordinateIds => ((1, ids::COUNT), None),
            // And here the user is 1.
            PrivilegeName::SingleId => ((1, 1), None),
        })
    }

    fn stop(&self) {
        if let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.check_process().is_ok() {
            self.stop();
        }
    }
}

fn wire_layers(image: &HostImage, idmapped: bool) -> Vec<Layer> {
    let layers = image.layers.iter().map(|layer| Layer {
        target: layer.target.clone(),
        lowers: layer.lowers.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
        // With idmapped lowers the sandbox's root owns what is there already.
        owned: if idmapped {
            Vec::new()
        } else {
            layer
                .owned
                .iter()
                .map(|dir| OwnedDir { path: dir.path.clone(), mode: dir.mode, owner: dir.owner })
                .collect()
        },
    });
    layers.collect()
}

/// A random name of 20 lower-case letters and digits.
#[must_use]
pub fn random_name() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = [0_u8; 20];
    // getrandom(2) does not fail once the system has booted; short reads only above 256 bytes.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
