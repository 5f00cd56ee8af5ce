/* SPDX-License-Identifier: BSD-2-Clause */
/* Traffic at ports and devices: what their drivers would never send them. */
#include "torture.h"

enum {
	CONFIG_ADDRESS = 0xcf8,
	CONFIG_DATA = 0xcfc,
	COM1 = 0x3f8,
	DEVICES = 32,
	BARS = 6,
	VIRTIO_VENDOR = 0x1af4,
	/* virtio's common configuration */
	FEATURE_SELECT = 8,
	FEATURE = 12,
	STATUS = 20,
	QUEUE_SELECT = 22,
	QUEUE_SIZE = 24,
	QUEUE_VECTOR = 26,
	QUEUE_ENABLE = 28,
	QUEUE_DESC = 32,
	QUEUE_DRIVER = 40,
	QUEUE_DEVICE = 48,
	DEADLY = 100000 /* one in so many of what could end the machine is done */
};
#define ECAM   0xb0000000UL
#define IOAPIC 0xfec00000UL
#define HPET   0xfed00000UL
#define LAPIC  0xfee00000UL
#define TEST   0xff000000UL

struct region {
	uint64_t base;
	uint32_t size;
	uint8_t device, bar;
};
static struct region regions[64];
static unsigned nregions;

/* --- ports --- */

/* Power, reset, fast reset, keyboard controller (pulses the reset line), debug exit. */
bool port_ends(uint16_t port, unsigned size)
{
	static const struct {
		uint16_t first, last;
	} ends[] = {{0x64, 0x64}, {0x92, 0x92}, {0xf4, 0xf7}, {0x604, 0x607}, {0xcf9, 0xcf9}};

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (port <= ends[i].last && port + size > ends[i].first)
			return true;
	return false;
}

void port_out(uint16_t port, unsigned size, uint32_t v)
{
	if (size == 1)
		__asm__ volatile("outb %b0, %w1" : : "a"(v), "d"(port));
	else if (size == 2)
		__asm__ volatile("outw %w0, %w1" : : "a"(v), "d"(port));
	else
		__asm__ volatile("outl %0, %1" : : "a"(v), "d"(port));
}

uint32_t port_in(uint16_t port, unsigned size)
{
	uint32_t v = 0;

	if (size == 1)
		__asm__ volatile("inb %w1, %b0" : "+a"(v) : "d"(port));
	else if (size == 2)
		__asm__ volatile("inw %w1, %w0" : "+a"(v) : "d"(port));
	else
		__asm__ volatile("inl %1, %0" : "=a"(v) : "d"(port));
	return v;
}

static uint16_t some_port(struct cpu *c)
{
	static const uint16_t known[] = {0x20, 0xa0, 0x40, 0x60, 0x61, 0x64, 0x70, 0x80, 0x92, 0xe0,
	    0xe4, 0xe8, 0xf0, 0x170, 0x1f0, 0x2e8, 0x2f8, 0x3c0, 0x3e8, 0x3f8, 0x4d0, 0x510, 0x600,
	    0x608, 0x620, 0xb2, 0xcf8, 0xcfc, 0x2000, 0x2010, 0x402};

	return (
	    uint16_t)(once_in(c, 3) ? rnd(c) : known[below(c, sizeof(known) / 2)] + below(c, 12));
}

static void ports(struct cpu *c)
{
	for (unsigned i = 0; i < 8; i++) {
		uint16_t port = some_port(c);
		unsigned size = 1 << below(c, 3);

		if (once_in(c, 2))
			(void)port_in(port, size);
		else if (!port_ends(port, size) || once_in(c, DEADLY))
			port_out(port, size, (uint32_t)odd_value(c));
	}
}

static void string_ports(struct cpu *c)
{
	uint16_t port = some_port(c);
	uint64_t at = quiet_place(c), count = below(c, once_in(c, 16) ? 3000 : 40);
	unsigned what = below(c, 6);

	if (what >= 3 && port_ends(port, 4))
		return;
	if (once_in(c, 3))
		__asm__ volatile("std");
	switch (what) {
	case 0:
		__asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port) : "memory");
		break;
	case 1:
		__asm__ volatile("rep insw" : "+D"(at), "+c"(count) : "d"(port) : "memory");
		break;
	case 2:
		__asm__ volatile("rep insl" : "+D"(at), "+c"(count) : "d"(port) : "memory");
		break;
	case 3:
		__asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(port) : "memory");
		break;
	case 4:
		__asm__ volatile("rep outsw" : "+S"(at), "+c"(count) : "d"(port) : "memory");
		break;
	default:
		__asm__ volatile("rep outsl" : "+S"(at), "+c"(count) : "d"(port) : "memory");
	}
	__asm__ volatile("cld");
}

