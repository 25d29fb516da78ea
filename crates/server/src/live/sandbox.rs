//! One sandbox, from its creation until it is forgotten.

use super::answers::Answers;
use super::exec::Exec;
use super::output::Spool;
use super::share::Shares;
use crate::files::helper::{self, HELPER};
use crate::files::old::OldFiles;
use crate::state::{EndRecord, SpecRecord};
use computesdk_core::{
    EndCause, Error, ErrorKind, ExecOptions, ExitCause, ExitStatus, Process, ProcessId, Result, Sandbox, Signal,
};
use computesdk_modal_proto::client::{ContainerFilesystemExecRequest, ContainerFilesystemExecResponse};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{OnceCell, watch};
use tonic::Status;
use tracing::Instrument as _;

/// So many execs of a sandbox are remembered, with so much output in memory; of more, those that began first and are over are
/// forgotten.
const REMEMBERED: usize = 4096;
const HELD: u64 = 64 << 20;
/// How long the last output of the main process may take to come once its sandbox has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// What identifies a sandbox to clients.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) task_id: String,
    pub(crate) workspace: String,
    pub(crate) environment: String,
    pub(crate) app_id: String,
    /// The token that asked for it, for its quota.
    pub(crate) token_id: String,
    pub(crate) created_at: SystemTime,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Live {
    identity: Identity,
    spec: SpecRecord,
    sandbox: Arc<dyn Sandbox>,
    main: Option<Arc<Exec>>,
    /// The provider does not know the main process as such: its end must be made the sandbox's.
    main_is_ours: bool,
    spool: Spool,
    execs: Mutex<Execs>,
    old_files: OldFiles,
    old_answers: Answers<ContainerFilesystemExecResponse>,
    shares: Shares,
    ready: watch::Sender<Option<SystemTime>>,
    end: watch::Sender<Option<EndRecord>>,
}

#[derive(Debug, Default)]
struct Execs {
    by_id: HashMap<String, Arc<OnceCell<Arc<Exec>>>>,
    order: VecDeque<String>,
}

