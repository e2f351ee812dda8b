// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * OOM kills, at the moment when the victim is chosen: its memory is still there to be told.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"

/* Room for some 240 victims. */
#define MLH_RING_BYTES (64 << 10)

#include "event.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define EEXIST 17

struct victim {
	__u64 start_ns;
	__u64 tgid;
};

/* Whom we have told of: a process is marked anew for each of its threads that wants memory while it dies. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct victim);
	__type(value, __u8);
} victims SEC(".maps");

/* What the listener has to know before it attaches. */
struct {
	__u32 by_pid;	     /* this kernel names the victim by its pid */
	__u32 lookup_works; /* and the way from a pid to a task is known */
} form SEC(".data.form") = {};

/* The tracepoint has been given the task since 6.9 (and in many stable kernels since), when its record got further fields. */
static __always_inline bool marks_by_pid(void)
{
	return !bpf_core_field_exists(struct trace_event_raw_mark_victim, uid);
}

/*
 * The task with this pid in the initial pid namespace, as the kernel itself looks it up: the namespace's radix tree leads to the
 * struct pid, and that to the tasks that bear it.
 */
static __always_inline struct task_struct *task_of(__u32 nr)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pid_namespace *initial = (void *)number_at(BPF_CORE_READ(task, thread_pid), 0).ns;
	__u64 width = bpf_core_field_size(struct xa_node, slots) / sizeof(void *);
	__u64 index = nr - BPF_CORE_READ(initial, idr.idr_base);
	__u64 entry = (__u64)BPF_CORE_READ(initial, idr.idr_rt.xa_head);
	struct pid *pid;
	void *link;

	/* 64 bits of index, 4 at least for each level; the two lowest bits tell an inner node. */
	for (int level = 0; level < 16 && (entry & 3) == 2; level++) {
		struct xa_node *node = (void *)(entry - 2);
		__u64 slot = (index >> BPF_CORE_READ(node, shift)) & (width - 1);
		void *slots = (void *)node + bpf_core_field_offset(struct xa_node, slots);

		if (bpf_probe_read_kernel(&entry, sizeof(entry), slots + slot * sizeof(void *)))
			return NULL;
	}
	pid = (void *)entry;
	if (!pid || entry & 3)
		return NULL;
	link = BPF_CORE_READ(pid, tasks[0].first);
	return link ? link - bpf_core_field_offset(struct task_struct, pid_links) : NULL;
}

SEC("iter/task")
int meet(struct bpf_iter__task *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	meet_listener(ctx);
	if (ctx->meta->seq_num != 0)
		return 0;
	form.by_pid = marks_by_pid();
	form.lookup_works = task_of(BPF_CORE_READ(task, pid)) == task;
	return 0;
}

SEC("tp_btf/mark_victim")
int mark_victim(__u64 *ctx)
{
	struct task_struct *task, *leader;
	struct victim victim;
	__u8 told = 1;

	if (marks_by_pid())
		task = task_of(ctx[0]);
	else
		task = (void *)number_of((void *)ctx[0]);
	if (!task) {
		lose();
		return 0;
	}
	leader = BPF_CORE_READ(task, group_leader);
	victim = (struct victim){BPF_CORE_READ(leader, start_boottime), BPF_CORE_READ(task, tgid)};
	if (bpf_map_update_elem(&victims, &victim, &told, BPF_NOEXIST) == -EEXIST)
		return 0;
	return tell(MLH_KIND_OOM_KILL, task, BPF_CORE_READ(task, mm), visible_pid(leader));
}
