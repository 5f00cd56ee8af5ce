/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exits that need the guest's instruction: device memory, string I/O, and the
 * length of an instruction where hardware does not tell. Connects the emulator
 * to guest memory and to the I/O bus.
 */
#include <string.h>
#include "hv/arch/x86/emul.h"
#include "hv/core/gmem.h"
#include "hv/core/iobus_dispatch.h"
#include "hv/core/memmap.h"
#include "hv/core/vcpu.h"
#include "hv/lib/log.h"

static bool is_lapic(struct vcpu *v, uint64_t addr)
{
	return addr >> PAGE_SHIFT == v->state.apic.base_msr >> PAGE_SHIFT;
}

static COLD void note_breakpoints(struct vcpu *v, gpa_t addr, unsigned len, bool write);

/* MOVs to DR7 exit: what enables breakpoints is known. */
static inline void look_for_breakpoints(struct vcpu *v, gpa_t addr, unsigned len, bool write)
{
	if (UNLIKELY(v->state.dr7 & 0xff))
		note_breakpoints(v, addr, len, write);
}

/* One naturally sized piece of device memory, at most eight bytes. */
static NO_STACK_PROTECTOR uint64_t device_read(struct vcpu *v, gpa_t addr, unsigned len)
{
	uint64_t value = UINT64_MAX;

	look_for_breakpoints(v, addr, len, false);
	if (!is_lapic(v, addr.a) ||
	    vlapic_mmio_read(&v->lapic, addr.a & (PAGE_SIZE - 1), len, &value))
		iobus_mmio_read(v->vm, addr, len, &value);
	return value;
}

static void device_write(struct vcpu *v, gpa_t addr, unsigned len, uint64_t value)
{
	look_for_breakpoints(v, addr, len, true);
	if (!is_lapic(v, addr.a) ||
	    vlapic_mmio_write(&v->lapic, addr.a & (PAGE_SIZE - 1), len, value))
		iobus_mmio_write(v->vm, addr, len, value);
}

static int mem_read(void *ctx, gpa_t addr, void *buf, unsigned len)
{
	struct vcpu *v = ctx;
	int err = gmem_read(v->vm, addr, buf, len);

	if (err != ERR_FAULT)
		return err;
	for (unsigned done = 0, n; done < len; done += n) {
		uint64_t value;

		n = MIN(len - done, 8U);
		value = device_read(v, gpa_add(addr, done), n);
		memcpy((uint8_t *)buf + done, &value, n);
	}
	return OK;
}

static int mem_write(void *ctx, gpa_t addr, const void *buf, unsigned len)
{
	struct vcpu *v = ctx;
	int err = gmem_write(v->vm, addr, buf, len);

	if (err != ERR_FAULT)
		return err;
	for (unsigned done = 0, n; done < len; done += n) {
		uint64_t value = 0;

		n = MIN(len - done, 8U);
		memcpy(&value, (const uint8_t *)buf + done, n);
		device_write(v, gpa_add(addr, done), n, value);
	}
	return OK;
}

/* On a device a locked operation is a read and a write: no bus is locked across it. */
static int mem_cmpxchg(void *ctx, gpa_t addr, void *old, const void *desired, unsigned len)
{
	struct vcpu *v = ctx;
	uint8_t was[16];
	int err = gmem_cmpxchg(v->vm, addr, old, desired, len);

	if (err != ERR_FAULT || len > sizeof(was))
		return err;
	err = mem_read(ctx, addr, was, len);
	if (err)
		return err;
	if (memcmp(was, old, len) == 0)
		return mem_write(ctx, addr, desired, len);
	memcpy(old, was, len);
	return OK;
}

static int mem_probe(void *ctx, gpa_t addr, unsigned len, bool write)
{
	struct vcpu *v = ctx;

	return gmem_prepare(v->vm, addr, len, write);
}

static void vectors(void *ctx)
{
	vcpu_take_vectors(ctx);
}

static int port_read(void *ctx, uint16_t port, unsigned len, uint32_t *value)
{
	struct vcpu *v = ctx;
	uint64_t wide;

	iobus_port_read(v->vm, port, len, &wide);
	*value = (uint32_t)wide;
	return OK;
}

static int port_write(void *ctx, uint16_t port, unsigned len, uint32_t value)
{
	struct vcpu *v = ctx;

	iobus_port_write(v->vm, port, len, value);
	return OK;
}

static const struct emul_ops guest_ops = {
    .read = mem_read,
    .write = mem_write,
    .cmpxchg = mem_cmpxchg,
    .probe = mem_probe,
    .vectors = vectors,
    .io_read = port_read,
    .io_write = port_write,
};

static int ram_read(void *ctx, gpa_t addr, void *buf, unsigned len)
{
	const struct vcpu *v = ctx;

	return gmem_read(v->vm, addr, buf, len);
}

