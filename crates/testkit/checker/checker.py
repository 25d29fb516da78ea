#!/usr/bin/env python3
"""The containment checker as a script: answers the list in checks.txt like the static program beside it.

usage: checker.py check CHECKS.TXT KEY=VALUE...

The facts are those that `computesdk-checker outside` prints on the host. One JSON line for each check. Standard library
only. What each check means stands in checks.txt; it is written a second time here so that one form's mistake does not hide
a hole.
"""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"
# System calls by name that have no wrapper here: on x86-64 and on arm64.
NUMBERS = {name: pair[0 if X86 else 1] for name, pair in {
    "ioctl": (16, 29), "sched_setscheduler": (144, 119), "prlimit64": (302, 261), "setrlimit": (160, 164),
    "prctl": (157, 167), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186),
    "mq_open": (240, 180), "keyctl": (250, 219), "mount": (165, 40), "umount2": (166, 39), "statfs": (137, 43),
    "personality": (135, 92), "faccessat2": (439, 439), "setsockopt": (54, 208), "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}.items()}
MARKED = ["/", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/etc", "/bin", "/lib", "/root", "/home",
          "/opt", "/srv", "/mnt", "/var", "/var/lib", "/var/tmp", "/tmp", "/run", "/dev", "/dev/shm", "/sys", "/proc"]
# An error must come within this many seconds: where none does, the packet has gone somewhere. And how long is waited for
# what nobody should answer.
WITHIN, SILENCE = 2, 0.25
NAMESERVER = ("192.0.0.1", 53)
# By which a sandbox reaches itself; the first one always.
OWN = ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "192.0.0.2", "::ffff:192.0.0.2",
       "fdc0:c0de:5db0::2"]
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


class Skip(Exception):
    """The check does not apply, and why."""


class Lost(Exception):
    """What is tried would work, and is not tried."""


def held(evidence):
    return "held", evidence


def lost(evidence):
    return "not held", evidence


def when(holds, evidence):
    return held(evidence) if holds else lost(evidence)


def words(number):
    return os.strerror(number)


# Buffers live as long as the process.
BUFFERS = []


def page(content=b""):
    """A zeroed page that a 32-bit pointer reaches, with this at its start; its address."""
    low = 0x40 if X86 else 0  # MAP_32BIT
    area = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | low, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    area[:len(content)] = content
    BUFFERS.append(area)
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def content(address, size):
    return ctypes.string_at(address, size)


# Loads the registers of the i386 convention from an array of seven words (number first) and enters the kernel.
INT80 = bytes([0x53, 0x55, 0x48, 0x8B, 0x07, 0x48, 0x8B, 0x5F, 0x08, 0x48, 0x8B, 0x4F, 0x10, 0x48, 0x8B, 0x57, 0x18, 0x48,
               0x8B, 0x77, 0x20, 0x48, 0x8B, 0x6F, 0x30, 0x48, 0x8B, 0x7F, 0x28, 0xCD, 0x80, 0x5D, 0x5B, 0xC3])


def int80(number, arguments):
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(INT80)
    BUFFERS.append(code)
    enter = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    array = (ctypes.c_uint64 * 7)(number, *(argument % 2**64 for argument in arguments))
    result = enter(ctypes.addressof(array))
    return (0, -result) if -4095 <= result < 0 else (result, 0)


def call(number, *arguments, entry="native"):
    """A system call: its result, and its error or 0."""
    if entry == "i386":
        return int80(number, arguments)
    if entry == "x32":
        number |= 0x40000000
    ctypes.set_errno(0)
    padded = [ctypes.c_ulong(argument % 2**64) for argument in arguments] + [ctypes.c_ulong(0)] * (6 - len(arguments))
    result = LIBC.syscall(ctypes.c_long(number), *padded)
    return (0, ctypes.get_errno()) if result == -1 else (result, 0)


def named(name, *arguments):
    return call(NUMBERS[name], *arguments)


def refused(result):
    """Held if the call failed."""
    value, error = result
    return held(words(error)) if error else lost(f"it worked: {value}")


def by_right(result):
    """Held if it was refused for who asks; any other error came after that question."""
    value, error = result
    return when(error in REFUSED or error == errno.ESRCH, words(error) if error else f"it returned {value}")


def attempt(work):
    """Held if it fails."""
    try:
        value = work()
    except OSError as error:
        return held(str(error))
    return lost(f"it worked: {value!r}")


