//! The host image: the root file system of sandboxes, from what is installed here, with nothing downloaded.
//!
//! ```text
//! /            [skeleton/root]                generated: mount points, /etc, /root, /home, /tmp, …
//! /usr         [skeleton/usr, host's /usr]    the host's programs and libraries
//! /bin /lib …  links into /usr as on the host, or layers of their own where the host has real directories
//! PREFIX       [skeleton/N, PREFIX]           an interpreter outside /usr (pyenv, nvm, uv, conda), at its own path
//! ```
//!
//! Each layer is an overlay that sandboxes write into without changing the host. It is an allow-list: a directory of the
//! host that is not a layer is not there. Guarantees:
//!
//! * Of `/etc`, files on a list and readable by everybody are copied; accounts, host names and resolvers are generated.
//! * Where the sandbox's root could read what only the host's root may (idmapped layers), every file and directory that
//!   is not readable by everybody is covered by a whiteout. A file can turn secret later, so a description older than an
//!   hour, or than the last change of a package database, is made anew.
//! * A warm [`prepare`] reads one file and looks at a handful of others.

mod etc;
mod hidden;
mod interpreter;
mod skeleton;

pub use interpreter::{Interpreter, Rejected};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Changes with the layout, so that an older build's files are not taken.
const FORMAT: u32 = 2;

/// How long the list of hidden files is believed.
const BELIEVED: Duration = Duration::from_secs(3600);

/// Databases of package managers: they change when `/usr` does.
const PACKAGE_DATABASES: [&str; 5] = [
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/lib/apk/db/installed",
    "/var/lib/pacman/local",
];

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the image is made from.
#[derive(Debug, Clone)]
pub(crate) struct ImageOptions {
    pub(crate) cache_dir: PathBuf,
    pub(crate) python: Option<PathBuf>,
    pub(crate) node: Option<PathBuf>,
    /// The host's `PATH`, along which interpreters are looked for.
    pub(crate) search_path: OsString,
    pub(crate) boot_id: String,
    /// The sandbox's root will be able to read whatever the host's root can.
    pub(crate) idmapped: bool,
}

/// The image could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// An interpreter that the caller named is none.
    #[error("invalid `{field}`: {path}: {why}")]
    Interpreter {
        /// `python` or `node`.
        field: &'static str,
        /// What was named.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This host keeps its programs where the image does not take them from.
    #[error("this host's /bin/sh leads to {path}, which is outside /usr: its programs cannot be offered to sandboxes")]
    NoShell {
        /// Where the shell is.
        path: PathBuf,
    },
    /// A file could not be read or made.
    #[error("{what} {path}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    /// Whether it stands in the way of every rung, not only of the one for which the image was made.
    pub(crate) fn is_everywhere(&self) -> bool {
        matches!(self, Self::Interpreter { .. } | Self::NoShell { .. })
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

/// The root file system of sandboxes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostImage {
    /// Overlays, in the order in which they are mounted; the first is `/`.
    pub(crate) layers: Vec<Layer>,
    /// `PATH` inside.
    pub path: String,
    /// The Python inside.
    pub python: Option<Interpreter>,
    /// The Node.js inside.
    pub node: Option<Interpreter>,
    /// Interpreters that were found and not taken.
    pub rejected: Vec<Rejected>,
}

impl HostImage {
    /// Keeps the generated part of the image on disk as long as the returned file is open: [`skeleton::remove_stale`]
    /// leaves alone what is locked.
    pub(crate) fn hold(&self) -> io::Result<File> {
        let skeleton = self.layers.first().and_then(|layer| layer.lowers.first()?.parent());
        let dir = File::open(skeleton.ok_or(io::ErrorKind::NotFound)?)?;
        rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared)?;
        Ok(dir)
    }
}

/// One overlay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Absolute path inside.
    pub(crate) target: String,
    /// Host directories, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Directories that must belong to the sandbox's root where the host's ids are not mapped.
    pub(crate) owned: Vec<OwnedDir>,
}

/// A directory of a layer, made anew in the sandbox's own part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnedDir {
    /// Path relative to the layer.
    pub(crate) path: String,
    /// Permission bits.
    pub(crate) mode: u32,
    /// User and group inside.
    pub(crate) owner: u32,
}

/// What is kept in the cache: the image, and what it depends on.
#[derive(Serialize, Deserialize)]
struct Description {
    made: SystemTime,
    stamps: Vec<Stamp>,
    image: HostImage,
}

/// A file as it was when the image was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    /// Inode, size, and modification time in seconds and nanoseconds; `None` if it did not exist.
    state: Option<(u64, u64, i64, i64)>,
}

impl Stamp {
    fn of(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let state = std::fs::metadata(&path).ok().map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        Self { path, state }
    }

    fn holds(&self) -> bool {
        *self == Self::of(&self.path)
    }
}

