//! What people use today, beside us: the same program by way of bubblewrap, crun and runc.
//!
//! Each is the whole command, started as a user starts it, with all of its namespaces and, where it has them, the same
//! limits. crun refuses a machine that has cgroup v1 controllers beside a v2 tree, so it is run where the v2 tree is not
//! mounted: in a mount namespace of the worker's, never on the host.

use super::args::PeerName;
use super::machine::{Limits, Skipped};
use super::pipe::{self, Many, Times};
use super::scratch::Scratch;
use super::subject::broken;
use super::worker::{Input, Request, Worker};
use super::{ECHO, mounts, oci};
use crate::exit::Failure;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The peers that are here and work.
#[derive(Debug)]
pub(crate) struct Peers {
    names: Vec<PeerName>,
    pub(crate) skipped: Vec<Skipped>,
    worker: Option<Arc<Mutex<Worker>>>,
    input: Option<Input>,
    scratch: Option<Scratch>,
}

impl Peers {
    /// Tries each once. One that is not installed, or does not work here, is left out with the reason.
    pub(crate) async fn find(wanted: &[PeerName], limits: &Limits) -> Result<Self, Failure> {
        let mut peers = Self { names: Vec::new(), skipped: Vec::new(), worker: None, input: None, scratch: None };
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(peers);
        }
        let scratch = oci::bundle(limits).map_err(|error| broken("no OCI bundle can be made").with_source(error))?;
        let worker = start(wanted.contains(&PeerName::Crun));
        let worker =
            worker.map_err(|error| broken("the process that runs peers cannot be started").with_source(error))?;
        peers.input = Some(worker.input());
        peers.worker = Some(Arc::new(Mutex::new(worker)));
        peers.scratch = Some(scratch);
        for peer in wanted {
            let why = if !is_installed(peer.program()) {
                String::from("it is not installed")
            } else {
                match peers.ask(peer, 1, 1).await? {
                    Ok(_) => {
                        peers.names.push(peer);
                        continue;
                    }
                    Err(error) => error.to_string(),
                }
            };
            peers.skipped.push(Skipped { system: peer.program(), why });
        }
        Ok(peers)
    }

    /// Those that can be measured.
    pub(crate) fn names(&self) -> Vec<PeerName> {
        self.names.clone()
    }

    /// Runs the command once.
    pub(crate) async fn run(&mut self, peer: PeerName) -> Result<Times, Failure> {
        let done = self.many(peer, 1, 1).await?;
        done.times.first().copied().ok_or_else(|| broken("the worker was told to stop").into())
    }

    /// Runs it so often, so many at a time.
    pub(crate) async fn many(&mut self, peer: PeerName, count: usize, in_flight: usize) -> Result<Many, Failure> {
        let failed = |error| broken(&format!("{} failed", peer.program())).with_source(error);
        Ok(self.ask(peer, count, in_flight).await?.map_err(failed)?)
    }

    /// On another thread, so that signals are heard meanwhile.
    async fn ask(&self, peer: PeerName, count: usize, in_flight: usize) -> Result<io::Result<Many>, Failure> {
        let (Some(worker), Some(scratch)) = (&self.worker, &self.scratch) else {
            return Err(broken("there are no peers").into());
        };
        let request = Request { argv: argv(peer, scratch.dir()), count, in_flight };
        let worker = Arc::clone(worker);
        let asked =
            tokio::task::spawn_blocking(move || worker.lock().unwrap_or_else(PoisonError::into_inner).ask(&request));
        asked.await.map_err(|error| broken("a thread failed").with_source(error).into())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // In this order: no command may still run when the bundle goes.
        if let Some(input) = self.input.take() {
            input.close();
        }
        if let Some(worker) = self.worker.take() {
            // Somebody who was interrupted may still be waiting for its answer, which now comes.
            drop(worker.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Starts the worker; where crun needs it, without the v2 tree.
fn start(for_crun: bool) -> io::Result<Worker> {
    let trees = mounts::of_kind("cgroup2");
    if for_crun && !trees.is_empty() && !mounts::of_kind("cgroup").is_empty() {
        let script = "while [ \"$1\" != -- ]; do umount -l \"$1\" || exit; shift; done; shift; exec \"$@\"";
        let mut words: Vec<String> =
            ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"].map(String::from).into();
        words.extend(trees.iter().map(|at| at.display().to_string()));
        words.push(String::from("--"));
        if let Ok(worker) = Worker::start(&words) {
            return Ok(worker);
        }
        // Not root, most likely. crun then says what it is missing.
    }
    Worker::start(&[])
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// The whole command.
fn argv(peer: PeerName, dir: &Path) -> Vec<String> {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let dir = dir.display();
    let container = |program: &str, before: &[&str]| {
        let mut words = own(&[program]);
        words.extend(own(before));
        words.extend([
            String::from("--root"),
            format!("{dir}/{program}"),
            String::from("run"),
            String::from("--bundle"),
            format!("{dir}/bundle"),
            format!("compute-bench-{}-{}", std::process::id(), pipe::NUMBER),
        ]);
        words
    };
    match peer {
        PeerName::Bwrap => {
            let mut words =
                own(&["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"]);
            for name in oci::BESIDE_USR {
                let place = Path::new(name);
                match std::fs::read_link(place) {
                    Ok(target) => {
                        words.extend([String::from("--symlink"), target.display().to_string(), name.to_owned()]);
                    }
                    Err(_) if place.is_dir() => words.extend(own(&["--ro-bind", name, name])),
                    Err(_) => {}
                }
            }
            words.extend(own(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]));
            words.extend(own(&ECHO));
            words
        }
        PeerName::Crun => container("crun", &["--cgroup-manager", "cgroupfs"]),
        PeerName::Runc => container("runc", &[]),
    }
}
