/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host of the walk over the snapshot engine: the real machines, guest memory and engine on
 * coroutines, a store's partition that fails and loses power, vCPUs that run a function of the
 * test instead of a guest, through nested tables and a TLB of their own.
 *
 * Included once by test_engine_walk.c.
 */
#ifndef AMBER_TESTS_ENGINE_HOST_H
#define AMBER_TESTS_ENGINE_HOST_H

#include "hv/arch/x86/cpu.h"
#include "hv/core/payload.h"

/* vm.c asks the CPU underneath: that is a made-up one, which has everything. */
static struct cpuid_regs walk_cpuid(uint32_t leaf, uint32_t sub);
#define cpuid walk_cpuid
#include "hv/core/vm.c"
#undef cpuid
#include "hv/core/gmem.c"
#include "hv/core/gmem_back.c"
#include "hv/core/gmem_mark.c"
#include "hv/core/gmem_rom.c"
#include "hv/core/gmem_share.c"
#include "hv/core/gmem_track.c"
#include "hv/core/gmem_used.c"
#include "hv/core/vm_mark.c"
#include "hv/snapshot/engine.c"

#include "tests/unit/engine_threads.h"
#include "tests/unit/fake/fake_block.h"

/* --- what a machine needs of the host ------------------------------------------------ */

static struct cpuid_regs walk_cpuid(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs all = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};

	switch (leaf) {
	case 0:
		return (struct cpuid_regs){0x20, 0x68747541, 0x444d4163, 0x69746e65};
	case 1:
		all.eax = 0x00800f12;
		all.ebx = 0x00100800;
		return all;
	case 7:
		return sub == 0 ? all : (struct cpuid_regs){0, 0, 0, 0};
	case 0xd:
		return sub == 2 ? (struct cpuid_regs){256, 576, 0, 0} : all;
	case 0x80000000:
		return (struct cpuid_regs){0x8000001f, 0, 0, 0};
	case 0x80000008:
		return (struct cpuid_regs){48 | 48 << 8, 0xffffffff, 0, 0};
	default:
		return all;
	}
}

uint64_t tsc_hz(void)
{
	return 2000000000;
}

uint32_t xstate_mxcsr_mask(void)
{
	return 0xffff;
}

uint64_t time_busy(void)
{
	return fake_host_time;
}

bool payload_find(const char *name, struct payload *out)
{
	return false;
}

void guest_clock_tell(struct vm *vm)
{
}

/* VM time stands still: nothing here asks for it. */
void vclock_init(struct vm *vm, uint64_t hz)
{
	list_init(&vm->vtimers);
	vm->tsc_hz = vm->tsc_nominal_hz = hz;
}

void vclock_set_rate(struct vm *vm, uint64_t hz)
{
}

void vclock_destroy(struct vm *vm)
{
}

void vclock_start(struct vm *vm)
{
}

void vclock_stop(struct vm *vm)
{
}

void vclock_set(struct vm *vm, uint64_t time)
{
	vm->time_stopped = time;
}

uint64_t vclock_tsc_at(const struct vm *vm, uint64_t time)
{
	return 0;
}

static const struct npt_format walk_formats[] = {
    {.name = "NPT",
	.table = 7,
	.leaf = BIT(0) | BIT(2),
	.large = BIT(7),
	.write = BIT(1),
	.no_exec = BIT(63),
	.present = BIT(0),
	.accessed = BIT(5),
	.dirty = BIT(6),
	.may_write = NPT_MAY_WRITE,
	.max_level = 2},
    {.name = "EPT without dirty bits",
	.table = 7,
	.leaf = BIT(0) | 6 << 3,
	.large = BIT(7),
	.write = BIT(1),
	.exec = BIT(2),
	.present = 7,
	.may_write = NPT_MAY_WRITE,
	.max_level = 2},
};

static int virt_vm_create(struct vm *vm)
{
	return OK;
}

static void virt_vm_destroy(struct vm *vm)
{
}

static struct virt_ops walk_virt = {
    .name = "walk", .vm_create = virt_vm_create, .vm_destroy = virt_vm_destroy};
const struct virt_ops *virt = &walk_virt;

/* --- vCPUs: as in hv/core/vcpu.c, but for the guest ---------------------------------- */

enum { WALK_MEMORY = 16 << 20, WALK_PAGES = WALK_MEMORY / PAGE_SIZE };

/* What a CPU remembers of a page: where it is, that it may write there, and that it has said so. */
enum tlb_state { TLB_NONE, TLB_READ, TLB_WRITE, TLB_DIRTY };
struct virt_vcpu {
	uint8_t known[WALK_PAGES];
	uint8_t *page[WALK_PAGES];
};

/* One thing that the guest does; it may wait. */
static void guest_step(struct vcpu *v);

void vcpu_request(struct vcpu *v, uint32_t bits)
{
	__atomic_fetch_or(&v->requests, bits, __ATOMIC_SEQ_CST);
}

/* No CPU is in the guest but the one that runs this: all look at it before they enter again. */
void vcpu_flush_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_request(vm->vcpus[i], VCPU_REQ_TLB);
}

