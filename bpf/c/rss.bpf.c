// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Growth as it happens: the kernel comes by here with every page that a process gains or loses (before 6.2: with every 64th of a
 * thread). The threshold is applied here, so that only crossings are told; all others cost no more than looking up a number.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"

/* Room for some 960 crossings. */
#define MLH_RING_BYTES (256 << 10)

#include "event.bpf.h"
#include "watched.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set before loading. */
const volatile struct mlh_crossings crossings SEC(".rodata.crossings") = {};

/*
 * Pages at the last crossing, less what was given back since; keyed by the address of the mm, which is what grows: threads share
 * it, and an exec begins a new one. One that was forgotten, or that is the first at an address used before, begins where it is.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __s64);
} baselines SEC(".maps");

/* What this CPU has last looked at. */
struct glance {
	__u64 mm;
	__s64 pages;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct glance);
} glances SEC(".maps");

/* Counts that are kept per CPU stand still between two batches, and to find that out is cheaper than the look at the baseline. */
static __always_inline bool is_news(__u64 mm, __s64 pages)
{
	__u32 first = 0;
	struct glance *last = bpf_map_lookup_elem(&glances, &first);

	if (!last || (last->mm == mm && last->pages == pages))
		return false;
	last->mm = mm;
	last->pages = pages;
	return true;
}

static __always_inline bool is_current_watched(void)
{
	struct task_struct *task;

	if (reader_level == 0)
		return is_watched(bpf_get_current_pid_tgid() >> 32);
	task = (struct task_struct *)bpf_get_current_task();
	return is_watched(visible_pid(BPF_CORE_READ(task, group_leader)));
}

/* Whether it has grown by the threshold. */
static __always_inline bool has_crossed(__u64 mm, __s64 pages)
{
	__s64 *baseline = bpf_map_lookup_elem(&baselines, &mm);

	if (!baseline) {
		bpf_map_update_elem(&baselines, &mm, &pages, 0);
		return false;
	}
	if (pages < *baseline)
		*baseline = pages;
	if (pages - *baseline < (__s64)crossings.threshold)
		return false;
	*baseline = pages;
	return true;
}

/*
 * Whose memory it is. As a rule the current task's; but memory is also given to others (by a debugger, by a parent that forks)
 * and taken from them. NULL: nobody's yet; it is on its way into a fork or an exec, whose growth it is not.
 */
static __always_inline struct task_struct *owner_of(struct mm_struct *mm)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (BPF_CORE_READ(task, mm) == mm && !(BPF_CORE_READ(task, flags) & PF_KTHREAD))
		return task;
	if (!bpf_core_field_exists(mm->owner))
		return NULL;
	task = BPF_CORE_READ(mm, owner);
	return task && BPF_CORE_READ(task, mm) == mm ? task : NULL;
}

static __always_inline int changed(__u64 address, __s64 pages)
{
	struct mm_struct *mm = (void *)address;
	struct task_struct *task;
	__u32 pid;

	if (!is_news(address, pages) || !has_crossed(address, pages))
		return 0;
	task = owner_of(mm);
	if (!task)
		return 0;
	pid = visible_pid(BPF_CORE_READ(task, group_leader));
	if (!pid || (crossings.watched_only && !is_watched(pid)))
		return 0;
	return tell(MLH_KIND_CROSSING, task, mm, pid);
}

static __always_inline bool is_of_interest(int member)
{
	return member != MM_FILEPAGES && (!crossings.watched_only || is_current_watched());
}

SEC("iter/task")
int meet(struct bpf_iter__task *ctx)
{
	meet_listener(ctx);
	return 0;
}

/* Further arguments, which older kernels have, are of no interest. */
SEC("tp_btf/rss_stat")
int rss_stat(__u64 *ctx)
{
	struct mm_struct *mm = (void *)ctx[0];
	__s64 pages;

	if (!is_of_interest(ctx[1]))
		return 0;
	/* On the path of every page fault, plain loads. */
	if (kept_per_cpu()) {
		pages = percpu_of(mm, MM_ANONPAGES)->count + percpu_of(mm, MM_SHMEMPAGES)->count +
			percpu_of(mm, MM_SWAPENTS)->count;
	} else {
		struct mlh_pages counts = {};

		read_atomic(&counts, mm);
		pages = counts.anon + counts.shmem + counts.swap;
	}
	return changed(number_of(mm), pages);
}

/* The same at the classic tracepoint, where the other cannot be had. It tells of the current task's memory only. */
SEC("tracepoint/kmem/rss_stat")
int rss_stat_classic(struct trace_event_raw_rss_stat *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct mlh_pages counts = {};
	struct mm_struct *mm;

	if (!ctx->curr || !is_of_interest(ctx->member))
		return 0;
	mm = BPF_CORE_READ(task, mm);
	if (kept_per_cpu())
		read_per_cpu(&counts, mm, false);
	else
		read_atomic(&counts, mm);
	return changed((__u64)mm, counts.anon + counts.shmem + counts.swap);
}
