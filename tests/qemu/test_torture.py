# SPDX-License-Identifier: BSD-2-Clause
"""Random traffic of every kind from a guest's CPUs, with snapshots at random moments."""
import os
import re
import time

from amber import BUILD, EmulatorDied, Failure, Image, Machine, check, compile_manifest

MACHINES = 8  # of one seed each: who has ended itself is followed by the next
# Ends that a guest may come to by itself; an error must have one of these reasons.
ENDS = {"reset", "poweroff", "halt", "triple-fault", "debug-exit"}
REASONS = re.compile(r"executes device memory")
FEW = 100  # exits of a machine that does nothing
LATER = 100_000_000  # ns: a pause at a moment of the machine's own clock


def torture_manifest(ctx, name, seed, cpus=3, rest=2000):
    plain = {"qemu-svm": 1, "bochs-svm": 6}.get(ctx.platform.name, 0)
    return compile_manifest(ctx.folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <32>; cpus {{ count = <{cpus}>; }};
  boot {{ method = "linux"; kernel = "torture.bz";
         command-line = "seed={seed} cpus={cpus} rest={rest} plain={plain}"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }};
    serial1 {{ compatible = "amber,ns16550"; index = <1>; }};
    disk0 {{ compatible = "amber,virtio-blk"; slot = <4>; backend = "store:{name}"; size-mib = <4>; }};
    console0 {{ compatible = "amber,virtio-console"; slot = <5>; port-name = "garbage"; }};
    timers {{ compatible = "amber,hpet"; }}; config {{ compatible = "amber,fw-cfg"; }};
    exit {{ compatible = "amber,debug-exit"; }}; test {{ compatible = "amber,testdev"; }}; }}; }};
""")


def witness_manifest(ctx):
    return compile_manifest(ctx.folder, "witness", """/dts-v1/;
/ { compatible = "amber,guest"; vm-name = "witness"; autostart; memory-mib = <16>;
  boot { method = "linux"; kernel = "witness.bz"; };
  devices { serial0 { compatible = "amber,ns16550"; index = <0>; }; }; };
