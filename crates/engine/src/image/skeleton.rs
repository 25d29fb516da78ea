//! The generated directories of the image.

use super::interpreter::{self, Interpreter};
use super::{HostImage, ImageError, ImageOptions, Layer, OwnedDir, SYSTEM_PATH, etc, hidden};
use rustix::fs::FlockOperation;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Directories of `/` with their modes. All are made also in the sandbox's own part, so that they are its root's.
const DIRECTORIES: [(&str, u32); 18] = [
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("root", 0o755),
    ("run", 0o755),
    ("srv", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
    // Mount points.
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("usr", 0o755),
    ("home/user", 0o755),
];

/// The ordinary user of the image.
pub(super) const USER: u32 = 1000;

/// Top-level directories that are links into `/usr` on most hosts, and real ones on others.
const LINKED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec"];

/// Directories below `/usr` that package managers of languages write into, besides those right below `/usr` and
/// `/usr/local`. Those that do not exist are made.
const WRITTEN: [&str; 7] = [
    "local/bin",
    "local/lib",
    "local/share",
    "local/include",
    "local/etc",
    "local/lib/node_modules",
    "lib/python3/dist-packages",
];

/// Makes the image. Everything generated is in one new directory of the cache.
pub(super) fn build(options: &ImageOptions) -> Result<HostImage, ImageError> {
    let (python, node, rejected) = interpreter::find(options)?;
    let dir = options.cache_dir.join(format!("skeleton-{}-{}", options.boot_id, crate::engine::random_name()));
    make_dir(&dir, 0o755)?;
    let root = dir.join("root");
    make_dir(&root, 0o755)?;
    let mut owned = Vec::new();
    for (path, mode) in DIRECTORIES {
        make_dir(&root.join(path), mode)?;
        if !["dev", "proc", "sys", "usr"].contains(&path) {
            let owner = if path == "home/user" { USER } else { 0 };
            owned.push(OwnedDir { path: path.to_owned(), mode, owner });
        }
    }
    if options.idmapped {
        std::os::unix::fs::chown(root.join("home/user"), Some(USER), Some(USER))
            .map_err(ImageError::io("set the owner of", &root.join("home/user")))?;
    }
    etc::write(&root.join("etc"))?;

    let mut layers = vec![Layer { target: String::from("/"), lowers: vec![root.clone()], owned }];
    layers.push(usr(options, &dir, python.as_ref())?);
    for name in LINKED {
        let host = Path::new("/").join(name);
        match std::fs::symlink_metadata(&host) {
            Ok(metadata) if metadata.is_symlink() => {
                let target = std::fs::read_link(&host).map_err(ImageError::io("read the link", &host))?;
                std::os::unix::fs::symlink(target, root.join(name))
                    .map_err(ImageError::io("make the link", &root.join(name)))?;
            }
            Ok(metadata) if metadata.is_dir() => {
                make_dir(&root.join(name), 0o755)?;
                layers.push(layer(options, &dir, &host, Vec::new())?);
            }
            _ => {}
        }
    }
    check_shell(&layers)?;
    let mut path = Vec::new();
    for prefix in [&python, &node].into_iter().flatten().filter_map(|found| found.prefix.as_ref()) {
        let bin = prefix.join("bin").display().to_string();
        if !path.contains(&bin) {
            make_parents(&root, prefix)?;
            layers.push(layer(options, &dir, prefix, interpreter_dirs(prefix))?);
            path.push(bin);
        }
    }
    path.push(SYSTEM_PATH.to_owned());
    Ok(HostImage { layers, path: path.join(":"), python, node, rejected })
}

/// Without a shell hardly anything runs. Hosts that keep their programs elsewhere (NixOS) have one that leads there.
fn check_shell(layers: &[Layer]) -> Result<(), ImageError> {
    let shell = Path::new("/bin/sh");
    let real = std::fs::canonicalize(shell).map_err(ImageError::io("find the shell", shell))?;
    let in_image = |layer: &Layer| layer.target != "/" && real.starts_with(&layer.target);
    if layers.iter().any(in_image) { Ok(()) } else { Err(ImageError::NoShell { path: real }) }
}

/// `/usr`, with `python` beside `python3`.
fn usr(options: &ImageOptions, dir: &Path, python: Option<&Interpreter>) -> Result<Layer, ImageError> {
    let usr = Path::new("/usr");
    let mut owned: Vec<OwnedDir> = Vec::new();
    let mut own = |path: String, must_be_made: bool| {
        let host = usr.join(&path);
        let mode = match std::fs::symlink_metadata(&host) {
            Ok(metadata) if metadata.is_dir() => metadata.mode() & 0o7777,
            // A directory over a link would hide what it leads to.
            Err(error) if error.kind() == io::ErrorKind::NotFound && must_be_made => 0o755,
            _ => return,
        };
        if !owned.iter().any(|dir| dir.path == path) {
            owned.push(OwnedDir { path, mode, owner: 0 });
        }
    };
    for parent in ["", "local"] {
        let mut names: Vec<_> = std::fs::read_dir(usr.join(parent))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        for name in names {
            own(Path::new(parent).join(name).display().to_string(), false);
        }
    }
    WRITTEN.iter().for_each(|path| own((*path).to_owned(), true));
    if let Some(python) = python.filter(|python| python.prefix.is_none()) {
        let minor = python.version.rsplit_once('.').map_or(&*python.version, |(minor, _)| minor);
        own(format!("local/lib/python{minor}"), true);
        own(format!("local/lib/python{minor}/dist-packages"), true);
        own(format!("local/lib/python{minor}/site-packages"), true);
    }
    let mut layer = layer(options, dir, usr, owned)?;
    let bin = Path::new("local/bin");
    for (name, target) in links(python) {
        hidden::mirror(usr, &layer.lowers[0], bin, options.idmapped)?;
        let link = layer.lowers[0].join(bin).join(name);
        std::os::unix::fs::symlink(target, &link).map_err(ImageError::io("make the link", &link))?;
    }
    layer.target = String::from("/usr");
    Ok(layer)
}

/// The names under which the image's `PATH` does not lead to the chosen Python.
fn links(python: Option<&Interpreter>) -> Vec<(&'static str, PathBuf)> {
    let Some(python) = python else { return Vec::new() };
    let bins: Vec<PathBuf> = match &python.prefix {
        Some(prefix) => vec![prefix.join("bin")],
        None => ["/usr/local/bin", "/usr/bin"].map(PathBuf::from).into(),
    };
    let chosen = std::fs::canonicalize(&python.executable).ok();
    let leads_there = |name: &str| {
        let first = bins.iter().map(|bin| bin.join(name)).find(|path| path.exists());
        // What an installation of its own calls python is not overruled.
        first.is_some_and(|first| python.prefix.is_some() || std::fs::canonicalize(first).ok() == chosen)
    };
    ["python", "python3"]
        .into_iter()
        .filter(|name| !leads_there(name))
        .map(|name| (name, PathBuf::from(&python.executable)))
        .collect()
}

/// A layer over a directory of the host, at its own path.
fn layer(options: &ImageOptions, dir: &Path, host: &Path, owned: Vec<OwnedDir>) -> Result<Layer, ImageError> {
    let skeleton = dir.join(host.display().to_string().trim_matches('/').replace('/', "-"));
    make_dir(&skeleton, 0o755)?;
    if options.idmapped {
        hidden::cover(host, &skeleton)?;
    }
    Ok(Layer { target: host.display().to_string(), lowers: vec![skeleton, host.to_path_buf()], owned })
}

/// Directories of an interpreter's prefix that installing packages writes into.
fn interpreter_dirs(prefix: &Path) -> Vec<OwnedDir> {
    let mut paths: Vec<String> = ["bin", "include", "lib", "share", "lib/node_modules"].map(String::from).into();
    for entry in std::fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("python") {
            paths.extend([format!("lib/{name}"), format!("lib/{name}/site-packages")]);
        }
    }
    paths
        .into_iter()
        .filter_map(|path| {
            let metadata = std::fs::symlink_metadata(prefix.join(&path)).ok().filter(std::fs::Metadata::is_dir)?;
            Some(OwnedDir { path, mode: metadata.mode() & 0o7777, owner: 0 })
        })
        .collect()
}

