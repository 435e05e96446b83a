"""Runs a command in a throw-away guest: QEMU in emulation (no KVM), Debian's kernel, the host's root read-only with a tmpfs
over it. The guest has soft RoCE, which no test machine needs to have then, and nothing it does stays."""
import pathlib
import re
import shutil
import subprocess
import tempfile

from kernel import Missing

TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "cpio": "cpio", "modprobe": "kmod", "zstd": "zstd",
         "rdma": "iproute2"}

LIMIT = 124
DIED = 125
BOOT_ATTEMPTS = 3
PROJECT = pathlib.Path(__file__).resolve().parents[2]


def check_tools() -> None:
    absent = [package for tool, package in TOOLS.items() if shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin") is None]
    if absent:
        raise Missing("not installed: " + " ".join(absent) + "; ./dev setup installs them")


def boot(folder: pathlib.Path, command: str, limit_seconds: int, console: pathlib.Path, memory_mib: int = 3072) -> int:
    """Streams what the command prints and returns its exit status; LIMIT when that ended it, DIED when the guest ended without a status."""
    for attempt in range(BOOT_ATTEMPTS):
        status, started = boot_once(folder, command, limit_seconds, console, memory_mib)
        # Emulation with two processors sometimes trips over code that the kernel patches while it starts.
        if status != DIED or started:
            return status
        print(f"guest: died before it started, attempt {attempt + 1} of {BOOT_ATTEMPTS}", flush=True)
    return DIED


def boot_once(folder: pathlib.Path, command: str, limit_seconds: int, console: pathlib.Path, memory_mib: int) -> tuple[int, bool]:
    """The status, and whether the guest came as far as the command."""
    with tempfile.TemporaryDirectory(prefix="ashlar-vm-") as scratch_name:
        scratch = pathlib.Path(scratch_name)
        (scratch / "command").write_text(command)
        (scratch / "project").write_text(str(PROJECT))
        shutil.copy(pathlib.Path(__file__).with_name("init.sh"), scratch / "init")
        (scratch / "init").chmod(0o755)
        packed = subprocess.run(("cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"), cwd=scratch, input=b"command\ninit\nproject\n",
                                stdout=subprocess.PIPE, check=True).stdout
        initramfs = scratch / "initramfs"
        initramfs.write_bytes((folder / "initramfs").read_bytes() + packed)  # archives may be joined
        status_file = scratch / "status"
        arguments = (
            "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem", "-smp", "2",
            "-m", str(memory_mib), "-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none",
            "-kernel", str(folder / "vmlinux"), "-initrd", str(initramfs),
            "-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0 tsc=reliable",
            "-serial", f"file:{console}", "-serial", f"file:{status_file}",
            "-device", "virtio-serial-pci,max_ports=2", "-chardev", "stdio,id=out,signal=off", "-device", "virtconsole,chardev=out",
            "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=host,mount_tag=host")
        try:
            subprocess.run(arguments, stdin=subprocess.DEVNULL, timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            return LIMIT, True
        words = status_file.read_text(errors="replace") if status_file.exists() else ""
        said = re.search(r"STATUS (\d+)", words)
        return int(said.group(1)) if said else DIED, "STARTED" in words
