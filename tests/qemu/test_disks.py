# SPDX-License-Identifier: BSD-2-Clause
"""Disks that live in the store, under a whole machine."""
import os
import re
import time

from amber import (BUILD, Image, Machine, check, debian_manifest, debian_payloads, deep_manifest,
                   initrd_with, needs, run)

SNAP = BUILD / "amber-snap"


def image_for(ctx, properties="size-mib = <64>;", disks=(), store_mib=512):
    manifest = debian_manifest(ctx.folder, disk="store:web", disk_properties=properties)
    return Image(ctx.folder, manifests=[manifest], payloads=debian_payloads(), disks=disks,
                 store_mib=store_mib)


def fill(m, name, mib):
    """A file of random bytes on the disk, there for good; its checksum.

    Twice sync: without a journal, Linux writes inodes after it has flushed the disk's cache
    (ext4_write_inode(), ext4_sync_fs(), sync_bdevs()).
    """
    m.shell(f"dd if=/dev/urandom of=/mnt/{name} bs=1M count={mib} 2>/dev/null; sync; sync", 120)
    return checksum(m, name)


def checksum(m, name):
    """What the kernel has to say meanwhile stands between the lines."""
    text = m.shell(f"md5sum /mnt/{name}", 60)
    found = re.findall(rf"([0-9a-f]{{32}})  /mnt/{name}\b", text)
    check(len(found) == 1, f"md5sum of {name}: {text!r}")
    return found[0]


def sum_from_disk(m, name):
    m.shell("echo 3 > /proc/sys/vm/drop_caches")
    return checksum(m, name)


def store_is_sound(image):
    run([SNAP, image.path, "verify"])


@needs("disk", "drive bus")  # QEMU only: an interpreter takes minutes
def test_store_disk(ctx):
    """What was synced to a disk in the store outlives the plug; a live snapshot brings it back."""
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        disks = m.ok("disk list")["disks"]
        check([(d["name"], d["size_bytes"], d["layers"]) for d in disks] == [("web", 64 << 20, 1)],
              f"disk list: {disks}")
        m.guest_ready("debian")
        one = fill(m, "one", 8)
        # and in the middle of more of it the power fails
        m.send("dd if=/dev/urandom of=/mnt/torn bs=64k count=400 2>/dev/null &\r")
        time.sleep(1)
        m.kill()
    store_is_sound(image)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        now = sum_from_disk(m, "one")
        check(now == one, f"a file that was synced has changed in a power cut: {one}, now {now}")
        m.shell("rm -f /mnt/torn; echo before > /mnt/state; sync")
        two = fill(m, "two", 4)
        m.detach()
        m.fails("disk delete web --yes", "is a disk of vm 'debian'")
        m.fails("disk resize web 128M", "is a disk of vm 'debian', which is running")
        m.ok("snapshot save debian s1", 300)
        info = m.ok("snapshot info s1")["disks"]
        check([(d["name"], d["in_store"]) for d in info] == [("web", True)], f"disks: {info}")
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        # the guest writes on, which makes no difference to the snapshot
        m.shell("rm /mnt/one; echo after > /mnt/state; sync")
        fill(m, "two", 4)
        fill(m, "three", 4)
        m.detach()
        check(m.ok("disk list")["disks"][0]["layers"] == 2, "no layer was frozen")
        for _ in range(2):
            m.ok("snapshot restore s1 --yes", 300)
            m.attach("debian")
            m.send("\r")
            m.expect("debian# ", 60)
            check(m.shell("cat /mnt/state") == "before", "the disk is not as it was saved")
            check(sum_from_disk(m, "one") == one, "a deleted file did not come back")
            check(sum_from_disk(m, "two") == two, "an overwritten file did not come back")
            check(m.shell("ls /mnt/three 2>/dev/null") == "", "a later file is there")
            check(m.shell("dmesg | grep -iE 'I/O error|EXT4-fs error'") == "", "disk errors")
            m.shell("echo again > /mnt/state; sync")
            m.detach()
        m.poweroff()
    store_is_sound(image)


