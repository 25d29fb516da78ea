//! The engine: one launcher, its runtime, and the sandboxes it makes.
//!
//! The engine has a thread of its own with a small tokio runtime, which reads the control sockets and keeps the
//! deadlines. So handles work from any runtime and any thread, and none of it stops when a caller's runtime does. The
//! launcher, and every sandbox with it, ends when the last handle is dropped, when [`Engine::shut_down`] is called, or
//! when this process ends, however it ends.

use crate::image::{self, HostImage, ImageOptions};
use crate::journal::{self, Journal};
use crate::launcher::{Launcher, Spawned};
use crate::rung::{Attempt, PrivilegeName, Subordinate};
use crate::sandbox::Shared;
use crate::{EngineError, Rung, RungFailure, Sandbox, SandboxSpec, directories, guest, ids, policy, rung};
use computesdk_guest_protocol::PROTOCOL;
use computesdk_guest_protocol::launcher::{Create, Init, Layer, OwnedDir};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

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
}

/// A running engine. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// The process that started it. In a fork of that process the thread is missing and the sockets are shared.
    process: u32,
    runtime: Handle,
    launcher: Arc<Launcher>,
    journal: Arc<Journal>,
    image: HostImage,
    /// Keeps the image's generated part on disk.
    _image_held: std::fs::File,
    attempt: Attempt,
    ranges: Mutex<ids::Ranges>,
    next: AtomicU64,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    stopped: watch::Receiver<bool>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("rung", &self.attempt.rung()).finish_non_exhaustive()
    }
}

/// Which attempt worked, as it stands in the cache.
#[derive(serde::Serialize, serde::Deserialize)]
struct Probed {
    version: String,
    attempt: Attempt,
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
        let known = directories::cache(options.cache_dir.as_deref()).ok().and_then(|cache_dir| {
            let boot_id = boot_id().ok()?;
            known(&probe_file(&cache_dir, &boot_id, options.degraded))
        });
        let attempt = known.or_else(|| rung::attempts(options.degraded).0.into_iter().next());
        attempt.is_some_and(|attempt| attempt.privilege != PrivilegeName::SingleId)
    }

    /// Makes a sandbox. Dropping the future undoes it.
    ///
    /// # Errors
    /// [`EngineError::Create`] with the step that failed, nothing being left; [`EngineError::HostLost`] if the launcher
    /// is gone.
    pub async fn create(&self, spec: &SandboxSpec) -> Result<Sandbox, EngineError> {
        let inner = &self.inner;
        inner.check_process()?;
        let number = inner.next.fetch_add(1, Ordering::Relaxed);
        let (ids, range) = inner.ids()?;
        let shared =
            Shared::new(number, Arc::clone(&inner.launcher), Arc::downgrade(inner), inner.runtime.clone(), range);
        inner.journal.will_create(number)?;
        let create = Create {
            sandbox: number,
            hostname: HOSTNAME.to_owned(),
            ids,
            idmapped: inner.attempt.idmapped,
            layers: wire_layers(&inner.image, inner.attempt.idmapped),
            disk_bytes: 0,
            without_proc: inner.attempt.without_proc,
        };
        let fresh = inner.launcher.create(&shared, create).await?;
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
            PrivilegeName::SingleId => ((0, 1), None),
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

/// What is the same for every attempt to start.
pub(crate) struct Host {
    program: OwnedFd,
    state_dir: PathBuf,
    pub(crate) cache_dir: PathBuf,
    boot_id: String,
    options: EngineOptions,
}

impl Host {
    pub(crate) fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let cache_dir = directories::cache(options.cache_dir.as_deref())?;
        let state_dir = directories::state(options.state_dir.as_deref())?;
        let boot_id = boot_id()?;
        let program = guest::program(&cache_dir)?;
        Ok(Self { program, state_dir, cache_dir, boot_id, options })
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    fn probe_file(&self) -> PathBuf {
        probe_file(&self.cache_dir, &self.boot_id, self.options.degraded)
    }

    fn known(&self) -> Option<Attempt> {
        known(&self.probe_file())
    }

    fn remember(&self, attempt: &Attempt) {
        let probed = Probed { version: env!("CARGO_PKG_VERSION").to_owned(), attempt: attempt.clone() };
        // Only a short cut: without it the next start looks again.
        if let Ok(json) = serde_json::to_vec(&probed) {
            let temporary = self.probe_file().with_extension(random_name());
            let _ = std::fs::write(&temporary, json).and_then(|()| std::fs::rename(&temporary, self.probe_file()));
        }
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(self.probe_file());
    }

    pub(crate) fn image(&self, idmapped: bool) -> Result<HostImage, EngineError> {
        let options = ImageOptions {
            cache_dir: self.cache_dir.clone(),
            python: self.options.python.clone(),
            node: self.options.node.clone(),
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            boot_id: self.boot_id.clone(),
            idmapped,
        };
        Ok(image::prepare(&options)?)
    }

    /// Starts an engine this way. With `prove`, a sandbox must really come up.
    pub(crate) async fn start(&self, attempt: &Attempt, prove: bool) -> Result<Engine, EngineError> {
        // First, so that it gets ready on another core meanwhile.
        let spawned = Spawned::new(&self.program, attempt.privilege())?;
        let image = self.image(attempt.idmapped)?;
        let image_held = image.hold().map_err(EngineError::host("hold the host image"))?;
        let journal = Arc::new(Journal::create(&self.state_dir, &self.boot_id)?);
        let started = match self.init(attempt, &journal) {
            Ok(init) => self.launch(spawned, init, &journal).await,
            Err(error) => Err(error),
        };
        let (thread, launcher) = match started {
            Ok(started) => started,
            Err(error) => {
                journal.remove();
                return Err(error);
            }
        };
        let engine = Engine {
            inner: Arc::new(Inner {
                process: std::process::id(),
                runtime: thread.runtime,
                launcher,
                journal,
                image,
                _image_held: image_held,
                attempt: attempt.clone(),
                ranges: Mutex::default(),
                next: AtomicU64::new(1),
                stop: Mutex::new(Some(thread.stop)),
                stopped: thread.stopped,
            }),
        };
        if prove {
            let proved = engine.create(&SandboxSpec::default()).await;
            match proved {
                Ok(sandbox) => drop(sandbox.terminate().await),
                Err(error) => {
                    engine.shut_down().await;
                    return Err(error);
                }
            }
        }
        Ok(engine)
    }

    async fn launch(
        &self,
        spawned: Spawned,
        init: Init,
        journal: &Arc<Journal>,
    ) -> Result<(Thread, Arc<Launcher>), EngineError> {
        // It has made nothing yet that would outlive it: its end follows from the end of this process.
        if let Some(pid) = spawned.id() {
            journal.process(pid)?;
        }
        let (state_dir, boot_id) = (self.state_dir.clone(), self.boot_id.clone());
        let (thread, hand_over) = Thread::start(move || {
            // On the engine's thread, off every caller's path.
            journal::reap(&state_dir, &boot_id);
        })?;
        let (launcher, child) = Launcher::begin(spawned, init, &thread.runtime).await?;
        let serving = thread.runtime.spawn(Arc::clone(&launcher).serve(thread.runtime.clone()));
        let teardown = Teardown { launcher: Arc::clone(&launcher), child, journal: Arc::clone(journal), serving };
        let _ = hand_over.send(teardown);
        Ok((thread, launcher))
    }

    fn init(&self, attempt: &Attempt, journal: &Journal) -> Result<Init, EngineError> {
        let none = || Subordinate { uids: (0, 0), gids: (0, 0), programs: (PathBuf::new(), PathBuf::new()) };
        let subordinate = match attempt.privilege {
            PrivilegeName::SubordinateIds => Subordinate::find()
                .map_err(|(why, _)| EngineError::Host { what: why, source: std::io::ErrorKind::NotFound.into() })?,
            _ => none(),
        };
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        Ok(Init {
            protocol: PROTOCOL,
            privilege: attempt.privilege(),
            subuid: subordinate.uids,
            subgid: subordinate.gids,
            map_programs: (bytes(&subordinate.programs.0), bytes(&subordinate.programs.1)),
            journal: bytes(journal.path()),
            policy: policy::policy()?,
        })
    }
}

/// The file in which the attempt that worked is kept: by boot and user, because either can change what works.
fn probe_file(cache_dir: &Path, boot_id: &str, degraded: bool) -> PathBuf {
    let degraded = if degraded { "-degraded" } else { "" };
    cache_dir.join(format!("rung-{boot_id}-{}{degraded}.json", rustix::process::geteuid().as_raw()))
}

/// What worked last, if that was this version.
fn known(probe_file: &Path) -> Option<Attempt> {
    let probed: Probed = serde_json::from_slice(&std::fs::read(probe_file).ok()?).ok()?;
    (probed.version == env!("CARGO_PKG_VERSION")).then_some(probed.attempt)
}

fn boot_id() -> Result<String, EngineError> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    Ok(text.map_err(EngineError::host("read the boot id from /proc"))?.trim().to_owned())
}

