/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where an operation was called from, and how deep in the stack that is. */
#ifndef MLH_CALLSITE_BPF_H
#define MLH_CALLSITE_BPF_H

/* Functions that only pass on what they are called for may call one another so often. */
#define MLH_WRAPPERS_NESTED 4

/* Bytes from the stack pointer, once the wrapper's call has returned, to the wrapper's own return address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct mlh_wrapper_key);
	__type(value, __u32);
} wrappers SEC(".maps");

/* There are any. */
__u32 has_wrappers SEC(".data.wrappers") = 0;

/*
 * Call sites that several stacks share are told apart by the callers: how far it is to them is known of frames that userspace has
 * unwound. Of a return address, in words of 8 bytes from the stack pointer once it has been returned to: the lower 16 bits how far
 * it is to the function's own return address, the upper ones to the stack pointer of its caller.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct mlh_wrapper_key);
	__type(value, __u32);
} frames SEC(".maps");

/* Callers that are looked at. */
#define MLH_CALLERS_MAX 32

/* There are any frames. */
__u32 has_frames SEC(".data.frames") = 0;
/* There are Python interpreters. */
__u32 has_pythons SEC(".data.pythons") = 0;

__noinline __u32 python_mark(__u32 key);

/* Takes the callers in, as far as they are known. */
static __noinline int tell_callers_apart(struct mlh_call_site *site, __u64 top)
{
	struct mlh_wrapper_key key;

	if (!site)
		return 0;
	key = (struct mlh_wrapper_key){site->ip, site->slot, 0};
	for (int i = 0; i < MLH_CALLERS_MAX; i++) {
		__u32 *frame = bpf_map_lookup_elem(&frames, &key);

		if (!frame || bpf_probe_read_user(&key.returns_to, sizeof(key.returns_to), (void *)top + (*frame & 0xffff) * 8))
			break;
		top += (*frame >> 16) * 8;
		site->depth = mark_with(site->depth, key.returns_to);
	}
	return 0;
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
	if (has_frames)
		tell_callers_apart(site, top);
	if (has_pythons)
		site->depth ^= python_mark(slot);
}

#endif
