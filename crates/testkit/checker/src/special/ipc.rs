//! Objects of the host that have names of their own, and terminals.

use super::Done;
use crate::generic::{needed, refusal};
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::fs::MetadataExt as _;

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    let key = || facts.get("canary.key").map(|key| key.parse::<u64>().unwrap_or(0));
    Some(match name {
        "shm" => key().map(|key| refusal(sys::native_call(libc::SYS_shmget, &[key, 0, 0]))),
        "sem" => key().map(|key| refusal(sys::native_call(libc::SYS_semget, &[key, 0, 0]))),
        "msg" => key().map(|key| refusal(sys::native_call(libc::SYS_msgget, &[key, 0]))),
        "mqueue" => facts.get("canary.name").map(|name| {
            let name = Page::with(name.as_bytes());
            refusal(sys::native_call(libc::SYS_mq_open, &[name.0, 0, 0, 0]))
        }),
        "dev_shm" => facts.get("canary.name").map(|name| Verdict::refused(File::open(format!("/dev/shm/{name}")))),
        "sysvipc_listed" => facts.get("canary.key").and_then(|key| {
            let text = needed("/proc/sysvipc/shm", fs::read_to_string("/proc/sysvipc/shm"))?;
            let listed = text.lines().any(|line| line.split_whitespace().next() == Some(key));
            Ok(Verdict::when(!listed, format!("{} are listed", text.lines().count() - 1)))
        }),
        // KEY_SPEC_SESSION_KEYRING and KEY_SPEC_USER_KEYRING of `keyctl(2)`.
        "keyring_session" => facts.get("canary.name").map(|name| search_key(name, -3)),
        "keyring_user" => facts.get("canary.name").map(|name| search_key(name, -4)),
        "tiocsti" => new_terminal().map(|slave| type_in(slave.0)),
        "terminal_own" => terminal_own(),
        "ptmx_own" => facts.get("fs./dev/pts").map(ptmx_own),
        _ => return None,
    })
}

/// KEYCTL_SEARCH is 10.
fn search_key(name: &str, ring: i64) -> Verdict {
    let (kind, name) = (Page::with(b"user\0"), Page::with(name.as_bytes()));
    refusal(sys::native_call(libc::SYS_keyctl, &[10, ring.cast_unsigned(), kind.0, name.0, 0]))
}

/// The slave side of a new terminal, as a number that stays open, and the terminal's number.
pub(crate) fn new_terminal() -> Result<(u64, u32), Verdict> {
    let master = needed("a terminal", File::options().read(true).write(true).open("/dev/ptmx"))?;
    // Open while this process lives.
    let master = u64::from(master.into_raw_fd().cast_unsigned());
    let (unlocked, number) = (Page::new(), Page::new());
    let ioctl = |request: u64, argument| {
        let result = sys::native_call(libc::SYS_ioctl, &[master, request, argument]);
        result.map_err(|errno| Verdict::NotApplicable(format!("a terminal: {}", io::Error::from_raw_os_error(errno))))
    };
    // TIOCSPTLCK, TIOCGPTN, and TIOCGPTPEER, which opens the slave without a path (`ioctl_tty(2)`).
    ioctl(0x4004_5431, unlocked.0)?;
    ioctl(0x8004_5430, number.0)?;
    let flags = u64::from((libc::O_RDWR | libc::O_NOCTTY).cast_unsigned());
    Ok((ioctl(0x5441, flags)?, u32::from_ne_bytes(number.bytes())))
}

/// In a session of its own, whose controlling terminal it becomes: else the kernel refuses anyway.
fn type_in(slave: u64) -> Verdict {
    let _ = sys::native_call(libc::SYS_setsid, &[]);
    let _ = sys::native_call(libc::SYS_ioctl, &[slave, libc::TIOCSCTTY, 0]);
    refusal(sys::native_call(libc::SYS_ioctl, &[slave, libc::TIOCSTI, Page::with(b"x").0]))
}

fn terminal_own() -> Done {
    if !io::stdin().is_terminal() {
        return Err(Verdict::NotApplicable("it has none".into()));
    }
    let fd = io::stdin().as_raw_fd();
    let given = needed("its terminal", fs::metadata(format!("/proc/self/fd/{fd}")))?;
    let own = needed("/dev/pts", fs::metadata("/dev/pts"))?.dev();
    Ok(Verdict::when(given.dev() == own, format!("on device {}, its own are on {own}", given.dev())))
}

fn ptmx_own(host: &str) -> Verdict {
    let number = match new_terminal() {
        Ok((_, number)) => number,
        Err(Verdict::NotApplicable(why)) => return Verdict::Held(why),
        Err(other) => return other,
    };
    match fs::metadata(format!("/dev/pts/{number}")) {
        Ok(metadata) => Verdict::when(metadata.dev().to_string() != host, format!("on device {}", metadata.dev())),
        Err(error) => Verdict::NotHeld(format!("a terminal was made that is not in /dev/pts: {error}")),
    }
}
