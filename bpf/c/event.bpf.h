/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How something that happened to a process is told: a whole row of it in a ring. Whoever includes this sets MLH_RING_BYTES.
 *
 * The programs run wherever the kernel comes by, on pointers of all kinds: fields are read by reads that may fail.
 */
#ifndef MLH_EVENT_BPF_H
#define MLH_EVENT_BPF_H

#define READ(from, field) BPF_CORE_READ(from, field)

#include "process.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MLH_RING_BYTES);
} events SEC(".maps");

/* Events that were not told: for want of room in the ring, or because nothing could be learnt of the process. */
__u64 lost SEC(".data.lost") = 0;

static __always_inline void lose(void)
{
	__sync_fetch_and_add(&lost, 1);
}

static __noinline int tell(__u16 kind, struct task_struct *task, struct mm_struct *mm, __u32 pid)
{
	struct mlh_event event = {
		.header = {kind, sizeof(event)},
		.at_ns = bpf_ktime_get_boot_ns(),
	};

	describe(&event.process, task, mm, pid, true);
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		lose();
	return 0;
}

/* Read once by the listener before anything is attached: tells in whose pid namespace pids are to be told. */
static __always_inline void meet_listener(struct bpf_iter__task *ctx)
{
	if (ctx->meta->seq_num != 0)
		return;
	meet_reader();
	if (kept_per_cpu())
		measure_cpus();
}

#endif
