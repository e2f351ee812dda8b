// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Samples of page faults. The kernel runs this at some of a thread's minor faults; each is told with the user's stack and the
 * number of faults that it stands for.
 */
#include "vmlinux.h"
#define __VMLINUX_H__
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "registers.bpf.h"
#include "abi.h"

#define READ(from, field) BPF_CORE_READ(from, field)
#define MLH_RING_BYTES (8 << 20)

#include "process.bpf.h"
#include "stack.bpf.h"
#include "capture.bpf.h"
#include "user.bpf.h"
#include "python.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* `struct bpf_perf_event_data`, of the kernel's stable interface. */
struct sample {
	registers_t registers;
	__u64 period;
	__u64 address;
};

/* Set before loading. */
const volatile struct mlh_faults_config config SEC(".rodata.config") = {};

/* A thread when it was last told of. */
struct told {
	__u64 at_ns;
	__u64 faults;	/* since it began */
	__u64 every;	/* one of so many was told then */
};

/* It goes with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct told);
} threads SEC(".maps");

/* How long the faults of all threads are counted before they are counted anew. */
#define MLH_WINDOW_NS 62500000ULL

/* What the dice of all threads have let through. */
struct crowd {
	__u64 since_ns;
	__u64 many;	/* since then */
	__u64 one_of;	/* so many of these were too many in the time before */
};

struct crowd crowd SEC(".data.crowd") = {};

/*
 * One of how many of a thread's faults is to be told, so that about one is in each interval: judged by how many there have been
 * since the last one, and by what was right then. What falls silent soon has each of its faults told again.
 *
 * The kernel's own way to aim at a frequency (`freq`) does not do: for this kind of event it takes the period that it arms next
 * for the one that has just been counted, and within three samples reaches periods of millions of faults.
 */
static __always_inline __u64 one_of(const struct told *last, __u64 faults, __u64 elapsed_ns)
{
	__u64 many = faults + last->every, over = elapsed_ns + config.interval_ns;

	/* no more than can be multiplied; nobody faults as much between two samples */
	if (many > 0xffffffff)
		many = 0xffffffff;
	return (many * config.interval_ns + over - 1) / over;
}

/*
 * One of how many that its own thread's dice have let through is to be told, so that all threads together keep within their rate:
 * by how many came in the time before, and by how many have come since. A number that is known before the dice are thrown again, and
 * not a bucket that is empty or is not: what is told then stands for what is not, whoever is met by it.
 */
static __always_inline __u64 one_of_crowd(__u64 at_ns)
{
	volatile struct crowd *all = &crowd;
	__u64 since = all->since_ns, elapsed = at_ns > since ? at_ns - since : 0;
	__u64 many = __sync_fetch_and_add(&crowd.many, 1) + 1, now;

	if (elapsed >= MLH_WINDOW_NS && __sync_val_compare_and_swap(&crowd.since_ns, since, at_ns) == since) {
		all->one_of = many * config.all_interval_ns / elapsed + 1;
		all->many = 0;
	}
	now = many * config.all_interval_ns / MLH_WINDOW_NS + 1;
	return now > all->one_of ? now : all->one_of;
}

TELL_ROWS(mlh_touch)

SEC("perf_event")
int touched(struct sample *sample)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mlh_touch touch = {};
	struct place at = {};
	struct told *last;
	__u64 faults, every, crowded, stands_for;
	bool is_told;

	if (task->flags & PF_KTHREAD)
		return 0;
	last = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!last)
		return 0;
	touch.at_ns = bpf_ktime_get_boot_ns();
	faults = task->min_flt;
	/* Met for the first time: what it did before nobody has asked for. */
	if (!last->at_ns) {
		last->at_ns = touch.at_ns;
		last->faults = faults - 1;
	}
	touch.weight = faults - last->faults;
	every = one_of(last, touch.weight, touch.at_ns - last->at_ns);
	/* One that has two events is told once. */
	if (!touch.weight || (every > 1 && bpf_get_prandom_u32() % every))
		return 0;
	crowded = one_of_crowd(touch.at_ns);
	if (crowded > 1 && bpf_get_prandom_u32() % crowded)
		return 0;
	stands_for = every * crowded;
	touch.one_of = stands_for > 0xffffffff ? 0xffffffff : stands_for;
	touch.address = sample->address;
	touch.pid = visible_pid(task->group_leader);
	touch.thread = visible_thread(task);
	find_place(&at, task);
	find_returns(&at.returns, at.sp);
	tell_python(touch.pid, touch.pid, touch.at_ns);
	if (bpf_map_lookup_elem(&walking, &touch.pid)) {
		touch.header.kind = MLH_KIND_TOUCH_CHAIN;
		is_told = tell_chain(&touch, &at);
	} else {
		touch.header.kind = MLH_KIND_TOUCH;
		is_told = tell_copy(&touch, &at);
	}
	if (is_told) {
		last->at_ns = touch.at_ns;
		last->faults = faults;
		last->every = every;
	}
	return 0;
}
