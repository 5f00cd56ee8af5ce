/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's thread: entering the guest, handing exits on, halting, parking; and
 * which event goes in first (exception, NMI, interrupt).
 */
#include "hv/core/vcpu.h"

#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/smp.h"
#include "hv/arch/x86/tsc.h"
#include "hv/arch/x86/xstate.h"
#include "hv/core/pvclock.h"
#include "hv/core/vclock.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

const struct virt_ops *virt;

enum { VCPU_WEIGHT = 128 };

/* --- requests -------------------------------------------------------------- */

void vcpu_request(struct vcpu *v, uint32_t bits)
{
	uint32_t old = __atomic_fetch_or(&v->requests, bits, __ATOMIC_SEQ_CST);
	int cpu = __atomic_load_n(&v->running_on, __ATOMIC_SEQ_CST);

	if ((old & bits) == bits && cpu < 0)
		return; /* it has yet to look at the same request */
	/* Whether it is in the guest, only that CPU knows: the kick is for nothing if it is not. */
	if (cpu >= 0 && (unsigned)cpu != cpu_id())
		ipi_kick((unsigned)cpu);
	if (__atomic_load_n(&v->sleeping, __ATOMIC_SEQ_CST)) {
		/* the lock: it may have looked at its requests and not yet be on the queue */
		uint64_t flags = spin_lock(&v->lock);

		waitq_wake_all(&v->waitq);
		spin_unlock(&v->lock, flags);
	}
}

static void nothing(void *arg)
{
	(void)arg;
}

void vcpu_flush_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_request(vm->vcpus[i], VCPU_REQ_TLB);
	/* A CPU that was in the guest has left it when it has answered, and looks at the request.
	 */
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		int cpu = __atomic_load_n(&vm->vcpus[i]->running_on, __ATOMIC_SEQ_CST);

		if (cpu >= 0 && (unsigned)cpu != cpu_id())
			smp_call((unsigned)cpu, nothing, NULL);
	}
}

/* --- vector state ------------------------------------------------------------ */

static uint64_t xstate_mask(const struct vcpu *v)
{
	uint64_t mask = v->vm->cpu_model->xcr0_mask;

	return mask ? mask : XSTATE_X87 | XSTATE_SSE;
}

/*
 * The guest's vector state goes into the CPU together with its XCR0, and both
 * stay there for as long as the thread has the CPU: the hypervisor itself uses
 * neither. Interrupts are off.
 */
static void load_xstate(struct vcpu *v)
{
	xstate_restore(v->state.xstate, xstate_mask(v));
	if (v->has_xsave)
		xsetbv(0, v->state.xcr0);
}

static void save_xstate(struct vcpu *v)
{
	if (v->has_xsave) {
		v->state.xcr0 = vcpu_xcr0(v);
		xsetbv(0, xstate_host_mask());
	}
	xstate_save(v->state.xstate, xstate_mask(v));
	xstate_mend(v->state.xstate);
	/* A model without XSAVE runs on CPUs without it too: FXSAVE writes no header, and what
	 * XSAVE wrote on another CPU must not say that a component is unused. */
	if (!v->has_xsave)
		*(uint64_t *)(void *)(v->state.xstate + XSAVE_HEADER) = XSTATE_X87 | XSTATE_SSE;
}

void vcpu_take_vectors(struct vcpu *v)
{
	uint64_t flags = irq_save();

	if (v->xstate_loaded)
		save_xstate(v);
	v->xstate_loaded = false;
	irq_restore(flags);
}

void vcpu_return_vectors(struct vcpu *v)
{
	uint64_t flags = irq_save();

	if (!v->xstate_loaded)
		load_xstate(v);
	v->xstate_loaded = true;
	irq_restore(flags);
}

/* The thread leaves its CPU. */
static void switch_out(void *arg)
{
	struct vcpu *v = arg;

	__atomic_store_n(&v->running_on, -1, __ATOMIC_SEQ_CST);
	if (v->xstate_loaded)
		save_xstate(v);
	virt->vcpu_put(v);
}

static void switch_in(void *arg)
{
	struct vcpu *v = arg;

	__atomic_store_n(&v->running_on, (int)cpu_id(), __ATOMIC_SEQ_CST);
	if (v->xstate_loaded)
		load_xstate(v);
	if (v->has_rdtscp)
		wrmsr(MSR_TSC_AUX, v->state.tsc_aux);
	virt->vcpu_load(v);
	/* this CPU's counter may differ from the last one's */
	if (UNLIKELY(this_cpu()->tsc_offset != v->tsc_cpu_offset))
		vcpu_update_tsc(v);
}

