/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whom and what the probes are about: the one place that decides it. */
#ifndef MLH_GATE_BPF_H
#define MLH_GATE_BPF_H

/* Set before loading. */
const volatile struct mlh_alloc_config config SEC(".rodata.config") = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MLH_TARGETS_MAX);
	__type(key, __u32);
	__type(value, struct mlh_target);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mlh_alloc_counters);
} counters SEC(".maps");

/* Atomic though it is this CPU's own: the thread may lose the CPU to another one that is hit. */
#define COUNT(of, what) __sync_fetch_and_add(&(of)->what, 1)

static __always_inline struct mlh_alloc_counters *own_counters(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&counters, &first);
}

/* NULL: this process, or the program that it ran when the probe was placed, is not observed any more. */
static __always_inline struct mlh_target *target_of(__u64 pid_tgid, __u32 slot)
{
	__u32 tgid = pid_tgid >> 32;
	struct mlh_target *target = bpf_map_lookup_elem(&targets, &tgid);

	return target && target->slot == slot ? target : NULL;
}

/* Below `least` bytes the probes of this process do not see all. */
static __always_inline bool is_too_small(__u64 size, __u64 least)
{
	return !config.debug && (size < config.min_size || size < least);
}

/* For how many allocations one of this size stands; 0: it is not tracked. */
static __always_inline __u32 admit(struct mlh_alloc_counters *count, __u64 size, __u64 least)
{
	if (config.debug)
		return 1;
	if (is_too_small(size, least)) {
		COUNT(count, too_small);
		return 0;
	}
	if (size >= config.large_size || config.sampling_rate <= 1)
		return 1;
	if (bpf_get_prandom_u32() % config.sampling_rate) {
		COUNT(count, sampled_out);
		return 0;
	}
	return config.sampling_rate;
}

#endif