impl Live {
    pub(crate) fn new(
        identity: Identity,
        spec: SpecRecord,
        sandbox: Arc<dyn Sandbox>,
        main: Option<Arc<Exec>>,
        main_is_ours: bool,
        spool: Spool,
        directory: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity,
            spec,
            main,
            main_is_ours,
            spool,
            execs: Mutex::default(),
            old_files: OldFiles::new(sandbox.files()).in_directory(directory),
            old_answers: Answers::default(),
            shares: Shares::new(Arc::clone(&sandbox)),
            sandbox,
            ready: watch::Sender::new(None),
            end: watch::Sender::new(None),
        })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn id(&self) -> &str {
        &self.identity.id
    }

    pub(crate) fn spec(&self) -> &SpecRecord {
        &self.spec
    }

    /// The provider's sandbox.
    pub(crate) fn sandbox(&self) -> &Arc<dyn Sandbox> {
        &self.sandbox
    }

    /// The process of its command, if it has one.
    pub(crate) fn main(&self) -> Option<&Arc<Exec>> {
        self.main.as_ref()
    }

    /// Handles on files, as old clients hold them.
    pub(crate) fn old_files(&self) -> &OldFiles {
        &self.old_files
    }

    /// Does what an old client asks of its files: once for each key, and to its end, whatever becomes of the client.
    ///
    /// # Errors
    /// As [`OldFiles::exec`].
    pub(crate) async fn old_files_exec(
        self: &Arc<Self>,
        key: Option<String>,
        request: ContainerFilesystemExecRequest,
    ) -> std::result::Result<ContainerFilesystemExecResponse, Status> {
        let live = Arc::clone(self);
        let work = async move {
            let work = live.old_files.exec(request);
            match &key {
                None => work.await,
                Some(key) => live.old_answers.once(key, work).await,
            }
        };
        tokio::spawn(work.in_current_span())
            .await
            .map_err(|error| Status::internal(format!("the file operation broke off: {error}")))?
    }

    /// Ports for those who show a token.
    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Why it ended, if it has.
    pub(crate) fn end(&self) -> Option<EndRecord> {
        self.end.borrow().clone()
    }

    /// Returns when it has ended and everybody knows.
    pub(crate) async fn ended(&self) -> EndRecord {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            // The sender is part of `self`.
            _ => EndRecord { cause: EndCause::HostLost { reason: "the server stopped".into() }, exit_code: 137 },
        }
    }

    /// Says that it has ended. The first reason stands.
    pub(crate) fn set_end(&self, record: EndRecord) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(record);
            is_first
        });
        self.shares.close();
    }

    pub(crate) fn set_ready(&self, at: SystemTime) {
        self.ready.send_replace(Some(at));
    }

    /// Returns when it is ready, or has ended: `None`.
    pub(crate) async fn ready(&self) -> Option<SystemTime> {
        let mut ready = self.ready.subscribe();
        tokio::select! {
            biased;
            at = ready.wait_for(Option::is_some) => at.ok().and_then(|at| *at),
            _ = self.ended() => None,
        }
    }

    /// How much output is in memory, its own and its execs'.
    pub(crate) fn held(&self) -> u64 {
        self.main.as_ref().map_or(0, |main| main.held()) + self.execs().held()
    }

    fn execs(&self) -> MutexGuard<'_, Execs> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process, or returns the one that was started with this id.
    ///
    /// # Errors
    /// As [`Sandbox::exec`]; an id whose start failed may be used again.
    pub(crate) async fn exec(self: &Arc<Self>, id: &str, options: ExecOptions) -> Result<Arc<Exec>> {
        let cell = {
            let mut execs = self.execs();
            execs.make_room();
            if !execs.by_id.contains_key(id) {
                execs.order.push_back(id.to_owned());
            }
            Arc::clone(execs.by_id.entry(id.to_owned()).or_default())
        };
        // In a task of its own, with the cell: a client that goes away in the middle and comes again finds this process, with its output.
        let (live, id) = (Arc::clone(self), id.to_owned());
        let start = async move {
            let started = cell.get_or_try_init(|| live.start(&id, options)).await.cloned();
            if started.is_err() {
                live.execs().forget_failed(&id, cell);
            }
            started
        };
        tokio::spawn(start.in_current_span()).await.map_err(|error| {
            Error::new(ErrorKind::Unexpected, "sandbox.exec", "the process was not started").with_source(error)
        })?
    }

    async fn start(self: &Arc<Self>, id: &str, mut options: ExecOptions) -> Result<Arc<Exec>> {
        if self.end().is_some() {
            return Err(self.has_ended());
        }
        let process_id = ProcessId::new(id);
        let has_terminal = options.pty.is_some();
        let process = if options.argv.first().is_some_and(|program| program == HELPER) {
            self.help(process_id, &options)
        } else {
            options.id = Some(process_id);
            self.sandbox.exec(options).instrument(tracing::info_span!("provider.exec")).await?
        };
        Ok(Exec::take_over(process, &self.spool, has_terminal))
    }

    /// What the helper program would do, which no sandbox has. Its time limit and the end of the sandbox are kept here: nothing runs
    /// in there that they could end.
    fn help(self: &Arc<Self>, id: ProcessId, options: &ExecOptions) -> Arc<dyn Process> {
        let process = helper::start(self.sandbox.files(), id, &options.argv[1..]);
        let (live, watched) = (Arc::clone(self), Arc::clone(&process));
        let limit = options.timeout.unwrap_or(Duration::MAX);
        tokio::spawn(async move {
            tokio::select! {
                _ = watched.wait() => return,
                () = tokio::time::sleep(limit) => {}
                _ = live.ended() => {}
            }
            // It has ended by itself just now.
            let _ = watched.signal(Signal::KILL).await;
        });
        process
    }

    /// The process that was started with this id.
    pub(crate) fn find_exec(&self, id: &str) -> Option<Arc<Exec>> {
        self.execs().by_id.get(id)?.get().cloned()
    }

    /// Its ids, for clients that name an exec alone.
    pub(crate) fn has_exec(&self, id: &str) -> bool {
        self.execs().by_id.contains_key(id)
    }

    /// What a call on it is answered with once it has ended.
    pub(crate) fn has_ended(&self) -> Error {
        let why = self.end().map_or_else(String::new, |end| format!(": {}", end.cause));
        Error::new(ErrorKind::NotFound, "sandbox", format!("sandbox {} has ended{why}", self.identity.id))
    }

    /// Waits for its end and says why it came.
    pub(crate) async fn watch(&self) -> EndRecord {
        let over = self.sandbox.wait();
        let cause = match &self.main {
            Some(main) if self.main_is_ours => tokio::select! {
                cause = over => cause,
                status = main.wait() => self.end_with(status).await,
            },
            _ => over.await,
        };
        let cause = cause.unwrap_or_else(|error| EndCause::HostLost { reason: error.to_string() });
        let mut exit_code = code_of(&cause);
        if let Some(main) = &self.main {
            // Its last words belong to it, and a main process that was killed with its sandbox has no code of its own.
            let _ = tokio::time::timeout(LAST_OUTPUT, main.drained()).await;
            if let (Some(status), false) =
                (main.status(), matches!(cause, EndCause::TimedOut | EndCause::IdleTimedOut | EndCause::Terminated))
            {
                exit_code = status.code();
            }
        }
        EndRecord { cause, exit_code }
    }

    /// The main process has ended: so does the sandbox.
    async fn end_with(&self, status: ExitStatus) -> Result<EndCause> {
        if status.cause == ExitCause::SandboxEnded {
            return self.sandbox.wait().await;
        }
        if let Some(main) = &self.main {
            let _ = tokio::time::timeout(LAST_OUTPUT, main.drained()).await;
        }
        self.sandbox.terminate().await?;
        Ok(match status.cause {
            ExitCause::OutOfMemory { .. } => EndCause::OutOfMemory,
            ExitCause::ProcessLimit { .. } => EndCause::ProcessLimit,
            ExitCause::DiskFull { .. } => EndCause::DiskFull,
            _ => EndCause::Exited { code: status.code() },
        })
    }
}

