/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pair of 8259A interrupt controllers as the ICH9 has it: master at 0x20,
 * slave at 0xA0 on its input 2, edge/level control at 0x4D0
 * (8259A datasheet, order 231468; ICH9 datasheet, 13.4).
 *
 * IRR bits of edge inputs fall with the input, as the datasheet says of a
 * request that does not wait: its acknowledgement is then a spurious IR7.
 */
#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/dev/byte_regs.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

enum { MASTER, SLAVE, CHIPS };
enum { CASCADE_IR = 2, SPURIOUS_IR = 7, INPUTS = 8 };

/* Initialization command words; a write to address 0 with bit 4 set starts the sequence. */
enum icw1 { ICW1_IC4 = 1 << 0, ICW1_SNGL = 1 << 1, ICW1_INIT = 1 << 4 };
enum icw4 { ICW4_UPM = 1 << 0, ICW4_AEOI = 1 << 1, ICW4_SFNM = 1 << 4 };
/* Operation command words. */
enum ocw2 {
	OCW2_LEVEL = 7,
	OCW2_COMMAND_SHIFT = 5, /* R, SL, EOI */
};
enum ocw2_command {
	OCW2_ROTATE_AEOI_CLEAR = 0,
	OCW2_EOI = 1,
	OCW2_NOP = 2,
	OCW2_SPECIFIC_EOI = 3,
	OCW2_ROTATE_AEOI_SET = 4,
	OCW2_ROTATE_EOI = 5,
	OCW2_SET_PRIORITY = 6,
	OCW2_ROTATE_SPECIFIC_EOI = 7,
};
enum ocw3 {
	OCW3_RIS = 1 << 0,
	OCW3_RR = 1 << 1,
	OCW3_POLL = 1 << 2,
	OCW3_ID = 1 << 3, /* 1 with bit 4 clear: this is OCW3 */
	OCW3_SMM = 1 << 5,
	OCW3_ESMM = 1 << 6,
};
/* What the next write to address 1 is. */
enum init_step { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

/* Inputs that can be level-triggered: not timer, keyboard, cascade, clock, FPU (ICH9, 13.4.10). */
enum elcr { ELCR1_WRITABLE = 0xf8, ELCR2_WRITABLE = 0xde };
static const uint8_t elcr_writable[CHIPS] = {ELCR1_WRITABLE, ELCR2_WRITABLE};

/* Elements are master, slave. */
struct i8259_state {
	uint8_t irr[CHIPS], imr[CHIPS], isr[CHIPS];
	uint8_t lines[CHIPS]; /* levels of the inputs */
	uint8_t elcr[CHIPS];
	uint8_t base[CHIPS];   /* vector of IR0 */
	uint8_t icw3[CHIPS];   /* kept; the wiring is fixed */
	uint8_t lowest[CHIPS]; /* the input with the lowest priority */
	uint8_t init_step[CHIPS];
	uint8_t expect_icw4[CHIPS], single[CHIPS];
	uint8_t auto_eoi[CHIPS], rotate_aeoi[CHIPS];
	uint8_t fully_nested[CHIPS]; /* special fully nested mode */
	uint8_t special_mask[CHIPS];
	uint8_t poll[CHIPS];	 /* the next read is a poll */
	uint8_t read_isr[CHIPS]; /* address 0 reads the ISR, not the IRR */
};

#define F(m, nm, mx, d) STATE_ARRAY(struct i8259_state, m, nm, CHIPS, mx, d)
static const struct state_field fields[] = {
    F(irr, "irr", 0xff, "interrupt request register: master, slave"),
    F(imr, "imr", 0xff, "interrupt mask register"),
    F(isr, "isr", 0xff, "in-service register"),
    F(lines, "lines", 0xff, "levels of the inputs"),
    F(elcr, "elcr", 0xff, "edge/level control: 1 is level"),
    F(base, "base", 0xff, "vector of input 0 (ICW2)"),
    F(icw3, "icw3", 0xff, "cascade wiring as programmed"),
    F(lowest, "lowest", 7, "input with the lowest priority"),
    F(init_step, "init-step", INIT_ICW4,
	"initialization: 0 done, else number of the ICW awaited less 1"),
    F(expect_icw4, "expect-icw4", 1, "ICW1 announced ICW4"),
    F(single, "single", 1, "ICW1 said that there is no cascade"),
    F(auto_eoi, "auto-eoi", 1, "automatic end of interrupt"),
    F(rotate_aeoi, "rotate-aeoi", 1, "rotation in automatic end of interrupt"),
    F(fully_nested, "fully-nested", 1, "special fully nested mode"),
    F(special_mask, "special-mask", 1, "special mask mode"),
    F(poll, "poll", 1, "the next read is a poll"),
    F(read_isr, "read-isr", 1, "address 0 reads the ISR"),
    STATE_END,
};
#undef F

struct i8259 {
	struct spinlock lock; /* protects st */
	struct i8259_state st;
	struct device *dev;
	struct vm *vm;
	struct chip_ports {
		struct i8259 *pic;
		unsigned chip;
		struct io_region cmd, elcr;
	} ports[CHIPS];
};

/* --- priorities -------------------------------------------------------------------- */

/* The input with the highest priority in mask, or -1. */
static int highest(const struct i8259_state *s, unsigned c, uint8_t mask)
{
	for (unsigned i = 1; i <= INPUTS; i++) {
		unsigned ir = (s->lowest[c] + i) % INPUTS;

		if (mask >> ir & 1)
			return (int)ir;
	}
	return -1;
}

/* 0 is the highest; INPUTS for none. */
static unsigned rank_of(const struct i8259_state *s, unsigned c, int ir)
{
	return ir < 0 ? INPUTS : ((unsigned)ir + INPUTS - s->lowest[c] - 1) % INPUTS;
}

/* The request that the chip puts forward, or -1. */
static int request(const struct i8259_state *s, unsigned c)
{
	int ir = highest(s, c, s->irr[c] & (uint8_t)~s->imr[c]);
	uint8_t in_service = s->isr[c];

	if (s->special_mask[c])
		in_service &= (uint8_t)~s->imr[c];
	/* special fully nested: a slave in service does not hold back the slave's further requests
	 */
	if (s->fully_nested[c] && c == MASTER && ir == CASCADE_IR)
		in_service &= (uint8_t) ~(1U << CASCADE_IR);
	if (rank_of(s, c, ir) < rank_of(s, c, highest(s, c, in_service)))
		return ir;
	return -1;
}

/* The slave's output is the master's input 2, a level; the master's goes to LINT0 and to the I/O
 * APIC. */
static void update_locked(struct i8259 *p)
{
	struct i8259_state *s = &p->st;

	if (request(s, SLAVE) >= 0)
		s->irr[MASTER] |= 1 << CASCADE_IR;
	else
		s->irr[MASTER] &= (uint8_t) ~(1U << CASCADE_IR);
	irq_extint_set(p->vm, request(s, MASTER) >= 0);
}

static void input_locked(struct i8259_state *s, unsigned c, unsigned ir, bool level)
{
	uint8_t bit = (uint8_t)(1U << ir);

	if (!level)
		s->irr[c] &= (uint8_t)~bit;
	else if ((s->elcr[c] & bit) || !(s->lines[c] & bit))
		s->irr[c] |= bit;
	s->lines[c] = (uint8_t)(level ? s->lines[c] | bit : s->lines[c] & ~bit);
}

static void i8259_set(void *pic, unsigned irq, bool level)
{
	struct i8259 *p = pic;
	uint64_t flags = spin_lock(&p->lock);

	input_locked(&p->st, irq / INPUTS, irq % INPUTS, level);
	update_locked(p);
	spin_unlock(&p->lock, flags);
}

/* --- acknowledgement ----------------------------------------------------------------- */

/* First INTA pulse: the request becomes in service; an edge is used up. */
static void acknowledge(struct i8259_state *s, unsigned c, unsigned ir)
{
	uint8_t bit = (uint8_t)(1U << ir);

	if (!(s->elcr[c] & bit))
		s->irr[c] &= (uint8_t)~bit;
	if (!s->auto_eoi[c])
		s->isr[c] |= bit;
	else if (s->rotate_aeoi[c])
		s->lowest[c] = (uint8_t)ir;
}

/* Acknowledges what the chip puts forward; the input's number, 7 if there is nothing. */
static unsigned take(struct i8259_state *s, unsigned c)
{
	int ir = request(s, c);

	if (ir < 0)
		return SPURIOUS_IR;
	acknowledge(s, c, (unsigned)ir);
	return (unsigned)ir;
}

static uint8_t i8259_ack(void *pic)
{
	struct i8259 *p = pic;
	struct i8259_state *s = &p->st;
	uint64_t flags = spin_lock(&p->lock);
	bool cascade = request(s, MASTER) == CASCADE_IR;
	unsigned chip = cascade ? SLAVE : MASTER, ir = take(s, MASTER);
	uint8_t vector;

	if (cascade)
		ir = take(s, SLAVE);
	vector = (uint8_t)(s->base[chip] | ir);
	irq_extint_set(p->vm, false); /* INTR falls; what waits behind makes another edge */
	update_locked(p);
	spin_unlock(&p->lock, flags);
	return vector;
}

static const struct irqchip_ops i8259_ops = {.pic_set = i8259_set, .pic_ack = i8259_ack};

/* --- command words ----------------------------------------------------------------------- */

static void write_icw1(struct i8259_state *s, unsigned c, uint8_t v)
{
	s->irr[c] = s->lines[c] & s->elcr[c]; /* edges must come anew */
	s->imr[c] = 0;
	s->isr[c] = 0;
	s->lowest[c] = 7;
	s->special_mask[c] = 0;
	s->read_isr[c] = 0;
	s->poll[c] = 0;
	s->auto_eoi[c] = 0;
	s->rotate_aeoi[c] = 0;
	s->fully_nested[c] = 0;
	s->expect_icw4[c] = !!(v & ICW1_IC4);
	s->single[c] = !!(v & ICW1_SNGL);
	s->init_step[c] = INIT_ICW2;
}

/* A non-specific EOI ends the highest in service; masked ones are exempt in special mask mode. */
static int eoi_target(const struct i8259_state *s, unsigned c)
{
	uint8_t in_service = s->isr[c];

	if (s->special_mask[c])
		in_service &= (uint8_t)~s->imr[c];
	return highest(s, c, in_service);
}

static void write_ocw2(struct i8259_state *s, unsigned c, uint8_t v)
{
	unsigned command = v >> OCW2_COMMAND_SHIFT;
	int ir = v & OCW2_LEVEL;

	switch (command) {
	case OCW2_ROTATE_AEOI_CLEAR:
	case OCW2_ROTATE_AEOI_SET:
		s->rotate_aeoi[c] = command == OCW2_ROTATE_AEOI_SET;
		return;
	case OCW2_SET_PRIORITY:
		s->lowest[c] = (uint8_t)ir;
		return;
	case OCW2_NOP:
		return;
	case OCW2_EOI:
	case OCW2_ROTATE_EOI:
		ir = eoi_target(s, c);
		break;
	}
	if (ir < 0)
		return;
	s->isr[c] &= (uint8_t) ~(1U << ir);
	if (command == OCW2_ROTATE_EOI || command == OCW2_ROTATE_SPECIFIC_EOI)
		s->lowest[c] = (uint8_t)ir;
}

static void write_ocw3(struct i8259_state *s, unsigned c, uint8_t v)
{
	if (v & OCW3_POLL)
		s->poll[c] = 1;
	else if (v & OCW3_RR)
		s->read_isr[c] = v & OCW3_RIS;
	if (v & OCW3_ESMM)
		s->special_mask[c] = !!(v & OCW3_SMM);
}

/* Address 1: the mask (OCW1), or the next initialization word. */
static void write_data(struct i8259_state *s, unsigned c, uint8_t v)
{
	switch (s->init_step[c]) {
	case INIT_DONE:
		s->imr[c] = v;
		break;
	case INIT_ICW2:
		s->base[c] = v & 0xf8;
		s->init_step[c] = !s->single[c]	      ? INIT_ICW3
				  : s->expect_icw4[c] ? INIT_ICW4
						      : INIT_DONE;
		break;
	case INIT_ICW3:
		s->icw3[c] = v;
		s->init_step[c] = s->expect_icw4[c] ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW4:
		s->auto_eoi[c] = !!(v & ICW4_AEOI);
		s->fully_nested[c] = !!(v & ICW4_SFNM);
		s->init_step[c] = INIT_DONE;
		break;
	}
}

static void cmd_write(void *ctx, unsigned reg, uint8_t v)
{
	struct chip_ports *io = ctx;
	struct i8259_state *s = &io->pic->st;
	uint64_t flags = spin_lock(&io->pic->lock);
	uint8_t step = s->init_step[io->chip];

	if (reg == 1)
		write_data(s, io->chip, v);
	else if (v & ICW1_INIT)
		write_icw1(s, io->chip, v);
	else if (v & OCW3_ID)
		write_ocw3(s, io->chip, v);
	else
		write_ocw2(s, io->chip, v);
	update_locked(io->pic);
	/* the mode of the MCS-80, which has other vectors, is not there */
	if (reg == 1 && step == INIT_ICW4 && !(v & ICW4_UPM))
		device_unhandled(io->pic->dev);
	spin_unlock(&io->pic->lock, flags);
}

/* Poll word: bit 7 says that there is a request, which the read acknowledges. */
static uint8_t read_poll(struct i8259_state *s, unsigned c)
{
	int ir = request(s, c);

	s->poll[c] = 0;
	if (ir < 0)
		return SPURIOUS_IR;
	acknowledge(s, c, (unsigned)ir);
	return (uint8_t)(0x80 | ir);
}

static uint8_t cmd_read(void *ctx, unsigned reg)
{
	struct chip_ports *io = ctx;
	struct i8259_state *s = &io->pic->st;
	unsigned c = io->chip;
	uint64_t flags = spin_lock(&io->pic->lock);
	uint8_t v;

	if (s->poll[c])
		v = read_poll(s, c);
	else if (reg == 1)
		v = s->imr[c];
	else
		v = s->read_isr[c] ? s->isr[c] : s->irr[c];
	update_locked(io->pic);
	spin_unlock(&io->pic->lock, flags);
	return v;
}

/* --- edge/level control ---------------------------------------------------------------------- */

static void elcr_write(void *ctx, unsigned reg, uint8_t v)
{
	struct chip_ports *io = ctx;
	struct i8259_state *s = &io->pic->st;
	uint64_t flags = spin_lock(&io->pic->lock);

	s->elcr[io->chip] = v & elcr_writable[io->chip];
	s->irr[io->chip] |= s->lines[io->chip] & s->elcr[io->chip];
	update_locked(io->pic);
	spin_unlock(&io->pic->lock, flags);
}

static uint8_t elcr_read(void *ctx, unsigned reg)
{
	struct chip_ports *io = ctx;

	return io->pic->st.elcr[io->chip];
}

/* --- the model -----------------------------------------------------------------------------------
 */

BYTE_PORTS(cmd_ports, cmd_read, cmd_write);
BYTE_PORTS(elcr_ports, elcr_read, elcr_write);

static int i8259_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct i8259 *p = heap_zalloc(sizeof(*p));
	int err = OK;

