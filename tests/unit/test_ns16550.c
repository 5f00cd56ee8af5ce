/* SPDX-License-Identifier: BSD-2-Clause */
/* The serial port against the PC16550D datasheet, and what operating systems probe for. */
#include "hv/dev/ns16550.c"

#include "tests/unit/fake/device_test.h"

enum { RBR = 0x3f8, THR = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR };
enum { FCR = IIR };

static const struct config_dev com1 = {
    .kind = CONFIG_UART, .name = "serial0", .model = "amber,ns16550", .uart_index = 0};

static int start(void **state)
{
	device_test_start(1, "amber,ns16550", &com1);
	return 0;
}

static struct chardev *console(void)
{
	return LIST_ENTRY(vm->chardevs.next, struct chardev, link);
}

static void type(const char *s)
{
	assert_int_equal(chardev_write(console(), s, (uint32_t)strlen(s)), strlen(s));
}

static bool line(void)
{
	return fake_of(vm)->ioapic_level[4];
}

static void output_reaches_the_console(void **state)
{
	char buf[8] = "";

	assert_string_equal(console()->name, "serial0");
	out8(THR, 'h');
	out8(THR, 'i');
	assert_int_equal(in8(LSR), 0x60); /* empty again at once */
	assert_int_equal(chardev_read(console(), buf, 8), 2);
	assert_string_equal(buf, "hi");
}

static void divisor_latch(void **state)
{
	out8(LCR, 0x83);
	out8(THR, 0x34);
	out8(IER, 0x12);
	assert_int_equal(in8(RBR), 0x34);
	assert_int_equal(in8(IER), 0x12);
	out8(LCR, 0x03);
	assert_int_equal(in8(IER), 0);
	assert_int_equal(chardev_read(console(), (char[1]){0}, 1), 0); /* nothing was sent */
	assert_int_equal(in8(LCR), 0x03);
}

/* What Linux's 8250 driver does to find out the type. */
static void probing(void **state)
{
	out8(IER, 0);
	assert_int_equal(in8(IER), 0);
	out8(IER, 0x0f);
	assert_int_equal(in8(IER), 0x0f);
	out8(IER, 0);
	out8(MCR, 0x1a); /* loop, RTS and OUT2 */
	assert_int_equal(in8(MSR) & 0xf0, 0x90);
	out8(MCR, 0);
	out8(FCR, 0x01);
	assert_int_equal(in8(IIR) >> 6, 3); /* 16550A */
	out8(FCR, 0);
	assert_int_equal(in8(IIR) >> 6, 0);
	out8(SCR, 0xa5);
	assert_int_equal(in8(SCR), 0xa5);
	out8(IER, 0xff);
	assert_int_equal(in8(IER), 0x0f); /* no sleep bits: not a later chip */
}

/* Enabling the transmit interrupt raises it, reading IIR ends it, enabling anew raises it anew. */
static void thre_interrupt(void **state)
{
	out8(IER, 0x02);
	assert_true(line());
	assert_int_equal(in8(IIR), 0x02);
	assert_false(line());
	assert_int_equal(in8(IIR), 0x01);
	out8(IER, 0x02); /* enabled already */
	assert_int_equal(in8(IIR), 0x01);
	out8(IER, 0x00);
	out8(IER, 0x02);
	assert_int_equal(in8(IIR), 0x02);
	out8(THR, 'x');
	assert_true(line());
	out8(IER, 0x00);
	assert_false(line());
	out8(IER, 0x03);
	type("a");
	assert_int_equal(in8(IIR), 0x04); /* a source of higher priority does not end it */
	in8(RBR);
	assert_int_equal(in8(IIR), 0x02);
}

static void receive_without_fifo(void **state)
{
	out8(IER, 0x01);
	type("abc");
	assert_true(line());
	assert_int_equal(in8(LSR), 0x61);
	assert_int_equal(in8(IIR), 0x04);
	assert_int_equal(chardev_guest_pending(console()), 2); /* the rest waits outside */
	assert_int_equal(in8(RBR), 'a');
	assert_int_equal(in8(RBR), 'b');
	assert_true(line());
	assert_int_equal(in8(RBR), 'c');
	assert_false(line());
	assert_int_equal(in8(LSR), 0x60);
}

