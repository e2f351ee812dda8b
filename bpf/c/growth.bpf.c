// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The sweep: one pass over all tasks that reads what the kernel already counts. It runs when userspace reads the iterator and
 * sits on nobody's hot path.
 *
 * Which processes are visible: those that have a pid in the pid namespace of the reader, which is what a /proc mounted in that
 * namespace shows. In the initial namespace these are all. The rule is applied here and not left to the iterator, whose forms
 * differ in it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"
#include "counters.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Keeps these types in the object's BTF, and so in the skeleton, where src/layout.rs compares them. */
const struct {
	struct mlh_process process;
	struct mlh_thread thread;
	enum mlh_kind kind;
	enum mlh_flag flag;
	enum mlh_limit limit;
} mlh_abi SEC(".rodata.abi") = {};

/* Nonzero: only the processes in `watched` are looked at. */
volatile __u32 watched_only SEC(".data.pass") = 0;

/* Thread group ids, in the reader's pid namespace, of those whose counters are summed exactly. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MLH_WATCHED_MAX);
	__type(key, __u32);
	__type(value, __u8);
} watched SEC(".maps");

/* Who reads this pass: its innermost pid namespace, and how deep that lies. Written at the first task. */
__u64 reader_ns = 0;
__u32 reader_level = 0;

/* struct upid, as a copy: without CO-RE, whose loads the compiler would merge with loads from the kernel's memory. */
struct number {
	__s32 nr;
	__u64 ns;
};

static __always_inline struct number number_at(struct pid *pid, __u32 level)
{
	struct number number = {};

	bpf_core_read(&number, sizeof(number), &pid->numbers[level]);
	barrier_var(number.nr);
	return number;
}

static __always_inline void meet_reader(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);

	reader_level = BPF_CORE_READ(pid, level);
	reader_ns = number_at(pid, reader_level).ns;
}

/* A process's pid in the reader's namespace; 0 where it has none. */
static __always_inline __u32 visible_pid(struct task_struct *leader)
{
	struct pid *pid;
	struct number seen;

	if (reader_level == 0)
		return leader->tgid;
	pid = leader->thread_pid;
	if (!pid || pid->level < reader_level)
		return 0;
	seen = number_at(pid, reader_level);
	return seen.ns == reader_ns ? seen.nr : 0;
}

static __always_inline __u32 innermost_pid(struct task_struct *leader, __u32 visible)
{
	struct pid *pid = leader->thread_pid;

	if (!pid || pid->level == reader_level)
		return visible;
	return number_at(pid, pid->level).nr;
}

static __always_inline bool is_watched(__u32 pid)
{
	return bpf_map_lookup_elem(&watched, &pid) != NULL;
}

static __always_inline __u64 cgroup_id(struct cgroup *cgroup)
{
	return cgroup ? cgroup->kn->id : 0;
}

/* On v1 and hybrid hosts the memory limit is not in the v2 cgroup. */
static __always_inline __u64 memory_cgroup_id(struct css_set *set)
{
	struct cgroup_subsys_state *state;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	if (bpf_core_read(&state, sizeof(state), &set->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]))
		return 0;
	return BPF_CORE_READ(state, cgroup, kn, id);
}

static __always_inline void read_executable(struct mlh_process *row, struct file *file)
{
	if (!file)
		return;
	row->inode = file->f_inode->i_ino;
	row->device = file->f_inode->i_sb->s_dev;
	bpf_probe_read_kernel_str(row->executable, sizeof(row->executable), file->f_path.dentry->d_name.name);
}

static __always_inline void read_memory(struct mlh_process *row, struct task_struct *task, struct mm_struct *mm)
{
	if (kept_per_cpu()) {
		row->flags = read_per_cpu(&row->base, mm, is_watched(row->pid));
	} else {
		row->flags = MLH_FLAG_CACHED;
		read_atomic(&row->base, mm);
		read_cached(&row->cached, task);
	}
	row->total_vm = mm->total_vm;
	row->page_tables = mm->pgtables_bytes.counter;
}

static __always_inline int write_process(struct seq_file *seq, struct task_struct *task, struct mm_struct *mm, __u32 pid)
{
	struct task_struct *leader = task->group_leader;
	struct signal_struct *signal = task->signal;
	struct css_set *set = task->cgroups;
	struct mlh_process row = {
		.header = {MLH_KIND_PROCESS, sizeof(row)},
		.start_ns = leader->start_boottime,
		.host_pid = task->tgid,
		.pid = pid,
		.own_pid = innermost_pid(leader, pid),
		.parent = visible_pid(task->real_parent->group_leader),
		.cpu_ns = task->se.sum_exec_runtime,
		.ended_cpu_ns = signal->sum_sched_runtime,
		.cgroup_id = cgroup_id(set->dfl_cgrp),
		.memory_cgroup_id = memory_cgroup_id(set),
		.exec_id = leader->self_exec_id,
		.threads = signal->nr_threads,
	};

	read_memory(&row, task, mm);
	read_executable(&row, mm->exe_file);
	bpf_core_read_str(row.comm, sizeof(row.comm), &leader->comm);
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
	if (!pid || (watched_only && !is_watched(pid)))
		return 0;
	/*
	 * A main thread may end before the others: then each of them speaks for the process, and userspace joins them. What has
	 * no memory (a zombie, or such a main thread) is only CPU time to be added.
	 */
	mm = task->mm;
	if (mm && (task == leader || !leader->mm))
		return write_process(ctx->meta->seq, task, mm, pid);
	return write_thread(ctx->meta->seq, task);
}
