//! One program in a sandbox.
//!
//! Its pipes are made here and only their far ends go in: nothing is copied on the way, and nothing of the caller's own
//! (terminal, files) is ever handed to the sandbox. Its time limit is kept here: when it passes, everything in the program's
//! control group is killed from outside; where it has none, its session is, by the agent. If that is not done within
//! [`OBEY_WITHIN`], the sandbox is ended.

use crate::agent::Agent;
use crate::idle::{Active, Activity};
use crate::record::Record;
use crate::sandbox::Shared;
use crate::stream::{Drains, Output, ReadStream, SharedTally, Store, Terminal, WriteStream};
use crate::{End, EngineError, descriptor};
use computesdk_guest_protocol::agent;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long the end of a program whose time is up may take before its sandbox is ended instead.
const OBEY_WITHIN: Duration = Duration::from_secs(5);
/// Time between two looks at a group that is being killed.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// `MAX_ARG_STRLEN` of the kernel (`execve(2)`): one argument with its NUL.
const MAX_STRING: usize = 128 * 1024;
/// A quarter of the usual 8 MiB stack (`execve(2)`), for arguments, environment and their pointers.
const MAX_TOTAL: usize = 2 * 1024 * 1024;

/// Where one standard stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdio {
    /// A pipe.
    #[default]
    Piped,
    /// `/dev/null`.
    Null,
    /// Standard error only: into standard output.
    Merged,
}

/// A program to start.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment but `HOME` and `USER`, which follow from the user if they are missing.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// User by name or number; `None` is root.
    pub user: Option<String>,
    /// Time limit; `None` is none.
    pub timeout: Option<Duration>,
    /// Rows and columns of a terminal.
    pub pty: Option<(u16, u16)>,
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecEnd {
    /// It exited.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// Which.
        signal: i32,
    },
    /// Its time limit passed.
    TimedOut,
    /// It failed after the kernel had killed it, or something that it started, because memory ran out.
    OutOfMemory {
        /// As a shell would report its own end: 137 if it was killed itself.
        code: i32,
    },
    /// It failed after a process or thread could not be made because of the limit.
    ProcessLimit {
        /// As a shell would report it.
        code: i32,
    },
    /// It failed, and the writable part of the file system is full.
    DiskFull {
        /// As a shell would report it.
        code: i32,
    },
    /// Its sandbox ended first.
    SandboxEnded,
}

impl ExecEnd {
    /// As a shell would report it: 128+N for signal N, 124 for a time limit, 137 if the sandbox ended.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Exited { code }
            | Self::OutOfMemory { code }
            | Self::ProcessLimit { code }
            | Self::DiskFull { code } => code,
            Self::Signalled { signal } => 128 + signal,
            Self::TimedOut => 124,
            Self::SandboxEnded => 128 + 9,
        }
    }
}

/// What a program used. `None` is not known (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExecUsage {
    /// The largest resident set of it or of a descendant that it waited for, as the sandbox told at its end.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time of the same.
    pub cpu_time: Option<Duration>,
    /// Bytes of output that left the sandbox, both streams together.
    pub output_bytes: u64,
}

/// What a program needs of its sandbox and engine to be started.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) agent: &'a Arc<Agent>,
    pub(crate) runtime: &'a Handle,
    pub(crate) sandbox: Weak<Shared>,
    pub(crate) drains: &'a Drains,
    pub(crate) store: &'a Store,
    pub(crate) open_files: u64,
    /// How long the sandbox lives at most.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) activity: &'a Activity,
}

/// A program that was started. Dropping it leaves the program running; output that nobody has taken then goes nowhere.
#[derive(Debug)]
pub struct Exec {
    number: u32,
    agent: Arc<Agent>,
    end: watch::Receiver<Option<ExecEnd>>,
    record: Arc<Record>,
    terminal: Option<Terminal>,
    streams: Mutex<Streams>,
    /// Of a sandbox with an idle time: counts it as a use until it ends.
    counted: Option<AbortHandle>,
}

#[derive(Debug, Default)]
struct Streams {
    stdin: Option<WriteStream>,
    stdout: Option<Arc<Output>>,
    stderr: Option<Arc<Output>>,
}

impl Drop for Exec {
    fn drop(&mut self) {
        let streams = self.streams.get_mut().unwrap_or_else(PoisonError::into_inner);
        [&streams.stdout, &streams.stderr].into_iter().flatten().for_each(|output| output.abandon());
    }
}

/// Waits for the end of a program, without holding its streams.
#[derive(Debug, Clone)]
pub(crate) struct ExecWatch(watch::Receiver<Option<ExecEnd>>);

impl ExecWatch {
    pub(crate) async fn wait(mut self) -> Option<ExecEnd> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|end| *end)
    }
}

