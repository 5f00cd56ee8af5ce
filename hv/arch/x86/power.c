/* SPDX-License-Identifier: BSD-2-Clause */
/* The ways to reset or switch off the machine, from the proper to the desperate. */
#include "hv/arch/x86/power.h"
#include <string.h>
#include "hv/arch/x86/acpi.h"
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/efi_rt.h"
#include "hv/arch/x86/io.h"
#include "hv/arch/x86/smp.h"
#include "hv/arch/x86/tsc.h"
#include "hv/lib/log.h"

enum {
	PORT_RESET = 0xcf9, /* ICH reset control: system reset, then reset CPU */
	RESET_SYSTEM = 0x02,
	RESET_CPU = 0x04,
	PORT_KBC = 0x64,
	KBC_PULSE_RESET = 0xfe,
};
#define RESET_WAIT 50000000ULL

void power_reboot(void)
{
	uint16_t port;
	uint8_t value;

	irq_disable();
	smp_stop_others();
	efi_rt_reset(EFI_RESET_COLD);
	if (acpi_reset_register(&port, &value)) {
		outb(port, value);
		delay_ns(RESET_WAIT);
	}
	outb(PORT_RESET, RESET_SYSTEM);
	outb(PORT_RESET, RESET_SYSTEM | RESET_CPU);
	delay_ns(RESET_WAIT);
	outb(PORT_KBC, KBC_PULSE_RESET);
	delay_ns(RESET_WAIT);
	panic("reset: nothing that was tried resets this machine");
}

void power_off(void)
{
	irq_disable();
	smp_stop_others();
	efi_rt_reset(EFI_RESET_SHUTDOWN);
	if (log_console_sink) {
		static const char text[] = "It is now safe to switch off this machine.\n";

		log_console_sink(text, sizeof(text) - 1);
	}
	cpu_halt_forever();
}