/// The image for these options, from the cache if nothing that it depends on has changed. Blocks; a cold one looks at
/// every file of `/usr` when layers are idmapped.
pub(crate) fn prepare(options: &ImageOptions) -> Result<HostImage, ImageError> {
    let cached = options.cache_dir.join(format!("image-{}-{:016x}.json", options.boot_id, key(options)));
    if let Some(image) = load(&cached, options.idmapped) {
        return Ok(image);
    }
    // Taken before: what changes meanwhile makes the next one anew.
    let (made, mut stamps) = (SystemTime::now(), stamps(options));
    let image = skeleton::build(options)?;
    let interpreters = [&image.python, &image.node].into_iter().flatten();
    stamps.extend(interpreters.map(|interpreter| Stamp::of(&interpreter.executable)));
    let description = Description { made, stamps, image };
    let json = serde_json::to_vec(&description).map_err(io::Error::other);
    let temporary = cached.with_extension(crate::engine::random_name());
    json.and_then(|json| std::fs::write(&temporary, json))
        .and_then(|()| std::fs::rename(&temporary, &cached))
        .map_err(ImageError::io("write the description of the host image to", &cached))?;
    skeleton::remove_stale(options);
    Ok(description.image)
}

fn load(cached: &Path, idmapped: bool) -> Option<HostImage> {
    let description: Description = serde_json::from_slice(&std::fs::read(cached).ok()?).ok()?;
    // A clock that was set back makes a description from the future: not believed either.
    let young = description.made.elapsed().is_ok_and(|age| age < BELIEVED);
    let holds = (young || !idmapped)
        && description.stamps.iter().all(Stamp::holds)
        && description.image.layers.iter().flat_map(|layer| &layer.lowers).all(|lower| lower.is_dir());
    holds.then_some(description.image)
}

fn key(options: &ImageOptions) -> u64 {
    let mut hasher = DefaultHasher::new();
    (FORMAT, env!("CARGO_PKG_VERSION"), rustix::process::geteuid().as_raw()).hash(&mut hasher);
    (&options.python, &options.node, &options.search_path, options.idmapped).hash(&mut hasher);
    ["HOME", "PYENV_ROOT", "PYENV_VERSION", "ASDF_DIR", "NODENV_VERSION"].map(std::env::var_os).hash(&mut hasher);
    hasher.finish()
}

/// What the image depends on. A change of a `PATH` directory can bring another interpreter to the front.
fn stamps(options: &ImageOptions) -> Vec<Stamp> {
    let mut stamps: Vec<Stamp> = PACKAGE_DATABASES.iter().map(Stamp::of).filter(|s| s.state.is_some()).collect();
    stamps.extend(["/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/certs", "/etc/alternatives"].map(Stamp::of));
    // Where version managers write down which version is meant.
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        stamps.extend([".pyenv/version", ".tool-versions", ".nodenv/version"].map(|file| Stamp::of(home.join(file))));
    }
    stamps.extend(std::env::var_os("PYENV_ROOT").map(|root| Stamp::of(PathBuf::from(root).join("version"))));
    stamps.extend(std::env::split_paths(&options.search_path).map(Stamp::of));
    stamps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cache: &Path) -> ImageOptions {
        ImageOptions {
            cache_dir: cache.to_path_buf(),
            python: None,
            node: None,
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            boot_id: String::from("test"),
            idmapped: false,
        }
    }

    #[test]
    fn the_second_time_comes_from_the_cache_and_a_change_makes_it_anew() {
        let dir = tempfile::tempdir().unwrap();
        let bin = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.search_path = bin.path().into();
        let root = |image: &HostImage| image.layers[0].lowers[0].clone();
        let first = prepare(&options).unwrap();
        assert_eq!(root(&first), root(&prepare(&options).unwrap()));
        // As if something was installed into a directory of PATH.
        std::fs::write(bin.path().join("new"), "").unwrap();
        assert_ne!(root(&first), root(&prepare(&options).unwrap()));
    }

    #[test]
    fn the_image_of_this_host_holds_no_secret_and_finds_its_python() {
        let dir = tempfile::tempdir().unwrap();
        let image = prepare(&options(dir.path())).unwrap();
        let root = &image.layers[0].lowers[0];
        assert_eq!(image.layers[0].target, "/");
        for absent in ["etc/gshadow", "etc/ssh", "etc/sudoers", "etc/ssl/private", "etc/pip.conf", "root/.bashrc"] {
            assert!(!root.join(absent).exists(), "{absent}");
        }
        let passwd = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert_eq!(passwd.lines().count(), 3, "{passwd}");
        if let Some(prefix) = image.python.as_ref().and_then(|python| python.prefix.clone()) {
            let layer = image.layers.iter().find(|layer| Path::new(&layer.target) == prefix).unwrap();
            assert_eq!(layer.lowers.last(), Some(&prefix));
            // Its mount point is there, and everybody may walk to it.
            let mut place = root.join(prefix.strip_prefix("/").unwrap());
            while place != *root {
                assert_eq!(place.metadata().unwrap().mode() & 0o777, 0o755, "{}", place.display());
                place.pop();
            }
        }
    }

    #[test]
    fn a_missing_interpreter_option_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.python = Some(PathBuf::from("/nowhere/python3"));
        let error = prepare(&options).unwrap_err().to_string();
        assert!(error.starts_with("invalid `python`: /nowhere/python3"), "{error}");
    }
}
