//! The files of a sandbox, by the helper program that Modal has in every one (section 7.7 of the notes).
//!
//! ```text
//! ModalFiles ──► helper: one operation as JSON, an exec ──► entry: what it tells of a file
//!     │              └──► reader, writer: contents as the exec's output and input      watch: changes as its lines
//!     └──► tools: mv, chmod and cat of the sandbox, for what the helper has no operation for
//! ```
//!
//! The helper knows no offsets and no modes. Reading elsewhere is reading anew up to there; writing at an offset is refused;
//! appending, renaming and modes are done by the sandbox's own programs, and refused where it has none.

mod entry;
mod helper;
mod reader;
mod tools;
mod watch;
mod writer;

use crate::check;
use crate::error::NAME;
use crate::process::unsupported;
use crate::sandbox::ModalSandbox;
use computesdk_core::{
    DirEntry, Error, ErrorKind, File, FileKind, FileStat, Files, OpenMode, Result, WatchStream, async_trait,
};
use entry::Entry;
use helper::Helper;
use serde_json::json;
use std::sync::Arc;

/// How many symbolic links are followed, as in Linux (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

#[derive(Debug, Clone)]
pub(crate) struct ModalFiles {
    helper: Helper,
}

impl ModalFiles {
    pub(crate) fn new(sandbox: Arc<ModalSandbox>) -> Self {
        Self { helper: Helper { sandbox } }
    }

    /// One entry, not followed.
    async fn entry(&self, operation: &'static str, path: &str) -> Result<Entry> {
        let told = self.helper.run(operation, path, &json!({ "Stat": { "path": path } })).await.map_err(|error| {
            // Below a file there is nothing: for who asks about a path, that is one more way not to be there.
            if error.context_value("error_kind") == Some("NotDirectory") {
                return Error::new(ErrorKind::NotFound, operation, error.to_string())
                    .with_provider(NAME)
                    .with_context("path", path)
                    .with_source(error);
            }
            error
        })?;
        entry::parse(&told).map_err(|error| helper::strange(operation, path, error))
    }

    /// What is at the end of the links.
    async fn followed(&self, operation: &'static str, path: &str) -> Result<Entry> {
        let mut at = path.to_owned();
        for _ in 0..=MOST_LINKS {
            let entry = self.entry(operation, &at).await?;
            match &entry.symlink_target {
                // The rest is for the sandbox to resolve: `..` after a link is not ours to shorten.
                Some(target) if target.starts_with('/') => at = target.clone(),
                Some(target) => {
                    let parent = at.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
                    at = format!("{parent}/{target}");
                }
                None => return Ok(entry),
            }
        }
        let error = Error::new(ErrorKind::InvalidArgument, operation, "too many levels of symbolic links");
        Err(error.with_provider(NAME).with_context("path", path))
    }

    async fn stat_of(&self, operation: &'static str, entry: Entry) -> Result<FileStat> {
        let mut stat = entry.stat();
        self.number_owners(operation, std::slice::from_mut(&mut stat)).await?;
        Ok(stat)
    }