void vcpu_unpark(struct vcpu *v)
{
	uint64_t flags = spin_lock(&v->vm->park_lock);

	__atomic_fetch_and(&v->requests, ~(uint32_t)VCPU_REQ_PAUSE, __ATOMIC_SEQ_CST);
	waitq_wake_all(&v->vm->park_waitq);
	spin_unlock(&v->vm->park_lock, flags);
}

static void vcpu_park(struct vcpu *v)
{
	uint64_t flags = spin_lock(&v->vm->park_lock);

	v->parked = true;
	waitq_wake_all(&v->vm->park_waitq);
	while (v->requests & VCPU_REQ_PAUSE)
		flags = waitq_wait(&v->vm->park_waitq, &v->vm->park_lock, flags);
	v->parked = false;
	spin_unlock(&v->vm->park_lock, flags);
}

static void vcpu_take_flush(struct vcpu *v)
{
	if (v->requests & VCPU_REQ_TLB)
		memset(v->virt->known, TLB_NONE, sizeof(v->virt->known));
	v->requests &= ~(uint32_t)VCPU_REQ_TLB;
}

static void vcpu_loop(void *arg)
{
	struct vcpu *v = arg;

	while (!(v->requests & VCPU_REQ_EXIT)) {
		if (v->requests & VCPU_REQ_PAUSE) {
			vcpu_park(v);
			continue;
		}
		vcpu_take_flush(v);
		if (!v->vm->resumed_at)
			v->vm->resumed_at = time_now();
		guest_step(v);
		thread_yield();
	}
}

void vcpu_reset(struct vcpu *v)
{
	vcpu_state_reset(&v->state, v->apic_id, v->index == 0);
	v->state.xstate_size = v->vm->cpu_model->xstate_size;
	vlapic_reset(&v->lapic, false);
	v->requests = (v->requests & VCPU_REQ_PAUSE) | VCPU_REQ_TLB;
}

int vcpu_create(struct vm *vm, unsigned index, struct vcpu **out)
{
	struct vcpu *v = aligned_alloc(64, ALIGN_UP(sizeof(*v), (size_t)64));

	memset(v, 0, sizeof(*v));
	v->vm = vm;
	v->index = v->apic_id = index;
	v->requests = VCPU_REQ_PAUSE;
	v->virt = calloc(1, sizeof(*v->virt));
	spinlock_init(&v->lock, RANK_VCPU);
	waitq_init(&v->waitq);
	vlapic_init(&v->lapic, v);
	*out = v;
	return OK;
}

int vcpu_start_thread(struct vcpu *v)
{
	v->thread = thread_create(v->vm->config.name, vcpu_loop, v, 0, 128);
	return OK;
}

void vcpu_destroy(struct vcpu *v)
{
	if (v->thread) {
		vcpu_request(v, VCPU_REQ_EXIT);
		vcpu_unpark(v);
		thread_join(v->thread);
	}
	free(v->virt);
	free(v);
}

static uint64_t *leaf_of(struct vm *vm, uint64_t g)
{
	uint64_t *t = phys_to_virt(vm->npt.root);

	for (unsigned shift = 39;; shift -= 9) {
		uint64_t *e = &t[g >> shift & 511];

		if (shift == 12 || (*e & vm->npt.fmt->large) || !(*e & vm->npt.fmt->present))
			return e;
		t = phys_to_virt(hpa(*e & 0x000ffffffffff000ULL));
	}
}

/* As hardware reaches a page: from its TLB, or by walking; false: nested page fault. */
static bool cpu_reaches(struct vcpu *v, uint64_t page, bool write)
{
	uint8_t *known = &v->virt->known[page];
	uint64_t g = page * PAGE_SIZE, size;
	unsigned perm;
	hpa_t h;

	if (*known < (write ? TLB_WRITE : TLB_READ)) {
		if (!npt_lookup(&v->vm->npt, gpa(g), &h, &perm, &size) ||
		    (write && !(perm & NPT_W)))
			return false;
		v->virt->page[page] = phys_to_virt(h);
		*known = perm & NPT_W ? TLB_WRITE : TLB_READ;
	}
	if (write && *known != TLB_DIRTY) {
		*leaf_of(v->vm, g) |= v->vm->npt.fmt->dirty;
		*known = TLB_DIRTY;
	}
	return true;
}

/* The page in host memory, until the vCPU's thread may switch; NULL: the machine is to stop. */
static uint8_t *guest_reach(struct vcpu *v, uint64_t page, bool write)
{
	vcpu_take_flush(v);
	while (!cpu_reaches(v, page, write)) {
		enum gmem_fault f = gmem_fault(v->vm, gpa(page * PAGE_SIZE), write);

		ASSERT(f != GMEM_NOT_RAM);
		if (v->requests & (VCPU_REQ_PAUSE | VCPU_REQ_EXIT))
			return NULL; /* once more when it goes on */
		if (f == GMEM_WAS_READY)
			vcpu_request(v, VCPU_REQ_TLB);
		vcpu_take_flush(v);
	}
	return v->virt->page[page];
}

