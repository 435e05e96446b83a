"""Nodes killed, stopped and drained under a program that verifies every page: a pause, never a wrong byte, never a hang.

usage: recovery_test.py [--seconds N] [--seed N] [unittest options]      20 s of disturbance without
"""
import random
import re
import signal
import subprocess
import sys
import time

from case import PROGRAMS, ClusterCase, main


def option(name, otherwise):
    if name not in sys.argv:
        return otherwise
    at = sys.argv.index(name)
    value = int(sys.argv[at + 1])
    del sys.argv[at:at + 2]
    return value


SECONDS = option("--seconds", 20)
SEED = option("--seed", 1)
NODES = ("p1", "m1", "m2", "s1", "s2")
DEFAULTS = "{ack: disk, replicas: 1, on_give_up: kill, timeouts: {call: 1s, give_up: 20s}}"


class Recovery(ClusterCase):
    def start(self, nodes=NODES):
        return self.start_cluster(nodes=nodes, defaults=DEFAULTS, pool="1GiB", log="1GiB")

    def meter(self, cluster, seconds, megabytes=96):
        return cluster.run("24MiB", str(PROGRAMS / "pause_meter"), str(megabytes), str(seconds), "2", str(SEED),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def outcome(self, cluster, process, within_s):
        """What the meter says: {name: number}, and its pauses. A hang or a wrong byte fails the test here."""
        try:
            out, err = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"still running after {within_s} s\n" + cluster.log("p1")[-4000:]) from None
        self.assertEqual(process.returncode, 0, out + err[-2000:] + cluster.log("p1")[-4000:])
        found = dict(re.findall(r"(\w+)=(\S*)", out))
        self.assertEqual(found["wrong"], "0", err[-2000:])
        return found

    def home_of_the_program(self, cluster):
        used = {}
        for node in ("m1", "m2"):
            values = {value["name"]: value["value"] for value in cluster.json("stats", node)["nodes"][0]["values"]}
            used[node] = int(values["pool_used_bytes"])
        return max(used, key=used.get)

    def test_a_lost_memory_node_is_a_pause(self):
        cluster = self.start()
        process = self.meter(cluster, 8)
        time.sleep(3)
        cluster.kill(self.home_of_the_program(cluster))
        found = self.outcome(cluster, process, 40)
        print("memory node killed:", found)
        self.assertLess(float(found["max_ms"]), 3000)  # the gate of 1 s holds on a machine that is not shared with a build

    def test_a_stopped_memory_node_is_a_pause_and_its_return_changes_nothing(self):
        cluster = self.start()
        process = self.meter(cluster, 10)
        time.sleep(3)
        home = self.home_of_the_program(cluster)
        cluster.daemons[home].send_signal(signal.SIGSTOP)
        time.sleep(3)
        cluster.daemons[home].send_signal(signal.SIGCONT)
        found = self.outcome(cluster, process, 40)
        print("memory node stopped:", found)
        self.assertLess(float(found["max_ms"]), 4000)

    def test_nodes_are_drained_while_the_program_runs(self):
        cluster = self.start()
        process = self.meter(cluster, 12)
        time.sleep(2)
        home = self.home_of_the_program(cluster)
        keeper = cluster.json("space", "ls")["spaces"][0]["snode"]
        for node in (home, keeper):
            drained = cluster.command("drain", node)
            self.assertEqual(drained.returncode, 0, drained.stdout + drained.stderr)
            self.assertIn(f"{node} is drained", drained.stdout)
        self.assertEqual(cluster.command("recover").returncode, 0)
        space = cluster.json("space", "ls")["spaces"][0]
        self.assertNotIn(home, space["home"])
        self.assertNotEqual(keeper, space["snode"])
        self.assertEqual(space["state"], "served")
        undone = cluster.command("drain", keeper, "--undo")
        self.assertEqual(undone.returncode, 0, undone.stderr)
        cluster.kill(home)  # nobody needs it any more
        found = self.outcome(cluster, process, 40)
        print("drained:", found)

    def test_chaos(self):
        cluster = self.start()
        draw = random.Random(SEED)
        process = self.meter(cluster, SECONDS)
        end = time.monotonic() + SECONDS - 3
        time.sleep(2)
        said = []
        while time.monotonic() < end and process.poll() is None:
            kind = draw.choice(("m", "m", "s"))
            node = draw.choice([n for n in NODES if n[0] == kind])
            if draw.random() < 0.6:
                cluster.kill(node)
                time.sleep(draw.uniform(0.0, 2.0))
                cluster.start(node)
                said.append(f"kill {node}")
            else:
                cluster.daemons[node].send_signal(signal.SIGSTOP)
                time.sleep(draw.uniform(0.3, 2.0))
                cluster.daemons[node].send_signal(signal.SIGCONT)
                said.append(f"stop {node}")
            time.sleep(draw.uniform(1.0, 3.0))
        found = self.outcome(cluster, process, 60)
        print("chaos:", ", ".join(said), found)


if __name__ == "__main__":
    main()
