/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that keeps its disk busy at depth 32 and knows what must be on it: 2,048 blocks of
 * 4 KiB, each with a number that grows with every write. What is read is compared; one request
 * in 64 is a flush. It polls and uses no interrupts. It writes every block once, says "ready",
 * and a byte on the serial line gets "done N requests, N bad". After a 'q' it first waits for what
 * is in flight, reads all blocks, says "quiet: N blocks, N bad", and stands still until the next
 * byte. Disk and memory of a snapshot that are not of one instant show as "TORN".
 */
#include "guest.h"

enum { DEPTH = 32, BLOCKS = 2048, BLOCK = 4096, WORDS = BLOCK / 8, RING = 64 };
enum { COM1 = 0x3f8, LSR = 0x3fd, PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc, BAR_AT = 0xe0000000u };
/* PCI Local Bus 3.0, 6.1 and 6.7; virtio 1.1, 4.1 */
enum { PCI_COMMAND = 4, PCI_BAR0 = 0x10, PCI_CAPS = 0x34, PCI_CAP_VENDOR = 9 };
enum {
	CAP_COMMON = 1,
	CAP_NOTIFY = 2,
	STATUS_ACK = 1,
	STATUS_DRIVER = 2,
	STATUS_OK = 4,
	STATUS_FEATURES = 8
};
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

/* virtio 1.1, 4.1.4.3 */
struct common {
	uint32_t device_select, device_feature, driver_select, driver_feature;
	uint16_t config_vector, queues;
	uint8_t status, generation;
	uint16_t select, size, vector, enable, notify_off;
	uint64_t desc, avail, used;
} __attribute__((packed));

/* 2.6.5 to 2.6.8 */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
static struct desc ring[RING] __attribute__((aligned(4096)));
static volatile struct {
	uint16_t flags, index, ring[RING], event;
} avail __attribute__((aligned(4096)));
static volatile struct {
	uint16_t flags, index;
	struct {
		uint32_t id, len;
	} ring[RING];
	uint16_t event;
} used __attribute__((aligned(4096)));

static struct slot {
	struct desc table[3];
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} head;
	uint64_t data[WORDS];
	uint32_t block;
	volatile uint8_t status;
	bool busy;
} __attribute__((aligned(8192))) slots[DEPTH];

static volatile struct common *common;
static volatile uint16_t *doorbell;
static uint32_t written[BLOCKS]; /* each block's number; what is in flight has it already */
static bool taken[BLOCKS];	 /* by a request */
static uint16_t seen;		 /* of used.index */
static uint64_t done, seed = 88172645463325252;
static unsigned bad;

/* --- PCI ---------------------------------------------------------------------------------- */

static void select(unsigned slot, unsigned reg)
{
	outl(PCI_ADDRESS, 1u << 31 | slot << 11 | (reg & ~3u));
}

static uint32_t pci_read(unsigned slot, unsigned reg)
{
	select(slot, reg);
	return inl(PCI_DATA) >> (reg & 3) * 8;
}

static void pci_write(unsigned slot, unsigned reg, uint32_t v)
{
	select(slot, reg);
	outl(PCI_DATA, v);
}

/* Finds the disk and its registers. */
static bool find_disk(void)
{
	unsigned slot = 0;

	while (slot < 32 && pci_read(slot, 0) != 0x10421af4)
		slot++;
	if (slot == 32)
		return false;
	pci_write(slot, PCI_BAR0, BAR_AT);
	if ((pci_read(slot, PCI_BAR0) & 6) == 4)
		pci_write(slot, PCI_BAR0 + 4, 0);
	pci_write(slot, PCI_COMMAND, 6);
	for (unsigned c = pci_read(slot, PCI_CAPS) & 0xff; c; c = pci_read(slot, c + 1) & 0xff) {
		uintptr_t at = BAR_AT + pci_read(slot, c + 8);

		if ((pci_read(slot, c) & 0xff) != PCI_CAP_VENDOR)
			continue;
		if ((pci_read(slot, c + 3) & 0xff) == CAP_COMMON)
			common = (volatile struct common *)at;
		if ((pci_read(slot, c + 3) & 0xff) == CAP_NOTIFY)
			doorbell = (volatile uint16_t *)at;
	}
	return common && doorbell;
}

static void start_disk(void)
{
	common->status = 0;
	common->status = STATUS_ACK | STATUS_DRIVER;
	avail.flags = 1; /* no interrupts */
	common->driver_select = 0;
	common->driver_feature = 1 << 9 | 1 << 28; /* VIRTIO_BLK_F_FLUSH, RING_INDIRECT_DESC */
	common->driver_select = 1;
	common->driver_feature = 1; /* VIRTIO_F_VERSION_1 */
	common->status = STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES;
	common->select = 0;
	common->size = RING;
	common->desc = (uintptr_t)ring;
	common->avail = (uintptr_t)&avail;
	common->used = (uintptr_t)&used;
	common->enable = 1;
	common->status = STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES | STATUS_OK;
}

