/* SPDX-License-Identifier: BSD-2-Clause */
/* MSI-X: the vector table, its masks and the pending bits. */
#include "hv/dev/msix.h"

#include "hv/core/irq.h"
#include "hv/lib/cursor.h"
#include "hv/lib/log.h"

enum msix_cap { /* offsets in the capability */
	MSIX_CAP_CONTROL = 2,
	MSIX_CAP_TABLE = 4,
	MSIX_CAP_PBA = 8,
	MSIX_CAP_LEN = 12,
};
enum msix_control {
	MSIX_CONTROL_FUNCTION_MASK = 1 << 14,
	MSIX_CONTROL_ENABLE = 1 << 15,
};
enum msix_entry { /* offsets in a table entry */
	MSIX_ENTRY_ADDRESS = 0,
	MSIX_ENTRY_DATA = 8,
	MSIX_ENTRY_CONTROL = 12,
	MSIX_ENTRY_SIZE = 16,
};
enum { MSIX_VECTOR_MASKED = 1 };

static bool deliverable(const struct msix *m)
{
	return (m->message_control & (MSIX_CONTROL_ENABLE | MSIX_CONTROL_FUNCTION_MASK)) ==
	       MSIX_CONTROL_ENABLE;
}

/* Lock held. */
static void send_pending(struct msix *m)
{
	for (unsigned v = 0; v < m->nvec && m->st->pending && deliverable(m); v++) {
		if (!(m->st->pending >> v & 1) || m->st->control[v] & MSIX_VECTOR_MASKED)
			continue;
		m->st->pending &= ~BIT(v);
		irq_msi(m->f->vm, m->st->address[v], m->st->data[v]);
	}
}

void msix_raise(struct msix *m, unsigned vector)
{
	uint64_t flags;

	if (vector >= m->nvec)
		return;
	flags = spin_lock(&m->lock);
	m->st->pending |= BIT(vector);
	send_pending(m);
	spin_unlock(&m->lock, flags);
}

bool msix_enabled(struct msix *m)
{
	return __atomic_load_n(&m->message_control, __ATOMIC_RELAXED) & MSIX_CONTROL_ENABLE;
}

void msix_config_written(struct msix *m, unsigned off, unsigned len)
{
	unsigned reg = m->cap + MSIX_CAP_CONTROL;
	uint64_t flags;

	if (off >= reg + 2 || off + len <= reg)
		return;
	flags = spin_lock(&m->lock);
	__atomic_store_n(&m->message_control, get_le16(m->f->st->config + reg), __ATOMIC_RELAXED);
	send_pending(m);
	spin_unlock(&m->lock, flags);
	pci_msi_active_set(m->f, msix_enabled(m));
}

/* --- table and pending bits ----------------------------------------------------- */

/* A doubleword of the table or of the pending bit array. Lock held. */
static uint32_t dword_read(const struct msix *m, unsigned offset)
{
	unsigned v = offset / MSIX_ENTRY_SIZE;

	if (ALIGN_DOWN(offset, 8U) == MSIX_PBA_OFFSET)
		return (uint32_t)(m->st->pending >> (offset % 8 * 8));
	if (v >= m->nvec) {
		device_unhandled(m->f->dev);
		return 0;
	}
	switch (offset % MSIX_ENTRY_SIZE) {
	case MSIX_ENTRY_ADDRESS:
		return (uint32_t)m->st->address[v];
	case MSIX_ENTRY_ADDRESS + 4:
		return (uint32_t)(m->st->address[v] >> 32);
	case MSIX_ENTRY_DATA:
		return m->st->data[v];
	default:
		return m->st->control[v];
	}
}

static void dword_write(struct msix *m, unsigned offset, uint32_t value)
{
	unsigned v = offset / MSIX_ENTRY_SIZE;

	if (v >= m->nvec) {
		device_unhandled(m->f->dev); /* the pending bits are read-only */
		return;
	}
	switch (offset % MSIX_ENTRY_SIZE) {
	case MSIX_ENTRY_ADDRESS:
		m->st->address[v] = (m->st->address[v] & ~(uint64_t)UINT32_MAX) | (value & ~3u);
		break;
	case MSIX_ENTRY_ADDRESS + 4:
		m->st->address[v] = (uint32_t)m->st->address[v] | (uint64_t)value << 32;
		break;
	case MSIX_ENTRY_DATA:
		m->st->data[v] = value;
		break;
	default:
		m->st->control[v] = value & MSIX_VECTOR_MASKED;
		break;
	}
}

