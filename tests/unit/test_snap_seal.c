/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * amber-snap's portable files: what was exported comes back, whatever the options; what was
 * changed, cut or made up is refused, and then nothing has happened. tests/unit/snap_seal.py does
 * the changing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/snap_tool.h"

enum { BLOCKS = 1024, RAM = 600 << 10 };

static char script[4096];

static int setup(void **state)
{
	static uint8_t ram[RAM];
	struct mem_disk d;
	struct errmsg e;
	struct store *s;

	if (!realpath("tests/unit/snap_seal.py", script) || !mkdtemp(dir))
		return 1;
	mem_disk_init(&d, BLOCKS, false);
	fake_ram_fill(ram, sizeof(ram), 8);
	memcpy(ram + 5000, "the guest's own secret", 22);
	assert_int_equal(store_format(&d.io, (const uint8_t *)"store of a tool.", &e), OK);
	assert_int_equal(store_open(&d.io, true, &s, &e), OK);
	assert_int_equal(fake_save(s, "big", 1, ram, sizeof(ram), 0, false, &e), OK);
	store_close(s);
	write_file("store", d.data, (size_t)BLOCKS * STORE_BLOCK, 0, "w");
	mem_disk_free(&d);
	return run("set -e; mkdir tmp; truncate -s 3M target; amber-snap target format --bare\n"
		   "echo 'correct horse battery staple' > words\n"
		   "amber-snap keygen key; amber-snap keygen other\n"
		   "amber-snap store export big plain\n"
		   "amber-snap store export big z --compress\n"
		   "amber-snap store export big k --encrypt --key-file key\n"
		   "amber-snap store export big k2 --encrypt --key-file key\n"
		   "amber-snap store export big zk --compress --encrypt --key-file key\n"
		   "amber-snap store export big zp --compress --encrypt --passphrase-file words");
}

/* One case of the script; what it says if it fails. */
static void spoil(const char *name)
{
	char line[8192];

	snprintf(line, sizeof(line), "TMPDIR=$PWD/tmp python3 %s $TOOL %s", script, name);
	expect(line, 0, NULL);
}

static void test_round_trip(void **state)
{
	expect("set -e; export TMPDIR=$PWD/tmp\n"
	       "truncate -s 16M t; amber-snap t format --bare; amber-snap t import plain --as "
	       "plain; amber-snap t import z --as z\n"
	       "amber-snap t import k --as k --key-file key\n"
	       "amber-snap t import zk --as zk --key-file key\n"
	       "amber-snap t import zp --as zp --passphrase-file words\n"
	       "amber-snap t verify; amber-snap t check; ls tmp",
	    0, "5 snapshots");
	expect("amber-snap store show big > s; for n in plain z k zk zp; do\n"
	       "  amber-snap t show $n | cmp - s || exit 1\n"
	       "  amber-snap --json t list | grep -o \"\\\"name\\\":\\\"$n\\\"[^}]*\" | "
	       "sed 's/.*\"id\"/\"id\"/' >> ids\n"
	       "done; sort -u ids | wc -l",
	    0, "1\n");
	expect("amber-snap --json store export big j --compress", 0, "{\"ok\":true}\n");
}

static void test_nothing_to_see(void **state)
{
	expect("grep -c 'own secret' store plain", 0, "plain:1");
	expect("grep -c 'own secret' k zk zp", 1, "k:0\nzk:0\nzp:0\n");
	expect("grep -c AMBRSTOR k zk zp", 1, "k:0\nzk:0\nzp:0\n");
	expect("cmp k k2", 1, NULL);
	expect("(($(stat -c %s zk) < $(stat -c %s k) / 4))", 0, NULL);
}

static void test_keygen(void **state)
{
	expect("stat -c '%a %s' key", 0, "600 32\n");
	expect("cmp key other", 1, NULL);
	expect("amber-snap keygen key", 1, "error: key: File exists");
	expect("amber-snap --json keygen new", 0, "{\"ok\":true}");
	expect("head -c 33 /dev/zero > long; amber-snap store export big x --encrypt "
	       "--key-file long; s=$?; test ! -e x && exit $s",
	    1, "error: long: not a key file: a key is 32 bytes");
}

static void test_refusals(void **state)
{
	expect("amber-snap store export big k --encrypt --key-file key", 1,
	    "error: k: exists already");
	expect("amber-snap store export big x --key-file key", 2, "want --encrypt");
	expect("amber-snap store export big x --encrypt --key-file key --passphrase-file words", 2,
	    "is enough");
	expect(": > none; amber-snap store export big x --encrypt --passphrase-file none", 1,
	    "error: none: no passphrase");
	expect("head -c 2000 /dev/zero | tr '\\0' a > much; "
	       "amber-snap store export big x --encrypt --passphrase-file much",
	    1, "error: much: a passphrase has at most 1023 bytes");
	expect("TMPDIR=$PWD/nowhere; export TMPDIR; amber-snap store export big x --compress", 1,
	    "nowhere: No such file or directory");
	/* the snapshot is damaged: no half of it */
	expect("cp store bad; at=$(grep -abo 'own secret' bad | cut -d: -f1)\n"
	       "printf X | dd of=bad bs=1 seek=$at conv=notrunc status=none\n"
	       "amber-snap bad export big x --compress; s=$?; test ! -e x && exit $s",
	    1, "checksum wrong");
	expect("amber-snap z list", 1, "error: z: a portable file: only 'import'");
	expect("amber-snap z format --yes", 1, "error: z: a portable file");
	expect("amber-snap target import z --as 'a b'", 1, "letters, digits");
}

#define CASE(name)                                                                                 \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		spoil(#name);                                                                      \
	}
CASE(document)
CASE(flipped)
CASE(truncated)
CASE(frames)
CASE(content)
CASE(argon2)
CASE(wrong_key)
CASE(terminal)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_nothing_to_see),
	    cmocka_unit_test(test_keygen),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_document),
	    cmocka_unit_test(test_flipped),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_frames),
	    cmocka_unit_test(test_content),
	    cmocka_unit_test(test_argon2),
	    cmocka_unit_test(test_wrong_key),
	    cmocka_unit_test(test_terminal),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