/* --- PCI --- */

static uint32_t config_address(unsigned device, unsigned reg)
{
	return 1U << 31 | device << 11 | (reg & 0xfc);
}

static uint32_t config_read(unsigned device, unsigned reg)
{
	outl(CONFIG_ADDRESS, config_address(device, reg));
	return inl(CONFIG_DATA);
}

static void config_write(unsigned device, unsigned reg, uint32_t v)
{
	outl(CONFIG_ADDRESS, config_address(device, reg));
	outl(CONFIG_DATA, v);
}

static void find_bars(unsigned device)
{
	for (unsigned bar = 0; bar < BARS; bar++) {
		uint32_t was = config_read(device, 0x10 + 4 * bar), mask;
		struct region *r = &regions[nregions];

		if (was & 1 || nregions >= sizeof(regions) / sizeof(regions[0]))
			continue;
		config_write(device, 0x10 + 4 * bar, 0xffffffff);
		mask = config_read(device, 0x10 + 4 * bar) & ~15U;
		config_write(device, 0x10 + 4 * bar, was);
		if (!mask)
			continue;
		*r = (struct region){was & ~15U, ~mask + 1, (uint8_t)device, (uint8_t)bar};
		nregions++;
		if ((was & 6) == 4)
			bar++;
	}
}

void devices_init(void)
{
	for (unsigned d = 0; d < DEVICES; d++)
		if (config_read(d, 0) != 0xffffffff)
			find_bars(d);
	print("torture: %u BARs\n", nregions);
	for (unsigned i = 0; i < nregions; i++)
		print("torture: device %u bar %u at 0x%lx, %u bytes\n", regions[i].device,
		    regions[i].bar, regions[i].base, regions[i].size);
}

uint64_t devices_place(struct cpu *c)
{
	const struct region *r;
	uint64_t a;

	switch (below(c, 8)) {
	case 0:
		return ECAM + (once_in(c, 2) ? below(c, DEVICES) << 15 | below(c, 256)
					     : below(c, 1 << 20));
	case 1:
		return IOAPIC + (once_in(c, 2) ? below(c, 5) * 16 : below(c, PAGE));
	case 2:
		return HPET + (once_in(c, 2) ? below(c, 0x200) : below(c, PAGE));
	case 3: /* not the ICR: INIT for the first CPU is the end */
		a = LAPIC + (once_in(c, 8) ? below(c, PAGE) : below(c, 64) * 16);
		return (a & 0xff0) == 0x300 ? LAPIC + 0x20 : a;
	case 4:
		return TEST + below(c, 0x10000);
	default:
		if (!nregions)
			return TEST;
		r = &regions[below(c, nregions)];
		return r->base + (once_in(c, 2) ? below(c, 64) : below(c, r->size));
	}
}

/* Configuration space by both ways, of devices that are there and others. */
static void pci(struct cpu *c)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned device = once_in(c, 2) && nregions ? regions[below(c, nregions)].device
							    : below(c, DEVICES);
		unsigned reg = below(c, 256), size = 1 << below(c, 3);
		volatile uint8_t *ecam = (volatile uint8_t *)(ECAM + (device << 15) + reg);
		uint32_t v = (uint32_t)odd_value(c);

		if (once_in(c, 3)) {
			if (once_in(c, 2))
				*ecam = (uint8_t)v;
			else
				*(volatile uint32_t *)(volatile void *)ecam = v;
			continue;
		}
		outl(CONFIG_ADDRESS, once_in(c, 4) ? (uint32_t)rnd(c) | (v & 1U << 31)
						   : config_address(device, reg));
		if (once_in(c, 2))
			(void)port_in((uint16_t)(CONFIG_DATA + below(c, 4)), size);
		else
			port_out((uint16_t)(CONFIG_DATA + below(c, 4)), size, v);
	}
}

/* A BAR goes somewhere else, over another device or RAM too. */
static void move_bar(struct cpu *c)
{
	const struct region *r;

	if (!nregions)
		return;
	r = &regions[below(c, nregions)];
	config_write(r->device, 4, (uint32_t)(rnd(c) & 0x407));
	config_write(r->device, 0x10 + 4 * r->bar, (uint32_t)(once_in(c, 2) ? place(c) : rnd(c)));
	config_write(r->device, 4, 6 | (uint32_t)(rnd(c) & 0x400));
	for (unsigned i = 0; i < 4; i++)
		(void)*(volatile uint32_t *)(uintptr_t)(r->base + below(c, r->size & ~3U));
}

