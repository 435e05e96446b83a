"""Daemons on this host, one of each role unless told otherwise, in a folder of their own: what the demo shows and the integration tests test.

A cluster writes only below its folder: topology, state, sockets and one log file per daemon. Ports are found free, so
that several clusters can run at once.
"""
from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

ROLE_OF = {"p": "pnode", "m": "mnode", "s": "snode"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


class Cluster:
    """Use as a context manager: leaving it stops what still runs."""

    def __init__(self, binaries: pathlib.Path, folder: pathlib.Path, *, cache: str = "2GiB", pool: str = "4GiB", log: str = "8GiB",
                 defaults: str = "{ack: disk, replicas: 1}", nodes: tuple[str, ...] = ("p1", "m1", "s1")):
        self.binaries = pathlib.Path(binaries).resolve()
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.topology = self.folder / "topology.yaml"
        self.roles = {node: ROLE_OF[node[0]] for node in nodes}
        ports = free_ports(2 * len(nodes))
        self.control = dict(zip(nodes, ports[:len(nodes)]))
        self.fabric = dict(zip(nodes, ports[len(nodes):]))
        lines = ["version: 1", "cluster: local", "nodes:"]
        for node, role in self.roles.items():
            size = {"pnode": f"cache_bytes: {cache}", "mnode": f"pool_bytes: {pool}",
                    "snode": f"log: {{path: {node}-log, capacity_bytes: {log}}}"}[role]
            lines.append(f'  - {{id: {node}, role: {role}, control: "127.0.0.1:{self.control[node]}", '
                         f'fabric: [{{kind: tcp, address: "127.0.0.1:{self.fabric[node]}"}}], {size}}}')
        lines.append(f"defaults: {defaults}")
        self.topology.write_text("\n".join(lines) + "\n")
        self.environment = dict(os.environ, ASHLAR_TOPOLOGY=str(self.topology), ASHLAR_RUNTIME_DIR=str(self.folder / "run"))
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- daemons -----------------------------------------------------------------------------------------------------
    def start(self, *nodes: str) -> None:
        """Starts the named nodes, or all, without waiting."""
        for node in nodes or self.roles:
            with open(self.log_file(node), "ab") as log:
                self.daemons[node] = subprocess.Popen(
                    [self.binaries / f"ashlar-{self.roles[node]}", "--config", self.topology, "--id", node, "--state-dir", self.folder / "state" / node],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True)

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Returns when every started daemon answers and its links are up; raises with the logs if one does not."""
        deadline = time.monotonic() + timeout_s
        while True:
            for node, process in self.daemons.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{node} ended with status {process.returncode}:\n{self.log(node)}")
            if self.command("status", "--json").returncode == 0:
                return
            if time.monotonic() > deadline:
                words = self.command("status")
                logs = "".join(f"--- {node}\n{self.log(node)}" for node in self.daemons)
                raise RuntimeError(f"not ready in {timeout_s} s:\n{words.stdout}{words.stderr}\n{logs}")
            time.sleep(0.1)

    def kill(self, node: str, how: int = signal.SIGKILL) -> None:
        self.daemons[node].send_signal(how)
        self.daemons[node].wait(30)

    def stop(self) -> dict[str, int]:
        """Asks every daemon to end, insists after 15 s. Returns their exit statuses."""
        for node in sorted(self.daemons, key=lambda node: "pms".index(node[0])):  # readers before what they read
            process = self.daemons.get(node)
            if process is None:
                continue
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        return {node: process.returncode for node, process in self.daemons.items()}

    def log_file(self, node: str) -> pathlib.Path:
        return self.folder / f"{node}.log"

    def log(self, node: str) -> str:
        return self.log_file(node).read_text(errors="replace") if self.log_file(node).exists() else ""

    # --- the command -------------------------------------------------------------------------------------------------
    def command(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess:
        return subprocess.run([self.binaries / "ashlar", *arguments], env=self.environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout_s)

    def json(self, *arguments: str) -> dict:
        result = self.command(*arguments, "--json")
        try:
            return json.loads(result.stdout)
        except json.JSONDecodeError as error:
            raise RuntimeError(f"ashlar {' '.join(arguments)}: no JSON: {result.stdout}{result.stderr}") from error

    def run_command(self, cache: str, *program: str, name: str | None = None) -> list[str]:
        """The words that run `program` on remote memory."""
        named = ["--name", name] if name else []
        return [str(self.binaries / "ashlar"), "run", "--cache", cache, *named, "--", *program]

    def run(self, cache: str, *program: str, **options) -> subprocess.Popen:
        """Starts `program` on remote memory."""
        return subprocess.Popen(self.run_command(cache, *program), env=self.environment, stdin=subprocess.DEVNULL, **options)
