/* SPDX-License-Identifier: BSD-2-Clause */
/* The command table: parsing, answers, questions, completion and help, over made-up commands. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "hv/console/help.c"
#include "tests/unit/fake/fake.h"

/* --- commands ------------------------------------------------------------------------ */

static char seen[256]; /* what the last handler was given */

static const char *or_none(const char *s)
{
	return s ? s : "-";
}

static int list_run(struct console_call *c)
{
	str_format(seen, sizeof(seen), "list");
	json_array(call_json(c), "vms");
	json_close(call_json(c));
	call_print(c, "none\n");
	return OK;
}
CONSOLE_COMMAND(list_command) = {.words = "vm list", .help = "list them", .run = list_run};

static int start_run(struct console_call *c)
{
	str_format(seen, sizeof(seen), "start %s %s clock=%s force=%s n=%lu",
	    or_none(call_arg(c, "NAME")), or_none(call_arg(c, "COUNT")),
	    or_none(call_arg(c, "--clock")), or_none(call_arg(c, "--force")),
	    call_number(c, "COUNT", 99));
	return OK;
}
static void complete_name(struct candidates *c)
{
	candidates_add(c, "debian");
	candidates_add(c, "web");
}
static const char *const clocks[] = {"freeze", "advance", NULL};
static const struct command_arg start_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the vm", .complete = complete_name),
    COMMAND_ARG("COUNT", ARG_OPTIONAL, "how many", .number = true),
    COMMAND_ARG("--clock", ARG_VALUE, "what the clock does", .choices = clocks),
    COMMAND_ARG("--force", ARG_FLAG, "with force"),
    COMMAND_ARGS_END,
};
CONSOLE_COMMAND(start_command) = {
    .words = "vm start", .help = "start one", .args = start_args, .run = start_run};

static int destroy_run(struct console_call *c)
{
	if (!call_confirm(c, "destroy vm '%s'", call_arg(c, "NAME")))
		return ERR_CANCELLED;
	str_format(seen, sizeof(seen), "destroyed");
	return OK;
}
static const struct command_arg destroy_args[] = {
    COMMAND_ARG("NAME", ARG_REQUIRED, "the vm"), COMMAND_ARGS_END};
CONSOLE_COMMAND(destroy_command) = {.words = "vm destroy",
    .help = "destroy one",
    .args = destroy_args,
    .flags = CMD_ASKS,
    .run = destroy_run};

static int wait_run(struct console_call *c)
{
	return call_cancelled(c) ? ERR_CANCELLED : OK;
}
CONSOLE_COMMAND(wait_command) = {.words = "wait", .help = "wait for Ctrl-C", .run = wait_run};

/* --- driving -------------------------------------------------------------------------- */

static char said[16384];
static const char *input;
static bool cancel;

static void say(void *ctx, const char *text, size_t len)
{
	assert_true(strlen(said) + len < sizeof(said));
	strncat(said, text, len);
}

static int read_input(void *ctx)
{
	return *input ? (uint8_t)*input++ : -1;
}

static bool is_cancelled(void *ctx)
{
	return cancel;
}

static const struct console_io io = {say, read_input, is_cancelled, NULL};

static int run(const char *line)
{
	said[0] = seen[0] = 0;
	return console_execute(line, &io);
}

static void fails(const char *line, const char *message)
{
	char expect[300];

	assert_int_not_equal(run(line), OK);
	str_format(expect, sizeof(expect), "error: %s\n", message);
	assert_string_equal(said, expect);
	assert_string_equal(seen, "");
}

static int setup(void **state)
{
	input = "";
	cancel = false;
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(fake_heap_outstanding(), 0);
	return 0;
}

static void test_runs(void **state)
{
	assert_int_equal(run("vm list"), OK);
	assert_string_equal(said, "none\n");
	assert_int_equal(run("  vm   list  "), OK);
	assert_string_equal(seen, "list");
	assert_int_equal(run(""), OK);
	assert_int_equal(run("   "), OK);
	assert_string_equal(said, "");
}

static void test_json(void **state)
{
	run("vm list --json");
	assert_string_equal(said, "{\"ok\":true,\"vms\":[]}\n");
	run("--json vm list"); /* the command comes first */
	assert_string_equal(
	    said, "{\"ok\":false,\"error\":\"no command '--json'; 'help' lists them\"}\n");
	run("vm lost --json");
	assert_string_equal(said,
	    "{\"ok\":false,\"error\":\"no command 'vm lost'; there are: destroy "
	    "list start \"}\n");
	run("vm start \"x --json");
	assert_string_equal(said, "{\"ok\":false,\"error\":\"a quotation mark is not closed\"}\n");
}

static void test_arguments(void **state)
{
	run("vm start web");
	assert_string_equal(seen, "start web - clock=- force=- n=99");
	run("vm start --force web --clock=advance 2K");
	assert_string_equal(seen, "start web 2K clock=advance force= n=2048");
	run("vm start \"a b\"");
	assert_string_equal(seen, "start a b - clock=- force=- n=99");
	run("vm start we\"b c\"d");
	assert_string_equal(seen, "start web cd - clock=- force=- n=99");
}

