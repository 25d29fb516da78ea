//! Other processes: the host's, and process 1 of the sandbox.

use super::Done;
use super::files::process_directories;
use crate::generic::{needed, not_the_first, refusal, status};
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    // iovec of process_vm_readv(2): an address and a length. Address 4096 is mapped nowhere: who is allowed to look gets
    // EFAULT, who is not gets EPERM.
    let vm = |number| {
        let [local, remote] =
            [Page::new().0, 4096].map(|at| Page::with(&[at.to_ne_bytes(), 8_u64.to_ne_bytes()].concat()));
        unless_first(|| denied(sys::native_call(number, &[1, local.0, 1, remote.0, 1, 0])))
    };
    Some(match name {
        "parent_user_ns" => namespace_of("user", NS_GET_PARENT),
        "parent_pid_ns" => namespace_of("pid", NS_GET_PARENT),
        "net_owner_ns" => namespace_of("net", NS_GET_USERNS),
        "ns_pid_depth" => status("NSpid").map(|ids| Verdict::when(ids.split_whitespace().count() == 1, ids)),
        "canary_visible" => Ok(canary_visible()),
        "canary_signal" => facts.get("canary.pid").map(canary_signal),
        "few" => {
            let name = fs::read_to_string("/proc/2/comm").unwrap_or_default();
            Ok(Verdict::when(name.trim() != "kthreadd", format!("process 2 is called {:?}", name.trim())))
        }
        "pid1_mem_write" => unless_first(|| Verdict::refused(OpenOptions::new().write(true).open("/proc/1/mem"))),
        "pid1_ptrace" => unless_first(|| {
            let seize = u64::from(libc::PTRACE_SEIZE);
            let seized = sys::native_call(libc::SYS_ptrace, &[seize, 1, 0, 0]);
            let _ = sys::native_call(libc::SYS_ptrace, &[u64::from(libc::PTRACE_DETACH), 1, 0, 0]);
            refusal(seized)
        }),
        "pid1_vm_read" => vm(libc::SYS_process_vm_readv),
        "pid1_vm_write" => vm(libc::SYS_process_vm_writev),
        "pid1_getfd" => unless_first(|| match sys::native_call(libc::SYS_pidfd_open, &[1, 0]) {
            Err(errno) => Verdict::Held(io::Error::from_raw_os_error(errno).to_string()),
            Ok(pidfd) => refusal(sys::native_call(libc::SYS_pidfd_getfd, &[pidfd, 0, 0])),
        }),
        "pid1_kill" => facts.get("ns.pid").and_then(pid1_kill),
        _ => return None,
    })
}

/// `ioctl_ns(2)`.
const NS_GET_USERNS: u64 = 0xb701;
const NS_GET_PARENT: u64 = 0xb702;

fn namespace_of(name: &str, request: u64) -> Done {
    let file = needed("its own", fs::File::open(format!("/proc/self/ns/{name}")))?;
    let fd = u64::from(file.as_raw_fd().cast_unsigned());
    Ok(match sys::native_call(libc::SYS_ioctl, &[fd, request]) {
        Err(errno) => Verdict::Held(io::Error::from_raw_os_error(errno).to_string()),
        Ok(fd) => {
            let link = |path: String| fs::read_link(path).map(|link| link.display().to_string()).unwrap_or_default();
            let (found, own) = (link(format!("/proc/self/fd/{fd}")), link("/proc/self/ns/user".into()));
            Verdict::when(found == own, format!("it is {found}, its own is {own}"))
        }
    })
}

fn unless_first(check: impl FnOnce() -> Verdict) -> Done {
    not_the_first().map(|()| check())
}

/// Held if it was refused for who asks, not for what was asked.
fn denied(result: Result<u64, i32>) -> Verdict {
    match result {
        Err(errno) => {
            let by_right = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::ESRCH].contains(&errno);
            Verdict::when(by_right, io::Error::from_raw_os_error(errno).to_string())
        }
        Ok(value) => Verdict::NotHeld(format!("it returned {value}")),
    }
}

/// Whether a process is the one that planted things on the host.
fn is_canary(process: &std::path::Path) -> bool {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).nth(1) == Some(b"outside")
}

fn canary_visible() -> Verdict {
    let processes = process_directories();
    match processes.iter().find(|process| is_canary(process)) {
        Some(process) => Verdict::NotHeld(process.display().to_string()),
        None => Verdict::Held(format!("not among {}", processes.len())),
    }
}

fn canary_signal(pid: &str) -> Verdict {
    let number: u64 = pid.parse().unwrap_or(0);
    match sys::native_call(libc::SYS_kill, &[number, 0]) {
        Err(libc::ESRCH) => Verdict::Held("no such process".into()),
        other => {
            let is_it = is_canary(std::path::Path::new(&format!("/proc/{pid}")));
            Verdict::when(!is_it, format!("{other:?}; a process of the sandbox has its number"))
        }
    }
}

fn pid1_kill(host: &str) -> Done {
    not_the_first()?;
    let own = needed("its own", fs::read_link("/proc/self/ns/pid"))?.display().to_string();
    if own == host {
        return Ok(Verdict::NotHeld("process 1 is the host's, and was left alone".into()));
    }
    let _ = sys::native_call(libc::SYS_kill, &[1, libc::SIGKILL as u64]);
    // Were it killed, so was this process with its namespace (`pid_namespaces(7)`).
    let alive = sys::native_call(libc::SYS_kill, &[1, 0]) != Err(libc::ESRCH);
    Ok(Verdict::when(alive, "it lives on"))
}
