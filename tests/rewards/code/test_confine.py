"""The seccomp program, run by an interpreter of classic BPF as seccomp(2) describes it."""

import struct

import pytest

from rewards.code.confine import _filter_program

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
X86, ARM = 0xC000003E, 0xC00000B7


def answer(machine, number, *, arch, argument=0, second=0):
    """Run the filter on one system call; the data are nr, arch, instruction pointer, arguments."""
    data = struct.pack("=IIQ6Q", number, arch, 0, argument, second, 0, 0, 0, 0)
    program = list(struct.iter_unpack("=HBBI", _filter_program(machine)))
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == 0x20:  # load a word
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:  # return
            return operand
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand}.get(
                code, bool(accumulator & operand) and code == 0x45
            )
            position += if_true if holds else if_false


# read, write, openat, mmap, exit_group, futex
@pytest.mark.parametrize("number", [0, 1, 257, 9, 231, 202])
def test_ordinary_calls_are_allowed(number):
    assert answer("x86_64", number, arch=X86) == ALLOW


@pytest.mark.parametrize("number", [63, 64, 56, 222, 94, 98])
def test_ordinary_calls_are_allowed_on_arm(number):
    assert answer("aarch64", number, arch=ARM) == ALLOW


# socket, execve, kill, ptrace, io_uring_setup, chmod
@pytest.mark.parametrize(("x86", "arm"), [(41, 198), (59, 221), (62, 129), (101, 117), (425, 425)])
def test_refused_calls_fail(x86, arm):
    assert answer("x86_64", x86, arch=X86) == EPERM
    assert answer("aarch64", arm, arch=ARM) == EPERM


@pytest.mark.parametrize(
    ("machine", "number", "arch"), [("x86_64", 56, X86), ("aarch64", 220, ARM)]
)
def test_clone_makes_threads_and_no_processes(machine, number, arch):
    assert answer(machine, number, arch=arch, argument=0x10F00) == ALLOW
    assert answer(machine, number, arch=arch, argument=17) == EPERM
    assert answer(machine, 435, arch=arch) == ENOSYS


@pytest.mark.parametrize(
    ("machine", "number", "arch"), [("x86_64", 302, X86), ("aarch64", 261, ARM)]
)
def test_limits_of_other_processes_are_out_of_reach(machine, number, arch):
    assert answer(machine, number, arch=arch, argument=0) == ALLOW
    assert answer(machine, number, arch=arch, argument=1) == EPERM


def test_calls_of_another_architecture_end_the_process():
    assert answer("x86_64", 0, arch=0x40000003) == KILL
    assert answer("aarch64", 63, arch=X86) == KILL
    assert answer("x86_64", 0x40000000, arch=X86) == KILL


def test_calls_newer_than_the_list_do_not_exist():
    assert answer("x86_64", 451, arch=X86) == ENOSYS
    assert answer("aarch64", 460, arch=ARM) == ENOSYS


# F_GETFL and TCGETS are asked by every open(); the others signal strangers or mark files.
@pytest.mark.parametrize(
    ("x86", "arm", "allowed", "refused"),
    [(72, 25, (0, 1, 3, 4, 1030), (8, 10, 15, 1024, 1026)),
     (16, 29, (0x5401, 0x5413), (0x40086602, 0x401C5820, 0x8901, 0x5452))],
)  # fmt: skip
def test_files_take_ordinary_commands_only(x86, arm, allowed, refused):
    for machine, number, arch in (("x86_64", x86, X86), ("aarch64", arm, ARM)):
        assert {answer(machine, number, arch=arch, second=one) for one in allowed} == {ALLOW}
        assert {answer(machine, number, arch=arch, second=one) for one in refused} == {EPERM}
