/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APIC (82093AA; ICH9, 13.5) and the pair of 8259A (8259A; ICH9, 13.4), by interrupt lines
 * that the test device moves.
 */
#include "arch.h"

enum {
	LINES = 0x2000, /* the test device's ports */
	IOAPIC = 0xfec00000,
	ID = 0,
	VERSION = 1,
	ARBITRATION = 2,
	TABLE = 0x10,
	EOI_REGISTER = 0x40,
	PINS = 24,
	/* redirection entry */
	EDGE = 0,
	LEVELED = 1 << 15,
	REMOTE_IRR = 1 << 14,
	BY_LOGICAL = 1 << 11,
	BY_LOWEST = 1 << 8,
	BY_NMI = 4 << 8,
	BY_EXTINT = 7 << 8,
	SVR_NO_BROADCAST = 0x1000,
	PIN = 20,
	OTHER_PIN = 21,
	VEC = 0x60,
	/* 8259 */
	MASTER = 0x20,
	SLAVE = 0xa0,
	MASTER_VEC = 0x20,
	SLAVE_VEC = 0x28,
	IRQ = 5, /* of the master */
	HIGHER = 3,
	LOWER = 6,
	SLAVE_IRQ = 10,
	EOI = 0x20,
	SPECIFIC_EOI = 0x60,
	ROTATE_EOI = 0xa0,
	SET_PRIORITY = 0xc0,
	READ_IRR = 0x0a,
	READ_ISR = 0x0b,
	POLL = 0x0c,
	SPECIAL_MASK = 0x68,
	NORMAL_MASK = 0x48,
};

static void line(unsigned n, bool up)
{
	outb((uint16_t)(LINES + n), up);
}

static void pulse(unsigned n)
{
	line(n, true);
	line(n, false);
}

static uint32_t io_read(unsigned reg)
{
	*(volatile uint32_t *)IOAPIC = reg;
	return *(volatile uint32_t *)(IOAPIC + 0x10);
}

static void io_write(unsigned reg, uint32_t v)
{
	*(volatile uint32_t *)IOAPIC = reg;
	*(volatile uint32_t *)(IOAPIC + 0x10) = v;
}

static void route(unsigned pin, uint32_t low, uint32_t dest)
{
	io_write(TABLE + 2 * pin + 1, dest << 24);
	io_write(TABLE + 2 * pin, low);
}

static uint32_t entry(unsigned pin)
{
	return io_read(TABLE + 2 * pin);
}

/* So many interrupts of the vector have come since the last forget_irqs(). */
static unsigned came(unsigned vector)
{
	let_irqs_in();
	return irqs[0][vector];
}

/* --- I/O APIC ------------------------------------------------------------------------- */

static void test_registers(void)
{
	unsigned masked = 0;
	uint32_t id;

	check_eq("version", io_read(VERSION), 0x170020);
	for (unsigned pin = 0; pin < PINS; pin++)
		masked += entry(pin) == MASKED && io_read(TABLE + 2 * pin + 1) == 0;
	check_eq("entries after reset", masked, PINS);
	id = io_read(ID);
	io_write(ID, 0xffffffff);
	check_eq("ID has four bits", io_read(ID), 0x0f000000);
	io_write(ID, id);
	io_write(VERSION, 0);
	check_eq("version is read-only", io_read(VERSION), 0x170020);
	route(PIN, 0xffffffff, 0xff);
	check_eq("entry: bits that are kept", entry(PIN), 0x1afff);
	check_eq(
	    "entry: bits of the upper half", io_read(TABLE + 2 * PIN + 1) & 0xff000000, 0xff000000);
	check_eq("behind the last entry", io_read(TABLE + 2 * PINS), 0);
	route(PIN, MASKED, 0);
}