/* For walks that the guest's CPU would not do: they leave no trace in tables, nor on devices. */
static const struct emul_ops ram_ops = {.read = ram_read};

/* Breakpoints are linear addresses, accesses are not: it counts what a breakpoint's maps to. */
static COLD void note_breakpoints(struct vcpu *v, gpa_t addr, unsigned len, bool write)
{
	unsigned mask;
	struct walk w;

	vcpu_need(v, VG_SEGS | VG_CRS | VG_DRS);
	mask = vcpu_data_breakpoints(&v->state, write);
	for (unsigned n = 0; n < 4; n++)
		if ((mask >> n & 1) &&
		    guest_walk(&v->state, &ram_ops, v, v->state.dr[n], 0, &w) == WALK_OK &&
		    vcpu_breakpoint_covers(&v->state, n, w.gpa.a, addr.a, len))
			v->device_hits |= (uint8_t)(1U << n);
}

static void emul_begin(struct vcpu *v, struct emul *e)
{
	const uint8_t *code;
	unsigned left;

	vcpu_need(v, VG_SEGS | VG_CRS);
	vcpu_refresh_pdptes(v);
	e->state = &v->state;
	e->ops = &guest_ops;
	e->ctx = v;
	code = code_at_rip(v, &left);
	if (code && left >= sizeof(e->insn)) {
		memcpy(e->insn, code, sizeof(e->insn));
		e->insn_bytes = sizeof(e->insn);
	} else {
		e->insn_bytes = 0;
	}
	e->insn_len = 0;
	e->event.type = EVENT_NONE;
	e->cr2 = 0;
}

static void queue_event(struct vcpu *v, const struct emul *e)
{
	if (e->event.type != EVENT_EXCEPTION)
		return;
	if (e->event.vector == VEC_PF)
		vcpu_page_fault(v, e->cr2, e->event.error_code);
	else
		vcpu_exception(v, e->event.vector, e->event.has_error, e->event.error_code);
}

unsigned vcpu_decode_insn(struct vcpu *v, struct emul *e)
{
	unsigned len;

	emul_begin(v, e);
	len = emul_insn_length(e);
	if (!len)
		queue_event(v, e);
	return len;
}

bool vcpu_read_operand(struct vcpu *v, unsigned len, uint64_t *value)
{
	struct emul e;
	enum emul_result r;

	emul_begin(v, &e);
	r = emul_read_operand(&e, len, value);
	if (r != EMUL_OK)
		queue_event(v, &e);
	return r == EMUL_OK;
}

unsigned vcpu_insn_length(struct vcpu *v)
{
	struct emul e;

	return vcpu_decode_insn(v, &e);
}

unsigned vcpu_fetch_insn(struct vcpu *v, uint8_t insn[15])
{
	unsigned done = 0;
	uint64_t linear;

	vcpu_need(v, VG_SEGS | VG_CRS);
	linear = v->state.rip;
	if (!vcpu_is_64bit(&v->state))
		linear = (uint32_t)(linear + v->state.seg[SEG_CS].base);
	while (done < 15) {
		unsigned n =
		    MIN(15 - done, (unsigned)(PAGE_SIZE - ((linear + done) & (PAGE_SIZE - 1))));
		struct walk w;

		if (guest_walk(&v->state, &guest_ops, v, linear + done,
			ACCESS_EXEC | (v->state.cpl == 3 ? ACCESS_USER : 0), &w) != WALK_OK ||
		    gmem_read(v->vm, w.gpa, insn + done, n))
			break;
		done += n;
	}
	return done;
}

/* The instruction is not in the table: the guest gets #UD, the operator a count and a line in the
 * log. */
static void unhandled(struct vcpu *v, uint64_t at)
{
	uint8_t b[15] = {0};

	vcpu_fetch_insn(v, b);
	if (v->vm->stat_unhandled_insn++ < 8)
		log_warn(
		    "vm '%s' vcpu%u: cannot emulate %02x %02x %02x %02x %02x %02x at RIP 0x%llx"
		    " (address 0x%llx): #UD",
		    v->vm->config.name, v->index, b[0], b[1], b[2], b[3], b[4], b[5],
		    (unsigned long long)v->state.rip, (unsigned long long)at);
	vcpu_ud(v);
}

/* After emulate() has run. */
static void finish(struct vcpu *v, const struct emul *e, enum emul_result result, uint64_t at)
{
	if (UNLIKELY(!v->xstate_loaded))
		vcpu_return_vectors(v);
	if (e->segments_changed)
		vcpu_changed(v, VG_SEGS);
	switch (result) {
	case EMUL_OK:
	case EMUL_CONTINUE:
	case EMUL_EXCEPTION:
		queue_event(v, e);
		break;
	case EMUL_RETRY:
		break;
	case EMUL_UNHANDLED:
		unhandled(v, at);
		break;
	}
}

