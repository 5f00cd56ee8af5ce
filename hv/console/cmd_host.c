/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands 'host info|cpus|memory|reboot|poweroff'. */
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/power.h"
#include "hv/arch/x86/tsc.h"
#include "hv/console/table.h"
#include "hv/core/gmem.h"
#include "hv/core/thread.h"
#include "hv/core/vm.h"
#include "hv/drv/uart.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

/* --- what the guests use ------------------------------------------------------------ */

struct guest_sum {
	unsigned count, running;
};

static void add_guest(struct vm *vm, void *arg)
{
	struct guest_sum *s = arg;

	s->count++;
	s->running += vm->run_state == VM_RUNNING || vm->run_state == VM_PAUSED;
}

static struct guest_sum guests(void)
{
	struct guest_sum s = {0};

	vm_foreach(add_guest, &s);
	return s;
}

/* --- host info ------------------------------------------------------------------------- */

static const char *virt_text(void)
{
	return host_cpu.svm ? "SVM" : host_cpu.vmx ? "VMX" : "none";
}

static int info_run(struct console_call *c)
{
	uint64_t uptime = time_now() / 1000000000, memory = frames_total() * PAGE_SIZE;
	struct guest_sum g = guests();
	char text[24];

	json_string(call_json(c), "version", AMBER_VERSION);
	json_string(call_json(c), "cpu", host_cpu.brand);
	json_string(call_json(c), "virtualization", virt_text());
	json_number(call_json(c), "cpus", cpus_online());
	json_number(call_json(c), "tsc_hz", tsc_hz());
	json_number(call_json(c), "memory_bytes", memory);
	json_number(call_json(c), "vms", g.count);
	json_number(call_json(c), "vms_running", g.running);
	json_number(call_json(c), "uptime_s", uptime);
	call_print(c, "Amber     %s (%s)\n", AMBER_VERSION, AMBER_COMMIT);
	call_print(c, "CPU       %s, %s\n", host_cpu.brand, virt_text());
	call_print(c, "CPUs      %u at %lu MHz\n", cpus_online(), tsc_hz() / 1000000);
	call_print(c, "memory    %s\n", size_text(memory, text, sizeof(text)));
	call_print(c, "guests    %u, %u running\n", g.count, g.running);
	call_print(c, "uptime    %lu:%02lu:%02lu\n", uptime / 3600, uptime / 60 % 60, uptime % 60);
	return OK;
}

CONSOLE_COMMAND(host_info) = {
    .words = "host info",
    .help = "show what machine this is",
    .run = info_run,
};

/* --- host cpus --------------------------------------------------------------------------- */

static void show_thread(const struct thread_info *t, void *arg)
{
	struct console_call *c = arg;

	json_object(call_json(c), NULL);
	json_string(call_json(c), "name", t->name);
	json_string(call_json(c), "state", t->state);
	json_number(call_json(c), "cpu", t->cpu);
	json_number(call_json(c), "weight", t->weight);
	json_number(call_json(c), "run_ns", t->run_ns);
	json_number(call_json(c), "switches", t->switches);
	json_close(call_json(c));
	call_print(c, "%3u  %-24s %-8s %6u %10lu %10lu\n", t->cpu, t->name, t->state, t->weight,
	    t->run_ns / 1000000, t->switches);
}

static int cpus_run(struct console_call *c)
{
	json_array(call_json(c), "cpus");
	call_print(c, "CPU  APIC ID  interrupts\n");
	for (unsigned i = 0; i < cpus_online(); i++) {
		const struct cpu *cpu = cpu_by_id(i);

		json_object(call_json(c), NULL);
		json_number(call_json(c), "cpu", i);
		json_number(call_json(c), "apic_id", cpu->apic_id);
		json_number(call_json(c), "interrupts", cpu->stat_irqs);
		json_close(call_json(c));
		call_print(c, "%3u  %7u %11lu\n", i, cpu->apic_id, cpu->stat_irqs);
	}
	json_close(call_json(c));
	json_array(call_json(c), "threads");
	call_print(c, "\nCPU  thread                   state    weight     run ms   switches\n");
	thread_foreach(show_thread, c);
	json_close(call_json(c));
	return OK;
}

CONSOLE_COMMAND(host_cpus) = {
    .words = "host cpus",
    .help = "show the CPUs and the threads on them",
    .run = cpus_run,
};

/* --- host memory --------------------------------------------------------------------------- */

static void memory_row(struct console_call *c, const char *key, const char *what, uint64_t bytes)
{
	char text[24];

	json_number(call_json(c), key, bytes);
	call_print(c, "%-24s%12s\n", what, size_text(bytes, text, sizeof(text)));
}

static int memory_run(struct console_call *c)
{
	uint64_t total = frames_total() * PAGE_SIZE, free = frames_free_count() * PAGE_SIZE;
	uint64_t backed, promised;

	gmem_totals(&backed, &promised);
	memory_row(c, "total_bytes", "memory", total);
	memory_row(c, "free_bytes", "free", free);
	memory_row(c, "used_bytes", "in use", total - free);
	memory_row(c, "heap_bytes", "  in the heap", heap_used());
	memory_row(c, "backed_bytes", "  in guests' RAM", backed);
	memory_row(c, "promised_bytes", "promised to guests yet", promised);
	return OK;
}

CONSOLE_COMMAND(host_memory) = {
    .words = "host memory",
    .help = "show the use of memory",
    .run = memory_run,
};

/* --- host reboot, host poweroff --------------------------------------------------------------- */

/* Lets every guest's disk requests end; a guest whose power fails would not have it better. */
static void stop_guest(struct vm *vm, void *arg)
{
	struct errmsg e;

	if (vm->run_state != VM_RUNNING && vm->run_state != VM_PAUSED)
		return;
	if (vm_poweroff(vm, &e))
		log_warn("vm '%s': %s", vm->config.name, e.text);
}

/* True if nothing speaks against it any more: the last word of the answer is said before the end.
 */
static bool prepare(struct console_call *c, const char *what)
{
	struct guest_sum g = guests();

	if (g.running && !call_confirm(c, "%s with %u guest%s alive", what, g.running,
			     g.running == 1 ? "" : "s"))
		return false;
	vm_foreach(stop_guest, NULL);
	out_end(&c->out);
	thread_pin(thread_current(), 0); /* some firmware insists on the boot CPU */
	uart_flush();
	return true;
}

static int reboot_run(struct console_call *c)
{
	if (prepare(c, "reboot the host"))
		power_reboot();
	return ERR_CANCELLED;
}

static int poweroff_run(struct console_call *c)
{
	if (prepare(c, "power off the host"))
		power_off();
	return ERR_CANCELLED;
}

CONSOLE_COMMAND(host_reboot) = {
    .words = "host reboot",
    .help = "restart the machine",
    .flags = CMD_ASKS,
    .run = reboot_run,
};

CONSOLE_COMMAND(host_poweroff) = {
    .words = "host poweroff",
    .help = "switch the machine off",
    .flags = CMD_ASKS,
    .run = poweroff_run,
};