static void test_edge(void)
{
	forget_irqs();
	route(PIN, VEC | EDGE, 0);
	line(PIN, true);
	check_eq("edge", came(VEC), 1);
	check_eq("edge: TMR", apic_bit(APIC_TMR, VEC), 0);
	check_eq("edge: no remote IRR", entry(PIN) & REMOTE_IRR, 0);
	line(PIN, true);
	check_eq("edge: still up is no edge", came(VEC), 1);
	line(PIN, false);
	check_eq("edge: falling is none", came(VEC), 1);
	pulse(PIN);
	check_eq("edge: the next", came(VEC), 2);
	pulse(PIN);
	pulse(PIN);
	check_eq("edge: two are one", came(VEC), 3);
	route(PIN, VEC | EDGE | MASKED, 0);
	pulse(PIN);
	line(PIN, true);
	route(PIN, VEC | EDGE, 0);
	check_eq("edge: lost while masked", came(VEC), 3);
	line(PIN, false);
}

static void test_level(void)
{
	forget_irqs();
	no_eoi = true;
	route(PIN, VEC | LEVELED, 0);
	line(PIN, true);
	check_eq("level", came(VEC), 1);
	check_eq("level: TMR", apic_bit(APIC_TMR, VEC), 1);
	check_eq("level: remote IRR", entry(PIN) & REMOTE_IRR, REMOTE_IRR);
	apic_write(APIC_EOI, 0);
	check_eq("level: again if still up", came(VEC), 2);
	line(PIN, false);
	check_eq("level: remote IRR until the EOI", entry(PIN) & REMOTE_IRR, REMOTE_IRR);
	apic_write(APIC_EOI, 0);
	check_eq("level: not if down", came(VEC), 2);
	check_eq("level: no remote IRR after it", entry(PIN) & REMOTE_IRR, 0);

	route(PIN, VEC | LEVELED | MASKED, 0);
	line(PIN, true);
	check_eq("level: masked", came(VEC), 2);
	route(PIN, VEC | LEVELED, 0);
	check_eq("level: unmasked while up", came(VEC), 3);
	io_write(TABLE + 2 * PIN, VEC | LEVELED | MASKED);
	apic_write(APIC_EOI, 0);
	check_eq("level: masked before the EOI", came(VEC), 3);
	check_eq("level: EOI of a masked one", entry(PIN) & REMOTE_IRR, 0);
	line(PIN, false);
	io_write(TABLE + 2 * PIN, VEC | LEVELED);
	check_eq("level: gone while masked", came(VEC), 3);

	line(PIN, true);
	check_eq("level: once more", came(VEC), 4);
	io_write(TABLE + 2 * PIN, VEC | EDGE | MASKED);
	io_write(TABLE + 2 * PIN, VEC | LEVELED | MASKED);
	check_eq("level: made an edge, remote IRR is gone", entry(PIN) & REMOTE_IRR, 0);
	line(PIN, false);
	io_write(TABLE + 2 * PIN, VEC | LEVELED);
	apic_write(APIC_EOI, 0);
	check_eq("level: and nothing comes of it", came(VEC), 4);

	forget_irqs();
	route(OTHER_PIN, VEC | LEVELED, 0);
	line(PIN, true);
	line(OTHER_PIN, true);
	check_eq("level: two lines, a vector", came(VEC), 1);
	line(PIN, false);
	line(OTHER_PIN, false);
	apic_write(APIC_EOI, 0);
	check_eq("level: one EOI for both", (entry(PIN) | entry(OTHER_PIN)) & REMOTE_IRR, 0);
	route(OTHER_PIN, MASKED, 0);
	(void)came(VEC);
	apic_write(APIC_EOI, 0);
	no_eoi = false;
}

