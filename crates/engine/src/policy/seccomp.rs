//! The two seccomp programs of a sandbox.
//!
//! [`Filters::calls`] decides by the call's number alone: allowed, EPERM for the dangerous ones that programs know,
//! ENOSYS for everything else. [`Filters::arguments`] decides the few calls whose arguments matter, and allows the
//! rest; to set the core limit is answered with success, and not done. The kernel takes the stricter answer of the two and no call is refused by both, so the order in which they
//! are installed does not matter.
//!
//! Why the first is not made by `seccompiler`: that emits five instructions for each call, one after the other, and
//! the kernel runs a new filter once for each known call to prepare its cache. Installing 360 such entries took
//! 620 us here; the same decision as a search tree over number ranges takes 35 us. The second program is
//! `seccompiler`'s.
//!
//! Guaranteed: a process that calls through another architecture's table (i386's `int 0x80`) or through x32 numbers
//! gets ENOSYS for every call. It is not killed: a probing program goes on.
//!
//! Where an argument is an `int` for the kernel, the comparison is of 32 bits: the upper half of the register is
//! the caller's to choose and the kernel ignores it, so a 64-bit comparison could be walked around.

use super::syscalls;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// One classic BPF instruction: `struct sock_filter` as `(code, jt, jf, k)`.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// The filters of a sandbox. Both are to be installed, in any order, with `no_new_privs` set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Filters {
    /// Decides by the number of the call.
    pub(crate) calls: Vec<Instruction>,
    /// Decides by arguments.
    pub(crate) arguments: Vec<Instruction>,
}

