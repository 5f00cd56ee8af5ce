/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard controller (8042; IBM PS/2 technical reference, keyboard
 * controller): self-tests, command byte, output port with reset and A20, and a
 * keyboard that acknowledges commands and has no keys pressed. There is no
 * auxiliary port. A20 is recorded and does not gate anything.
 */
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/vm.h"
#include "hv/dev/byte_regs.h"
#include "hv/mm/mm.h"

enum { KEYBOARD_GSI = 1, QUEUE_SIZE = 16, RAM_SIZE = 32 };

/* Status register, port 64h read. */
enum status {
	STATUS_OUTPUT_FULL = 1 << 0,
	STATUS_SYSTEM = 1 << 2,
	STATUS_COMMAND = 1 << 3, /* the last write was to port 64h */
	STATUS_UNLOCKED = 1 << 4,
};
/* Command byte, byte 0 of the controller's memory. */
enum command_byte {
	CB_KEYBOARD_IRQ = 1 << 0,
	CB_SYSTEM = 1 << 2,
	CB_KEYBOARD_OFF = 1 << 4,
	CB_AUX_OFF = 1 << 5,
	CB_TRANSLATE = 1 << 6,
};
/* Commands, port 64h write. */
enum command {
	CMD_READ_RAM = 0x20,  /* to 3f */
	CMD_WRITE_RAM = 0x60, /* to 7f */
	CMD_AUX_OFF = 0xa7,
	CMD_AUX_ON = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KEYBOARD_TEST = 0xab,
	CMD_KEYBOARD_OFF = 0xad,
	CMD_KEYBOARD_ON = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_WRITE_KEYBOARD_BUFFER = 0xd2,
	CMD_WRITE_AUX_BUFFER = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf,
	CMD_READ_TEST = 0xe0,
	CMD_PULSE = 0xf0, /* to ff: low bits that are 0 are pulsed */
};
enum output_port { OUT_NOT_RESET = 1 << 0, OUT_A20 = 1 << 1, OUT_KEYBOARD_FULL = 1 << 4 };
enum { SELF_TEST_PASSED = 0x55, INTERFACE_OK = 0x00, CLOCK_STUCK_LOW = 0x01 };

/* Keyboard commands, port 60h write, and answers. */
enum keyboard {
	KBD_SET_LEDS = 0xed,
	KBD_ECHO = 0xee,
	KBD_SCAN_CODE_SET = 0xf0,
	KBD_IDENTIFY = 0xf2,
	KBD_SET_RATE = 0xf3,
	KBD_ENABLE = 0xf4, /* from here on: default settings, types of keys, resend */
	KBD_RESET = 0xff,
	KBD_ACK = 0xfa,
	KBD_TEST_PASSED = 0xaa,
	KBD_ID1 = 0xab,
	KBD_ID2 = 0x83,
	KBD_ID2_TRANSLATED = 0x41,
};

struct i8042_state {
	uint8_t ram[RAM_SIZE]; /* byte 0 is the command byte */
	uint8_t queue[QUEUE_SIZE];
	uint8_t queued;
	uint8_t output; /* output port as written */
	uint8_t status_command;
	uint8_t expect;	    /* controller command that waits for its byte at port 60h; 0: none */
	uint8_t kbd_expect; /* the same of the keyboard */
	uint8_t last;	    /* what port 60h gives when nothing is queued */
	uint8_t scan_set;
};

static const struct state_field fields[] = {
    STATE_ARRAY(struct i8042_state, ram, "ram", RAM_SIZE, 0xff,
	"controller memory; byte 0 is the command byte"),
    STATE_ARRAY(struct i8042_state, queue, "queue", QUEUE_SIZE, 0xff,
	"bytes towards the host, oldest first"),
    STATE_INT(struct i8042_state, queued, "queued", QUEUE_SIZE, "number of bytes in the queue"),
    STATE_INT(struct i8042_state, output, "output", 0xff, "output port"),
    STATE_INT(
	struct i8042_state, status_command, "status-command", 1, "the last write was to port 64h"),
    STATE_INT(struct i8042_state, expect, "expect", 0xff, "controller command that waits for data"),
    STATE_INT(
	struct i8042_state, kbd_expect, "kbd-expect", 0xff, "keyboard command that waits for data"),
    STATE_INT(struct i8042_state, last, "last", 0xff, "last byte read"),
    STATE_INT(struct i8042_state, scan_set, "scan-set", 3, "scan code set"),
    STATE_END,
};

struct i8042 {
	struct spinlock lock; /* protects st */
	struct i8042_state st;
	struct device *dev;
	struct vm *vm;
	struct io_region data, command;
};

/* --- output buffer ----------------------------------------------------------------------- */

static void update_line_locked(struct i8042 *k)
{
	irq_line_set(k->vm, KEYBOARD_GSI, k->st.queued && (k->st.ram[0] & CB_KEYBOARD_IRQ));
}

/* What does not fit is lost, as with a real buffer. */
static void enqueue(struct i8042_state *s, uint8_t byte)
{
	if (s->queued < QUEUE_SIZE)
		s->queue[s->queued++] = byte;
}

