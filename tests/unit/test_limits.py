"""Cores and memory of a container are those that it may use, not those of the machine."""

import os
from pathlib import Path

import pytest

from modelmill.core import limits

GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups that a test writes; nothing is limited yet, and this process may run on 64 cores."""
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setattr(limits, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "_OWN", tmp_path / "own")
    return tmp_path / "cgroup"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_without_limits_the_cores_are_those_of_the_affinity(groups: Path) -> None:
    assert limits.cores() == 64


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("350000", 3), ("50000", 1), ("max", 64)])
def test_the_quota_of_a_container_says_how_many_cores(groups: Path, quota: str, cores: int) -> None:
    write(groups, cpu__max=f"{quota} 100000")
    assert limits.cores() == cores


def test_the_least_of_all_groups_above_counts(groups: Path) -> None:
    (groups.parent / "own").write_text("0::/slice/pod/container\n")
    write(groups / "slice" / "pod", cpu__max="200000 100000", memory__max=str(GIB), memory__current="0")
    write(groups / "slice" / "pod" / "container", cpu__max="max 100000", memory__max="max", memory__current="0")
    assert (limits.cores(), limits.memory()) == (2, GIB)


def test_version_1_of_control_groups(groups: Path) -> None:
    (groups.parent / "own").write_text("4:memory:/box\n3:cpu,cpuacct:/box\n")
    write(groups / "cpu" / "box", cpu__cfs_quota_us="400000", cpu__cfs_period_us="100000")
    write(groups / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(groups / "memory", memory__limit_in_bytes=str(2**63 - 4096), memory__usage_in_bytes="7")
    write(groups / "memory" / "box", memory__limit_in_bytes=str(GIB), memory__usage_in_bytes=str(GIB - 5))
    assert (limits.cores(), limits.memory(), limits.free_memory()) == (4, GIB, 5)


def test_a_number_of_threads_that_the_user_has_set_stands(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(groups, cpu__max="200000 100000")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    limits.share_threads()
    assert limits.cores() == 5 and os.environ["RAYON_NUM_THREADS"] == "5"