/// The filters could not be made. Not a matter of the host: a fault in the tables or in a dependency.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PolicyError {
    /// `seccompiler` refused a rule.
    #[error("the argument filter could not be built: {0}")]
    Rules(String),
    /// The generated program does not begin as expected, so its answer to foreign architectures cannot be replaced.
    #[error("the argument filter begins in an unknown way (was seccompiler updated?)")]
    Shape,
    /// A jump of the search tree would not fit into eight bits.
    #[error("the call filter has too many ranges: {0}")]
    Ranges(usize),
    /// A call stands in both lists, or its number is out of range.
    #[error("{0} is listed twice, or has an impossible number")]
    Listed(&'static str),
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data` (`linux/seccomp.h`).
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

/// `AUDIT_ARCH_*` of `linux/audit.h`: the ELF machine, 64-bit, little-endian.
#[cfg(target_arch = "x86_64")]
const ARCH: (TargetArch, u32) = (TargetArch::x86_64, 0xC000_003E);
#[cfg(target_arch = "aarch64")]
const ARCH: (TargetArch, u32) = (TargetArch::aarch64, 0xC000_00B7);

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const PERMISSION: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The filters of every sandbox. They are made once for the process (60 us in a release build) and kept.
pub(crate) fn filters() -> Result<&'static Filters, PolicyError> {
    static FILTERS: OnceLock<Result<Filters, PolicyError>> = OnceLock::new();
    FILTERS.get_or_init(build).as_ref().map_err(Clone::clone)
}

/// Makes both programs.
pub(super) fn build() -> Result<Filters, PolicyError> {
    Ok(Filters { calls: calls()?, arguments: arguments()? })
}

/// The program that decides by number.
fn calls() -> Result<Vec<Instruction>, PolicyError> {
    let mut answers = BTreeMap::new();
    let listed =
        syscalls::allowed().map(|call| (call, ALLOW)).chain(syscalls::refused().map(|call| (call, PERMISSION)));
    for ((name, number), answer) in listed {
        // Bit 30 marks x32 calls: they are different functions, with 32-bit pointers, and no sandbox needs them.
        let number = u32::try_from(number).ok().filter(|n| n & 0x4000_0000 == 0).ok_or(PolicyError::Listed(name))?;
        if answers.insert(number, answer).is_some() {
            return Err(PolicyError::Listed(name));
        }
    }
    // Neighbours with the same answer become one range; a range ends where the next one begins.
    let mut ranges = vec![(0, NO_SUCH_CALL)];
    for (&number, &answer) in &answers {
        push_range(&mut ranges, number, answer);
        if !answers.contains_key(&(number + 1)) {
            push_range(&mut ranges, number + 1, NO_SUCH_CALL);
        }
    }
    let mut program = vec![
        (LOAD, 0, 0, OFFSET_ARCH),
        (EQUAL, 1, 0, ARCH.1),
        (RETURN, 0, 0, NO_SUCH_CALL),
        (LOAD, 0, 0, OFFSET_NUMBER),
    ];
    search(&ranges, &mut program)?;
    Ok(program)
}

/// Appends a range, or lengthens the last one.
fn push_range(ranges: &mut Vec<(u32, u32)>, start: u32, answer: u32) {
    match ranges.last_mut() {
        Some(last) if last.1 == answer => {}
        Some(last) if last.0 == start => last.1 = answer,
        _ => ranges.push((start, answer)),
    }
}

/// Emits a binary search: at each step, "at least the middle start?" jumps over the lower half.
fn search(ranges: &[(u32, u32)], program: &mut Vec<Instruction>) -> Result<(), PolicyError> {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let Some(&(start, answer)) = upper.first() else { return Ok(()) };
    if lower.is_empty() {
        program.push((RETURN, 0, 0, answer));
        return Ok(());
    }
    let at = program.len();
    program.push((AT_LEAST, 0, 0, start));
    search(lower, program)?;
    program[at].1 = u8::try_from(program.len() - at - 1).map_err(|_| PolicyError::Ranges(ranges.len()))?;
    search(upper, program)
}

/// The program that decides by arguments: EPERM where one of the rules holds.
fn arguments() -> Result<Vec<Instruction>, PolicyError> {
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules()?, SeccompAction::Allow, refuse, ARCH.0).map_err(wrong)?;
    let program = BpfProgram::try_from(filter).map_err(wrong)?;
    let mut program: Vec<_> = program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
    // It kills on a foreign architecture; that one instruction is replaced, if it is where it was.
    let killing = [
        (LOAD, 0, 0, OFFSET_ARCH),
        (EQUAL, 1, 0, ARCH.1),
        (RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        (LOAD, 0, 0, OFFSET_NUMBER),
    ];
    if !program.starts_with(&killing) {
        return Err(PolicyError::Shape);
    }
    program[2].3 = NO_SUCH_CALL;
    // Right after the number is loaded: what follows jumps forward only, and finds the number where it was.
    program.splice(killing.len()..killing.len(), keep_core_limit());
    Ok(program)
}

/// Answers "done" to whoever sets the core limit, without doing it: `setrlimit(2)`, and `prlimit(2)` with a new limit.
///
/// The limit of 1 (see `defaults`) is lost when it is lowered, which needs no privilege. EPERM would be more honest, but
/// programs that guard secrets turn core dumps off and give up if that fails (GnuPG does), and off is what they are.
fn keep_core_limit() -> [Instruction; 13] {
    /// Offsets in `struct seccomp_data` of the halves of an argument (little-endian, as both architectures are).
    const fn low(argument: u32) -> u32 {
        16 + 8 * argument
    }
    const DONE: u32 = libc::SECCOMP_RET_ERRNO;
    const CORE: u32 = libc::RLIMIT_CORE;
    [
        (EQUAL, 2, 0, libc::SYS_prlimit64 as u32),
        (EQUAL, 7, 0, libc::SYS_setrlimit as u32),
        (JUMP, 0, 0, 10),
        // prlimit: no new limit, so it only asks.
        (LOAD, 0, 0, low(2)),
        (EQUAL, 0, 2, 0),
        (LOAD, 0, 0, low(2) + 4),
        (EQUAL, 5, 0, 0),
        (LOAD, 0, 0, low(1)),
        (EQUAL, 2, 3, CORE),
        // setrlimit.
        (LOAD, 0, 0, low(0)),
        (EQUAL, 0, 1, CORE),
        (RETURN, 0, 0, DONE),
        (LOAD, 0, 0, OFFSET_NUMBER),
    ]
}

/// What is refused, by call: each rule is a list of conditions that must all hold; one rule is enough.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, PolicyError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let any_flag = |flags: &[i32]| {
        // The flags are an unsigned long, but all that are known lie in the lower 32 bits; the kernel drops the upper
        // half (clone) or refuses it (unshare).
        flags.iter().map(|&flag| vec![(0, MaskedEq(flag as u64), flag as u64)]).collect::<Vec<_>>()
    };
    let mut rules = BTreeMap::new();
    let mut add = |call: i64, alternatives: Vec<Vec<(u8, SeccompCmpOp, u64)>>| -> Result<(), PolicyError> {
        for conditions in alternatives {
            let conditions = conditions
                .into_iter()
                .map(|(index, op, value)| SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value))
                .collect::<Result<_, _>>()
                .map_err(wrong)?;
            rules.entry(call).or_insert_with(Vec::new).push(SeccompRule::new(conditions).map_err(wrong)?);
        }
        Ok(())
    };

    // New namespaces: new user namespaces are the way to most of the kernel's attack surface.
    add(libc::SYS_clone, any_flag(NAMESPACES))?;
    add(libc::SYS_unshare, any_flag(NAMESPACES))?;
    // In clone this bit belongs to the exit signal; only unshare takes it as a flag.
    add(libc::SYS_unshare, any_flag(&[CLONE_NEWTIME]))?;

    // An unsigned int. All but these change how memory is laid out or mapped in ways that ease attacks.
    add(libc::SYS_personality, vec![PERSONALITIES.iter().map(|&value| (0, Ne, value)).collect()])?;

    // The request is an unsigned int.
    add(libc::SYS_ioctl, REQUESTS.iter().map(|&request| vec![(1, Eq, request)]).collect())?;

    // Three ints. Netlink is for ROUTE only (the C library lists addresses by it), whatever its type.
    let netlink = libc::AF_NETLINK as u64;
    add(libc::SYS_socket, vec![FAMILIES.iter().map(|&family| (0, Ne, family)).collect()])?;
    add(libc::SYS_socket, vec![vec![(0, Eq, netlink), (2, Ne, libc::NETLINK_ROUTE as u64)]])?;
    // Raw sockets, in the families where they are raw: netlink calls its sockets so too. Datagram ICMP stays.
    for family in [libc::AF_INET, libc::AF_INET6] {
        add(libc::SYS_socket, vec![vec![(0, Eq, family as u64), (1, MaskedEq(TYPE_MASK), libc::SOCK_RAW as u64)]])?;
    }
    // What else there is to be had loads modules that few look at (SCTP, DCCP, L2TP, UDP-Lite), or is new (MPTCP, from
    // which programs fall back to TCP).
    for family in [libc::AF_INET, libc::AF_INET6] {
        let others = PROTOCOLS.iter().map(|&protocol| (2, Ne, protocol as u64));
        add(libc::SYS_socket, vec![std::iter::once((0, Eq, family as u64)).chain(others).collect()])?;
    }
    // The kernel turns this obsolete type into a packet socket, in the internet family.
    add(libc::SYS_socket, vec![vec![(1, MaskedEq(TYPE_MASK), SOCK_PACKET)]])?;
    add(libc::SYS_socketpair, vec![vec![(0, Ne, libc::AF_UNIX as u64)]])?;
    Ok(rules)
}

/// Flags of clone and unshare that make a namespace.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// `linux/sched.h`; `libc` lacks it on some targets.
const CLONE_NEWTIME: i32 = 0x80;

/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, the query, and `ADDR_NO_RANDOMIZE`, which debuggers set.
const PERSONALITIES: &[u64] = &[0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0xFFFF_FFFF];

/// Typing into the terminal (TIOCSTI), pasting into a console (TIOCLINUX), and changing the line discipline (TIOCSETD),
/// which loads rarely used drivers.
const REQUESTS: &[u64] = &[0x5412, 0x541C, 0x5423];

/// Address families that stay.
const FAMILIES: &[u64] = &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64, libc::AF_NETLINK as u64];

/// Protocols of the internet families that stay: the type's own, TCP, UDP, and `ping`'s.
const PROTOCOLS: &[i32] = &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6];

/// `SOCK_TYPE_MASK` of `linux/net.h`: the bits of a socket type that are not flags.
const TYPE_MASK: u64 = 0xF;
/// `SOCK_PACKET` of `linux/net.h`; deprecated in `libc`.
const SOCK_PACKET: u64 = 10;

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn wrong(error: seccompiler::BackendError) -> PolicyError {
    PolicyError::Rules(error.to_string())
}
