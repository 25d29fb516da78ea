//! The provider under test: the operations that are timed, and the end of everything it made.

use super::machine::{self, Limits};
use super::{ANSWER, ECHO};
use crate::bench::args::ProviderName;
use crate::session;
use computesdk::core::{Process, Sandbox};
use computesdk::{CreateOptions, Error, ErrorKind, ExecOptions, Network, OpenMode, Provider, Resources, Stdio};
use computesdk_local::Local;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Room for every metric, and less than any machine has that they are worth measuring on.
const MEMORY: u64 = 512 << 20;
/// Far more than `echo` needs.
const PIDS: u64 = 256;
/// No operation takes so long; one that does has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A provider, and what it has made for us.
#[derive(Debug)]
pub(crate) struct Subject {
    provider: Arc<dyn Provider>,
    local: Option<Arc<Local>>,
    resources: Resources,
    live: Mutex<Vec<Arc<dyn Sandbox>>>,
}

/// A sandbox that has just answered, and how long that took.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) time: Duration,
}

impl Subject {
    pub(crate) fn new(name: ProviderName, interpreters: &crate::args::InterpreterArgs) -> Self {
        let local = match name {
            ProviderName::Local => {
                // The provider's own defaults: what a caller gets who says nothing.
                let mut config = session::config(interpreters);
                config.timeout = computesdk_local::LocalConfig::default().timeout;
                Arc::new(Local::new(config))
            }
        };
        let provider: Arc<dyn Provider> = Arc::clone(&local) as Arc<dyn Provider>;
        let kept = provider.capabilities().limits;
        let mut resources = Resources::default();
        resources.memory_bytes = kept.memory.then_some(MEMORY);
        // All processors: the limit is in force, and throttles nothing that is measured.
        resources.cpus = kept.cpus.then_some(machine::cpus() as f64);
        resources.pids = kept.pids.then_some(PIDS);
        Self { provider, local: Some(local), resources, live: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        self.provider.name()
    }

    /// What every sandbox is limited to.
    pub(crate) fn limits(&self) -> Limits {
        let Resources { memory_bytes, cpus, pids, .. } = self.resources;
        Limits { memory_bytes, cpus, pids }
    }

    /// Makes a sandbox and throws it away, so that whatever is started once has been. Returns its isolation.
    pub(crate) async fn warm_up(&self) -> Result<Option<String>, Error> {
        let created = self.create_and_echo().await?;
        let isolation = created.sandbox.info().await?.isolation;
        self.destroy(&created.sandbox).await?;
        Ok(isolation)
    }

    /// Makes a sandbox, to the first output of the program in it.
    pub(crate) async fn create_and_echo(&self) -> Result<Created, Error> {
        self.create_with(None).await
    }

    /// The same, with this network instead of the provider's own.
    pub(crate) async fn create_with(&self, network: Option<Network>) -> Result<Created, Error> {
        let mut options = self.options();
        options.network = network;
        within("cold_create", async {
            let started = Instant::now();
            let sandbox = self.provider.create(options).await?;
            self.live().push(Arc::clone(&sandbox));
            let process = sandbox.exec(piped(ECHO)).await?;
            let mut stdout = process.take_stdout().ok_or_else(|| broken("it gave no standard output"))?;
            let mut said = [0; 64];
            let n = stdout.read(&mut said).await.map_err(read_failed)?;
            let time = started.elapsed();
            if &said[..n] != ANSWER {
                return Err(broken(&format!("echo said {:?}", String::from_utf8_lossy(&said[..n]))));
            }
            succeeded(&*process).await?;
            Ok(Created { sandbox, time })
        })
        .await
    }

    /// A further command in a sandbox, to its exit status.
    pub(crate) async fn exec(&self, sandbox: &Arc<dyn Sandbox>) -> Result<Duration, Error> {
        let options = piped(ECHO);
        within("exec", async {
            let started = Instant::now();
            let process = sandbox.exec(options).await?;
            let status = process.wait().await?;
            let time = started.elapsed();
            if status.success() { Ok(time) } else { Err(broken(&format!("echo ended with code {}", status.code()))) }
        })
        .await
    }

    /// Ends a sandbox.
    pub(crate) async fn destroy(&self, sandbox: &Arc<dyn Sandbox>) -> Result<Duration, Error> {
        within("destroy", async {
            let started = Instant::now();
            sandbox.terminate().await?;
            let time = started.elapsed();
            self.live().retain(|live| live.id() != sandbox.id());
            Ok(time)
        })
        .await
    }

    /// Writes a file that was not there.
    pub(crate) async fn write(
        &self,
        sandbox: &Arc<dyn Sandbox>,
        path: &str,
        content: &[u8],
    ) -> Result<Duration, Error> {
        within("file_up", async {
            let started = Instant::now();
            let mut file = sandbox.files().open(path, OpenMode::Write, None).await?;
            file.write_all(content).await.map_err(write_failed)?;
            file.flush().await.map_err(write_failed)?;
            drop(file);
            Ok(started.elapsed())
        })
        .await
    }

    /// Reads a file, all of it.
    pub(crate) async fn read(&self, sandbox: &Arc<dyn Sandbox>, path: &str) -> Result<(Duration, Vec<u8>), Error> {
        within("file_down", async {
            let started = Instant::now();
            let mut file = sandbox.files().open(path, OpenMode::Read, None).await?;
            let mut content = Vec::new();
            file.read_to_end(&mut content).await.map_err(read_failed)?;
            Ok((started.elapsed(), content))
        })
        .await
    }

    /// Runs a program and reads all of its output, so many bytes at a time at most. Returns how many there were.
    pub(crate) async fn drain(
        &self,
        sandbox: &Arc<dyn Sandbox>,
        argv: &[&str],
        buffer: &mut [u8],
    ) -> Result<(Duration, usize), Error> {
        within("stdout", async {
            let started = Instant::now();
            let process = sandbox.exec(piped(argv.iter().copied())).await?;
            let mut stdout = process.take_stdout().ok_or_else(|| broken("it gave no standard output"))?;
            let mut total = 0;
            loop {
                match stdout.read(buffer).await.map_err(read_failed)? {
                    0 => break,
                    n => total += n,
                }
            }
            succeeded(&*process).await?;
            Ok((started.elapsed(), total))
        })
        .await
    }

    /// What a program writes to its standard output; it must succeed.
    pub(crate) async fn output(&self, sandbox: &Arc<dyn Sandbox>, argv: &[String]) -> Result<String, Error> {
        within("a program", async {
            let process = sandbox.exec(piped(argv.iter().map(String::as_str))).await?;
            let mut stdout = process.take_stdout().ok_or_else(|| broken("it gave no standard output"))?;
            let mut said = String::new();
            stdout.read_to_string(&mut said).await.map_err(read_failed)?;
            succeeded(&*process).await?;
            Ok(said)
        })
        .await
    }

    /// Ends everything that was made here.
    pub(crate) async fn close(&self) {
        let live = std::mem::take(&mut *self.live());
        for sandbox in live {
            // Whatever else fails, the next one is to be ended too.
            let _ = within("destroy", sandbox.terminate()).await;
        }
        if let Some(local) = &self.local {
            local.shutdown().await;
        }
    }

    fn options(&self) -> CreateOptions {
        let mut options = CreateOptions::default();
        options.resources = self.resources.clone();
        options
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Vec<Arc<dyn Sandbox>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program with its output in a pipe, as the bare one has it.
fn piped<'a>(argv: impl IntoIterator<Item = &'a str>) -> ExecOptions {
    let mut options = ExecOptions::new(argv);
    options.stdin = Stdio::Null;
    options.stderr = Stdio::Null;
    options
}

async fn succeeded(process: &dyn Process) -> Result<(), Error> {
    let status = process.wait().await?;
    if status.success() { Ok(()) } else { Err(broken(&format!("the program ended with code {}", status.code()))) }
}

/// A bounded wait.
async fn within<T>(what: &'static str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(broken(&format!("{what} took longer than {} s", PATIENCE.as_secs()))),
    }
}

/// The provider did something, and it was not what was asked for.
pub(crate) fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, "bench", format!("cannot measure: {what}"))
}

fn read_failed(error: io::Error) -> Error {
    broken("reading from the sandbox failed").with_source(error)
}

fn write_failed(error: io::Error) -> Error {
    broken("writing a file of the sandbox failed").with_source(error)
}