/* --- clock ------------------------------------------------------------------- */

uint64_t vcpu_tsc(struct vcpu *v)
{
	return vclock_tsc(v->vm) + v->state.tsc_offset;
}

void vcpu_update_tsc(struct vcpu *v)
{
	v->tsc_cpu_offset = this_cpu()->tsc_offset;
	if (virt->set_tsc_ratio)
		virt->set_tsc_ratio(v, &v->vm->tsc_scale);
	if (virt->want_rdtsc_exits)
		virt->want_rdtsc_exits(v, v->vm->tsc_exits);
	virt->set_tsc_offset(v, vclock_tsc_offset(v->vm) + v->state.tsc_offset);
}

/* --- events ------------------------------------------------------------------ */

/* SDM volume 3, table 6-4: contributory exceptions. */
static bool contributory(uint8_t vector)
{
	return vector == VEC_DE || (vector >= VEC_TS && vector <= VEC_GP);
}

void vcpu_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error_code)
{
	struct event *first = &v->state.injected, *ev = &v->state.pending;

	vcpu_need(v, VG_CRS);
	if (!(v->state.cr0 & CR0_PE))
		has_error = false; /* real mode pushes none (SDM volume 3, 21.1.4) */
	if (ev->type == EVENT_EXCEPTION)
		first = ev; /* decided on a moment ago: counts as being delivered */
	if (first->type == EVENT_EXCEPTION) {
		if (first->vector == VEC_DF) {
			vm_fail(v->vm, DISP_TRIPLE_FAULT, "vcpu%u: triple fault at RIP 0x%llx",
			    v->index, (unsigned long long)v->state.rip);
			return;
		}
		if ((contributory(first->vector) && contributory(vector)) ||
		    (first->vector == VEC_PF && (contributory(vector) || vector == VEC_PF))) {
			vector = VEC_DF;
			has_error = v->state.cr0 & CR0_PE;
			error_code = 0;
		}
		/* otherwise the first is benign and will come again when its instruction does */
	}
	v->state.injected.type = EVENT_NONE;
	if (vcpu_is_fault(vector))
		v->state.rflags |= RFLAGS_RF;
	*ev = (struct event){EVENT_EXCEPTION, vector, has_error, 0, error_code};
}

void vcpu_page_fault(struct vcpu *v, uint64_t cr2, uint32_t error_code)
{
	vcpu_need(v, VG_CRS);
	v->state.cr2 = cr2;
	vcpu_changed(v, VG_CRS);
	vcpu_exception(v, VEC_PF, true, error_code);
}

static bool in_shadow(const struct vcpu_state *s)
{
	return s->sti_shadow | s->movss_shadow;
}

static bool may_interrupt(const struct vcpu_state *s)
{
	return (s->rflags & RFLAGS_IF) && !in_shadow(s);
}

static void want_irq_window(struct vcpu *v, bool on)
{
	if (v->irq_window != on) {
		v->irq_window = on;
		virt->want_irq_window(v, on);
	}
}

/* A fixed interrupt or ExtINT, if one may go in now; otherwise asks for a window. */
static void inject_interrupt(struct vcpu *v, bool slot_taken)
{
	struct vcpu_state *s = &v->state;
	int pending = vlapic_pending(&v->lapic);

	if (pending < 0) {
		want_irq_window(v, false);
		return;
	}
	if (slot_taken || !may_interrupt(s)) {
		want_irq_window(v, true);
		return;
	}
	virt->inject(v, &(struct event){EVENT_INTR, vlapic_accept(&v->lapic, pending), 0, 0, 0});
	want_irq_window(v, vlapic_pending(&v->lapic) >= 0);
}

static bool inject_nmi(struct vcpu *v)
{
	struct vcpu_state *s = &v->state;

	if (s->nmi_blocked || in_shadow(s)) {
		virt->want_nmi_window(v, true);
		return false;
	}
	__atomic_store_n(&s->apic.nmi_pending, 0, __ATOMIC_SEQ_CST);
	virt->inject(v, &(struct event){EVENT_NMI, VEC_NMI, 0, 0, 0});
	return true;
}

/* At most one event an entry: what was cut short, then exception, NMI, interrupt. Interrupts off.
 */
