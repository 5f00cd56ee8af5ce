/* SPDX-License-Identifier: BSD-2-Clause */
/* The state codec: what is written is what is read, and no tree can fool the reader (I3, I5, I6).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/state.h"
#include "hv/mm/mm.h"
#include "tests/unit/fake/fake.h"

struct thing {
	uint8_t small;
	uint16_t half;
	uint32_t word;
	uint64_t big;
	bool flag;
	uint8_t raw[5];
	uint16_t halves[3];
	uint64_t bigs[2];
	uint32_t newer;
};

static const struct state_field thing_fields[] = {
    STATE_INT(struct thing, small, "small", 0x7f, "a byte"),
    STATE_INT(struct thing, half, "half", STATE_ANY, "two bytes"),
    STATE_INT(struct thing, word, "word", STATE_ANY, "four bytes"),
    STATE_INT(struct thing, big, "big", STATE_ANY, "eight bytes"),
    STATE_INT(struct thing, flag, "flag", 1, "a flag"),
    STATE_ARRAY(struct thing, raw, "raw", 5, STATE_ANY, "bytes"),
    STATE_ARRAY(struct thing, halves, "halves", 3, 0x1ff, "an array"),
    STATE_ARRAY(struct thing, bigs, "bigs", 2, STATE_ANY, "an array"),
    {.name = "newer",
	.offset = offsetof(struct thing, newer),
	.width = 4,
	.count = 1,
	.max = 100,
	.flags = STATE_OPTIONAL},
    STATE_END,
};

static const struct thing sample = {
    .small = 0x12,
    .half = 0x3456,
    .word = 0x789abcde,
    .big = 0x0123456789abcdef,
    .flag = true,
    .raw = {1, 2, 3, 4, 5},
    .halves = {0x1ff, 2, 3},
    .bigs = {UINT64_MAX, 1},
    .newer = 77,
};

static const char *const also[] = {"compatible", "version", NULL};

/* A tree with two instances of the thing, as a machine with two devices of one model has them. */
static void *encode_sample(size_t *size)
{
	struct state_writer w;
	struct errmsg e = {.text = ""};
	void *fdt;

	sw_init(&w, heap_grow);
	sw_string(&w, "format", "test");
	sw_begin(&w, "thing@0");
	sw_string(&w, "compatible", "amber,thing");
	sw_u32(&w, "version", 3);
	sw_fields(&w, thing_fields, &sample);
	sw_end(&w);
	sw_begin(&w, "thing@1");
	sw_u64(&w, "stamp", 0x1122334455667788);
	sw_bytes(&w, "empty", NULL, 0);
	sw_begin(&w, "inner");
	sw_bytes(&w, "three", "abc", 3);
	sw_end(&w);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, size, &e), OK);
	heap_free(w.buf);
	assert_int_equal(sr_check_tree(fdt, *size, &e), OK);
	return fdt;
}

static void test_round_trip(void **state)
{
	struct thing t = {0};
	struct errmsg e = {.text = ""};
	struct state_node n;
	uint32_t v32;
	uint64_t v64;
	const char *s;
	const void *p;
	size_t size, len;
	void *fdt = encode_sample(&size);

	assert_int_equal(sr_find(fdt, "thing@0", &n), OK);
	assert_int_equal(sr_fields(&n, thing_fields, also, &t, &e), OK);
	assert_int_equal(t.small, 0x12);
	assert_int_equal(t.half, 0x3456);
	assert_int_equal(t.word, 0x789abcde);
	assert_int_equal(t.big, 0x0123456789abcdef);
	assert_true(t.flag);
	assert_memory_equal(t.raw, sample.raw, 5);
	assert_memory_equal(t.halves, sample.halves, sizeof(t.halves));
	assert_memory_equal(t.bigs, sample.bigs, sizeof(t.bigs));
	assert_int_equal(t.newer, 77);
	assert_int_equal(sr_u32(&n, "version", &v32, &e), OK);
	assert_int_equal(v32, 3);
	assert_int_equal(sr_string(&n, "compatible", &s, &e), OK);
	assert_string_equal(s, "amber,thing");

	assert_int_equal(sr_find(fdt, "/thing@1/inner", &n), OK);
	assert_int_equal(sr_bytes(&n, "three", &p, &len, &e), OK);
	assert_int_equal(len, 3);
	assert_memory_equal(p, "abc", 3);
	assert_int_equal(sr_find(fdt, "/thing@1", &n), OK);
	assert_int_equal(sr_u64(&n, "stamp", &v64, &e), OK);
	assert_true(v64 == 0x1122334455667788);
	assert_int_equal(sr_bytes(&n, "empty", &p, &len, &e), OK);
	assert_int_equal(len, 0);
	assert_int_equal(sr_find(fdt, "/", &n), OK);
	assert_int_equal(sr_string(&n, "format", &s, &e), OK);
	heap_free(fdt);
}