/* One interrupt a byte: the line drops in between. */
static uint8_t read_data_locked(struct i8042 *k)
{
	struct i8042_state *s = &k->st;

	if (s->queued) {
		s->last = s->queue[0];
		s->queued--;
		for (unsigned i = 0; i < s->queued; i++)
			s->queue[i] = s->queue[i + 1];
		irq_line_set(k->vm, KEYBOARD_GSI, false);
		update_line_locked(k);
	}
	return s->last;
}

/* --- keyboard ------------------------------------------------------------------------------- */

static void keyboard_parameter(struct i8042_state *s, uint8_t v)
{
	if (s->kbd_expect == KBD_SCAN_CODE_SET && v == 0) {
		enqueue(s, KBD_ACK);
		enqueue(s, s->scan_set);
	} else {
		if (s->kbd_expect == KBD_SCAN_CODE_SET && v <= 3)
			s->scan_set = v;
		enqueue(s, KBD_ACK);
	}
	s->kbd_expect = 0;
}

static void keyboard_command(struct i8042 *k, uint8_t v)
{
	struct i8042_state *s = &k->st;

	s->ram[0] &= (uint8_t)~CB_KEYBOARD_OFF; /* sending to the keyboard turns its clock on */
	if (s->kbd_expect && v < KBD_SET_LEDS) {
		keyboard_parameter(s, v);
		return;
	}
	s->kbd_expect = 0;
	enqueue(s, v == KBD_ECHO ? KBD_ECHO : KBD_ACK);
	switch (v) {
	case KBD_SET_LEDS:
	case KBD_SET_RATE:
	case KBD_SCAN_CODE_SET:
		s->kbd_expect = v;
		break;
	case KBD_IDENTIFY:
		enqueue(s, KBD_ID1);
		enqueue(s, s->ram[0] & CB_TRANSLATE ? KBD_ID2_TRANSLATED : KBD_ID2);
		break;
	case KBD_RESET:
		s->scan_set = 2;
		enqueue(s, KBD_TEST_PASSED);
		break;
	default:
		if (v != KBD_ECHO && v < KBD_ENABLE)
			device_unhandled(k->dev);
	}
}

/* --- controller ------------------------------------------------------------------------------- */

static void write_output_port(struct i8042 *k, uint8_t v)
{
	k->st.output = v | OUT_NOT_RESET;
	if (!(v & OUT_NOT_RESET))
		vm_request_reset(k->vm);
}

/* The byte that a controller command waited for. */
static void command_data(struct i8042 *k, uint8_t v)
{
	struct i8042_state *s = &k->st;
	uint8_t command = s->expect;

	s->expect = 0;
	if (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + RAM_SIZE)
		s->ram[command - CMD_WRITE_RAM] = v;
	else if (command == CMD_WRITE_OUTPUT)
		write_output_port(k, v);
	else if (command == CMD_WRITE_KEYBOARD_BUFFER || command == CMD_WRITE_AUX_BUFFER)
		enqueue(s, v); /* without an auxiliary port both buffers are the keyboard's */
	else
		device_unhandled(k->dev); /* CMD_WRITE_AUX: nobody is there */
}

static void command_write(struct i8042 *k, uint8_t v)
{
	struct i8042_state *s = &k->st;

	s->expect = 0;
	if (v >= CMD_READ_RAM && v < CMD_READ_RAM + RAM_SIZE) {
		enqueue(s, s->ram[v - CMD_READ_RAM]);
		return;
	}
	if ((v >= CMD_WRITE_RAM && v < CMD_WRITE_RAM + RAM_SIZE) ||
	    (v >= CMD_WRITE_OUTPUT && v <= CMD_WRITE_AUX)) {
		s->expect = v;
		return;
	}
	if (v >= CMD_PULSE) {
		if (!(v & OUT_NOT_RESET))
			vm_request_reset(k->vm);
		return;
	}
	switch (v) {
	case CMD_AUX_OFF:
		s->ram[0] |= CB_AUX_OFF;
		break;
	case CMD_AUX_ON:
		s->ram[0] &= (uint8_t)~CB_AUX_OFF;
		break;
	case CMD_AUX_TEST:
		enqueue(s, CLOCK_STUCK_LOW);
		break;
	case CMD_SELF_TEST:
		s->ram[0] |= CB_SYSTEM;
		s->queued = 0;
		enqueue(s, SELF_TEST_PASSED);
		break;
	case CMD_KEYBOARD_TEST:
		enqueue(s, INTERFACE_OK);
		break;
	case CMD_KEYBOARD_OFF:
		s->ram[0] |= CB_KEYBOARD_OFF;
		break;
	case CMD_KEYBOARD_ON:
		s->ram[0] &= (uint8_t)~CB_KEYBOARD_OFF;
		break;
	case CMD_READ_INPUT:
		enqueue(s, 0x80); /* keyboard not locked */
		break;
	case CMD_READ_OUTPUT:
		enqueue(s, s->output | (s->queued ? OUT_KEYBOARD_FULL : 0));
		break;
	case CMD_A20_OFF:
		s->output &= (uint8_t)~OUT_A20;
		break;
	case CMD_A20_ON:
		s->output |= OUT_A20;
		break;
	case CMD_READ_TEST:
		enqueue(s, 0);
		break;
	default:
		device_unhandled(k->dev);
	}
}

