/* SPDX-License-Identifier: BSD-2-Clause */
/* The device's side of a virtqueue, against an obedient driver and against hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/dev/virtio_ring.h"
#include "hv/lib/cursor.h"
#include "tests/unit/fake/fake_virtio.h"

enum { SIZE = 8, DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, DATA = 0x4000, INDIRECT = 0x8000 };
enum { NEXT = 1, WRITE = 2, IND = 4 };

static struct vm *vm;
static struct vring_state st;
static struct vring vr;
static struct vring_chain c;

static int setup(void **state)
{
	vm = fake_vm_new(1, 64 * KIB);
	vring_init(&vr, vm, &st, SIZE);
	st.desc = DESC;
	st.avail = AVAIL;
	st.used = USED;
	vr.event_idx = vr.indirect = true;
	return vring_enable(&vr);
}

static int teardown(void **state)
{
	fake_vm_free(vm);
	return 0;
}

static void w16(uint64_t addr, uint16_t v)
{
	assert_int_equal(gmem_write_u16(vm, gpa(addr), v), OK);
}

static uint16_t r16(uint64_t addr)
{
	uint16_t v;

	assert_int_equal(gmem_read_u16(vm, gpa(addr), &v), OK);
	return v;
}

static void desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	fake_desc_write(vm, DESC, i, addr, len, flags, next);
}

static void avail(uint16_t idx, uint16_t head)
{
	w16(AVAIL + 4 + 2 * ((uint16_t)(idx - 1) % SIZE), head);
	w16(AVAIL + 2, idx);
}

static void hostile(const char *why)
{
	uint16_t last = st.last_avail;
	uint64_t inflight = st.inflight[0];

	assert_int_equal(vring_pop(&vr, &c), ERR_CORRUPT);
	assert_string_equal(vr.error, why);
	/* nothing was taken */
	assert_int_equal(st.last_avail, last);
	assert_int_equal(st.inflight[0], inflight);
}

static void empty_then_chain_then_used(void **state)
{
	uint8_t elem[8];
	bool flag;

	assert_int_equal(vring_pop(&vr, &c), ERR_NOENT);
	desc(2, DATA, 16, NEXT, 5);
	desc(5, DATA + 0x100, 512, NEXT | WRITE, 1);
	desc(1, DATA + 0x400, 1, WRITE, 0);
	avail(1, 2);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(c.head, 2);
	assert_int_equal(c.nread, 1);
	assert_int_equal(c.nwrite, 2);
	assert_int_equal(c.read_len, 16);
	assert_int_equal(c.write_len, 513);
	assert_int_equal(c.seg[1].addr.a, DATA + 0x100);
	assert_int_equal(st.inflight[0], 1 << 2);
	assert_int_equal(vring_pop(&vr, &c), ERR_NOENT);
	assert_int_equal(vring_push(&vr, 2, 513), OK);
	assert_int_equal(st.inflight[0], 0);
	assert_int_equal(r16(USED + 2), 1);
	assert_int_equal(gmem_read(vm, gpa(USED + 4), elem, 8), OK);
	assert_int_equal(get_le32(elem), 2);
	assert_int_equal(get_le32(elem + 4), 513);
	assert_int_equal(vring_wants_interrupt(&vr, 0, &flag), OK);
	assert_true(flag); /* used_event is 0: just crossed */
}

static void indexes_wrap(void **state)
{
	desc(0, DATA, 4, 0, 0);
	for (uint32_t i = 1; i <= 70000; i++) {
		avail((uint16_t)i, 0);
		assert_int_equal(vring_pop(&vr, &c), OK);
		assert_int_equal(vring_push(&vr, 0, 0), OK);
	}
	assert_int_equal(st.used_idx, (uint16_t)70000);
	assert_int_equal(r16(USED + 2), (uint16_t)70000);
}

static void event_index(void **state)
{
	bool flag;

	desc(0, DATA, 4, 0, 0);
	/* asks to be told of the buffer after those taken */
	assert_int_equal(vring_arm(&vr, &flag), OK);
	assert_false(flag);
	assert_int_equal(r16(USED + 4 + 8 * SIZE), 0);
	avail(1, 0);
	assert_int_equal(vring_arm(&vr, &flag), OK);
	assert_true(flag);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(vring_push(&vr, 0, 0), OK);
	assert_int_equal(vring_arm(&vr, &flag), OK);
	assert_int_equal(r16(USED + 4 + 8 * SIZE), 1);
	/* the driver wants the interrupt after the second used entry only */
	w16(AVAIL + 4 + 2 * SIZE, 1);
	assert_int_equal(vring_wants_interrupt(&vr, 0, &flag), OK);
	assert_false(flag);
	avail(2, 0);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(vring_push(&vr, 0, 0), OK);
	assert_int_equal(vring_wants_interrupt(&vr, 1, &flag), OK);
	assert_true(flag);
	assert_int_equal(vring_wants_interrupt(&vr, 2, &flag), OK);
	assert_false(flag);
	/* without event indexes the flag decides */
	vr.event_idx = false;
	assert_int_equal(vring_wants_interrupt(&vr, 1, &flag), OK);
	assert_true(flag);
	w16(AVAIL, 1);
	assert_int_equal(vring_wants_interrupt(&vr, 1, &flag), OK);
	assert_false(flag);
	w16(USED + 4 + 8 * SIZE, 0x7777);
	assert_int_equal(vring_arm(&vr, &flag), OK);
	assert_int_equal(r16(USED + 4 + 8 * SIZE), 0x7777);
}