static void inject_something(struct vcpu *v)
{
	struct vcpu_state *s = &v->state;
	struct event *first = s->injected.type != EVENT_NONE ? &s->injected : &s->pending;
	unsigned type = first->type;
	bool taken = type != EVENT_NONE;

	/* An interrupt that was cut short waits if interrupts are off by now: no CPU delivers it.
	 */
	if (UNLIKELY(type == EVENT_INTR && !may_interrupt(s))) {
		want_irq_window(v, true);
		if (s->apic.nmi_pending)
			(void)inject_nmi(v);
		return;
	}
	if (taken) {
		virt->inject(v, first);
		first->type = EVENT_NONE;
	}
	if (UNLIKELY(__atomic_load_n(&s->apic.nmi_pending, __ATOMIC_ACQUIRE))) {
		/* There is no window for "after this event": a kick ends the run right behind it,
		 * but an interrupt may wait for the kick to be gone (V_IRQ): then the NMI waits for
		 * the exit at that one's EOI. */
		if (!taken)
			taken = inject_nmi(v);
		else if (type != EVENT_INTR)
			ipi_kick(cpu_id());
	}
	inject_interrupt(v, taken);
}

/* Mostly there is nothing to do, and no window open for what has gone. */
static inline void inject_events(struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;

	if (UNLIKELY(s->injected.type | s->pending.type | v->irq_window |
		     __atomic_load_n(&s->apic.nmi_pending, __ATOMIC_ACQUIRE)) ||
	    UNLIKELY(vlapic_maybe_pending(&v->lapic, &s->apic)))
		inject_something(v);
}

/* --- halting, INIT and SIPI ------------------------------------------------- */

/* INIT: SDM volume 3, table 9-1, column INIT; vector state and most MSRs survive. */
static void take_init(struct vcpu *v)
{
	struct vcpu_state *s = &v->state, *fresh = v->init_scratch;

	vcpu_need(v, VG_ALL);
	vcpu_state_reset(fresh, v->apic_id, v->index == 0);
	memcpy(s->gpr, fresh->gpr, sizeof(s->gpr));
	memcpy(s->seg, fresh->seg, sizeof(s->seg));
	s->rip = fresh->rip;
	s->rflags = fresh->rflags;
	s->gdtr = fresh->gdtr;
	s->idtr = fresh->idtr;
	s->cpl = 0;
	/* CD and NW keep their values */
	s->cr0 =
	    (fresh->cr0 & ~((uint64_t)CR0_CD | CR0_NW)) | (s->cr0 & ((uint64_t)CR0_CD | CR0_NW));
	s->cr2 = s->cr3 = s->cr4 = s->efer = 0;
	memcpy(s->dr, fresh->dr, sizeof(s->dr));
	s->dr6 = fresh->dr6;
	s->dr7 = fresh->dr7;
	s->pending.type = s->injected.type = EVENT_NONE;
	s->nmi_blocked = s->sti_shadow = s->movss_shadow = 0;
	s->pending_dbg = 0;
	vcpu_changed(v, VG_ALL);
	vlapic_reset(&v->lapic, true);
	s->activity = v->index == 0 ? ACTIVITY_RUNNING : ACTIVITY_WAIT_SIPI;
}

/* SIPI: real mode at vector * 4 KiB (SDM volume 3, 9.4.4). */
static void take_sipi(struct vcpu *v, uint8_t vector)
{
	struct vcpu_state *s = &v->state;

	if (s->activity != ACTIVITY_WAIT_SIPI)
		return;
	vcpu_need(v, VG_SEGS);
	s->seg[SEG_CS].sel = (uint16_t)(vector << 8);
	s->seg[SEG_CS].base = (uint64_t)vector << 12;
	s->rip = 0;
	s->activity = ACTIVITY_RUNNING;
	vcpu_changed(v, VG_SEGS);
}

static void take_init_sipi(struct vcpu *v)
{
	struct vlapic_state *a = &v->state.apic;

	if (__atomic_exchange_n(&a->init_pending, 0, __ATOMIC_SEQ_CST))
		take_init(v);
	if (__atomic_exchange_n(&a->sipi_pending, 0, __ATOMIC_SEQ_CST))
		take_sipi(v, a->sipi_vector);
}

/* True if a vCPU that is not running should go on. */
static bool should_wake(struct vcpu *v)
{
	const struct vcpu_state *s = &v->state;

	if (s->activity == ACTIVITY_WAIT_SIPI || s->activity == ACTIVITY_SHUTDOWN)
		return false;
	if (s->pending.type != EVENT_NONE || s->injected.type != EVENT_NONE ||
	    (s->apic.nmi_pending && !s->nmi_blocked))
		return true;
	return (s->rflags & RFLAGS_IF) && vlapic_pending(&v->lapic) >= 0;
}