""")


class Witness:
    """The second guest: asked now and then, it must have got on and found nothing wrong."""

    def __init__(self, m):
        self.m = m
        self.last = None
        self.ask()

    def ask(self):
        m = self.m
        check(m.vm("witness")["state"] == "running", f"the witness: {m.vm('witness')}")
        m.attach("witness")
        m.send("w")
        text = m.expect(r"(.*?)witness: pass (\d+), (\d+) ticks, (\d+) ms, (\d+) bad", 60)
        m.detach()
        now = [int(text.group(n)) for n in range(2, 6)]
        check(now[3] == 0 and "BAD" not in text.group(1), f"the witness noticed: {text.group(0)}")
        if self.last:
            check(all(b > a for a, b in zip(self.last, now[:3])), f"it stands still: {self.last}, {now}")
        self.last = now[:3]


class Torture:
    """One tortured machine at a time, and what the operator does to it meanwhile."""

    def __init__(self, ctx, m, names):
        self.ctx, self.m, self.random = ctx, m, ctx.random
        self.names, self.turn = names, 0
        self.snapshots, self.saves, self.marked = [], 0, False
        self.virtual_ns, self.last_ns = 0, 0
        self.ends, self.done, self.beats = {}, {}, []
        self.name = None
        self.next()

    # --- time: what its clock has shown, whatever a restore takes back ---

    def clock(self):
        now = self.m.ok(f"vm info {self.name}")["vm_time_ns"]
        self.virtual_ns += max(0, now - self.last_ns)
        self.last_ns = now
        return now

    def jumped(self):
        """Its clock shows something else now."""
        self.last_ns = self.m.ok(f"vm info {self.name}")["vm_time_ns"]

    # --- its lives ---

    def next(self):
        """The next machine, from power-on."""
        if self.name:
            self.forget()
        self.name = self.names[self.turn % len(self.names)]
        self.turn += 1
        self.m.ok(f"vm start {self.name}", 60)
        self.last_ns = 0
        self.marked = False

    def forget(self):
        if self.m.vm(self.name)["state"] not in ("stopped", "frozen"):
            self.clock()
            self.m.ok(f"vm poweroff {self.name}", 60)
        for s in self.snapshots:
            self.m.ok(f"snapshot delete {s} --yes", 60)
        self.snapshots = []

    def alive(self):
        """Whether it runs; an end that it may come to is noted, and another follows."""
        v = self.m.vm(self.name)
        if v["state"] == "running":
            return True
        info = self.m.ok(f"vm info {self.name}")
        end, reason = v["disposition"], info.get("reason", "")
        check(v["state"] == "stopped" and (end in ENDS or REASONS.search(reason)),
              f"{self.name} has come to an end that no guest may come to: {info}")
        self.ends[end] = self.ends.get(end, 0) + 1
        self.virtual_ns += max(0, info["vm_time_ns"] - self.last_ns)
        self.next()
        return False

    def heartbeat(self):
        """What it says it has done; a machine may be too badly hurt to say anything."""
        self.m.attach(self.name)
        try:
            text = self.m.expect(r"beat \d+( [a-z-]+ \d+)+ end", 3).group(0)
            self.beats.append(text)
        except Failure as e:
            check("waited" in str(e), str(e))
        self.m.detach()

    def moves(self):
        """A guest may get lost for ever; but not because nobody has woken it."""
        if not self.alive():
            return
        if self.exits_in_a_while() > FEW:
            return
        self.m.json(f"vm pause {self.name}")
        self.m.json(f"vm resume {self.name}")
        check(self.exits_in_a_while() <= FEW,
              f"{self.name} stood still until it was paused and resumed")
        self.ends["lost"] = self.ends.get("lost", 0) + 1
        self.next()

    def exits_in_a_while(self):
        def exits():
            return sum(c["exits"] for c in self.m.ok(f"vm stats {self.name}")["vcpus"])
        before = exits()
        for _ in range(15):
            time.sleep(0.2 * self.m.platform.slow)
            if exits() - before > FEW:
                break
        return exits() - before

    # --- what the operator does ---

    def pause_somewhere(self):
        now = self.clock()
        self.m.json(f"vm pause {self.name} --at={now + self.random.randrange(LATER)}", 120)
        if self.m.vm(self.name)["state"] == "paused":
            return True
        self.alive()
        return False

    def op_save(self):
        paused = self.random.random() < 0.5 and self.pause_somewhere()
        if not paused and self.m.vm(self.name)["state"] != "running":
            return
        self.clock()
        self.saves += 1
        name = f"s{self.saves}"
        options = self.random.choice(["", "--full", "--buffer=64"])
        answer = self.m.json(f"snapshot save {self.name} {name} {options}", 120)
        if answer.get("ok"):
            self.snapshots.append(name)
        else:
            check(re.search(r"is (stopped|frozen|just)", answer["error"]), f"save: {answer}")
        if paused:
            self.m.ok(f"vm resume {self.name}")

    def op_restore(self):
        if not self.snapshots:
            return self.op_save()
        self.clock()
        name = self.random.choice(self.snapshots)
        options = self.random.choice(["", "--eager", "--paused", "--clock=advance"])
        self.m.ok(f"snapshot restore {name} --yes {options}", 120)
        self.marked = False
        self.jumped()
        if "paused" in options:
            self.m.ok(f"vm resume {self.name}")
        return None

    def op_freeze(self):
        """Off, with all that it is in the store, and on again."""
        self.clock()
        answer = self.m.json(f"snapshot save {self.name} ice --poweroff --replace", 120)
        if not answer.get("ok"):
            check(re.search(r"is (stopped|frozen|just)", answer["error"]), f"save: {answer}")
            return
        if "ice" not in self.snapshots:
            self.snapshots.append("ice")
        self.m.ok("snapshot restore ice --yes", 120)
        self.marked = False
        self.jumped()

    def op_mark(self):
        if not self.marked and self.m.json(f"vm mark {self.name}").get("ok"):
            self.marked = True

    def op_rewind(self):
        if not self.marked:
            return self.op_mark()
        self.clock()
        answer = self.m.json(f"vm rewind {self.name}", 60)
        if not answer.get("ok"):
            self.marked = False
            check(re.search(r"has no mark|is (stopped|just)", answer["error"]), f"rewind: {answer}")
        self.jumped()
        return None

    def op_clone(self):
        if not self.snapshots:
            return self.op_save()
        answer = self.m.json(f"vm clone {self.random.choice(self.snapshots)} twin", 120)
        check(answer.get("ok"), f"clone: {answer}")
        time.sleep(0.5)
        self.m.ok("vm stats twin")
        self.m.ok("vm destroy twin --yes", 60)
        self.m.ok(f"disk delete {self.name}.twin --yes", 60)
        return None

    def op_reset(self):
        self.clock()
        self.m.ok(f"vm reset {self.name}", 60)
        self.jumped()

    def op_look(self):
        self.m.ok(f"vm stats {self.name}")
        self.m.ok(f"vm info {self.name}")
        self.m.ok("host memory")
        self.m.ok("host cpus")

    OPS = [("save", 4), ("restore", 5), ("freeze", 1), ("mark", 1), ("rewind", 4), ("clone", 1),
           ("reset", 1), ("look", 4), ("nothing", 6)]

    def op_nothing(self):
        time.sleep(self.random.random())

    def step(self):
        """One thing of the operator's, if it lives; what there is to do is done at random."""
        if not self.alive():
            return
        names, weights = zip(*self.OPS)
        op = self.random.choices(names, weights)[0]
        getattr(self, "op_" + op)()
        self.done[op] = self.done.get(op, 0) + 1
        if self.m.vm(self.name)["state"] == "paused":
            self.m.ok(f"vm resume {self.name}")
        if self.alive():
            self.clock()
        if len(self.snapshots) > 6:
            self.next()