/// The mount point of a prefix, which everybody can walk to.
fn make_parents(root: &Path, prefix: &Path) -> Result<(), ImageError> {
    let mut place = root.to_path_buf();
    for part in prefix.components().skip(1) {
        place.push(part);
        match make_dir(&place, 0o755) {
            Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(())
}

/// Makes a directory with exactly this mode, whatever the umask.
fn make_dir(path: &Path, mode: u32) -> Result<(), ImageError> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(ImageError::io("make the directory", path))
}

/// Removes what no engine can be using: everything of other boots, and of this one every skeleton that no engine holds
/// and that is not young. A day is far longer than from [`super::prepare`] to [`HostImage::hold`].
pub(super) fn remove_stale(options: &ImageOptions) {
    let day = std::time::Duration::from_secs(24 * 3600);
    let descriptions: String = std::fs::read_dir(&options.cache_dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("image-"))
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect();
    for entry in std::fs::read_dir(&options.cache_dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((kind, rest)) = name.split_once('-') else { continue };
        if !matches!(kind, "image" | "skeleton" | "rung") {
            continue;
        }
        let other_boot = !rest.starts_with(&options.boot_id);
        let unused = || {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
            kind == "skeleton" && matches!(age, Ok(Ok(age)) if age > day) && !descriptions.contains(&name)
        };
        if !other_boot && !unused() {
            continue;
        }
        let path = entry.path();
        if !path.is_dir() {
            let _ = std::fs::remove_file(path);
        } else if let Ok(dir) = File::open(&path)
            && rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_skeleton_stays_and_those_of_other_boots_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = ImageOptions {
            cache_dir: dir.path().to_path_buf(),
            python: None,
            node: None,
            search_path: std::ffi::OsString::new(),
            boot_id: String::from("one"),
            idmapped: false,
        };
        let image = super::super::prepare(&options).unwrap();
        let held = image.hold().unwrap();
        let skeleton = image.layers[0].lowers[0].clone();
        options.boot_id = String::from("two");
        remove_stale(&options);
        assert!(skeleton.is_dir(), "an engine holds it");
        drop(held);
        remove_stale(&options);
        assert!(!skeleton.exists());
    }
}
