//! Files of the host, and ways to them.

use super::Done;
use crate::generic::{needed, status};
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    Some(match name {
        "host_root_unmapped" => host_root_unmapped(),
        "identity_map" => identity_map(),
        "root_of_outer" => root_of_outer(),
        "canary_file" => facts.get("canary.file").map(|path| read_any([PathBuf::from(path)])),
        "canary_by_proc_root" => facts.get("canary.file").map(by_proc_root),
        "canary_dots" => facts.get("canary.file").map(dots),
        "chroot_escape" => facts.get("canary.file").map(chroot_escape),
        "hidden_files" => Ok(hidden_files()),
        "shadow_hashes" => Ok(shadow_hashes()),
        "host_users" => facts.get("host.users").map(host_users),
        "setuid_gain" => setuid_gain(),
        "only_harmless" => Ok(only_harmless()),
        "mknod_char" => Ok(make_node(libc::S_IFCHR, 1, 1)),
        "mknod_block" => Ok(make_node(libc::S_IFBLK, 8, 0)),
        "mknod_kmsg" => Ok(make_node(libc::S_IFCHR, 1, 11)),
        _ => return None,
    })
}

/// Files of /proc/sys belong to the host's root; where that user is not mapped, to the overflow user.
fn host_root_unmapped() -> Done {
    let owner = needed("/proc/sys", fs::metadata("/proc/sys/kernel"))?.uid();
    Ok(Verdict::when(owner != 0, format!("/proc/sys/kernel belongs to user {owner}")))
}

fn identity_map() -> Done {
    let map = needed("/proc/self/uid_map", fs::read_to_string("/proc/self/uid_map"))?;
    let words: Vec<&str> = map.split_whitespace().collect();
    Ok(Verdict::when(words != ["0", "0", "4294967295"], words.join(" ")))
}

fn root_of_outer() -> Done {
    let map = needed("/proc/self/uid_map", fs::read_to_string("/proc/self/uid_map"))?;
    let both = map.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("0") && words.next() == Some("0")
    });
    Ok(Verdict::when(both.is_none(), map.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Held if none of these can be read.
fn read_any(paths: impl IntoIterator<Item = PathBuf>) -> Verdict {
    let mut tried = 0;
    for path in paths {
        tried += 1;
        if File::open(&path).is_ok() {
            return Verdict::NotHeld(format!("{} can be read", path.display()));
        }
    }
    Verdict::when(tried > 0, format!("none of {tried} paths leads to it"))
}

/// Every process directory.
pub(super) fn process_directories() -> Vec<PathBuf> {
    let is_process =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_process).collect()
}

fn by_proc_root(canary: &str) -> Verdict {
    let below = |process: PathBuf| ["root", "cwd", "fd/0", "fd/3"].map(|link| process.join(link));
    let mut starts: Vec<PathBuf> = process_directories().into_iter().flat_map(below).collect();
    starts.push(PathBuf::from("/proc/self/root"));
    read_any(starts.into_iter().map(|start| PathBuf::from(format!("{}{canary}", start.display()))))
}

fn dots(canary: &str) -> Verdict {
    let up = "../".repeat(64);
    read_any(
        ["", "/tmp/", "/proc/self/cwd/", "/dev/fd/", "/dev/pts/"].map(|start| format!("{start}{up}{canary}").into()),
    )
}

/// A descriptor of the old root is kept while the root moves below it; then up, past the new root.
fn chroot_escape(canary: &str) -> Verdict {
    let Some(base) = writable() else { return Verdict::NotApplicable("no directory to work in".into()) };
    let dir = base.join("computesdk-chroot");
    let _ = fs::create_dir(&dir);
    let escape = || -> io::Result<()> {
        std::env::set_current_dir(&base)?;
        let outside = File::open(".")?;
        std::os::unix::fs::chroot(&dir)?;
        let number = u64::from(std::os::fd::AsRawFd::as_raw_fd(&outside).cast_unsigned());
        sys::native_call(libc::SYS_fchdir, &[number]).map_err(io::Error::from_raw_os_error)?;
        for _ in 0..64 {
            std::env::set_current_dir("..")?;
        }
        std::os::unix::fs::chroot(".")
    };
    let escaped = escape();
    let found = File::open(canary).is_ok();
    let _ = fs::remove_dir(dir.strip_prefix("/").unwrap_or(&dir));
    let _ = fs::remove_dir(&dir);
    Verdict::when(
        !found,
        escaped.map_or_else(|error| error.to_string(), |()| "it ends at the sandbox's own root".into()),
    )
}

/// A directory that this process may write into.
pub(super) fn writable() -> Option<PathBuf> {
    let may = |dir: &PathBuf| {
        let probe = dir.join("computesdk-probe");
        fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).is_ok()
    };
    ["/tmp", "/var/tmp", "/root", "/dev/shm", "/run"].map(PathBuf::from).into_iter().find(may)
}

