/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory against a model: a guest with a TLB of its own, devices that write
 * behind its back, the hypervisor's own writes, saves that end well or badly. What a
 * save hands out is the memory of one instant, and what it leaves out has not changed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "hv/core/gmem.c"
#include "hv/core/gmem_back.c"
#include "hv/core/gmem_mark.c"
#include "hv/core/gmem_rom.c"
#include "hv/core/gmem_share.c"
#include "hv/core/gmem_track.c"
#include "hv/core/gmem_used.c"
#include "tests/unit/fake/fake.h"
#include "tests/unit/vcpu_random.h"

static const struct npt_format formats[] = {
    {.name = "NPT",
	.table = 7,
	.leaf = BIT(0) | BIT(2),
	.large = BIT(7),
	.write = BIT(1),
	.no_exec = BIT(63),
	.present = BIT(0),
	.accessed = BIT(5),
	.dirty = BIT(6),
	.may_write = NPT_MAY_WRITE,
	.max_level = 2},
    {.name = "EPT without dirty bits",
	.table = 7,
	.leaf = BIT(0) | 6 << 3,
	.large = BIT(7),
	.write = BIT(1),
	.exec = BIT(2),
	.present = 7,
	.may_write = NPT_MAY_WRITE,
	.max_level = 2},
};

enum { RAM = 8 << 20, PAGES = RAM / PAGE_SIZE, CHUNKS = RAM / GMEM_CHUNK, DMAS = 4, STEPS = 30000 };

static struct vm *vm;

/* --- the guest ------------------------------------------------------------------------ */

/* What its CPU remembers of a page: that it may write there, and that it has said so. */
enum { TLB_NONE, TLB_READ, TLB_WRITE, TLB_DIRTY };
static uint8_t tlb[PAGES];

static void take_requests(void)
{
	if (!(__atomic_exchange_n(&vm->vcpus[0]->requests, 0, __ATOMIC_SEQ_CST) & VCPU_REQ_TLB))
		return;
	memset(tlb, TLB_NONE, sizeof(tlb));
}

static uint64_t *leaf_of(uint64_t g)
{
	uint64_t *t = phys_to_virt(vm->npt.root);

	for (unsigned shift = 39;; shift -= 9) {
		uint64_t *e = &t[g >> shift & 511];

		if (shift == 12 || (*e & vm->npt.fmt->large) || !(*e & vm->npt.fmt->present))
			return e;
		t = phys_to_virt(hpa(*e & 0x000ffffffffff000ULL));
	}
}

/* A walk leaves its mark in each entry that it goes through. */
static void walk(uint64_t g)
{
	uint64_t *t = phys_to_virt(vm->npt.root);

	for (unsigned shift = 39;; shift -= 9) {
		uint64_t *e = &t[g >> shift & 511];

		*e |= vm->npt.fmt->accessed;
		if (shift == 12 || (*e & vm->npt.fmt->large))
			return;
		t = phys_to_virt(hpa(*e & 0x000ffffffffff000ULL));
	}
}

/* As hardware reaches a page: from its TLB, or by walking; false: nested page fault. */
static bool cpu_reaches(uint64_t g, bool write, uint8_t **p)
{
	uint8_t *known = &tlb[g / PAGE_SIZE];
	uint64_t size, left;
	unsigned perm;
	hpa_t h;

	if (*known < (write ? TLB_WRITE : TLB_READ)) {
		if (!npt_lookup(&vm->npt, gpa(g), &h, &perm, &size) || (write && !(perm & NPT_W)))
			return false;
		walk(g);
		*known = perm & NPT_W ? TLB_WRITE : TLB_READ;
	}
	if (write && *known != TLB_DIRTY) {
		*leaf_of(g) |= vm->npt.fmt->dirty;
		*known = TLB_DIRTY;
	}
	*p = (uint8_t *)(uintptr_t)gmem_peek(vm, gpa(g), &left);
	assert_non_null(*p);
	return true;
}

static uint8_t *guest_reach(uint64_t g, bool write)
{
	uint8_t *p;

	take_requests();
	for (unsigned tries = 0; !cpu_reaches(g, write, &p); tries++) {
		enum gmem_fault f = gmem_fault(vm, gpa(g), write);

		assert_true(tries < 3 && f != GMEM_NOT_RAM);
		if (f == GMEM_WAS_READY)
			memset(tlb, TLB_NONE, sizeof(tlb));
		take_requests();
	}
	return p;
}

