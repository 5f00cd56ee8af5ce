/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's memory and string functions against the host's, over all
 * small sizes, alignments and overlaps. The file is included under other names.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

void *own_memcpy(void *restrict dst, const void *restrict src, size_t n);
void *own_memmove(void *dst, const void *src, size_t n);
void *own_memset(void *dst, int c, size_t n);
int own_memcmp(const void *a, const void *b, size_t n);
void *own_memchr(const void *p, int c, size_t n);
size_t own_strlen(const char *s);
size_t own_strnlen(const char *s, size_t max);
int own_strcmp(const char *a, const char *b);
int own_strncmp(const char *a, const char *b, size_t n);
char *own_strchr(const char *s, int c);
char *own_strrchr(const char *s, int c);

#define memcpy	own_memcpy
#define memmove own_memmove
#define memset	own_memset
#define memcmp	own_memcmp
#define memchr	own_memchr
#define strlen	own_strlen
#define strnlen own_strnlen
#define strcmp	own_strcmp
#define strncmp own_strncmp
#define strchr	own_strchr
#define strrchr own_strrchr
#include "hv/lib/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr
#undef strrchr

enum { ROOM = 256, MAX = 80 };

static uint8_t mine[ROOM], theirs[ROOM], source[ROOM];

static void fill(void)
{
	for (unsigned i = 0; i < ROOM; i++) {
		mine[i] = theirs[i] = (uint8_t)(i * 7 + 1);
		source[i] = (uint8_t)(i * 13 + 5);
	}
}

static void test_copy(void **state)
{
	for (size_t n = 0; n <= MAX; n++)
		for (size_t d = 0; d < 9; d++)
			for (size_t s = 0; s < 9; s++) {
				fill();
				assert_ptr_equal(own_memcpy(mine + d, source + s, n), mine + d);
				memcpy(theirs + d, source + s, n);
				assert_memory_equal(mine, theirs, ROOM);
			}
}

static void test_move(void **state)
{
	for (size_t n = 0; n <= MAX; n++)
		for (size_t d = 0; d < 100; d++) {
			fill();
			assert_ptr_equal(own_memmove(mine + d, mine + 50, n), mine + d);
			memmove(theirs + d, theirs + 50, n);
			assert_memory_equal(mine, theirs, ROOM);
		}
}

static void test_set(void **state)
{
	for (size_t n = 0; n <= MAX; n++)
		for (size_t d = 0; d < 9; d++) {
			fill();
			assert_ptr_equal(own_memset(mine + d, 0x1a5, n), mine + d);
			memset(theirs + d, 0xa5, n);
			assert_memory_equal(mine, theirs, ROOM);
		}
}

static void test_page(void **state)
{
	static uint8_t a[4096], b[4096];

	own_memset(a, 0x5a, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		assert_int_equal(a[i], 0x5a);
	own_memcpy(b, a, sizeof(a));
	assert_int_equal(own_memcmp(a, b, sizeof(a)), 0);
	b[4095]++;
	assert_true(own_memcmp(a, b, sizeof(a)) < 0);
}

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static void test_compare(void **state)
{
	for (size_t n = 1; n <= MAX; n++)
		for (size_t at = 0; at < n; at++) {
			fill();
			mine[at] ^= 0x80;
			assert_int_equal(
			    sign(own_memcmp(mine, theirs, n)), sign(memcmp(mine, theirs, n)));
			assert_int_equal(own_memcmp(mine, theirs, at), 0);
		}
}

static void test_strings(void **state)
{
	static const char s[] = "a/b/c";

	assert_int_equal(own_strlen(s), 5);
	assert_int_equal(own_strlen(""), 0);
	assert_int_equal(own_strnlen(s, 3), 3);
	assert_int_equal(own_strnlen(s, 99), 5);
	assert_ptr_equal(own_strchr(s, '/'), s + 1);
	assert_ptr_equal(own_strrchr(s, '/'), s + 3);
	assert_ptr_equal(own_strchr(s, 0), s + 5);
	assert_ptr_equal(own_strrchr(s, 0), s + 5);
	assert_null(own_strchr(s, 'x'));
	assert_null(own_strrchr(s, 'x'));
	assert_ptr_equal(own_memchr(s, 'c', 5), s + 4);
	assert_null(own_memchr(s, 'c', 4));
	assert_true(own_strcmp("a", "b") < 0);
	assert_true(own_strcmp("\xff", "a") > 0);
	assert_int_equal(own_strcmp("ab", "ab"), 0);
	assert_true(own_strcmp("ab", "a") > 0);
	assert_int_equal(own_strncmp("abc", "abd", 2), 0);
	assert_true(own_strncmp("abc", "abd", 3) < 0);
	assert_int_equal(own_strncmp("a", "a", 100), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_copy),
	    cmocka_unit_test(test_move),
	    cmocka_unit_test(test_set),
	    cmocka_unit_test(test_page),
	    cmocka_unit_test(test_compare),
	    cmocka_unit_test(test_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
