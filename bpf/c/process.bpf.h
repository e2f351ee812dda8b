/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A process as a row. Whoever includes this says how a field is read: READ(from, field) is a plain load where the verifier
 * knows `from` for a pointer to the kernel's type, and else a read that may fail.
 *
 * Which processes are visible: those that have a pid in the pid namespace of the reader, which is what a /proc mounted in that
 * namespace shows. In the initial namespace these are all. The rule is applied here and not left to the iterator, whose forms
 * differ in it.
 */
#ifndef MLH_PROCESS_BPF_H
#define MLH_PROCESS_BPF_H

#include "counters.bpf.h"

/* Who reads: its innermost pid namespace, and how deep that lies. */
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

/* Called in the context of the reader: in an iterator, at the first task. */
static __always_inline void meet_reader(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);

	reader_level = BPF_CORE_READ(pid, level);
	reader_ns = number_at(pid, reader_level).ns;
}

/* A thread's number in the reader's namespace; 0 where it has none. */
static __always_inline __u32 visible_thread(struct task_struct *task)
{
	struct pid *pid;
	struct number seen;

	if (reader_level == 0)
		return READ(task, pid);
	pid = READ(task, thread_pid);
	if (!pid || READ(pid, level) < reader_level)
		return 0;
	seen = number_at(pid, reader_level);
	return seen.ns == reader_ns ? seen.nr : 0;
}

/* A process's pid in the reader's namespace, by its leader; 0 where it has none. */
static __always_inline __u32 visible_pid(struct task_struct *leader)
{
	return visible_thread(leader);
}

static __always_inline __u32 innermost_pid(struct task_struct *leader, __u32 visible)
{
	struct pid *pid = READ(leader, thread_pid);
	__u32 level;

	if (!pid)
		return visible;
	level = READ(pid, level);
	return level == reader_level ? visible : number_at(pid, level).nr;
}

static __always_inline __u64 cgroup_id(struct cgroup *cgroup)
{
	struct kernfs_node *node;

	if (!cgroup)
		return 0;
	node = READ(cgroup, kn);
	return READ(node, id);
}

/* The memory controller's cgroup: on v1 and hybrid hosts the limit is not in the v2 one. NULL: the kernel has none. */
static __always_inline struct cgroup *memory_cgroup(struct css_set *set)
{
	struct cgroup_subsys_state *state;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return NULL;
	if (bpf_core_read(&state, sizeof(state), &set->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]) ||
	    !state)
		return NULL;
	return BPF_CORE_READ(state, cgroup);
}

static __always_inline void read_executable(struct mlh_process *row, struct file *file)
{
	struct inode *inode;
	struct super_block *super;
	struct dentry *dentry;

	if (!file)
		return;
	inode = READ(file, f_inode);
	row->inode = READ(inode, i_ino);
	super = READ(inode, i_sb);
	row->device = READ(super, s_dev);
	dentry = READ(file, f_path.dentry);
	bpf_probe_read_kernel_str(row->executable, sizeof(row->executable), READ(dentry, d_name.name));
}

static __always_inline void read_memory(struct mlh_process *row, struct task_struct *task, struct mm_struct *mm, bool exact)
{
	if (kept_per_cpu()) {
		row->flags = read_per_cpu(&row->base, mm, exact);
	} else {
		row->flags = MLH_FLAG_CACHED;
		read_atomic(&row->base, mm);
		read_cached(&row->cached, task);
	}
	row->total_vm = READ(mm, total_vm);
	row->page_tables = READ(mm, pgtables_bytes.counter);
}

/* `row` is all zeros. `exact` asks for exact sums where they can be had. */
static __always_inline void describe(struct mlh_process *row, struct task_struct *task, struct mm_struct *mm, __u32 pid,
				     bool exact)
{
	struct task_struct *leader = READ(task, group_leader);
	struct task_struct *parent = READ(task, real_parent);
	struct signal_struct *signal = READ(task, signal);
	struct css_set *set = READ(task, cgroups);
	struct cgroup *memory = memory_cgroup(set);

	row->header.kind = MLH_KIND_PROCESS;
	row->header.size = sizeof(*row);
	row->start_ns = READ(leader, start_boottime);
	row->host_pid = READ(task, tgid);
	row->pid = pid;
	row->own_pid = innermost_pid(leader, pid);
	row->parent = visible_pid(READ(parent, group_leader));
	row->cpu_ns = READ(task, se.sum_exec_runtime);
	row->ended_cpu_ns = READ(signal, sum_sched_runtime);
	row->cgroup_id = cgroup_id(READ(set, dfl_cgrp));
	row->memory_cgroup_id = memory ? BPF_CORE_READ(memory, kn, id) : 0;
	row->exec_id = READ(leader, self_exec_id);
	row->threads = READ(signal, nr_threads);
	read_memory(row, task, mm, exact);
	read_executable(row, READ(mm, exe_file));
	bpf_core_read_str(row->comm, sizeof(row->comm), &leader->comm);
}

#endif
