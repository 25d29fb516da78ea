//! Covering what not everybody may read.
//!
//! Through an idmapped mount the sandbox's root may read whatever the host's root can. What the host keeps from its
//! ordinary users must not be readable in a sandbox either: such files, and directories that not everybody may list and
//! enter, get a whiteout (overlay(5): a character device 0:0) in the layer above.

use super::ImageError;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Covers every such file of `host` by a whiteout in `skeleton`. Returns how many there were.
pub(super) fn cover(host: &Path, skeleton: &Path) -> Result<usize, ImageError> {
    let device = std::fs::metadata(host).map_err(ImageError::io("look at", host))?.dev();
    let mut hidden = 0;
    let mut stack = vec![host.to_path_buf()];
    while let Some(dir) = stack.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            // What vanished meanwhile, in an upgrade of a package, is not there to be read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ImageError::io("list", &dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(ImageError::io("list", &dir))?;
            // Does not follow links.
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(ImageError::io("look at", &entry.path())(error)),
            };
            if is_secret(&metadata) {
                whiteout(host, skeleton, &entry.path())?;
                hidden += 1;
            } else if metadata.is_dir() && metadata.dev() == device {
                // What is mounted below is not part of the layer: overlay does not cross mounts.
                stack.push(entry.path());
            }
        }
    }
    Ok(hidden)
}

fn is_secret(metadata: &Metadata) -> bool {
    let others = metadata.mode() & 0o007;
    if metadata.is_symlink() {
        false
    } else if metadata.is_dir() {
        others & 0o005 != 0o005
    } else {
        others & 0o004 == 0
    }
}

fn whiteout(host: &Path, skeleton: &Path, path: &Path) -> Result<(), ImageError> {
    let below = path.strip_prefix(host).unwrap_or(path);
    if let Some(parents) = below.parent() {
        mirror(host, skeleton, parents, true)?;
    }
    let to = skeleton.join(below);
    mknodat(CWD, &to, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
        .map_err(|errno| ImageError::io("make the whiteout", &to)(errno.into()))
}

/// Makes a directory in the skeleton, with its parents, each like the host's: a merged directory looks like its topmost.
/// With `owners` also in whom it belongs to, which matters where host ids are mapped.
pub(super) fn mirror(host: &Path, skeleton: &Path, below: &Path, owners: bool) -> Result<(), ImageError> {
    let (mut from, mut to) = (host.to_path_buf(), skeleton.to_path_buf());
    for part in below.components() {
        from.push(part);
        to.push(part);
        if to.is_dir() {
            continue;
        }
        let like = std::fs::metadata(&from).ok();
        let mode = like.as_ref().map_or(0o755, |like| like.mode() & 0o7777);
        let made = DirBuilder::new().mode(0o755).create(&to).and_then(|()| match &like {
            Some(like) if owners => std::os::unix::fs::chown(&to, Some(like.uid()), Some(like.gid())),
            _ => Ok(()),
        });
        // After chown, which clears some bits; and exactly, whatever the umask.
        made.and_then(|()| std::fs::set_permissions(&to, Permissions::from_mode(mode)))
            .map_err(ImageError::io("make the directory", &to))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileTypeExt as _;

    #[test]
    fn secrets_are_covered_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making whiteouts needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (host, skeleton) = (dir.path().join("host"), dir.path().join("skeleton"));
        std::fs::create_dir_all(host.join("a/closed")).unwrap();
        std::fs::create_dir(&skeleton).unwrap();
        for (name, mode) in [("a/open", 0o644), ("a/secret", 0o640), ("a/closed/file", 0o644)] {
            std::fs::write(host.join(name), "x").unwrap();
            std::fs::set_permissions(host.join(name), Permissions::from_mode(mode)).unwrap();
        }
        std::fs::set_permissions(host.join("a/closed"), Permissions::from_mode(0o711)).unwrap();
        assert_eq!(cover(&host, &skeleton).unwrap(), 2);
        for covered in ["a/secret", "a/closed"] {
            assert!(std::fs::metadata(skeleton.join(covered)).unwrap().file_type().is_char_device());
        }
        assert!(!skeleton.join("a/open").exists());
    }
}
