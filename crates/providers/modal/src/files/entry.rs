//! What the helper tells of a file.

use computesdk_core::{FileKind, FileStat};
use serde::Deserialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The part of a mode that is the type (`inode(7)`).
const TYPE: u32 = 0o170_000;

/// One file, in the helper's JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    #[serde(rename = "type")]
    kind: String,
    size: u64,
    mode: u32,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    group: String,
    modified_time: f64,
    pub(crate) symlink_target: Option<String>,
}

pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Entry> {
    serde_json::from_slice(bytes)
}

pub(crate) fn parse_list(bytes: &[u8]) -> serde_json::Result<Vec<Entry>> {
    serde_json::from_slice(bytes)
}

impl Entry {
    pub(crate) fn kind(&self) -> FileKind {
        match self.mode & TYPE {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            // A mode without a type: for what is none of the three words, servers have to take one of them.
            0 => match self.kind.as_str() {
                "directory" => FileKind::Directory,
                "symlink" => FileKind::Symlink,
                _ => FileKind::Other,
            },
            _ => FileKind::Other,
        }
    }

    /// As the waist has it. Of an owner with a name, the number is 0 until somebody has looked it up.
    pub(crate) fn stat(&self) -> FileStat {
        let (uid, owner) = numbered(&self.owner);
        let (gid, group) = numbered(&self.group);
        let kind = self.kind();
        FileStat {
            kind,
            size: if kind == FileKind::Directory { 0 } else { self.size },
            mode: self.mode & 0o7777,
            uid,
            gid,
            owner,
            group,
            modified: time(self.modified_time),
            symlink_target: self.symlink_target.clone(),
        }
    }
}

/// An owner is told by name, and by number if it has none.
fn numbered(owner: &str) -> (u32, Option<String>) {
    match owner.parse() {
        Ok(number) => (number, None),
        Err(_) => (0, Some(owner.to_owned()).filter(|name| !name.is_empty())),
    }
}

/// The number of a name in a table like `/etc/passwd`.
pub(crate) fn number(table: &str, name: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let number = (fields.next()? == name).then(|| fields.nth(1))??;
        number.parse().ok()
    })
}

fn time(seconds: f64) -> SystemTime {
    let distance = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
    let time = if seconds < 0.0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = r#"{"name":"l","path":"/l","type":"symlink","size":4,"mode":41471,"permissions":"0777",
        "owner":"nobody","group":"1000","modified_time":1.5,"symlink_target":"/etc","new":1}"#;

    #[test]
    fn an_entry_is_read() {
        let stat = parse(LINK.as_bytes()).unwrap().stat();
        assert_eq!((stat.kind, stat.mode, stat.size), (FileKind::Symlink, 0o777, 4));
        assert_eq!((stat.owner.as_deref(), stat.group, stat.gid), (Some("nobody"), None, 1000));
        assert_eq!(stat.symlink_target.as_deref(), Some("/etc"));
        assert_eq!(stat.modified, UNIX_EPOCH + Duration::from_millis(1500));
        assert!(parse(b"{}").is_err() && parse_list(b"{}").is_err());
    }

    #[test]
    fn a_mode_tells_the_type_and_the_word_where_it_does_not() {
        let entry = |mode: u32, kind: &str| Entry { mode, kind: kind.into(), ..parse(LINK.as_bytes()).unwrap() };
        assert_eq!(entry(0o010_644, "file").kind(), FileKind::Other, "a FIFO");
        assert_eq!(entry(0o100_644, "file").kind(), FileKind::File);
        assert_eq!(entry(0o644, "file").kind(), FileKind::Other, "what has no word of its own");
        assert_eq!(entry(0o755, "directory").kind(), FileKind::Directory);
        assert_eq!(entry(0o600, "socket").kind(), FileKind::Other);
    }

    #[test]
    fn names_are_looked_up() {
        let table = "root:x:0:0:root:/root:/bin/sh\nbroken\nnobody:x:65534:65534::/:\n";
        assert_eq!(number(table, "nobody"), Some(65534));
        assert_eq!(number(table, "root"), Some(0));
        assert_eq!(number(table, "noone"), None);
        assert_eq!(number(table, "broken"), None);
    }
}
