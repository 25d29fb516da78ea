//! What a program starts with: descriptors, session, signals, directory, environment.

use super::Done;
use super::files::process_directories;
use crate::generic::{needed, status};
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::fs;
use std::io::IsTerminal as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

pub(super) fn run(name: &str, facts: &Facts, descriptors: &[u64]) -> Option<Done> {
    Some(match name {
        "only_streams" => Ok(only_streams(descriptors)),
        "streams_not_host" => streams_not_host(),
        "session" => Ok(session()),
        "controlling_terminal" => Ok(controlling_terminal()),
        "signals_ignored" => signals("SigIgn"),
        "signals_blocked" => signals("SigBlk"),
        "cwd" => needed("its directory", std::env::current_dir()).map(|dir| {
            let dir = dir.display().to_string();
            Verdict::when(dir.starts_with('/') && !dir.starts_with("(unreachable)"), dir)
        }),
        "umask" => status("Umask").map(|umask| {
            let writable_by_all = u32::from_str_radix(&umask, 8).unwrap_or(0) & 0o002 == 0;
            Verdict::when(!writable_by_all, format!("the umask is {umask}"))
        }),
        "own" => facts.get("env").map(|names| environment(names, "/proc/self/environ")),
        "of_others" => facts.get("env").map(|names| {
            let mut verdict = Verdict::Held("of no process".into());
            for process in process_directories() {
                if let Verdict::NotHeld(evidence) = environment(names, &format!("{}/environ", process.display())) {
                    verdict = Verdict::NotHeld(format!("{}: {evidence}", process.display()));
                }
            }
            verdict
        }),
        _ => return None,
    })
}

/// Numbers above the standard streams' that are open.
pub(crate) fn open_descriptors() -> Vec<u64> {
    let get_flags = u64::from(libc::F_GETFD.cast_unsigned());
    (3..4096).filter(|fd| sys::native_call(libc::SYS_fcntl, &[*fd, get_flags]).is_ok()).collect()
}

fn only_streams(descriptors: &[u64]) -> Verdict {
    let links: Vec<String> = descriptors
        .iter()
        .map(|fd| {
            fs::read_link(format!("/proc/self/fd/{fd}")).map_or_else(|_| fd.to_string(), |l| l.display().to_string())
        })
        .collect();
    Verdict::when(descriptors.is_empty(), format!("others: {links:?}"))
}

/// Pipes, the sandbox's own null device, and terminals of its own are fine.
fn streams_not_host() -> Done {
    let pts = fs::metadata("/dev/pts").map(|metadata| metadata.dev()).ok();
    for fd in 0..3 {
        let path = format!("/proc/self/fd/{fd}");
        let metadata = needed(&path, fs::metadata(&path))?;
        let kind = metadata.file_type();
        let is_null = kind.is_char_device() && metadata.rdev() == libc::makedev(1, 3);
        let is_own_terminal = kind.is_char_device() && Some(metadata.dev()) == pts;
        if !(kind.is_fifo() || is_null || is_own_terminal) {
            let what = fs::read_link(&path).map(|link| link.display().to_string()).unwrap_or_default();
            return Ok(Verdict::NotHeld(format!("stream {fd} is {what}")));
        }
    }
    Ok(Verdict::Held("pipes, null devices or own terminals".into()))
}

/// Ids of an outer process show as 0 (`pid_namespaces(7)`).
fn session() -> Verdict {
    let id = |number| sys::native_call(number, &[0]).unwrap_or(0);
    let (session, group) = (id(libc::SYS_getsid), id(libc::SYS_getpgid));
    Verdict::when(session != 0 && group != 0, format!("session {session}, group {group}"))
}

fn controlling_terminal() -> Verdict {
    if let Err(error) = fs::File::open("/dev/tty") {
        return Verdict::Held(error.to_string());
    }
    // There is one: it must be the terminal that this program was given, which `terminal_own` looks at.
    let is_given = std::io::stdin().is_terminal() && {
        let page = Page::new();
        let answered = sys::native_call(libc::SYS_ioctl, &[0, libc::TIOCGSID, page.0]).is_ok();
        answered && u64::from(u32::from_ne_bytes(page.bytes())) == sys::native_call(libc::SYS_getsid, &[0]).unwrap_or(0)
    };
    Verdict::when(is_given, "there is one; is it the one that was given?")
}

/// SIGPIPE and SIGXFSZ are ignored by the language's own start-up.
fn signals(set: &str) -> Done {
    let own = 1 << (libc::SIGPIPE - 1) | 1 << (libc::SIGXFSZ - 1);
    let mask = u64::from_str_radix(&status(set)?, 16).unwrap_or(u64::MAX);
    Ok(Verdict::when(mask & !own == 0, format!("{set} is {mask:016x}")))
}

fn environment(names: &str, path: &str) -> Verdict {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return Verdict::Held(error.to_string()),
    };
    for variable in bytes.split(|byte| *byte == 0) {
        let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
        if names.split(',').any(|other| other.as_bytes() == name) {
            return Verdict::NotHeld(format!("it has {}", String::from_utf8_lossy(name)));
        }
    }
    Verdict::Held("none of them".into())
}