/* --- virtio --- */

struct virtio {
	volatile uint8_t *common, *notify, *device;
	uint32_t multiplier;
};

static bool find_virtio(unsigned device, struct virtio *v)
{
	uint64_t base[BARS] = {0};
	unsigned at = config_read(device, 0x34) & 0xfc;

	if ((config_read(device, 0) & 0xffff) != VIRTIO_VENDOR)
		return false;
	for (unsigned i = 0; i < nregions; i++)
		if (regions[i].device == device)
			base[regions[i].bar] = regions[i].base;
	for (unsigned n = 0; at && n < 16; n++) {
		uint32_t head = config_read(device, at), bar = config_read(device, at + 4) & 7;
		volatile uint8_t *p = (volatile uint8_t *)(uintptr_t)((bar < BARS ? base[bar] : 0) +
								      config_read(device, at + 8));

		if ((head & 0xff) == 9 && bar < BARS && base[bar]) {
			if (head >> 24 == 1)
				v->common = p;
			if (head >> 24 == 2) {
				v->notify = p;
				v->multiplier = config_read(device, at + 16);
			}
			if (head >> 24 == 4)
				v->device = p;
		}
		at = head >> 8 & 0xfc;
	}
	return v->common && v->notify;
}

static void put(volatile uint8_t *p, unsigned at, unsigned size, uint64_t v)
{
	if (size == 1)
		p[at] = (uint8_t)v;
	else if (size == 2)
		*(volatile uint16_t *)(volatile void *)(p + at) = (uint16_t)v;
	else
		*(volatile uint32_t *)(volatile void *)(p + at) = (uint32_t)v;
	if (size == 8)
		*(volatile uint32_t *)(volatile void *)(p + at + 4) = (uint32_t)(v >> 32);
}

/* Not the kernel's memory, which a device would write. */
static uint64_t dma_place(struct cpu *c)
{
	return once_in(c, 3) ? place(c) : play(c);
}

static void fill_ring(struct cpu *c, uint64_t ring, unsigned size)
{
	volatile uint8_t *d = (volatile uint8_t *)(uintptr_t)ring;
	volatile uint16_t *avail = (volatile uint16_t *)(uintptr_t)(ring + 0x4000);

	for (unsigned i = 0; i < size; i++, d += 16) {
		put(d, 0, 8, dma_place(c));
		put(d, 8, 4, once_in(c, 4) ? odd_value(c) : below(c, 2048));
		put(d, 12, 2, once_in(c, 8) ? rnd(c) : below(c, 8));
		put(d, 14, 2, once_in(c, 8) ? rnd(c) : below(c, size));
	}
	avail[0] = (uint16_t)below(c, 2);
	for (unsigned i = 0; i < size; i++)
		avail[2 + i] = (uint16_t)(once_in(c, 16) ? rnd(c) : below(c, size));
	avail[1] = (uint16_t)(once_in(c, 8) ? rnd(c) : below(c, size + 1));
}

/* A driver that sets a queue up nearly as it should, and fills it with garbage. */
static void queue(struct cpu *c)
{
	struct virtio v = {0};
	unsigned device = nregions ? regions[below(c, nregions)].device : 0, q = below(c, 3);
	unsigned size = once_in(c, 8) ? (uint16_t)rnd(c) : 1 << below(c, 8);
	uint64_t ring = PLAY + (uint64_t)c->index * PLAY_SIZE + 0x10000 + (below(c, 4) << 16);

	config_write(device, 4, 6 | (uint32_t)(rnd(c) & 0x400));
	if (!find_virtio(device, &v))
		return;
	if (once_in(c, 2))
		put(v.common, STATUS, 1, 0);
	put(v.common, STATUS, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		put(v.common, FEATURE_SELECT, 4, i);
		put(v.common, FEATURE, 4, i ? 1 : (uint32_t)(once_in(c, 4) ? rnd(c) : 3UL << 28));
	}
	put(v.common, STATUS, 1, 11);
	put(v.common, QUEUE_SELECT, 2, once_in(c, 16) ? rnd(c) : q);
	put(v.common, QUEUE_SIZE, 2, size);
	put(v.common, QUEUE_VECTOR, 2, below(c, 4));
	put(v.common, QUEUE_DESC, 8, once_in(c, 8) ? dma_place(c) : ring);
	put(v.common, QUEUE_DRIVER, 8, once_in(c, 8) ? dma_place(c) : ring + 0x4000);
	put(v.common, QUEUE_DEVICE, 8, once_in(c, 8) ? dma_place(c) : ring + 0x8000);
	fill_ring(c, ring, size > 256 ? 256 : size);
	put(v.common, QUEUE_ENABLE, 2, 1);
	put(v.common, STATUS, 1, once_in(c, 8) ? rnd(c) : 15);
	for (unsigned i = 0; i < 4; i++)
		put(v.notify, (q * v.multiplier) & 0xffc, 2, once_in(c, 8) ? rnd(c) : q);
	if (once_in(c, 2) && v.device)
		put(v.device, below(c, 64) & ~3U, 4, odd_value(c));
}

