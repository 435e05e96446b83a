"""Garbage at every open door while a program runs: counted, refused, nobody falls over, no byte changes."""
import os
import pathlib
import random
import socket
import subprocess
import time

from case import PROGRAMS, ClusterCase, main


def throw(connect, payload: bytes) -> None:
    """Sends `payload` to a fresh connection and waits for the other side to have had enough; refusal is fine."""
    with connect() as s:
        s.settimeout(0.3)
        try:
            s.sendall(payload)
            s.recv(4096)
        except OSError:
            pass


class Hostile(ClusterCase):
    def test_random_bytes_at_every_port_and_socket(self):
        cluster = self.start_cluster()
        process = cluster.run("16MiB", str(PROGRAMS / "lost_update"), "48", "8", "2", "3", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        dice = random.Random(1)
        doors = [lambda port=port: socket.create_connection(("127.0.0.1", port)) for port in [cluster.fabric["m1"], cluster.fabric["s1"], *cluster.control.values()]]
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            payload = dice.randbytes(dice.choice([1, 40, 64, 4096, 100_000]))
            if dice.random() < 0.5:
                payload = b"\x41\x53\x48\x46\x01\x01" + payload  # begins like a data-path hello
            throw(dice.choice(doors), payload)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, out + err)
        cluster.wait_ready(10)  # every daemon still lives and answers

    def test_random_packets_at_the_run_socket(self):
        cluster = self.start_cluster()
        path = next(pathlib.Path(cluster.folder / "run").rglob("*.sock"))
        dice = random.Random(2)
        for _ in range(200):
            def connect():
                s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                s.connect(str(path))
                return s
            throw(connect, dice.randbytes(dice.choice([1, 8, 64, 512, 4096])))
        result = subprocess.run(cluster.run_command("16MiB", "/bin/echo", "alive"), env=cluster.environment, capture_output=True, text=True, timeout=30)
        self.assertEqual((result.returncode, result.stdout), (0, "alive\n"), result.stderr)

    def test_hostile_topologies(self):
        cluster = self.cluster()
        whole = cluster.topology.read_bytes()
        dice = random.Random(3)
        for _ in range(60):
            text = bytearray(whole[: dice.randrange(len(whole))] if dice.random() < 0.3 else whole)
            for _ in range(dice.randrange(1, 6)):
                if text:
                    text[dice.randrange(len(text))] = dice.randrange(256)
            path = self.folder / "hostile.yaml"
            path.write_bytes(bytes(text))
            result = cluster.command("topology", "check", str(path))
            self.assertIn(result.returncode, (0, 78), result.stderr)
            if result.returncode == 78:
                self.assertIn("hostile.yaml:", result.stdout + result.stderr)
        os.remove(path)
        self.assertEqual(cluster.command("topology", "check", str(path)).returncode, 78)


if __name__ == "__main__":
    main()
