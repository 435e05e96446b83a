"""Unmodified programs on remote memory do what they do on plain memory."""
import signal
import subprocess
import sys
import time

from case import PROGRAMS, ROOT, ClusterCase, main


class Programs(ClusterCase):
    def remote(self, cluster, cache, *program, **options):
        return subprocess.run(cluster.run_command(cache, *map(str, program)), capture_output=True, timeout=150, **({"env": cluster.environment} | options))

    def same_as_plain(self, cluster, cache, *program, **options):
        plain = subprocess.run(list(map(str, program)), capture_output=True, check=True, **options)
        remote = self.remote(cluster, cache, *program, **options)
        self.assertEqual(remote.returncode, 0, remote.stderr.decode(errors="replace")[-2000:])
        self.assertEqual(remote.stdout, plain.stdout)

    def make_text(self, mib: int):
        path = self.folder / "text"
        with open(path, "wb") as out:
            subprocess.run([PROGRAMS / "make_text", str(mib), "1"], stdout=out, check=True)
        return path

    def test_threads_sort_and_python_in_less_than_half_of_their_memory(self):
        cluster = self.start_cluster()
        text = self.make_text(64)
        self.same_as_plain(cluster, "28MiB", PROGRAMS / "word_count", text, "4")
        self.same_as_plain(cluster, "32MiB", "sort", "--parallel=2", "-S", "128M", text, env=cluster.environment | {"LC_ALL": "C"})
        self.same_as_plain(cluster, "24MiB", sys.executable, ROOT / "tests/programs/records.py", "150000")
        stats = {program["name"]: program for program in cluster.json("ps", "-a")["programs"]}
        self.assertIn("word_count", " ".join(stats))
        self.assertNotIn("killed", str(cluster.json("ps", "-a")))

    def test_a_static_binary(self):
        cluster = self.start_cluster()
        text = self.make_text(32)
        self.same_as_plain(cluster, "20MiB", PROGRAMS / "word_count_static", text, "2")

    def test_a_program_keeps_its_surroundings(self):
        cluster = self.start_cluster()
        script = 'echo "$0 $1 $COLOR"; pwd; read line; echo "got $line"; ulimit -n; echo err >&2; exit 7'
        options = {"input": b"a line\n", "cwd": "/usr", "env": cluster.environment | {"COLOR": "blue"}}
        plain = subprocess.run(["/bin/sh", "-c", script, "zero", "one"], capture_output=True, **options)
        remote = subprocess.run(cluster.run_command("16MiB", "/bin/sh", "-c", script, "zero", "one"), capture_output=True, **options)
        self.assertEqual((remote.returncode, remote.stdout, remote.stderr), (plain.returncode, plain.stdout, plain.stderr))

    def test_open_files_are_those_of_a_plain_run(self):
        cluster = self.start_cluster()
        self.same_as_plain(cluster, "16MiB", sys.executable, "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))")

    def test_exit_statuses(self):
        cluster = self.start_cluster()
        self.assertEqual(self.remote(cluster, "16MiB", "/bin/sh", "-c", "kill -SEGV $$").returncode, 128 + signal.SIGSEGV)
        missing = self.remote(cluster, "16MiB", "/no/such/program")
        self.assertEqual(missing.returncode, 127)
        self.assertIn(b"/no/such/program", missing.stderr)
        self.assertEqual(self.remote(cluster, "16MiB", "/etc/passwd").returncode, 126)

    def test_signals_reach_the_program(self):
        cluster = self.start_cluster()
        script = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(42))\nprint('ready', flush=True)\ntime.sleep(60)"
        process = cluster.run("16MiB", sys.executable, "-c", script, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 42)
        process.stdout.close()

    def test_children_that_exec_run_and_are_shown(self):
        cluster = self.start_cluster()
        process = cluster.run("16MiB", "/bin/sh", "-c", "sleep 5 & wait; exit 3")
        deadline = time.monotonic() + 4
        shown = ""
        while "sleep" not in shown and time.monotonic() < deadline:
            shown = cluster.command("ps", "--json").stdout
            time.sleep(0.1)
        self.assertIn("sleep", shown)
        self.assertEqual(process.wait(20), 3)

    def test_memory_is_returned_at_the_end(self):
        cluster = self.start_cluster()
        script = "b = bytearray(96 << 20)\nfor i in range(0, len(b), 4096): b[i] = i >> 12 & 255\nassert all(b[i] == i >> 12 & 255 for i in range(0, len(b), 4096))\nprint('whole')"
        result = self.remote(cluster, "24MiB", sys.executable, "-c", script)
        self.assertEqual(result.stdout, b"whole\n", result.stderr)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            used = {value["name"]: value["value"] for value in cluster.json("stats", "m1")["nodes"][0]["values"] if not value.get("labels")}
            if int(used["pool_used_bytes"]) == 0:
                return
            time.sleep(0.2)
        self.fail(f"the memory node still holds {used['pool_used_bytes']} bytes 5 s after the end")


if __name__ == "__main__":
    main()
