"""A Slurm cluster on this machine: daemons and files of its own, nothing of the system's is touched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from running import wait_for

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
# A job that was put back may start again after that many seconds (by default 120).
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
# No control groups: a container may lack them.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
# As many sites have it: of the ranks that all exit with 75, the first would end the others.
KillOnBadExit=1
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    lacking = [name for name in _PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"no Slurm ({', '.join(lacking)}): apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a Slurm of its own needs root"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of two nodes; the environment in which Slurm's commands find it."""
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    (folder / "munge").mkdir(mode=0o755)
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    text = _CONFIG.format(host=socket.gethostname().partition(".")[0], ports=_free_ports(3), folder=folder)
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    named = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munged = [f"--{option}={folder}/munge.{suffix}" for option, suffix in named.items()]
    with ExitStack() as stack:
        # the directory of the socket is pytest's, closed to others: all of this is root's
        stack.enter_context(_daemon(["munged", "--foreground", "--force", *munged], folder, environment))
        wait_for((folder / "munge.socket").exists)
        stack.enter_context(_daemon(["slurmctld", "-D"], folder, environment))
        for node in ("n1", "n2"):
            stack.enter_context(_daemon(["slurmd", "-D", "-N", node], folder, environment))
        wait_for(lambda: ask(environment, "sinfo", "--noheader", "--states=idle", "--format=%D") == "2")
        try:
            yield environment
        finally:
            ask(environment, "scancel", "--user=root")
            wait_for(lambda: ask(environment, "squeue", "--noheader") == "")


def ask(environment: dict[str, str], *command: str) -> str:
    """What a command of Slurm's prints; empty if it fails."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30).stdout.strip()


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _daemon(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / "daemons.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