/* --- fw_cfg --- */

static void fw_cfg(struct cpu *c)
{
	static const uint16_t keys[] = {0, 1, 2, 3, 5, 0xe, 0x19, 0x20, 0x21, 0x22, 0x8000, 0xffff};
	volatile uint32_t *d =
	    (volatile uint32_t *)(uintptr_t)(PLAY + c->index * PLAY_SIZE + 0x3f00);
	uint64_t to = dma_place(c), at = once_in(c, 4) ? dma_place(c) : (uint64_t)(uintptr_t)d;
	uint16_t key = keys[below(c, sizeof(keys) / 2)];

	port_out(0x510, 2, key);
	for (unsigned i = below(c, 16); i; i--)
		(void)port_in(0x511, 1 << below(c, 3));
	if (once_in(c, 4))
		port_out(0x511, 1, (uint32_t)rnd(c));
	d[0] = __builtin_bswap32((uint32_t)key << 16 | (once_in(c, 4) ? (uint32_t)rnd(c) : 10));
	d[1] = __builtin_bswap32(once_in(c, 4) ? (uint32_t)odd_value(c) : below(c, 0x3000));
	d[2] = __builtin_bswap32((uint32_t)(to >> 32));
	d[3] = __builtin_bswap32((uint32_t)to);
	port_out(0x514, 4, __builtin_bswap32((uint32_t)(at >> 32)));
	port_out(0x518, 4, __builtin_bswap32((uint32_t)at));
}

/* --- chips: programmed as they should be, nearly, so that they do something --- */

static uint8_t vector(struct cpu *c)
{
	return (uint8_t)(once_in(c, 8) ? rnd(c) : 0x30 + below(c, 0xc0));
}

static void ioapic(struct cpu *c)
{
	volatile uint32_t *select = (volatile uint32_t *)IOAPIC;
	unsigned pin = below(c, 24);
	uint32_t low = vector(c) | (uint32_t)(rnd(c) & 0x1ef00);

	if ((low >> 8 & 7) == 5) /* INIT */
		low &= ~0x700U;
	select[0] = 0x10 + 2 * pin;
	select[4] = low;
	select[0] = 0x11 + 2 * pin;
	select[4] = (uint32_t)rnd(c) & 0x0f000000;
	if (once_in(c, 2))
		select[0x10] = vector(c); /* EOI */
	for (unsigned i = 0; i < 4; i++)
		port_out((uint16_t)(0x2000 + pin), 1, i & 1);
}

static void pic(struct cpu *c)
{
	uint16_t base = once_in(c, 2) ? 0x20 : 0xa0;

	port_out(base, 1, 0x10 | (uint32_t)(rnd(c) & 0xf));
	for (unsigned i = 0; i < 3; i++)
		port_out(base + 1, 1, i ? (uint32_t)rnd(c) : vector(c));
	port_out(base, 1, (uint32_t)rnd(c) & ~0x10U);
	port_out(base + 1, 1, (uint32_t)rnd(c));
	port_out(0x4d0 + below(c, 2), 1, (uint32_t)rnd(c));
	for (unsigned i = 0; i < 6; i++)
		port_out((uint16_t)(0x2000 + below(c, 24)), 1, i & 1);
}

static void pit(struct cpu *c)
{
	unsigned n = below(c, 3);

	port_out(0x43, 1, (uint32_t)rnd(c));
	port_out(0x43, 1, n << 6 | 0x30 | below(c, 16));
	port_out((uint16_t)(0x40 + n), 1, (uint32_t)rnd(c));
	port_out((uint16_t)(0x40 + n), 1, (uint32_t)(rnd(c) & rnd(c)));
	port_out(0x61, 1, (uint32_t)rnd(c));
	(void)port_in((uint16_t)(0x40 + below(c, 4)), 1);
}

