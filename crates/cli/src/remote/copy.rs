//! Copying files and trees between this machine and a sandbox.
//!
//! The sandbox is not trusted with where things go: names that it tells are names or are left out, nothing here is reached through a
//! link, and no link is made here. Modes are kept without setuid, setgid and sticky bits.

use crate::exit::Failure;
use crate::printer::Printer;
use computesdk::core::{DirEntry, FileKind, Files, OpenMode};
use computesdk::{Error, ErrorKind, FileStat};
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

const OPERATION: &str = "cp";
/// Bytes that are copied at a time.
const PIECE: usize = 256 << 10;
/// Files that are copied at a time.
const AT_A_TIME: usize = 8;
/// How often somebody at a terminal is told how far it is.
const TICK: Duration = Duration::from_millis(100);
/// How deep trees may be: what is deeper was made to be.
const DEPTH: usize = 200;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A path of this machine.
    Here(PathBuf),
    /// An absolute path in a sandbox.
    There {
        /// Name or id.
        target: String,
        /// The path.
        path: String,
    },
}

impl Place {
    /// `NAME:/path` is in a sandbox, everything else is here.
    pub(crate) fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((target, path)) if !target.is_empty() && !target.contains('/') && path.starts_with('/') => {
                Self::There { target: target.to_owned(), path: path.to_owned() }
            }
            _ => Self::Here(PathBuf::from(text)),
        }
    }
}

/// What was copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Copied {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// A copy under way: several files at a time, since each is some questions and answers.
pub(crate) struct Copier {
    shared: Arc<Shared>,
    running: JoinSet<Result<(), Failure>>,
}

/// What the copies of single files have in common.
struct Shared {
    files: Arc<dyn Files>,
    printer: Printer,
    copied: Mutex<Copied>,
    /// When somebody was told last; `None` if nobody is to be told.
    told: Mutex<Option<Instant>>,
}

impl Copier {
    pub(crate) fn new(files: Arc<dyn Files>, printer: Printer) -> Self {
        let told = (io::stderr().is_terminal() && !printer.is_json()).then(Instant::now);
        let shared = Shared { files, printer, copied: Mutex::default(), told: Mutex::new(told) };
        Self { shared: Arc::new(shared), running: JoinSet::new() }
    }

    /// Waits for what is under way; what was copied in all.
    pub(crate) async fn finish(mut self, walked: Result<(), Failure>) -> Result<Copied, Failure> {
        let outcome = match walked {
            Ok(()) => self.at_most(0).await,
            failed => failed,
        };
        // Those that are left end half-way: one has failed.
        self.running.shutdown().await;
        self.shared.clear();
        outcome?;
        Ok(*lock(&self.shared.copied))
    }