/* --- blocks ------------------------------------------------------------------------------- */

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static uint64_t value(uint32_t block, uint32_t number, unsigned word)
{
	return ((uint64_t)number << 32 | block) * 0x9e3779b97f4a7c15 + word;
}

/* Sixteen words of a block, in each of its sectors. */
static void fill(struct slot *s)
{
	for (unsigned w = 0; w < WORDS; w += 32)
		s->data[w] = value(s->block, written[s->block], w);
}

static void compare(const struct slot *s)
{
	for (unsigned w = 0; w < WORDS; w += 32) {
		uint64_t want = value(s->block, written[s->block], w);

		if (s->data[w] == want)
			continue;
		print("TORN block %u word %u: number %u wants %lx, is %lx\n", s->block, w,
		    written[s->block], want, s->data[w]);
		bad++;
		return;
	}
}

/* --- requests ----------------------------------------------------------------------------- */

static void submit(struct slot *s, uint32_t type, uint32_t block)
{
	unsigned i = (unsigned)(s - slots);
	bool in = type == BLK_IN;

	s->head.type = type;
	s->head.sector = type == BLK_FLUSH ? 0 : (uint64_t)block * (BLOCK / 512);
	s->block = block;
	s->status = 0xff;
	s->busy = true;
	if (type == BLK_OUT) {
		written[block]++;
		fill(s);
	}
	s->table[0] = (struct desc){(uintptr_t)&s->head, 16, DESC_NEXT, type == BLK_FLUSH ? 2 : 1};
	s->table[1] =
	    (struct desc){(uintptr_t)s->data, BLOCK, in ? DESC_NEXT | DESC_WRITE : DESC_NEXT, 2};
	s->table[2] = (struct desc){(uintptr_t)&s->status, 1, DESC_WRITE, 0};
	ring[i] = (struct desc){(uintptr_t)s->table, sizeof(s->table), DESC_INDIRECT, 0};
	avail.ring[avail.index % RING] = i;
	__asm__ volatile("" : : : "memory");
	avail.index++;
}

/* A read, a write or a flush of a block that no other request is about. */
static void submit_some(struct slot *s)
{
	uint64_t r = next_random();
	uint32_t block = (r >> 16) % BLOCKS;

	if (r % 64 == 0) {
		submit(s, BLK_FLUSH, BLOCKS);
		return;
	}
	while (taken[block])
		block = (block + 1) % BLOCKS;
	taken[block] = true;
	submit(s, r & 1 ? BLK_OUT : BLK_IN, block);
}

static void finish(struct slot *s)
{
	s->busy = false;
	done++;
	if (s->status) {
		print(
		    "TORN block %u: request %u has status %u\n", s->block, s->head.type, s->status);
		bad++;
	} else if (s->head.type == BLK_IN) {
		compare(s);
	}
	if (s->block < BLOCKS)
		taken[s->block] = false;
}

/* What has come back; whether anything is still out. */
static bool collect(void)
{
	bool busy = false;

	for (; seen != used.index; seen++) {
		__asm__ volatile("" : : : "memory");
		finish(&slots[used.ring[seen % RING].id]);
	}
	for (unsigned i = 0; i < DEPTH; i++)
		busy |= slots[i].busy;
	return busy;
}

static void drain(void)
{
	*doorbell = 0;
	while (collect())
		__asm__ volatile("pause");
}

/* All blocks, one slot after the other. */
static void all_blocks(uint32_t type)
{
	for (uint32_t block = 0; block < BLOCKS; block += DEPTH) {
		for (unsigned i = 0; i < DEPTH; i++)
			submit(&slots[i], type, block + i);
		drain();
	}
}

/* --- orders ------------------------------------------------------------------------------- */

static bool byte_came(char *c)
{
	if (!(inb(LSR) & 1))
		return false;
	*c = (char)inb(COM1);
	return true;
}

static void answer(char c)
{
	if (c == 'q') {
		drain();
		all_blocks(BLK_IN);
		print("quiet: %d blocks, %u bad\n", BLOCKS, bad);
		while (!byte_came(&c))
			__asm__ volatile("pause");
		print("going on\n");
		return;
	}
	print("done %lu requests, %u bad\n", done, bad);
}

void guest_main(const uint8_t *params)
{
	char c;

	(void)params;
	traps_init();
	if (!find_disk()) {
		print("no disk\n");
		return;
	}
	start_disk();
	all_blocks(BLK_OUT);
	print("ready\n");
	for (unsigned n = 0;; n++) {
		bool new = false;

		for (unsigned i = 0; i < DEPTH; i++)
			if (!slots[i].busy) {
				submit_some(&slots[i]);
				new = true;
			}
		if (new)
			*doorbell = 0;
		collect();
		if (n % 16 == 0 && byte_came(&c))
			answer(c);
	}
}
