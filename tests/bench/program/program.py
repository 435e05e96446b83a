#!/usr/bin/env python3
"""program: whole unmodified programs on remote memory, against the same programs all-local in the same run.

usage: program [--quick] [--rounds N] [--json] [--only METRIC]

Metrics: wordcount, sort. Each at 25 and 100 percent cache of the program's peak memory; the floor is the plain run, alternating
with ours, outputs compared. Times are whole-process wall times. Not done by the floor: any second process, network, or disk.
With --peers also against the kernel's swap on zram, the program in a memory cgroup of the cache's size: metric NAME_vs_zram at
25 percent. zram compresses, in the same host's memory, and has no second copy; the cgroup also counts the file's page cache.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(os.environ.get("ASHLAR_SOURCE", "@CMAKE_SOURCE_DIR@"))
BUILD = pathlib.Path("@CMAKE_BINARY_DIR@")
sys.path.insert(0, str(ROOT / "demo"))
from local_cluster import Cluster  # noqa: E402

TARGETS = json.loads((ROOT / "tests/bench/program/targets.json").read_text())


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, str, int]:
    """(wall seconds, SHA-256 of the output, peak bytes of the process itself)."""
    begin = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    digest = hashlib.sha256()
    while chunk := process.stdout.read(1 << 20):
        digest.update(chunk)
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {process.returncode}")
    return seconds, digest.hexdigest(), usage.ru_maxrss * 1024


class NoPeer(RuntimeError):
    """This machine has no such peer; the text says why."""


def on_zram(command: list[str], limit: int, environment: dict[str, str], folder: pathlib.Path) -> tuple[float, str]:
    """(wall seconds, SHA-256 of the output) of `command` with `limit` bytes of memory and swap on zram."""
    times = folder / "zram_time"
    words = [str(BUILD / "tests/programs/zram_capped"), str(limit), "--time", str(times), "--", *command]
    result = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    if result.returncode == 69:
        raise NoPeer(result.stderr.decode().strip())
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: status {result.returncode} {result.stderr.decode()}")
    return float(times.read_text()), hashlib.sha256(result.stdout).hexdigest()


def against_zram(metric: str, cluster: Cluster, command: list[str], limit: int, rounds: int, folder: pathlib.Path) -> dict:
    line = {"bench": "program", "metric": f"{metric}_vs_zram", "cache_percent": 25, "cache_bytes": limit, "unit": "s", "floor": "zram"}
    ours, peer = [], []
    try:
        for _ in range(rounds):
            seconds, digest = on_zram(command, limit, cluster.environment, folder)
            peer.append(seconds)
            seconds, got, _ = timed(cluster.run_command(f"{limit >> 20}MiB", *command), cluster.environment)
            if got != digest:
                raise RuntimeError(f"{metric}: another output than on zram")
            ours.append(seconds)
    except NoPeer as reason:
        return line | {"skipped": str(reason), "commit": commit()}
    return line | {"p50": round(statistics.median(ours), 3), "max": round(max(ours), 3), "n": rounds,
                   "floor_p50": round(statistics.median(peer), 3),
                   "ratio": round(statistics.median(a / b for a, b in zip(ours, peer)), 3), "commit": commit(), "rounds": rounds}


def commit() -> str:
    result = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return os.environ.get("ASHLAR_COMMIT", result.stdout.strip() or "unknown")


def measure(cluster: Cluster, command: list[str], percent: int, rounds: int) -> tuple[list[float], list[float], int]:
    _, digest, peak = timed(command, cluster.environment)  # warm-up, and what 100 percent is
    # At 100 percent the limit leaves room for the staging area, so that nothing has to go.
    limit = max(16 << 20, peak * 5 // 4 + (32 << 20) if percent == 100 else peak * percent // 100)
    floor, ours = [], []
    for _ in range(rounds):
        for times, words in ((floor, command), (ours, cluster.run_command(f"{limit >> 20}MiB", *command))):
            seconds, got, _ = timed(words, cluster.environment)
            if got != digest:
                raise RuntimeError(f"{' '.join(words)}: another output than the plain run")
            times.append(seconds)
    return floor, ours, limit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, less to sort")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object per line and nothing else on stdout")
    parser.add_argument("--peers", action="store_true", help="also against swap on zram at the same cap (root)")
    parser.add_argument("--only", metavar="METRIC", choices=["wordcount", "sort"])
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    # A text below 256 MiB leaves word count's tables no room at a quarter: another question than the target's.
    sizes = {"wordcount": 256, "sort": 48 if options.quick else 256}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ashlar-bench-"))
    try:
        for metric, mib in sizes.items():
            with open(folder / metric, "wb") as out:
                subprocess.run([BUILD / "tests/programs/make_text", str(mib), "1"], stdout=out, check=True)
        commands = {"wordcount": [str(BUILD / "tests/programs/word_count"), str(folder / "wordcount"), "4"],
                    "sort": ["sort", "--parallel=2", "-S", f"{3 * sizes['sort']}M", "-T", str(folder), str(folder / "sort")]}
        with Cluster(BUILD / "bin", folder / "cluster", cache="4GiB", pool="4GiB", log="8GiB") as cluster:
            cluster.environment["LC_ALL"] = "C"
            cluster.start()
            cluster.wait_ready()
            for metric, command in commands.items():
                if options.only not in (None, metric):
                    continue
                for percent in (25, 100):
                    floor, ours, limit = measure(cluster, command, percent, rounds)
                    ratio = statistics.median(a / b for a, b in zip(ours, floor))
                    target = TARGETS[f"{metric}_{percent}"]
                    line = {"bench": "program", "metric": metric, "cache_percent": percent, "cache_bytes": limit, "fabric": "tcp", "unit": "s",
                            "p50": round(statistics.median(ours), 3), "p99": round(max(ours), 3), "max": round(max(ours), 3), "n": rounds,
                            "floor": "all_local", "floor_p50": round(statistics.median(floor), 3), "ratio": round(ratio, 3),
                            "target": target, "ok": ratio <= target, "commit": commit(), "rounds": rounds}
                    if options.json:
                        print(json.dumps(line), flush=True)
                    else:
                        print(f"{metric:10} {percent:3} % cache  {line['p50']:7.2f} s  all-local {line['floor_p50']:7.2f} s  ratio {ratio:5.2f}  "
                              f"target {target}  {'ok' if line['ok'] else 'MISSED'}", flush=True)
                if options.peers:
                    _, _, peak = timed(command, cluster.environment)
                    line = against_zram(metric, cluster, command, max(16 << 20, peak // 4), rounds, folder)
                    print(json.dumps(line) if options.json else
                          f"{metric:10}  25 % cache  against zram: {line.get('skipped') or line['ratio']}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
