//! The operations of the helper program, each between the streams of its process.

use super::super::entry::Entry;
use super::super::operation;
use super::super::pipe::{Reader, Writer};
use super::super::trouble::{Trouble, Why};
use super::super::watch::Watch;
use super::Ends;
use super::call::{Arguments, Call, Operation, name};
use computesdk_core::{ExitCause, Files, OpenMode};
use serde::Serialize;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufReader, copy_buf, sink};

/// Larger files are not read: clients keep them in memory.
const MAX_READ: u64 = 5 << 30;
/// Bytes that are moved at a time.
const PIECE: usize = 256 * 1024;
/// Most characters of a path or a reason in an error.
const MAX_TEXT: usize = 4096;
/// What a program gets that writes to where nobody reads.
const SIGPIPE: i32 = 13;

/// Why an operation did not get to its end.
enum Stop {
    Trouble(Trouble),
    /// Nobody reads what it writes.
    NobodyReads,
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// A failure, as clients parse it.
#[derive(Serialize)]
struct Report<'a> {
    error_kind: &'a str,
    message: &'a str,
    detail: &'a str,
}

pub(super) async fn run(files: &dyn Files, call: Result<Call, String>, ends: &mut Ends) -> ExitCause {
    let (kind, message, detail) = match call {
        Err(problem) => ("InvalidInput", problem.clone(), problem),
        Ok(Call { operation, arguments }) => match perform(files, operation, &arguments, ends).await {
            Ok(()) => return ExitCause::Exited { code: 0 },
            Err(Stop::NobodyReads) => return ExitCause::Signalled { signal: SIGPIPE },
            Err(Stop::Trouble(trouble)) => {
                let text = trouble.to_string();
                match operation.known(trouble.why) {
                    // Clients add the path to what they know.
                    Some(kind) => (kind, text, trouble.detail),
                    None => (name(trouble.why), format!("{text}: {}", arguments.path), trouble.detail),
                }
            }
        },
    };
    let report = Report { error_kind: kind, message: cut(&message), detail: cut(&detail) };
    if let Ok(json) = serde_json::to_vec(&report) {
        // Whoever does not read it has the exit code.
        let _ = ends.stderr.write_all(&json).await;
    }
    ExitCause::Exited { code: 1 }
}

/// The beginning of a text, so that a report fits into a pipe that nobody reads.
fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_TEXT).map_or(text, |(end, _)| &text[..end])
}

async fn perform(files: &dyn Files, what: Operation, to: &Arguments, ends: &mut Ends) -> Result<(), Stop> {
    operation::check(&to.path)?;
    match what {
        Operation::ReadFile => read(files, &to.path, &mut ends.stdout).await,
        Operation::WriteFile => Ok(write(files, &to.path, &mut ends.stdin).await?),
        Operation::ListFiles => {
            let entries = operation::list(&to.path, files).await?;
            let entries: Vec<_> =
                entries.iter().map(|entry| Entry::within(&to.path, &entry.name, &entry.stat)).collect();
            print(&entries, "", &mut ends.stdout).await
        }
        Operation::Stat => match files.stat(&to.path, false).await {
            Ok(stat) => print(&Entry::of(&to.path, &stat), "", &mut ends.stdout).await,
            Err(error) => Err(Trouble::at(&to.path, &error, files).await.into()),
        },
        Operation::MakeDirectory => Ok(operation::make_directory(&to.path, to.parents, files).await?),
        Operation::Remove => Ok(operation::remove(&to.path, to.recursive, files).await?),
        Operation::Watch => watch_path(files, to, ends).await,
    }
}

async fn read(files: &dyn Files, path: &str, stdout: &mut Writer) -> Result<(), Stop> {
    let mut file = match files.open(path, OpenMode::Read, None).await {
        Ok(file) => file,
        Err(error) => return Err(Trouble::at(path, &error, files).await.into()),
    };
    let size = file.seek(io::SeekFrom::End(0)).await.map_err(Trouble::from)?;
    let too_large = || Trouble::new(Why::TooLarge, format!("{path} has more than {MAX_READ} bytes"));
    if size > MAX_READ {
        return Err(too_large().into());
    }
    file.rewind().await.map_err(Trouble::from)?;
    let mut from = BufReader::with_capacity(PIECE, file.take(MAX_READ + 1));
    let copied = copy_buf(&mut from, stdout).await.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::NobodyReads,
        _ => Stop::Trouble(error.into()),
    })?;
    // It grew while it was read.
    if copied > MAX_READ { Err(too_large().into()) } else { Ok(()) }
}

async fn write(files: &dyn Files, path: &str, stdin: &mut Reader) -> Result<(), Trouble> {
    let mut file = match files.open(path, OpenMode::Write, None).await {
        Ok(file) => file,
        Err(error) => return Err(Trouble::at(path, &error, files).await),
    };
    copy_buf(&mut BufReader::with_capacity(PIECE, stdin), &mut file).await?;
    // Some files write behind, and tell of a full disk only here.
    file.shutdown().await?;
    Ok(())
}

async fn print<T: Serialize + ?Sized>(value: &T, after: &str, stdout: &mut Writer) -> Result<(), Stop> {
    let mut json = serde_json::to_vec(value).map_err(|error| Trouble::new(Why::Other, format!("no JSON: {error}")))?;
    json.extend_from_slice(after.as_bytes());
    stdout.write_all(&json).await.map_err(|_| Stop::NobodyReads)
}

/// Prints changes until the time is up, standard input ends, nobody reads any more, or nothing is left to watch.
async fn watch_path(files: &dyn Files, to: &Arguments, ends: &mut Ends) -> Result<(), Stop> {
    let limit = match to.timeout_secs.map(Duration::try_from_secs_f64).transpose() {
        Ok(limit) => limit,
        Err(error) => return Err(Trouble::new(Why::Invalid, format!("timeout_secs: {error}")).into()),
    };
    let mut watch = Watch::start(&to.path, to.recursive, files).await?;
    let wants = |kind: &str| to.filter.as_ref().is_none_or(|kinds| kinds.iter().any(|wanted| wanted == kind));
    let Ends { stdin, stdout, stdout_gone, .. } = ends;
    let mut ignored = sink();
    let input_ends = pin!(tokio::io::copy(stdin, &mut ignored));
    let nobody_reads = async {
        match stdout_gone.take() {
            Some(gone) => gone.wait().await,
            None => std::future::pending().await,
        }
    };
    let time_is_up = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let changes = async {
        while let Some(event) = watch.next().await {
            if wants(event.event_type) {
                print(&event, "\n", stdout).await?;
            }
        }
        Ok(())
    };
    tokio::select! {
        _ = input_ends => Ok(()),
        () = nobody_reads => Err(Stop::NobodyReads),
        () = time_is_up => Ok(()),
        printed = changes => printed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ß".repeat(2 * MAX_TEXT);
        assert_eq!(cut(&long).chars().count(), MAX_TEXT);
        assert_eq!(cut("short"), "short");
    }
}
