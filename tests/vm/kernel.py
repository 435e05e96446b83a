"""Fetches Debian's stock kernel for the guest and packs what the guest boots from: an uncompressed vmlinux and a small
initramfs of busybox and modules. Nothing is installed; all of it lies in one folder and is made anew only when it is gone.

Kernel 6.12 is the oldest of Debian 12 with UFFDIO_MOVE; it comes with the security updates of bookworm.
"""
import lzma
import pathlib
import shutil
import struct
import subprocess

META_PACKAGE = "linux-image-6.12-amd64"

# Loaded by the guest in this order, each behind what it needs.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "crc32_generic", "rdma_rxe", "rdma_ucm", "dummy", "veth", "bridge",
           "sch_netem")


class Missing(Exception):
    """Something the stage needs is not to be had here; the text says what, and how to get it."""


def run(*command: str, **options) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def prepare(folder: pathlib.Path) -> None:
    """Afterwards folder/vmlinux, folder/initramfs and folder/version are there."""
    if (folder / "version").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = download(folder)
    tree = folder / "tree"
    tree.mkdir()
    subprocess.run(f"dpkg-deb --fsys-tarfile {archive} | tar -x -C {tree} ./boot ./lib/modules", shell=True, check=True)
    version = next((tree / "lib/modules").iterdir()).name
    run("depmod", "-b", str(tree), version)
    (folder / "vmlinux").write_bytes(uncompressed((tree / f"boot/vmlinuz-{version}").read_bytes()))
    pack(folder, tree, version)
    shutil.rmtree(tree)
    archive.unlink()
    (folder / "version").write_text(version + "\n")


def download(folder: pathlib.Path) -> pathlib.Path:
    depends = subprocess.run(("apt-cache", "depends", META_PACKAGE), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    names = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line]
    if not names:
        raise Missing(f"apt knows no {META_PACKAGE}; run apt-get update, with bookworm-security among the sources")
    fetched = subprocess.run(("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", names[0]), cwd=folder,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    archives = list(folder.glob("*.deb"))
    if fetched.returncode != 0 or not archives:
        raise Missing(f"can't download {names[0]}: {fetched.stdout.strip().splitlines()[-1:]}; run apt-get update")
    return archives[0]


def uncompressed(image: bytes) -> bytes:
    """The ELF inside a bzImage: QEMU starts it directly, and nothing is decompressed under emulation."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack("<II", image[0x248:0x250])
    payload = image[(setup_sectors + 1) * 512 + offset:][:length]
    if payload.startswith(b"\xfd7zXZ\0"):
        elf = lzma.LZMADecompressor().decompress(payload)
    else:
        elf = subprocess.run(("zstd", "-dcq"), input=payload[:-4], stdout=subprocess.PIPE).stdout  # the length stands behind it
    if not elf.startswith(b"\x7fELF"):
        raise Missing("the kernel is packed in a way this script does not know")
    return elf


def pack(folder: pathlib.Path, tree: pathlib.Path, version: str) -> None:
    root = folder / "root"
    for name in ("bin", "dev", "proc", "sys", "run", "modules", "host", "over", "new"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    order = []
    for module in MODULES:
        listed = subprocess.run(("modprobe", "-S", version, "-d", str(tree), "--show-depends", module), stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True).stdout  # nothing: it is built in
        for line in listed.splitlines():
            if not line.startswith("insmod "):
                continue
            path = pathlib.Path(line.split()[1])
            name = path.name.removesuffix(".xz")
            if name in order:
                continue
            order.append(name)
            data = path.read_bytes()
            (root / "modules" / name).write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
    (root / "modules/order").write_text("\n".join(order) + "\n")
    names = "\0".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    with open(folder / "initramfs", "wb") as out:
        subprocess.run(("cpio", "-0", "-o", "-H", "newc", "--quiet", "-R", "0:0"), cwd=root, input=names.encode(), stdout=out, check=True)
    shutil.rmtree(root)
