#!/usr/bin/env python3
"""The tests that need RDMA, in a guest that has soft RoCE: the conformance suite on verbs, faults between hosts, and a
program on a whole cluster. Prints what ran and how long it took.

usage: vm_test.py BUILD_FOLDER [STAGE…]     exit: 0 all passed · 1 a stage failed · 77 skipped, with the reason
"""
import os
import pathlib
import shlex
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import guest  # noqa: E402
import kernel  # noqa: E402

LIMIT_SECONDS = 420  # a boot and all stages take 60 s of processor time; emulation on a busy machine is that much slower
SKIPPED = 77


def main() -> int:
    build = pathlib.Path(sys.argv[1]).resolve()
    folder = guest.PROJECT / "build/vm"
    started = time.monotonic()
    try:
        if not os.access("/", os.R_OK) or os.geteuid() != 0:
            raise kernel.Missing("the guest mounts this host's root, which takes root to read whole; run it as root")
        guest.check_tools()
        kernel.prepare(folder)
    except kernel.Missing as missing:
        print(f"SKIPPED: nothing ran on verbs: {missing}", file=sys.stderr)
        return SKIPPED
    prepared = time.monotonic()
    version = (folder / "version").read_text().strip()
    print(f"guest: Linux {version} under QEMU emulation, soft RoCE; ready in {prepared - started:.1f} s", flush=True)
    inside = guest.PROJECT.joinpath("tests/vm/inside.sh").relative_to(guest.PROJECT)
    command = f"exec bash /project/{inside} /project/{build.relative_to(guest.PROJECT)} {shlex.join(sys.argv[2:])}\n"
    status = guest.boot(folder, command, LIMIT_SECONDS, folder / "console")
    print(f"guest: ended with status {status} after {time.monotonic() - prepared:.1f} s", flush=True)
    if status in (guest.LIMIT, guest.DIED):
        why = f"it took more than {LIMIT_SECONDS} s" if status == guest.LIMIT else "it died"
        print(f"the guest told no status: {why}; its console:", file=sys.stderr)
        sys.stderr.write("".join(open(folder / "console", errors="replace").readlines()[-40:]))
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
