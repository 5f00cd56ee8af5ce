/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A generator that forgets: the key of ChaCha20 (RFC 8439, 2.3) is stirred with what is new, and
 * the first half of each block becomes the next key, so that a later look at the memory does not
 * give away what was handed out.
 */
#include "hv/core/random.h"

#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/core/thread.h"
#include "hv/core/vtimer.h"
#include "hv/lib/spinlock.h"

enum { KEY_WORDS = 8, BLOCK_WORDS = 16, ROUNDS = 20 };

static struct {
	struct spinlock lock; /* protects the rest */
	uint32_t key[KEY_WORDS];
	uint64_t blocks; /* made so far */
} pool = {.lock = SPINLOCK_INIT(RANK_RANDOM)};

static uint32_t rotate(uint32_t v, unsigned by)
{
	return v << by | v >> (32 - by);
}

/* Adds b to a, and stirs d with it. */
static void step(uint32_t s[BLOCK_WORDS], unsigned a, unsigned b, unsigned d, unsigned by)
{
	s[a] += s[b];
	s[d] = rotate(s[d] ^ s[a], by);
}

static void quarter_round(uint32_t s[BLOCK_WORDS], unsigned a, unsigned b, unsigned c, unsigned d)
{
	step(s, a, b, d, 16);
	step(s, c, d, b, 12);
	step(s, a, b, d, 8);
	step(s, c, d, b, 7);
}

/* One block; rest: block counter and nonce. */
static void chacha20(
    const uint32_t key[KEY_WORDS], const uint32_t rest[4], uint32_t out[BLOCK_WORDS])
{
	static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	uint32_t in[BLOCK_WORDS];

	memcpy(in, constants, sizeof(constants));
	memcpy(in + 4, key, KEY_WORDS * sizeof(*key));
	memcpy(in + 12, rest, 4 * sizeof(*rest));
	memcpy(out, in, sizeof(in));
	for (unsigned round = 0; round < ROUNDS; round += 2) {
		for (unsigned i = 0; i < 4; i++)
			quarter_round(out, i, 4 + i, 8 + i, 12 + i);
		for (unsigned i = 0; i < 4; i++)
			quarter_round(out, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
	}
	for (unsigned i = 0; i < BLOCK_WORDS; i++)
		out[i] += in[i];
}

/* 0 if the CPU has none, or none to give now: it is one source of several. */
static uint64_t from_cpu(void)
{
	uint64_t v = 0;
	bool ok = false;

	for (unsigned tries = 0; host_cpu.rdrand && !ok && tries < 10; tries++)
		__asm__ volatile("rdrand %0; setc %1" : "=r"(v), "=qm"(ok) : : "cc");
	return ok ? v : 0;
}

/* The key is replaced with the first half of a block that depends on all of it; lock held. */
static void stir(uint32_t out[BLOCK_WORDS])
{
	const uint64_t now[2] = {rdtsc(), wall_time() ^ ++pool.blocks << 48};
	uint32_t rest[4];

	for (unsigned i = 0; i < KEY_WORDS; i += 2) {
		uint64_t v = from_cpu();

		pool.key[i] ^= (uint32_t)v;
		pool.key[i + 1] ^= (uint32_t)(v >> 32);
	}
	memcpy(rest, now, sizeof(rest));
	chacha20(pool.key, rest, out);
	memcpy(pool.key, out, sizeof(pool.key));
}

void random_bytes(void *p, size_t n)
{
	uint32_t block[BLOCK_WORDS];
	uint8_t *to = p;

	while (n) {
		size_t piece = MIN(n, sizeof(block) - sizeof(pool.key));
		uint64_t flags = spin_lock(&pool.lock);

		stir(block);
		spin_unlock(&pool.lock, flags);
		memcpy(to, block + KEY_WORDS, piece);
		to += piece;
		n -= piece;
	}
	/* the next key is in it; the second line keeps the first from being left out as useless */
	memset(block, 0, sizeof(block));
	__asm__ volatile("" : : "r"(block) : "memory");
}