static void indirect_chain(void **state)
{
	fake_desc_write(vm, INDIRECT, 0, DATA, 16, NEXT, 2);
	fake_desc_write(vm, INDIRECT, 2, DATA + 64, 0, NEXT, 1); /* empty: left out */
	fake_desc_write(vm, INDIRECT, 1, DATA + 32, 8, WRITE, 0);
	desc(0, DATA + 128, 3, NEXT, 1); /* a direct one before it is allowed */
	desc(1, INDIRECT, 48, IND, 0);
	avail(1, 0);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(c.nread, 2);
	assert_int_equal(c.nwrite, 1);
	assert_int_equal(c.read_len, 19);
	/* what was read does not change behind the device's back */
	fake_desc_write(vm, INDIRECT, 0, 0xffffffff0000, 0xffffffff, 0, 0);
	assert_int_equal(c.seg[1].addr.a, DATA);
}

static void full_length_chains(void **state)
{
	for (unsigned i = 0; i < SIZE; i++)
		fake_desc_write(vm, INDIRECT, i, DATA + i, 1, NEXT, (uint16_t)(i + 1));
	fake_desc_write(vm, INDIRECT, SIZE - 1, DATA, 1, 0, 0);
	desc(0, INDIRECT, 16 * SIZE, IND, 0);
	avail(1, 0);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(c.nread, SIZE);
	/* one more is too much */
	fake_desc_write(vm, INDIRECT, SIZE - 1, DATA, 1, NEXT, SIZE);
	fake_desc_write(vm, INDIRECT, SIZE, DATA, 1, 0, 0);
	desc(1, INDIRECT, 16 * (SIZE + 1), IND, 0);
	avail(2, 1);
	hostile("a chain longer than the queue");
}

static void gather_and_scatter(void **state)
{
	uint8_t buf[8] = "abcdefg";
	uint8_t out[8];

	desc(0, DATA, 3, NEXT, 1);
	desc(1, DATA + 0x100, 5, NEXT, 2);
	desc(2, DATA + 0x200, 2, NEXT | WRITE, 3);
	desc(3, DATA + 0x300, 4, WRITE, 0);
	avail(1, 0);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(gmem_write(vm, gpa(DATA), "0123456", 3), OK);
	assert_int_equal(gmem_write(vm, gpa(DATA + 0x100), "34567", 5), OK);
	assert_int_equal(vring_gather(&vr, &c, 2, out, 4), OK);
	assert_memory_equal(out, "2345", 4);
	assert_int_equal(vring_gather(&vr, &c, 4, out, 5), ERR_RANGE);
	assert_int_equal(vring_gather(&vr, &c, 100, out, 1), ERR_RANGE);
	assert_int_equal(vring_scatter(&vr, &c, 1, buf, 4), OK);
	assert_int_equal(gmem_read(vm, gpa(DATA + 0x300), out, 3), OK);
	assert_memory_equal(out, "bcd", 3);
	assert_int_equal(vring_scatter(&vr, &c, 0, buf, 7), ERR_RANGE);
	c.seg[2].addr = gpa(1 << 20);
	assert_int_equal(vring_scatter(&vr, &c, 0, buf, 1), ERR_FAULT);
}

static void hostile_rings(void **state)
{
	w16(AVAIL + 2, SIZE + 1);
	hostile("an available index ahead by more than the queue's size");
	w16(AVAIL + 2, 0xffff);
	hostile("an available index ahead by more than the queue's size");
	avail(1, SIZE);
	hostile("a head beyond the descriptor table");
	desc(0, DATA, 4, NEXT, 0); /* a loop of one */
	avail(1, 0);
	hostile("a chain longer than the queue");
	desc(0, DATA, 0, NEXT, 1); /* a loop of empty ones */
	desc(1, DATA, 0, NEXT, 0);
	hostile("a chain longer than the queue");
	desc(0, DATA, 4, NEXT, SIZE);
	hostile("a descriptor index beyond the table");
	desc(0, DATA, 4, NEXT | WRITE, 1);
	desc(1, DATA, 4, 0, 0);
	hostile("a readable buffer after a writable one");
	desc(0, UINT64_MAX - 2, 4, 0, 0);
	hostile("a buffer whose address overflows");
	st.desc = 64 * KIB - 16;
	desc(0, DATA, 4, 0, 0);
	fake_desc_write(vm, st.desc, 0, DATA, 4, NEXT, 1);
	hostile("a descriptor that is not in RAM");
	st.desc = DESC;
	fake_of(vm)->gmem_fail_start = AVAIL;
	fake_of(vm)->gmem_fail_len = 64;
	hostile("an available ring that is not in RAM");
}

