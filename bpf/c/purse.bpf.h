/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the probes may still cost those who are observed. The reader of these figures comes by once in a while; a target that
 * allocates millions of times a second has spent a budget long before. So the programs themselves count what has been paid, see
 * nothing more once it is all that was allowed, and wake the one who takes the probes out.
 */
#ifndef MLH_PURSE_BPF_H
#define MLH_PURSE_BPF_H

/* What a CPU may owe before it is entered into the sum of all, nanoseconds. */
#define MLH_OWED_NS 10000

/* Since the programs were loaded, nanoseconds. */
__u64 paid_ns SEC(".data.paid") = 0;

/* Up to what sum. */
volatile __u64 allowed_ns SEC(".data.allowed") = ~0ULL;

/* Since when (boot time) nothing is seen because all has been spent; 0: it is seen. Set here, taken back by the reader. */
volatile __u64 closed_ns SEC(".data.closed") = 0;

/* Of hits on emulated instructions, on others, and of returns, nanoseconds each. */
volatile struct mlh_hit_costs hit_costs SEC(".data.costs") = {};

/* One record wakes who listens. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} alarms SEC(".maps");

/* Records that did not fit that one: somebody has been woken by then. */
__u64 lost_alarms SEC(".data.lost_alarms") = 0;

static __always_inline bool is_spent(void)
{
	return closed_ns != 0;
}

/* Pays for a hit: what the trap costs, and the time in the program since `began_ns`. */
static __always_inline void pay(struct mlh_alloc_counters *count, __u64 trap_ns, __u64 began_ns)
{
	__u64 now = bpf_ktime_get_boot_ns(), handler = now - began_ns, cost = trap_ns + handler, owed;

	__sync_fetch_and_add(&count->handler_ns, handler);
	if (__sync_fetch_and_add(&count->owed_ns, cost) + cost < MLH_OWED_NS)
		return;
	owed = __sync_lock_test_and_set(&count->owed_ns, 0);
	if (__sync_fetch_and_add(&paid_ns, owed) + owed < allowed_ns)
		return;
	/* The first one to see it says so. */
	if (__sync_val_compare_and_swap(&closed_ns, 0, now))
		return;
	if (bpf_ringbuf_output(&alarms, &now, sizeof(now), BPF_RB_FORCE_WAKEUP))
		__sync_fetch_and_add(&lost_alarms, 1);
}

#endif
