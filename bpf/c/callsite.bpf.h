/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where an operation was called from, and how deep in the stack that is. */
#ifndef MLH_CALLSITE_BPF_H
#define MLH_CALLSITE_BPF_H

/* Functions that only pass on what they are called for may call one another so often. */
#define MLH_WRAPPERS_NESTED 4
/* No thread has a larger stack of its own; so far above it, it is something else. */
#define MLH_STACK_REACH (64ULL << 20)

/* Bytes from the stack pointer, once the wrapper's call has returned, to the wrapper's own return address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct mlh_wrapper_key);
	__type(value, __u32);
} wrappers SEC(".maps");

/* There are any. */
__u32 has_wrappers SEC(".data.wrappers") = 0;

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

/* `ip` is a return address, `top` the stack pointer once it has been returned to. */
static __always_inline void find_call_site(struct mlh_call_site *site, __u32 slot, __u64 ip, __u64 top)
{
	if (has_wrappers) {
		for (int i = 0; i < MLH_WRAPPERS_NESTED; i++) {
			struct mlh_wrapper_key key = {ip, slot, 0};
			__u32 *distance = bpf_map_lookup_elem(&wrappers, &key);
			__u64 next;

			if (!distance || bpf_probe_read_user(&next, sizeof(next), (void *)top + *distance))
				break;
			ip = next;
			top += *distance + sizeof(next);
		}
	}
	site->ip = ip;
	site->slot = slot;
	site->depth = stack_used(top);
}

#endif
