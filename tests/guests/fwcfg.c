/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that reads the firmware configuration interface as firmware does: by the port, by REP
 * INSB and by DMA, which have to agree. It prints what it has read, one item a line, then what
 * became of requests that no firmware makes; then selects an item, reads half of it and says
 * "half". After a byte on the serial line it reads on, says "rest: TEXT" and powers off.
 */
#include "guest.h"

enum {
	COM1 = 0x3f8,
	LSR = 0x3fd,
	SELECTOR = 0x510,
	DATA = 0x511,
	DMA_HIGH = 0x514,
	DMA_LOW = 0x518,
	KEY_SIGNATURE = 0x00,
	KEY_ID = 0x01,
	KEY_UUID = 0x02,
	KEY_RAM_SIZE = 0x03,
	KEY_CPUS = 0x05,
	KEY_MAX_CPUS = 0x0f,
	KEY_FILE_DIR = 0x19,
	DMA_ERROR = 1,
	DMA_READ = 2,
	DMA_SKIP = 4,
	DMA_SELECT = 8,
	DMA_WRITE = 16,
	DIR_ENTRY = 64,
	BUF_SIZE = 4096,
};

static struct {
	uint32_t control, length;
	uint64_t address;
} volatile request __attribute__((aligned(16)));
static uint8_t buf[2][BUF_SIZE];

static void select(uint16_t key)
{
	__asm__ volatile("outw %0, %1" : : "a"(key), "Nd"((uint16_t)SELECTOR));
}

static void start(uint64_t at)
{
	outl(DMA_HIGH, __builtin_bswap32((uint32_t)(at >> 32)));
	outl(DMA_LOW, __builtin_bswap32((uint32_t)at));
}

/* The control word after the transfer. */
static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
	uint32_t answer;

	request.control = __builtin_bswap32(control);
	request.length = __builtin_bswap32(length);
	request.address = __builtin_bswap64(address);
	start((uintptr_t)&request);
	while ((answer = __builtin_bswap32(request.control)) & ~(uint32_t)DMA_ERROR)
		__asm__ volatile("pause" : : : "memory");
	return answer;
}

static void by_string(void *to, unsigned len)
{
	unsigned long n = len;

	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"((uint16_t)DATA) : "memory");
}

/* So many bytes of the item from its start, in three ways, into buf[0]. */
static const uint8_t *item(uint16_t key, unsigned len)
{
	select(key);
	for (unsigned i = 0; i < len; i++)
		buf[0][i] = inb(DATA);
	select(key);
	by_string(buf[1], len);
	for (unsigned i = 0; i < len; i++)
		if (buf[0][i] != buf[1][i])
			print("BAD item %x byte %u by string\n", key, i);
	if (dma((uint32_t)key << 16 | DMA_SELECT | DMA_READ, len, (uintptr_t)buf[1]))
		print("BAD item %x: error by DMA\n", key);
	for (unsigned i = 0; i < len; i++)
		if (buf[0][i] != buf[1][i])
			print("BAD item %x byte %u by DMA\n", key, i);
	return buf[0];
}

static uint64_t number(uint16_t key, unsigned len)
{
	const uint8_t *p = item(key, len);
	uint64_t v = 0;

	for (unsigned i = len; i--;)
		v = v << 8 | p[i];
	return v;
}

static void hex(const uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		print("%x%x", p[i] >> 4, p[i] & 15);
	print("\n");
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void files(void)
{
	static uint8_t dir[BUF_SIZE];
	uint32_t count = be32(item(KEY_FILE_DIR, 4)), len = 4 + count * DIR_ENTRY;

	if (len > BUF_SIZE) {
		print("BAD directory of %u files\n", count);
		return;
	}
	item(KEY_FILE_DIR, len);
	for (unsigned i = 0; i < len; i++)
		dir[i] = buf[0][i];
	for (const uint8_t *e = dir + 4; e < dir + len; e += DIR_ENTRY) {
		uint32_t size = be32(e), key = be32(e + 4) >> 16;

		print("file %x %s %u ", key, (const char *)e + 8, size);
		hex(item((uint16_t)key, size), size);
	}
}

static void values(void)
{
	uint8_t dma_signature[9] = {0};

	print("signature %s\n", (const char *)item(KEY_SIGNATURE, 5)); /* a zero behind the end */
	for (unsigned i = 0; i < 8; i++)
		dma_signature[i] = inb((uint16_t)(DMA_HIGH + i));
	print("dma %s\n", (const char *)dma_signature);
	print("id %lu\n", number(KEY_ID, 4));
	print("uuid ");
	hex(item(KEY_UUID, 16), 16);
	print("ram %lu\n", number(KEY_RAM_SIZE, 8));
	print("cpus %lu of %lu\n", number(KEY_CPUS, 2), number(KEY_MAX_CPUS, 2));
}

/* What must be refused, and leave everything as it is. */
static void nonsense(void)
{
	uint32_t read = KEY_SIGNATURE << 16 | DMA_SELECT | DMA_READ;

	print("write %u\n", dma(KEY_SIGNATURE << 16 | DMA_SELECT | DMA_WRITE, 4, (uintptr_t)buf));
	print("long %u\n", dma(read, 0xffffffff, (uintptr_t)buf));
	print("device %u\n", dma(read, 4, 0xfec00000));
	print("beyond %u\n", dma(read, 4, UINT64_MAX - 1));
	start(UINT64_MAX - 7); /* nobody can be told of it */
	start(0xfee00000);
	print("signature %s\n", (const char *)item(KEY_SIGNATURE, 5));
}

void guest_main(const uint8_t *params)
{
	char rest[3] = {0};

	(void)params;
	values();
	files();
	nonsense();
	dma(KEY_SIGNATURE << 16 | DMA_SELECT | DMA_SKIP, 2, 0);
	print("half\n");
	while (!(inb(LSR) & 1))
		;
	inb(COM1);
	by_string(rest, 2);
	print("rest: %s\n", rest);
	poweroff();
}
