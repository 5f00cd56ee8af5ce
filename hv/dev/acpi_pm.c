/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI fixed hardware: PM1a event and control registers, the PM timer and one
 * block of general-purpose events (ACPI specification 6.4, chapter 4.8).
 */
#include "hv/dev/acpi_pm.h"

#include "hv/core/device.h"
#include "hv/core/iobus.h"
#include "hv/core/irq.h"
#include "hv/core/vm.h"
#include "hv/lib/muldiv.h"
#include "hv/mm/mm.h"

#define PM_TIMER_HZ   3579545ULL
#define NS_PER_SECOND 1000000000ULL
/* The status bit is set when the timer's highest bit changes (4.8.3.3). */
#define PM_TIMER_HALF BIT(31)

enum { PM_BASE = ACPI_PM1A_EVT, PM_SIZE = 0x40, GPE_BYTES = ACPI_GPE0_LEN / 2 };
/* ICH9 datasheet, 13.8.3.9. Firmware takes a set APMC_EN for system management mode being set up
 * already, which it cannot do here. */
enum smi { SMI_EN = 0x30, SMI_EN_APMC_EN = 1 << 5 };

/* PM1 status and enable (4.8.4.1). */
enum pm1_event {
	PM1_TMR = 1 << 0,
	PM1_BM = 1 << 4, /* status only */
	PM1_GBL = 1 << 5,
	PM1_PWRBTN = 1 << 8,
	PM1_SLPBTN = 1 << 9,
	PM1_RTC = 1 << 10,
	PM1_WAK = 1 << 15, /* status only */
	PM1_ENABLES = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC,
	PM1_STATUSES = PM1_ENABLES | PM1_BM | PM1_WAK,
};
/* PM1 control (4.8.4.2). */
enum pm1_control {
	PM1_SCI_EN = 1 << 0,
	PM1_BM_RLD = 1 << 1,
	PM1_SLP_TYP_SHIFT = 10,
	PM1_SLP_TYP = 7 << 10,
	PM1_SLP_EN = 1 << 13, /* write-only */
	PM1_CONTROL_KEPT = PM1_BM_RLD | PM1_SLP_TYP,
};

struct acpi_pm_state {
	uint64_t timer_seen; /* halves of the timer's range up to which TMR_STS is in status */
	uint16_t status, enable, control;
	uint8_t gpe_status[GPE_BYTES], gpe_enable[GPE_BYTES];
};

static const struct state_field fields[] = {
    STATE_INT(struct acpi_pm_state, timer_seen, "timer-seen", BIT(40),
	"changes of the timer's highest bit up to which the status is set"),
    STATE_INT(struct acpi_pm_state, status, "status", PM1_STATUSES, "PM1a status"),
    STATE_INT(struct acpi_pm_state, enable, "enable", PM1_ENABLES, "PM1a enable"),
    STATE_INT(struct acpi_pm_state, control, "control", PM1_CONTROL_KEPT, "PM1a control"),
    STATE_ARRAY(struct acpi_pm_state, gpe_status, "gpe-status", GPE_BYTES, 0xff, "GPE0 status"),
    STATE_ARRAY(struct acpi_pm_state, gpe_enable, "gpe-enable", GPE_BYTES, 0xff, "GPE0 enable"),
    STATE_END,
};

struct acpi_pm {
	struct spinlock lock; /* protects st */
	struct acpi_pm_state st;
	struct vm *vm;
	struct vtimer timer; /* for TMR_STS while its interrupt is enabled */
	struct io_region region;
};

/* --- timer and SCI -------------------------------------------------------------------------- */

static uint64_t timer_now(const struct acpi_pm *p)
{
	return muldiv_u64(vm_time(p->vm), PM_TIMER_HZ, NS_PER_SECOND);
}

