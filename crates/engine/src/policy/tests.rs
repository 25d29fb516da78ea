//! The filters against an interpreter of BPF, and for real: installed in threads of their own (a filter binds the
//! thread that installs it and what that thread starts).

use super::seccomp::{Filters, Instruction, build, filters};
use super::{capabilities, defaults, proc, syscalls};
use seccompiler::{BpfProgram, apply_filter, sock_filter};
use std::process::Command;
use std::time::Instant;

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xC000_00B7;

/// Runs a program on `struct seccomp_data`, without the kernel.
fn interpret(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = vec![number, arch, 0, 0];
    data.extend(arguments.iter().flat_map(|&a| [a as u32, (a >> 32) as u32]));
    let (mut at, mut accumulator) = (0, 0u32);
    loop {
        let (code, jt, jf, k) = program[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => accumulator = data[k as usize / 4],
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return k,
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}

/// The kernel's answer: the stricter of the two; errno is stricter than allow.
fn answer(filters: &Filters, arch: u32, number: i64, arguments: [u64; 6]) -> u32 {
    let number = u32::try_from(number).unwrap();
    let both = [&filters.calls, &filters.arguments].map(|p| interpret(p, arch, number, arguments));
    assert!(both.contains(&ALLOWED) || both == [ENOSYS; 2] || both[0] == both[1], "the order would matter: {both:x?}");
    both[if both[0] == ALLOWED { 1 } else { 0 }]
}

fn first(values: &[u64]) -> [u64; 6] {
    let mut arguments = [0; 6];
    arguments[..values.len()].copy_from_slice(values);
    arguments
}

#[test]
fn every_number_gets_the_answer_of_its_list() {
    let filters = filters().unwrap();
    let harmless = |number| match number {
        libc::SYS_socket | libc::SYS_socketpair => first(&[1, 1]),
        _ => [0; 6],
    };
    let numbers = (0..1024).chain([0x3FFF_FFFF, 0x4000_0000, 0x4000_0001, 0x4000_01FF, 0xFFFF_FFFF]);
    for number in numbers {
        let expected = if syscalls::allowed().any(|call| call.1 == number) {
            ALLOWED
        } else if syscalls::refused().any(|call| call.1 == number) {
            EPERM
        } else {
            ENOSYS
        };
        assert_eq!(answer(filters, NATIVE, number, harmless(number)), expected, "call {number}");
        // i386 and arm: every call, the allowed ones too.
        for foreign in [0x4000_0003, 0x4000_0028] {
            assert_eq!(answer(filters, foreign, number, [0; 6]), ENOSYS, "foreign call {number}");
        }
    }
    assert_eq!(answer(filters, NATIVE, libc::SYS_clone3, [0; 6]), ENOSYS);
}

#[test]
fn arguments_are_compared_as_the_kernel_reads_them() {
    let filters = filters().unwrap();
    let refused = |call, arguments: &[u64]| answer(filters, NATIVE, call, first(arguments)) == EPERM;
    let dirty = 0xDEAD_BEEF_0000_0000u64;
    for flag in [0x2_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000u64] {
        assert!(refused(libc::SYS_clone, &[flag | 17]) && refused(libc::SYS_unshare, &[flag | dirty]));
    }
    assert!(refused(libc::SYS_unshare, &[0x80]));
    // A thread, a fork, a vfork.
    for flags in [0x3D_0F00, 0x0120_0011, 0x4111u64] {
        assert!(!refused(libc::SYS_clone, &[flags]), "{flags:#x}");
    }
    assert!(refused(libc::SYS_ioctl, &[0, 0x5412]) && refused(libc::SYS_ioctl, &[0, 0x5412 | dirty]));
    assert!(refused(libc::SYS_ioctl, &[0, 0x541C]) && !refused(libc::SYS_ioctl, &[0, 0x5413]));
    let (inet, inet6, netlink, packet, vsock, alg) = (2, 10, 16, 17, 40, 38);
    for family in [packet, vsock, alg, 0, 44, packet | dirty] {
        assert!(refused(libc::SYS_socket, &[family, 3, 0]), "family {family}");
    }
    for family in [inet, inet6] {
        assert!(refused(libc::SYS_socket, &[family, 3, 1]), "raw");
        assert!(refused(libc::SYS_socket, &[family, 3 | 0x8_0800 | dirty, 255]), "raw with flags and a dirty half");
        assert!(refused(libc::SYS_socket, &[family, 10, 3]), "packet type");
        assert!(!refused(libc::SYS_socket, &[family, 1 | 0x8_0000, 0]) && !refused(libc::SYS_socket, &[family, 2, 1]));
    }
    assert!(!refused(libc::SYS_socket, &[netlink, 3, 0]) && refused(libc::SYS_socket, &[netlink, 3, 9]));
    assert!(!refused(libc::SYS_socket, &[1, 5, 0]) && !refused(libc::SYS_socketpair, &[1, 5 | 0x8_0000]));
    for family in [inet, inet6] {
        for protocol in [132, 33, 115, 136, 262, 6 | dirty | 0x100] {
            assert!(refused(libc::SYS_socket, &[family, 1, protocol]), "protocol {protocol}");
        }
        for protocol in [0, 6, 17, 1, 58, 6 | dirty] {
            assert!(!refused(libc::SYS_socket, &[family, 2, protocol]), "protocol {protocol}");
        }
    }
    assert!(!refused(libc::SYS_socket, &[1, 1, 262]), "a number that means something else there");
    assert!(!refused(libc::SYS_personality, &[0xFFFF_FFFF]) && !refused(libc::SYS_personality, &[0x4_0000]));
    assert!(refused(libc::SYS_personality, &[0x40_0000]) && refused(libc::SYS_personality, &[0x20_0000]));
}

#[test]
fn the_core_limit_stays_and_nobody_is_told() {
    let filters = filters().unwrap();
    let answer = |call, arguments: &[u64]| answer(filters, NATIVE, call, first(arguments));
    let done = libc::SECCOMP_RET_ERRNO;
    let (core, files, dirty) = (4, 7, 0xDEAD_BEEF_0000_0000u64);
    for resource in [core, core | dirty] {
        assert_eq!(answer(libc::SYS_setrlimit, &[resource, 4096]), done);
        // A pointer of which only one half is not zero.
        for new in [4096, 1 << 32] {
            assert_eq!(answer(libc::SYS_prlimit64, &[0, resource, new, 0]), done);
        }
        assert_eq!(answer(libc::SYS_prlimit64, &[0, resource, 0, 4096]), ALLOWED, "asking");
        assert_eq!(answer(libc::SYS_getrlimit, &[resource, 4096]), ALLOWED);
    }
    assert_eq!(answer(libc::SYS_setrlimit, &[files, 4096]), ALLOWED);
    assert_eq!(answer(libc::SYS_prlimit64, &[0, files, 4096, 0]), ALLOWED);
    // Whatever else has such arguments.
    assert_eq!(answer(libc::SYS_read, &[core, core, core]), ALLOWED);
}

#[test]
fn every_refused_call_is_tried_by_the_containment_checker() {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/checker/checks.txt");
    let Ok(list) = std::fs::read_to_string(list) else {
        println!("skipped: this is a package, and the checker is in the repository alone");
        return;
    };
    let column = if cfg!(target_arch = "x86_64") { 0 } else { 3 };
    for (name, number) in syscalls::refused() {
        let tried = list.lines().any(|line| {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            fields[0].strip_prefix("call ") == name.strip_prefix("SYS_")
                && fields[2].split(' ').nth(column) == Some(&*number.to_string())
        });
        assert!(tried, "{name} with the number {number} is not in checks.txt");
    }
}

/// Runs a command from a thread that has both filters, in the given order.
fn filtered(reverse: bool, mut command: Command) -> std::process::Output {
    let filters = filters().unwrap();
    let mut programs = [&filters.calls, &filters.arguments];
    if reverse {
        programs.reverse();
    }
    let programs = programs
        .map(|p| -> BpfProgram { p.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect() });
    std::thread::spawn(move || {
        for program in &programs {
            apply_filter(program).unwrap();
        }
        command.output().unwrap()
    })
    .join()
    .unwrap()
}

/// Calls by number, from Python: each prints the errno, 0 for success.
const PROBE: &str = r"
import ctypes, errno, os, socket, subprocess, sys, threading, platform
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(n, *a):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(n), *[ctypes.c_ulong(x) for x in a])
    return 0 if r >= 0 else ctypes.get_errno()
def sock(*a):
    try:
        socket.socket(*a).close(); return 0
    except OSError as e: return e.errno
def fork():
    p = os.fork()
    if p == 0: os._exit(0)
    return os.waitpid(p, 0)[1]
got = {}
for line in sys.argv[1].split():
    name, n = line.split('='); got[name] = call(int(n), 0, 0, 0, 0, 0, 0)
dirty = 0xDEADBEEF00000000
got['unshare_user'] = call(272 if platform.machine() == 'x86_64' else 97, 0x10000000)
got['tiocsti_dirty'] = call(16 if platform.machine() == 'x86_64' else 29, 0, 0x5412 | dirty, 0)
got['tcp'] = sock(socket.AF_INET, socket.SOCK_STREAM)
got['netlink_route'] = sock(socket.AF_NETLINK, socket.SOCK_RAW, 0)
got['netlink_audit'] = sock(socket.AF_NETLINK, socket.SOCK_RAW, 9)
got['raw'] = sock(socket.AF_INET, socket.SOCK_RAW, 1)
got['packet'] = sock(socket.AF_PACKET, socket.SOCK_RAW, 0)
got['vsock'] = sock(40, socket.SOCK_STREAM)
got['alg'] = sock(38, socket.SOCK_SEQPACKET)
got['x32_getpid'] = call(0x40000000 | 39)
got['fork'] = fork()
t = threading.Thread(target=lambda: got.__setitem__('thread', 0)); t.start(); t.join()
got['child'] = subprocess.run(['/bin/sh', '-c', 'echo x | cat >/dev/null']).returncode
got['memfd'] = 0 if os.memfd_create('x') > 0 else 1
print(' '.join(f'{k}={v}' for k, v in got.items()))
";

#[test]
fn installed_filters_answer_as_the_tables_say() {
    let refused: Vec<_> = syscalls::refused().collect();
    let list: Vec<_> = refused.iter().map(|(name, number)| format!("{name}={number}")).collect();
    for reverse in [false, true] {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-I", "-c", PROBE, &format!("{} SYS_clone3={} nothing=1000", list.join(" "), libc::SYS_clone3)]);
        let output = filtered(reverse, command);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let got = |name: &str| -> i32 {
            let found = text.split_whitespace().find_map(|word| word.strip_prefix(&format!("{name}=")));
            found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        for (name, _) in &refused {
            assert_eq!(got(name), libc::EPERM, "{name}");
        }
        for name in ["unshare_user", "tiocsti_dirty", "netlink_audit", "raw", "packet", "vsock", "alg"] {
            assert_eq!(got(name), libc::EPERM, "{name}");
        }
        for name in ["SYS_clone3", "nothing", "x32_getpid"] {
            assert_eq!(got(name), libc::ENOSYS, "{name}");
        }
        for name in ["tcp", "netlink_route", "fork", "thread", "child", "memfd"] {
            assert_eq!(got(name), 0, "{name}");
        }
    }
}

#[test]
fn common_programs_run_under_the_filters() {
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| scratch.path().join(name);
    std::fs::write(file("a.c"), "#include <stdio.h>\nint main(){puts(\"works\");}").unwrap();
    let script = format!("cd {} && gcc a.c -o a && ./a", scratch.path().display());
    let programs: [(&str, &[&str]); 7] = [
        ("node", &["-e", "require('fs').readFile('/proc/self/status', () => console.log('works'))"]),
        ("bash", &["-c", "for i in 1 2; do (echo wor; echo ks) | tr -d '\\n'; break; done"]),
        ("sh", &["-c", &script]),
        (
            "sh",
            &[
                "-c",
                "git init -q $0/r && git -C $0/r status >/dev/null && echo works",
                &scratch.path().to_string_lossy(),
            ],
        ),
        ("sh", &["-c", "python3 -m venv --without-pip $0/v && echo works", &scratch.path().to_string_lossy()]),
        ("gdb", &["-q", "-batch", "-ex", "run", "--args", "/bin/echo", "works"]),
        ("java", &["-version"]),
    ];
    for (program, arguments) in programs {
        let mut command = Command::new(program);
        command.args(arguments).env("HOME", scratch.path());
        if Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().stdout.is_empty() {
            println!("skipped: no {program} on this host");
            continue;
        }
        let output = filtered(false, command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {text}");
        assert!(text.contains("works") || program == "java", "{program} {arguments:?}: {text}");
    }
}

#[test]
fn tables_are_well_formed() {
    assert_eq!(build().unwrap(), *filters().unwrap());
    let start = Instant::now();
    for _ in 0..100 {
        build().unwrap();
    }
    let filters = filters().unwrap();
    println!("build {:?}, {} + {} instructions", start.elapsed() / 100, filters.calls.len(), filters.arguments.len());
    assert!(filters.calls.len() + filters.arguments.len() < 1000);
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap; bind, chroot; setfcap.
    assert_eq!(capabilities::KEPT, 0x8004_05FB);
    for path in proc::MASKED_FILES.iter().chain(proc::MASKED_DIRECTORIES).chain(proc::READ_ONLY) {
        assert!(!path.starts_with('/') && !path.contains(".."), "{path} is relative to /proc");
    }
    assert!(defaults::LIMITS.iter().all(|limit| limit.soft <= limit.hard));
    for (pattern, bytes) in [("|/usr/lib/systemd/systemd-coredump %P", 1), ("core", 0), ("/var/crash/core.%p", 0)] {
        let limit = defaults::core_limit(pattern);
        assert_eq!((limit.resource, limit.soft, limit.hard), (libc::RLIMIT_CORE, bytes, bytes), "{pattern}");
    }
    assert!(defaults::DEVICES.contains(&"null") && defaults::DEVICE_LINKS.iter().any(|link| link.0 == "ptmx"));
    assert!(defaults::NETWORK_SETTINGS.iter().all(|(path, _)| path.starts_with("net/")));
}