/* --- the model ------------------------------------------------------------------------ */

static uint8_t mem[RAM];     /* what the guest's memory must be */
static uint8_t instant[RAM]; /* what it was when the save was armed */
static uint8_t base[RAM];    /* what all saves that ended well add up to */
static uint8_t next_base[RAM];
static uint8_t marked[RAM]; /* what it was at the mark */
static bool has_base, saving, armed, seen[CHUNKS];

/* Host DMA into the guest: what it stores there is undefined until it is finished. */
static struct dma {
	bool busy, over_arm; /* it was under way when the save was armed */
	uint64_t at, len;
	struct sg sg[32];
	unsigned count;
} dma[DMAS];

static bool in_dma(uint64_t page, bool over_arm)
{
	for (unsigned i = 0; i < DMAS; i++)
		if ((dma[i].busy && !over_arm) || (dma[i].over_arm && over_arm))
			if (page * PAGE_SIZE < dma[i].at + dma[i].len &&
			    (page + 1) * PAGE_SIZE > dma[i].at)
				return true;
	return false;
}

static void check_page(const uint8_t *a, const uint8_t *b, uint64_t page, const char *what)
{
	const void *x = a + page * PAGE_SIZE, *y = b + page * PAGE_SIZE;

	if (memcmp(x, y, PAGE_SIZE) != 0)
		fail_msg("%s: page %llu differs", what, (unsigned long long)page);
}

/* --- steps ------------------------------------------------------------------------------ */

/* Half of all goes to one MiB, so that pieces meet again. */
static uint64_t some_address(void)
{
	return rnd_below(rnd_bit() ? RAM : 1 << 20);
}

static void guest_write(uint64_t g, uint8_t v)
{
	*guest_reach(g, true) = v;
	mem[g] = v;
}

static void step_guest_write(void)
{
	uint64_t g = some_address();

	if (!in_dma(g / PAGE_SIZE, false))
		guest_write(g, (uint8_t)rnd());
}

static void step_guest_read(void)
{
	uint64_t g = some_address();

	if (!in_dma(g / PAGE_SIZE, false))
		assert_int_equal(*guest_reach(g, false), mem[g]);
}

static void step_hypervisor_write(void)
{
	uint8_t buf[200];
	uint64_t g = some_address(), n = 1 + rnd_below(sizeof(buf));

	if (g + n > RAM || in_dma(g / PAGE_SIZE, false) || in_dma((g + n - 1) / PAGE_SIZE, false))
		return;
	memset(buf, (int)rnd(), sizeof(buf));
	assert_int_equal(gmem_write(vm, gpa(g), buf, n), OK);
	memcpy(mem + g, buf, n);
}

static void step_dma(void)
{
	struct dma *d = &dma[rnd_below(DMAS)];

	if (!d->busy) {
		if (d->over_arm) /* its place is looked at until that save ends */
			return;
		d->at = ALIGN_DOWN(some_address(), 512ULL);
		d->len = 512 * (1 + rnd_below(64));
		if (d->at + d->len > RAM)
			return;
		for (uint64_t p = d->at / PAGE_SIZE; p <= (d->at + d->len - 1) / PAGE_SIZE; p++)
			if (in_dma(p, false))
				return;
		assert_int_equal(
		    gmem_dma_map(vm, gpa(d->at), d->len, true, d->sg, 32, &d->count), OK);
		d->busy = true;
		return;
	}
	for (unsigned i = 0; i < d->count; i++) { /* the device stores, and says so */
		uint8_t *p = phys_to_virt(d->sg[i].addr);

		memset(p, (int)rnd(), d->sg[i].len);
		memcpy(mem + d->sg[i].guest.a, p, d->sg[i].len);
	}
	gmem_dma_unmap(vm, d->sg, d->count, true);
	d->busy = false;
}

static void begin(void)
{
	struct errmsg e;

	assert_int_equal(gmem_save_begin(vm, !has_base, 1 + rnd_below(8), &e), OK);
	saving = true;
	armed = false;
}

static void arm(void)
{
	memcpy(instant, mem, RAM);
	if (has_base)
		memcpy(next_base, base, RAM);
	else
		memset(next_base, 0, RAM);
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < DMAS; i++)
		dma[i].over_arm = dma[i].busy;
	gmem_save_arm(vm, false);
	armed = true;
}

