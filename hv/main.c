/* SPDX-License-Identifier: BSD-2-Clause */
/* Assembles the hypervisor: bring-up, step by step, then the console. */
#include <string.h>
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/efi_rt.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/lapic.h"
#include "hv/arch/x86/panic.h"
#include "hv/arch/x86/power.h"
#include "hv/arch/x86/smp.h"
#include "hv/arch/x86/traps.h"
#include "hv/arch/x86/tsc.h"
#include "hv/arch/x86/xstate.h"
#include "hv/arch/x86/svm/svm.h"
#include "hv/arch/x86/vmx/vmx.h"
#include "hv/console/console.h"
#include "hv/core/thread.h"
#include "hv/core/wall_time.h"
#include "hv/core/payload.h"
#include "hv/core/vm.h"
#include "hv/dev/pc.h"
#include "hv/drv/pci.h"
#include "hv/drv/uart.h"
#include "hv/guests.h"
#include "hv/lib/error.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/snapshot/engine.h"

void hv_main(const struct boot_info *bi); /* entry.asm */

static const struct boot_info *boot; /* as the loader handed it over, until memory is ours */

static void step_uart(void)
{
	uart_init((uint16_t)boot->uart_port);
}

static void step_traps(void)
{
	gdt_init(this_cpu());
	gdt_load(this_cpu());
	idt_init();
	idt_load();
	traps_init();
}

static void step_requirements(void)
{
	struct errmsg e;

	if (boot->magic != BOOT_INFO_MAGIC || boot->version != BOOT_INFO_VERSION)
		panic("the loader and the hypervisor are not of one version");
	cpu_identify();
	if (cpu_check_requirements(&e) != OK)
		panic_refuse(e.text);
	cpu_init_control();
	log_info("CPU: %s", host_cpu.brand);
}

static void step_memory(void)
{
	mm_init(boot);
	boot = boot_info();
	if (gdt_alloc_ist(this_cpu()) != OK)
		panic("memory: none left for interrupt stacks");
	log_info("memory: %llu MiB", frames_total() * PAGE_SIZE / MIB);
}

static void step_xstate(void)
{
	xstate_init();
}

static void step_acpi(void)
{
	acpi_init(boot->rsdp);
}

static void step_interrupts(void)
{
	lapic_init();
	lapic_init_cpu();
	ioapic_init();
}

static void step_clock(void)
{
	tsc_init(boot->tsc_hz);
	log_clock = time_now;
	lapic_timer_calibrate();
	timers_init();
}

static void step_threads(void)
{
	sched_init_cpu();
	cpu_set_online(this_cpu());
	irq_enable();
	uart_start();
}

static void step_cpus(void)
{
	smp_start(sched_init_cpu, sched_idle);
}

static void step_firmware(void)
{
	efi_rt_init(boot);
	wall_time_init();
}

/* --- from here on in a thread, which may wait for disks ------------------------------ */

/* The back ends, in the order in which they are asked. */
static const struct virt_ops *const back_ends[] = {&svm_ops, &vmx_ops};

/* Every CPU must be able to what the first can. */
static void enable_virtualization(void *arg)
{
	struct errmsg e;

	if (virt->cpu_enable(&e) != OK)
		panic("CPU %u: %s", cpu_id(), e.text);
}

static void step_virtualization(void)
{
	struct errmsg e, why = {.text = "this CPU has neither SVM nor VMX"};

	for (size_t i = 0; i < ARRAY_LEN(back_ends) && !virt; i++) {
		int err = back_ends[i]->probe(&e);

		if (err == OK)
			virt = back_ends[i];
		else if (err != ERR_NOENT) /* there, but not as it has to be */
			why = e;
	}
	if (!virt)
		panic_refuse(why.text);
	smp_call_all(enable_virtualization, NULL);
	log_info("virtualization: %s", virt->name);
}

static void step_disks(void)
{
	pci_init();
	engine_init();
}

static void step_console(void)
{
	static char greeting[128];

	str_format(greeting, sizeof(greeting), "\nAmber %s (%s), %u CPUs, %llu MiB\n",
	    AMBER_VERSION, AMBER_COMMIT, cpus_online(),
	    (unsigned long long)(frames_total() * PAGE_SIZE / MIB));
	if (console_start(greeting) != OK)
		panic("memory: none left for the console");
	if (*boot->complaint)
		console_notice(boot->complaint);
}

static void step_guests(void)
{
	payload_init(boot);
	vm_boot_hook = pc_boot;
	if (vm_manager_start() != OK)
		panic("memory: none left for the manager of machines");
	guests_start(console_notice);
}

struct step {
	const char *name;
	void (*run)(void);
};

static void run_steps(const struct step *steps, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		log_debug("start: %s", steps[i].name);
		steps[i].run();
	}
}

static const struct step bring_up[] = {
    {"console UART", step_uart},
    {"descriptor tables", step_traps},
    {"requirements", step_requirements},
    {"memory", step_memory},
    {"vector state", step_xstate},
    {"ACPI tables", step_acpi},
    {"interrupt controllers", step_interrupts},
    {"clock", step_clock},
    {"threads", step_threads},
    {"other CPUs", step_cpus},
    {"firmware services", step_firmware},
};

static const struct step assembly[] = {
    {"virtualization", step_virtualization},
    {"disks and store", step_disks},
    {"guests", step_guests},
    {"console", step_console},
};

static void assemble(void *arg)
{
	run_steps(assembly, ARRAY_LEN(assembly));
	thread_exit();
}

void hv_main(const struct boot_info *bi)
{
	boot = bi;
	run_steps(bring_up, ARRAY_LEN(bring_up));
	/* the store's tree and its data are compressed and decoded by hosted libraries */
	if (!thread_create("start", assemble, NULL, THREAD_XSTATE, 256))
		panic("memory: none left for the start thread");
	sched_idle();
}