/* A single step ends in DR6.BS: only then are the debug registers of interest. */
static void prepare_step(struct vcpu *v)
{
	if (UNLIKELY(v->state.rflags & RFLAGS_TF)) {
		vcpu_need(v, VG_DRS);
		vcpu_changed(v, VG_DRS);
	}
}

/* Where there is neither RAM nor ROM, whatever the machine. */
static inline bool never_ram(uint64_t addr)
{
	return addr - MEMMAP_LOW_RAM_MAX < MEMMAP_ROM - MEMMAP_LOW_RAM_MAX;
}

/*
 * A plain MOV in 64-bit mode to where there is never RAM: the only things to know
 * are the operand's size and register. Everything that could fault in the guest's
 * paging did not, or there were no nested fault. False: the emulator must do it.
 */
static inline bool mov_mmio(struct vcpu *v, const struct vm_exit *x)
{
	struct vcpu_state *s = &v->state;
	uint8_t insn[EMUL_MOV_BYTES];
	struct emul_mov m;
	unsigned left;
	const uint8_t *code;

	if (!never_ram(x->mmio.gpa) || (s->rflags & RFLAGS_TF))
		return false;
	code = code_at_rip(v, &left);
	if (!code || left < sizeof(insn))
		return false;
	memcpy(insn, code, sizeof(insn));
	if (!emul_mov_decode(s, insn, &m) || m.write != x->mmio.write ||
	    ((m.linear ^ x->mmio.gpa) & (PAGE_SIZE - 1)))
		return false;
	if (m.write)
		device_write(v, gpa(x->mmio.gpa), m.size, m.value);
	else
		emul_mov_load(s, &m, device_read(v, gpa(x->mmio.gpa), m.size));
	s->rflags &= ~(uint64_t)RFLAGS_RF;
	vcpu_skip_bytes(v, m.len);
	return true;
}

static COLD void emulate_exit(struct vcpu *v, const struct vm_exit *x)
{
	struct emul e;

	emul_begin(v, &e);
	prepare_step(v);
	finish(v, &e,
	    x->mmio.data ? emulate_mmio(&e, gpa(x->mmio.gpa), x->mmio.write) : emulate(&e),
	    x->mmio.gpa);
}

/* RAM that had to be fetched, copied or opened first: the guest tries again. */
static COLD bool served_by_ram(struct vcpu *v, const struct vm_exit *x)
{
	switch (gmem_fault(v->vm, gpa(x->mmio.gpa), x->mmio.write)) {
	case GMEM_NOT_RAM:
		return false;
	case GMEM_WAS_READY:
		virt->flush(v);
		return true;
	default:
		return true;
	}
}

void exit_mmio(struct vcpu *v, const struct vm_exit *x)
{
	if (!never_ram(x->mmio.gpa) && served_by_ram(v, x))
		return;
	/* Code in device memory, or page tables there: no machine does that; the fetch would fail
	 * again. */
	if (UNLIKELY(x->mmio.exec)) {
		vm_fail(v->vm, DISP_ERROR, "vcpu%u: executes device memory at 0x%llx (RIP 0x%llx)",
		    v->index, (unsigned long long)x->mmio.gpa, (unsigned long long)v->state.rip);
		return;
	}
	if (!x->mmio.data || !mov_mmio(v, x))
		emulate_exit(v, x);
	if (UNLIKELY(v->device_hits)) {
		vcpu_debug_trap(v, v->device_hits);
		v->device_hits = 0;
	}
}

COLD void vcpu_emulate(struct vcpu *v)
{
	struct emul e;

	emul_begin(v, &e);
	prepare_step(v);
	finish(v, &e, emulate(&e), 0);
}

/* IN and OUT with a register need no decoding; INS and OUTS do. */
NO_STACK_PROTECTOR void exit_io(struct vcpu *v, const struct vm_exit *x)
{
	static const uint64_t size_mask[8] = {0, 0xff, 0xffff, 0, 0xffffffff};
	uint64_t *rax = &v->state.gpr[GPR_RAX], mask = size_mask[x->io.size & 7], value;

	if (UNLIKELY(x->io.string)) {
		vcpu_emulate(v);
		if (UNLIKELY(v->state.dr7 & 0xff))
			vcpu_io_breakpoints(v, x->io.port, x->io.size);
		return;
	}
	if (x->io.in) {
		iobus_port_read(v->vm, x->io.port, x->io.size, &value);
		/* 32-bit results clear the upper half of RAX */
		*rax = x->io.size == 4 ? value : (*rax & ~mask) | (value & mask);
	} else {
		iobus_port_write(v->vm, x->io.port, x->io.size, *rax & mask);
	}
	if (LIKELY(x->insn_len))
		vcpu_skip_bytes(v, x->insn_len);
	else
		vcpu_skip(v, x);
	if (UNLIKELY(v->state.dr7 & 0xff))
		vcpu_io_breakpoints(v, x->io.port, x->io.size);
}
