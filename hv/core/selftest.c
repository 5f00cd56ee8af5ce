/* SPDX-License-Identifier: BSD-2-Clause */
/* Stress on the running machine: what unit tests on a host cannot show. */
#include "hv/core/selftest.h"
#include <string.h>
#include "hv/arch/x86/cpu.h"
#include "hv/arch/x86/smp.h"
#include "hv/core/thread.h"
#include "hv/lib/fmt.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#ifdef AMBER_DEBUG

typedef void say_fn(const char *fmt, ...) PRINTF_LIKE(1, 2);

enum { PAIRS = 4, MAX_THREADS = 2 * PAIRS };

/* Two threads that take turns; every turn also passes a mutex that all pairs share. */
struct pair {
	struct spinlock lock;
	struct waitq wait;
	unsigned turn; /* 0 or 1 */
	uint64_t rounds;
};
struct player {
	struct pair *pair;
	unsigned side;
	uint64_t rounds;
};

static struct mutex shared_lock;
static uint64_t shared, timeouts;

static void play(void *arg)
{
	struct player *me = arg;
	struct pair *p = me->pair;

	for (uint64_t i = 0; i < me->rounds; i++) {
		uint64_t flags = spin_lock(&p->lock), before;
		bool timed_out = false;

		while (p->turn != me->side) {
			flags = waitq_wait_until(
			    &p->wait, &p->lock, flags, time_now() + 2000000, &timed_out);
			if (timed_out)
				__atomic_fetch_add(&timeouts, 1, __ATOMIC_RELAXED);
		}
		p->turn = !me->side;
		p->rounds++;
		waitq_wake_one(&p->wait);
		spin_unlock(&p->lock, flags);

		mutex_lock(&shared_lock);
		before = shared;
		if (i % 64 == 0)
			thread_yield();
		shared = before + 1;
		mutex_unlock(&shared_lock);
		if (i % 1024 == 0)
			thread_sleep(100000);
	}
}

static bool test_threads(uint64_t rounds, say_fn *say)
{
	static struct pair pairs[PAIRS];
	static struct player players[MAX_THREADS];
	struct thread *threads[MAX_THREADS];
	uint64_t start = time_now(), total = 0;
	char name[16];

	mutex_init(&shared_lock, RANK_BLOCK);
	shared = timeouts = 0;
	for (unsigned i = 0; i < PAIRS; i++) {
		pairs[i] = (struct pair){0};
		spinlock_init(&pairs[i].lock, RANK_DRV);
		waitq_init(&pairs[i].wait);
	}
	for (unsigned i = 0; i < MAX_THREADS; i++) {
		players[i] = (struct player){&pairs[i / 2], i % 2, rounds};
		str_format(name, sizeof(name), "test/%u", i);
		threads[i] = thread_create(name, play, &players[i], i % 3 ? 0 : THREAD_XSTATE, 128);
		if (!threads[i])
			panic("selftest: no memory for threads");
	}
	for (unsigned i = 0; i < MAX_THREADS; i++)
		thread_join(threads[i]);
	for (unsigned i = 0; i < PAIRS; i++)
		total += pairs[i].rounds;
	say("%lu turns, %lu under the mutex, %lu time-outs, %lu ms\r\n", total, shared, timeouts,
	    (time_now() - start) / 1000000);
	return total == MAX_THREADS * rounds && shared == MAX_THREADS * rounds;
}

/* Many timers that are set, moved and cancelled from all CPUs at once. */
enum { TIMERS = 64 };
static struct timer timers[TIMERS];
static uint64_t fired, early, latest, stall;

static void on_test_timer(void *arg)
{
	const struct timer *t = arg;
	uint64_t now = time_now(), late = now - t->deadline;

	__atomic_fetch_add(&fired, 1, __ATOMIC_RELAXED);
	if (now < t->deadline)
		__atomic_fetch_add(&early, 1, __ATOMIC_RELAXED);
	else if (late > latest)
		latest = late;
}

