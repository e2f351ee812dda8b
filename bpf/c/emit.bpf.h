/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the allocation probes tell: records in a ring. What does not fit is counted. */
#ifndef MLH_EMIT_BPF_H
#define MLH_EMIT_BPF_H

#define MLH_RING_BYTES (8 << 20)

#include "capture.bpf.h"
#include "python.bpf.h"

/* What becomes of processes has a ring of its own, so that no flood of the rest can take it away. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} turns SEC(".maps");

/* Records that did not fit that one. */
__u64 lost_turns SEC(".data.lost_turns") = 0;

/* When the next record of a block is due if they come as fast as they may. */
__u64 due_ns SEC(".data.due") = 0;

/* A token bucket that holds a second's worth. */
static __always_inline bool within_rate(struct mlh_alloc_counters *count, __u64 at_ns)
{
	if (!config.interval_ns)
		return true;
	for (int attempt = 0; attempt < 8; attempt++) {
		__u64 due = *(volatile __u64 *)&due_ns;
		__u64 from = due > at_ns ? due : at_ns;

		if (from - at_ns >= 1000000000)
			break;
		if (__sync_val_compare_and_swap(&due_ns, due, from + config.interval_ns) == due)
			return true;
	}
	COUNT(count, rate_limited);
	return false;
}

/* Of the current process, pages. What is kept per CPU may lag. */
static __always_inline __u64 rss_pages(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct mlh_pages pages = {};
	__s64 sum;

	if (kept_per_cpu()) {
		pages.anon = READ(percpu_of(mm, MM_ANONPAGES), count);
		pages.file = READ(percpu_of(mm, MM_FILEPAGES), count);
		pages.shmem = READ(percpu_of(mm, MM_SHMEMPAGES), count);
	} else {
		read_atomic(&pages, mm);
	}
	sum = pages.anon + pages.file + pages.shmem;
	return sum > 0 ? sum : 0;
}

__noinline int tell_copy(const struct mlh_stack *head, const struct place *at)
{
	if (!head || !at)
		return false;
	return TELL_COPY(mlh_stack, head, at);
}

__noinline int tell_chain(const struct mlh_stack *head, const struct place *at)
{
	if (!head || !at)
		return false;
	return TELL_CHAIN(mlh_stack, head, at);
}

/* Words that a function is taken to push before it calls others. */
#define MLH_PUSHED_MAX 8
#define MLH_LOWEST_CODE 4096

/* Whether what was pushed, or is in the register, points to a frame above the function at hand, and not to what else lies there. */
static __always_inline bool is_frame(__u64 at, __u64 top)
{
	struct frame frame;

	if (at < top || at - top >= MLH_STACK_REACH || at & 7 || bpf_probe_read_user(&frame, sizeof(frame), (void *)at))
		return false;
	/* no code lies in the stack, nor where a null pointer may point */
	return frame.returns_to >= MLH_LOWEST_CODE && frame.returns_to - top >= MLH_STACK_REACH &&
	       (!frame.next || (frame.next > at && frame.next - top < MLH_STACK_REACH));
}

/* The frame of the caller of a function that is in its middle and may use the register for something else: it has pushed it then. */
__noinline __u64 frame_above(__u64 bp, __u64 sp, __u64 top)
{
#if PUSHED_BY_CALL
	__u64 at = top - PUSHED_BY_CALL, word;

	if (is_frame(bp, top))
		return bp;
	for (int i = 0; i < MLH_PUSHED_MAX; i++) {
		at -= sizeof(word);
		if (at < sp || bpf_probe_read_user(&word, sizeof(word), (void *)at))
			break;
		if (is_frame(word, top))
			return word;
	}
	return 0;
#else
	(void)sp;
	return is_frame(bp, top) ? bp : 0;
#endif
}

/* Returns whether it was told. */
static __noinline bool tell_stack(registers_t *regs, const struct hit *hit, const struct mlh_call_site *site)
{
	struct mlh_stack head = {};
	struct place at = {};
	__u64 sp;

	if (!regs || !hit || !site)
		return false;
	/* Within a function the frame pointer may be in other use: there the unwinder is to begin at the probe itself. */
	at.ip = POSITION(regs);
	at.bp = FRAME(regs);
	sp = STACK(regs);
	/* the context's fields are to be read as such, and not through a pointer to either of two things */
	barrier_var(at.ip);
	barrier_var(sp);
	at.sp = sp;
	if (!hit->is_inside) {
		at.ip = hit->caller;
		at.sp = hit->top;
	}
	head.header.kind = hit->walks ? MLH_KIND_CHAIN : MLH_KIND_STACK;
	head.operation = hit->operation;
	head.at_ns = hit->at_ns;
	head.site = *site;
	head.pid = hit->pid;
	find_returns(&at.returns, at.sp);
	tell_python(hit->slot, hit->pid, hit->at_ns);
	if (!hit->walks)
		return tell_copy(&head, &at);
	at.frame = at.bp;
	if (hit->is_inside && hit->top != sp) {
		at.caller = hit->caller;
		at.frame = frame_above(at.bp, sp, hit->top);
	}
	return tell_chain(&head, &at);
}

static __noinline int tell_block(const struct hit *hit, const struct mlh_block_key *key, const struct mlh_live *block,
				 __u32 operation, bool freed)
{
	struct mlh_block *row;

	if (!hit || !key || !block)
		return 0;
	if (!within_rate(hit->count, hit->at_ns))
		return 0;
	row = bpf_ringbuf_reserve(&events, sizeof(*row), 0);
	if (!row) {
		lose();
		return 0;
	}
	*row = (struct mlh_block){
		.header = {MLH_KIND_BLOCK, sizeof(*row)},
		.operation = operation,
		.freed = freed,
		.at_ns = hit->at_ns,
		.site = {block->ip, key->slot, block->depth},
		.address = key->address,
		.size = block->size,
		.rss_pages = rss_pages(),
		.weight = block->weight,
		.pid = hit->pid,
	};
	bpf_ringbuf_submit(row, wake_up());
	return 0;
}

/* Something that its reader has to act upon: told at once. */
static __always_inline void tell_turn(__u16 kind, __u32 slot, __u32 next, __u32 pid)
{
	struct mlh_turn *row = bpf_ringbuf_reserve(&turns, sizeof(*row), 0);

	if (!row) {
		__sync_fetch_and_add(&lost_turns, 1);
		return;
	}
	*row = (struct mlh_turn){
		.header = {kind, sizeof(*row)},
		.slot = slot,
		.at_ns = bpf_ktime_get_boot_ns(),
		.next = next,
		.pid = pid,
	};
	bpf_ringbuf_submit(row, BPF_RB_FORCE_WAKEUP);
}

#endif