/* SDM volume 3, 11.8.5: no broadcast; the I/O APIC's own EOI register instead. */
static void test_directed_eoi(void)
{
	forget_irqs();
	no_eoi = true;
	apic_write(APIC_SVR, 0x1ff | SVR_NO_BROADCAST);
	check_eq("EOI broadcast can be suppressed", apic_read(APIC_SVR), 0x1ff | SVR_NO_BROADCAST);
	check_eq("EOI suppression in the version", apic_read(APIC_VERSION) >> 24 & 1, 1);
	route(PIN, VEC | LEVELED, 0);
	line(PIN, true);
	check_eq("directed EOI: first", came(VEC), 1);
	apic_write(APIC_EOI, 0);
	check_eq("directed EOI: none from the local APIC", came(VEC), 1);
	check_eq("directed EOI: remote IRR", entry(PIN) & REMOTE_IRR, REMOTE_IRR);
	*(volatile uint32_t *)(IOAPIC + EOI_REGISTER) = VEC + 1;
	check_eq("directed EOI: of another vector", came(VEC), 1);
	*(volatile uint32_t *)(IOAPIC + EOI_REGISTER) = VEC;
	check_eq("directed EOI: still up", came(VEC), 2);
	line(PIN, false);
	apic_write(APIC_EOI, 0);
	*(volatile uint32_t *)(IOAPIC + EOI_REGISTER) = VEC;
	check_eq("directed EOI: ended", entry(PIN) & REMOTE_IRR, 0);
	check_eq("directed EOI: no more", came(VEC), 2);
	apic_write(APIC_SVR, 0x1ff);
	no_eoi = false;
}

static uint32_t ids[CPUS_MAX];

static void prepare(uint64_t cpu)
{
	ids[cpu] = apic_read(APIC_ID) >> 24;
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1u << cpu << 24);
}

static uint32_t who(unsigned vector)
{
	uint32_t mask = 0;

	settle();
	for (unsigned c = 0; c < cpus; c++) {
		mask |= irqs[c][vector] ? 1u << c : 0;
		mask |= irqs[c][vector] > 1 ? 1u << 31 : 0;
	}
	return mask;
}

static void set_tpr(uint64_t v)
{
	apic_write(APIC_TPR, (uint32_t)v);
}

static void test_destinations(void)
{
	static const struct {
		const char *name;
		uint32_t low;
		int cpu; /* its ID; -1: dest */
		uint32_t dest, vector, who;
	} cases[] = {
	    {"to a CPU by its ID", VEC, 1, 0, VEC, 2},
	    {"to all by ID FFH", VEC, -1, 0xff, VEC, 7},
	    {"to nobody", VEC, -1, 0x55, VEC, 0},
	    {"logical: one", VEC | BY_LOGICAL, -1, 2, VEC, 2},
	    {"logical: two", VEC | BY_LOGICAL, -1, 3, VEC, 3},
	    {"logical: nobody", VEC | BY_LOGICAL, -1, 0x80, VEC, 0},
	    {"logical: all", VEC | BY_LOGICAL, -1, 0xff, VEC, 7},
	    {"logical: lowest priority", VEC | BY_LOGICAL | BY_LOWEST, -1, 7, VEC, 4},
	    {"NMI", VEC | BY_NMI, 1, 0, NMI, 2},
	    {"NMI logical", BY_NMI | BY_LOGICAL, -1, 5, NMI, 5},
	};

	check_eq("CPUs", start_cpus(), 3);
	prepare(0);
	for (unsigned c = 1; c < cpus; c++)
		on_cpu(c, prepare, c);
	set_tpr(0x20);
	on_cpu(1, set_tpr, 0x20);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		forget_irqs();
		route(PIN, cases[i].low, cases[i].cpu < 0 ? cases[i].dest : ids[cases[i].cpu]);
		pulse(PIN);
		check_eq(cases[i].name, who(cases[i].vector), cases[i].who);
	}
	/* a level line that several take: each has its own EOI */
	forget_irqs();
	route(PIN, VEC | BY_LOGICAL | LEVELED | MASKED, 6);
	line(PIN, true);
	on_cpu(1, set_tpr, 0);
	check_eq("level to another CPU: not while masked", who(VEC), 0);
	io_write(TABLE + 2 * PIN, VEC | LEVELED | BY_LOGICAL);
	line(PIN, false);
	check_eq("level to two CPUs", who(VEC) & 0x7fffffff, 6);
	check_eq("level to two CPUs: ended", entry(PIN) & REMOTE_IRR, 0);
	route(PIN, MASKED, 0);
	set_tpr(0);
}

/* --- 8259 --------------------------------------------------------------------------------- */

