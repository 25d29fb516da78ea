//! Changes of files, as the helper tells them: one JSON object a line.

use super::ModalFiles;
use super::helper::{Running, broken};
use crate::input::Input;
use crate::output::Output;
use bytes::{Buf as _, BytesMut};
use computesdk_core::{Files as _, Result, WatchEvent, WatchKind, WatchStream, async_trait};
use serde::Deserialize;
use serde_json::json;
use std::collections::VecDeque;

const OPERATION: &str = "filesystem.watch";
/// The longest line: paths are at most 4 KiB, and there are two of them.
const MOST: usize = 1 << 20;

/// Dropping it closes the helper's input, and that ends the watch.
pub(crate) struct Watch {
    _input: Input,
    _running: Running,
    output: Output,
    buffer: BytesMut,
    ready: VecDeque<WatchEvent>,
}

#[derive(Debug, Deserialize)]
struct Told {
    event_type: String,
    #[serde(default)]
    paths: Vec<String>,
}

impl Watch {
    pub(crate) async fn open(files: &ModalFiles, path: &str, recursive: bool) -> Result<Self> {
        let what = json!({ "Watch": { "path": path, "recursive": recursive, "filter": null, "timeout_secs": null } });
        let (running, input, mut output) = files.helper.start(OPERATION, path, &what).await?;
        let mut buffer = BytesMut::new();
        // The helper does not say when it begins to look. It was started before this question, and is there when the answer is.
        tokio::select! {
            // What is wrong is told at once.
            piece = output.next() => match piece {
                Some(Ok(piece)) => buffer.extend_from_slice(&piece),
                Some(Err(error)) => return Err(broken(OPERATION, path, error)),
                None => {
                    running.finish().await?;
                    let text = "the watch ended at once";
                    return Err(broken(OPERATION, path, std::io::Error::other(text)));
                }
            },
            stat = files.stat(path, true) => drop(stat?),
        }
        Ok(Self { _input: input, _running: running, output, buffer, ready: VecDeque::new() })
    }

    /// Takes whole lines out of what has come.
    fn read_lines(&mut self) {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(end);
            self.buffer.advance(1);
            self.ready.extend(events(&line));
        }
        if self.buffer.len() > MOST {
            self.buffer.clear();
        }
    }
}

/// What one line says.
fn events(line: &[u8]) -> Vec<WatchEvent> {
    let Ok(Told { event_type, paths }) = serde_json::from_slice(line) else { return Vec::new() };
    let kind = match event_type.as_str() {
        "Create" | "RenameTo" => WatchKind::Created,
        "Modify" => WatchKind::Modified,
        "Remove" | "RenameFrom" => WatchKind::Removed,
        "Rename" if paths.len() == 2 => {
            let kinds = [WatchKind::Removed, WatchKind::Created];
            return kinds.into_iter().zip(paths).map(|(kind, path)| WatchEvent { kind, path }).collect();
        }
        "Rename" => WatchKind::Modified,
        // Something was missed.
        "Unknown" => WatchKind::Overflow,
        // Reading changes nothing.
        _ => return Vec::new(),
    };
    paths.into_iter().map(|path| WatchEvent { kind, path }).collect()
}

#[async_trait]
impl WatchStream for Watch {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            self.read_lines();
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            // A broken stream is the end of the watch.
            self.buffer.extend_from_slice(&self.output.next().await?.ok()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_events() {
        let of =
            |line: &str| events(line.as_bytes()).into_iter().map(|event| (event.kind, event.path)).collect::<Vec<_>>();
        assert_eq!(of(r#"{"event_type":"Create","paths":["/a"]}"#), [(WatchKind::Created, "/a".into())]);
        let both = [(WatchKind::Removed, "/a".into()), (WatchKind::Created, "/b".into())];
        assert_eq!(of(r#"{"event_type":"Rename","paths":["/a","/b"]}"#), both);
        assert_eq!(of(r#"{"event_type":"Access","paths":["/a"]}"#), []);
        assert_eq!(of("garbage"), []);
    }
}
