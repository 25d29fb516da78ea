//! The lists of [`super::syscalls`] as two filter programs (`seccomp(2)`).
//!
//! | program | a call in its list | any other call |
//! |---|---|---|
//! | 1, the fence | allowed | ENOSYS |
//! | 2, the refusals | EPERM | allowed |
//!
//! The kernel runs both and the stricter answer wins, so a call must be in the fence's list and in no refusal. There are
//! two because a program made by seccompiler has two answers only.
//!
//! Arguments are compared as 32-bit values where the kernel takes an `int`: garbage in the upper half, which the kernel
//! ignores, must not get a call past the filter. The 32-bit entry (`int 0x80`) is answered with ENOSYS by a change of
//! the one instruction that seccompiler makes for it; numbers of the x32 entry carry bit 30 and are in no list.

use super::syscalls::{ALLOWED, ALLOWED_HERE, ALLOWED_NEW, Call, REFUSED, REFUSED_HERE, REFUSED_NEW};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// A filter program: the fields of `struct sock_filter`, one instruction each.
pub(crate) type Program = Vec<(u16, u8, u8, u32)>;

/// The lists do not make a program: a defect of this crate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("the system call lists make no filter")]
    Compile(#[from] seccompiler::BackendError),
    #[error("the filter does not begin as expected, so that its answer to the 32-bit entry cannot be set")]
    Shape,
}

/// `BPF_RET | BPF_K` and the two answers, `linux/seccomp.h`.
const RET: u16 = 0x06;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

/// Flags of `clone(2)` and `unshare(2)` that make a namespace. `CLONE_NEWTIME` is for `unshare` alone: in `clone` its
/// bit belongs to the exit signal.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
const CLONE_NEWTIME: i32 = 0x80;

/// Values of `personality(2)` that programs use: Linux, 32-bit uname, and "what is it now?".
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// `TIOCSTI` types into a terminal as if at the keyboard; `TIOCLINUX` can do the same on a console (`ioctl_tty(2)`).
const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541c];

/// Raw frames, the way before `AF_PACKET` (`socket(2)`).
const SOCK_PACKET: i32 = 10;

/// `SOCK_TYPE_MASK` (linux/net.h): the rest of a socket's type are flags.
const SOCK_TYPE_MASK: u64 = 0xf;

/// Both programs, in the order in which they are loaded.
pub(crate) fn programs() -> Result<Vec<Program>, PolicyError> {
    let lists = |lists: [&[Call]; 3]| lists.concat().into_iter().map(|(_, number)| (number, Vec::new())).collect();
    let fence: BTreeMap<i64, Vec<SeccompRule>> = lists([ALLOWED, ALLOWED_NEW, ALLOWED_HERE]);
    let mut refusals: BTreeMap<i64, Vec<SeccompRule>> = lists([REFUSED, REFUSED_NEW, REFUSED_HERE]);
    refusals.extend(conditional_refusals()?);
    let errno = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    Ok(vec![
        compile(fence, errno(libc::ENOSYS), SeccompAction::Allow)?,
        compile(refusals, SeccompAction::Allow, errno(libc::EPERM))?,
    ])
}

