#!/bin/busybox sh
# The guest's first process: modules, then the host's own root, read-only by 9p under a tmpfs, and the command in it.
# The project is at /project.
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module" || echo "ashlar-vm: no module $module"; done < /modules/order
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,access=any,cache=loose,ro host /host
$b mount -t tmpfs tmpfs /over
$b mkdir /over/upper /over/work
$b mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /new
for folder in proc sys dev; do $b mkdir -p /new/$folder; $b mount --move /$folder /new/$folder; done
for folder in run tmp; do $b mkdir -p /new/$folder; $b mount -t tmpfs tmpfs /new/$folder; done
$b mkdir -p /new/project && $b mount --bind "/host$($b cat /project)" /new/project  # it may lie in /tmp, which is a new one
$b mkdir -p /new/dev/pts /new/dev/shm
$b mount -t devpts devpts /new/dev/pts; $b mount -t tmpfs tmpfs /new/dev/shm
$b cp /command /new/run/command
$b cat > /new/run/outer <<'OUTER'
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root
echo STARTED > /dev/ttyS1
cd / && ip link set lo up && hostname guest
setsid bash /run/command < /dev/null > /dev/hvc0 2>&1
echo "STATUS $?" > /dev/ttyS1
echo o > /proc/sysrq-trigger
sleep 60
OUTER
exec $b switch_root /new /bin/bash /run/outer