static void evaluate_locked(struct acpi_pm *p)
{
	struct acpi_pm_state *s = &p->st;
	uint64_t half = timer_now(p) / PM_TIMER_HALF;
	bool sci = false;

	if (half != s->timer_seen)
		s->status |= PM1_TMR;
	s->timer_seen = half;
	for (unsigned i = 0; i < GPE_BYTES; i++)
		sci |= s->gpe_status[i] & s->gpe_enable[i];
	sci |= (s->status & s->enable) != 0;
	irq_line_set(p->vm, ACPI_SCI_GSI, sci);
	if ((s->enable & PM1_TMR) && !(s->status & PM1_TMR))
		vtimer_set(&p->timer,
		    muldiv_up_u64((half + 1) * PM_TIMER_HALF, NS_PER_SECOND, PM_TIMER_HZ));
	else
		vtimer_cancel(&p->timer);
}

static void timer_fired(void *arg)
{
	struct acpi_pm *p = arg;
	uint64_t flags = spin_lock(&p->lock);

	evaluate_locked(p);
	spin_unlock(&p->lock, flags);
}

static struct acpi_pm *find(struct vm *vm)
{
	struct device *dev = device_find(vm, "amber,acpi-pm");

	return dev ? dev->priv : NULL;
}

void acpi_pm_power_button(struct vm *vm)
{
	struct acpi_pm *p = find(vm);
	uint64_t flags;

	if (!p)
		return;
	flags = spin_lock(&p->lock);
	p->st.status |= PM1_PWRBTN;
	evaluate_locked(p);
	spin_unlock(&p->lock, flags);
}

void acpi_pm_gpe(struct vm *vm, unsigned n)
{
	struct acpi_pm *p = find(vm);
	uint64_t flags;

	if (!p || n >= 8 * GPE_BYTES)
		return;
	flags = spin_lock(&p->lock);
	p->st.gpe_status[n / 8] |= (uint8_t)(1U << (n % 8));
	evaluate_locked(p);
	spin_unlock(&p->lock, flags);
}

/* --- registers -------------------------------------------------------------------------------- */

/* Byte 'reg' of the block, but for the timer. */
static uint8_t read_byte(const struct acpi_pm_state *s, unsigned reg)
{
	uint16_t control = s->control | PM1_SCI_EN;
	unsigned gpe = reg - (ACPI_GPE0 - PM_BASE);

	switch (reg) {
	case 0:
	case 1:
		return (uint8_t)(s->status >> (8 * reg));
	case 2:
	case 3:
		return (uint8_t)(s->enable >> (8 * (reg - 2)));
	case 4:
	case 5:
		return (uint8_t)(control >> (8 * (reg - 4)));
	case SMI_EN:
		return SMI_EN_APMC_EN;
	}
	if (gpe < GPE_BYTES)
		return s->gpe_status[gpe];
	if (gpe < 2 * GPE_BYTES)
		return s->gpe_enable[gpe - GPE_BYTES];
	return 0;
}

/* Sleep types but S5 are not offered in the tables; asking for one does nothing. */
static void write_control(struct acpi_pm *p, uint16_t v)
{
	p->st.control = v & PM1_CONTROL_KEPT;
	if ((v & PM1_SLP_EN) && (v & PM1_SLP_TYP) >> PM1_SLP_TYP_SHIFT == ACPI_S5_SLP_TYP)
		vm_request_poweroff(p->vm);
}

static uint16_t with_byte(uint16_t old, unsigned n, uint8_t v)
{
	return (uint16_t)((old & ~(0xffU << (8 * n))) | (unsigned)v << (8 * n));
}

/* Status bits are cleared by writing ones. */
static void write_byte(struct acpi_pm *p, unsigned reg, uint8_t v)
{
	struct acpi_pm_state *s = &p->st;
	unsigned gpe = reg - (ACPI_GPE0 - PM_BASE);

	switch (reg) {
	case 0:
	case 1:
		s->status &= (uint16_t) ~((unsigned)v << (8 * reg));
		return;
	case 2:
	case 3:
		s->enable = with_byte(s->enable, reg - 2, v) & PM1_ENABLES;
		return;
	case 4:
	case 5:
		write_control(p, with_byte(s->control, reg - 4, v));
		return;
	}
	if (gpe < GPE_BYTES)
		s->gpe_status[gpe] &= (uint8_t)~v;
	else if (gpe < 2 * GPE_BYTES)
		s->gpe_enable[gpe - GPE_BYTES] = v;
}