static void receive_fifo_trigger(void **state)
{
	out8(FCR, 0x81); /* trigger at 8 */
	out8(IER, 0x01);
	type("1234567");
	assert_false(line());
	type("8");
	assert_true(line());
	assert_int_equal(in8(IIR), 0xc4);
	assert_int_equal(in8(RBR), '1');
	assert_false(line());
	for (char c = '2'; c <= '8'; c++)
		assert_int_equal(in8(RBR), c);
	assert_int_equal(in8(LSR), 0x60);
}

static void character_timeout(void **state)
{
	out8(LCR, 0x83); /* 8 bits, 115200 baud */
	out8(THR, 1);
	out8(IER, 0);
	out8(LCR, 0x03);
	out8(FCR, 0x81);
	out8(IER, 0x01);
	type("x");
	fake_time_advance(vm, 340000); /* four characters of ten bits are 347 us */
	assert_false(line());
	fake_time_advance(vm, 8000);
	assert_true(line());
	assert_int_equal(in8(IIR), 0xcc);
	assert_int_equal(in8(RBR), 'x');
	assert_int_equal(in8(IIR), 0xc1);
	assert_int_equal(fake_time_next(vm), UINT64_MAX);
}

static void long_input_is_not_lost(void **state)
{
	static char text[3000], back[3000];
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('!' + i % 90);
	out8(FCR, 0xc1);
	out8(IER, 0x01);
	type(text);
	while (in8(LSR) & 1)
		back[n++] = (char)in8(RBR);
	assert_int_equal(n, sizeof(text) - 1);
	assert_string_equal(text, back);
	assert_false(line());
}

static void fifo_clear(void **state)
{
	out8(FCR, 0x01);
	type("abc");
	out8(FCR, 0x03);
	assert_int_equal(in8(LSR), 0x60);
	out8(FCR, 0x05); /* clearing the transmitter's does nothing to ours */
	type("d");
	assert_int_equal(in8(RBR), 'd');
}

static void loop_back(void **state)
{
	out8(MCR, 0x10);
	in8(MSR);
	out8(IER, 0x01);
	out8(THR, 'L');
	assert_int_equal(chardev_read(console(), (char[1]){0}, 1), 0); /* not outside */
	assert_true(line());
	assert_int_equal(in8(RBR), 'L');
	type("k"); /* the input pin is disconnected */
	assert_int_equal(in8(LSR), 0x60);
	out8(THR, '1');
	out8(THR, '2');
	assert_int_equal(in8(LSR), 0x63); /* overrun */
	assert_int_equal(in8(LSR), 0x61);
	assert_int_equal(in8(RBR), '2');
	out8(MCR, 0x00);
	assert_int_equal(in8(RBR), 'k');
}

static void modem_status(void **state)
{
	assert_int_equal(in8(MSR), 0xb0);
	out8(IER, 0x08);
	out8(MCR, 0x10); /* all inputs fall */
	assert_true(line());
	assert_int_equal(in8(IIR), 0x00);
	assert_int_equal(in8(MSR), 0x0b);
	assert_false(line());
	assert_int_equal(in8(MSR), 0x00);
	out8(MCR, 0x14); /* OUT1 is the ring indicator; only its end counts */
	assert_int_equal(in8(MSR), 0x40);
	out8(MCR, 0x10);
	assert_int_equal(in8(MSR), 0x04);
}

static void line_status_interrupt_comes_first(void **state)
{
	out8(MCR, 0x10);
	out8(IER, 0x0f);
	out8(THR, 'a');
	out8(THR, 'b');
	assert_int_equal(in8(IIR), 0x06);
	in8(LSR);
	assert_int_equal(in8(IIR), 0x04);
	in8(RBR);
	assert_int_equal(in8(IIR), 0x02);
	assert_int_equal(in8(IIR), 0x00);
	in8(MSR);
	assert_int_equal(in8(IIR), 0x01);
}