/// What Modal's clients show for an end that has no code of its own.
pub(crate) fn code_of(cause: &EndCause) -> i32 {
    match cause {
        EndCause::Exited { code } => *code,
        EndCause::TimedOut | EndCause::IdleTimedOut => 124,
        _ => 128 + 9,
    }
}

impl Execs {
    fn make_room(&mut self) {
        let mut held = self.held();
        while self.by_id.len() >= REMEMBERED || held > HELD {
            let is_over = |id: &String| match self.by_id.get(id).map(|cell| cell.get()) {
                Some(exec) => exec.is_some_and(|exec| exec.is_over()),
                None => true,
            };
            let Some(at) = self.order.iter().position(is_over) else { return };
            let gone = self.order.remove(at).and_then(|id| self.by_id.remove(&id));
            held -= gone.and_then(|cell| cell.get().map(|exec| exec.held())).unwrap_or(0).min(held);
        }
    }

    fn held(&self) -> u64 {
        self.by_id.values().filter_map(|cell| cell.get()).map(|exec| exec.held()).sum()
    }

    /// Unless somebody else is trying again with the same cell.
    fn forget_failed(&mut self, id: &str, cell: Arc<OnceCell<Arc<Exec>>>) {
        drop(cell);
        if self.by_id.get(id).is_some_and(|cell| cell.get().is_none() && Arc::strong_count(cell) == 1) {
            self.by_id.remove(id);
            self.order.retain(|known| known != id);
        }
    }
}