/// Three levels below these, as walking all of /usr takes too long.
fn hidden_files() -> Verdict {
    let mut looked_at = 0;
    let mut stack: Vec<(PathBuf, usize)> =
        ["bin", "sbin", "lib", "libexec", "local", "share"].map(|dir| (Path::new("/usr").join(dir), 0)).into();
    while let Some((dir, depth)) = stack.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            looked_at += 1;
            if metadata.is_dir() && depth < 2 {
                stack.push((entry.path(), depth + 1));
            } else if metadata.is_file() && metadata.mode() & 0o004 == 0 && File::open(entry.path()).is_ok() {
                return Verdict::NotHeld(format!("{} is for few and can be read", entry.path().display()));
            }
        }
    }
    Verdict::Held(format!("none among {looked_at} files"))
}

fn shadow_hashes() -> Verdict {
    match fs::read_to_string("/etc/shadow") {
        Err(error) => Verdict::Held(error.to_string()),
        Ok(text) => {
            let hashes = text.lines().filter(|line| line.split(':').nth(1).is_some_and(|f| f.starts_with('$'))).count();
            Verdict::when(hashes == 0, format!("{hashes} hashes"))
        }
    }
}

fn host_users(users: &str) -> Verdict {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.split(',').find(|user| passwd.lines().any(|line| line.split(':').next() == Some(user)));
    found.map_or(Verdict::Held("none of them".into()), |user| Verdict::NotHeld(format!("{user} is one")))
}

fn setuid_gain() -> Done {
    if status("NoNewPrivs")? == "1" {
        return Ok(Verdict::Held("no_new_privs is set".into()));
    }
    // `statfs(2)`: the flags are the 11th word; ST_NOSUID is 2.
    let (path, page) = (Page::with(b"/usr\0"), Page::new());
    let flags = match sys::native_call(libc::SYS_statfs, &[path.0, page.0]) {
        Ok(_) => page.bytes::<96>()[80],
        Err(errno) => return Ok(Verdict::Held(io::Error::from_raw_os_error(errno).to_string())),
    };
    Ok(Verdict::when(flags & 2 != 0, format!("/usr is mounted with flags {flags:#x}, and no_new_privs is not set")))
}

/// Device numbers that do no harm: `mem(4)`, `tty(4)` and `pts(4)`.
fn is_harmless(metadata: &fs::Metadata) -> bool {
    let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    metadata.file_type().is_char_device()
        && matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2) | (136..=143, _))
}

fn only_harmless() -> Verdict {
    let mut harmless = 0;
    let mut stack = vec![PathBuf::from("/dev")];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let kind = metadata.file_type();
            if kind.is_dir() {
                stack.push(entry.path());
            } else if kind.is_block_device() || kind.is_char_device() {
                if !is_harmless(&metadata) {
                    return Verdict::NotHeld(format!("{} is {:x}", entry.path().display(), metadata.rdev()));
                }
                harmless += 1;
            }
        }
    }
    Verdict::Held(format!("{harmless} harmless ones"))
}

fn make_node(kind: libc::mode_t, major: u32, minor: u32) -> Verdict {
    let Some(base) = writable() else { return Verdict::Held("no directory to make it in".into()) };
    let path = base.join("computesdk-node");
    let c_path = Page::with(path.as_os_str().as_encoded_bytes());
    let device = libc::makedev(major, minor);
    let arguments = [u64::from(libc::AT_FDCWD.cast_unsigned()), c_path.0, u64::from(kind | 0o666), device];
    if let Err(errno) = sys::native_call(libc::SYS_mknodat, &arguments) {
        return Verdict::Held(io::Error::from_raw_os_error(errno).to_string());
    }
    let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o666));
    let opened = Verdict::refused(File::open(&path));
    let _ = fs::remove_file(&path);
    opened
}