static void ports_share_a_line(void **state)
{
	struct config_dev com3 = com1;
	struct errmsg e = {""};
	uint16_t base = 0x3e8;

	com3.uart_index = 2;
	snprintf(com3.name, sizeof(com3.name), "serial2");
	assert_non_null(fake_device_create(vm, "amber,ns16550", &com3, &e));
	out8(IER, 0x02);
	out8(base + 1, 0x02);
	assert_true(line());
	in8(IIR);
	assert_true(line()); /* COM3 still asks */
	in8(base + 2);
	assert_false(line());
	out8(base, 'z');
	assert_int_equal(in8(IIR), 0x01);
	assert_int_equal(in8(base + 2), 0x02);
}

static void second_port_of_one_number_is_refused(void **state)
{
	struct errmsg e = {""};
	struct config_dev bad = com1;

	assert_null(fake_device_create(vm, "amber,ns16550", &com1, &e));
	assert_non_null(strstr(e.text, "0x3f8"));
	bad.uart_index = 4;
	assert_null(fake_device_create(vm, "amber,ns16550", &bad, &e));
	assert_non_null(strstr(e.text, "COM5"));
	for (int n = 0; n < 3; n++) {
		bad.uart_index = 1;
		fake_heap_fail_after(n);
		assert_null(fake_device_create(vm, "amber,ns16550", &bad, &e));
	}
	fake_heap_fail_after(-1);
}

static void roundtrip(void **state)
{
	out8(FCR, 0x81);
	out8(IER, 0x05);
	type("hello");
	assert_roundtrip();
	fake_time_advance(vm, 10 * MSEC); /* the character timeout is still to come */
	assert_true(line());
	assert_roundtrip();
	assert_true(line());
	for (const char *c = "hello"; *c; c++)
		assert_int_equal(in8(RBR), *c);
}

/* Input that came while the machine stood is not forgotten. */
static void resume_takes_waiting_input(void **state)
{
	struct ns16550_state s;

	out8(IER, 0x01);
	s = *(struct ns16550_state *)dev->state;
	type("x");
	assert_int_equal(in8(RBR), 'x');
	console()->input_ready = NULL;
	type("y");
	assert_int_equal(fake_device_load(dev, &s, NULL), OK);
	assert_true(line());
	assert_int_equal(in8(RBR), 'y');
}

static void bad_state_is_refused(void **state)
{
	struct ns16550_state good = *(struct ns16550_state *)dev->state, s = good;

	s.fifo_count = 2;
	assert_refused(&s, "fifo-count");
	s = good;
	s.fcr = 0x80;
	assert_refused(&s, "fcr");
	s = good;
	s.timed_out = 1;
	assert_refused(&s, "timeout");
	s = good;
	s.fifo_count = 17;
	assert_refused(&s, "fifo-count");
	s = good;
	s.ier = 0x10;
	assert_refused(&s, "ier");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DEVICE_TEST(output_reaches_the_console),
	    DEVICE_TEST(divisor_latch),
	    DEVICE_TEST(probing),
	    DEVICE_TEST(thre_interrupt),
	    DEVICE_TEST(receive_without_fifo),
	    DEVICE_TEST(receive_fifo_trigger),
	    DEVICE_TEST(character_timeout),
	    DEVICE_TEST(long_input_is_not_lost),
	    DEVICE_TEST(fifo_clear),
	    DEVICE_TEST(loop_back),
	    DEVICE_TEST(modem_status),
	    DEVICE_TEST(line_status_interrupt_comes_first),
	    DEVICE_TEST(ports_share_a_line),
	    DEVICE_TEST(second_port_of_one_number_is_refused),
	    DEVICE_TEST(roundtrip),
	    DEVICE_TEST(resume_takes_waiting_input),
	    DEVICE_TEST(bad_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