/* Every vCPU waits for what only an NMI or INIT could bring: the guest is done. */
static void check_dead_halt(struct vcpu *v)
{
	struct vm *vm = v->vm;

	if (v->state.activity != ACTIVITY_HALTED || (v->state.rflags & RFLAGS_IF))
		return;
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		const struct vcpu_state *s = &vm->vcpus[i]->state;

		if (s->activity == ACTIVITY_RUNNING ||
		    (s->activity == ACTIVITY_HALTED && (s->rflags & RFLAGS_IF)) ||
		    s->apic.nmi_pending || s->apic.init_pending || s->apic.sipi_pending ||
		    s->pending.type != EVENT_NONE || s->injected.type != EVENT_NONE)
			return;
	}
	vm_fail(vm, DISP_HALT, "every vCPU has halted with interrupts off");
}

/* Sleeps until a request comes. EVENT is the only one cleared here. */
static void sleep_until_request(struct vcpu *v)
{
	uint64_t flags = spin_lock(&v->lock);

	__atomic_store_n(&v->sleeping, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST))
		flags = waitq_wait(&v->waitq, &v->lock, flags);
	__atomic_store_n(&v->sleeping, false, __ATOMIC_SEQ_CST);
	spin_unlock(&v->lock, flags);
}

/* --- parking ----------------------------------------------------------------- */

/* The instruction boundary at which state may be read and written by others (I7). */
static void park(struct vcpu *v)
{
	struct vm *vm = v->vm;
	uint64_t flags;

	vcpu_refresh_pdptes(v);
	flags = irq_save();
	vcpu_need(v, VG_ALL);
	if (virt->mend)
		(void)virt->mend(v, false);
	want_irq_window(v, false);
	vcpu_take_vectors(v);
	irq_restore(flags);

	flags = spin_lock(&vm->park_lock);
	v->parked = true;
	waitq_wake_all(&vm->park_waitq);
	while (__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) & VCPU_REQ_PAUSE)
		flags = waitq_wait(&vm->park_waitq, &vm->park_lock, flags);
	v->parked = false;
	spin_unlock(&vm->park_lock, flags);

	flags = irq_save();
	vcpu_return_vectors(v);
	if (v->has_rdtscp)
		wrmsr(MSR_TSC_AUX, v->state.tsc_aux);
	irq_restore(flags);
}

void vcpu_unpark(struct vcpu *v)
{
	uint64_t flags = spin_lock(&v->vm->park_lock);

	__atomic_fetch_and(&v->requests, ~(uint32_t)VCPU_REQ_PAUSE, __ATOMIC_SEQ_CST);
	waitq_wake_all(&v->vm->park_waitq);
	spin_unlock(&v->vm->park_lock, flags);
}

/* --- the loop ------------------------------------------------------------------ */

/* False: the thread is to end. */
static bool take_requests(struct vcpu *v)
{
	uint32_t r = __atomic_fetch_and(
	    &v->requests, (uint32_t)(VCPU_REQ_PAUSE | VCPU_REQ_EXIT), __ATOMIC_SEQ_CST);

	if (r & VCPU_REQ_EXIT)
		return false;
	if (r & VCPU_REQ_TLB) {
		code_cache_clear(&v->code);
		virt->flush(v);
	}
	if (r & VCPU_REQ_PAUSE)
		park(v);
	if (r & VCPU_REQ_CLOCK) {
		uint64_t never = 0;

		__atomic_compare_exchange_n(&v->vm->resumed_at, &never, time_now(), false,
		    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
		vcpu_update_tsc(v);
		pvclock_update(v, true);
	}
	if (r & VCPU_REQ_EVENT)
		take_init_sipi(v);
	return true;
}

/*
 * Whether something comes before the next entry. With interrupts off: what is
 * asked for after this look comes with a kick, which ends the guest's run at
 * once. running_on was set when the thread came to this CPU, so whoever sets a
 * bit in 'requests' too late for this look finds it there.
 */
static inline bool must_attend(const struct vcpu *v)
{
	return __atomic_load_n(&v->requests, __ATOMIC_ACQUIRE) ||
	       v->state.activity != ACTIVITY_RUNNING || cpu_need_resched();
}

/* Requests, halting, other threads. False: the thread is to end. */
static bool attend(struct vcpu *v)
{
	if (__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) && !take_requests(v))
		return false;
	if (v->state.activity != ACTIVITY_RUNNING) {
		if (should_wake(v)) {
			v->state.activity = ACTIVITY_RUNNING;
		} else {
			check_dead_halt(v);
			sleep_until_request(v);
		}
	}
	if (cpu_need_resched())
		thread_yield();
	return true;
}

