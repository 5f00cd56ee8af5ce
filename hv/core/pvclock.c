/* SPDX-License-Identifier: BSD-2-Clause */
/* The paravirtual clock's pages. */
#include "hv/core/pvclock.h"

#include "hv/core/gmem.h"
#include "hv/core/vclock.h"
#include "hv/core/vm.h"
#include "hv/lib/cursor.h"

enum { NS_PER_S = 1000000000 };

/* struct pvclock_vcpu_time_info */
enum time_info {
	TI_VERSION = 0,
	TI_TSC = 8,
	TI_SYSTEM_TIME = 16,
	TI_MUL = 24,
	TI_SHIFT = 28,
	TI_FLAGS = 29,
	TI_SIZE = 32,
	FLAG_TSC_STABLE = 1 << 0,
	FLAG_GUEST_STOPPED = 1 << 1
};

/* struct pvclock_wall_clock */
enum wall_clock { WC_VERSION = 0, WC_SEC = 4, WC_NSEC = 8, WC_SIZE = 12 };

void pvclock_scale(uint64_t hz, uint32_t *mul, int8_t *shift)
{
	uint64_t base = hz;

	*shift = 0;
	/* mul = 2^32 * 10^9 / (hz shifted): it wants the rate between 10^9 and 2 * 10^9 */
	while (base > 2ULL * NS_PER_S) {
		base >>= 1;
		(*shift)--;
	}
	while (base && base <= NS_PER_S) {
		base <<= 1;
		(*shift)++;
	}
	*mul = base ? (uint32_t)(((uint64_t)NS_PER_S << 32) / base) : 0;
}

/* Odd version while it changes; the vCPU is not running meanwhile, others may look. */
void pvclock_update(struct vcpu *v, bool stopped)
{
	uint64_t msr = v->state.kvm_system_time, now;
	gpa_t page = gpa(msr & ~1ULL);
	uint8_t info[TI_SIZE] = {0};
	uint32_t version, mul;
	int8_t shift;

	if (!(msr & 1) || gmem_read(v->vm, page, info, TI_SIZE))
		return;
	version = (get_le32(info + TI_VERSION) | 1) + 2;
	put_le32(info + TI_VERSION, version);
	if (gmem_write(v->vm, page, info, 4))
		return;
	now = vm_time(v->vm);
	pvclock_scale(v->vm->tsc_hz, &mul, &shift);
	put_le64(info + TI_TSC, vclock_tsc_at(v->vm, now) + v->state.tsc_offset);
	put_le64(info + TI_SYSTEM_TIME, now);
	put_le32(info + TI_MUL, mul);
	info[TI_SHIFT] = (uint8_t)shift;
	info[TI_FLAGS] = (uint8_t)(FLAG_TSC_STABLE | (stopped ? FLAG_GUEST_STOPPED : 0));
	put_le32(info + TI_VERSION, version + 1);
	/* the body first, the even version last */
	if (gmem_write(v->vm, gpa_add(page, 4), info + 4, TI_SIZE - 4) == OK &&
	    gmem_write(v->vm, page, info, 4) == OK)
		return;
}

int pvclock_write_system(struct vcpu *v, uint64_t value)
{
	v->state.kvm_system_time = value;
	pvclock_update(v, false);
	return OK;
}

/* Wall time at VM time 0, so that the guest adds its own clock to it. */
int pvclock_write_wall(struct vcpu *v, uint64_t value)
{
	uint64_t at_zero = wall_time() - vm_time(v->vm);
	gpa_t addr = gpa(value);
	uint8_t rec[WC_SIZE] = {0};
	uint32_t version;

	if (gmem_read(v->vm, addr, rec, WC_SIZE))
		return OK; /* not RAM: nothing to write to, as on KVM */
	version = (get_le32(rec + WC_VERSION) | 1) + 1;
	put_le32(rec + WC_VERSION, version);
	put_le32(rec + WC_SEC, (uint32_t)(at_zero / NS_PER_S));
	put_le32(rec + WC_NSEC, (uint32_t)(at_zero % NS_PER_S));
	return gmem_write(v->vm, addr, rec, WC_SIZE) == OK ? OK : ERR_INVAL;
}