static uint8_t ocw3(uint16_t chip, uint8_t v)
{
	outb(chip, v);
	return inb(chip);
}

/* Initialized with this ICW4, all inputs masked but three of the master's, the slave and one of
 * its. */
static void init_pics(uint8_t icw4)
{
	outb(MASTER, 0x11);
	outb(MASTER + 1, MASTER_VEC);
	outb(MASTER + 1, 4);
	outb(MASTER + 1, icw4);
	outb(SLAVE, 0x11);
	outb(SLAVE + 1, SLAVE_VEC);
	outb(SLAVE + 1, 2);
	outb(SLAVE + 1, icw4);
	outb(MASTER + 1, (uint8_t) ~(1 << HIGHER | 1 << IRQ | 1 << LOWER | 1 << 2));
	outb(SLAVE + 1, (uint8_t) ~(1 << (SLAVE_IRQ - 8)));
}

/* What is pending comes one after another, as each ends the last: the vectors, the first lowest. */
static uint32_t order(void)
{
	uint32_t seen = 0;

	irq_logged = 0;
	for (unsigned i = 0; i < 4; i++) {
		let_irqs_in();
		if (irq_logged == i)
			break;
		seen |= (uint32_t)irq_log[i] << 8 * i;
		if (irq_log[i] >= SLAVE_VEC)
			outb(SLAVE, EOI);
		outb(MASTER, EOI);
	}
	return seen;
}

static void raise(unsigned a, unsigned b)
{
	pulse(a);
	line(a, true);
	pulse(b);
	line(b, true);
}

static void lower_all(void)
{
	line(HIGHER, false);
	line(IRQ, false);
	line(LOWER, false);
	line(SLAVE_IRQ, false);
}

static void test_8259_basics(void)
{
	init_pics(1);
	check_eq("8259: mask reads back", inb(MASTER + 1), (uint8_t)~0x6c);
	forget_irqs();
	line(IRQ, true);
	check_eq("8259: IRR", ocw3(MASTER, READ_IRR), 1 << IRQ);
	check_eq("8259: edge", came(MASTER_VEC + IRQ), 1);
	check_eq("8259: ISR", ocw3(MASTER, READ_ISR), 1 << IRQ);
	check_eq("8259: IRR used up", ocw3(MASTER, READ_IRR), 0);
	outb(MASTER, EOI);
	check_eq("8259: EOI", ocw3(MASTER, READ_ISR), 0);
	check_eq("8259: one edge, one interrupt", came(MASTER_VEC + IRQ), 1);
	line(IRQ, false);
	outb(MASTER + 1, 0xff);
	line(IRQ, true);
	check_eq("8259: masked", came(MASTER_VEC + IRQ), 1);
	outb(MASTER + 1, (uint8_t) ~(1 << IRQ));
	check_eq("8259: an edge waits for the mask", came(MASTER_VEC + IRQ), 2);
	outb(MASTER, SPECIFIC_EOI | IRQ);
	check_eq("8259: specific EOI", ocw3(MASTER, READ_ISR), 0);
	lower_all();

	init_pics(1);
	raise(LOWER, HIGHER);
	check_eq(
	    "8259: the higher first", order(), (MASTER_VEC + HIGHER) | (MASTER_VEC + LOWER) << 8);
	lower_all();
	raise(SLAVE_IRQ, HIGHER);
	check_eq("8259: the slave before IR3", order(),
	    (SLAVE_VEC + SLAVE_IRQ - 8) | (MASTER_VEC + HIGHER) << 8);
	lower_all();
	forget_irqs();
	line(SLAVE_IRQ, true);
	(void)came(0);
	check_eq("8259: slave's ISR", ocw3(SLAVE, READ_ISR), 1 << (SLAVE_IRQ - 8));
	check_eq("8259: cascade in the master's ISR", ocw3(MASTER, READ_ISR), 4);
	outb(SLAVE, EOI);
	outb(MASTER, EOI);
	lower_all();
}

