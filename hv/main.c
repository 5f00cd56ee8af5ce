/* SPDX-License-Identifier: BSD-2-Clause */
/* Assembles the hypervisor: bring-up, step by step, then the console. */
#include <string.h>
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/efi_rt.h"
#include "hv/arch/x86/irq.h"
#include "hv/arch/x86/lapic.h"
#include "hv/arch/x86/power.h"
#include "hv/arch/x86/smp.h"
#include "hv/arch/x86/traps.h"
#include "hv/arch/x86/tsc.h"
#include "hv/arch/x86/xstate.h"
#include "hv/core/selftest.h"
#include "hv/core/thread.h"
#include "hv/core/wall_time.h"
#include "hv/drv/uart.h"
#include "hv/lib/error.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

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
		panic("%s", e.text);
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

static const struct {
	const char *name;
	void (*run)(void);
} steps[] = {
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

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
	char text[160];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	uart_write(text, MIN((size_t)n, sizeof(text) - 1));
}

static void show_log(void)
{
	char buf[256];
	uint64_t seq = 0;
	size_t n;

	while ((n = log_read(&seq, buf, sizeof(buf))))
		for (size_t i = 0; i < n; i++)
			say(buf[i] == '\n' ? "\r\n" : "%c", buf[i]);
}

static void show_thread(const struct thread_info *t, void *arg)
{
	say("%-16s %-8s cpu %u weight %u run %lu us switches %lu\r\n", t->name, t->state, t->cpu,
	    t->weight, t->run_ns / 1000, t->switches);
}

static void command(const char *line)
{
	if (!strcmp(line, "host poweroff") || !strcmp(line, "host reboot")) {
		thread_pin(thread_current(), 0);
		uart_flush();
		if (line[5] == 'p')
			power_off();
		power_reboot();
	} else if (!strcmp(line, "log")) {
		show_log();
	} else if (!strcmp(line, "threads")) {
		thread_foreach(show_thread, NULL);
	} else if (!selftest_command(line, say) && *line) {
		say("error: unknown command '%s'\r\n", line);
	}
}

static struct spinlock input_lock = SPINLOCK_INIT(RANK_CHARDEV);
static struct waitq input_wait;

static void on_input(void *arg)
{
	waitq_wake_one(&input_wait);
}

static char read_char(void)
{
	uint64_t flags = spin_lock(&input_lock);
	char c;

	while (!uart_read(&c, 1))
		flags = waitq_wait(&input_wait, &input_lock, flags);
	spin_unlock(&input_lock, flags);
	return c;
}

static void console(void *arg)
{
	char line[80];
	size_t n;

	waitq_init(&input_wait);
	uart_set_rx_hook(on_input, NULL);
	say("\r\nAmber " AMBER_VERSION " (" AMBER_COMMIT "), %u CPUs, %llu MiB\r\n", cpus_online(),
	    frames_total() * PAGE_SIZE / MIB);
	if (*boot->complaint)
		say("%s\r\n", boot->complaint);
	for (;;) {
		char c;

		say("amber> ");
		for (n = 0; (c = read_char()) != '\r' && c != '\n';) {
			if (n < sizeof(line) - 1)
				line[n++] = c;
			uart_write(&c, 1);
		}
		line[n] = '\0';
		say("\r\n");
		command(line);
	}
}

void hv_main(const struct boot_info *bi)
{
	boot = bi;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		log_debug("start: %s", steps[i].name);
		steps[i].run();
	}
	if (!thread_create("console", console, NULL, 0, 128))
		panic("memory: none left for the console");
	sched_idle();
}