/* Only aligned doublewords and quadwords are defined (6.8.2); anything else does nothing. */
static bool access_ok(uint64_t offset, unsigned len)
{
	return (len == 4 || len == 8) && offset % len == 0;
}

static void msix_bar_read(void *ctx, uint64_t offset, unsigned len, uint64_t *value)
{
	struct msix *m = ctx;
	uint64_t flags;

	*value = 0;
	if (!access_ok(offset, len)) {
		device_unhandled(m->f->dev);
		return;
	}
	flags = spin_lock(&m->lock);
	*value = dword_read(m, (unsigned)offset);
	if (len == 8)
		*value |= (uint64_t)dword_read(m, (unsigned)offset + 4) << 32;
	spin_unlock(&m->lock, flags);
}

static void msix_bar_write(void *ctx, uint64_t offset, unsigned len, uint64_t value)
{
	struct msix *m = ctx;
	uint64_t flags;

	if (!access_ok(offset, len)) {
		device_unhandled(m->f->dev);
		return;
	}
	flags = spin_lock(&m->lock);
	dword_write(m, (unsigned)offset, (uint32_t)value);
	if (len == 8)
		dword_write(m, (unsigned)offset + 4, (uint32_t)(value >> 32));
	send_pending(m);
	spin_unlock(&m->lock, flags);
}

static const struct io_handler msix_bar_ops = {.read = msix_bar_read, .write = msix_bar_write};

/* --- life cycle ----------------------------------------------------------------- */

void msix_init(
    struct msix *m, struct pci_function *f, struct msix_state *st, unsigned nvec, unsigned bar)
{
	uint8_t body[MSIX_CAP_LEN - 2];

	ASSERT(nvec >= 1 && nvec <= MSIX_MAX_VECTORS);
	*m = (struct msix){.f = f, .st = st, .nvec = nvec};
	spinlock_init(&m->lock, RANK_DEV_SPIN);
	put_le16(body + MSIX_CAP_CONTROL - 2, (uint16_t)(nvec - 1));
	put_le32(body + MSIX_CAP_TABLE - 2, bar);
	put_le32(body + MSIX_CAP_PBA - 2, MSIX_PBA_OFFSET | bar);
	m->cap = pci_function_add_cap(f, PCI_CAP_MSIX, body, MSIX_CAP_LEN);
	ASSERT(m->cap);
	put_le16(
	    f->wmask + m->cap + MSIX_CAP_CONTROL, MSIX_CONTROL_ENABLE | MSIX_CONTROL_FUNCTION_MASK);
	pci_function_add_bar(f, bar, MSIX_BAR_SIZE, &msix_bar_ops, m);
}

void msix_reset(struct msix *m)
{
	uint64_t flags = spin_lock(&m->lock);

	*m->st = (struct msix_state){0};
	for (unsigned v = 0; v < MSIX_MAX_VECTORS; v++)
		m->st->control[v] = MSIX_VECTOR_MASKED;
	spin_unlock(&m->lock, flags);
}

int msix_check(const struct msix *m, const struct msix_state *st, struct errmsg *e)
{
	if (st->pending >> m->nvec)
		return err_set(e, ERR_RANGE, "msix-pending: 0x%llx, there are %u vectors",
		    (unsigned long long)st->pending, m->nvec);
	for (unsigned v = 0; v < MSIX_MAX_VECTORS; v++)
		if (st->address[v] & 3)
			return err_set(e, ERR_INVAL, "msix-address: vector %u: not aligned", v);
	return OK;
}

void msix_resume(struct msix *m)
{
	uint64_t flags = spin_lock(&m->lock);

	send_pending(m);
	spin_unlock(&m->lock, flags);
}

#include "hv/dev/regs/msix.h"