	if (!p)
		return err_set(e, ERR_NOMEM, "i8259: out of memory");
	dev->priv = p;
	dev->state = &p->st;
	p->dev = dev;
	p->vm = dev->vm;
	spinlock_init(&p->lock, RANK_PIC);
	for (unsigned c = 0; c < CHIPS && err == OK; c++) {
		struct chip_ports *io = &p->ports[c];

		*io = (struct chip_ports){.pic = p, .chip = c};
		io->cmd = (struct io_region){.name = "i8259",
		    .start = c ? 0xa0 : 0x20,
		    .size = 2,
		    .ops = &cmd_ports,
		    .ctx = io};
		io->elcr = (struct io_region){
		    .name = "elcr", .start = 0x4d0 + c, .size = 1, .ops = &elcr_ports, .ctx = io};
		err = iobus_map_port(dev->vm, &io->cmd);
		if (err == OK)
			err = iobus_map_port(dev->vm, &io->elcr);
	}
	if (err != OK)
		return err_set(e, err, "i8259: ports: %s", error_text(err));
	irq_register_pic(dev->vm, &i8259_ops, p);
	return OK;
}

static void i8259_destroy(struct device *dev)
{
	struct i8259 *p = dev->priv;

	if (!p)
		return;
	irq_register_pic(dev->vm, NULL, NULL);
	for (unsigned c = 0; c < CHIPS; c++) {
		iobus_unmap_port(dev->vm, &p->ports[c].cmd);
		iobus_unmap_port(dev->vm, &p->ports[c].elcr);
	}
	heap_free(p);
}

