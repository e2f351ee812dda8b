/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The processes that userspace has under watch. */
#ifndef MLH_WATCHED_BPF_H
#define MLH_WATCHED_BPF_H

/* Thread group ids in the reader's pid namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MLH_WATCHED_MAX);
	__type(key, __u32);
	__type(value, __u8);
} watched SEC(".maps");

static __always_inline bool is_watched(__u32 pid)
{
	return bpf_map_lookup_elem(&watched, &pid) != NULL;
}

#endif