/* A list of the working set: no piece twice, and each of them has host memory. */
static void check_used(void)
{
	static gpa_t out[CHUNKS];
	bool there[CHUNKS] = {false};
	unsigned n = gmem_save_used(vm, out, CHUNKS);

	for (unsigned i = 0; i < n; i++) {
		uint64_t left;

		assert_int_equal(out[i].a % GMEM_CHUNK, 0);
		assert_non_null(gmem_peek(vm, out[i], &left));
		assert_false(there[out[i].a / GMEM_CHUNK]);
		there[out[i].a / GMEM_CHUNK] = true;
	}
}

static void end(bool ok)
{
	if (ok) {
		check_used();
		memcpy(base, next_base, RAM);
		has_base = true;
		for (uint64_t p = 0; p < PAGES; p++)
			if (!in_dma(p, true))
				check_page(base, instant, p, "what was saved in all");
	}
	gmem_save_end(vm, ok);
	saving = armed = false;
	for (unsigned i = 0; i < DMAS; i++)
		dma[i].over_arm = false;
}

/* One piece to the writer; true if there was none left. */
static bool write_piece(void)
{
	struct gmem_piece p;
	int err = gmem_save_next(vm, &p);

	if (err == ERR_NOENT)
		return true;
	assert_int_equal(err, OK);
	assert_false(seen[p.addr.a / GMEM_CHUNK]);
	seen[p.addr.a / GMEM_CHUNK] = true;
	for (unsigned i = 0; i < GMEM_CHUNK_PAGES; i++) {
		uint64_t page = p.addr.a / PAGE_SIZE + i;

		if (p.pages >> i & 1)
			memcpy(next_base + page * PAGE_SIZE,
			    (const uint8_t *)p.data + i * PAGE_SIZE, PAGE_SIZE);
		if (!in_dma(page, true))
			check_page(next_base, instant, page, "a piece that was handed out");
	}
	return false;
}

static void step_save(void)
{
	if (!saving)
		begin();
	else if (!armed)
		arm();
	else if (rnd_below(200) == 0)
		end(false);
	else
		for (unsigned n = rnd_below(8); armed && n; n--)
			if (write_piece())
				end(true);
}

static bool dma_under_way(void)
{
	for (unsigned i = 0; i < DMAS; i++)
		if (dma[i].busy)
			return true;
	return false;
}

/* As the lock order has it: not while a save is under way, and with devices at rest. */
static void step_mark(void)
{
	if (saving || dma_under_way())
		return;
	switch (rnd_below(8)) {
	case 0:
		memcpy(marked, mem, RAM);
		assert_int_equal(gmem_mark(vm), OK);
		return;
	case 1:
		gmem_unmark(vm);
		return;
	default:
		if (!gmem_marked(vm))
			return;
		(void)gmem_rewind(vm);
		take_requests();
		memcpy(mem, marked, RAM);
		for (uint64_t p = 0; p < PAGES; p++) {
			uint64_t left;
			const uint8_t *at = gmem_peek(vm, gpa(p * PAGE_SIZE), &left);

			if (at && memcmp(at, mem + p * PAGE_SIZE, PAGE_SIZE) != 0)
				fail_msg("rewound: page %llu differs", (unsigned long long)p);
		}
	}
}

/* A vCPU that waits for a slot: the writer goes on meanwhile. */
static void writer_goes_on(struct waitq *q)
{
	(void)q;
	assert_true(armed);
	assert_false(write_piece()); /* there are copies to hand out, or it would not wait */
}

static void new_vm(const struct npt_format *f)
{
	struct errmsg e;

	vm = fake_vm_new(1, 0);
	assert_int_equal(npt_init(&vm->npt, f), OK);
	assert_int_equal(gmem_create(vm, RAM, false, &e), OK);
	memset(tlb, TLB_NONE, sizeof(tlb));
	memset(mem, 0, RAM);
	memset(dma, 0, sizeof(dma));
	has_base = saving = armed = false;
	fake_wait_hook = NULL;
}

static void free_vm(void)
{
	uint64_t backed, promised;

	gmem_destroy(vm);
	npt_destroy(&vm->npt);
	fake_vm_free(vm);
	gmem_totals(&backed, &promised);
	assert_int_equal(backed, 0);
	assert_int_equal(promised, 0);
}

