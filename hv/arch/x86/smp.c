/* SPDX-License-Identifier: BSD-2-Clause */
/* Start-up of the other CPUs, and calls between CPUs. */
#include "hv/arch/x86/smp.h"
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/lapic.h"
#include "hv/arch/x86/paging.h"
#include "hv/arch/x86/panic.h"
#include "hv/arch/x86/traps.h"
#include "hv/arch/x86/tsc.h"
#include <string.h>
#include "hv/lib/log.h"
#include "hv/lib/spinlock.h"
#include "hv/mm/mm.h"

/* ICR delivery modes (SDM volume 3, 11.6.1). */
enum { ICR_NMI = 4 << 8, ICR_INIT = 5 << 8, ICR_STARTUP = 6 << 8 };

/* SDM volume 3, 9.4.4: INIT, 10 ms, SIPI, 200 us, SIPI; then how long we are patient. */
#define INIT_DELAY   10000000ULL
#define SIPI_DELAY   200000ULL
#define ARRIVE_LIMIT 100000000ULL
#define READY_LIMIT  2000000000ULL

#define AP_STACK_SIZE (16 * KIB)
enum { XAPIC_ID_MAX = 254 };

/* What ap_start.asm finds in its page. */
struct ap_params {
	uint64_t cpu, stack, cr3;
	uint32_t start_cr3;
	uint32_t lock;	  /* taken by the CPU that starts up next */
	uint32_t arrived; /* set by it */
	uint32_t far_offset;
	uint16_t far_selector;
	uint16_t gdt_limit;
	uint32_t gdt_base;
};
_Static_assert(sizeof(struct ap_params) == 48, "ap_start.asm");
extern const char ap_page_start[], ap_page_params[], ap_page_gdt[], ap_page_long[], ap_page_end[];
enum { AP_GDT_SIZE = 24 };

static volatile struct ap_params *params;
static void (*ap_prepare)(void), (*ap_loop)(void);
static uint32_t ap_online; /* atomic: the new CPU counts */
static uint32_t ap_ready;  /* atomic: the new CPU waits for the clock's synchronization */
static uint32_t stop_requested;

void ap_main(void); /* ap_start.asm */

static void run_calls(void *arg);

/* Where a symbol of ap_start.asm lies in the page. */
static size_t ap_page_offset(const char *symbol)
{
	return (size_t)((uint64_t)symbol - (uint64_t)ap_page_start);
}

/* The start-up page, mapped one to one in a page table of its own. False: there is none. */
static bool page_prepare(void)
{
	uint64_t page = boot_info()->ap_page, root;

	if (!page || page % PAGE_SIZE || page >= MIB) {
		log_warn("SMP: the loader found no page below 1 MiB: one CPU only");
		return false;
	}
	root = paging_new_root();
	if (!root || root > UINT32_MAX || paging_map(root, page, page, PAGE_SIZE, PTE_W) != OK) {
		log_warn("SMP: no memory below 4 GiB: one CPU only");
		return false;
	}
	memcpy(phys_to_virt(hpa(page)), ap_page_start, ap_page_offset(ap_page_end));
	params = (volatile struct ap_params *)((uint8_t *)phys_to_virt(hpa(page)) +
					       ap_page_offset(ap_page_params));
	params->cr3 = paging_cr3();
	params->start_cr3 = (uint32_t)root;
	params->far_offset = (uint32_t)(page + ap_page_offset(ap_page_long));
	params->gdt_limit = AP_GDT_SIZE - 1;
	params->gdt_base = (uint32_t)(page + ap_page_offset(ap_page_gdt));
	params->lock = 1;
	return true;
}

/* The block and stacks that the next CPU to arrive will take. */
static bool cpu_prepare(unsigned id)
{
	struct cpu *c = cpu_by_id(id);

	if (!c->boot_stack_top) {
		c->boot_stack_top = stack_alloc(AP_STACK_SIZE);
		gdt_init(c);
		if (!c->boot_stack_top || gdt_alloc_ist(c) != OK) {
			log_warn("SMP: no memory for CPU %u", id);
			return false;
		}
	}
	c->self = c;
	c->id = id;
	/* Threads move between CPUs with their canaries. */
	memcpy(c->fs_block, this_cpu()->fs_block, sizeof(c->fs_block));
	params->cpu = (uint64_t)c;
	params->stack = (uint64_t)c->boot_stack_top;
	params->arrived = 0;
	__atomic_store_n(&ap_ready, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&ap_online, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&params->lock, 0, __ATOMIC_RELEASE);
	return true;
}

static bool wait_for(const volatile uint32_t *flag, uint64_t limit)
{
	uint64_t end = tsc_to_ns(tsc_now()) + limit;

	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
		if (tsc_to_ns(tsc_now()) > end)
			return false;
		cpu_pause();
	}
	return true;
}