/* How long this machine itself (an emulator on a busy host) stands still, for comparison. */
static void note_stall(void)
{
	uint64_t flags = irq_save(), start = time_now(), took;

	for (unsigned i = 0; i < 16; i++)
		(void)rdtsc();
	took = time_now() - start;
	irq_restore(flags);
	stall = MAX(stall, took);
}

static void move_timers(void *arg)
{
	uint64_t rounds = *(uint64_t *)arg, x = rdtsc() | 1;

	for (uint64_t i = 0; i < rounds; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		if (x % 5)
			timer_set(&timers[x / 8 % TIMERS], time_now() + x / 64 % 1000000);
		else
			timer_cancel_sync(&timers[x / 8 % TIMERS]);
		note_stall();
		if (i % 256 == 0)
			thread_sleep(50000);
	}
}

static bool test_timers(uint64_t rounds, say_fn *say)
{
	struct thread *threads[4];

	fired = early = latest = stall = 0;
	for (unsigned i = 0; i < TIMERS; i++)
		timer_init(&timers[i], on_test_timer, &timers[i]);
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
		threads[i] = thread_create("test/timer", move_timers, &rounds, 0, 128);
		if (!threads[i])
			panic("selftest: no memory for threads");
		thread_pin(threads[i], (int)(i % cpus_online()));
	}
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
		thread_join(threads[i]);
	thread_sleep(2000000);
	for (unsigned i = 0; i < TIMERS; i++)
		timer_cancel_sync(&timers[i]);
	say("%lu fired, latest by %lu us (the machine stood still for %lu us)\r\n", fired,
	    latest / 1000, stall / 1000);
	return fired > 0 && latest < 10000000000;
}

/* How late a sleeper wakes, one on each CPU. */
static uint64_t overslept, worst;

static void sleep_often(void *arg)
{
	for (uint64_t i = 0; i < *(uint64_t *)arg; i++) {
		uint64_t until = time_now() + 1000000, late;

		thread_sleep(1000000);
		late = time_now() - until;
		__atomic_fetch_add(&overslept, late, __ATOMIC_RELAXED);
		worst = MAX(worst, late);
	}
}

static bool test_sleep(uint64_t rounds, say_fn *say)
{
	struct thread *threads[4];

	overslept = worst = 0;
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
		threads[i] = thread_create("test/sleep", sleep_often, &rounds, 0, 128);
		if (!threads[i])
			panic("selftest: no memory for threads");
	}
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
		thread_join(threads[i]);
	say("late by %lu us on average, %lu at worst\r\n",
	    overslept / rounds / ARRAY_LEN(threads) / 1000, worst / 1000);
	return true;
}

/* Blocks of all sizes, filled and checked, in random order on all CPUs. */
static void use_memory(void *arg)
{
	enum { BLOCKS = 64 };
	struct {
		uint8_t *p;
		size_t size;
	} b[BLOCKS] = {0};
	uint64_t rounds = *(uint64_t *)arg, x = rdtsc() | 1;

	for (uint64_t i = 0; i < rounds + BLOCKS; i++) {
		unsigned n;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		n = i < rounds ? x % BLOCKS : i - rounds;
		if (b[n].p) {
			ASSERT(b[n].p[0] == (uint8_t)n && b[n].p[b[n].size - 1] == (uint8_t)n);
			heap_free(b[n].p);
			b[n].p = NULL;
		} else if (i < rounds) {
			b[n].size = 1 + (x >> 8) % (x & 64 ? 3000 : 60000);
			b[n].p = heap_alloc(b[n].size);
			ASSERT(b[n].p && (uint64_t)b[n].p % (b[n].size < 64 ? 16 : 64) == 0);
			memset(b[n].p, (int)n, b[n].size);
		}
		if (i % 64 == 0)
			thread_yield();
	}
}