static uint8_t data_read(void *ctx, unsigned reg)
{
	struct i8042 *k = ctx;
	uint64_t flags = spin_lock(&k->lock);
	uint8_t v = read_data_locked(k);

	spin_unlock(&k->lock, flags);
	return v;
}

static void data_write(void *ctx, unsigned reg, uint8_t v)
{
	struct i8042 *k = ctx;
	uint64_t flags = spin_lock(&k->lock);

	k->st.status_command = 0;
	if (k->st.expect)
		command_data(k, v);
	else
		keyboard_command(k, v);
	update_line_locked(k);
	spin_unlock(&k->lock, flags);
}

static uint8_t status_read(void *ctx, unsigned reg)
{
	struct i8042 *k = ctx;
	const struct i8042_state *s = &k->st;

	return STATUS_UNLOCKED | (s->queued ? STATUS_OUTPUT_FULL : 0) |
	       (s->ram[0] & CB_SYSTEM ? STATUS_SYSTEM : 0) |
	       (s->status_command ? STATUS_COMMAND : 0);
}

static void status_write(void *ctx, unsigned reg, uint8_t v)
{
	struct i8042 *k = ctx;
	uint64_t flags = spin_lock(&k->lock);

	k->st.status_command = 1;
	command_write(k, v);
	update_line_locked(k);
	spin_unlock(&k->lock, flags);
}

BYTE_PORTS(data_port, data_read, data_write);
BYTE_PORTS(command_port, status_read, status_write);

/* --- the model
 * ------------------------------------------------------------------------------------ */

static int i8042_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct i8042 *k = heap_zalloc(sizeof(*k));
	int err;

	if (!k)
		return err_set(e, ERR_NOMEM, "i8042: out of memory");
	dev->priv = k;
	dev->state = &k->st;
	k->dev = dev;
	k->vm = dev->vm;
	spinlock_init(&k->lock, RANK_DEV_SPIN);
	k->data = (struct io_region){
	    .name = "i8042", .start = 0x60, .size = 1, .ops = &data_port, .ctx = k};
	k->command = (struct io_region){
	    .name = "i8042", .start = 0x64, .size = 1, .ops = &command_port, .ctx = k};
	err = iobus_map_port(dev->vm, &k->data);
	if (err == OK)
		err = iobus_map_port(dev->vm, &k->command);
	return err == OK ? OK : err_set(e, err, "i8042: ports: %s", error_text(err));
}

static void i8042_destroy(struct device *dev)
{
	struct i8042 *k = dev->priv;

	if (!k)
		return;
	iobus_unmap_port(dev->vm, &k->data);
	iobus_unmap_port(dev->vm, &k->command);
	heap_free(k);
}

static void i8042_reset(struct device *dev)
{
	struct i8042 *k = dev->priv;
	uint64_t flags = spin_lock(&k->lock);

	k->st = (struct i8042_state){.output = OUT_NOT_RESET | OUT_A20, .scan_set = 2};
	k->st.ram[0] = CB_TRANSLATE | CB_AUX_OFF | CB_KEYBOARD_OFF;
	update_line_locked(k);
	spin_unlock(&k->lock, flags);
}

static void i8042_quiesce(struct device *dev)
{
}

static void i8042_resume(struct device *dev)
{
	struct i8042 *k = dev->priv;
	uint64_t flags = spin_lock(&k->lock);

	update_line_locked(k);
	spin_unlock(&k->lock, flags);
}

/* Commands that wait for data must be ones that take data. */
static int i8042_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct i8042_state *s = state;
	bool ram = s->expect >= CMD_WRITE_RAM && s->expect < CMD_WRITE_RAM + RAM_SIZE;
	bool port = s->expect >= CMD_WRITE_OUTPUT && s->expect <= CMD_WRITE_AUX;

	if (s->expect && !ram && !port)
		return err_set(e, ERR_INVAL, "expect: command %#x takes no data", s->expect);
	if (s->kbd_expect && s->kbd_expect != KBD_SET_LEDS && s->kbd_expect != KBD_SET_RATE &&
	    s->kbd_expect != KBD_SCAN_CODE_SET)
		return err_set(
		    e, ERR_INVAL, "kbd-expect: command %#x takes no data", s->kbd_expect);
	return OK;
}

static void i8042_loaded(struct device *dev)
{
}

DEVICE_MODEL(i8042) = {
    .compatible = "amber,i8042",
    .version = 1,
    .class = DEVCLASS_PLATFORM,
    .doc = "8042 keyboard controller with a keyboard that nobody types on",
    .state_size = sizeof(struct i8042_state),
    .fields = fields,
    .create = i8042_create,
    .destroy = i8042_destroy,
    .reset = i8042_reset,
    .quiesce = i8042_quiesce,
    .resume = i8042_resume,
    .check = i8042_check,
    .loaded = i8042_loaded,
};

#include "hv/dev/regs/i8042.h"