def needed(path):
    """A file's text; the check does not apply without it."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError as error:
        raise Skip(str(error)) from error


def status(name):
    for line in needed("/proc/self/status").splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    raise Skip(f"/proc/self/status has no {name}")


def is_null(info):
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == os.makedev(1, 3)


def reads(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 80)
    finally:
        os.close(descriptor)


def writes(path):
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def processes():
    try:
        return [f"/proc/{name}" for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def writable():
    for directory in ("/tmp", "/var/tmp", "/root", "/dev/shm", "/run"):
        if os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            return directory
    return None


def not_the_first():
    def command(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return file.read()
        except OSError:
            return b""
    if os.getpid() == 1 or os.getppid() == 1 and command(1) == command("self"):
        raise Skip("process 1 is this program")


class Checks:
    """The checks, one method for each kind and each special one."""

    def __init__(self, facts, descriptors):
        self.facts, self.descriptors = facts, descriptors

    def fact(self, name):
        value = self.facts.get(name)
        if not value:
            raise Skip(f"the host has no {name}")
        return value

    # Kinds.

    def ns(self, name, _):
        host = self.fact(f"ns.{name}")
        try:
            own = os.readlink(f"/proc/self/ns/{name}")
        except OSError as error:
            raise Skip(str(error)) from error
        return when(own != host, f"{own}, the host's is {host}")

    def hidden(self, _, path):
        try:
            info = os.stat(path)
            if is_null(info):
                return held("a null device covers it")
            if stat.S_ISDIR(info.st_mode):
                names = os.listdir(path)
                return when(not names, f"it holds {names[:3]}")
            text = reads(path)
        except OSError as error:
            return held(str(error))
        return when(not text, f"it says {text!r}")

    def absent(self, _, path):
        return attempt(lambda: stat.filemode(os.lstat(path).st_mode))

    def readonly(self, _, path):
        try:
            info = os.stat(path)
        except OSError as error:
            return held(str(error))
        if stat.S_ISDIR(info.st_mode):
            at_fdcwd, at_eaccess = -100, 0x200
            return refused(named("faccessat2", at_fdcwd, page(path.encode()), os.W_OK, at_eaccess))
        if is_null(info):
            return held("a null device covers it")
        return attempt(lambda: writes(path))

    def ownfs(self, _, path):
        host = self.fact(f"fs.{path}")
        try:
            own = str(os.stat(path).st_dev)
        except OSError as error:
            return held(str(error))
        return when(own != host, f"on device {own}, the host's is on {host}")

    def differs(self, _, arguments):
        name, path = arguments.split(" ", 1)
        host = self.fact(name)
        try:
            with open(path, errors="replace") as file:
                own = file.read().strip()
        except OSError as error:
            return held(str(error))
        return when(own != host, f"it says {own!r}")

    def without(self, _, arguments):
        name, path = arguments.split(" ", 1)
        names = self.fact(name).split(",")
        try:
            with open(path, errors="replace") as file:
                text = file.read()
        except OSError as error:
            return held(str(error))
        found = [word for word in names if word in text]
        return when(not found, f"it names {found}" if found else f"nothing of it in {len(text)} letters")

    def pid1(self, _, name):
        not_the_first()
        path = f"/proc/1/{name}"
        if not os.path.exists("/proc/1"):
            raise Skip("there is no process 1")
        try:
            return lost(f"it leads to {os.readlink(path)}")
        except OSError:
            pass
        if name == "mem":
            return attempt(lambda: os.close(os.open(path, os.O_RDONLY)))
        return self.hidden(name, path)

    def capability(self, _, number, sets=("CapEff", "CapPrm", "CapInh", "CapAmb")):
        for name in sets:
            mask = status(name)
            if int(mask, 16) >> int(number) & 1:
                return lost(f"{name} is {mask}")
        return held(f"not in {', '.join(sets)}")

    def bounding(self, name, number):
        return self.capability(name, number, ("CapBnd",))

    def limit(self, _, arguments):
        number, most = map(int, arguments.split())
        soft, hard = resource.getrlimit(number)
        return when(0 <= hard <= most, f"soft {soft}, hard {hard}")

    def call(self, name, arguments, entry, number):
        accepted, values = set(REFUSED), []
        for word in arguments.split():
            if word.startswith("ok="):
                accepted.update(map(int, word[3:].split(",")))
            else:
                values.append(self.argument(word))
        value, error = call(number, *values, entry=entry)
        if not error and value == 0 and name.startswith("clone"):
            os._exit(0)  # a process that was made answers twice
        return when(error in accepted, words(error) if error else f"it returned {value}")

    def argument(self, word):
        try:
            return int(word, 0)
        except ValueError:
            pass
        if word == "bad":
            return 1
        if word in ("zero", "zero2"):
            return page()
        if word == "root":
            return page(b"/")
        if word == "pid":
            return os.getpid()
        if word == "now":
            return page(struct.pack("qq", *divmod(time.time_ns(), 10**9)))
        if word == "timex":
            return page(struct.pack("26q", *([0x4000] + [0] * 10 + [10000] + [0] * 14)))
        if word == "clone3":
            return page(struct.pack("11Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0))
        if word == "ptmx":
            return self.terminal()[0]
        raise ValueError(f"no argument is called {word}")

    # Namespaces.

    def host_root_unmapped(self):
        try:
            owner = os.stat("/proc/sys/kernel").st_uid
        except OSError as error:
            raise Skip(str(error)) from error
        return when(owner != 0, f"/proc/sys/kernel belongs to user {owner}")

    def identity_map(self):
        numbers = needed("/proc/self/uid_map").split()
        return when(numbers != ["0", "0", "4294967295"], " ".join(numbers))

    def root_of_outer(self):
        lines = needed("/proc/self/uid_map").splitlines()
        return when(all(line.split()[:2] != ["0", "0"] for line in lines), "; ".join(lines))

    def namespace_of(self, name, request):
        try:
            descriptor = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
        except OSError as error:
            raise Skip(str(error)) from error
        value, error = named("ioctl", descriptor, request)
        if error:
            return held(words(error))
        found, own = os.readlink(f"/proc/self/fd/{value}"), os.readlink("/proc/self/ns/user")
        return when(found == own, f"it is {found}, its own is {own}")

    def parent_user_ns(self):
        return self.namespace_of("user", 0xB702)

    def parent_pid_ns(self):
        return self.namespace_of("pid", 0xB702)

    def net_owner_ns(self):
        return self.namespace_of("net", 0xB701)

    def ns_pid_depth(self):
        return when(len(status("NSpid").split()) == 1, status("NSpid"))

    # Files.

    def read_any(self, paths):
        tried = 0
        for path in paths:
            tried += 1
            try:
                reads(path)
            except OSError:
                continue
            return lost(f"{path} can be read")
        return when(tried, f"none of {tried} paths leads to it")

    def canary_file(self):
        return self.read_any([self.fact("canary.file")])

    def canary_by_proc_root(self):
        canary = self.fact("canary.file")
        starts = [f"{process}/{link}" for process in processes() for link in ("root", "cwd", "fd/0", "fd/3")]
        return self.read_any(start + canary for start in starts + ["/proc/self/root"])

    def canary_dots(self):
        up = "../" * 64 + self.fact("canary.file")
        return self.read_any(start + up for start in ("", "/tmp/", "/proc/self/cwd/", "/dev/fd/", "/dev/pts/"))

    def chroot_escape(self):
        canary, base = self.fact("canary.file"), writable()
        if not base:
            raise Skip("no directory to work in")
        directory = os.path.join(base, "computesdk-chroot-py")
        os.makedirs(directory, exist_ok=True)
        evidence = "it ends at the sandbox's own root"
        try:
            os.chdir(base)
            outside = os.open(".", os.O_RDONLY)
            os.chroot(directory)
            os.fchdir(outside)
            for _ in range(64):
                os.chdir("..")
            os.chroot(".")
        except OSError as error:
            evidence = str(error)
        found = os.path.exists(canary)
        for path in (directory, directory.lstrip("/")):
            try:
                os.rmdir(path)
            except OSError:
                pass
        return when(not found, evidence)

    def hidden_files(self):
        looked_at = 0
        stack = [(f"/usr/{name}", 0) for name in ("bin", "sbin", "lib", "libexec", "local", "share")]
        while stack:
            directory, depth = stack.pop()
            try:
                entries = list(os.scandir(directory))
            except OSError:
                continue
            for entry in entries:
                looked_at += 1
                try:
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode) and depth < 2:
                        stack.append((entry.path, depth + 1))
                    elif stat.S_ISREG(mode) and not mode & 0o004:
                        reads(entry.path)
                        return lost(f"{entry.path} is for few and can be read")
                except OSError:
                    continue
        return held(f"none among {looked_at} files")

    def setuid_gain(self):
        if status("NoNewPrivs") == "1":
            return held("no_new_privs is set")
        return when(os.statvfs("/usr").f_flag & os.ST_NOSUID, "no_new_privs is not set")

    def shadow_hashes(self):
        try:
            with open("/etc/shadow") as file:
                hashes = [line for line in file if line.split(":")[1:2] and line.split(":")[1].startswith("$")]
        except OSError as error:
            return held(str(error))
        return when(not hashes, f"{len(hashes)} hashes")

    def host_users(self):
        users = set(self.fact("host.users").split(","))
        try:
            with open("/etc/passwd") as file:
                found = users & {line.split(":")[0] for line in file}
        except OSError as error:
            return held(str(error))
        return when(not found, f"{sorted(found)} of {len(users)}")

    def only_harmless(self):
        harmless = 0
        for directory, _, names in os.walk("/dev"):
            for name in names:
                path = os.path.join(directory, name)
                info = os.lstat(path)
                if stat.S_ISBLK(info.st_mode) or stat.S_ISCHR(info.st_mode):
                    device = os.major(info.st_rdev), os.minor(info.st_rdev)
                    fine = device in {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)} or 136 <= device[0] <= 143
                    if not fine or stat.S_ISBLK(info.st_mode):
                        return lost(f"{path} is {device}")
                    harmless += 1
        return held(f"{harmless} harmless ones")

    def make_node(self, kind, major, minor):
        base = writable()
        if not base:
            return held("no directory to make it in")
        path = os.path.join(base, "computesdk-node-py")
        try:
            os.mknod(path, kind | 0o666, os.makedev(major, minor))
        except OSError as error:
            return held(str(error))
        try:
            return attempt(lambda: os.close(os.open(path, os.O_RDONLY)))
        finally:
            os.unlink(path)

    def mknod_char(self):
        return self.make_node(stat.S_IFCHR, 1, 1)

    def mknod_block(self):
        return self.make_node(stat.S_IFBLK, 8, 0)

    def mknod_kmsg(self):
        return self.make_node(stat.S_IFCHR, 1, 11)

    # Mounts and cgroups. A mount is: the line, target, flags, tags, kind, source, options.

    def no_mount(self, is_bad):
        mounts = []
        for line in needed("/proc/self/mountinfo").splitlines():
            before, after = (half.split(" ") for half in line.split(" - ", 1))
            mounts.append((line, before[4], before[5].split(","), before[6:], *after[:3]))
        for mount in mounts:
            if is_bad(*mount):
                return lost(mount[0])
        return when(mounts, f"none of {len(mounts)} mounts")

    def mounts_propagate(self):
        return self.no_mount(lambda line, target, flags, tags, kind, source, options:
                             any(tag.startswith(("shared:", "master:")) for tag in tags))

    def mounts_devices(self):
        return self.no_mount(lambda line, target, flags, tags, kind, source, options: source.startswith("/dev/"))

    def mounts_paths(self):
        paths = self.fact("host.paths").split(",")
        return self.no_mount(lambda line, target, flags, tags, kind, source, options:
                             any(path in text for path in paths for text in (line.split(" ")[3], source, options)))

    def mounts_overlay_paths(self):
        starts = tuple(f"{name}=/" for name in ("lowerdir", "lowerdir+", "upperdir", "workdir"))
        return self.no_mount(lambda line, target, flags, tags, kind, source, options:
                             any(option.startswith(starts) for option in options.split(",")))

    def mounts_nosuid(self):
        return self.no_mount(lambda line, target, flags, tags, kind, source, options:
                             "rw" in flags and os.path.isdir(target) and "nosuid" not in flags)

    def mounts_nodev(self):
        return self.no_mount(lambda line, target, flags, tags, kind, source, options:
                             "rw" in flags and os.path.isdir(target) and kind != "devpts" and "nodev" not in flags)

    def mounts_cgroup(self):
        return self.no_mount(lambda line, target, flags, tags, kind, source, options: kind.startswith("cgroup"))

    def mounts_sysfs(self):
        return self.no_mount(lambda line, target, flags, tags, kind, source, options: kind == "sysfs")

    def mounts_debugfs(self):
        kinds = ("debugfs", "tracefs", "bpf", "securityfs", "configfs", "pstore", "efivarfs")
        return self.no_mount(lambda line, target, flags, tags, kind, source, options: kind in kinds)

    def self_root(self, path="/proc/self/cgroup"):
        other = [line for line in needed(path).splitlines() if not line.endswith(":/")]
        return when(not other, other[0] if other else "every line ends in :/")

    def pid1_root(self):
        not_the_first()
        return self.self_root("/proc/1/cgroup")

    def mount_v1(self):
        base = writable()
        if not base:
            return held("no directory to mount it on")
        target = os.path.join(base, "computesdk-cgroup-py")
        os.makedirs(target, exist_ok=True)
        try:
            for kind, data in ((b"cgroup", b"memory"), (b"cgroup", b"none,name=computesdk"), (b"cgroup2", b"")):
                result = named("mount", page(kind), page(target.encode()), page(kind), 0, page(data))
                if not result[1]:
                    named("umount2", page(target.encode()), 0)
                    break
        finally:
            os.rmdir(target)
        return refused(result)

    # The host's name.

    def uname_node(self):
        return when(os.uname().nodename != self.fact("host.name"), os.uname().nodename)

    # What it starts with.

    def only_streams(self):
        return when(not self.descriptors, f"others: {self.descriptors}")

    def streams_not_host(self):
        terminals = os.stat("/dev/pts").st_dev if os.path.exists("/dev/pts") else None
        for number in range(3):
            info = os.fstat(number)
            own_terminal = stat.S_ISCHR(info.st_mode) and info.st_dev == terminals
            if not (stat.S_ISFIFO(info.st_mode) or is_null(info) or own_terminal):
                return lost(f"stream {number} is {stat.filemode(info.st_mode)}")
        return held("pipes, null devices or own terminals")

    def session(self):
        return when(os.getsid(0) and os.getpgid(0), f"session {os.getsid(0)}, group {os.getpgid(0)}")

    def controlling_terminal(self):
        try:
            reads_nothing = os.open("/dev/tty", os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            return held(str(error))
        os.close(reads_nothing)
        given = False
        if os.isatty(0):
            try:
                given = struct.unpack("i", fcntl.ioctl(0, 0x5429, b"\0" * 4))[0] == os.getsid(0)  # TIOCGSID
            except OSError:
                pass
        return when(given, "there is one; is it the one that was given?")

    def signals(self, name):
        own = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1  # the interpreter's start-up ignores these
        mask = int(status(name), 16)
        return when(not mask & ~own, f"{name} is {mask:016x}")

    def signals_ignored(self):
        return self.signals("SigIgn")

    def signals_blocked(self):
        return self.signals("SigBlk")

    def cwd(self):
        directory = os.getcwd()
        return when(directory.startswith("/"), directory)

    def umask(self):
        return when(int(status("Umask"), 8) & 0o002, f"the umask is {status('Umask')}")

    def environment_of(self, path):
        names = set(self.fact("env").split(","))
        try:
            with open(path, "rb") as file:
                own = {variable.split(b"=")[0].decode(errors="replace") for variable in file.read().split(b"\0")}
        except OSError as error:
            return held(str(error))
        return when(not names & own, f"of {len(names)} names it has {sorted(names & own)}")

    def own(self):
        return self.environment_of("/proc/self/environ")

    def of_others(self):
        for process in processes():
            verdict = self.environment_of(f"{process}/environ")
            if verdict[0] != "held":
                return verdict
        self.fact("env")
        return held("of no process")

    # Processes.

    def is_canary(self, process):
        try:
            with open(f"{process}/cmdline", "rb") as file:
                return file.read().split(b"\0")[1:2] == [b"outside"]
        except OSError:
            return False

    def canary_visible(self):
        found = [process for process in processes() if self.is_canary(process)]
        return when(not found, f"{found} of {len(processes())}")

    def canary_signal(self):
        pid = int(self.fact("canary.pid"))
        try:
            os.kill(pid, 0)
        except ProcessLookupError as error:
            return held(str(error))
        except OSError:
            pass
        return when(not self.is_canary(f"/proc/{pid}"), "a process of the sandbox has its number")

    def few(self):
        try:
            with open("/proc/2/comm") as file:
                name = file.read().strip()
        except OSError:
            name = ""
        return when(name != "kthreadd", f"process 2 is called {name!r}")

    def pid1_mem_write(self):
        not_the_first()
        return attempt(lambda: writes("/proc/1/mem"))

    def pid1_ptrace(self):
        not_the_first()
        seized = named("ptrace", 0x4206, 1, 0, 0)
        named("ptrace", 17, 1, 0, 0)
        return refused(seized)

    def vm(self, name):
        not_the_first()
        local, remote = page(struct.pack("QQ", page(), 8)), page(struct.pack("QQ", 4096, 8))
        return by_right(named(name, 1, local, 1, remote, 1, 0))

    def pid1_vm_read(self):
        return self.vm("process_vm_readv")

    def pid1_vm_write(self):
        return self.vm("process_vm_writev")

    def pid1_getfd(self):
        not_the_first()
        descriptor, error = named("pidfd_open", 1, 0)
        return held(words(error)) if error else refused(named("pidfd_getfd", descriptor, 0, 0))

    def pid1_kill(self):
        host = self.fact("ns.pid")
        not_the_first()
        if needed("/proc/self/status") and os.readlink("/proc/self/ns/pid") == host:
            return lost("process 1 is the host's, and was left alone")
        for number in (signal.SIGKILL, 0):
            try:
                os.kill(1, number)
            except ProcessLookupError as error:
                return lost(str(error))
            except OSError:
                pass
        return held("it lives on")

    # Network.

    def interfaces(self):
        names = [line.split(":")[0].strip() for line in needed("/proc/net/dev").splitlines()[2:]]
        return when(all(name == "lo" for name in names), str(names))

    def canary_tcp(self):
        port = int(self.fact("canary.tcp"))
        first = attempt(lambda: socket.create_connection(("127.0.0.1", port), 2))
        return first if first[0] != "held" else attempt(lambda: socket.create_connection(("::1", port), 2))

    def canary_udp(self):
        port = int(self.fact("canary.udp"))

        def echo():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.settimeout(2)
                sender.connect(("127.0.0.1", port))
                sender.send(b"mark")
                return sender.recv(16)
        return attempt(echo)

    def unix(self, address):
        with socket.socket(socket.AF_UNIX) as client:
            return attempt(lambda: client.connect(address))

    def canary_abstract(self):
        return self.unix("\0" + self.fact("canary.abstract"))

    def canary_abstract_listed(self):
        name, text = self.fact("canary.abstract"), needed("/proc/net/unix")
        return when(name not in text, f"{len(text.splitlines())} sockets are listed")

    def canary_unix_path(self):
        return self.unix(self.fact("canary.socket"))

    def apart(self):
        """Nothing is sent from the host's own network: there most of the addresses below are somebody's."""
        if os.readlink("/proc/self/ns/net") == self.fact("ns.net"):
            raise Lost("it is in the host's network: nothing was sent")

    def route_out(self):
        if self.facts.get("network") == "egress":
            raise Skip("it may reach the internet")
        for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as asking:
                    asking.connect((address, 9))  # sends nothing
                    return lost(f"from {asking.getsockname()}")
            except OSError as error:
                evidence = str(error)
        return held(evidence)

    def metadata(self):
        first = self.tcp("", "169.254.169.254 80")
        return first if first[0] != "held" else self.udp("", "169.254.169.254 80")

    def host_addresses(self, *versions):
        found = [address for address in self.fact("host.addresses").split(",") if (6 if ":" in address else 4) in versions]
        if not found:
            raise Skip("the host has no such address")
        return found

    def port(self, word):
        return int(word if word[0].isdigit() else self.fact(word))

    def targets(self, arguments):
        self.apart()
        address, port = arguments.split()[:2]
        port = self.port(port)
        if address == "@host":
            names = self.host_addresses(4, 6)
        elif address == "@mapped":
            names = ["::ffff:" + name for name in self.host_addresses(4)]
        elif address == "localhost":
            if not any("localhost" in line.split()[1:] for line in needed("/etc/hosts").splitlines()):
                raise Skip("there is no localhost")
            names = ["localhost"]
        else:
            names = [address]
        return self.resolved(names, port)

    def resolved(self, names, port):
        for name in names:
            # A link-local address needs a device, and there is one only.
            scoped = name + "%1" if name.startswith("fe80:") and "%" not in name else name
            for info in socket.getaddrinfo(scoped, port, type=socket.SOCK_STREAM):
                yield info[0], info[4]

    def all_refuse(self, targets, work):
        """Held if each of them ends with an error, in time."""
        evidence = "there is none"
        for family, target in targets:
            try:
                return lost(f"{target}: it worked: {work(family, target)!r}")
            except (TimeoutError, BlockingIOError):
                return lost(f"{target}: no error within {WITHIN} s")
            except OSError as error:
                evidence = f"{target}: {error}"
        return held(evidence)

    def connected(self, family, target):
        client = socket.socket(family, socket.SOCK_STREAM)
        client.settimeout(WITHIN)
        client.connect(target)
        return client

    def asked(self, family, target, said=b"mark", within=WITHIN):
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.settimeout(within)
            client.connect(target)
            client.send(said)
            return client.recv(512)

    def heard(self, family, target, said=b"", ends=False):
        """What comes on a new connection on which this is said, to its end."""
        heard = b""
        with self.connected(family, target) as client:
            try:
                client.sendall(said)
                if ends:
                    client.shutdown(socket.SHUT_WR)
                while len(heard) < 4096:
                    more = client.recv(4096)
                    if not more:
                        break
                    heard += more
            except TimeoutError:
                if not heard:
                    raise
            except OSError:
                pass  # reset or ended: the same
        return heard

    def unheard(self, family, target, said=b"", ends=False):
        """Held if nothing is heard on a connection, and it ends."""
        try:
            heard = self.heard(family, target, said, ends)
        except TimeoutError:
            return lost(f"{target}: it stays open for {WITHIN} s")
        except OSError as error:
            return held(f"{target}: {error}")
        return when(not heard, f"{target}: it says {heard!r}" if heard else f"{target}: it ends without a byte")

    def tcp(self, _, arguments):
        return self.all_refuse(self.targets(arguments), self.connected)

    def udp(self, _, arguments):
        silent = arguments.endswith(" silent")

        def ask(family, target):
            try:
                return self.asked(family, target, within=SILENCE if silent else WITHIN)
            except TimeoutError as error:
                raise OSError("nobody answers") if silent else error
        return self.all_refuse(self.targets(arguments), ask)

    def mute(self, _, arguments):
        host = f"127.0.0.1:{self.facts.get('canary.any_tcp', 80)}"
        verdict = lost("there is none")
        for family, target in self.targets(arguments):
            for said in (b"", f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()):
                verdict = self.unheard(family, target, said)
                if verdict[0] != "held":
                    return verdict
        return verdict

    def sockopt(self, _, arguments):
        family, kind, level, option = map(int, arguments.split())
        with socket.socket(family, kind) as asking:
            return by_right(named("setsockopt", asking.fileno(), level, option, page(struct.pack("i", 1)), 4))

    def mark_message(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendmsg([b"mark"], [(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("I", 1))], 0, ("127.0.0.1", 9))
            except OSError as error:
                return by_right((0, error.errno))
        return lost("it was sent")

    # Messages to the kernel: a header of length, type, flags, sequence and port, a body, attributes.

    def message(self, kind, flags, body):
        return struct.pack("IHHII", 16 + len(body), kind, flags, 0, 0) + body + b"\0" * (-len(body) % 4)

    def attribute(self, kind, payload):
        return struct.pack("HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)

    def netlink(self, protocol, messages):
        """Held if the kernel's answer is that it is not this process's to ask."""
        self.apart()
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as asking:
                asking.settimeout(5)
                asking.send(messages)
                answer = asking.recv(4096)
        except OSError as error:
            return held(str(error))
        kind, error = struct.unpack_from("H", answer, 4)[0], struct.unpack_from("i", answer, 16)[0]
        return by_right((0, -error) if kind == 2 and error < 0 else (kind, 0))  # NLMSG_ERROR

    def rtnetlink(self, _, number):
        return self.netlink(0, self.message(int(number), 5, b"\0" * 32))

    def add_interface(self):
        body = b"\0" * 16 + self.attribute(3, b"computesdk0\0") + self.attribute(18, self.attribute(1, b"dummy\0"))
        return self.netlink(0, self.message(16, 0x605, body))

    def netfilter_list(self):
        return self.netlink(12, self.message(0xA01, 0x301, b"\0" * 4))  # NFT_MSG_GETTABLE

    def netfilter_delete(self):
        batch, table = struct.pack(">BBH", 0, 0, 10), b"\1\0\0\0" + self.attribute(1, b"computesdk\0")
        messages = self.message(0x10, 1, batch), self.message(0xA02, 5, table), self.message(0x11, 1, batch)
        return self.netlink(12, b"".join(messages))  # NFT_MSG_DELTABLE

    def netfilter_log(self):
        return self.netlink(12, self.message(0x401, 5, b"\0\0\0\1" + self.attribute(1, b"\1")))  # group 1, bind

    def filter_programs(self):
        self.apart()
        tried = 0
        for words_ in ("nft list ruleset", "nft delete table inet computesdk", "nft flush ruleset",
                       "iptables -P INPUT ACCEPT", "ip6tables -P INPUT ACCEPT", "ip route del local default",
                       "ip address add 10.9.8.7/32 dev lo", "tc qdisc add dev lo root pfifo"):
            program = shutil.which(words_.split()[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
            if program:
                tried += 1
                done = subprocess.run([program, *words_.split()[1:]], stdin=subprocess.DEVNULL, capture_output=True)
                if done.returncode == 0:
                    return lost(f"{words_} worked")
        if not tried:
            raise Skip("none of these programs is there")
        return held(f"{tried} of them fail")

    # What serves the network from outside, and tricks with addresses.

    def no_questions(self):
        """Messages that are no question of the name service: RFC 1035 4.1."""
        def message(flags, questions):
            return struct.pack(">6H", 7, flags, questions, 0, 0, 0) + b"\1a\0\0\1\0\1" * questions
        # Then an answer, an update (RFC 2136), two questions, one cut short.
        return [b"\0", b"\0" * 12, b"\xff" * 512, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", message(0x8180, 1),
                message(0x2800, 1), message(0x100, 2), message(0x100, 1)[:14]]

    def nameserver_garbage(self):
        self.apart()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SILENCE)

            def ask():
                client.connect(NAMESERVER)
                for said in self.no_questions():
                    client.send(said)
                return client.recv(512)
            return attempt(ask)

    def nameserver_garbage_tcp(self):
        self.apart()
        for message in self.no_questions():
            for said in (message, struct.pack(">H", len(message)) + message):
                verdict = self.unheard(socket.AF_INET, NAMESERVER, said, ends=True)
                if verdict[0] != "held":
                    return verdict
        return verdict

    def proxied(self, hosts, port, good):
        """Asks the proxy for each, for a tunnel and for a page. Held if all answers are good, or there is no proxy."""
        self.apart()
        evidence = "there is none"
        for host in hosts:
            for request in (f"CONNECT {host}:{port}", f"GET http://{host}:{port}/"):
                whole = f"{request} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
                try:
                    heard = self.heard(socket.AF_INET, ("127.0.0.1", 3128), whole, ends=True)
                except OSError as error:
                    return held(f"there is no proxy: {error}")
                if not good(heard):
                    return lost(f"{request} is answered with {heard!r}")
                evidence = f"{request}: {heard[:30]!r}"
        return held(evidence)

    def proxy_host(self):
        token = self.fact("canary.token").encode()
        hosts = ["127.0.0.1", "127.0.0.2", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]", "localhost"]
        for address in self.fact("host.addresses").split(","):
            hosts += [f"[{address}]"] if ":" in address else [address, f"[::ffff:{address}]"]
        return self.proxied(hosts, self.port("canary.any_tcp"),
                            lambda heard: heard.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")) and token not in heard)

    def proxy_ranges(self):
        hosts = ["169.254.169.254", "[::ffff:169.254.169.254]", "10.0.0.1", "[::ffff:10.0.0.1]", "192.168.0.1", "192.0.0.2",
                 "[fd00:ec2::254]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]"]
        return self.proxied(hosts, 80, lambda heard: heard.startswith(b"HTTP/1.1 403"))

    def ping_host(self):
        self.apart()
        for address in self.host_addresses(4, 6):
            if address.startswith("fe80:"):
                continue
            # An echo request (RFC 792, RFC 4443), whose checksum the kernel fills in.
            family, protocol, kind = (socket.AF_INET6, 58, 128) if ":" in address else (socket.AF_INET, 1, 8)
            try:
                with socket.socket(family, socket.SOCK_DGRAM, protocol) as client:
                    client.settimeout(SILENCE)
                    client.connect((address, 0))
                    client.send(bytes([kind, 0, 0, 0, 0, 0, 0, 1]) + b"m")
                    client.recv(64)
                    return lost(f"{address} answers")
            except OSError as error:
                evidence = f"{address}: {error}"
        return held(evidence)

    def free(self, family, kind):
        """A socket that may have any address: IP_FREEBIND is 15 at SOL_IP, and good for the sixth version too."""
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_IP, 15, 1)
        made.settimeout(SILENCE)
        return made

    def foreign_bind(self):
        """The host sends to this port of its own addresses all the time."""
        self.apart()
        bound, port = [], self.port("canary.beacon")
        for family, target in self.resolved(self.host_addresses(4, 6), port):
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                made = self.free(family, kind)
                try:
                    made.bind(target)
                    if kind == socket.SOCK_STREAM:
                        made.listen()
                except OSError:
                    continue
                bound.append(made)
        come = select.select(bound, [], [], SILENCE)[0]
        return when(not come, f"{len(bound)} sockets were had, something came to {come}" if come else
                    f"{len(bound)} sockets were had, and nothing came")

    def foreign_source(self):
        self.apart()
        for address in self.host_addresses(4):
            for kind, port in ((socket.SOCK_STREAM, "canary.any_tcp"), (socket.SOCK_DGRAM, "canary.any_udp")):
                try:
                    with self.free(socket.AF_INET, kind) as client:
                        client.bind(("10.9.8.7", 0))  # neither the sandbox's nor the host's
                        client.connect((address, self.port(port)))
                        client.send(b"mark")
                        client.recv(64)
                        return lost(f"{address} is reached")
                except OSError as error:
                    evidence = f"{address}: {error}"
        return held(evidence)

    def source_route(self):
        """The packet goes to the first address, and carries where it is to go from there."""
        self.apart()
        for address in self.host_addresses(4):
            for first, last in (("127.0.0.1", address), (address, "127.0.0.1")):
                # IP_OPTIONS is 4; loose source route (RFC 791): type, length, pointer, one address; padding.
                route = bytes([131, 7, 4]) + socket.inet_aton(first) + b"\0"
                try:
                    with socket.socket() as client:
                        client.settimeout(SILENCE)
                        client.setsockopt(socket.SOL_IP, 4, route)
                        client.connect((last, self.port("canary.any_tcp")))
                        return lost(f"{last} by {first} is reached")
                except OSError as error:
                    evidence = f"{last} by {first}: {error}"
        return held(evidence)

    # Another sandbox. It has the same addresses: the word tells whose a server is.

    def everywhere(self, fact):
        """That port at every address by which another sandbox might be reached."""
        self.apart()
        port = self.port(fact)
        names = OWN + ["192.0.0.1", "192.0.0.3", "192.0.0.4", "fdc0:c0de:5db0::1", "fdc0:c0de:5db0::3"]
        for address in self.facts.get("host.addresses", "").split(","):
            names += [address, "::ffff:" + address] if "." in address else [address] if address else []
        return self.resolved(names, port)

    def neighbour_tcp(self):
        return self.all_refuse(self.everywhere("neighbour.port"), self.heard)

    def neighbour_udp(self):
        return self.all_refuse(self.everywhere("neighbour.port"), self.asked)

    def neighbour_published(self):
        return self.all_refuse(self.everywhere("neighbour.published"), self.connected)

    def neighbour_port(self):
        """Takes the other's port, and looks whose server its own addresses lead to then."""
        port, theirs = self.port("neighbour.port"), self.fact("neighbour.word")
        try:
            listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            return lost(f"it is taken: {error}")
        word = f"own-{os.getpid()}".encode()

        def serve():
            while True:
                client = listener.accept()[0]
                client.sendall(word)
                client.close()
        threading.Thread(target=serve, daemon=True).start()
        reached = 0
        for name in OWN:
            try:
                heard = self.heard(socket.AF_INET6 if ":" in name else socket.AF_INET, (name, port))
            except OSError:
                continue
            if heard != word:
                return lost(f"{name}: it says {heard!r}, the other is {theirs}")
            reached += 1
        return when(reached, f"{reached} of its own addresses lead to itself")

    def neighbour_abstract(self):
        for name in self.fact("neighbour.names").split(","):
            if self.unix("\0" + name)[0] != "held":
                return lost(f"{name} answers")
        return held("none of them")

    def neighbour_abstract_listed(self):
        names, text = self.fact("neighbour.names").split(","), needed("/proc/net/unix")
        return when(not any(name in text for name in names), f"{len(text.splitlines())} sockets are listed")

    def interface_request(self, request, name, value):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            return by_right(named("ioctl", asking.fileno(), request, page(name.ljust(16, b"\0") + value)))

    def loopback_down(self):
        verdict = self.interface_request(0x8914, b"lo", b"\0\0")
        if verdict[0] != "held":
            self.interface_request(0x8914, b"lo", b"\1\0")
        return verdict

    def add_address(self):
        return self.interface_request(0x8916, b"lo:7", bytes([2, 0, 0, 0, 127, 0, 0, 9]))

    def add_route(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            return by_right(named("ioctl", asking.fileno(), 0x890B, page()))

    def replace_filters(self, family, level):
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            result = named("setsockopt", asking.fileno(), level, 64, page(), 96)
        if result[1] == errno.ENOPROTOOPT:
            raise Skip("this kernel has no such filters")
        return by_right(result)

    def iptables(self):
        return self.replace_filters(socket.AF_INET, 0)

    def ip6tables(self):
        return self.replace_filters(socket.AF_INET6, 41)

    # Objects with names, keys, terminals.

    def shm(self):
        return refused(named("shmget", int(self.fact("canary.key")), 0, 0))

    def sem(self):
        return refused(named("semget", int(self.fact("canary.key")), 0, 0))

    def msg(self):
        return refused(named("msgget", int(self.fact("canary.key")), 0))

    def mqueue(self):
        return refused(named("mq_open", page(self.fact("canary.name").encode()), 0, 0, 0))

    def dev_shm(self):
        name = self.fact("canary.name")
        return attempt(lambda: reads(f"/dev/shm/{name}"))

    def sysvipc_listed(self):
        key, lines = self.fact("canary.key"), needed("/proc/sysvipc/shm").splitlines()
        return when(all(line.split()[:1] != [key] for line in lines), f"{len(lines) - 1} are listed")

    def search_key(self, ring):
        name = self.fact("canary.name").encode()
        return refused(named("keyctl", 10, ring, page(b"user"), page(name), 0))

    def keyring_session(self):
        return self.search_key(-3)

    def keyring_user(self):
        return self.search_key(-4)

    def terminal(self):
        """The slave side of a new terminal, and its number."""
        try:
            master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
            fcntl.ioctl(master, 0x40045431, b"\0" * 4)  # TIOCSPTLCK
            number = struct.unpack("I", fcntl.ioctl(master, 0x80045430, b"\0" * 4))[0]  # TIOCGPTN
            return fcntl.ioctl(master, 0x5441, os.O_RDWR | os.O_NOCTTY), number  # TIOCGPTPEER
        except OSError as error:
            raise Skip(f"a terminal: {error}") from error

    def tiocsti(self):
        slave = self.terminal()[0]
        try:
            os.setsid()
        except OSError:
            pass
        named("ioctl", slave, 0x540E, 0)  # TIOCSCTTY
        return refused(named("ioctl", slave, 0x5412, page(b"x")))

    def terminal_own(self):
        if not os.isatty(0):
            raise Skip("it has none")
        given, own = os.fstat(0).st_dev, os.stat("/dev/pts").st_dev
        return when(given == own, f"on device {given}, its own are on {own}")

    def ptmx_own(self):
        host = self.fact("fs./dev/pts")
        try:
            number = self.terminal()[1]
        except Skip as why:
            return held(str(why))
        try:
            device = str(os.stat(f"/dev/pts/{number}").st_dev)
        except OSError as error:
            return lost(f"a terminal was made that is not in /dev/pts: {error}")
        return when(device != host, f"on device {device}")

    # The kernel's settings, limits and filters.

    def write_into(self, path, text):
        def write():
            with open(path, "w") as file:
                file.write(text)
        return attempt(write)

    def oom_lower(self):
        return self.write_into("/proc/self/oom_score_adj", "-500")

    def uid_map_write(self):
        return self.write_into("/proc/self/uid_map", "0 0 1\n")

    def gid_map_write(self):
        return self.write_into("/proc/self/gid_map", "0 0 1\n")

    def setgroups_write(self):
        return self.write_into("/proc/self/setgroups", "allow")

    def sysctl_write(self):
        if not os.path.isdir("/proc/sys"):
            raise Skip("there is no /proc/sys")
        tried, opened = 0, []
        for directory, _, names in os.walk("/proc/sys"):
            for name in names:
                path = os.path.join(directory, name)
                tried += 1
                try:
                    if stat.S_ISREG(os.stat(path).st_mode):
                        writes(path)
                        opened.append(path)
                except OSError:
                    continue
        return when(not opened, f"{len(opened)} of {tried} can be opened for writing {opened[:1]}")

    def no_new_privs(self):
        return when(status("NoNewPrivs") == "1", f"NoNewPrivs is {status('NoNewPrivs')}")

    def ambient_raise(self):
        return refused(named("prctl", 47, 2, 21, 0, 0))

    def core_helper(self):
        limits, pattern = resource.getrlimit(resource.RLIMIT_CORE), self.facts.get("host.core_pattern", "|")
        to_file = not pattern.startswith(("|", "@"))  # there a limit of 0 is enough
        return when(limits[0] == 1 or to_file and limits == (0, 0), f"the limits are {limits}, the host writes {pattern}")

    def core_limit_changed(self):
        before = resource.getrlimit(resource.RLIMIT_CORE)
        named("prlimit64", 0, resource.RLIMIT_CORE, page(), 0)
        named("setrlimit", resource.RLIMIT_CORE, page())
        after = resource.getrlimit(resource.RLIMIT_CORE)
        return when(before in ((1, 1), (0, 0)) and after == before, f"{before}, then {after}")

    def realtime(self):
        return refused(named("sched_setscheduler", 0, os.SCHED_FIFO, page(struct.pack("i", 1))))

    def nice_negative(self):
        return refused(named("setpriority", 0, 0, -5))

    def io_realtime(self):
        return refused(named("ioprio_set", 1, 0, 1 << 13))

    def memory_map(self):
        return refused(named("prctl", 35, 6, 0x10000, 0, 0))

    def suspend(self):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        seized = named("ptrace", 0x4206, pid, 0, 1 << 21)
        os.kill(pid, signal.SIGKILL)
        return refused(seized)

    def trusted_xattr(self):
        base = writable()
        if not base:
            return held("no directory to make a file in")
        path = os.path.join(base, "computesdk-attribute-py")
        try:
            open(path, "w").close()
        except OSError as error:
            raise Skip(str(error)) from error
        try:
            return attempt(lambda: os.setxattr(path, "trusted.computesdk", b"x"))
        finally:
            os.unlink(path)

    def aslr(self):
        setting, (own, error) = needed("/proc/sys/kernel/randomize_va_space").strip(), named("personality", 0xFFFFFFFF)
        if error:
            raise Skip(words(error))
        if setting != "2":
            raise Skip(f"the host has chosen {setting}")
        return when(not own & 0x40000, f"randomize_va_space {setting}, personality {own:#x}")

    def filter(self):
        return when(status("Seccomp") == "2", f"Seccomp is {status('Seccomp')}")

    def filters_kept(self):
        return refused(named("prctl", 22, 0, 0, 0, 0))

    def unknown_call(self):
        value, error = call(1000)
        return when(error == errno.ENOSYS, words(error) if error else f"it returned {value}")


def read_list(path):
    """Every check of this architecture: id, group, severity, kind, name, arguments, what is tried, entry, number."""
    entries = [("native", 0, "x86_64"), ("x32", 1, "x32"), ("i386", 2, "i386")] if X86 else [("native", 3, "arm64")]
    group = ""
    with open(path) as file:
        for line in file.read().splitlines():
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                group = line.strip("[]")
                continue
            fields = [field.strip() for field in line.split("|")]
            kind, name = fields[0].split(" ", 1)
            if kind != "call":
                yield f"{group}.{name}", group, fields[1], kind, name, fields[2], fields[3], None, None
                continue
            for entry, column, label in entries:
                number = fields[2].split(" ")[column]
                if number != "-":
                    yield f"{group}.{name}.{label}", group, fields[1], kind, name, fields[3], fields[4], entry, int(number)


def answer(checks, kind, name, arguments, entry, number):
    try:
        if kind == "special":
            return getattr(checks, name)()
        if kind == "call":
            return checks.call(name, arguments, entry, number)
        return getattr(checks, kind)(name, arguments)
    except Skip as why:
        return "not applicable", str(why)
    except Lost as why:
        return lost(str(why))
    except Exception as error:  # a check that breaks is not one that holds
        return lost(f"{type(error).__name__}: {error}")


def in_child(work):
    """Runs a check in a process of its own, ten seconds at most."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            signal.alarm(10)
            os.write(writer, json.dumps(work()).encode()[:60000])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        said = stream.read()
    number = os.waitpid(pid, 0)[1] & 0x7F
    if said:
        return json.loads(said)
    # A kernel without the i386 entry answers the instruction with SIGSEGV; a filter may answer with SIGSYS.
    if number in (signal.SIGSEGV, signal.SIGSYS):
        return held(f"ended by signal {number}")
    return lost(f"the check did not end as it should: signal {number}")


def open_descriptors():
    found = []
    for number in range(3, 4096):
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
            found.append(number)
        except OSError:
            pass
    return found


def main():
    descriptors = open_descriptors()
    if len(sys.argv) < 3 or sys.argv[1] != "check":
        sys.exit("usage: checker.py check CHECKS.TXT KEY=VALUE...")
    facts = dict(argument.split("=", 1) for argument in sys.argv[3:] if "=" in argument)
    checks = Checks(facts, descriptors)
    for identifier, group, severity, kind, name, arguments, tried, entry, number in read_list(sys.argv[2]):
        result, evidence = in_child(lambda: answer(checks, kind, name, arguments, entry, number))
        line = {"id": identifier, "group": group, "severity": severity, "tried": tried, "result": result,
                "evidence": str(evidence)[:300]}
        os.write(1, (json.dumps(line) + "\n").encode())
    for directory in MARKED if facts.get("canary.token") else ():
        try:
            with open(f"{directory}/computesdk-mark-{facts['canary.token']}", "w"):
                pass
        except OSError:
            pass


if __name__ == "__main__":
    main()