/// The engine's thread.
struct Thread {
    runtime: Handle,
    stop: oneshot::Sender<()>,
    stopped: watch::Receiver<bool>,
}

/// What is taken down when the engine stops.
struct Teardown {
    launcher: Arc<Launcher>,
    child: Child,
    journal: Arc<Journal>,
    serving: JoinHandle<()>,
}

impl Thread {
    /// Starts it; it runs until told to stop, or until `stop` is dropped.
    fn start(first: impl FnOnce() + Send + 'static) -> Result<(Self, oneshot::Sender<Teardown>), EngineError> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(EngineError::host("make the engine's runtime"))?;
        let handle = runtime.handle().clone();
        let (stop, stopping) = oneshot::channel();
        let (hand_over, handed_over) = oneshot::channel::<Teardown>();
        let (done, stopped) = watch::channel(false);
        let work = move || {
            runtime.block_on(async {
                tokio::task::spawn(async { first() });
                let _ = stopping.await;
                if let Ok(mut teardown) = handed_over.await {
                    teardown.launcher.shut_down();
                    // When the last sandbox is gone, whoever waits may go on; the rest is the launcher's own end.
                    let mut serving = teardown.serving;
                    tokio::select! {
                        () = teardown.launcher.emptied() => {
                            teardown.journal.remove();
                            done.send_replace(true);
                            let _ = serving.await;
                        }
                        _ = &mut serving => {}
                    }
                    let _ = teardown.child.wait();
                    teardown.journal.remove();
                }
                done.send_replace(true);
            });
        };
        std::thread::Builder::new()
            .name(String::from("computesdk-engine"))
            .spawn(work)
            .map_err(EngineError::host("start the engine's thread"))?;
        Ok((Self { runtime: handle, stop, stopped }, hand_over))
    }
}

/// What an attempt that failed says, and what to do about it.
pub(crate) fn failed(attempt: &Attempt, error: &EngineError) -> RungFailure {
    let hint = match error {
        EngineError::Create(failure) => rung::advise(&failure.step, failure.errno),
        _ => None,
    };
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        why += &format!(": {error}");
        cause = error.source();
    }
    RungFailure { rung: attempt.rung().label(), why, hint }
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