/* The bytes on disk are the documented ones: big-endian, exact lengths. */
static void test_encoding(void **state)
{
	size_t size;
	int len;
	void *fdt = encode_sample(&size);
	int node = fdt_path_offset(fdt, "/thing@0");

	assert_memory_equal(fdt_getprop(fdt, node, "half", &len), "\x34\x56", 2);
	assert_int_equal(len, 2);
	assert_memory_equal(
	    fdt_getprop(fdt, node, "big", &len), "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
	assert_memory_equal(fdt_getprop(fdt, node, "halves", &len), "\x01\xff\x00\x02\x00\x03", 6);
	assert_int_equal(len, 6);
	fdt_getprop(fdt, node, "raw", &len);
	assert_int_equal(len, 5);
	heap_free(fdt);
}

static void test_deterministic(void **state)
{
	size_t a_size, b_size;
	void *a = encode_sample(&a_size), *b = encode_sample(&b_size);

	assert_int_equal(a_size, b_size);
	assert_memory_equal(a, b, a_size);
	heap_free(a);
	heap_free(b);
}

/* No lookup guesses: "thing" is not "thing@0". */
static void test_find_is_exact(void **state)
{
	struct state_node n;
	size_t size;
	void *fdt = encode_sample(&size);

	assert_int_equal(sr_find(fdt, "thing", &n), ERR_NOENT);
	assert_int_equal(sr_find(fdt, "thing@1/inne", &n), ERR_NOENT);
	assert_int_equal(sr_find(fdt, "thing@2", &n), ERR_NOENT);
	heap_free(fdt);
}

/* Decodes a record of one node built by the caller and expects this message. */
static void expect_refusal(void (*build)(struct state_writer *), int want, const char *text)
{
	struct state_writer w;
	struct thing t = {0};
	struct errmsg e = {.text = ""};
	struct state_node n;
	size_t size;
	void *fdt;

	sw_init(&w, heap_grow);
	sw_begin(&w, "thing");
	sw_begin(&w, "0");
	build(&w);
	sw_end(&w);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &fdt, &size, &e), OK);
	assert_int_equal(sr_check_tree(fdt, size, &e), OK);
	assert_int_equal(sr_find(fdt, "/thing/0", &n), OK);
	assert_int_equal(sr_fields(&n, thing_fields, also, &t, &e), want);
	assert_string_equal(e.text, text);
	heap_free(fdt);
	heap_free(w.buf);
}

static void build_from(struct state_writer *w, const struct thing *t, const char *drop)
{
	struct state_field fields[ARRAY_LEN(thing_fields)];
	unsigned n = 0;

	for (const struct state_field *f = thing_fields; f->name; f++)
		if (!drop || strcmp(f->name, drop))
			fields[n++] = *f;
	fields[n] = (struct state_field)STATE_END;
	sw_fields(w, fields, t);
}

static void build_missing(struct state_writer *w)
{
	build_from(w, &sample, "word");
}
static void build_above(struct state_writer *w)
{
	struct thing t = sample;

	t.small = 0x80;
	build_from(w, &t, NULL);
}
static void build_array_above(struct state_writer *w)
{
	struct thing t = sample;

	t.halves[2] = 0x200;
	build_from(w, &t, NULL);
}
static void build_length(struct state_writer *w)
{
	build_from(w, &sample, "half");
	sw_u32(w, "half", 1);
}
static void build_unknown(struct state_writer *w)
{
	build_from(w, &sample, NULL);
	sw_u32(w, "surprise", 1);
}

static void test_refusals(void **state)
{
	expect_refusal(build_missing, ERR_NOENT, "record thing/0: word: missing");
	expect_refusal(build_above, ERR_CORRUPT, "record thing/0: small: value 0x80 above 0x7f");
	expect_refusal(
	    build_array_above, ERR_CORRUPT, "record thing/0: halves[2]: value 0x200 above 0x1ff");
	expect_refusal(build_length, ERR_CORRUPT, "record thing/0: half: 4 bytes instead of 2");
	expect_refusal(build_unknown, ERR_CORRUPT, "record thing/0: unknown property surprise");
}

/* A field newer than the record keeps what the struct had. */
static void test_optional(void **state)
{
	struct state_writer w;
	struct thing t = {.newer = 5};
	struct state_node n;
	size_t size;
	void *fdt;

	sw_init(&w, heap_grow);
	build_from(&w, &sample, "newer");
	assert_int_equal(sw_encode(&w, &fdt, &size, NULL), OK);
	assert_int_equal(sr_find(fdt, "", &n), OK);
	assert_int_equal(sr_fields(&n, thing_fields, NULL, &t, NULL), OK);
	assert_int_equal(t.newer, 5);
	heap_free(fdt);
	heap_free(w.buf);
}

