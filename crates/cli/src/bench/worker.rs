//! A process of ours that runs the commands of peers, because one of them needs mounts that are not this process's.
//!
//! ```text
//! compute bench ──{argv, count, in_flight}──► compute bench --worker ──► bwrap …, crun …, runc …
//!                ◄──────times, or an error───
//! ```
//!
//! One line of JSON each way. The times are taken in the worker, right beside the command, so that the way to it is in none
//! of them. The worker ends when its standard input does, after the command it is at.

use super::ANSWER;
use super::pipe::{self, Times};
use crate::exit::Exit;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// What the worker says when it is there.
const READY: &str = "ready";

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// With [`pipe::NUMBER`] where a name must be fresh.
    pub(crate) argv: Vec<String>,
    pub(crate) count: usize,
    pub(crate) in_flight: usize,
}

/// In nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Done { first: Vec<u64>, whole: Vec<u64>, wall: u64 },
    Failed(String),
}

/// The worker's main function.
pub(crate) fn serve() -> Exit {
    let stop = Arc::new(AtomicBool::new(false));
    let (send, lines) = mpsc::channel();
    let stopping = Arc::clone(&stop);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
        stopping.store(true, Ordering::Relaxed);
    });
    let mut stdout = io::stdout().lock();
    let mut say = |text: &str| writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    if say(READY).is_err() {
        return Exit::OURS;
    }
    for line in lines {
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => answer(&request, &stop),
            Err(error) => Reply::Failed(error.to_string()),
        };
        let text = serde_json::to_string(&reply).unwrap_or_default();
        if say(&text).is_err() {
            return Exit::OURS;
        }
    }
    Exit::OK
}

fn answer(request: &Request, stop: &AtomicBool) -> Reply {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match pipe::many(&request.argv, ANSWER, request.count, request.in_flight, stop) {
        Ok(done) => Reply::Done {
            first: done.times.iter().map(|times| nanos(times.first)).collect(),
            whole: done.times.iter().map(|times| nanos(times.whole)).collect(),
            wall: nanos(done.wall),
        },
        Err(error) => Reply::Failed(format!("{error}{}", last_words(&request.argv))),
    }
}

/// What the command says on standard error: it is run once more for it.
fn last_words(argv: &[String]) -> String {
    let words: Vec<_> = argv.iter().map(|word| word.replace(pipe::NUMBER, "again")).collect();
    let output = pipe::command(&words).stderr(Stdio::piped()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "));
    text.ok().filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default()
}

/// The worker's standard input. Closing it tells the worker to stop, also while somebody waits for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Input(Arc<Mutex<Option<ChildStdin>>>);

impl Input {
    pub(crate) fn close(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ChildStdin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process, as the other side holds it. Dropping it ends it, after the command it is at.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    stdin: Input,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it, by way of these words if there are any.
    pub(crate) fn start(prefix: &[String]) -> io::Result<Self> {
        let exe = std::env::current_exe()?;
        let mut command = match prefix.split_first() {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(exe);
                command
            }
            None => Command::new(exe),
        };
        command.args(["bench", "--worker"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = BufReader::new(stdout.ok_or(io::ErrorKind::BrokenPipe)?);
        let stdin = Input(Arc::new(Mutex::new(stdin)));
        let mut worker = Self { child, stdin, stdout };
        if worker.line()? == READY { Ok(worker) } else { Err(io::Error::other("the worker did not start")) }
    }

    /// A way to tell it to stop.
    pub(crate) fn input(&self) -> Input {
        self.stdin.clone()
    }

    /// Has a command run so often.
    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<pipe::Many> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.stdin.lock().as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(line.as_bytes())?;
        match serde_json::from_str(&self.line()?)? {
            Reply::Done { first, whole, wall } => {
                let times = first.into_iter().zip(whole).map(|(first, whole)| Times {
                    first: Duration::from_nanos(first),
                    whole: Duration::from_nanos(whole),
                });
                Ok(pipe::Many { times: times.collect(), wall: Duration::from_nanos(wall) })
            }
            Reply::Failed(why) => Err(io::Error::other(why)),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the worker ended"));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin.close();
        let _ = self.child.wait();
    }
}
