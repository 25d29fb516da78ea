//! One file in JSON, as the helper program describes it.

use computesdk_core::{FileKind, FileStat};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// What clients read of a file: every key, always.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'a> {
    name: &'a str,
    path: String,
    r#type: &'static str,
    size: u64,
    /// `st_mode`, type included.
    mode: u32,
    /// Four octal digits.
    permissions: String,
    owner: String,
    group: String,
    /// Seconds since 1970.
    modified_time: f64,
    symlink_target: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// The file that was asked for by this path.
    pub(super) fn of(path: &'a str, stat: &'a FileStat) -> Self {
        let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
        Self::new(name, path.to_owned(), stat)
    }

    /// One file of the directory that was asked for.
    pub(super) fn within(directory: &str, name: &'a str, stat: &'a FileStat) -> Self {
        Self::new(name, format!("{}/{name}", directory.trim_end_matches('/')), stat)
    }

    fn new(name: &'a str, path: String, stat: &'a FileStat) -> Self {
        // Clients know these three types and refuse a whole listing that has a fourth. Of what else there is the waist does not tell which:
        // its mode has permissions alone.
        let (r#type, bits) = match stat.kind {
            FileKind::Directory => ("directory", 0o040_000),
            FileKind::Symlink => ("symlink", 0o120_000),
            FileKind::File => ("file", 0o100_000),
            _ => ("file", 0),
        };
        let permissions = stat.mode & 0o7777;
        Self {
            name,
            path,
            r#type,
            size: stat.size,
            mode: bits | permissions,
            permissions: format!("{permissions:04o}"),
            owner: stat.owner.clone().unwrap_or_else(|| stat.uid.to_string()),
            group: stat.group.clone().unwrap_or_else(|| stat.gid.to_string()),
            modified_time: seconds(stat.modified),
            symlink_target: stat.symlink_target.as_deref(),
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or_else(|before| -before.duration().as_secs_f64(), |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn stat(kind: FileKind) -> FileStat {
        FileStat {
            kind,
            size: 3,
            mode: 0o4644,
            uid: 0,
            gid: 1234,
            owner: Some("root".into()),
            group: None,
            modified: UNIX_EPOCH + Duration::from_millis(1_500),
            symlink_target: None,
        }
    }

    #[test]
    fn an_entry_has_every_key() {
        assert_eq!(
            serde_json::to_value(Entry::within("/tmp/", "a\nb", &stat(FileKind::File))).unwrap(),
            json!({
                "name": "a\nb", "path": "/tmp/a\nb", "type": "file", "size": 3, "mode": 0o104_644, "permissions": "4644",
                "owner": "root", "group": "1234", "modified_time": 1.5, "symlink_target": null,
            })
        );
        let mut link = stat(FileKind::Symlink);
        link.symlink_target = Some("../x".into());
        link.modified = UNIX_EPOCH - Duration::from_secs(2);
        let link = serde_json::to_value(Entry::of("/a/link/", &link)).unwrap();
        assert_eq!(
            (&link["name"], &link["mode"], &link["symlink_target"], &link["modified_time"]),
            (&json!("link"), &json!(0o124_644), &json!("../x"), &json!(-2.0))
        );
        let root = stat(FileKind::Directory);
        assert_eq!(serde_json::to_value(Entry::of("/", &root)).unwrap()["name"], "/");
        let device = stat(FileKind::Other);
        assert_eq!(serde_json::to_value(Entry::of("/dev/null", &device)).unwrap()["type"], "file");
    }
}