    /// Waits until no more than so many are under way.
    async fn at_most(&mut self, count: usize) -> Result<(), Failure> {
        while self.running.len() > count {
            match self.running.join_next().await {
                Some(Ok(copied)) => copied?,
                Some(Err(error)) => {
                    let text = "copying a file ended unexpectedly";
                    return Err(Error::new(ErrorKind::Unexpected, OPERATION, text).with_source(error).into());
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    async fn upload_file(&mut self, from: &Path, to: &str, mode: u32) -> Result<(), Failure> {
        self.at_most(AT_A_TIME - 1).await?;
        let (shared, from, to) = (Arc::clone(&self.shared), from.to_owned(), to.to_owned());
        self.running.spawn(async move { shared.upload_file(&from, &to, mode).await });
        Ok(())
    }

    async fn download_file(&mut self, from: &str, to: &Path, stat: &FileStat) -> Result<(), Failure> {
        self.at_most(AT_A_TIME - 1).await?;
        let (shared, from, to, mode) = (Arc::clone(&self.shared), from.to_owned(), to.to_owned(), stat.mode);
        self.running.spawn(async move { shared.download_file(&from, &to, mode).await });
        Ok(())
    }

    /// From here to the sandbox.
    pub(crate) async fn upload(&mut self, from: &Path, to: &str) -> Result<(), Failure> {
        let meta = std::fs::metadata(from).map_err(|error| here("read", from, error))?;
        let name = file_name(from);
        let to = match self.shared.files.stat(to, true).await {
            Ok(stat) if stat.kind == FileKind::Directory => match name {
                Some(name) => join(to, &name),
                None => to.to_owned(),
            },
            Ok(_) => to.to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => match (to.ends_with('/') && meta.is_file(), name) {
                // It is said to be a directory, and is made.
                (true, Some(name)) => join(to, &name),
                _ => to.to_owned(),
            },
            Err(error) => return Err(error.into()),
        };
        if meta.is_dir() {
            self.upload_tree(from.to_owned(), to).await
        } else if meta.is_file() {
            self.upload_file(from, &to, mode_of(&meta)).await
        } else {
            let text = format!("{} is neither a file nor a directory", from.display());
            Err(Error::new(ErrorKind::InvalidArgument, OPERATION, text).into())
        }
    }

    async fn upload_tree(&mut self, from: PathBuf, to: String) -> Result<(), Failure> {
        let mut waiting = vec![(from, to, 0)];
        while let Some((from, to, depth)) = waiting.pop() {
            check_depth(depth, &from.display())?;
            self.shared.files.make_dir(&to).await?;
            let mut entries = std::fs::read_dir(&from)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .map_err(|error| here("read", &from, error))?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let path = entry.path();
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                    self.shared.left_out(&path.display(), "its name is no text");
                    continue;
                };
                let kind = entry.file_type().map_err(|error| here("read", &path, error))?;
                let to = join(&to, &name);
                if kind.is_dir() {
                    waiting.push((path, to, depth + 1));
                    continue;
                }
                // A link is looked through, to a file and no further.
                match std::fs::metadata(&path) {
                    Ok(meta) if meta.is_file() => self.upload_file(&path, &to, mode_of(&meta)).await?,
                    Ok(meta) if meta.is_dir() => self.shared.left_out(&path.display(), "it is a link to a directory"),
                    Ok(_) => self.shared.left_out(&path.display(), "it is neither a file nor a directory"),
                    Err(_) if kind.is_symlink() => self.shared.left_out(&path.display(), "it is a link to nothing"),
                    Err(error) => return Err(here("read", &path, error)),
                }
            }
        }
        Ok(())
    }

    /// From the sandbox to here.
    pub(crate) async fn download(&mut self, from: &str, to: &Path) -> Result<(), Failure> {
        let stat = self.shared.files.stat(from, true).await.map_err(|error| there("read", from, error))?;
        let name = from.split('/').rfind(|part| !part.is_empty()).filter(|name| is_name(name));
        let is_directory = std::fs::metadata(to).is_ok_and(|meta| meta.is_dir());
        let says_directory = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        let to = match name {
            Some(name) if is_directory || (says_directory && stat.kind == FileKind::File) => to.join(name),
            _ => to.to_owned(),
        };
        match stat.kind {
            FileKind::Directory => self.download_tree(from.to_owned(), to).await,
            FileKind::File => self.download_file(from, &to, &stat).await,
            _ => {
                let text = format!("{from} is neither a file nor a directory");
                Err(Error::new(ErrorKind::InvalidArgument, OPERATION, text).into())
            }
        }
    }

    async fn download_tree(&mut self, from: String, to: PathBuf) -> Result<(), Failure> {
        let mut waiting = vec![(from, to, 0)];
        while let Some((from, to, depth)) = waiting.pop() {
            check_depth(depth, &from)?;
            make_directory(&to)?;
            for entry in self.shared.files.list(&from).await.map_err(|error| there("read", &from, error))? {
                let DirEntry { name, mut stat } = entry;
                let path = join(&from, &name);
                if !is_name(&name) {
                    self.shared.left_out(&format_args!("{path:?}"), "its name is none that can be used");
                    continue;
                }
                if stat.kind == FileKind::Symlink {
                    // A link is looked through, to a file and no further.
                    match self.shared.files.stat(&path, true).await {
                        Ok(target) if target.kind == FileKind::File => stat = target,
                        Ok(target) if target.kind == FileKind::Directory => {
                            self.shared.left_out(&path, "it is a link to a directory");
                            continue;
                        }
                        _ => {
                            self.shared.left_out(&path, "it is a link to nothing that can be copied");
                            continue;
                        }
                    }
                }
                match stat.kind {
                    FileKind::Directory => waiting.push((path, to.join(&name), depth + 1)),
                    FileKind::File => self.download_file(&path, &to.join(&name), &stat).await?,
                    _ => self.shared.left_out(&path, "it is neither a file nor a directory"),
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    async fn upload_file(&self, from: &Path, to: &str, mode: u32) -> Result<(), Failure> {
        let mut source = tokio::fs::File::open(from).await.map_err(|error| here("read", from, error))?;
        // The usual mode is what it gets anyhow.
        let mode = (mode != 0o644).then_some(mode);
        let mut target = self.files.open(to, OpenMode::Write, mode).await.map_err(|error| there("write", to, error))?;
        let mut buffer = vec![0; PIECE];
        loop {
            let count = source.read(&mut buffer).await.map_err(|error| here("read", from, error))?;
            if count == 0 {
                break;
            }
            target.write_all(&buffer[..count]).await.map_err(|error| broke("write", to, error))?;
            self.advance(count);
        }
        target.shutdown().await.map_err(|error| broke("write", to, error))?;
        lock(&self.copied).files += 1;
        Ok(())
    }

    async fn download_file(&self, from: &str, to: &Path, mode: u32) -> Result<(), Failure> {
        let source = self.files.open(from, OpenMode::Read, None).await;
        let mut source = source.map_err(|error| there("read", from, error))?;
        let mut target = create_file(to, mode).map_err(|error| here("write", to, error))?;
        let mut buffer = vec![0; PIECE];
        loop {
            let count = source.read(&mut buffer).await.map_err(|error| broke("read", from, error))?;
            if count == 0 {
                break;
            }
            target.write_all(&buffer[..count]).map_err(|error| here("write", to, error))?;
            self.advance(count);
        }
        target.flush().map_err(|error| here("write", to, error))?;
        lock(&self.copied).files += 1;
        Ok(())
    }

    fn advance(&self, count: usize) {
        let Copied { files, bytes } = {
            let mut copied = lock(&self.copied);
            copied.bytes += count as u64;
            *copied
        };
        if let Some(told) = &mut *lock(&self.told)
            && told.elapsed() >= TICK
        {
            *told = Instant::now();
            let _ = write!(io::stderr(), "\r\x1b[K{files} files, {}", crate::size::show(bytes));
        }
    }

    /// Takes the line away that tells how far it is.
    fn clear(&self) {
        if lock(&self.told).is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn left_out(&self, what: &dyn std::fmt::Display, why: &str) {
        self.clear();
        self.printer.note(&format!("compute: left out: {what}: {why}"));
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this is one name below a directory, whoever told it.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0', '\u{fffd}'])
}

fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

/// The last name of a path; `None` for those that have none, such as `.` and `/`.
fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn mode_of(meta: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    meta.permissions().mode() & 0o777
}

/// A directory, not reached through a link that was put there.
fn make_directory(path: &Path) -> Result<(), Failure> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(here("make", path, error)),
    }
}

/// A file to be written, emptied if it is there.
fn create_file(path: &Path, mode: u32) -> io::Result<std::fs::File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mode = mode & 0o777;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode | 0o200).open(path)?;
    if mode & 0o111 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(mode | 0o200))?;
    }
    Ok(file)
}

fn check_depth(depth: usize, path: &dyn std::fmt::Display) -> Result<(), Failure> {
    if depth <= DEPTH {
        return Ok(());
    }
    let text = format!("{path} is more than {DEPTH} directories deep");
    Err(Error::new(ErrorKind::InvalidArgument, OPERATION, text).into())
}

/// Something went wrong with a file of this machine.
fn here(verb: &str, path: &Path, error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::FailedPrecondition,
    };
    let text = format!("cannot {verb} {}", path.display());
    Error::new(kind, OPERATION, text).with_source(error).into()
}

/// Something went wrong with a file of the sandbox.
fn there(verb: &str, path: &str, error: Error) -> Failure {
    let text = format!("cannot {verb} {path} in the sandbox: {error}");
    error.with_message(text).into()
}

/// The same, half-way.
fn broke(verb: &str, path: &str, error: io::Error) -> Failure {
    let text = format!("cannot {verb} {path} in the sandbox: {error}");
    Error::new(ErrorKind::Unavailable, OPERATION, text).with_source(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_absolute_path_are_in_a_sandbox() {
        let there = |target: &str, path: &str| Place::There { target: target.into(), path: path.into() };
        assert_eq!(Place::parse("box:/a:b"), there("box", "/a:b"));
        assert_eq!(Place::parse("sb-1:/"), there("sb-1", "/"));
        for here in ["a", "./a:/b", "/a:/b", "a:b", ":/a", "C:\\x"] {
            assert_eq!(Place::parse(here), Place::Here(here.into()));
        }
    }

    #[test]
    fn only_names_are_names() {
        assert!(is_name("a") && is_name("..a") && is_name(" ") && is_name("ž"));
        for bad in ["", ".", "..", "a/b", "/", "a\0", "\u{fffd}"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a/", "b"), "/a/b");
    }
}