/// Calls that are refused for some of their arguments.
fn conditional_refusals() -> Result<BTreeMap<i64, Vec<SeccompRule>>, PolicyError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    // All conditions of a rule must hold; one rule that holds is enough.
    let arg = |index, op, value: u64| SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value);
    let rule = |conditions: Vec<Result<SeccompCondition, _>>| {
        SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
    };
    let bit = |flag: i32| u64::from(flag.cast_unsigned());
    let has = |flag: i32| rule(vec![arg(0, MaskedEq(bit(flag)), bit(flag))]);
    let family = |family: i32| u64::from(family.cast_unsigned());
    let socket_type = |kind: i32| arg(1, MaskedEq(SOCK_TYPE_MASK), u64::from(kind.cast_unsigned()));
    let none_of = |values: &[u64]| rule(values.iter().map(|value| arg(0, Ne, *value)).collect());

    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(family);
    Ok(BTreeMap::from([
        (libc::SYS_clone, NAMESPACES.into_iter().map(has).collect::<Result<_, _>>()?),
        (libc::SYS_unshare, NAMESPACES.into_iter().chain([CLONE_NEWTIME]).map(has).collect::<Result<_, _>>()?),
        (libc::SYS_personality, vec![none_of(&PERSONALITIES.map(u64::from))?]),
        (
            libc::SYS_ioctl,
            TERMINAL_INPUT
                .into_iter()
                .map(|request| rule(vec![arg(1, Eq, u64::from(request))]))
                .collect::<Result<_, _>>()?,
        ),
        (
            libc::SYS_socket,
            vec![
                none_of(&families)?,
                // Of netlink, routing alone: it is what lists the interfaces.
                rule(vec![arg(0, Eq, family(libc::AF_NETLINK)), arg(2, Ne, 0)])?,
                // Raw sockets; those of netlink and of Unix are raw in name only.
                rule(vec![arg(0, Eq, family(libc::AF_INET)), socket_type(libc::SOCK_RAW)])?,
                rule(vec![arg(0, Eq, family(libc::AF_INET6)), socket_type(libc::SOCK_RAW)])?,
                rule(vec![socket_type(SOCK_PACKET)])?,
            ],
        ),
        (libc::SYS_socketpair, vec![none_of(&[family(libc::AF_UNIX)])?]),
    ]))
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<Program, PolicyError> {
    #[cfg(target_arch = "x86_64")]
    let arch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    let arch = TargetArch::aarch64;
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()?;
    let mut program: Program = program.into_iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
    // Load the architecture, skip one if it is ours, kill. A caller that took the other entry gets ENOSYS instead.
    match program.get_mut(2) {
        Some(kill) if *kill == (RET, 0, 0, KILL_PROCESS) => kill.3 = ERRNO | libc::ENOSYS.cast_unsigned(),
        _ => return Err(PolicyError::Shape),
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// What a program answers: a small interpreter of the instructions that seccompiler makes.
    fn run(program: &Program, arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = [0_u32; 16];
        (data[0], data[1]) = (number, arch);
        for (index, arg) in args.into_iter().enumerate() {
            (data[4 + 2 * index], data[5 + 2 * index]) = (arg as u32, (arg >> 32) as u32);
        }
        let (mut at, mut a) = (0, 0);
        loop {
            let (code, jt, jf, k) = program[at];
            let jump = |condition: bool| 1 + usize::from(if condition { jt } else { jf });
            at += match code {
                0x20 => {
                    a = data[k as usize / 4];
                    1
                }
                0x54 => {
                    a &= k;
                    1
                }
                0x05 => 1 + k as usize,
                0x15 => jump(a == k),
                0x25 => jump(a > k),
                0x35 => jump(a >= k),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            };
        }
    }

    const NATIVE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
    const ALLOW: u32 = 0x7fff_0000;

    /// The kernel's answer with both programs loaded: `None` is allowed.
    fn answer(arch: u32, number: i64, args: [u64; 6]) -> Option<i32> {
        let answers = programs().unwrap();
        let answers: Vec<u32> = answers.iter().map(|p| run(p, arch, number as u32, args)).collect();
        // seccomp(2): of two ERRNO answers, the one of the program loaded last.
        let errno = answers.into_iter().filter(|answer| *answer != ALLOW).next_back()?;
        assert_eq!(errno & 0xffff_0000, ERRNO, "{errno:#x}");
        Some((errno & 0xffff) as i32)
    }

    fn native(number: i64, args: &[u64]) -> Option<i32> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        answer(NATIVE, number, all)
    }

    #[test]
    fn no_call_is_in_two_lists() {
        let all: Vec<_> = [ALLOWED, ALLOWED_NEW, ALLOWED_HERE, REFUSED, REFUSED_NEW, REFUSED_HERE].concat();
        let distinct: HashSet<i64> = all.iter().map(|(_, number)| *number).collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn plain_calls() {
        assert_eq!(native(libc::SYS_read, &[]), None);
        assert_eq!(native(libc::SYS_mount, &[]), Some(libc::EPERM));
        assert_eq!(native(libc::SYS_bpf, &[]), Some(libc::EPERM));
        assert_eq!(native(libc::SYS_clone3, &[]), Some(libc::ENOSYS));
        assert_eq!(native(9999, &[]), Some(libc::ENOSYS));
    }

    #[test]
    fn the_other_entries_get_enosys() {
        // AUDIT_ARCH_I386, and read() by its x32 number.
        assert_eq!(answer(0x4000_0003, 3, [0; 6]), Some(libc::ENOSYS));
        assert_eq!(native(0x4000_0000, &[]), Some(libc::ENOSYS));
    }

    #[test]
    fn namespaces_are_refused_whatever_stands_in_the_upper_half() {
        assert_eq!(native(libc::SYS_clone, &[0x11 | 0x100]), None);
        for flag in NAMESPACES {
            let flag = u64::from(flag.cast_unsigned());
            assert_eq!(native(libc::SYS_clone, &[flag | 0x11]), Some(libc::EPERM));
            assert_eq!(native(libc::SYS_unshare, &[flag | 1 << 40]), Some(libc::EPERM));
        }
        assert_eq!(native(libc::SYS_unshare, &[0x400]), None);
        assert_eq!(native(libc::SYS_unshare, &[0x80]), Some(libc::EPERM));
        assert_eq!(native(libc::SYS_ioctl, &[0, 0x5412 | 1 << 32]), Some(libc::EPERM));
        assert_eq!(native(libc::SYS_ioctl, &[0, 0x5413]), None);
    }

    #[test]
    fn sockets_by_family_type_and_protocol() {
        let socket = |family: i32, kind: i32, protocol: u64| {
            native(libc::SYS_socket, &[u64::from(family.cast_unsigned()), u64::from(kind.cast_unsigned()), protocol])
        };
        assert_eq!(socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0), None);
        assert_eq!(socket(libc::AF_INET6, libc::SOCK_DGRAM, 58), None);
        assert_eq!(socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0), None);
        assert_eq!(socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0), None);
        assert_eq!(socket(libc::AF_NETLINK, libc::SOCK_RAW, 12), Some(libc::EPERM));
        assert_eq!(socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 1), Some(libc::EPERM));
        assert_eq!(socket(libc::AF_INET, SOCK_PACKET, 3), Some(libc::EPERM));
        for family in [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH, libc::AF_KEY] {
            assert_eq!(socket(family, libc::SOCK_STREAM, 0), Some(libc::EPERM));
        }
    }
}