/* --- the partition of the store ------------------------------------------------------ */

/* Requests in flight are done in any order; what is not flushed may be lost with the power. */
struct walk_disk {
	struct blk_dev dev;
	uint8_t *data, *durable;
	uint8_t *unsafe; /* by sector: written since the last flush */
	struct spinlock lock;
	struct waitq waitq;
	struct list queue;
	uint64_t nsectors;
	unsigned fail_in, fail_for; /* requests until some fail, and how many */
	unsigned failed;
	unsigned cut_in;   /* requests until the power fails; 0: it does not */
	bool cut_at_flush; /* and then before the next flush */
	uint8_t *cut;	   /* what is there then; what is done later is done for nothing */
};
static struct walk_disk part;

/* The power fails now. */
static void part_fails(void);

static int part_do(struct walk_disk *d, const struct blk_req *r)
{
	uint8_t *p = d->data + r->lba * SECTOR_SIZE;

	if (d->cut_in > 1)
		d->cut_in--;
	else if (d->cut_in && (!d->cut_at_flush || r->op == BLK_FLUSH))
		part_fails();
	if (d->fail_for && d->fail_in-- == 0) {
		d->fail_in = 0;
		d->fail_for--;
		d->failed++;
		return ERR_IO;
	}
	for (unsigned i = 0; i < r->nsg; i++) {
		if (r->op == BLK_READ)
			memcpy(phys_to_virt(r->sg[i].addr), p, r->sg[i].len);
		else
			memcpy(p, phys_to_virt(r->sg[i].addr), r->sg[i].len);
		p += r->sg[i].len;
	}
	if (r->op == BLK_WRITE)
		memset(d->unsafe + r->lba, 1, r->nsectors);
	for (uint64_t i = 0; r->op == BLK_FLUSH && i < d->nsectors; i++)
		if (d->unsafe[i]) {
			memcpy(
			    d->durable + i * SECTOR_SIZE, d->data + i * SECTOR_SIZE, SECTOR_SIZE);
			d->unsafe[i] = 0;
		}
	return OK;
}

static struct blk_req *part_take(struct walk_disk *d)
{
	uint64_t flags = spin_lock(&d->lock);
	unsigned n = fiber_below(3);
	struct list *l;

	while (list_empty(&d->queue))
		flags = waitq_wait(&d->waitq, &d->lock, flags);
	l = d->queue.next;
	while (n-- && l->next != &d->queue)
		l = l->next;
	list_remove(l);
	spin_unlock(&d->lock, flags);
	return LIST_ENTRY(l, struct blk_req, link);
}

static void part_thread(void *arg)
{
	for (;;) {
		struct blk_req *r = part_take(arg);

		blk_complete(r, part_do(arg, r));
		fiber_perhaps();
	}
}

static void part_submit(struct blk_dev *dev, struct blk_req *r)
{
	struct walk_disk *d = CONTAINER_OF(dev, struct walk_disk, dev);
	uint64_t flags = spin_lock(&d->lock);

	list_push_back(&d->queue, &r->link);
	waitq_wake_one(&d->waitq);
	spin_unlock(&d->lock, flags);
}

static void part_make(uint64_t bytes)
{
	static const struct blk_ops ops = {.submit = part_submit};
	static const uint8_t type[16] = GUID_STORE_BYTES;

	part.nsectors = bytes / SECTOR_SIZE;
	part.data = calloc(1, bytes);
	part.durable = calloc(1, bytes);
	part.unsafe = calloc(1, part.nsectors);
	part.dev = (struct blk_dev){.name = "part",
	    .nsectors = part.nsectors,
	    .max_sg = BLK_MAX_SG,
	    .max_sectors = BLK_MAX_BYTES / SECTOR_SIZE,
	    .has_flush = true,
	    .ops = &ops};
	memcpy(part.dev.type_guid, type, sizeof(type));
	spinlock_init(&part.lock, RANK_DRV);
	waitq_init(&part.waitq);
	list_init(&part.queue);
	list_init(&part.dev.link);
	ASSERT(blk_add(&part.dev) == OK);
	ASSERT(thread_create("part", part_thread, &part, 0, 128));
}

/* What would be there if the power failed now. */
static uint8_t *part_cut(void)
{
	uint8_t *image = malloc(part.nsectors * SECTOR_SIZE);
	unsigned keep = fiber_below(4); /* of four sectors that are not safe */

	memcpy(image, part.data, part.nsectors * SECTOR_SIZE);
	for (uint64_t i = 0; i < part.nsectors; i++)
		if (part.unsafe[i] && fiber_below(3) >= keep)
			memcpy(
			    image + i * SECTOR_SIZE, part.durable + i * SECTOR_SIZE, SECTOR_SIZE);
	return image;
}

static void part_become(const uint8_t *image)
{
	memcpy(part.data, image, part.nsectors * SECTOR_SIZE);
	memcpy(part.durable, image, part.nsectors * SECTOR_SIZE);
	memset(part.unsafe, 0, part.nsectors);
}

#endif
