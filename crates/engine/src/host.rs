//! Starting an engine: the directories, the guest program, the launcher, and the thread that serves it.
//!
//! ```text
//! Host::new ──► start(attempt) ──► launcher spawned ──► image, journal ──► launcher told, ready ──► Engine
//!                    │ prove: a sandbox must really come up            └── fails: nothing is left, the next attempt
//! ```

use crate::cgroup::{self, Groups, Places};
use crate::engine::{Engine, EngineOptions, Inner, random_name};
use crate::image::{self, HostImage, ImageOptions};
use crate::journal::{self, Journal};
use crate::launcher::{Launcher, Spawned};
use crate::network::{self, Networks};
use crate::rung::{Attempt, PrivilegeName, Subordinate};
use crate::stream::{DEFAULT_CAP, Drains, Store, check_cap};
use crate::{EngineError, KeptLimits, NetworkPolicy, RungFailure, SandboxSpec, directories, guest, policy, rung};
use computesdk_guest_protocol::PROTOCOL;
use computesdk_guest_protocol::launcher::Init;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Which attempt worked, as it stands in the cache.
#[derive(serde::Serialize, serde::Deserialize)]
struct Probed {
    version: String,
    attempt: Attempt,
}

/// What is the same for every attempt to start.
pub(crate) struct Host {
    launcher: OwnedFd,
    agent: OwnedFd,
    state_dir: PathBuf,
    pub(crate) cache_dir: PathBuf,
    boot_id: String,
    places: Places,
    pub(crate) options: EngineOptions,
}

