"""Daemons killed in mid-run or absent from the start: a pause, or an end with a reason; never a hang, never a wrong byte."""
import subprocess
import sys
import time

from case import PROGRAMS, ClusterCase, main

GIVE_UP = "{ack: disk, replicas: 1, on_give_up: kill, timeouts: {call: 1s, give_up: 4s}}"


class Deaths(ClusterCase):
    def start_verifier(self, cluster, seconds):
        program = [str(PROGRAMS / "lost_update"), "96", str(seconds), "3", "7"]
        return cluster.run("24MiB", *program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def outcome(self, process, within_s):
        """(status, words); a hang fails the test here."""
        try:
            out, err = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"still running after {within_s} s") from None
        self.assertNotIn("WRONG", err)
        return process.returncode, out + err

    def test_pnode_killed(self):
        cluster = self.start_cluster(defaults=GIVE_UP)
        process = self.start_verifier(cluster, 30)
        time.sleep(2)
        cluster.kill("p1")
        status, words = self.outcome(process, 12)
        self.assertNotEqual(status, 0)
        self.assertIn("p1", words)
        self.assertIn("killing", words)

    def test_mnode_killed_for_good_with_no_other(self):
        cluster = self.start_cluster(defaults=GIVE_UP)
        process = self.start_verifier(cluster, 40)
        time.sleep(2)
        cluster.kill("m1")
        status, words = self.outcome(process, 30)
        self.assertEqual(status, 128 + 9, words)
        self.assertIn("memory node", words)

    def test_mnode_killed_for_good_without_replicas(self):
        cluster = self.start_cluster(defaults="{replicas: 0, on_give_up: kill, timeouts: {call: 1s, give_up: 4s}}")
        process = self.start_verifier(cluster, 30)
        time.sleep(2)
        cluster.kill("m1")
        status, words = self.outcome(process, 15)
        self.assertEqual(status, 128 + 9, words)
        self.assertIn("m1", words)

    def test_mnode_comes_back_empty_and_is_filled(self):
        cluster = self.start_cluster(defaults="{ack: disk, replicas: 1, on_give_up: kill, timeouts: {call: 1s, give_up: 20s}}")
        process = self.start_verifier(cluster, 8)
        time.sleep(2)
        cluster.kill("m1")
        cluster.start("m1")
        status, words = self.outcome(process, 60)
        self.assertEqual(status, 0, words + cluster.log("p1")[-3000:])
        self.assertIn("lost=0", words)

    def test_snode_killed_and_back_is_a_pause(self):
        cluster = self.start_cluster(defaults="{ack: disk, replicas: 1, on_give_up: kill, timeouts: {call: 1s, give_up: 20s}}")
        process = self.start_verifier(cluster, 8)
        time.sleep(2)
        cluster.kill("s1")
        time.sleep(1)
        cluster.start("s1")
        status, words = self.outcome(process, 60)
        self.assertEqual(status, 0, words + cluster.log("m1")[-3000:] + cluster.log("s1")[-3000:])
        self.assertIn("lost=0", words)

    def test_snode_killed_for_good(self):
        cluster = self.start_cluster(defaults=GIVE_UP)
        process = self.start_verifier(cluster, 30)
        time.sleep(2)
        cluster.kill("s1")
        status, words = self.outcome(process, 25)
        self.assertEqual(status, 128 + 9, words)

    def test_each_absent_at_start(self):
        for absent, others in (("p1", ("m1", "s1")), ("m1", ("p1", "s1")), ("s1", ("p1", "m1"))):
            with self.subTest(absent=absent):
                cluster = self.cluster(defaults=GIVE_UP)
                cluster.start(*others)
                time.sleep(1)
                begin = time.monotonic()
                script = "b = bytearray(64 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nassert sum(b[i] for i in range(0, len(b), 4096)) == 16384"
                result = subprocess.run(cluster.run_command("16MiB", sys.executable, "-c", script), env=cluster.environment, capture_output=True, text=True, timeout=30)
                self.assertNotEqual(result.returncode, 0)
                self.assertIn(absent, result.stderr)
                self.assertLess(time.monotonic() - begin, 20)
                status = cluster.command("status")
                self.assertEqual(status.returncode, 1)
                self.assertIn(absent, status.stdout + status.stderr)
                cluster.stop()


if __name__ == "__main__":
    main()