/* Fully nested, special mask, rotation. */
static void test_8259_priorities(void)
{
	init_pics(1);
	forget_irqs();
	line(IRQ, true);
	(void)came(0);
	line(LOWER, true);
	check_eq("8259: the lower one waits", came(MASTER_VEC + LOWER), 0);
	line(HIGHER, true);
	check_eq("8259: the higher one does not", came(MASTER_VEC + HIGHER), 1);
	check_eq("8259: both in service", ocw3(MASTER, READ_ISR), 1 << HIGHER | 1 << IRQ);
	outb(MASTER, EOI);
	check_eq("8259: EOI ends the highest", ocw3(MASTER, READ_ISR), 1 << IRQ);
	outb(MASTER, SPECIAL_MASK);
	outb(MASTER + 1, (uint8_t) ~(1 << LOWER));
	check_eq("8259: special mask lets lower ones in", came(MASTER_VEC + LOWER), 1);
	outb(MASTER, EOI);
	check_eq("8259: EOI in special mask mode", ocw3(MASTER, READ_ISR), 1 << IRQ);
	outb(MASTER, NORMAL_MASK);
	outb(MASTER, SPECIFIC_EOI | IRQ);
	lower_all();

	init_pics(1);
	outb(MASTER, SET_PRIORITY | IRQ); /* the lowest: 6 is the highest now */
	raise(HIGHER, LOWER);
	check_eq(
	    "8259: priorities set", order(), (MASTER_VEC + LOWER) | (MASTER_VEC + HIGHER) << 8);
	lower_all();
	init_pics(1);
	line(HIGHER, true);
	(void)came(0);
	outb(MASTER, ROTATE_EOI);
	lower_all();
	raise(HIGHER, IRQ);
	check_eq("8259: rotation at EOI", order(), (MASTER_VEC + IRQ) | (MASTER_VEC + HIGHER) << 8);
	lower_all();
	init_pics(1);
	raise(LOWER, HIGHER);
	check_eq("8259: ICW1 resets the priorities", order(),
	    (MASTER_VEC + HIGHER) | (MASTER_VEC + LOWER) << 8);
	lower_all();
}

static void test_8259_modes(void)
{
	init_pics(3);
	forget_irqs();
	line(IRQ, true);
	check_eq("8259: automatic EOI", came(MASTER_VEC + IRQ), 1);
	check_eq("8259: automatic EOI: ISR", ocw3(MASTER, READ_ISR), 0);
	line(IRQ, false);
	pulse(IRQ);
	line(IRQ, true);
	check_eq("8259: automatic EOI: the next", came(MASTER_VEC + IRQ), 2);
	lower_all();

	init_pics(1);
	forget_irqs();
	apic_write(APIC_LINT0, MASKED | 0x700);
	check_eq("8259: poll of nothing", ocw3(MASTER, POLL) & 0x80, 0);
	line(IRQ, true);
	check_eq("8259: masked at LINT0", came(MASTER_VEC + IRQ), 0);
	check_eq("8259: poll", ocw3(MASTER, POLL), 0x80 | IRQ);
	check_eq("8259: poll acknowledges", ocw3(MASTER, READ_ISR), 1 << IRQ);
	outb(MASTER, EOI);
	apic_write(APIC_LINT0, 0x700);
	check_eq("8259: nothing left after the poll", came(MASTER_VEC + IRQ), 0);
	lower_all();

	outb(0x4d0, 0xff);
	outb(0x4d1, 0xff);
	check_eq("8259: ELCR master", inb(0x4d0), 0xf8);
	check_eq("8259: ELCR slave", inb(0x4d1), 0xde);
	outb(0x4d0, 1 << IRQ);
	outb(0x4d1, 0);
	init_pics(1);
	forget_irqs();
	line(IRQ, true);
	check_eq("8259: level", came(MASTER_VEC + IRQ), 1);
	check_eq("8259: level: IRR stays", ocw3(MASTER, READ_IRR), 1 << IRQ);
	outb(MASTER, EOI);
	check_eq("8259: level: again while up", came(MASTER_VEC + IRQ), 2);
	line(IRQ, false);
	outb(MASTER, EOI);
	check_eq("8259: level: not when down", came(MASTER_VEC + IRQ), 2);
	outb(0x4d0, 0);

	init_pics(
	    0x11); /* special fully nested: a second one of the slave, before the master's EOI */
	outb(SLAVE + 1, (uint8_t) ~(1 << 2 | 1 << 1));
	forget_irqs();
	line(SLAVE_IRQ, true);
	check_eq("8259: specially nested: first", came(SLAVE_VEC + 2), 1);
	line(9, true);
	check_eq("8259: specially nested: a higher one", came(SLAVE_VEC + 1), 1);
	line(9, false);
	outb(SLAVE, EOI);
	outb(SLAVE, EOI);
	outb(MASTER, EOI);
	lower_all();
}