static void begin_running(struct vcpu *v)
{
	uint64_t flags = irq_save();

	thread_set_switch_hooks(thread_current(), switch_out, switch_in, v);
	__atomic_store_n(&v->running_on, (int)cpu_id(), __ATOMIC_SEQ_CST);
	virt->vcpu_load(v);
	irq_restore(flags);
}

static void end_running(struct vcpu *v)
{
	uint64_t flags = irq_save();

	vcpu_take_vectors(v);
	virt->vcpu_put(v);
	thread_set_switch_hooks(thread_current(), NULL, NULL, NULL);
	__atomic_store_n(&v->running_on, -1, __ATOMIC_SEQ_CST);
	irq_restore(flags);
}

static void vcpu_loop(void *arg)
{
	struct vcpu *v = arg;
	struct vm_exit x;

	begin_running(v);
	for (;;) {
		irq_disable();
		if (UNLIKELY(must_attend(v))) {
			irq_enable();
			if (!attend(v))
				break;
			continue;
		}
		inject_events(v);
		virt->run(v, &x);
		irq_enable(); /* the interrupt that ended the run, if any, comes now */
		v->stat_exits++;
		v->stat_exit[x.reason]++;
		vcpu_handle_exit(v, &x);
	}
	end_running(v);
	thread_exit();
}

/* --- making and unmaking --------------------------------------------------------- */

int vcpu_create(struct vm *vm, unsigned index, struct vcpu **out)
{
	/* XSAVE areas are 64-byte aligned; the heap gives whole frames above 32 KiB and 16 bytes
	 * below. */
	unsigned order = 0;
	struct vcpu *v;
	hpa_t frame;

	while ((PAGE_SIZE << order) < sizeof(*v))
		order++;
	frame = frames_alloc(order);
	if (!frame.a)
		return ERR_NOMEM;
	v = phys_to_virt(frame);
	memset(v, 0, PAGE_SIZE << order);
	v->frame_order = order;
	v->vm = vm;
	v->index = index;
	v->apic_id = apic_id_of(&vm->cpu_model->apic_ids, index);
	v->running_on = -1;
	v->requests = VCPU_REQ_PAUSE;
	code_cache_clear(&v->code);
	v->has_rdtscp = cpu_model_has(vm->cpu_model, 0x80000001, 0, 3, 27);
	v->has_xsave = vm->cpu_model->xcr0_mask != 0;
	spinlock_init(&v->lock, RANK_VCPU);
	waitq_init(&v->waitq);
	*out = v;
	v->init_scratch = heap_alloc(sizeof(*v->init_scratch));
	if (!v->init_scratch || virt->vcpu_create(v))
		return ERR_NOMEM;
	vlapic_init(&v->lapic, v);
	return OK;
}

int vcpu_start_thread(struct vcpu *v)
{
	char name[32];

	str_format(name, sizeof(name), "%s/%u", v->vm->config.name, v->index);
	v->thread = thread_create(name, vcpu_loop, v, 0, VCPU_WEIGHT);
	return v->thread ? OK : ERR_NOMEM;
}

void vcpu_destroy(struct vcpu *v)
{
	if (v->thread) {
		vcpu_request(v, VCPU_REQ_EXIT);
		vcpu_unpark(v);
		thread_join(v->thread);
	}
	virt->vcpu_destroy(v);
	heap_free(v->init_scratch);
	frames_free(virt_to_phys(v), v->frame_order);
}

void vcpu_reset(struct vcpu *v)
{
	vcpu_state_reset(&v->state, v->apic_id, v->index == 0);
	v->state.xstate_size = v->vm->cpu_model->xstate_size;
	xstate_init_area(v->state.xstate);
	vlapic_reset(&v->lapic, false);
	v->valid = v->dirty = VG_ALL;
	/* Nothing of the last life is left in the machine's queue of requests but to stay parked.
	 */
	__atomic_fetch_and(&v->requests, (uint32_t)VCPU_REQ_PAUSE, __ATOMIC_SEQ_CST);
	vcpu_request(v, VCPU_REQ_CLOCK | VCPU_REQ_TLB);
}
