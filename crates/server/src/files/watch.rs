//! Changes below a path, in the words of the clients.

use super::operation;
use super::trouble::Trouble;
use computesdk_core::{FileKind, Files, WatchKind, WatchStream};
use serde::Serialize;

/// Most links that are followed, as many as Linux does.
const LINKS: usize = 40;

/// One change, or one that clients merely learn the kind of.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    pub(super) event_type: &'static str,
    pub(super) paths: [String; 1],
}

/// Changes as they happen. Dropping it ends the watch.
pub(super) struct Watch {
    stream: Box<dyn WatchStream>,
    /// What is watched, with no link in it.
    path: String,
}

impl Watch {
    /// Watches a file, the entries of a directory, or with `recursive` a tree.
    pub(super) async fn start(path: &str, recursive: bool, files: &dyn Files) -> Result<Self, Trouble> {
        operation::check(path)?;
        let path = resolved(path, files).await;
        match files.watch(&path, recursive).await {
            Ok(stream) => Ok(Self { stream, path }),
            Err(error) => Err(Trouble::at(&path, &error, files).await),
        }
    }

    /// The next change; `None` when there is nothing to watch any more.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = self.stream.next().await?;
        Some(match event.kind {
            WatchKind::Created => Event { event_type: "Create", paths: [event.path] },
            WatchKind::Modified => Event { event_type: "Modify", paths: [event.path] },
            WatchKind::Removed => Event { event_type: "Remove", paths: [event.path] },
            // Changes were lost. Clients pass over events without a path, so it names what is watched.
            _ => Event { event_type: "Unknown", paths: [self.path.clone()] },
        })
    }
}

/// Where a path leads: clients expect changes under the name of what a link points to. The sandbox still resolves what comes out, so a
/// link that is changed meanwhile leads nowhere that it did not lead before.
async fn resolved(path: &str, files: &dyn Files) -> String {
    let mut left: Vec<String> = names(path);
    let mut done = String::new();
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            done.truncate(done.rfind('/').unwrap_or(0));
            continue;
        }
        let next = format!("{done}/{name}");
        // What is missing, and a target that is no text, are the watch's to complain about.
        let Ok(stat) = files.stat(&next, false).await else { return path.to_owned() };
        match stat.symlink_target {
            Some(target) if stat.kind == FileKind::Symlink => {
                links += 1;
                if links > LINKS {
                    return path.to_owned();
                }
                if target.starts_with('/') {
                    done.clear();
                }
                left.extend(names(&target));
            }
            _ => done = next,
        }
    }
    if done.is_empty() { String::from("/") } else { done }
}

/// The names in a path, the last one first.
fn names(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|name| !name.is_empty() && *name != ".").map(String::from).collect()
}