static void random_walk(void **state)
{
	const char *seed = getenv("AMBER_SEED");

	rnd_state = seed ? strtoull(seed, NULL, 0) : 0x1234567;
	new_vm(*state);
	fake_wait_hook = writer_goes_on;
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned what = rnd_below(100);

		if (what < 45)
			step_guest_write();
		else if (what < 55)
			step_guest_read();
		else if (what < 75)
			step_hypervisor_write();
		else if (what < 82)
			step_dma();
		else if (what < 85)
			step_mark();
		else
			step_save();
	}
	if (saving)
		end(false);
	for (uint64_t g = 0; g < RAM; g += 977)
		if (!in_dma(g / PAGE_SIZE, false))
			assert_int_equal(*guest_reach(g, false), mem[g]);
	free_vm();
}

/* --- one thing at a time ----------------------------------------------------------------- */

static void takes_host_memory_when_touched(void **state)
{
	uint64_t backed, promised, left;
	uint8_t b = 1;

	new_vm(*state);
	gmem_stat(vm, &backed, &promised);
	assert_int_equal(backed, 0);
	assert_int_equal(promised, RAM);
	assert_null(gmem_peek(vm, gpa(0x1000), &left));
	assert_int_equal(gmem_read(vm, gpa(0x1000), &b, 1), OK);
	assert_int_equal(b, 0);
	gmem_stat(vm, &backed, &promised);
	assert_int_equal(backed, SIZE_2M); /* nobody watches: the largest there is */
	assert_int_equal(backed + promised, RAM);
	gmem_watch(vm);
	assert_int_equal(gmem_write(vm, gpa(SIZE_2M), &b, 1), OK);
	gmem_stat(vm, &backed, &promised);
	assert_int_equal(backed, SIZE_2M + GMEM_CHUNK);
	gmem_reset(vm);
	gmem_stat(vm, &backed, &promised);
	assert_int_equal(backed, 0);
	assert_false(gmem_watched(vm));
	assert_int_equal(gmem_read(vm, gpa(RAM - 1), &b, 1), OK);
	assert_int_equal(gmem_read(vm, gpa(RAM), &b, 1), ERR_FAULT);
	assert_int_equal(gmem_read(vm, gpa(RAM - 1), &b, 2), ERR_FAULT);
	assert_int_equal(gmem_fault(vm, gpa(RAM), false), GMEM_NOT_RAM);
	free_vm();
}

static void pauses_without_host_memory(void **state)
{
	uint8_t b;

	new_vm(*state);
	gmem_watch(vm);
	fake_heap_fail_after(0);
	assert_int_equal(gmem_read(vm, gpa(0), &b, 1), ERR_RETRY);
	assert_int_equal(fake_of(vm)->holds, 1);
	assert_int_equal(fake_of(vm)->fail_disposition, DISP_NO_MEMORY);
	fake_heap_fail_after(1); /* the frame, but no table for it */
	assert_int_equal(gmem_read(vm, gpa(0), &b, 1), ERR_RETRY);
	assert_int_equal(gmem_read(vm, gpa(0), &b, 1), OK); /* the operator made room */
	free_vm();
}

static void promises_no_more_than_there_is(void **state)
{
	uint64_t all = frames_free_count() * PAGE_SIZE;
	struct errmsg e;

	new_vm(*state);
	gmem_destroy(vm);
	all -= RESERVE * PAGE_SIZE;
	assert_int_equal(gmem_create(vm, all + MIB, false, &e), ERR_NOMEM);
	assert_null(vm->gmem);
	assert_int_equal(gmem_create(vm, all, false, &e), OK);
	free_vm();
}

/* The next save after an idle time has nothing to do; after one write, one page. */
static void saves_only_what_changed(void **state)
{
	const struct npt_format *f = *state;
	struct gmem_piece p;

	new_vm(f);
	guest_write(0x5000, 1);
	guest_write(SIZE_2M + 5, 1);
	begin();
	arm();
	while (!write_piece())
		;
	end(true);
	assert_int_equal(gmem_save_size(vm), 0);
	begin();
	arm();
	assert_int_equal(gmem_save_next(vm, &p), ERR_NOENT);
	end(true);
	guest_write(0x5000, 2);
	assert_int_equal(gmem_save_size(vm), GMEM_CHUNK);
	assert_int_equal(gmem_save_begin(vm, false, 1, NULL), OK);
	gmem_save_arm(vm, true);
	assert_int_equal(gmem_save_next(vm, &p), OK);
	assert_int_equal(p.addr.a, 0);
	assert_int_equal(p.pages, f->dirty ? 1 << 5 : 0xffff);
	assert_int_equal(((const uint8_t *)p.data)[0x5000], 2);
	assert_int_equal(gmem_save_next(vm, &p), ERR_NOENT);
	gmem_save_end(vm, true);
	free_vm();
}