    /// The helper tells names alone: their numbers are in the sandbox's own tables.
    async fn number_owners(&self, operation: &'static str, stats: &mut [FileStat]) -> Result<()> {
        type Part = fn(&mut FileStat) -> (&Option<String>, &mut u32);
        let tables: [(&str, Part); 2] =
            [("/etc/passwd", |stat| (&stat.owner, &mut stat.uid)), ("/etc/group", |stat| (&stat.group, &mut stat.gid))];
        for (path, part) in tables {
            if !stats.iter_mut().any(|stat| part(stat).0.as_deref().is_some_and(|name| name != "root")) {
                continue;
            }
            let table = match self.helper.run(operation, path, &json!({ "ReadFile": { "path": path } })).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                Err(error) => return Err(error),
            };
            for stat in &mut *stats {
                let (name, number) = part(stat);
                if let Some(found) = name.as_deref().and_then(|name| entry::number(&table, name)) {
                    *number = found;
                }
            }
        }
        Ok(())
    }

    /// What is there to be written to: nothing yet, or a regular file.
    async fn writable(&self, operation: &'static str, path: &str) -> Result<bool> {
        match self.followed(operation, path).await {
            Ok(entry) => match entry.kind() {
                FileKind::File => Ok(true),
                FileKind::Directory => Err(refused(operation, path, "it is a directory")),
                _ => Err(refused(operation, path, "it is no regular file")),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, path: &str, append: bool, mode: Option<u32>) -> Result<Box<dyn File>> {
        const OPERATION: &str = "filesystem.open";
        let exists = if append || mode.is_some() { self.writable(OPERATION, path).await? } else { false };
        if !(append && exists) {
            // Made or emptied now, so that what is wrong with the path is told now.
            self.helper.run(OPERATION, path, &json!({ "WriteFile": { "path": path } })).await?;
        }
        if let Some(mode) = mode.filter(|_| !exists) {
            tools::chmod(&self.helper, OPERATION, path, mode).await?;
        }
        Ok(Box::new(writer::Writer::new(self.helper.clone(), path.to_owned(), append)))
    }
}

fn refused(operation: &'static str, path: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, operation, why).with_provider(NAME).with_context("path", path)
}

#[async_trait]
impl Files for ModalFiles {
    async fn open(&self, path: &str, how: OpenMode, mode: Option<u32>) -> Result<Box<dyn File>> {
        const OPERATION: &str = "filesystem.open";
        check::absolute(OPERATION, "path", path)?;
        if let Some(mode) = mode.filter(|mode| mode & !0o7777 != 0) {
            let problem = format!("{mode:#o} has bits beyond 0o7777");
            return Err(Error::invalid(OPERATION, "mode", problem).with_provider(NAME));
        }
        match how {
            OpenMode::Read => Ok(Box::new(reader::Reader::open(self.helper.clone(), path).await?)),
            OpenMode::Write => self.write(path, false, mode).await,
            OpenMode::Append => self.write(path, true, mode).await,
            OpenMode::ReadWrite => {
                // What cannot be opened at all is told as such.
                self.writable(OPERATION, path).await?;
                let why = "on Modal a file is read, or written anew, or appended to";
                Err(unsupported(OPERATION, "read and write", why).with_context("path", path))
            }
        }
    }

    async fn stat(&self, path: &str, follow: bool) -> Result<FileStat> {
        const OPERATION: &str = "filesystem.stat";
        check::absolute(OPERATION, "path", path)?;
        let entry = if follow { self.followed(OPERATION, path).await? } else { self.entry(OPERATION, path).await? };
        self.stat_of(OPERATION, entry).await
    }

    async fn list(&self, path: &str) -> Result<Vec<DirEntry>> {
        const OPERATION: &str = "filesystem.list";
        check::absolute(OPERATION, "path", path)?;
        let told = self.helper.run(OPERATION, path, &json!({ "ListFiles": { "path": path } })).await?;
        let entries = entry::parse_list(&told).map_err(|error| helper::strange(OPERATION, path, error))?;
        let mut names = Vec::with_capacity(entries.len());
        let mut stats = Vec::with_capacity(entries.len());
        for entry in entries {
            stats.push(entry.stat());
            names.push(entry.name);
        }
        self.number_owners(OPERATION, &mut stats).await?;
        let mut entries: Vec<_> = names.into_iter().zip(stats).map(|(name, stat)| DirEntry { name, stat }).collect();
        entries.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(entries)
    }

    async fn make_dir(&self, path: &str) -> Result<()> {
        const OPERATION: &str = "filesystem.mkdir";
        check::absolute(OPERATION, "path", path)?;
        let made =
            self.helper.run(OPERATION, path, &json!({ "MakeDirectory": { "path": path, "parents": true } })).await;
        made.map(drop)
    }

    async fn remove(&self, path: &str) -> Result<()> {
        const OPERATION: &str = "filesystem.remove";
        check::absolute(OPERATION, "path", path)?;
        // The root, and what `rm` does not remove either: one never knows what is meant.
        let last = path.split('/').rfind(|part| !part.is_empty()).unwrap_or("..");
        if [".", ".."].contains(&last) {
            return Err(refused(
                OPERATION,
                path,
                "the root directory, and paths that end in `.` or `..`, are not removed",
            ));
        }
        match self.helper.run(OPERATION, path, &json!({ "Remove": { "path": path, "recursive": true } })).await {
            // What is missing is fine; a sandbox that is missing is not.
            Err(error) if error.kind() == ErrorKind::NotFound && error.context_value("error_kind").is_some() => Ok(()),
            other => other.map(drop),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        const OPERATION: &str = "filesystem.rename";
        check::absolute(OPERATION, "from", from)?;
        check::absolute(OPERATION, "to", to)?;
        // It is told apart from a missing target directory.
        self.entry(OPERATION, from).await?;
        if from == to {
            return Ok(());
        }
        tools::rename(&self.helper, OPERATION, from, to).await
    }

    async fn watch(&self, path: &str, recursive: bool) -> Result<Box<dyn WatchStream>> {
        check::absolute("filesystem.watch", "path", path)?;
        Ok(Box::new(watch::Watch::open(self, path, recursive).await?))
    }
}