static void hpet(struct cpu *c)
{
	volatile uint64_t *h = (volatile uint64_t *)HPET;
	unsigned t = below(c, 8);

	h[2] = below(c, 4);
	h[0x20 + 4 * t] = rnd(c) & 0x7f7f;
	h[0x22 + 4 * t] =
	    (once_in(c, 2) ? 0xfee00000UL | (rnd(c) & 0xff00c) : rnd(c)) << 32 | vector(c);
	h[0x21 + 4 * t] = h[0x1e] + below(c, 10000000);
	if (once_in(c, 4))
		h[0x1e] = odd_value(c);
}

static void rtc_and_keyboard(struct cpu *c)
{
	port_out(0x70, 1, once_in(c, 2) ? 10 + below(c, 4) : below(c, 256));
	port_out(0x71, 1, (uint32_t)rnd(c));
	(void)port_in(0x71, 1);
	/* not the pulses: 0xf0 to 0xff; nor the output port, of which bit 0 is the reset line */
	port_out(0x64, 1, once_in(c, 2) ? 0xaa + below(c, 5) : 0x20 + below(c, 0xb0));
	port_out(0x60, 1, (uint32_t)rnd(c) | 1);
	(void)port_in(0x60, 1);
}

static void power(struct cpu *c)
{
	static const uint16_t regs[] = {0x600, 0x602, 0x620, 0x624, 0xb2};
	uint16_t port = regs[below(c, 5)];

	port_out(port, 2, (uint32_t)rnd(c));
	(void)port_in(port, 2);
	port_out(0x604, 2, (uint32_t)(rnd(c) & 0xff)); /* without SLP_EN */
}

static void serial(struct cpu *c)
{
	static const uint16_t bases[] = {0x2f8, 0x3e8, 0x2e8, 0x3f8};
	uint16_t base = bases[below(c, 4)];

	for (unsigned i = 0; i < 6; i++) {
		uint16_t port = (uint16_t)(base + 1 + below(c, 7));

		if (once_in(c, 2))
			port_out(port, 1, (uint32_t)rnd(c));
		else
			(void)port_in(port, 1);
	}
}

/* --- what the rest of this guest needs --- */

static void settle_serial(void)
{
	outb(COM1 + 3, 3);
	outb(COM1 + 1, 0);
	outb(COM1 + 2, 1);
	outb(COM1 + 4, 3);
}

static void settle_pci(void)
{
	for (unsigned i = 0; i < nregions; i++) {
		config_write(
		    regions[i].device, 0x10 + 4 * regions[i].bar, (uint32_t)regions[i].base);
		config_write(regions[i].device, 4, 6);
	}
}

void devices_quiet(void)
{
	volatile uint32_t *select = (volatile uint32_t *)IOAPIC;

	for (unsigned pin = 0; pin < 24; pin++) {
		select[0] = 0x10 + 2 * pin;
		select[4] = 1 << 16;
	}
	for (unsigned i = 0; i < 2; i++) {
		uint16_t base = i ? 0xa0 : 0x20;

		outb(base, 0x11);
		outb(base + 1, (uint8_t)(0x30 + 8 * i));
		outb(base + 1, i ? 2 : 4);
		outb(base + 1, 1);
		outb(base + 1, 0xff);
	}
	((volatile uint64_t *)HPET)[2] = 0;
	for (unsigned t = 0; t < 8; t++)
		((volatile uint64_t *)HPET)[0x20 + 4 * t] = 0;
	for (unsigned d = 4; d < 6; d++) /* MSI-X off, INTx too */
		config_write(d, 4, 0x406);
	for (uint16_t line = 0; line < 24; line++)
		outb(0x2000 + line, 0);
}

void devices_settle(struct cpu *c)
{
	settle_serial();
	if (once_in(c, 2))
		settle_pci();
	if (once_in(c, 2))
		devices_quiet();
}

const struct action device_actions[] = {
    {ports, 24, DO_PORT},
    {string_ports, 12, DO_STRING},
    {pci, 8, DO_PCI},
    {move_bar, 3, DO_PCI},
    {queue, 6, DO_QUEUE},
    {fw_cfg, 5, DO_FW_CFG},
    {ioapic, 4, DO_CHIP},
    {pic, 3, DO_CHIP},
    {pit, 3, DO_CHIP},
    {hpet, 4, DO_CHIP},
    {rtc_and_keyboard, 3, DO_CHIP},
    {power, 2, DO_CHIP},
    {serial, 2, DO_CHIP},
};
const unsigned device_actions_count = sizeof(device_actions) / sizeof(device_actions[0]);
