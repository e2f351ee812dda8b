/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A process's page counters, in the two forms that kernels have kept them: an atomic for each kind, with a part held back by
 * every thread (before 6.2), and a per-CPU counter for each kind (since).
 */
#ifndef MLH_COUNTERS_BPF_H
#define MLH_COUNTERS_BPF_H

/* CPU ids run from 0 to this; 0 where they have gaps or are too many, and then nothing is summed. Set before loading. */
const volatile __u32 possible_cpus SEC(".rodata.cpus") = 0;

/* Only where its copies lie is of interest, see measure_cpus. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} yardstick SEC(".maps");

/* From a per-CPU pointer to each CPU's copy. */
__u64 cpu_offsets[MLH_CPUS_MAX];
bool cpus_measured = false;

/* How often a sum is tried again when a CPU folded its part in meanwhile. */
#define MLH_SUM_ATTEMPTS 3

/* The element size is the running kernel's: it depends on how the kernel was built. */
#define percpu_of(mm, which)                                                                             \
	((struct percpu_counter *)((void *)(mm) + bpf_core_field_offset(struct mm_struct, rss_stat) + \
				   (which) * bpf_core_type_size(struct percpu_counter)))

static __always_inline bool kept_per_cpu(void)
{
	return !bpf_core_type_exists(struct mm_rss_stat);
}

/* A pointer as a number: the verifier follows registers and the stack, but not what a helper reads. */
static __always_inline __u64 number_of(const void *pointer)
{
	__u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &pointer);
	return number;
}

/*
 * The distance from a per-CPU pointer to its copy on one CPU is the same for every such pointer, and never changes. It is taken
 * from a map of our own: the kernel's symbols for it need CAP_SYSLOG, or CONFIG_KALLSYMS_ALL.
 */
static __always_inline void measure_cpus(void)
{
	struct bpf_array *map = (struct bpf_array *)number_of(&yardstick);
	__u64 base;

	if (!bpf_core_field_exists(struct bpf_array, pptrs) ||
	    bpf_probe_read_kernel(&base, sizeof(base), (void *)map + bpf_core_field_offset(struct bpf_array, pptrs)))
		return;
	for (__u32 cpu = 0; cpu < MLH_CPUS_MAX; cpu++) {
		__u32 first = 0;
		void *copy;

		if (cpu >= possible_cpus)
			break;
		copy = bpf_map_lookup_percpu_elem(&yardstick, &first, cpu);
		if (!copy)
			return;
		cpu_offsets[cpu] = number_of(copy) - base;
	}
	cpus_measured = possible_cpus != 0;
}

static __always_inline bool add_parts(const __s32 *parts, __s64 *sum)
{
	for (__u32 cpu = 0; cpu < MLH_CPUS_MAX; cpu++) {
		__s32 part;

		if (cpu >= possible_cpus)
			break;
		if (bpf_probe_read_kernel(&part, sizeof(part), (void *)parts + cpu_offsets[cpu]))
			return false;
		*sum += part;
	}
	return true;
}

/* A CPU whose part reaches the batch folds it into the count: unless the count stood still, the sum may have missed it. */
static __noinline bool sum_exactly(struct percpu_counter *counter, __s64 *sum)
{
	for (int attempt = 0; attempt < MLH_SUM_ATTEMPTS; attempt++) {
		__s64 before, after;
		const __s32 *parts;

		if (bpf_core_read(&before, sizeof(before), &counter->count) ||
		    bpf_core_read(&parts, sizeof(parts), &counter->counters))
			return false;
		*sum = before;
		if (!add_parts(parts, sum) || bpf_core_read(&after, sizeof(after), &counter->count))
			return false;
		if (before == after)
			return true;
	}
	return false;
}

/* Returns flags. `exact` asks for sums over the CPUs, which cost a read for each. */
static __always_inline __u32 read_per_cpu(struct mlh_pages *pages, struct mm_struct *mm, bool exact)
{
	pages->file = READ(percpu_of(mm, MM_FILEPAGES), count);
	if (exact && cpus_measured && sum_exactly(percpu_of(mm, MM_ANONPAGES), &pages->anon) &&
	    sum_exactly(percpu_of(mm, MM_SHMEMPAGES), &pages->shmem) &&
	    sum_exactly(percpu_of(mm, MM_SWAPENTS), &pages->swap))
		return MLH_FLAG_PERCPU | MLH_FLAG_EXACT;
	pages->anon = READ(percpu_of(mm, MM_ANONPAGES), count);
	pages->shmem = READ(percpu_of(mm, MM_SHMEMPAGES), count);
	pages->swap = READ(percpu_of(mm, MM_SWAPENTS), count);
	return MLH_FLAG_PERCPU;
}

static __always_inline void read_atomic(struct mlh_pages *pages, struct mm_struct *mm)
{
	struct mm_struct___before_6_2 *old = (void *)mm;
	long counts[4] = {};

	bpf_core_read(counts, sizeof(counts), &old->rss_stat.count);
	pages->anon = counts[MM_ANONPAGES];
	pages->file = counts[MM_FILEPAGES];
	pages->shmem = counts[MM_SHMEMPAGES];
	pages->swap = counts[MM_SWAPENTS];
}

/* What this thread has counted and not yet handed to its process. */
static __always_inline void read_cached(struct mlh_pages *pages, struct task_struct *task)
{
	struct task_struct___before_6_2 *old = (void *)task;
	int counts[4] = {};

	if (!bpf_core_field_exists(old->rss_stat) || bpf_core_read(counts, sizeof(counts), &old->rss_stat.count))
		return;
	pages->anon = counts[MM_ANONPAGES];
	pages->file = counts[MM_FILEPAGES];
	pages->shmem = counts[MM_SHMEMPAGES];
	pages->swap = counts[MM_SWAPENTS];
}

#endif
