/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where the current thread's stack begins. */
#ifndef MLH_STACK_BPF_H
#define MLH_STACK_BPF_H

/* No thread has a larger stack of its own; so far above it, it is something else. */
#define MLH_STACK_REACH (64ULL << 20)

/* A thread's control block lies right above its stack. The main thread's lies elsewhere; its stack the kernel knows. */
static __always_inline __u64 thread_pointer(struct task_struct *task __attribute__((unused)))
{
#if defined(__TARGET_ARCH_x86)
	struct task_struct___x86 *here = (void *)task;

	if (bpf_core_field_exists(here->thread.fsbase))
		return BPF_CORE_READ(here, thread.fsbase);
#endif
	return 0;
}

static __always_inline __u32 stack_used(__u64 sp)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 base = thread_pointer(task);
	__u64 used = base - sp;

	if (base <= sp || used >= MLH_STACK_REACH) {
		base = BPF_CORE_READ(task, mm, start_stack);
		used = base > sp ? base - sp : 0;
	}
	return used < 0xffffffff ? used : 0xffffffff;
}

/* Goes on with a number that tells stacks apart. */
static __always_inline __u32 mark_with(__u32 mark, __u64 word)
{
	return (mark ^ (__u32)(word ^ word >> 32)) * 0x01000193;
}

#endif
