"""The lost-update program on the whole path: threads, mremap, munmap, madvise, fork, exec, thread churn; none lost.

usage: stress_test.py [--seconds N] [unittest options]      5 s without
"""
import subprocess
import sys

from case import PROGRAMS, ClusterCase, main

seconds = 5
if "--seconds" in sys.argv:
    at = sys.argv.index("--seconds")
    seconds = int(sys.argv[at + 1])
    del sys.argv[at:at + 2]


class Stress(ClusterCase):
    def run_program(self, *options: str) -> None:
        cluster = self.start_cluster()
        program = [str(PROGRAMS / "lost_update"), "128", str(seconds), "4", "20260101", *options]
        result = subprocess.run(cluster.run_command("32MiB", *program), env=cluster.environment, capture_output=True, text=True, timeout=seconds + 60)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr[-4000:] + cluster.log("p1")[-4000:])
        self.assertIn("lost=0", result.stdout)
        print(result.stdout.strip())
        print(cluster.command("stats", "p1").stdout)

    def test_no_update_is_lost_at_a_quarter_of_the_memory(self):
        self.run_program()

    def test_no_update_is_lost_where_threads_take_each_others_places(self):
        """Every seventh step changes a mapping: events of the kernel overtake each other."""
        self.run_program("140")


if __name__ == "__main__":
    main()
