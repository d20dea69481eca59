"""Confine the calling process for good: no files but one folder, no network, no children.

Three layers, none of which needs root: resource limits bound what it may use, Landlock bounds
the file tree it sees (kernel 6.2 or newer), a seccomp filter refuses the system calls no pure
computation makes. What the machine lacks is reported by `missing_protections`, never assumed.
Sources: landlock(7), seccomp(2), the kernel's system call tables.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import resource
import struct
import sys
import sysconfig
from dataclasses import dataclass

# Name: numbers on x86_64 and aarch64, `-` where the architecture has no such call.
_REFUSED_CALLS = """
socket 41 198, socketpair 53 199, connect 42 203, bind 49 200, listen 50 201, accept 43 202,
accept4 288 242, sendto 44 206, sendmsg 46 211, recvmsg 47 212,
fork 57 -, vfork 58 -, execve 59 221, execveat 322 281,
kill 62 129, tkill 200 130, tgkill 234 131, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240,
pidfd_send_signal 424 424, pidfd_open 434 434, pidfd_getfd 438 438,
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440,
kcmp 312 272, perf_event_open 298 241, bpf 321 280, userfaultfd 323 282,
unshare 272 97, setns 308 268, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51,
open_tree 428 428, move_mount 429 429, fsopen 430 430, fsconfig 431 431, fsmount 432 432,
fspick 433 433, mount_setattr 442 442,
keyctl 250 219, add_key 248 217, request_key 249 218, setuid 105 146, setgid 106 144,
setreuid 113 145, setregid 114 143, setresuid 117 147, setresgid 119 149, setgroups 116 159,
setfsuid 122 151, setfsgid 123 152, capset 126 91, personality 135 92, prctl 157 167,
init_module 175 105, finit_module 313 273, delete_module 176 106, kexec_load 246 104,
kexec_file_load 320 294, reboot 169 142, swapon 167 224, swapoff 168 225, sethostname 170 161,
setdomainname 171 162, settimeofday 164 170, clock_settime 227 112, adjtimex 159 171,
clock_adjtime 305 266, acct 163 89, quotactl 179 60, syslog 103 116, iopl 172 -, ioperm 173 -,
vhangup 153 58, io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427,
memfd_create 319 279, memfd_secret 447 447, shmget 29 194, shmat 30 196, shmctl 31 195,
shmdt 67 197, semget 64 190, semctl 66 191, semop 65 193, semtimedop 220 192, msgget 68 186,
msgctl 71 187, msgrcv 70 188, msgsnd 69 189, mq_open 240 180, mq_unlink 241 181,
mq_timedsend 242 182, mq_timedreceive 243 183, mq_notify 244 184, modify_ldt 154 -,
sendmmsg 307 269, recvmmsg 299 243, recvfrom 45 207, process_mrelease 448 448,
lookup_dcookie 212 18, set_mempolicy_home_node 450 450, open_by_handle_at 304 265,
name_to_handle_at 303 264, mknod 133 -,
mknodat 259 33, fanotify_init 300 262, inotify_init 253 -, inotify_init1 294 26,
truncate 76 45, sync 162 81, syncfs 306 267, chmod 90 -, fchmod 91 52, fchmodat 268 53,
chown 92 -, lchown 94 -, fchown 93 55, fchownat 260 54, setxattr 188 5, lsetxattr 189 6,
fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, utime 132 -,
utimes 235 -, utimensat 280 88, futimesat 261 -, setpriority 141 140,
sched_setscheduler 144 119, sched_setparam 142 118, sched_setattr 314 274,
sched_setaffinity 203 122, ioprio_set 251 30, migrate_pages 256 238, move_pages 279 239,
mbind 237 235, set_mempolicy 238 237, seccomp 317 277
"""
_NEWEST_CALL = 450  # what came later is answered as an older kernel would: not implemented
_CLONE_CALL, _CLONE3_CALL, _PRLIMIT_CALL = (56, 220), (435, 435), (302, 261)
# Both take a command as their second argument. What is not listed sends signals to others
# (F_SETOWN, F_SETSIG, FIOASYNC), makes files that cannot be removed (FS_IOC_SETFLAGS) or is a
# door to a driver. ioctl: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. fcntl:
# F_DUPFD to F_SETLKW, F_OFD_GETLK to F_OFD_SETLKW, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ.
_COMMANDS = (
    ((16, 29), (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
    ((72, 25), (*range(8), 36, 37, 38, 1030, 1031, 1032)),
)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000
_EPERM, _ENOSYS = 1, 38

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000

_READ = 0b1100  # read a file, list a folder
_WRITE = 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14  # write, remove, make and truncate files
_ALL_RIGHTS_BY_ABI = {3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}

_READ_SEARCH = 1 << 2  # CAP_DAC_READ_SEARCH
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS, _SECCOMP = 1, 4, 38, 22


@dataclass(frozen=True, slots=True)
class Limits:
    """What a confined process may use.

    Attributes:
        cpu_s: processor seconds.
        memory_mb: address space.
        file_kb: size of one file it writes; the folder as a whole is watched from outside.
    """

    cpu_s: int = 5
    memory_mb: int = 1024
    file_kb: int = 1024


def missing_protections() -> tuple[str, ...]:
    """Name what this machine cannot enforce; empty on Linux 6.2 and newer, x86_64 or aarch64."""
    missing = []
    if _landlock_abi() < 3:
        missing.append("files: Landlock ABI 3 is not available (Linux 6.2 or newer)")
    if not _filter_available():
        missing.append("network, processes and signals: no seccomp filter for this system")
    return tuple(missing)


def prepare() -> None:
    """Compute what `confine` needs, once for all processes that are forked from this one."""
    _library_folders()
    if _filter_available():
        _filter_program(platform.machine())


def confine(folder: str, limits: Limits) -> None:
    """Confine this process, which may then read the standard library and write in `folder`.

    Raises:
        OSError: a protection that the machine has could not be set.
    """
    _limit(limits)
    if sys.platform != "linux":
        return
    _prctl(_DUMPABLE, 0)
    _prctl(_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    if _landlock_abi() >= 3:
        _restrict_files(folder)
    if _filter_available():
        _install_filter()


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    if sys.platform == "linux":
        _prctl(_PDEATHSIG, 9)


def _limit(limits: Limits) -> None:
    memory, size = limits.memory_mb << 20, limits.file_kb << 10
    bounds = {
        resource.RLIMIT_CPU: (limits.cpu_s, limits.cpu_s + 1),
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_FSIZE: (size, size),
        resource.RLIMIT_NOFILE: (32, 32),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
    }
    if not _filter_available():
        bounds[resource.RLIMIT_NPROC] = (0, 0)  # stops forks of all users but root
    for name, (soft, hard) in bounds.items():
        ceiling = resource.getrlimit(name)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        # macOS refuses some limits; `missing_protections` has said that this is not Linux.
        with contextlib.suppress(*(() if sys.platform == "linux" else (ValueError, OSError))):
            resource.setrlimit(name, (soft, hard))


def _drop_capabilities() -> None:
    """Give up root's powers, but for reading: an interpreter may lie in a folder of another user.

    Source: capget(2); version 3 of its header, two words of effective, permitted, inheritable.
    """
    header = struct.pack("=Ii", 0x20080522, 0)
    held = ctypes.create_string_buffer(24)
    _checked(_libc().capget(header, held))
    words = struct.unpack("=6I", held.raw)
    kept = words[1] & _READ_SEARCH
    _checked(_libc().capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)))


# --- Landlock ------------------------------------------------------------------------------------


@functools.cache
def _landlock_abi() -> int:
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))))


def _restrict_files(folder: str) -> None:
    abi = _landlock_abi()
    rights = _ALL_RIGHTS_BY_ABI[min(abi, 5)]
    # Later fields: TCP bind and connect (ABI 4), abstract sockets and signals (ABI 6).
    attributes = struct.pack("=Q", rights)
    if abi >= 4:
        attributes += struct.pack("=Q", 0b11)
    if abi >= 6:
        attributes += struct.pack("=Q", 0b11)
    size = ctypes.c_size_t(len(attributes))
    ruleset = _checked(_libc().syscall(444, attributes, size, ctypes.c_uint(0)))
    for path in _library_folders():
        _allow_beneath(ruleset, path, _READ)
    _allow_beneath(ruleset, folder, _READ | _WRITE)
    _checked(_libc().syscall(446, ctypes.c_int(ruleset), ctypes.c_uint(0)))
    os.close(ruleset)


@functools.cache
def _library_folders() -> list[str]:
    paths = sysconfig.get_paths()
    folders = [paths["stdlib"], paths["platstdlib"], "/lib", "/lib64", "/usr/lib", "/usr/lib64"]
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]


def _allow_beneath(ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, parent)
    done = _libc().syscall(445, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0))
    os.close(parent)
    _checked(done)


# --- seccomp -------------------------------------------------------------------------------------


@functools.cache
def _filter_available() -> bool:
    return (
        sys.platform == "linux"
        and platform.machine() in _ARCHITECTURES
        and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")
    )


def _install_filter() -> None:
    program = _filter_program(platform.machine())
    count = len(program) // 8
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", count, ctypes.addressof(buffer))
    _checked(
        _libc().prctl(
            ctypes.c_int(_SECCOMP), ctypes.c_ulong(2), header, ctypes.c_ulong(0), ctypes.c_ulong(0)
        )
    )


@functools.cache
def _filter_program(machine: str) -> bytes:
    """Return the BPF program: refuse what is listed and what is newer, allow the rest."""
    column, audit_arch = _ARCHITECTURES[machine]
    calls = [entry.split() for entry in _REFUSED_CALLS.replace("\n", " ").split(",")]
    refused = [int(call[1 + column]) for call in calls if call[1 + column] != "-"]
    # Each instruction is (code, jump if true, jump if false, operand); data offsets: the call's
    # number at 0, the architecture at 4, the low halves of the first arguments at 16 and 24.
    program = [(_LOAD, 0, 0, 4), (_JUMP_EQ, 1, 0, audit_arch), (_RETURN, 0, 0, _KILL)]
    program += [(_LOAD, 0, 0, 0), (_JUMP_GE, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    program += [(_JUMP_GE, 0, 1, _NEWEST_CALL + 1), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    program += [(_JUMP_EQ, 0, 1, _CLONE3_CALL[column]), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    for number in refused:
        program += [(_JUMP_EQ, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    for call, commands in _COMMANDS:
        program += [(_JUMP_EQ, 0, len(commands) + 3, call[column]), (_LOAD, 0, 0, 24)]
        program += [(_JUMP_EQ, len(commands) - i, 0, one) for i, one in enumerate(commands)]
        program += [(_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)]
    # Threads are allowed, processes are not: clone must carry CLONE_THREAD.
    program += [(_JUMP_EQ, 0, 4, _CLONE_CALL[column]), (_LOAD, 0, 0, 16)]
    program += [(_JUMP_SET, 0, 1, _CLONE_THREAD), (_RETURN, 0, 0, _ALLOW)]
    program += [(_RETURN, 0, 0, _ERRNO | _EPERM)]
    # Limits may be read and set for itself (0), not for another process.
    program += [(_JUMP_EQ, 0, 3, _PRLIMIT_CALL[column]), (_LOAD, 0, 0, 16)]
    program += [(_JUMP_EQ, 1, 0, 0), (_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


# --- C library -----------------------------------------------------------------------------------


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(_libc().prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"confinement failed: {os.strerror(number)}")
    return result