static void port_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct acpi_pm *p = ctx;
	uint64_t tmr = ACPI_PM_TMR - PM_BASE, flags;

	*value = 0;
	if (offset >= tmr && offset + len <= tmr + ACPI_PM_TMR_LEN) {
		*value = (timer_now(p) & 0xffffffff) >> (8 * (offset - tmr)); /* needs no lock */
		return;
	}
	flags = spin_lock(&p->lock);
	evaluate_locked(p);
	for (unsigned i = 0; i < len; i++)
		*value |= (uint64_t)read_byte(&p->st, (unsigned)offset + i) << (8 * i);
	spin_unlock(&p->lock, flags);
}

static void port_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct acpi_pm *p = ctx;
	uint64_t flags = spin_lock(&p->lock);

	evaluate_locked(p);
	for (unsigned i = 0; i < len; i++)
		write_byte(p, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
	evaluate_locked(p);
	spin_unlock(&p->lock, flags);
}

static const struct io_handler ports = {port_read, port_write};

/* --- the model -----------------------------------------------------------------------------------
 */

static int acpi_pm_create(struct device *dev, const struct config_dev *cfg, struct errmsg *e)
{
	struct acpi_pm *p = heap_zalloc(sizeof(*p));
	int err;

	if (!p)
		return err_set(e, ERR_NOMEM, "acpi-pm: out of memory");
	dev->priv = p;
	dev->state = &p->st;
	p->vm = dev->vm;
	spinlock_init(&p->lock, RANK_DEV_SPIN);
	vtimer_init(&p->timer, dev->vm, timer_fired, p);
	p->region = (struct io_region){
	    .name = "acpi-pm", .start = PM_BASE, .size = PM_SIZE, .ops = &ports, .ctx = p};
	err = iobus_map_port(dev->vm, &p->region);
	return err == OK ? OK : err_set(e, err, "acpi-pm: ports: %s", error_text(err));
}

static void acpi_pm_destroy(struct device *dev)
{
	struct acpi_pm *p = dev->priv;

	if (!p)
		return;
	vtimer_cancel(&p->timer);
	iobus_unmap_port(dev->vm, &p->region);
	heap_free(p);
}

static void acpi_pm_reset(struct device *dev)
{
	struct acpi_pm *p = dev->priv;
	uint64_t flags = spin_lock(&p->lock);

	p->st = (struct acpi_pm_state){.timer_seen = timer_now(p) / PM_TIMER_HALF};
	evaluate_locked(p);
	spin_unlock(&p->lock, flags);
}

static void acpi_pm_quiesce(struct device *dev)
{
}

static void acpi_pm_resume(struct device *dev)
{
	timer_fired(dev->priv);
}

static int acpi_pm_check(const struct device *dev, const void *state, struct errmsg *e)
{
	const struct acpi_pm_state *s = state;

	if (s->status & ~PM1_STATUSES)
		return err_set(e, ERR_INVAL, "status: reserved bits set");
	if (s->enable & ~PM1_ENABLES)
		return err_set(e, ERR_INVAL, "enable: reserved bits set");
	if (s->control & ~PM1_CONTROL_KEPT)
		return err_set(e, ERR_INVAL, "control: reserved bits set");
	return OK;
}

static void acpi_pm_loaded(struct device *dev)
{
}

DEVICE_MODEL(acpi_pm) = {
    .compatible = "amber,acpi-pm",
    .version = 1,
    .class = DEVCLASS_PLATFORM,
    .doc = "ACPI fixed events, PM timer and general-purpose events",
    .state_size = sizeof(struct acpi_pm_state),
    .fields = fields,
    .create = acpi_pm_create,
    .destroy = acpi_pm_destroy,
    .reset = acpi_pm_reset,
    .quiesce = acpi_pm_quiesce,
    .resume = acpi_pm_resume,
    .check = acpi_pm_check,
    .loaded = acpi_pm_loaded,
};
