//! The kernel's settings, limits, privileges and filters.

use super::Done;
use crate::generic::{get_limit, needed, refusal, status};
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

const RLIMIT_CORE: u64 = libc::RLIMIT_CORE as u64;

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    Some(match name {
        "uname_node" => facts.get("host.name").map(|host| {
            let page = Page::new();
            let _ = sys::native_call(libc::SYS_uname, &[page.0]);
            // `uname(2)`: fields of 65 bytes, the node name is the second.
            let bytes: [u8; 130] = page.bytes();
            let name = bytes[65..].split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            Verdict::when(name != host, name)
        }),
        "no_new_privs" => {
            status("NoNewPrivs").map(|value| Verdict::when(value == "1", format!("NoNewPrivs is {value}")))
        }
        // PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN.
        "ambient_raise" => Ok(refusal(sys::native_call(libc::SYS_prctl, &[47, 2, 21, 0, 0]))),
        "oom_lower" => Ok(write_into("/proc/self/oom_score_adj", "-500")),
        "uid_map_write" => Ok(write_into("/proc/self/uid_map", "0 0 1\n")),
        "gid_map_write" => Ok(write_into("/proc/self/gid_map", "0 0 1\n")),
        "setgroups_write" => Ok(write_into("/proc/self/setgroups", "allow")),
        "sysctl_write" => sysctl_write(),
        "core_helper" => core_helper(facts),
        "core_limit_changed" => core_limit_changed(),
        "realtime" => Ok(refusal(sys::native_call(
            libc::SYS_sched_setscheduler,
            &[0, libc::SCHED_FIFO as u64, Page::with(&1_u32.to_ne_bytes()).0],
        ))),
        "nice_negative" => Ok(refusal(sys::native_call(libc::SYS_setpriority, &[0, 0, (-5_i64).cast_unsigned()]))),
        // IOPRIO_WHO_PROCESS; class RT, level 0 (`ioprio_set(2)`).
        "io_realtime" => Ok(refusal(sys::native_call(libc::SYS_ioprio_set, &[1, 0, 1 << 13]))),
        // PR_SET_MM, PR_SET_MM_START_BRK.
        "memory_map" => Ok(refusal(sys::native_call(libc::SYS_prctl, &[35, 6, 0x1_0000, 0, 0]))),
        "suspend" => Ok(suspend()),
        "trusted_xattr" => Ok(trusted_attribute()),
        "aslr" => aslr(),
        "filter" => status("Seccomp").map(|mode| Verdict::when(mode == "2", format!("Seccomp is {mode}"))),
        // PR_SET_SECCOMP with SECCOMP_MODE_DISABLED.
        "filters_kept" => Ok(refusal(sys::native_call(libc::SYS_prctl, &[22, 0, 0, 0, 0]))),
        "unknown_call" => Ok(match sys::native_call(1000, &[]) {
            Err(libc::ENOSYS) => Verdict::Held("ENOSYS".into()),
            other => Verdict::NotHeld(format!("{other:?}")),
        }),
        _ => return None,
    })
}

fn write_into(path: &str, text: &str) -> Verdict {
    let written = OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    Verdict::refused(written)
}

/// Opens every setting for writing; nothing is written.
fn sysctl_write() -> Done {
    needed("/proc/sys", fs::read_dir("/proc/sys").map(drop))?;
    let (mut tried, mut opened, mut first) = (0, 0, None);
    let mut stack = vec![PathBuf::from("/proc/sys")];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                stack.push(path);
            } else {
                tried += 1;
                // A null device over a file is not the file.
                let is_file = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
                let open = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
                if is_file && open().is_ok() {
                    opened += 1;
                    first.get_or_insert(path);
                }
            }
        }
    }
    Ok(Verdict::when(
        opened == 0,
        format!("{opened} of {tried} can be opened for writing {}", {
            first.map(|path| path.display().to_string()).unwrap_or_default()
        }),
    ))
}

/// A limit of 0 is enough where the host writes files.
fn core_helper(facts: &Facts) -> Done {
    let (soft, hard) = get_limit(RLIMIT_CORE)?;
    let to_file = facts.get("host.core_pattern").is_ok_and(|pattern| !pattern.starts_with(['|', '@']));
    let holds = soft == 1 || to_file && (soft, hard) == (0, 0);
    Ok(Verdict::when(holds, format!("the limits are {soft} and {hard}; the host writes files: {to_file}")))
}

fn core_limit_changed() -> Done {
    let before = get_limit(RLIMIT_CORE)?;
    let none = Page::new();
    let _ = sys::native_call(libc::SYS_prlimit64, &[0, RLIMIT_CORE, none.0, 0]);
    #[cfg(target_arch = "x86_64")]
    let _ = sys::native_call(libc::SYS_setrlimit, &[RLIMIT_CORE, none.0]);
    let after = get_limit(RLIMIT_CORE)?;
    Ok(Verdict::when([(1, 1), (0, 0)].contains(&before) && after == before, format!("{before:?}, then {after:?}")))
}

/// Traces a child of its own with the option, `ptrace(2)`: 1 << 21.
fn suspend() -> Verdict {
    let child = sys::native_call(libc::SYS_clone, &[libc::SIGCHLD as u64, 0, 0, 0, 0]);
    let pid = match child {
        Ok(0) => {
            // Waits to be killed: no descriptors and no end (`ppoll(2)`).
            let _ = sys::native_call(libc::SYS_ppoll, &[0, 0, 0, 0, 8]);
            sys::exit(0)
        }
        Ok(pid) => pid,
        Err(errno) => return Verdict::NotApplicable(io::Error::from_raw_os_error(errno).to_string()),
    };
    let seized = sys::native_call(libc::SYS_ptrace, &[u64::from(libc::PTRACE_SEIZE), pid, 0, 1 << 21]);
    let _ = sys::native_call(libc::SYS_kill, &[pid, libc::SIGKILL as u64]);
    refusal(seized)
}

fn trusted_attribute() -> Verdict {
    let Some(base) = super::files::writable() else { return Verdict::Held("no directory to make a file in".into()) };
    let path = base.join("computesdk-attribute");
    if let Err(error) = fs::write(&path, "") {
        return Verdict::NotApplicable(error.to_string());
    }
    let [file, name, value] =
        [path.as_os_str().as_encoded_bytes(), b"trusted.computesdk", b"x"].map(Page::with).map(|page| page.0);
    let set = refusal(sys::native_call(libc::SYS_setxattr, &[file, name, value, 1, 0]));
    let _ = fs::remove_file(&path);
    set
}

fn aslr() -> Done {
    let setting = needed("the setting", fs::read_to_string("/proc/sys/kernel/randomize_va_space"))?;
    // The query, and ADDR_NO_RANDOMIZE (`personality(2)`).
    let own = sys::native_call(libc::SYS_personality, &[0xffff_ffff])
        .map_err(|errno| Verdict::NotApplicable(io::Error::from_raw_os_error(errno).to_string()))?;
    if setting.trim() != "2" {
        return Err(Verdict::NotApplicable(format!("the host has chosen {}", setting.trim())));
    }
    Ok(Verdict::when(own & 0x4_0000 == 0, format!("randomize_va_space {}, personality {own:#x}", setting.trim())))
}
