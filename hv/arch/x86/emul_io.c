/* SPDX-License-Identifier: BSD-2-Clause */
/* IN and OUT, and who may use a port (SDM volume 1, 19.5). */
#include "hv/arch/x86/emul_impl.h"

enum { TSS32_AVAILABLE = 9, TSS32_BUSY = 11, TSS_IO_BASE = 0x66 };

/* Reads two bytes of the task-state segment, which the CPU does with its own rights. */
static enum emul_result tss_read16(struct insn *i, uint32_t offset, uint16_t *out)
{
	const struct seg *tr = &i->s->seg[SEG_TR];
	uint64_t linear = tr->base + offset;
	struct span m;
	enum emul_result r;

	if ((uint64_t)offset + 1 > tr->limit)
		return raise(i, VEC_GP, 0);
	if (i->mode != MODE_64 && !(i->s->efer & EFER_LMA))
		linear = (uint32_t)linear;
	r = linear_span(i, linear, 2, ACCESS_READ | ACCESS_IMPLICIT_SUPERVISOR, &m);
	return r == EMUL_OK ? mem_read(i, &m, out) : r;
}

static enum emul_result io_bitmap(struct insn *i, uint16_t port, unsigned size)
{
	unsigned type = i->s->seg[SEG_TR].attr & SEG_ATTR_TYPE;
	uint16_t base, bits;
	enum emul_result r;

	/* A 16-bit TSS has no bitmap. */
	if (type != TSS32_BUSY && type != TSS32_AVAILABLE)
		return raise(i, VEC_GP, 0);
	r = tss_read16(i, TSS_IO_BASE, &base);
	if (r == EMUL_OK) /* always two bytes: the ports may straddle a byte */
		r = tss_read16(i, (uint32_t)base + port / 8, &bits);
	if (r != EMUL_OK)
		return r;
	if (bits >> (port & 7) & ((1u << size) - 1))
		return raise(i, VEC_GP, 0);
	return EMUL_OK;
}

enum emul_result io_permission(struct insn *i, uint16_t port, unsigned size)
{
	const struct vcpu_state *s = i->s;
	unsigned iopl = s->rflags >> 12 & 3;

	if (!(s->cr0 & CR0_PE))
		return EMUL_OK;
	if (s->cpl <= iopl && !(s->rflags & RFLAGS_VM))
		return EMUL_OK;
	return io_bitmap(i, port, size);
}

enum emul_result port_read(struct insn *i, uint16_t port, unsigned size, uint64_t *value)
{
	uint32_t v = 0;
	int err = i->e->ops->io_read(i->e->ctx, port, size, &v);

	if (err == ERR_RETRY)
		return EMUL_RETRY;
	*value = (err == OK ? v : ~0u) & size_mask(size);
	return EMUL_OK;
}

enum emul_result port_write(struct insn *i, uint16_t port, unsigned size, uint64_t value)
{
	int err = i->e->ops->io_write(i->e->ctx, port, size, (uint32_t)(value & size_mask(size)));

	return err == ERR_RETRY ? EMUL_RETRY : EMUL_OK;
}

/* E4..E7 have the port in the immediate, EC..EF in DX. */
static uint16_t port_operand(const struct insn *i)
{
	return i->opcode & 8 ? (uint16_t)i->s->gpr[GPR_RDX] : (uint8_t)i->imm;
}

static unsigned port_size(const struct insn *i)
{
	return MIN(i->size, (uint8_t)4);
}

enum emul_result exec_in(struct insn *i)
{
	uint16_t port = port_operand(i);
	unsigned size = port_size(i);
	uint64_t value;
	enum emul_result r = io_permission(i, port, size);

	if (r == EMUL_OK)
		r = port_read(i, port, size, &value);
	if (r == EMUL_OK)
		reg_write(i, GPR_RAX, size, value);
	return r;
}

enum emul_result exec_out(struct insn *i)
{
	uint16_t port = port_operand(i);
	unsigned size = port_size(i);
	enum emul_result r = io_permission(i, port, size);

	return r == EMUL_OK ? port_write(i, port, size, i->s->gpr[GPR_RAX]) : r;
}