static bool test_memory(uint64_t rounds, say_fn *say)
{
	uint64_t used = heap_used(), before = frames_free_count();
	struct thread *threads[4];
	hpa_t big[16];
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
		threads[i] = thread_create("test/memory", use_memory, &rounds, 0, 128);
		if (!threads[i])
			panic("selftest: no memory for threads");
	}
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
		thread_join(threads[i]);
	while (n < ARRAY_LEN(big) && (big[n] = frames_alloc(18)).a) {
		ASSERT(big[n].a % SIZE_1G == 0);
		n++;
	}
	say("%u blocks of 1 GiB, ", n);
	while (n)
		frames_free(big[--n], 18);
	say("heap %lu -> %lu bytes, free frames %lu -> %lu\r\n", used, heap_used(), before,
	    frames_free_count());
	return heap_used() == used;
}

static void count_call(void *arg)
{
	__atomic_fetch_add((uint64_t *)arg, 1, __ATOMIC_RELAXED);
}

static uint64_t calls;

static void call_everybody(void *arg)
{
	for (uint64_t i = 0; i < *(uint64_t *)arg; i++)
		smp_call_all(count_call, &calls);
}

/* Not by an MSR: emulators let one read those that do not exist. */
static bool fault_is_fixed(void)
{
	uint8_t ran_on = 0;

	__asm__ volatile("1:\tud2\n\tmovb $1, %0\n2:\n\t" EX_TABLE(1b, 2b) : "+&q"(ran_on));
	return !ran_on;
}

static bool test_calls(uint64_t rounds, say_fn *say)
{
	struct thread *threads[4];
	uint64_t v;

	calls = 0;
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
		threads[i] = thread_create("test/call", call_everybody, &rounds, 0, 128);
		if (!threads[i])
			panic("selftest: no memory for threads");
		thread_pin(threads[i], (int)(i % cpus_online()));
	}
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
		thread_join(threads[i]);
	say("%lu calls; EFER: %s; #UD: %s\r\n", calls,
	    rdmsr_safe(MSR_EFER, &v) ? "readable" : "refused", fault_is_fixed() ? "fixed" : "not");
	return calls == ARRAY_LEN(threads) * rounds * cpus_online() && fault_is_fixed();
}

/* Threads come and go, each from another CPU's point of view. */
static void nothing(void *arg)
{
	if (arg)
		thread_sleep(10000);
}

static bool test_births(uint64_t rounds, say_fn *say)
{
	uint64_t used = heap_used();

	for (uint64_t i = 0; i < rounds; i++) {
		struct thread *t[4];

		for (unsigned k = 0; k < ARRAY_LEN(t); k++) {
			t[k] = thread_create("test/birth", nothing, k ? &t[k] : NULL, 0, 128);
			if (!t[k])
				panic("selftest: no memory for threads");
		}
		for (unsigned k = 0; k < ARRAY_LEN(t); k++)
			thread_join(t[k]);
	}
	say("%lu threads came and went\r\n", rounds * 4);
	return heap_used() == used;
}

/* Computing threads share the CPUs by weight. */
static uint64_t work[6];
static bool stop_work;

static void compute(void *arg)
{
	uint64_t *mine = arg, start = time_now();

	while (!__atomic_load_n(&stop_work, __ATOMIC_RELAXED)) {
		if (thread_need_resched()) {
			*mine += time_now() - start;
			thread_yield();
			start = time_now();
		}
		cpu_pause();
	}
	*mine += time_now() - start;
}

static bool test_fair(uint64_t rounds, say_fn *say)
{
	struct thread *t[ARRAY_LEN(work)];
	uint64_t least = UINT64_MAX, most = 0;

	stop_work = false;
	memset(work, 0, sizeof(work));
	for (unsigned i = 0; i < ARRAY_LEN(work); i++) {
		t[i] = thread_create("test/fair", compute, &work[i], 0, 128);
		if (!t[i])
			panic("selftest: no memory for threads");
	}
	thread_sleep(rounds * 1000000);
	__atomic_store_n(&stop_work, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < ARRAY_LEN(work); i++) {
		thread_join(t[i]);
		least = MIN(least, work[i]);
		most = MAX(most, work[i]);
	}
	say("run time of %zu threads: %lu..%lu ms\r\n", ARRAY_LEN(work), least / 1000000,
	    most / 1000000);
	return least * 5 > most * 2; /* CPUs may have one thread more or less than others */
}

