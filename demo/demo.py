"""Ashlar's demo: three daemons on this host, three unmodified programs on remote memory at a quarter of what they need,
their results compared with plain runs, the numbers of all three nodes, and nothing left behind.

usage: demo.py [--mib N] [--cache PERCENT] [--keep]        (called by ./dev demo)
"""
from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

from local_cluster import Cluster

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/release"
FOLDER = ROOT / "build/demo"


class Progress:
    """One line that says where we are; plain lines when not on a terminal."""

    def __init__(self, steps: int):
        self.steps, self.step, self.begin = steps, 0, time.monotonic()
        self.live = sys.stderr.isatty()

    def say(self, what: str) -> None:
        self.step += 1
        line = f"[{self.step}/{self.steps}] {time.monotonic() - self.begin:5.1f} s  {what}"
        print(f"\r\033[K{line}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@dataclasses.dataclass
class Run:
    seconds: float
    digest: str
    peak_bytes: int
    status: int
    words: str


def run(command: list[str], environment: dict[str, str]) -> Run:
    """Runs a program and takes the SHA-256 of its output, its time, and the peak memory of its largest process."""
    begin = time.monotonic()
    with open(FOLDER / "errors", "w+b") as errors:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        digest = hashlib.sha256()
        while chunk := process.stdout.read(1 << 20):
            digest.update(chunk)
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        words = errors.read().decode(errors="replace")
    return Run(time.monotonic() - begin, digest.hexdigest(), usage.ru_maxrss * 1024, process.returncode, words)


def mib(size: float) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def programs(text: pathlib.Path, size_mib: int) -> dict[str, list[str]]:
    return {
        "word count, 4 threads": [str(BUILD / "tests/programs/word_count"), str(text), "4"],
        "sort --parallel=2": ["sort", "--parallel=2", "-S", f"{3 * size_mib}M", "-T", str(FOLDER), str(text)],
        "python3 records.py": [sys.executable, str(ROOT / "tests/programs/records.py"), str(size_mib * 1000)],
    }


def count_calls(cluster: Cluster, command: list[str], limit: int) -> str:
    """The system calls of a program on remote memory, in the columns of strace -c, and how much of each waited for remote pages."""
    words = ["run", "--cache", f"{limit >> 20}MiB", "--name", "counted", "--strace", "--", *command]
    table = cluster.command(*words, timeout_s=300).stderr.rstrip()
    threads = cluster.command("strace", "counted", "--threads").stdout.split("\n\n")
    return "\n".join([f"$ ashlar {' '.join(words)}", table, "", "$ ashlar strace counted --threads     (the first two)", *threads[:2]])


def show_nodes(cluster: Cluster) -> None:
    for words in (["status"], ["ps", "-a"], ["stats", "p1"], ["stats", "m1"], ["stats", "s1"]):
        print(f"\n$ ashlar {' '.join(words)}")
        print(cluster.command(*words).stdout.rstrip())


def demo(options: argparse.Namespace) -> int:
    FOLDER.mkdir(parents=True)
    environment = dict(os.environ, LC_ALL="C")
    progress = Progress(steps=4 + 2 * 3)
    progress.say(f"generating {options.mib} MiB of text")
    text = FOLDER / "text"
    with open(text, "wb") as out:
        subprocess.run([BUILD / "tests/programs/make_text", str(options.mib), "1"], stdout=out, check=True)

    progress.say("starting ashlar-snode s1, ashlar-mnode m1, ashlar-pnode p1")
    pool = max(2048, options.mib * 8)
    with Cluster(BUILD / "bin", FOLDER / "cluster", cache=f"{max(1024, options.mib * 2)}MiB", pool=f"{pool}MiB", log="2GiB") as cluster:
        cluster.environment["LC_ALL"] = "C"
        cluster.start()
        cluster.wait_ready()
        rows, good, counted = [], True, None
        for name, command in programs(text, options.mib).items():
            progress.say(f"{name}: plain")
            plain = run(command, environment)
            limit = max(16 << 20, plain.peak_bytes * options.cache // 100 >> 20 << 20)
            progress.say(f"{name}: on remote memory, {mib(limit)} of {mib(plain.peak_bytes)} local")
            remote = run(cluster.run_command(f"{limit >> 20}MiB", *command, name=name.split()[0]), cluster.environment)
            same = plain.digest == remote.digest and plain.status == remote.status == 0
            good = good and same
            counted = counted or (command, limit)
            rows.append((name, mib(plain.peak_bytes), mib(limit), f"{plain.seconds:.2f} s", f"{remote.seconds:.2f} s",
                         f"{remote.seconds / plain.seconds:.2f} x", "identical" if same else "DIFFERENT"))
            if not same:
                progress.end()
                print(f"{name}: plain status {plain.status}, remote status {remote.status}\n{remote.words}\n{cluster.log('p1')[-2000:]}", file=sys.stderr)
        progress.say("word count again, its system calls counted")
        calls = count_calls(cluster, *counted)
        progress.say("asking the nodes")
        progress.end()
        heads = ("program", "memory", "local cache", "plain", "remote", "cost", "output")
        widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
        for row in [heads, *rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)))
        print(f"\n{calls}")
        show_nodes(cluster)
    print("\nAll outputs are byte-identical to the plain runs." if good else "\nNOT identical: see above.")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256, help="size of the text (default 256)")
    parser.add_argument("--cache", type=int, default=25, help="local cache in percent of each program's memory (default 25)")
    parser.add_argument("--keep", action="store_true", help="keep build/demo with the logs and the topology")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped then, too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        return demo(options)
    except RuntimeError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