def log_is_clean(m):
    """What the hypervisor has said on the console is about the guest alone."""
    bad = [l for l in m.transcript.splitlines() if ": cannot emulate " not in l and re.search(
        r"panic|assert|BUG|warning:|refused the guest|unknown exit", l)]
    check(not bad, f"the log: {bad[:5]}")


def settled_memory(m):
    """Threads that tidy up behind a machine take a moment."""
    last = None
    for _ in range(20):
        now = m.ok("host memory")
        if last and now["used_bytes"] == last["used_bytes"]:
            return now
        last = now
        time.sleep(0.3)
    return last


def torture_image(ctx, life, machines, rest):
    names = [f"t{n}" for n in range(machines)]
    manifests = [torture_manifest(ctx, n, ctx.random.randrange(1, 1 << 31), rest=rest)
                 for n in names]
    return names, Image(ctx.folder, f"life-{life}.img", manifests=[witness_manifest(ctx)] + manifests, payloads=[
        BUILD / "guests/torture.bz", BUILD / "guests/witness.bz"])


def report(t):
    print(f"  {t.virtual_ns / 1e9:.1f} s of virtual time, {t.turn} machines, ends {t.ends}, "
          f"operations {t.done}", flush=True)
    if t.beats:
        print(f"  {t.beats[-1]}", flush=True)


# What emulators say when a guest has ended them rather than itself: faults of their own, since a
# hypervisor that went astray would have been reset, or have ended in a triple fault. Told, and
# tried again with other random numbers, a few times at most.
DEATHS = {
    "qemu-svm": r"\(status -(6|11)\)|tcg fatal error",  # its translator: SIGSEGV, abort
    "bochs-svm": r"PANIC.*in long mode !|in long mode !",  # what it does not expect of a guest
}
DEATHS_MAX = 4  # and one more for each LIFE_S seconds of virtual time that are asked for
LIFE_S = 20


class Sitting:
    """What is asked for, and what of it the lives that are over have done."""

    def __init__(self, ctx):
        self.seconds = float(os.environ.get("AMBER_TORTURE_SECONDS",
                                            30 if ctx.platform.slow == 1 else 20))
        # AMBER_TORTURE_VIRTUAL: until so many seconds of the guests' own clocks have gone by
        self.virtual = float(os.environ.get("AMBER_TORTURE_VIRTUAL", 0))
        self.rest = int(os.environ.get("AMBER_TORTURE_REST", 2000))
        self.deaths_max = DEATHS_MAX + int(self.virtual / LIFE_S)
        self.lives = 0
        self.done_ns = 0  # in lives that a fault of the emulator has ended


def test_torture(ctx):
    """A guest that does everything wrong, saved and restored at any moment, hurts only itself."""
    sitting = Sitting(ctx)
    for deaths in range(sitting.deaths_max + 1):
        try:
            torture(ctx, sitting)
            return
        except EmulatorDied as e:
            fault = re.search(DEATHS.get(ctx.platform.name, "$^"), e.said)
            if not fault or deaths == sitting.deaths_max or re.search("(?i)triple fault", e.said):
                raise
            print(f"  {ctx.platform.name} itself died of the guest ({fault.group(0)}): begun anew "
                  f"after {sitting.done_ns / 1e9:.1f} s of virtual time", flush=True)


def torture(ctx, sitting):
    """One machine's life, as long as the sitting wants it."""
    seconds, virtual, rest = sitting.seconds, sitting.virtual, sitting.rest
    sitting.lives += 1
    names, image = torture_image(ctx, sitting.lives, MACHINES, rest)
    with Machine(image, ctx.platform, timeout=int(seconds + 20 * virtual) + 900) as m:
        m.prompt()
        witness = Witness(m)
        before = settled_memory(m)
        t = Torture(ctx, m, names)
        end, asked = time.monotonic() + seconds, time.monotonic()
        begun_ns = sitting.done_ns
        while time.monotonic() < end or sitting.done_ns < virtual * 1e9:
            t.step()
            sitting.done_ns = begun_ns + t.virtual_ns
            if time.monotonic() - asked > 10:
                t.heartbeat()
                t.moves()
                witness.ask()
                asked = time.monotonic()
                if virtual or seconds > 60:
                    report(t)
        t.heartbeat()
        witness.ask()
        report(t)
        if virtual:
            print(f"  {sitting.done_ns / 1e9:.1f} s of virtual time in all lives", flush=True)
        log_is_clean(m)
        t.forget()
        for n in names:
            m.ok(f"vm destroy {n} --yes", 60)
        after = settled_memory(m)
        witness.ask()
        check(after["used_bytes"] <= before["used_bytes"] + (1 << 20),
              f"memory was not given back: {before}, then {after}")
        m.ok("store check", 120)
        m.poweroff()