static int encode_error(void (*build)(struct state_writer *), struct errmsg *e)
{
	struct state_writer w;
	size_t size;
	void *fdt;
	int err;

	sw_init(&w, heap_grow);
	build(&w);
	err = sw_encode(&w, &fdt, &size, e);
	heap_free(fdt);
	heap_free(w.buf);
	return err;
}

static void build_open(struct state_writer *w)
{
	sw_begin(w, "a");
}
static void build_close(struct state_writer *w)
{
	sw_end(w);
}
static void build_late_property(struct state_writer *w)
{
	sw_begin(w, "a");
	sw_end(w);
	sw_u32(w, "x", 1);
}
static void build_long_name(struct state_writer *w)
{
	sw_u32(w, "a234567890b234567890c234567890d2", 1);
}
static void build_bad_name(struct state_writer *w)
{
	sw_begin(w, "a/b");
}
static void build_deep(struct state_writer *w)
{
	for (int i = 0; i < 9; i++)
		sw_begin(w, "n");
	for (int i = 0; i < 9; i++)
		sw_end(w);
}
static void build_huge(struct state_writer *w)
{
	static uint8_t chunk[1 << 20];

	for (int i = 0; i < 17; i++)
		sw_bytes(w, "x", chunk, sizeof(chunk));
}

static void test_writer_errors(void **state)
{
	struct errmsg e;

	assert_int_equal(encode_error(build_open, &e), ERR_STATE);
	assert_int_equal(encode_error(build_close, &e), ERR_STATE);
	assert_int_equal(encode_error(build_late_property, &e), ERR_STATE);
	assert_string_equal(e.text, "state tree: property x follows a node");
	assert_int_equal(encode_error(build_long_name, &e), ERR_INVAL);
	assert_int_equal(encode_error(build_bad_name, &e), ERR_INVAL);
	assert_int_equal(encode_error(build_deep, &e), ERR_RANGE);
	assert_int_equal(encode_error(build_huge, &e), ERR_RANGE);
}

/* Whichever allocation fails: an error, nothing lost, nothing leaked. */
static void test_out_of_memory(void **state)
{
	for (int i = 0; i < 3; i++) {
		int before = fake_heap_outstanding();
		struct state_writer w;
		size_t size;
		void *fdt;

		fake_heap_fail_after(i);
		sw_init(&w, heap_grow);
		for (int k = 0; k < 200; k++) {
			sw_begin(&w, "a-node-with-a-name");
			sw_u64(&w, "value", 1);
			sw_end(&w);
		}
		assert_int_equal(sw_encode(&w, &fdt, &size, NULL), ERR_NOMEM);
		fake_heap_fail_after(-1);
		heap_free(w.buf);
		assert_int_equal(fake_heap_outstanding(), before);
	}
}

static void test_subtree_copy(void **state)
{
	struct state_writer w;
	struct state_node n;
	struct errmsg e = {.text = ""};
	size_t size, copy_size;
	void *copy, *fdt = encode_sample(&size);

	/* the whole tree */
	sw_init(&w, heap_grow);
	sw_fdt_subtree(&w, fdt, 0);
	assert_int_equal(sw_encode(&w, &copy, &copy_size, &e), OK);
	assert_int_equal(copy_size, size);
	assert_memory_equal(copy, fdt, size);
	heap_free(copy);
	heap_free(w.buf);

	/* one node below another */
	assert_int_equal(sr_find(fdt, "thing@1", &n), OK);
	sw_init(&w, heap_grow);
	sw_begin(&w, "below");
	sw_fdt_subtree(&w, fdt, n.node);
	sw_end(&w);
	assert_int_equal(sw_encode(&w, &copy, &copy_size, &e), OK);
	assert_int_equal(sr_check_tree(copy, copy_size, &e), OK);
	assert_int_equal(sr_find(copy, "below/thing@1/inner", &n), OK);
	assert_int_equal(sr_find(copy, "below/thing@0", &n), ERR_NOENT);
	heap_free(copy);
	heap_free(w.buf);
	heap_free(fdt);
}

