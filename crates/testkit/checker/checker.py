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
import signal
import socket
import stat
import struct
import sys
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
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


class Skip(Exception):
    """The check does not apply, and why."""


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

    def route(self, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((address, port))
                return lost(f"from {asking.getsockname()}")
        except OSError as error:
            return held(str(error))

    def route_out(self):
        first = self.route("192.0.2.1", 9)
        return first if first[0] != "held" else self.route("2001:db8::1", 9)

    def metadata(self):
        return self.route("169.254.169.254", 80)

    def add_interface(self):
        def attribute(kind, payload):
            return struct.pack("HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)
        body = b"\0" * 16 + attribute(3, b"computesdk0\0") + attribute(18, attribute(1, b"dummy\0"))
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
                route.settimeout(5)
                route.send(struct.pack("IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
                return by_right((0, -struct.unpack_from("i", route.recv(4096), 16)[0]))
        except OSError as error:
            return held(str(error))

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

    def iptables(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            result = named("setsockopt", asking.fileno(), 0, 64, page(), 96)
        if result[1] == errno.ENOPROTOOPT:
            raise Skip("this kernel has no such filters")
        return by_right(result)

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