/* Waits for a CPU to arrive and takes it in. False if none came. */
static bool cpu_receive(void)
{
	uint64_t flags;

	if (!wait_for(&params->arrived, ARRIVE_LIMIT) &&
	    !__atomic_exchange_n(&params->lock, 1, __ATOMIC_ACQ_REL))
		return false;
	/* It has our stack and block: from here on there is no leaving it out. */
	if (!wait_for(&ap_ready, READY_LIMIT))
		panic("SMP: CPU %u hangs during its start-up", cpus_online());
	flags = irq_save();
	tsc_sync_boot_cpu();
	irq_restore(flags);
	if (!wait_for(&ap_online, READY_LIMIT))
		panic("SMP: CPU %u does not get online", cpus_online());
	return true;
}

static void init_and_sipi(void (*send)(uint32_t apic_id, uint32_t command), uint32_t apic_id)
{
	uint32_t sipi = ICR_STARTUP | (uint32_t)(boot_info()->ap_page >> PAGE_SHIFT);

	send(apic_id, ICR_INIT);
	delay_ns(INIT_DELAY);
	send(apic_id, sipi);
	delay_ns(SIPI_DELAY);
	if (!params->arrived)
		send(apic_id, sipi);
}

static void send_others(uint32_t apic_id, uint32_t command)
{
	lapic_send_others(command);
}

static void start_listed(void)
{
	uint32_t self = this_cpu()->apic_id;

	for (unsigned i = 0; i < acpi_cpu_count(); i++) {
		uint32_t id = acpi_cpu_apic_id(i), before = cpus_online();

		if (id == self)
			continue;
		if (before == MAX_CPUS) {
			log_warn("SMP: more than %u CPUs, the rest is not used", MAX_CPUS);
			return;
		}
		if (id > XAPIC_ID_MAX && !host_cpu.x2apic) {
			log_warn("SMP: CPU with APIC ID %u is out of xAPIC's reach", id);
			continue;
		}
		if (!cpu_prepare(before))
			return;
		init_and_sipi(lapic_send, id);
		if (!cpu_receive())
			log_warn("SMP: the CPU with APIC ID %u did not come up, left out", id);
	}
}

static void start_whoever(void)
{
	if (!cpu_prepare(1))
		return;
	init_and_sipi(send_others, 0);
	while (cpu_receive() && cpus_online() < MAX_CPUS)
		if (!cpu_prepare(cpus_online()))
			return;
}

void smp_start(void (*prepare)(void), void (*loop)(void))
{
	irq_vector_set(IRQ_VECTOR_CALL, run_calls, NULL, "call");
	ap_prepare = prepare;
	ap_loop = loop;
	if (!page_prepare())
		return;
	if (acpi_cpu_count())
		start_listed();
	else
		start_whoever();
	log_info("SMP: %u CPUs", cpus_online());
}

/* A new CPU's first C code: on its own stack, with FS and GS, on the final page tables. */
void ap_main(void)
{
	struct cpu *c = this_cpu();

	gdt_load(c);
	idt_load();
	cpu_init_control();
	lapic_init_cpu();
	__atomic_store_n(&ap_ready, 1, __ATOMIC_RELEASE);
	tsc_sync_new_cpu();
	ap_prepare();
	cpu_set_online(c);
	__atomic_store_n(&ap_online, 1, __ATOMIC_RELEASE);
	ap_loop();
	panic("SMP: CPU %u has nothing to do", c->id);
}

struct smp_call_node {
	struct smp_call_node *next;
	void (*fn)(void *arg);
	void *arg;
	uint32_t done;
};

static void run_calls(void *arg)
{
	struct smp_call_node *n = __atomic_exchange_n(&this_cpu()->calls, NULL, __ATOMIC_ACQ_REL);

	while (n) {
		struct smp_call_node *next = n->next; /* n is its caller's again once done */

		n->fn(n->arg);
		__atomic_store_n(&n->done, 1, __ATOMIC_RELEASE);
		n = next;
	}
}

void smp_call(unsigned cpu, void (*fn)(void *arg), void *arg)
{
	struct smp_call_node n = {.fn = fn, .arg = arg};
	struct cpu *c = cpu_by_id(cpu);
	uint64_t flags;

	if (cpu == cpu_id()) {
		flags = irq_save();
		fn(arg);
		irq_restore(flags);
		return;
	}
	ASSERT(c->online && irqs_enabled());
	n.next = __atomic_load_n(&c->calls, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(
	    &c->calls, &n.next, &n, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	ipi_send(cpu, IRQ_VECTOR_CALL);
	while (!__atomic_load_n(&n.done, __ATOMIC_ACQUIRE))
		cpu_pause();
}

void smp_call_all(void (*fn)(void *arg), void *arg)
{
	for (unsigned i = 0; i < cpus_online(); i++)
		smp_call(i, fn, arg);
}

void smp_stop_others(void)
{
	__atomic_store_n(&stop_requested, 1, __ATOMIC_RELEASE);
	if (cpus_online() > 1)
		lapic_send_others(ICR_NMI);
}

bool panic_stop_requested(void)
{
	return __atomic_load_n(&stop_requested, __ATOMIC_ACQUIRE);
}
