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
        "core_helper" => {
            get_limit(RLIMIT_CORE).map(|(soft, _)| Verdict::when(soft == 1, format!("the limit is {soft}")))
        }
        "core_limit_changed" => core_limit_changed(),
        "realtime" => Ok(refusal(sys::native_call(
            libc::SYS_sched_setscheduler,
            &[0, libc::SCHED_FIFO as u64, Page::with(&1_u32.to_ne_bytes()).0],
        ))),
        "nice_negative" => Ok(refusal(sys::native_call(libc::SYS_setpriority, &[0, 0, (-5_i64).cast_unsigned()]))),
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

fn core_limit_changed() -> Done {
    let before = get_limit(RLIMIT_CORE)?;
    let none = Page::new();
    let _ = sys::native_call(libc::SYS_prlimit64, &[0, RLIMIT_CORE, none.0, 0]);
    #[cfg(target_arch = "x86_64")]
    let _ = sys::native_call(libc::SYS_setrlimit, &[RLIMIT_CORE, none.0]);
    let after = get_limit(RLIMIT_CORE)?;
    Ok(Verdict::when(before.0 == 1 && after == before, format!("{before:?}, then {after:?}")))
}

fn aslr() -> Done {
    let setting = needed("the setting", fs::read_to_string("/proc/sys/kernel/randomize_va_space"))?;
    // The query, and ADDR_NO_RANDOMIZE (`personality(2)`).
    let own = sys::native_call(libc::SYS_personality, &[0xffff_ffff])
        .map_err(|errno| Verdict::NotApplicable(io::Error::from_raw_os_error(errno).to_string()))?;
    let randomised = setting.trim() == "2" && own & 0x4_0000 == 0;
    Ok(Verdict::when(randomised, format!("randomize_va_space {}, personality {own:#x}", setting.trim())))
}