impl Host {
    pub(crate) fn new(options: EngineOptions) -> Result<Self, EngineError> {
        options.unread_output_bytes.map_or(Ok(()), check_cap)?;
        let cache_dir = directories::cache(options.cache_dir.as_deref())?;
        let state_dir = directories::state(options.state_dir.as_deref())?;
        let boot_id = boot_id()?;
        let launcher = guest::program(guest::LAUNCHER, &cache_dir)?;
        let agent = guest::program(guest::AGENT, &cache_dir)?;
        let places = cgroup::find(options.cgroup.as_deref());
        cgroup::check(options.cgroup.as_deref(), &places)?;
        Ok(Self { launcher, agent, state_dir, cache_dir, boot_id, places, options })
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(crate) fn kept_limits(&self) -> KeptLimits {
        KeptLimits::of(&self.places)
    }

    fn probe_file(&self) -> PathBuf {
        probe_file(&self.cache_dir, &self.boot_id, self.options.degraded)
    }

    /// What worked last. One that is not the best that could be tried is believed for a while only: what kept the better one from
    /// working may be over.
    pub(crate) fn known(&self) -> Option<Attempt> {
        let file = self.probe_file();
        let attempt = known(&file)?;
        let is_best = || rung::attempts(self.options.degraded).0.first() == Some(&attempt);
        (is_best() || is_young(&file)).then_some(attempt)
    }

    pub(crate) fn remember(&self, attempt: &Attempt) {
        let probed = Probed { version: env!("CARGO_PKG_VERSION").to_owned(), attempt: attempt.clone() };
        // Only a short cut: without it the next start looks again.
        if let Ok(json) = serde_json::to_vec(&probed) {
            let temporary = self.probe_file().with_extension(random_name());
            let _ = std::fs::write(&temporary, json).and_then(|()| std::fs::rename(&temporary, self.probe_file()));
        }
    }

    pub(crate) fn forget(&self) {
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
        let spawned = Spawned::new(&self.launcher, attempt.privilege())?;
        let image = self.image(attempt.idmapped)?;
        let image_held = image.hold().map_err(EngineError::host("hold the host image"))?;
        let journal = Arc::new(Journal::create(&self.state_dir, &self.boot_id)?);
        let foreign_ids = attempt.privilege == PrivilegeName::SubordinateIds;
        let groups = Groups::prepare(&self.places, &journal.group_name(), foreign_ids, |dir| journal.will_make(dir));
        let groups = match groups {
            Ok(groups) => Arc::new(groups),
            Err(error) => {
                journal.remove();
                return Err(error);
            }
        };
        let started = match self.init(attempt, &journal, &groups) {
            Ok(init) => self.launch(spawned, init, &journal, &groups).await,
            Err(error) => Err(error),
        };
        let (thread, launcher, networks) = match started {
            Ok(started) => started,
            Err(error) => {
                groups.clear();
                journal.remove();
                return Err(error);
            }
        };
        let cap = self.options.unread_output_bytes.unwrap_or(DEFAULT_CAP);
        let engine = Engine {
            inner: Arc::new(Inner {
                groups,
                networks,
                drains: Drains::start(&thread.runtime),
                store: Store { dir: journal.dir().to_path_buf(), cap },
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
            // With the way out that has been made ahead.
            let spec = SandboxSpec { network: NetworkPolicy::Internet, ..SandboxSpec::default() };
            let proved = match engine.create(&spec).await {
                Ok(sandbox) => match sandbox.prove().await {
                    Ok(()) => sandbox.terminate().await.map(drop),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = proved {
                engine.shut_down().await;
                return Err(error);
            }
        }
        Ok(engine)
    }

    async fn launch(
        &self,
        spawned: Spawned,
        init: Init,
        journal: &Arc<Journal>,
        groups: &Arc<Groups>,
    ) -> Result<(Thread, Arc<Launcher>, Networks), EngineError> {
        // It has made nothing yet that would outlive it: its end follows from the end of this process.
        if let Some(pid) = spawned.id() {
            journal.process(pid)?;
        }
        let (state_dir, boot_id) = (self.state_dir.clone(), self.boot_id.clone());
        let (thread, hand_over) = Thread::start(move || {
            // On the engine's thread, off every caller's path.
            journal::reap(&state_dir, &boot_id);
        })?;
        let agent = self.agent.try_clone().map_err(EngineError::host("copy the agent's descriptor"))?;
        let asked = init.outlet;
        let (launcher, child, lack) = Launcher::begin(spawned, init, agent, &thread.runtime).await?;
        let networks = Networks::new(asked, lack.as_ref());
        let serving = thread.runtime.spawn(Arc::clone(&launcher).serve(thread.runtime.clone()));
        let (journal, groups) = (Arc::clone(journal), Arc::clone(groups));
        let teardown = Teardown { launcher: Arc::clone(&launcher), child, journal, groups, serving };
        let _ = hand_over.send(teardown);
        Ok((thread, launcher, networks))
    }

    fn init(&self, attempt: &Attempt, journal: &Journal, groups: &Groups) -> Result<Init, EngineError> {
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
            cgroups: groups.wire_dirs(),
            readings: groups.readings(),
            outlet: network::wanted(self.options.way_out),
            policy: policy::policy()?,
        })
    }
}

/// The file in which the attempt that worked is kept: by boot and user, because either can change what works.
fn probe_file(cache_dir: &Path, boot_id: &str, degraded: bool) -> PathBuf {
    let degraded = if degraded { "-degraded" } else { "" };
    cache_dir.join(format!("rung-{boot_id}-{}{degraded}.json", rustix::process::geteuid().as_raw()))
}

/// How long a rung is believed to be the best one although a better one was tried.
const BELIEVED: Duration = Duration::from_secs(3600);

fn is_young(probe_file: &Path) -> bool {
    let written = std::fs::metadata(probe_file).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < BELIEVED))
}

/// What worked last, if that was this version.
fn known(probe_file: &Path) -> Option<Attempt> {
    let probed: Probed = serde_json::from_slice(&std::fs::read(probe_file).ok()?).ok()?;
    (probed.version == env!("CARGO_PKG_VERSION")).then_some(probed.attempt)
}

/// What will be tried first: what worked last, else the best that could.
pub(crate) fn likely_attempt(options: &EngineOptions) -> Option<Attempt> {
    let cached = directories::cache(options.cache_dir.as_deref()).ok().and_then(|cache_dir| {
        let boot_id = boot_id().ok()?;
        known(&probe_file(&cache_dir, &boot_id, options.degraded))
    });
    cached.or_else(|| rung::attempts(options.degraded).0.into_iter().next())
}

/// Constant as long as this process lives, so it is read once.
fn boot_id() -> Result<String, EngineError> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(known.clone());
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let text = text.map_err(EngineError::host("read the boot id from /proc"))?;
    Ok(BOOT_ID.get_or_init(|| text.trim().to_owned()).clone())
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
    groups: Arc<Groups>,
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
                    // It says nothing more when everything is gone: sandboxes, control groups, journal. Whoever waits may
                    // go on then; the rest is the end of its process.
                    let _ = teardown.serving.await;
                    if teardown.launcher.ended_in_order() {
                        done.send_replace(true);
                    }
                    let _ = teardown.child.wait();
                    teardown.groups.clear();
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
