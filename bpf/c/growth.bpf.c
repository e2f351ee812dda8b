// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The sweep: one pass over all tasks that reads what the kernel already counts. It runs when userspace reads the iterator and
 * sits on nobody's hot path.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"

/* The iterator's task is a pointer that the verifier knows, and what hangs on it is. */
#define READ(from, field) ((from)->field)

#include "process.bpf.h"
#include "watched.bpf.h"
#include "cgroups.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Keeps these types in the object's BTF, and so in the skeleton, where src/layout.rs compares them. */
const struct {
	struct mlh_process process;
	struct mlh_thread thread;
	struct mlh_cgroup cgroup;
	struct mlh_event event;
	struct mlh_choice choice;
	struct mlh_crossings crossings;
	struct mlh_capture capture;
	struct mlh_stack stack;
	struct mlh_touch touch;
	struct mlh_write write;
	struct mlh_born born;
	struct mlh_python python;
	struct mlh_python_frame python_frame;
	struct mlh_python_layout python_layout;
	struct mlh_mapping mapping;
	struct mlh_block block;
	struct mlh_turn turn;
	struct mlh_block_key block_key;
	struct mlh_live live;
	struct mlh_totals totals;
	struct mlh_alloc_counters alloc_counters;
	struct mlh_target target;
	struct mlh_wrapper_key wrapper_key;
	struct mlh_alloc_config alloc_config;
	struct mlh_admission admission;
	struct mlh_hit_costs hit_costs;
	struct mlh_faults_config faults_config;
	struct mlh_watch_config watch_config;
	enum mlh_python_entry python_entry;
	enum mlh_cookie cookie;
	enum mlh_shape shape;
	enum mlh_role role;
	enum mlh_operation operation;
	enum mlh_admit admit;
	enum mlh_kind kind;
	enum mlh_flag flag;
	enum mlh_cgroup_flag cgroup_flag;
	enum mlh_lru lru;
	enum mlh_limit limit;
} mlh_abi SEC(".rodata.abi") = {};

/* What the next pass is to show. */
volatile struct mlh_choice choice SEC(".data.pass") = {};

static __always_inline int write_process(struct seq_file *seq, struct task_struct *task, struct mm_struct *mm, __u32 pid)
{
	struct mlh_process row = {};

	describe(&row, task, mm, pid, is_watched(pid));
	bpf_seq_write(seq, &row, sizeof(row));
	return 0;
}

static __always_inline int write_thread(struct seq_file *seq, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct mm_struct *mm = task->mm;
	struct mlh_thread row = {
		.header = {MLH_KIND_THREAD, sizeof(row)},
		.host_pid = task->tgid,
		.start_ns = leader->start_boottime,
		.cpu_ns = task->se.sum_exec_runtime,
	};

	if (!kept_per_cpu() && mm) {
		read_atomic(&row.base, mm);
		read_cached(&row.cached, task);
	}
	bpf_seq_write(seq, &row, sizeof(row));
	return 0;
}

SEC("iter/task")
int sweep(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *leader;
	struct mm_struct *mm;
	bool speaks;
	__u32 pid;

	if (ctx->meta->seq_num == 0) {
		meet_reader();
		if (kept_per_cpu() && !cpus_measured)
			measure_cpus();
	}
	/* A kernel thread may work in a borrowed address space: that is not its memory. */
	if (!task || task->flags & PF_KTHREAD)
		return 0;
	leader = task->group_leader;
	pid = visible_pid(leader);
	if (!pid)
		return 0;
	/*
	 * A main thread may end before the others: then each of them speaks for the process, and userspace joins them. What has
	 * no memory (a zombie, or such a main thread) is only CPU time to be added.
	 */
	mm = task->mm;
	speaks = mm && (task == leader || !leader->mm);
	if (speaks && choice.cgroups)
		write_cgroups(ctx->meta->seq, task, choice.number, choice.watched_only);
	if (choice.watched_only && !is_watched(pid))
		return 0;
	if (speaks)
		return write_process(ctx->meta->seq, task, mm, pid);
	return write_thread(ctx->meta->seq, task);
}
