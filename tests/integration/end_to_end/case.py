"""What the end-to-end tests share: where the binaries are, a scratch folder, and when to skip."""
from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "demo"))
from local_cluster import Cluster  # noqa: E402

BINARIES = pathlib.Path(os.environ.get("ASHLAR_BINARIES", ROOT / "build/release/bin"))
PROGRAMS = pathlib.Path(os.environ.get("ASHLAR_PROGRAMS", ROOT / "build/release/tests/programs"))


def why_not_here() -> str | None:
    """The reason why no program can run on remote memory on this machine, or None."""
    if os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        return None
    if os.geteuid() == 0:
        return None  # CAP_SYS_PTRACE makes a full-mode userfaultfd too
    return "no right to /dev/userfaultfd: run as root, or see README.md, Rights"


class ClusterCase(unittest.TestCase):
    """Each test gets a scratch folder; start_cluster() starts the three daemons in it."""

    def setUp(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ashlar-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def cluster(self, **options) -> Cluster:
        options = {"cache": "1GiB", "pool": "2GiB", "log": "2GiB"} | options
        cluster = Cluster(BINARIES, self.folder / "cluster", **options)
        self.addCleanup(cluster.stop)
        return cluster

    def start_cluster(self, **options) -> Cluster:
        cluster = self.cluster(**options)
        cluster.start()
        cluster.wait_ready()
        return cluster


def main() -> None:
    reason = why_not_here()
    if reason:
        print(f"SKIPPED {sys.argv[0]}: {reason}")
        sys.exit(77)
    unittest.main(verbosity=2)