/* --- ways to die, to look at the reports ------------------------------------------- */

static NORETURN void crash_fault(void)
{
	volatile uint32_t *volatile p = NULL;

	p[4] = 1;
	panic("still alive");
}

static NORETURN void crash_text(void)
{
	*(volatile uint8_t *)(uint64_t)&crash_fault = 0x90;
	panic("still alive");
}

static uint64_t recurse(uint64_t depth)
{
	volatile uint64_t local[64];

	local[0] = depth;
	return depth ? recurse(depth - 1) + local[0] : 0;
}

static NORETURN void crash_stack(void)
{
	panic("still alive: %lu", recurse(UINT64_MAX));
}

static __attribute__((noinline)) void smash(void)
{
	char small[16];
	void *(*volatile set)(void *, int, size_t) = memset;

	set(small, 0x41, 64);
}

static NORETURN void crash_smash(void)
{
	smash();
	panic("still alive");
}

static NORETURN void crash_lock(void)
{
	struct spinlock a = SPINLOCK_INIT(RANK_UART), b = SPINLOCK_INIT(RANK_DRV);

	(void)spin_lock(&a);
	(void)spin_lock(&b);
	panic("still alive");
}

static NORETURN void crash_heap(void)
{
	uint8_t *volatile p = heap_alloc(40);

	if (p)
		p[40] = 1;
	heap_free(p);
	panic("still alive");
}

static NORETURN void crash_sleep(void)
{
	struct spinlock a = SPINLOCK_INIT(RANK_DRV);

	(void)spin_lock(&a);
	thread_sleep(1000000);
	panic("still alive");
}

static NORETURN void crash_ubsan(void)
{
	static const uint8_t table[4] = {1, 2, 3, 4};
	volatile unsigned i = 7;

	panic("still alive: %u", table[i]);
}

static const struct {
	const char *name;
	bool (*run)(uint64_t rounds, say_fn *say);
	uint64_t rounds;
} tests[] = {
    {"threads", test_threads, 12500}, /* 10^5 turns in all */
    {"timers", test_timers, 20000},
    {"sleep", test_sleep, 200},
    {"memory", test_memory, 20000},
    {"calls", test_calls, 2000},
    {"births", test_births, 500},
    {"fair", test_fair, 600},
};

static const struct {
	const char *name;
	NORETURN void (*run)(void);
} crashes[] = {
    {"fault", crash_fault},
    {"text", crash_text},
    {"stack", crash_stack},
    {"smash", crash_smash},
    {"lock", crash_lock},
    {"heap", crash_heap},
    {"sleep", crash_sleep},
    {"ubsan", crash_ubsan},
};

static bool run_tests(const char *name, uint64_t rounds, say_fn *say)
{
	bool ok = true, any = false;

	for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
		if (strcmp(name, tests[i].name) && strcmp(name, "all"))
			continue;
		any = true;
		say("selftest %s: ", tests[i].name);
		ok = tests[i].run(rounds ? rounds : tests[i].rounds, say) && ok;
	}
	return any && ok;
}

bool selftest_command(const char *line, say_fn *say)
{
	static const char test[] = "selftest ", crash[] = "crash ";
	uint64_t rounds = 0;
	char name[16];
	const char *count;

	if (!strncmp(line, crash, sizeof(crash) - 1))
		for (size_t i = 0; i < ARRAY_LEN(crashes); i++)
			if (!strcmp(line + sizeof(crash) - 1, crashes[i].name))
				crashes[i].run();
	if (strncmp(line, test, sizeof(test) - 1))
		return false;
	line += sizeof(test) - 1;
	count = strchr(line, ' ');
	str_copy(name, MIN(sizeof(name), count ? (size_t)(count - line) + 1 : sizeof(name)), line);
	if (count && str_to_u64(count + 1, false, &rounds) != OK)
		return false;
	say("selftest: %s\r\n", run_tests(name, rounds, say) ? "ok" : "FAILED");
	return true;
}

#endif
