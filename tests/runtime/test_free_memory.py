"""Free memory: control groups of both versions as the kernel's documents describe them, and this very machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meddel_hf.runtime.free_memory import free_memory, left_in_groups

GB = 10**9


def group(folder: Path, limit: str, used: int, cached: int, version: int) -> None:
    """Files of a memory control group."""
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    kept = "inactive_file" if version == 2 else "total_inactive_file"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_anon 7\n{kept} {cached}\n")


def left(tmp_path: Path, own: str) -> list[int]:
    (tmp_path / "own").write_text(own)
    return list(left_in_groups(tmp_path / "groups", tmp_path / "own"))


def test_every_bound_above_a_job_counts(tmp_path):
    groups = tmp_path / "groups"
    group(groups / "slurm", str(64 * GB), 60 * GB, 10 * GB, 2)
    group(groups / "slurm" / "job_7", str(32 * GB), 4 * GB, 1 * GB, 2)
    group(groups / "slurm" / "job_7" / "step_0", "max", 4 * GB, 0, 2)
    assert left(tmp_path, "0::/slurm/job_7/step_0\n") == [29 * GB, 14 * GB]


def test_a_container_sees_its_own_group_as_the_root(tmp_path):
    group(tmp_path / "groups", str(8 * GB), 3 * GB, 2 * GB, 2)
    assert left(tmp_path, "0::/\n") == [7 * GB]
    assert left(tmp_path, "0::/docker/abc\n") == [7 * GB]


def test_the_first_version_has_a_folder_for_memory(tmp_path):
    group(tmp_path / "groups" / "memory" / "job", str(6 * GB), 2 * GB, GB, 1)
    group(tmp_path / "groups" / "memory", str(2**63 - 4096), 9 * GB, 0, 1)
    lines = "9:name=systemd:/\n4:cpu,memory:/job\n1:cpu:/job\n0::/\n"
    assert left(tmp_path, lines) == [5 * GB, 2**63 - 4096 - 9 * GB]


def test_what_is_used_up_is_none_and_not_less(tmp_path):
    group(tmp_path / "groups", str(GB), 2 * GB, 0, 2)
    assert left(tmp_path, "0::/\n") == [0]


def test_without_groups_nothing_is_bounded(tmp_path):
    assert left(tmp_path, "0::/user.slice\n") == []
    assert list(left_in_groups(tmp_path, tmp_path / "no such file")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_it_is_what_the_kernel_says_or_less():
    lines = Path("/proc/meminfo").read_text().splitlines()
    of = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":") for line in lines)}
    assert 0 < free_memory() < of["MemAvailable"] + 0.1 * of["MemTotal"]