static void i8259_reset(struct device *dev)
{
	struct i8259 *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	p->st = (struct i8259_state){.lowest = {7, 7}};
	update_locked(p);
	spin_unlock(&p->lock, flags);
}

static void i8259_quiesce(struct device *dev)
{
}

static void i8259_resume(struct device *dev)
{
	struct i8259 *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	update_locked(p);
	spin_unlock(&p->lock, flags);
}

static int i8259_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct i8259_state *s = state;

	for (unsigned c = 0; c < CHIPS; c++) {
		const char *chip = c ? "slave" : "master";

		if (s->base[c] & 7)
			return err_set(e, ERR_INVAL, "%s: vector base %#x is not a multiple of 8",
			    chip, s->base[c]);
		if (s->elcr[c] & ~elcr_writable[c])
			return err_set(e, ERR_INVAL, "%s: elcr: reserved bits set", chip);
	}
	return OK;
}

static void i8259_loaded(struct device *dev)
{
}

DEVICE_MODEL(i8259) = {
    .compatible = "amber,i8259",
    .version = 1,
    .class = DEVCLASS_IRQCHIP,
    .doc = "pair of 8259A interrupt controllers with ELCR (ICH9)",
    .state_size = sizeof(struct i8259_state),
    .fields = fields,
    .create = i8259_create,
    .destroy = i8259_destroy,
    .reset = i8259_reset,
    .quiesce = i8259_quiesce,
    .resume = i8259_resume,
    .check = i8259_check,
    .loaded = i8259_loaded,
};

#include "hv/dev/regs/i8259.h"