impl Exec {
    pub(crate) async fn start(around: Surroundings<'_>, record: Record, spec: ExecSpec) -> Result<Self, EngineError> {
        let mut request = check(&spec)?;
        request.open_files = around.open_files;
        let mut inside = Vec::new();
        let mut streams = Streams::default();
        if spec.pty.is_none() {
            streams =
                open_pipes(spec.stdio, &mut inside, &around, &record.tally).map_err(EngineError::host("make pipes"))?;
        }
        // A limit that does not pass before the sandbox itself ends needs no group.
        let limit = spec.timeout.filter(|limit| around.lifetime.is_none_or(|lifetime| *limit < lifetime));
        let (record, group) = record.with_group(limit.is_some());
        request.group = group.is_some();
        inside.extend(group);
        let record = Arc::new(record);
        let agent = around.agent;
        let (end, terminal) = agent.exec(request, inside, &record).await?;
        let terminal = match (spec.pty, terminal) {
            (Some(_), Some(fd)) => Some(Arc::new(descriptor::terminal(fd)?)),
            (Some(_), None) => return Err(EngineError::NotAFile("the sandbox sent no terminal")),
            // One that nobody asked for is closed.
            (None, _) => None,
        };
        if let Some(terminal) = &terminal {
            // A copy, because a runtime takes each descriptor once.
            let writer = rustix::io::fcntl_dupfd_cloexec(terminal, 3);
            let writer = writer.map_err(|errno| EngineError::host("copy the terminal's descriptor")(errno.into()))?;
            streams.stdin = Some(WriteStream::terminal(Arc::new(writer), around.activity.clone()));
            streams.stdout = Some(Output::new(Arc::clone(terminal), Arc::clone(&record.tally), around.store.clone()));
        }
        [&streams.stdout, &streams.stderr].into_iter().flatten().for_each(|output| around.drains.add(output));
        let number = record.number;
        let receiver = end.subscribe();
        if let Some(limit) = spec.timeout {
            let agent = Arc::clone(agent);
            around.runtime.spawn(enforce(limit, agent, end, Arc::clone(&record), around.sandbox));
        }
        let agent = Arc::clone(agent);
        Ok(Self { number, agent, end: receiver, record, terminal, streams: Mutex::new(streams), counted: None })
    }

    /// Holds this until its end, whatever becomes of its handles.
    pub(crate) fn count(&mut self, active: Active, runtime: &Handle) {
        if active.is_counted() {
            let watch = self.watch();
            let counted = runtime.spawn(async move {
                watch.wait().await;
                drop(active);
            });
            self.counted = Some(counted.abort_handle());
        }
    }

    /// What [`Exec::count`] holds goes now.
    pub(crate) fn count_no_more(&self) {
        if let Some(counted) = &self.counted {
            counted.abort();
        }
    }

    /// Its standard input, once. With a terminal, what is typed.
    pub fn take_stdin(&self) -> Option<WriteStream> {
        self.lock().stdin.take()
    }

    /// Its standard output, once. With a terminal, everything it shows.
    pub fn take_stdout(&self) -> Option<ReadStream> {
        let is_terminal = self.terminal.is_some();
        self.lock().stdout.take().map(|output| ReadStream::new(output, is_terminal))
    }

    /// Its standard error, once.
    pub fn take_stderr(&self) -> Option<ReadStream> {
        self.lock().stderr.take().map(|output| ReadStream::new(output, false))
    }

    /// What it used; of a running one, what is known.
    #[must_use]
    pub fn usage(&self) -> ExecUsage {
        self.record.usage()
    }

    /// The last 2 KiB of its output that left the sandbox, both streams as they came.
    #[must_use]
    pub fn last_output(&self) -> String {
        self.record.tally.tail()
    }

    /// Returns when it has ended; output may still be unread.
    pub async fn wait(&self) -> ExecEnd {
        self.watch().wait().await.unwrap_or(ExecEnd::SandboxEnded)
    }

    /// Sends a signal to its process group; SIGKILL to its whole session.
    pub async fn signal(&self, signal: i32) {
        if self.end.borrow().is_none() {
            if signal == Signal::KILL.as_raw() {
                self.record.was_killed();
            }
            self.agent.signal(self.number, signal).await;
        }
    }