static void test_strings(void **state)
{
	struct state_writer w;
	struct state_node n;
	char long_text[258];
	const char *s;
	size_t size;
	void *fdt;

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	sw_init(&w, heap_grow);
	sw_bytes(&w, "open", "abc", 3);
	sw_bytes(&w, "two", "a\0b", 4);
	sw_bytes(&w, "ctl", "a\nb", 4);
	sw_bytes(&w, "none", "", 0);
	sw_string(&w, "empty", "");
	sw_string(&w, "long", long_text);
	sw_string(&w, "fits", long_text + 2);
	assert_int_equal(sw_encode(&w, &fdt, &size, NULL), OK);
	assert_int_equal(sr_find(fdt, "/", &n), OK);
	assert_int_equal(sr_string(&n, "open", &s, NULL), ERR_CORRUPT);
	assert_int_equal(sr_string(&n, "two", &s, NULL), ERR_CORRUPT);
	assert_int_equal(sr_string(&n, "ctl", &s, NULL), ERR_CORRUPT);
	assert_int_equal(sr_string(&n, "none", &s, NULL), ERR_CORRUPT);
	assert_int_equal(sr_string(&n, "long", &s, NULL), ERR_CORRUPT);
	assert_int_equal(sr_string(&n, "fits", &s, NULL), OK);
	assert_int_equal(sr_string(&n, "empty", &s, NULL), OK);
	assert_string_equal(s, "");
	assert_int_equal(sr_string(&n, "absent", &s, NULL), ERR_NOENT);
	heap_free(fdt);
	heap_free(w.buf);
}

/* Duplicates, which libfdt's own check lets pass. */
static void test_duplicates(void **state)
{
	uint8_t buf[512] __attribute__((aligned(8)));
	struct errmsg e;

	fdt_create(buf, sizeof(buf));
	fdt_finish_reservemap(buf);
	fdt_begin_node(buf, "");
	fdt_begin_node(buf, "a");
	fdt_property_u32(buf, "x", 1);
	fdt_property_u32(buf, "x", 2);
	fdt_end_node(buf);
	fdt_end_node(buf);
	assert_int_equal(fdt_finish(buf), 0);
	assert_int_equal(sr_check_tree(buf, sizeof(buf), &e), ERR_CORRUPT);
	assert_string_equal(e.text, "state tree: node a: duplicate property x");

	fdt_create(buf, sizeof(buf));
	fdt_finish_reservemap(buf);
	fdt_begin_node(buf, "");
	for (int i = 0; i < 2; i++) {
		fdt_begin_node(buf, "a");
		fdt_end_node(buf);
	}
	fdt_end_node(buf);
	assert_int_equal(fdt_finish(buf), 0);
	assert_int_equal(sr_check_tree(buf, sizeof(buf), &e), ERR_CORRUPT);
	assert_string_equal(e.text, "state tree: node /: duplicate node a");
}

/* Every truncation is refused; every flipped bit is refused or harmless to all readers. */
static void test_hostile_trees(void **state)
{
	size_t size;
	uint8_t *fdt = encode_sample(&size), *bad;
	struct thing t;
	struct state_node n;
	struct errmsg e;

	for (size_t cut = 0; cut < size; cut++) {
		bad = malloc(cut + 8);
		memcpy(bad, fdt, cut);
		assert_int_not_equal(sr_check_tree(bad, cut, &e), OK);
		free(bad);
	}
	for (size_t bit = 0; bit < size * 8; bit++) {
		bad = malloc(size);
		memcpy(bad, fdt, size);
		bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (sr_check_tree(bad, size, &e) == OK) {
			struct state_writer w;
			size_t out_size;
			void *out;

			memset(&t, 0, sizeof(t));
			if (sr_find(bad, "/thing@0", &n) == OK)
				(void)sr_fields(&n, thing_fields, also, &t, &e);
			sw_init(&w, heap_grow);
			sw_fdt_subtree(&w, bad, 0);
			(void)sw_encode(&w, &out, &out_size, &e);
			heap_free(out);
			heap_free(w.buf);
		}
		free(bad);
	}
	heap_free(fdt);
}

/* A tree that says it is of an older format is refused, not read by that format's rules. */
static void test_old_versions(void **state)
{
	size_t size;
	void *fdt = encode_sample(&size);
	struct errmsg e;

	for (uint32_t version = 0; version < 17; version++) {
		fdt_set_version(fdt, version);
		fdt_set_last_comp_version(fdt, MIN(version, 16u));
		assert_int_not_equal(sr_check_tree(fdt, size, &e), OK);
	}
	assert_string_equal(e.text, "state tree: device tree version 16");
	heap_free(fdt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_encoding),
	    cmocka_unit_test(test_deterministic),
	    cmocka_unit_test(test_find_is_exact),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_optional),
	    cmocka_unit_test(test_writer_errors),
	    cmocka_unit_test(test_out_of_memory),
	    cmocka_unit_test(test_subtree_copy),
	    cmocka_unit_test(test_strings),
	    cmocka_unit_test(test_duplicates),
	    cmocka_unit_test(test_hostile_trees),
	    cmocka_unit_test(test_old_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