/* The 8259's output is pin 0 of the I/O APIC, whose edges are ExtINT messages there. */
static void test_8259_at_pin_0(void)
{
	init_pics(1);
	forget_irqs();
	apic_write(APIC_LINT0, MASKED);
	route(0, BY_EXTINT, 0);
	line(IRQ, true);
	check_eq("8259 at pin 0", came(MASTER_VEC + IRQ), 1);
	line(LOWER, true);
	check_eq("8259 at pin 0: nothing before the EOI", came(MASTER_VEC + LOWER), 0);
	outb(MASTER, EOI);
	check_eq("8259 at pin 0: an edge after the EOI", came(MASTER_VEC + LOWER), 1);
	outb(MASTER, EOI);
	lower_all();
	line(IRQ, true);
	line(HIGHER, true); /* two requests, one edge so far */
	check_eq("8259 at pin 0: the higher one", came(MASTER_VEC + HIGHER), 1);
	outb(MASTER, EOI);
	check_eq("8259 at pin 0: the other one", came(MASTER_VEC + IRQ), 2);
	outb(MASTER, EOI);
	lower_all();
	route(0, MASKED, 0);
	pulse(IRQ);
	check_eq("8259 at pin 0: masked", came(MASTER_VEC + IRQ), 2);
	(void)ocw3(MASTER, POLL);
	outb(MASTER, EOI);
	lower_all();
}

/* Other ways from the 8259 to a CPU. */
static void test_8259_routes(void)
{
	init_pics(1);
	forget_irqs();
	apic_write(APIC_LINT0, 0x400);
	line(IRQ, true);
	let_irqs_in();
	check_eq("LINT0 as NMI", irqs[0][NMI], 1);
	(void)ocw3(MASTER, POLL);
	outb(MASTER, EOI);
	lower_all();
	apic_write(APIC_LINT0, 0x58);
	line(IRQ, true);
	check_eq("LINT0 as fixed", came(0x58), 1);
	(void)ocw3(MASTER, POLL);
	outb(MASTER, EOI);
	lower_all();
	apic_write(APIC_LINT0, MASKED);
	line(IRQ, true);
	check_eq("LINT0 masked", came(MASTER_VEC + IRQ), 0);
	route(PIN, BY_EXTINT, 0);
	pulse(PIN);
	check_eq("ExtINT from the I/O APIC", came(MASTER_VEC + IRQ), 1);
	outb(MASTER, EOI);
	route(PIN, MASKED, 0);
	lower_all();
	apic_write(APIC_LINT0, 0x700);
	apic_write(APIC_TPR, 0xff);
	line(IRQ, true);
	check_eq("ExtINT is above the TPR", came(MASTER_VEC + IRQ), 2);
	outb(MASTER, EOI);
	apic_write(APIC_TPR, 0);
	lower_all();
}

void arch_main(void)
{
	apic_write(APIC_LINT0, MASKED);
	apic_write(APIC_LINT1, MASKED);
	test_registers();
	test_edge();
	test_level();
	test_directed_eoi();
	apic_write(APIC_LINT0, 0x700);
	test_8259_basics();
	test_8259_priorities();
	test_8259_modes();
	test_8259_routes();
	test_8259_at_pin_0();
	outb(MASTER + 1, 0xff);
	outb(SLAVE + 1, 0xff);
	test_destinations();
}