static void test_mistakes(void **state)
{
	fails("vn list", "no command 'vn'; 'help' lists them");
	fails("vm", "'vm' needs one of: destroy list start ");
	fails("vm lst", "no command 'vm lst'; there are: destroy list start ");
	fails("vm start", "'vm start' needs NAME");
	fails("vm start a 1 b", "'vm start' does not take 'b'");
	fails("vm list web", "'vm list' does not take 'web'");
	fails("vm start a x", "COUNT: 'x' is not a number");
	fails("vm start a --clock=slow", "--clock: 'slow' is not one of: freeze, advance");
	fails("vm start a --clock", "--clock needs a value: --clock=...");
	fails("vm start a --clock=", "--clock: empty");
	fails("vm start a --force=1", "--force takes no value");
	fails("vm start a --force --force", "--force is given twice");
	fails("vm start a --fast", "no option '--fast' in 'vm start'");
	fails("vm start a --yes", "no option '--yes' in 'vm start'");
	fails("vm start \"\"", "NAME: empty");
	fails("vm start \"a", "a quotation mark is not closed");
	fails("w w w w w w w w w w w w w w w w w w w w w w w w w", "more than 24 words");
}

static void test_long_line(void **state)
{
	char line[2000];

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	fails(line, "line longer than 511 characters");
}

static void test_questions(void **state)
{
	input = "y\r";
	assert_int_equal(run("vm destroy web"), OK);
	assert_string_equal(said, "destroy vm 'web'? [y/N] y\n");
	assert_string_equal(seen, "destroyed");
	input = "no\r";
	assert_int_equal(run("vm destroy web"), ERR_CANCELLED);
	assert_string_equal(
	    said, "destroy vm 'web'? [y/N] no\nerror: destroy vm 'web': not confirmed\n");
	assert_string_equal(seen, "");
	input = "\r";
	assert_int_equal(run("vm destroy web"), ERR_CANCELLED);
	input = "y\x03";
	assert_int_equal(run("vm destroy web"), ERR_CANCELLED);
	input = "";
	assert_int_equal(run("vm destroy web"), ERR_CANCELLED);
	input = "y\r";
	assert_int_equal(run("vm destroy web --yes"), OK);
	assert_string_equal(said, "");
	assert_int_equal(run("vm destroy web --json"), ERR_CANCELLED);
	assert_string_equal(said, "{\"ok\":false,\"error\":\"destroy vm 'web': needs --yes\"}\n");
	assert_int_equal(*input, 'y'); /* nobody was asked */
	assert_int_equal(run("vm destroy web --json --yes"), OK);
	assert_string_equal(said, "{\"ok\":true}\n");
}

/* A handler that only returns an error is still one that says why. */
static void test_cancel(void **state)
{
	assert_int_equal(run("wait"), OK);
	cancel = true;
	assert_int_equal(run("wait"), ERR_CANCELLED);
	assert_string_equal(said, "error: wait: cancelled\n");
}

static void completes(const char *text, const char *list)
{
	static struct line l;
	static struct candidates c;

	memset(&l, 0, sizeof(l));
	str_copy(l.text, sizeof(l.text), text);
	l.len = l.cursor = strlen(text);
	candidates_begin(&c, &l);
	console_complete(text, &c);
	assert_string_equal(c.list, list);
}

static void test_completion(void **state)
{
	completes("v", "vm ");
	completes("vm ", "destroy list start ");
	completes("vm l", "list ");
	completes("vm start ", "debian web ");
	completes("vm start d", "debian ");
	completes("vm start d ", "");
	completes("vm start --", "--clock= --force --json ");
	completes("vm start --c", "--clock= ");
	completes("vm start --clock=", "--clock=advance --clock=freeze ");
	completes("vm start --clock=a", "--clock=advance ");
	completes("vm start --force ", "debian web ");
	completes("vm destroy --", "--json --yes ");
	completes("nothing ", "");
	completes("nothing \"", "");
}

static void test_help(void **state)
{
	assert_int_equal(run("help"), OK);
	assert_non_null(strstr(said, "vm list"));
	assert_true(strstr(said, "vm destroy") < strstr(said, "vm list"));
	assert_int_equal(run("help vm"), OK);
	assert_null(strstr(said, "wait"));
	assert_int_equal(run("help vm start"), OK);
	assert_non_null(strstr(said, "vm start NAME [COUNT] [--clock=freeze|advance] [--force]\n"));
	assert_non_null(strstr(said, "what the clock does"));
	fails("help v", "no command 'v'; 'help' lists them");
	run("help vm list --json");
	assert_string_equal(said, "{\"ok\":true,\"commands\":[{\"command\":\"vm list\",\"usage\":"
				  "\"vm list\",\"help\":\"list them\"}]}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_runs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_json, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_long_line, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_questions, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_completion, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_help, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