    /// Changes the size of its terminal; `false` if it has none.
    ///
    /// # Errors
    /// If the terminal refuses.
    pub fn resize(&self, rows: u16, cols: u16) -> io::Result<bool> {
        let Some(terminal) = &self.terminal else { return Ok(false) };
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal.as_ref(), size)?;
        Ok(true)
    }

    pub(crate) fn tally(&self) -> Arc<SharedTally> {
        Arc::clone(&self.record.tally)
    }

    pub(crate) fn watch(&self) -> ExecWatch {
        ExecWatch(self.end.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills a program when its time is up.
async fn enforce(
    limit: Duration,
    agent: Arc<Agent>,
    end: watch::Sender<Option<ExecEnd>>,
    record: Arc<Record>,
    sandbox: Weak<Shared>,
) {
    let mut ended = end.subscribe();
    if tokio::time::timeout(limit, ended.wait_for(Option::is_some)).await.is_ok() {
        return;
    }
    // Said only when it is gone, so that nobody who sees it finds the program still running: kept in mind until then.
    let (done, mut gone) = watch::channel(None);
    agent.replace_end(record.number, done);
    let deadline = Instant::now() + OBEY_WITHIN;
    agent.signal(record.number, Signal::KILL.as_raw()).await;
    loop {
        // Again and again: what was just being forked when the others were killed is found the next time.
        if let (Some(sandbox), Some(leaf)) = (sandbox.upgrade(), &record.leaf) {
            sandbox.kill_group(leaf).await;
        }
        let is_gone = tokio::time::timeout(LOOK_AGAIN, gone.wait_for(Option::is_some)).await.is_ok();
        if is_gone && record.leaf.as_ref().is_none_or(crate::cgroup::Leaf::is_empty) {
            break;
        }
        if Instant::now() > deadline {
            if let Some(sandbox) = sandbox.upgrade() {
                sandbox.end(End::HostLost { reason: String::from("it did not end a program whose time was up") });
            }
            // Its end releases the watch.
            let _ = gone.wait_for(Option::is_some).await;
            break;
        }
        if is_gone {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    end.send_if_modified(|place| {
        let first = place.is_none();
        place.get_or_insert(ExecEnd::TimedOut);
        first
    });
}

/// The ends of the pipes that stay here; those that go in are added to `inside`, in order.
fn open_pipes(
    stdio: [Stdio; 3],
    inside: &mut Vec<OwnedFd>,
    around: &Surroundings<'_>,
    tally: &Arc<SharedTally>,
) -> io::Result<Streams> {
    let mut streams = Streams::default();
    let output = |read| {
        rustix::io::ioctl_fionbio(&read, true)?;
        io::Result::Ok(Some(Output::new(Arc::new(read), Arc::clone(tally), around.store.clone())))
    };
    for (index, _) in stdio.iter().enumerate().filter(|(_, kind)| **kind == Stdio::Piped) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        match index {
            0 => {
                inside.push(read);
                streams.stdin = Some(WriteStream::pipe(write, around.activity.clone())?);
            }
            1 => {
                inside.push(write);
                streams.stdout = output(read)?;
            }
            _ => {
                inside.push(write);
                streams.stderr = output(read)?;
            }
        }
    }
    Ok(streams)
}

/// Refuses what no program can be given, before anything is sent.
fn check(spec: &ExecSpec) -> Result<agent::Exec, EngineError> {
    let invalid = |field, problem: String| Err(EngineError::Invalid { field, problem });
    if spec.argv.first().is_none_or(String::is_empty) {
        return invalid("argv", String::from("it needs a program"));
    }
    let env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for (field, strings) in [("args", &spec.argv), ("env", &env)] {
        for (index, string) in strings.iter().enumerate() {
            if let Some(at) = string.find('\0') {
                return invalid(field, format!("number {index} has a NUL byte at {at}"));
            }
            if string.len() >= MAX_STRING {
                let len = string.len();
                return invalid(field, format!("number {index} has {len} bytes, the limit is {}", MAX_STRING - 1));
            }
        }
    }
    if let Some((name, _)) = spec.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return invalid("env", format!("{name:?} is no name of a variable"));
    }
    let total: usize = spec.argv.iter().chain(&env).map(|string| string.len() + 1 + size_of::<usize>()).sum();
    if total > MAX_TOTAL - 4096 {
        return invalid("args", format!("with the environment they take {total} bytes, the limit is {MAX_TOTAL}"));
    }
    if !spec.cwd.starts_with('/') || spec.cwd.contains('\0') {
        return invalid("cwd", format!("{:?} is no absolute path", spec.cwd));
    }
    let stdio = spec.stdio.map(|kind| match kind {
        Stdio::Piped => agent::Stdio::Passed,
        Stdio::Null => agent::Stdio::Null,
        Stdio::Merged => agent::Stdio::Merged,
    });
    Ok(agent::Exec {
        exec: 0,
        argv: spec.argv.iter().map(|string| string.clone().into_bytes()).collect(),
        env: env.into_iter().map(String::into_bytes).collect(),
        cwd: spec.cwd.clone().into_bytes(),
        user: spec.user.clone(),
        pty: spec.pty,
        stdio,
        open_files: 0,
        group: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut ExecSpec)) -> String {
        let mut spec = ExecSpec { argv: vec!["true".into()], cwd: "/".into(), ..ExecSpec::default() };
        change(&mut spec);
        check(&spec).unwrap_err().to_string()
    }

    #[test]
    fn what_no_program_can_have_is_refused_by_name() {
        assert!(problem(|spec| spec.argv.clear()).contains("`argv`"));
        assert!(problem(|spec| spec.argv.push("a\0b".into())).contains("`args`: number 1 has a NUL byte at 1"));
        assert!(problem(|spec| spec.env.push(("A".into(), "\0".into()))).contains("`env`"));
        assert!(problem(|spec| spec.env.push(("A=B".into(), String::new()))).contains("`env`"));
        assert!(problem(|spec| spec.cwd = "x".into()).contains("`cwd`"));
        let long = "x".repeat(MAX_STRING);
        assert!(problem(|spec| spec.argv.push(long)).contains("the limit is 131071"));
        assert!(problem(|spec| spec.argv.extend(vec!["y".repeat(100_000); 30])).contains("the limit is 2097152"));
    }
}
