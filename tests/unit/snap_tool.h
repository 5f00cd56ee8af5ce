/* SPDX-License-Identifier: BSD-2-Clause */
/* Running build/amber-snap as a user does, in a scratch folder, for the tests of it. */
#ifndef AMBER_TESTS_SNAP_TOOL_H
#define AMBER_TESTS_SNAP_TOOL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/fake/fake_store.h"

static char dir[] = "/tmp/amber-snap-XXXXXX"; /* made by mkdtemp() in a test's setup */
static char out[1 << 20];		      /* what the last command printed, on both outputs */

/* Runs a line of bash in our directory, in which 'amber-snap' is the tool; its exit status. */
static int run(const char *line)
{
	static char tool[4096], script[64], command[128];
	size_t n;
	FILE *f;

	if (!tool[0] &&
	    !realpath(getenv("AMBER_SNAP") ? getenv("AMBER_SNAP") : "build/amber-snap", tool))
		fail_msg("build/amber-snap: not built");
	snprintf(script, sizeof(script), "%s/script", dir);
	f = fopen(script, "w");
	assert_non_null(f);
	fprintf(f, "PATH=$PATH:/usr/sbin; cd %s; TOOL=%s; amber-snap() { $TOOL \"$@\"; }\n%s\n",
	    dir, tool, line);
	fclose(f);
	snprintf(command, sizeof(command), "bash %s 2>&1", script);
	f = popen(command, "r");
	assert_non_null(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = '\0';
	return WEXITSTATUS(pclose(f));
}

static void expect(const char *line, int status, const char *text)
{
	int got = run(line);

	if (got != status || (text && !strstr(out, text)))
		print_error("%s: status %d, output: %s\n", line, got, out);
	assert_int_equal(got, status);
	if (text)
		assert_non_null(strstr(out, text));
}

static void write_file(const char *name, const uint8_t *data, size_t n, long at, const char *mode)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, mode);
	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static int teardown(void **state)
{
	return run("rm -rf \"$PWD\"");
}

#endif