@needs("disk", "drive bus")  # QEMU only: an interpreter takes minutes
def test_store_disk_base(ctx):
    """A disk over a partition leaves it alone, until it is written back."""
    image = image_for(ctx, 'base = "debian-disk";', disks=["debian-disk:64"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        one = fill(m, "one", 4)
        m.detach()
        check(m.ok("disk list")["disks"][0]["base"] == "debian-disk", "the base is not shown")
        m.fails("disk commit web --yes", "is a disk of vm 'debian', which is running")
        m.ok("vm poweroff debian")
        m.ok("disk commit web --yes", 120)
        check(m.ok("disk list")["disks"][0]["bytes"] == 0, "the disk is not empty")
        m.ok("vm start debian", 60)
        m.guest_ready("debian")
        check(sum_from_disk(m, "one") == one, "a file was lost when it was written back")
        m.detach()
        m.poweroff()
    store_is_sound(image)


@needs("disk", "drive bus")  # QEMU only: an interpreter takes minutes
def test_store_disk_full(ctx):
    """A full store pauses the guest; with room made it goes on, and nothing is lost."""
    image = image_for(ctx, "size-mib = <200>;", store_mib=128)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.detach()
        m.ok("snapshot save debian s1", 300)
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        m.send("dd if=/dev/urandom of=/tmp/big bs=1M count=55 2>/dev/null; md5sum /tmp/big; "
               "cat /tmp/big /tmp/big > /mnt/big; sync; echo writ''ten\r")
        said = m.expect(r"[0-9a-f]{32}", 180).group(0)
        m.detach()
        m.until(lambda: m.vm("debian")["state"] == "paused", 180, "the store never got full")
        check(m.vm("debian")["disposition"] == "no-space", f"when full: {m.vm('debian')}")
        m.ok("vm resume debian")
        m.until(lambda: m.vm("debian")["state"] == "paused", 60, "it went on without room")
        m.ok("snapshot delete s1 --yes", 120)
        m.ok("vm resume debian")
        m.attach("debian")
        m.expect("written", 120)
        m.send("\r")
        m.expect("debian# ", 60)
        m.shell("echo 3 > /proc/sys/vm/drop_caches")
        check(m.shell("head -c 57671680 /mnt/big | md5sum", 120).startswith(said), "data lost")
        check(m.shell("dmesg | grep -iE 'I/O error|EXT4-fs error'") == "", "disk errors")
        m.detach()
        m.poweroff()
    store_is_sound(image)


# Writes a number, waits until it is on the disk, and only then tells memory of it. Beside it a file
# comes and goes, so that blocks and whole ranges are given back and taken again.
SEQUENCE = r"""cat > /tmp/writer.sh <<'EOF'
i=0
while [ ! -e /tmp/stop ]; do
  i=$((i+1)); echo $i >> /mnt/seq; sync; echo $i > /tmp/synced
  [ $((i % 5)) = 0 ] && dd if=/dev/urandom of=/mnt/junk bs=64k count=$((i % 32 + 1)) 2>/dev/null
done
touch /tmp/stopped
EOF"""


@needs("disk")
def test_store_disk_live(ctx):
    """Memory and disk are of one instant: what memory knows to be synced is there after a restore."""
    image = image_for(ctx)
    moments = 8
    with Machine(image, ctx.platform, timeout=1800) as m:
        m.prompt()
        m.guest_ready("debian")
        for line in SEQUENCE.split("\n"):
            m.send(line + "\r")
            time.sleep(0.05)
        m.expect("debian# ", 30)
        m.shell("mount -o remount,discard /mnt; (sh /tmp/writer.sh &)", 60)
        m.detach()
        for i in range(moments):
            time.sleep(ctx.random.uniform(0.3, 1.5))
            m.ok(f"snapshot save debian live{i}", 300)
        order = list(range(moments))
        ctx.random.shuffle(order)
        for i in order:
            time.sleep(ctx.random.uniform(0.3, 1.0))
            m.ok(f"snapshot restore live{i} --yes", 300)
            m.attach("debian")
            m.send("\r")
            m.expect("debian# ", 60)
            m.shell("touch /tmp/stop; while [ ! -e /tmp/stopped ]; do usleep 100000; done", 120)
            m.shell("echo 3 > /proc/sys/vm/drop_caches")
            synced, last = m.shell("cat /tmp/synced"), m.shell("tail -n 1 /mnt/seq")
            check(synced == last, f"live{i}: memory says {synced}, the disk {last}")
            check(m.shell("busybox awk '$1 != NR' /mnt/seq") == "", f"live{i}: a number is missing")
            check(m.shell("dmesg | grep -iE 'I/O error|EXT4-fs error|call trace'") == "", "errors")
            m.detach()
        # layers of snapshots that are gone are given back
        before = m.ok("disk list")["disks"][0]
        for i in range(moments):
            m.ok(f"snapshot delete live{i} --yes", 120)
        for _ in range(2):
            m.ok("disk flatten web", 300)
        after = m.ok("disk list")["disks"][0]
        check(after["layers"] == 1, f"layers before {before} and after {after}")
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        m.shell("echo 3 > /proc/sys/vm/drop_caches")
        check(m.shell("tail -n 1 /mnt/seq") == last, "flattening changed the disk")
        m.detach()
        m.ok("snapshot save debian end --poweroff", 300)
        m.poweroff()
    store_is_sound(image)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("snapshot verify end", 120)
        m.ok("snapshot restore end --yes", 300)
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        check(m.shell("tail -n 1 /mnt/seq") == last, "the disk changed over a power cycle")
        m.detach()
        m.poweroff()


@needs("disk", "drive bus")  # QEMU only: an interpreter takes minutes
def test_store_disk_clones(ctx):
    """Each clone goes on with a disk of its own, as it was; none sees what another writes."""
    count = 4 if ctx.platform.slow == 1 else 2
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        blob = fill(m, "blob", 8)
        m.detach()
        m.ok("snapshot save debian golden --poweroff", 300)
        check(m.ok(f"vm clone golden c --count={count}", 120)["made"] == count, "too few")
        names = [d["name"] for d in m.ok("disk list")["disks"]]
        check(sorted(names) == sorted(["web"] + [f"web.c-{n + 1}" for n in range(count)]), names)
        for n in range(count):
            m.attach(f"c-{n + 1}")
            m.send("\r")
            m.expect("debian# ", 60)
            check(sum_from_disk(m, "blob") == blob, f"clone {n + 1} has another file")
            m.shell(f"echo {n + 1} > /mnt/mine; sync", 60)
            m.detach()
        for n in range(count):
            m.attach(f"c-{n + 1}")
            m.send("\r")
            m.expect("debian# ", 60)
            check(sum_from_disk(m, "mine") and m.shell("cat /mnt/mine") == str(n + 1),
                  f"clone {n + 1} has another's file")
            m.detach()
        m.fails("vm clone golden c --count=2", "vm 'c-1' exists already")
        m.ok("vm destroy c-1 --yes")
        m.fails("vm clone golden c-1", "disk 'web.c-1'")  # it outlives the machine, as disks do
        m.ok("disk delete web.c-1 --yes")
        m.ok("vm clone golden c-1", 60)
        m.poweroff()
    store_is_sound(image)


@needs("disk", "drive bus")  # QEMU only: an interpreter takes minutes
def test_store_disk_rewind(ctx):
    """Thrown back to its mark, a guest finds its disk as it was then, as often as it is done."""
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        blob = fill(m, "blob", 4)
        m.shell("echo marked > /mnt/state; sync")
        m.detach()
        m.ok("vm mark debian", 60)
        for n in range(3):
            m.attach("debian")
            m.send("\r")
            m.expect("debian# ", 60)
            check(m.shell("cat /mnt/state") == "marked", f"round {n}: it is not as it was")
            m.shell(f"rm /mnt/blob; echo {n} > /mnt/state; sync; echo {n} > /mnt/state{n}")
            m.detach()
            check(m.ok("vm rewind debian", 60)["pages"] > 0, "nothing was put back")
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        check(sum_from_disk(m, "blob") == blob, "the file is not as it was")
        check(m.shell("ls /mnt/state*") == "/mnt/state", "something of later is there")
        m.shell("echo after > /mnt/state; sync")
        check(m.shell("dmesg | grep -iE 'EXT4-fs error|I/O error'") == "", "the kernel complains")
        m.detach()
        m.ok("vm poweroff debian")
        m.ok("disk resize web 96M")
        m.fails("vm rewind debian", "disk 'web' has been resized since")
        m.ok("vm unmark debian")
        m.poweroff()
    store_is_sound(image)


def check_files(m, sums):
    m.attach("debian")
    m.send("\r")
    m.expect("debian# ", 60)
    for name, was in sums.items():
        check(sum_from_disk(m, name) == was, f"file '{name}' is not as it was")
    check(m.shell("dmesg | grep -iE 'I/O error|EXT4-fs error'") == "", "disk errors")


@needs("disk", "drive bus")  # QEMU only: an interpreter takes minutes
def test_store_disk_travels(ctx):
    """A frozen guest goes to another machine in one file, with its disk and what lay below that."""
    image = image_for(ctx, 'base = "debian-disk";', disks=["debian-disk:64"])
    sums = {}
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        sums["below"] = fill(m, "below", 4)
        m.detach()
        m.ok("vm poweroff debian")
        m.ok("disk commit web --yes", 120)
        m.ok("vm start debian", 60)
        m.guest_ready("debian")
        sums["above"] = fill(m, "above", 4)
        m.detach()
        m.ok("snapshot save debian s1 --poweroff", 300)
        m.poweroff()
    key, file, plain = (ctx.folder / n for n in ("key", "s1.portable", "s2.amber"))
    run([SNAP, "keygen", key])
    run([SNAP, image.path, "export", "s1", file, "--with-base", "--compress", "--encrypt",
         "--key-file", key])
    other = Image(ctx.folder, "other.img")  # which has neither that partition nor that guest
    run([SNAP, other.path, "format"])
    run([SNAP, other.path, "import", file, "--key-file", key])
    run([SNAP, other.path, "check"])
    store_is_sound(other)
    with Machine(other, ctx.platform) as m:
        m.prompt()
        m.ok("snapshot restore s1 --yes", 300)
        disks = m.ok("disk list")["disks"]
        check([(d["name"], d["size_bytes"], d["base"]) for d in disks] == [("web", 64 << 20, "")],
              f"disk list: {disks}")
        check_files(m, sums)
        sums["later"] = fill(m, "later", 4)
        m.detach()
        m.ok("snapshot save debian s2 --poweroff", 300)
        m.poweroff()
    with Machine(other, ctx.platform) as m:
        m.prompt()
        m.ok("snapshot restore s2 --yes", 300)
        check_files(m, sums)
        m.detach()
        m.poweroff()
    # at home the disk of that name is another one now
    run([SNAP, other.path, "export", "s2", plain])
    text = run([SNAP, image.path, "import", plain], ok=False)
    check("disk 'web': exists already, with another base" in text, f"import: {text}")
    store_is_sound(other)
    store_is_sound(image)


# Writes files, and the checksum of each when it is on the disk for sure.
SUMS = r"""cat > /tmp/writer.sh <<'EOF'
mkdir -p /mnt/f; i=$(ls /mnt/f | sort -n | tail -n 1); i=${i:-0}
while :; do
  i=$((i+1)); dd if=/dev/urandom of=/mnt/f/$i bs=4k count=$((i%50+1)) 2>/dev/null; sync
  (cd /mnt/f; md5sum $i) >> /mnt/sums; sync; rm -f /mnt/f/$((i-60))
done
EOF"""
READER = ("cd /mnt/f; while read s n; do [ -e $n ] && [ \"$(md5sum < $n | cut -c1-32)\" != $s ] && "
          "echo BAD $n; done < /mnt/sums; cd /; wc -l < /mnt/sums")


def fsck(m):
    """The file system is whole once its journal has been replayed, which mounting has done."""
    m.shell("umount /mnt", 60)
    said = m.shell("/sbin/e2fsck -fn /dev/vda; echo status $?", 120)
    check(said.endswith("status 0"), f"the file system is not whole: {said}")
    m.shell("mount -t ext4 /dev/vda /mnt", 60)


@needs("disk", "drive bus")  # QEMU only: many boots
def test_plug(ctx):
    """The plug is pulled at random moments: a journalled file system is whole, with all that was synced."""
    manifest = debian_manifest(ctx.folder, disk="store:web", disk_properties="size-mib = <64>;")
    initrd = initrd_with(ctx.folder, ["mke2fs", "e2fsck"])
    image = Image(ctx.folder, manifests=[manifest], store_mib=512,
                  payloads=[debian_payloads()[0], f"{initrd}:debian.cpio.gz"])
    sums = 0
    for kill in range(int(os.environ.get("AMBER_KILLS", 3))):
        with Machine(image, ctx.platform) as m:
            m.prompt()
            m.guest_ready("debian")
            check(m.shell("dmesg | grep -iE 'EXT4-fs error|I/O error|corrupt'") == "", "damaged")
            if kill:
                fsck(m)
                said = m.shell(READER, 120).split()
                check("BAD" not in said and int(said[-1]) >= sums, f"kill {kill}: {said}, had {sums}")
            else:
                m.shell("umount /mnt; /sbin/mke2fs -q -F -t ext4 -J size=4 /dev/vda; "
                        "mount -t ext4 /dev/vda /mnt", 120)
            said = m.shell("dmesg | grep 'EXT4-fs.*mounted' | tail -n 1")
            check("ordered data" in said, f"it has no journal: {said}")
            for line in SUMS.split("\n"):
                m.send(line + "\r")
                time.sleep(0.05)
            m.expect("debian# ", 30)
            m.shell("(sh /tmp/writer.sh &)")
            time.sleep(ctx.random.uniform(1, 4))
            sums = int(m.shell("cat /mnt/sums 2>/dev/null | wc -l; sync"))  # these are there for good
            m.detach()
            if ctx.random.random() < 0.7:
                m.send(f"snapshot save debian s{kill % 3} --replace\r")
            time.sleep(ctx.random.uniform(0, 1.5))
            m.kill()
        run([SNAP, image.path, "check"])
        store_is_sound(image)


def deep(m, byte, answer):
    """What tests/guests/deep.c says to a byte; it has read nothing that it did not write."""
    m.attach("deep")
    m.send(byte)
    text = m.expect(f"(.*?)(?:{answer})", 300).group(0)
    check("TORN" not in text, f"disk and memory are not of one instant: {text[-600:]}")
    m.detach()
    return text


def test_disk_deep(ctx):
    """Saved with 32 requests in flight, disk and memory are of one instant after each restore."""
    rounds = 6 if ctx.platform.slow == 1 else 3
    with Machine(Image(ctx.folder, manifests=[deep_manifest(ctx.folder)],
                       payloads=[BUILD / "guests/deep.bz"], store_mib=256), ctx.platform) as m:
        m.prompt()
        m.ok("vm start deep", 60)
        m.attach("deep")
        m.expect(r"ready\r?\n", 300)
        m.detach()
        for n in range(rounds):
            m.ok(f"snapshot save deep deep{n}", 300)
            deep(m, "p", r"done \d+ requests, 0 bad")
        deep(m, "q", r"quiet: 2048 blocks, 0 bad")
        for n in ctx.random.sample(range(rounds), rounds):
            m.ok(f"snapshot restore deep{n} --yes", 300)
            deep(m, "p", r"done \d+ requests, 0 bad")
            deep(m, "q", r"quiet: 2048 blocks, 0 bad")
        m.poweroff()