/* A full save of a machine that has all of its pieces, each in a table of small leaves. */
static void begin_with_all(const struct npt_format *f)
{
	new_vm(f);
	gmem_watch(vm);
	for (uint64_t c = 0; c < CHUNKS; c++)
		guest_write(c * GMEM_CHUNK, (uint8_t)c);
	assert_int_equal(gmem_save_begin(vm, true, 4, NULL), OK);
	gmem_save_arm(vm, false);
	for (struct gmem_piece p; gmem_save_next(vm, &p) == OK;)
		;
}

static void expect_used(const uint64_t *chunks, unsigned n, unsigned max)
{
	static gpa_t out[CHUNKS];

	assert_int_equal(gmem_save_used(vm, out, max), n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(out[i].a, chunks[i] * GMEM_CHUNK);
}

/* What was used meanwhile, then what had been used before: by reading where hardware tells. */
static void notes_what_is_used(void **state)
{
	const struct npt_format *f = *state;
	bool tells = f->accessed != 0;
	struct gmem_piece p;
	uint8_t b;

	begin_with_all(f);
	expect_used(NULL, 0, CHUNKS); /* all of it before, nothing since */
	gmem_save_end(vm, true);

	(void)guest_reach(70 * GMEM_CHUNK + 5, false);
	guest_write(9 * GMEM_CHUNK, 1);
	assert_int_equal(gmem_read(vm, gpa(11 * GMEM_CHUNK), &b, 1), OK); /* not the guest */
	assert_int_equal(gmem_save_begin(vm, true, 4, NULL), OK);
	gmem_save_arm(vm, false);
	(void)guest_reach(40 * GMEM_CHUNK, false); /* translations from before were flushed */
	(void)guest_reach(70 * GMEM_CHUNK + 5, false);
	assert_int_equal(gmem_write(vm, gpa(30 * GMEM_CHUNK), "x", 1), OK);
	/* the copy first, then what was used before */
	assert_int_equal(gmem_save_next(vm, &p), OK);
	assert_int_equal(p.addr.a, 30 * GMEM_CHUNK);
	for (unsigned i = 0; tells && i < 2; i++) {
		assert_int_equal(gmem_save_next(vm, &p), OK);
		assert_int_equal(p.addr.a, (i ? 70 : 9) * GMEM_CHUNK);
	}
	assert_int_equal(gmem_save_next(vm, &p), OK);
	assert_int_equal(p.addr.a, 0);
	for (unsigned i = tells ? 4 : 2; i < CHUNKS; i++)
		assert_int_equal(gmem_save_next(vm, &p), OK);
	assert_int_equal(gmem_save_next(vm, &p), ERR_NOENT);
	if (tells)
		expect_used((const uint64_t[]){30, 40, 70, 9}, 4, CHUNKS);
	else
		expect_used((const uint64_t[]){30, 9}, 2, CHUNKS);
	gmem_save_end(vm, true);

	/* nothing is used by who stands still: what was told last follows, once */
	assert_int_equal(gmem_save_begin(vm, false, 4, NULL), OK);
	gmem_save_arm(vm, true);
	while (gmem_save_next(vm, &p) == OK)
		;
	if (tells)
		expect_used((const uint64_t[]){30, 9, 40, 70}, 4, CHUNKS);
	else
		expect_used((const uint64_t[]){30, 9}, 2, CHUNKS);
	gmem_save_end(vm, true);
	for (uint64_t c = 0; c < CHUNKS; c++) /* most of it: that says nothing */
		guest_write(c * GMEM_CHUNK, 3);
	assert_int_equal(gmem_save_begin(vm, false, 4, NULL), OK);
	gmem_save_arm(vm, false);
	guest_write(50 * GMEM_CHUNK, 4);
	while (gmem_save_next(vm, &p) == OK)
		;
	expect_used((const uint64_t[]){50, 30}, 2, CHUNKS);
	expect_used((const uint64_t[]){50}, 1, 1); /* no more than there is room for */
	gmem_save_end(vm, true);
	free_vm();
}

/* Who is to stand still is watched before: what its CPUs know by heart then counts too. */
static void notes_what_is_used_before_it_stands(void **state)
{
	struct gmem_piece p;

	begin_with_all(*state);
	gmem_save_end(vm, true);
	(void)guest_reach(40 * GMEM_CHUNK, false);
	assert_int_equal(gmem_save_begin(vm, false, 4, NULL), OK);
	gmem_save_observe(vm);
	(void)guest_reach(40 * GMEM_CHUNK, false);
	(void)guest_reach(12 * GMEM_CHUNK, false);
	gmem_save_arm(vm, true);
	assert_int_equal(gmem_save_next(vm, &p), ERR_NOENT);
	expect_used((const uint64_t[]){12, 40}, 2, CHUNKS);
	gmem_save_end(vm, true);
	free_vm();
}

/* Without memory for the list there is none, and the save is none the worse. */
static void notes_nothing_without_memory(void **state)
{
	gpa_t out[4];

	begin_with_all(*state);
	guest_write(9 * GMEM_CHUNK, 1);
	fake_heap_fail_after(0);
	assert_int_equal(gmem_save_used(vm, out, 4), 0);
	assert_int_equal(gmem_save_used(vm, out, 4), 1);
	gmem_save_end(vm, true);
	free_vm();
}

/* Putting back costs what was changed, not what there is. */
static void rewinds_what_was_written(void **state)
{
	const struct npt_format *f = *state;
	uint64_t before = (uint64_t)fake_heap_outstanding();

	new_vm(f);
	guest_write(0x5000, 1);
	guest_write(0x105000, 1);
	assert_int_equal(gmem_mark(vm), OK);
	for (unsigned round = 0; round < 3; round++) {
		uint8_t b = 9;

		guest_write(0x5000, 2);
		guest_write(0x9000, 2);
		assert_int_equal(gmem_write(vm, gpa(0x400000), &b, 1), OK);
		assert_int_equal(gmem_rewind(vm), f->dirty ? 3 : 2 * GMEM_CHUNK_PAGES);
		assert_int_equal(*guest_reach(0x5000, false), 1);
		assert_int_equal(*guest_reach(0x9000, false), 0);
		assert_int_equal(*guest_reach(0x400000, false), 0);
	}
	assert_int_equal(gmem_rewind(vm), f->dirty ? 0 : 2 * GMEM_CHUNK_PAGES);
	/* no memory for a copy: the guest pauses before it has written */
	fake_heap_fail_after(0);
	assert_int_equal(gmem_write(vm, gpa(0x105000), "x", 1), ERR_RETRY);
	assert_int_equal(fake_of(vm)->fail_disposition, DISP_NO_MEMORY);
	assert_int_equal(*guest_reach(0x105000, false), 1);
	gmem_unmark(vm);
	assert_false(gmem_marked(vm));
	free_vm();
	assert_int_equal(fake_heap_outstanding(), before);
}

/* --- a source ------------------------------------------------------------------------------ */

static uint64_t wanted = UINT64_MAX;
static bool loses, starves;

static void want(void *ctx, gpa_t addr)
{
	(void)ctx;
	wanted = addr.a;
}

static uint8_t source_byte(uint64_t chunk)
{
	return (uint8_t)(chunk % 5 ? chunk : 0);
}

static void supply(uint64_t at)
{
	static uint8_t data[GMEM_CHUNK];

	memset(data, source_byte(at / GMEM_CHUNK), sizeof(data));
	assert_int_equal(gmem_supply(vm, gpa(at), source_byte(at / GMEM_CHUNK) ? data : NULL), OK);
}

static bool released;

static void release(void *ctx)
{
	(void)ctx;
	released = true;
}

static void pager(struct waitq *q)
{
	(void)q;
	assert_int_not_equal(wanted, UINT64_MAX);
	if (starves)
		gmem_starve(vm, gpa(wanted));
	else if (loses)
		gmem_lose(vm, gpa(wanted), "checksum wrong");
	else
		supply(wanted);
	wanted = UINT64_MAX;
}

static void fetches_what_is_touched(void **state)
{
	static const struct gmem_source src = {want, release, NULL};
	uint64_t backed, promised;
	struct gmem_paging paging;
	gpa_t at = gpa(0);
	struct errmsg e;
	uint8_t b;

	new_vm(*state);
	gmem_watch(vm);
	assert_int_equal(gmem_attach(vm, &src, &e), OK);
	fake_wait_hook = pager;
	assert_int_equal(*guest_reach(3 * GMEM_CHUNK + 7, false), 3);
	assert_int_equal(gmem_read(vm, gpa(5 * GMEM_CHUNK), &b, 1), OK);
	assert_int_equal(b, 0);
	*guest_reach(4 * GMEM_CHUNK, true) = 9;
	supply(4 * GMEM_CHUNK); /* too late: it was there */
	assert_int_equal(*guest_reach(4 * GMEM_CHUNK, false), 9);
	assert_int_equal(*guest_reach(4 * GMEM_CHUNK + 1, false), 4);
	gmem_stat(vm, &backed, &promised);
	assert_int_equal(backed, 3 * GMEM_CHUNK);

	gmem_paging(vm, &paging);
	assert_int_equal(paging.waits, 3);
	assert_int_equal(paging.missing, RAM - 3 * GMEM_CHUNK);

	starves = true; /* paused, not stuck: the next try is another matter */
	assert_int_equal(gmem_read(vm, gpa(8 * GMEM_CHUNK), &b, 1), ERR_RETRY);
	starves = false;
	assert_int_equal(fake_of(vm)->holds, 1);
	assert_int_equal(fake_of(vm)->fail_disposition, DISP_NO_MEMORY);
	assert_int_equal(gmem_read(vm, gpa(8 * GMEM_CHUNK), &b, 1), OK);
	assert_int_equal(b, 8);
	gmem_starve(vm, gpa(11 * GMEM_CHUNK)); /* nobody waited: no answer to who asks later */
	assert_int_equal(gmem_read(vm, gpa(11 * GMEM_CHUNK), &b, 1), OK);
	assert_int_equal(b, source_byte(11));
	loses = true;
	assert_int_equal(gmem_read(vm, gpa(9 * GMEM_CHUNK), &b, 1), ERR_RETRY);
	loses = false;
	assert_int_equal(fake_of(vm)->fails, 1);
	assert_non_null(strstr(fake_of(vm)->fail_text, "0x90000: checksum wrong"));

	assert_true(gmem_lost(vm));
	for (; gmem_missing(vm, &at); at.a += GMEM_CHUNK)
		supply(at.a);
	gmem_detach(vm);
	fake_wait_hook = NULL;
	for (uint64_t c = 10; c < CHUNKS; c++)
		assert_int_equal(*guest_reach(c * GMEM_CHUNK, false), source_byte(c));
	/* the machine has changed in one piece only since the snapshot */
	assert_int_equal(gmem_save_size(vm), GMEM_CHUNK);
	assert_false(released);
	free_vm();
	assert_true(released);
}

/* After a reset no snapshot is like the memory, whatever was tried in between. */
static void a_reset_leaves_no_base(void **state)
{
	new_vm(*state);
	guest_write(0x5000, 1);
	begin();
	arm();
	while (!write_piece())
		;
	end(true);
	assert_true(gmem_watched(vm));
	gmem_reset(vm);
	memset(mem, 0, RAM);
	has_base = false;
	assert_false(gmem_watched(vm));
	guest_write(0x9000, 2);
	begin();
	arm();
	end(false);
	assert_false(gmem_watched(vm));
	assert_int_equal(gmem_mark(vm), OK);
	assert_false(gmem_watched(vm));
	guest_write(0x7000, 3);
	/* asked for what has changed, it gives all there is */
	assert_int_equal(gmem_save_begin(vm, false, 4, NULL), OK);
	saving = true;
	arm();
	while (!write_piece())
		;
	end(true);
	assert_true(gmem_watched(vm));
	free_vm();
}

/* What a pager brings after a reset comes too late, above all a frame that others read. */
static void a_reset_takes_nothing_more(void **state)
{
	static const struct gmem_source src = {want, release, NULL};
	hpa_t frame = frames_alloc(CHUNK_ORDER);
	struct errmsg e;
	uint8_t b;

	memset(phys_to_virt(frame), 7, GMEM_CHUNK);
	new_vm(*state);
	gmem_watch(vm);
	assert_int_equal(gmem_attach(vm, &src, &e), OK);
	gmem_reset(vm);
	assert_int_equal(gmem_supply_shared(vm, gpa(0), frame), OK);
	assert_int_equal(gmem_supply(vm, gpa(GMEM_CHUNK), phys_to_virt(frame)), OK);
	assert_int_equal(gmem_read(vm, gpa(0), &b, 1), OK);
	assert_int_equal(b, 0);
	assert_int_equal(gmem_write(vm, gpa(0), "x", 1), OK);
	assert_int_equal(gmem_read(vm, gpa(GMEM_CHUNK), &b, 1), OK);
	assert_int_equal(b, 0);
	assert_int_equal(*(uint8_t *)phys_to_virt(frame), 7);
	free_vm();
	frames_free(frame, CHUNK_ORDER);
}

/* Two machines over the same frames: neither sees what the other writes. */
static void shares_until_somebody_writes(void **state)
{
	static const struct gmem_source src = {want, release, NULL};
	struct vm *a, *b;
	uint64_t backed, promised;
	hpa_t frame = frames_alloc(CHUNK_ORDER);
	struct errmsg e;
	uint8_t v;

	memset(phys_to_virt(frame), 7, GMEM_CHUNK);
	new_vm(*state);
	b = vm;
	gmem_watch(b);
	assert_int_equal(gmem_attach(b, &src, &e), OK);
	gmem_unpromise(b);
	assert_int_equal(gmem_supply_shared(b, gpa(GMEM_CHUNK), frame), OK);
	new_vm(*state);
	a = vm;
	gmem_watch(a);
	assert_int_equal(gmem_attach(a, &src, &e), OK);
	gmem_unpromise(a);
	gmem_totals(&backed, &promised);
	assert_int_equal(backed + promised, 0);
	assert_int_equal(gmem_supply_shared(a, gpa(GMEM_CHUNK), frame), OK);
	assert_int_equal(*guest_reach(GMEM_CHUNK + 9, false), 7);
	*guest_reach(GMEM_CHUNK + 9, true) = 8;
	assert_int_equal(*guest_reach(GMEM_CHUNK + 9, false), 8);
	assert_int_equal(*guest_reach(GMEM_CHUNK + 10, false), 7);
	assert_int_equal(gmem_read(b, gpa(GMEM_CHUNK + 9), &v, 1), OK);
	assert_int_equal(v, 7);
	assert_int_equal(gmem_write(b, gpa(GMEM_CHUNK + 10), "x", 1), OK);
	assert_int_equal(*guest_reach(GMEM_CHUNK + 10, false), 7);
	assert_int_equal(*(uint8_t *)phys_to_virt(frame), 7);
	gmem_totals(&backed, &promised);
	assert_int_equal(backed, 2 * GMEM_CHUNK);
	assert_int_equal(promised, 0);
	assert_int_equal(gmem_save_size(a), GMEM_CHUNK);
	gmem_detach(a);
	gmem_detach(b);
	gmem_reset(b); /* gives back its own, and not what is shared */
	assert_int_equal(gmem_read(b, gpa(GMEM_CHUNK), &v, 1), OK);
	assert_int_equal(v, 0);
	gmem_destroy(b);
	npt_destroy(&b->npt);
	fake_vm_free(b);
	assert_int_equal(*guest_reach(GMEM_CHUNK + 9, false), 8);
	free_vm();
	frames_free(frame, CHUNK_ORDER);
}

#define FOR_FORMAT(fn, i)                                                                          \
	{                                                                                          \
#fn "/" #i, fn, NULL, NULL, (void *)(uintptr_t)&formats[i]                         \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    FOR_FORMAT(takes_host_memory_when_touched, 0),
	    FOR_FORMAT(pauses_without_host_memory, 0),
	    FOR_FORMAT(promises_no_more_than_there_is, 0),
	    FOR_FORMAT(saves_only_what_changed, 0),
	    FOR_FORMAT(saves_only_what_changed, 1),
	    FOR_FORMAT(notes_what_is_used, 0),
	    FOR_FORMAT(notes_what_is_used, 1),
	    FOR_FORMAT(notes_what_is_used_before_it_stands, 0),
	    FOR_FORMAT(notes_nothing_without_memory, 0),
	    FOR_FORMAT(rewinds_what_was_written, 0),
	    FOR_FORMAT(rewinds_what_was_written, 1),
	    FOR_FORMAT(fetches_what_is_touched, 0),
	    FOR_FORMAT(a_reset_leaves_no_base, 0),
	    FOR_FORMAT(a_reset_takes_nothing_more, 0),
	    FOR_FORMAT(shares_until_somebody_writes, 0),
	    FOR_FORMAT(random_walk, 0),
	    FOR_FORMAT(random_walk, 1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
