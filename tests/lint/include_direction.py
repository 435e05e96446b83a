"""Checks that includes point one way between folders, as docs/ARCHITECTURE.md draws it.

usage: include_direction.py ROOT      exit 0: fine; 1: faults, one a line as file:line: …
"""
import pathlib
import re
import sys

# folder → folders it may include (itself always). The longest matching folder of a file counts.
ALLOWED = {
    "common/base": [],
    "common/telemetry": ["common/base"],
    "common/config": ["common/base", "common/telemetry"],
    "common/fabric": ["common/base", "common/telemetry"],
    "common/fit": ["common/base", "common/telemetry", "common/fabric"],
    # The control path hands out tokens for the data path, so it may name FIT's grants; FIT knows nothing of it.
    "common/control": ["common/base", "common/config", "common/telemetry", "common/fabric", "common/fit", "proto"],
    "common/service": ["common/base", "common/config", "common/telemetry"],
    "daemons/snode": ["common", "proto"],
    "daemons/mnode": ["common", "proto"],
    "daemons/pnode": ["common", "proto"],
    "cli": ["common", "proto", "daemons/pnode/injection", "daemons/snode/replica_log"],
    # Inside the daemons: the data path's folders know no gRPC and no control code.
    "daemons/snode/replica_log": ["common/base", "common/telemetry"],
    "daemons/mnode/pool": ["common/base", "common/telemetry", "common/fabric", "common/fit"],
    "daemons/mnode/replication": ["common/base", "common/telemetry", "common/fabric", "common/fit", "daemons/mnode/pool"],
    "daemons/pnode/injection": ["common/base", "common/telemetry"],
    "daemons/pnode/paging": ["common/base", "common/telemetry", "daemons/pnode/injection"],
    # Of control only the plain values it reports in (syscall_types.h).
    "daemons/pnode/supervisor": ["common/base", "common/telemetry", "common/control/syscall_types.h"],
    "daemons/pnode/remote_page_store": ["common/base", "common/telemetry", "common/fabric", "common/fit", "daemons/pnode/paging"],
}
OURS = ("common", "daemons", "cli", "proto", "tests")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def folder_of(path: str) -> str | None:
    matches = [folder for folder in ALLOWED if inside(path, folder)]
    return max(matches, key=len, default=None)


def faults(root: pathlib.Path) -> list[str]:
    found = []
    for top in ("common", "daemons", "cli"):
        for source in sorted((root / top).rglob("*")):
            if source.suffix not in (".h", ".cc", ".c"):
                continue
            name = source.relative_to(root).as_posix()
            folder = folder_of(name)
            if folder is None:
                found.append(f"{name}:1: its folder has no rule in tests/lint/include_direction.py")
                continue
            for number, line in enumerate(source.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                if not match or match.group(1).split("/")[0] not in OURS:
                    continue
                target = match.group(1)
                if not any(inside(target, allowed) for allowed in [folder, *ALLOWED[folder]]):
                    found.append(f"{name}:{number}: {folder} may not include {target}")
    return found


if __name__ == "__main__":
    result = faults(pathlib.Path(sys.argv[1]))
    print("\n".join(result) or "includes point one way")
    sys.exit(1 if result else 0)
