"""What `ashlar run --strace` and `ashlar strace` count of programs on remote memory is what strace counts of them on plain memory."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from case import PROGRAMS, ClusterCase, main

SYSCALLS = str(PROGRAMS / "syscalls")
# Which of these a thread library makes depends on who is faster.
TIMING = {"futex", "munmap", "mprotect", "mmap", "madvise", "brk", "restart_syscall"}


def strace_counts(command, folder):
    """name → (calls, errors), by strace -f -c."""
    out = folder / "strace.out"
    subprocess.run(["strace", "-f", "-c", "-o", out, *command], stdout=subprocess.DEVNULL, check=False)
    return table_counts(out.read_text())


def table_counts(text):
    counts = {}
    body = re.split(r"^------.*$", text, flags=re.M)[1]
    for line in body.strip().splitlines():
        cells = line.split()
        counts[cells[-1]] = (int(cells[3]), int(cells[4]) if len(cells) > 5 else 0)
    return counts


def bpf_programs():
    """Names of the BPF programs of ours that are loaded."""
    shown = subprocess.run(["bpftool", "prog", "show"], capture_output=True, text=True).stdout
    return re.findall(r"name (OnEnter|OnExit|OnNewTask|OnExec|OnTaskExit|AddExisting)\b", shown)


class Strace(ClusterCase):
    def start_cluster(self, **options):
        cluster = super().start_cluster(**options)
        probe = cluster.command("run", "--cache", "16MiB", "--strace", "--", "/bin/true")
        if "CAP_BPF" in probe.stderr or "CONFIG_" in probe.stderr:
            self.skipTest(probe.stderr)
        self.assertEqual(probe.returncode, 0, probe.stderr)
        return cluster

    def counts(self, cluster, *command):
        result = cluster.command("run", "--cache", "16MiB", "--name", "counted", "--strace", "--", *command)
        self.assertIn("100.00", result.stderr)
        report = cluster.json("strace", "counted")
        self.assertTrue(report["final"])
        self.assertEqual((report["lost"], report["others_calls"], report["incomplete"]), (0, 0, False))
        # A restarted call is an error to strace.
        return {one["name"]: (one["calls"], one["errors"] + one["restarted"]) for one in report["total"] if one["calls"]}

    def test_counts_are_those_of_strace(self):
        if shutil.which("strace") is None:
            self.skipTest("no strace here")
        cluster = self.start_cluster()
        for mode, left_out in [("single", set()), ("migrate", TIMING), ("vfork", set()), ("leader_leaves", TIMING), ("wide", set()),
                               ("thread_exec", TIMING | {"nanosleep"}), ("exit_group", TIMING | {"nanosleep"})]:
            with self.subTest(mode):
                ours = self.counts(cluster, SYSCALLS, mode)
                theirs = strace_counts([SYSCALLS, mode], self.folder)
                # The execve that starts it belongs to `ashlar run`.
                theirs["execve"] = (theirs["execve"][0] - 1, theirs["execve"][1])
                keep = lambda counts: {name: count for name, count in counts.items() if name not in left_out and count[0]}
                self.assertEqual(keep(ours), keep(theirs))

    def test_the_summary_has_the_columns_of_strace_and_keeps_the_exit_status(self):
        cluster = self.start_cluster()
        result = cluster.command("run", "--cache", "16MiB", "--strace", "--", "/bin/sh", "-c", "echo out; exit 7")
        self.assertEqual((result.returncode, result.stdout), (7, "out\n"))
        self.assertIn("% time     seconds  usecs/call     calls    errors syscall", result.stderr)
        self.assertRegex(result.stderr, r"never returned: .*exit_group 1")
        same = cluster.command("strace", "--compat", "--", SYSCALLS, "leaf")
        self.assertEqual(table_counts(same.stderr)["getpid"], (111, 0))

    def test_a_program_that_runs_is_counted_when_asked_thread_by_thread(self):
        cluster = self.start_cluster()
        script = "import threading, time\nfor i in range(3): threading.Thread(target=lambda: time.sleep(60), daemon=True).start()\nwhile True: time.sleep(0.002)"
        program = cluster.run("32MiB", sys.executable, "-c", script)
        try:
            deadline = time.monotonic() + 10
            while not any(p["pid"] for p in cluster.json("ps")["programs"]) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.3)
            pid = str(cluster.json("ps")["programs"][0]["pid"])
            first = cluster.command("strace", pid, "--for", "200ms")
            self.assertIn("counting from now on", first.stderr)
            self.assertIn("clock_nanosleep", first.stdout)
            threads = cluster.json("strace", pid, "--threads")["threads"]
            self.assertEqual(len(threads), 4)
            self.assertIn("clock_nanosleep", {thread["in_call"] for thread in threads})
            watch = subprocess.Popen([cluster.binaries / "ashlar", "strace", pid, "--watch=100ms"], env=cluster.environment, stdout=subprocess.PIPE, text=True)
            lines = [watch.stdout.readline() for _ in range(30)]
            watch.send_signal(signal.SIGINT)
            watch.wait(10)
            watch.stdout.close()
            self.assertGreaterEqual(sum("% time" in line for line in lines), 2)
            self.assertIn("calls/s", "".join(lines))
        finally:
            program.kill()
            program.wait(10)

    def test_remote_misses_are_shown_in_the_call_that_waited(self):
        cluster = self.start_cluster()
        # 64 MiB written through a 16 MiB cache: the first pages are remote when read() wants to fill them.
        script = ("import os\nb = bytearray(64 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\n"
                  "f = os.open('/dev/zero', os.O_RDONLY)\nos.readv(f, [memoryview(b)[:8 << 20]])\n"
                  "print(sum(b[i] for i in range(16 << 20, 24 << 20, 4096)))")
        result = cluster.command("run", "--cache", "16MiB", "--name", "misses", "--strace", "--", sys.executable, "-c", script)
        self.assertEqual(result.stdout, "2048\n", result.stderr)
        report = cluster.json("strace", "misses")
        calls = {one["name"]: one for one in report["total"]}
        self.assertGreater(calls["readv"]["miss_count"], 50)
        self.assertGreater(calls["readv"]["miss_ns"], 0)
        self.assertLessEqual(calls["readv"]["miss_ns"], calls["readv"]["total_ns"])
        self.assertEqual(calls["close"]["miss_count"], 0)
        self.assertGreater(report["user_miss_count"], 50)
        self.assertIn("remote memory outside of calls", result.stderr)

    def test_nothing_is_attached_when_idle_or_after_the_pnode_was_killed(self):
        if shutil.which("bpftool") is None and not pathlib.Path("/usr/sbin/bpftool").exists():
            self.skipTest("no bpftool here")
        os.environ["PATH"] += ":/usr/sbin"
        cluster = self.start_cluster()

        def attached():
            values = {value["name"]: value["value"] for value in cluster.json("stats", "p1", "--all")["nodes"][0]["values"]}
            return int(values["strace_attached"])

        deadline = time.monotonic() + 5
        while attached() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(attached(), 0)
        process = cluster.run("16MiB", "/bin/true")
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(attached(), 0, "a program nobody traces attaches nothing")
        before = len(bpf_programs())
        traced = subprocess.Popen([cluster.binaries / "ashlar", "strace", "--", "/bin/sleep", "60"], env=cluster.environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not attached() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(attached(), 1)
        self.assertGreaterEqual(before, 5)
        cluster.kill("p1")
        deadline = time.monotonic() + 1
        while bpf_programs() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(bpf_programs(), [], "links of a killed daemon are gone within a second")
        traced.wait(20)

    def test_what_is_not_there_is_said(self):
        cluster = self.start_cluster()
        missing = cluster.command("strace", "nobody")
        self.assertEqual(missing.returncode, 64)
        self.assertIn("ashlar ps -a", missing.stderr)
        self.assertIsInstance(json.loads(cluster.command("strace", "--json", "true").stdout), dict)


if __name__ == "__main__":
    main()