static void hostile_indirect(void **state)
{
	avail(1, 0);
	desc(0, INDIRECT, 32, IND | NEXT, 1);
	hostile("an indirect descriptor with a next one");
	desc(0, INDIRECT, 0, IND, 1);
	hostile("an indirect table of impossible size or place");
	desc(0, INDIRECT, 24, IND, 1);
	hostile("an indirect table of impossible size or place");
	desc(0, UINT64_MAX - 15, 32, IND, 1);
	hostile("an indirect table of impossible size or place");
	desc(0, INDIRECT, 16, IND, 0);
	fake_desc_write(vm, INDIRECT, 0, INDIRECT, 16, IND, 0);
	hostile("an indirect table in an indirect table");
	fake_desc_write(vm, INDIRECT, 0, DATA, 1, NEXT, 1);
	hostile("a descriptor index beyond the table");
	desc(0, INDIRECT, 0xfffffff0, IND, 0); /* huge, and looping */
	fake_desc_write(vm, INDIRECT, 1, DATA, 1, NEXT, 0);
	hostile("a chain longer than the queue");
	desc(0, 1 << 20, 16, IND, 0);
	hostile("a descriptor that is not in RAM");
	vr.indirect = false;
	hostile("an indirect descriptor that was not negotiated");
}

static void head_made_available_twice(void **state)
{
	desc(0, DATA, 4, 0, 0);
	avail(1, 0);
	assert_int_equal(vring_pop(&vr, &c), OK);
	avail(2, 0);
	hostile("a head made available twice");
}

static void used_ring_gone(void **state)
{
	bool flag;

	desc(0, DATA, 4, 0, 0);
	avail(1, 0);
	assert_int_equal(vring_pop(&vr, &c), OK);
	fake_of(vm)->gmem_fail_start = USED + 2;
	fake_of(vm)->gmem_fail_len = 1;
	assert_int_equal(vring_push(&vr, 0, 0), ERR_CORRUPT);
	fake_of(vm)->gmem_fail_start = USED + 4;
	assert_int_equal(vring_push(&vr, 0, 0), ERR_CORRUPT);
	fake_of(vm)->gmem_fail_start = USED + 4 + 8 * SIZE;
	assert_int_equal(vring_arm(&vr, &flag), ERR_CORRUPT);
	fake_of(vm)->gmem_fail_start = AVAIL;
	fake_of(vm)->gmem_fail_len = 64;
	assert_int_equal(vring_wants_interrupt(&vr, 5, &flag), ERR_CORRUPT);
}

static void enable_needs_a_sane_place(void **state)
{
	static const struct {
		uint64_t desc, avail, used;
	} bad[] = {
	    {DESC + 8, AVAIL, USED},
	    {DESC, AVAIL + 1, USED},
	    {DESC, AVAIL, USED + 2},
	    {UINT64_MAX - 15, AVAIL, USED},
	    {DESC, UINT64_MAX - 7, USED},
	    {DESC, AVAIL, UINT64_MAX - 7},
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		vring_reset(&vr);
		st.desc = bad[i].desc;
		st.avail = bad[i].avail;
		st.used = bad[i].used;
		assert_int_equal(vring_enable(&vr), ERR_INVAL);
		assert_int_equal(st.enabled, 0);
	}
}

static void saved_state(void **state)
{
	struct vring_state good, bad;
	struct errmsg e = {""};

	desc(0, DATA, 4, 0, 0);
	desc(3, DATA, 4, 0, 0);
	avail(1, 0);
	avail(2, 3);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(vring_pop(&vr, &c), OK);
	assert_int_equal(vring_push(&vr, 0, 0), OK);
	good = st;
	assert_int_equal(vring_check(&vr, &good, "queue0", &e), OK);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		assert_int_not_equal(vring_check(&vr, &bad, "queue0", &e), OK);                    \
		assert_non_null(strstr(e.text, "queue0"));                                         \
	} while (0)
	REFUSED(bad.size = 0);
	REFUSED(bad.size = 6);
	REFUSED(bad.size = 16);
	REFUSED(bad.desc = UINT64_MAX - 15);
	REFUSED(bad.used = USED + 1);
	REFUSED(bad.last_avail++);
	REFUSED(bad.used_idx++);
	REFUSED(bad.inflight[0] = 0);
	REFUSED(bad.inflight[0] = 1 << SIZE);
	REFUSED(bad.inflight[3] = 1ull << 63);
	REFUSED(bad.enabled = 0);
	/* the chain in flight can be fetched again */
	vring_loaded(&vr);
	assert_int_equal(vring_fetch(&vr, 3, &c), OK);
	assert_int_equal(c.read_len, 4);
	assert_int_equal(vring_pop(&vr, &c), ERR_NOENT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(empty_then_chain_then_used),
	    T(indexes_wrap),
	    T(event_index),
	    T(indirect_chain),
	    T(full_length_chains),
	    T(gather_and_scatter),
	    T(hostile_rings),
	    T(hostile_indirect),
	    T(head_made_available_twice),
	    T(used_ring_gone),
	    T(enable_needs_a_sane_place),
	    T(saved_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
