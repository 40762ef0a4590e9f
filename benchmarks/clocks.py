"""CPU time of processes and of the whole machine.

What lives here: finding the process behind a listening port, reading its CPU clock with nanosecond resolution,
and the machine's busy time, from which the share of strangers is seen. What it must not know: AMQP.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

LISTEN = "0A"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class CpuClocks:
    """CPU seconds (user and system, all threads) used so far: by each role, by this process, by the machine.

    `pids` maps a role to its process. The result has the keys `generator` and `machine` besides.
    """

    def __init__(self, pids: Mapping[str, list[int]]) -> None:
        self._pids = dict(pids)

    def __call__(self) -> dict[str, float]:
        used = {role: sum(map(cpu_seconds, pids)) for role, pids in self._pids.items()}
        used["generator"] = time.process_time()
        used["machine"] = machine_seconds()
        return used


def cpu_seconds(pid: int) -> float:
    """CPU seconds used by a process with all its threads, ended ones included."""
    # The clock id that clock_getcpuclockid(3) computes; /proc/PID/schedstat knows one thread only.
    return time.clock_gettime((~pid << 3) | 2)


def machine_seconds() -> float:
    """CPU seconds that all cores were not idle, time stolen by the hypervisor included; resolution 10 ms."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def listening_pid(port: int) -> int | None:
    """The process that listens on a TCP port of this machine; None if there is none that we may look at."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and wanted & _open_files(process):
            return int(process.name)
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        with open(table) as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes


def _open_files(process: Path) -> set[str]:
    files = set()
    try:
        for entry in (process / "fd").iterdir():
            files.add(os.readlink(entry))
    except OSError:
        pass  # not ours, or ended meanwhile
    return files
