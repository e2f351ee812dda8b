/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The cgroups that processes are charged to, and those above them: limits, usage, names. They are reached through the processes,
 * each once in a pass, so that nothing depends on which part of the cgroup file systems the reader can see.
 */
#ifndef MLH_CGROUPS_BPF_H
#define MLH_CGROUPS_BPF_H

/* Levels walked upwards. A row and its ancestors have to fit into the kernel's buffer of 32 KiB. */
#define MLH_CGROUP_DEPTH_MAX 32

/* Who came by a cgroup, and in which pass. */
struct visit {
	__u64 pass;
	__u64 thread;
};

/* By the address of the cgroup: ids are unique within one hierarchy only. What it forgets is written twice. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct visit);
} visits SEC(".maps");

/* Those that a watched pass shows. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MLH_WATCHED_CGROUPS_MAX);
	__type(key, __u64);
	__type(value, __u8);
} watched_cgroups SEC(".maps");

/* The row being written: with it the stack would be too small. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mlh_cgroup);
} cgroup_row SEC(".maps");

static __always_inline struct cgroup *parent_of(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *parent = BPF_CORE_READ(cgroup, self.parent);

	return parent ? BPF_CORE_READ(parent, cgroup) : NULL;
}

/*
 * Where a process is looked for: in the cgroup that it is charged to; in its v2 cgroup if there is no such, or if it is the root
 * of v1's hierarchy and so tells nothing.
 */
static __always_inline struct cgroup *cgroup_of(struct css_set *set)
{
	struct cgroup *charged = memory_cgroup(set);
	struct cgroup *unified = set->dfl_cgrp;

	if (charged && (BPF_CORE_READ(charged, self.parent) || !BPF_CORE_READ(unified, self.parent)))
		return charged;
	return (struct cgroup *)number_of(unified);
}

/*
 * Whether this is the first visit of the pass. What a thread writes is thrown away when it does not fit into the kernel's buffer,
 * and the thread comes again: to that thread its own visits do not count.
 */
static __always_inline bool is_first_visit(struct cgroup *cgroup, __u64 pass, __u64 thread)
{
	__u64 key = (__u64)cgroup;
	struct visit *last = bpf_map_lookup_elem(&visits, &key);
	struct visit now = {.pass = pass, .thread = thread};

	if (!last) {
		bpf_map_update_elem(&visits, &key, &now, 0);
		return true;
	}
	if (last->pass == pass && last->thread != thread)
		return false;
	*last = now;
	return true;
}

static __always_inline void read_lists(struct mlh_cgroup *row, struct mem_cgroup *memory)
{
	struct mem_cgroup___before_6_1 *older = (void *)memory;
	struct mem_cgroup___before_5_13 *oldest = (void *)memory;
	long lists[MLH_LRU_COUNT] = {};

	if (bpf_core_field_exists(oldest->vmstats)) {
		row->flags |= MLH_CGROUP_BATCHED;
		bpf_core_read(lists, sizeof(lists), &oldest->vmstats);
	} else if (bpf_core_field_exists(older->vmstats)) {
		bpf_core_read(lists, sizeof(lists), &older->vmstats.state);
	} else {
		struct memcg_vmstats *stats = BPF_CORE_READ(memory, vmstats);

		bpf_core_read(lists, sizeof(lists), &stats->state);
	}
	for (int list = 0; list < MLH_LRU_COUNT; list++)
		row->lru[list] = lists[list];
}

/* In a cgroup in which the controller works, its state is there. */
static __always_inline void read_charges(struct mlh_cgroup *row, struct cgroup *cgroup)
{
	struct mem_cgroup *memory;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id) ||
	    bpf_core_read(&memory, sizeof(memory),
			  &cgroup->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]) ||
	    !memory)
		return;
	/* The pointer is to `css`, which the kernel keeps first. */
	memory = (void *)memory - bpf_core_field_offset(struct mem_cgroup, css);
	row->flags |= MLH_CGROUP_MEMORY;
	row->usage = BPF_CORE_READ(memory, memory.usage.counter);
	row->max = BPF_CORE_READ(memory, memory.max);
	row->high = BPF_CORE_READ(memory, memory.high);
	if (row->flags & MLH_CGROUP_UNIFIED) {
		row->swap = BPF_CORE_READ(memory, swap.usage.counter);
		row->swap_max = BPF_CORE_READ(memory, swap.max);
	} else {
		row->swap = BPF_CORE_READ(memory, memsw.usage.counter);
		row->swap_max = BPF_CORE_READ(memory, memsw.max);
	}
	read_lists(row, memory);
}

static __noinline int write_cgroup(struct seq_file *seq, struct task_struct *task, struct cgroup *cgroup, __u64 id)
{
	__u32 first = 0;
	struct mlh_cgroup *row = bpf_map_lookup_elem(&cgroup_row, &first);
	struct cgroup *parent = parent_of(cgroup);

	if (!row)
		return 0;
	__builtin_memset(row, 0, sizeof(*row));
	row->header.kind = MLH_KIND_CGROUP;
	row->header.size = sizeof(*row);
	/* v2 is the hierarchy that the kernel numbers 0. */
	row->flags = BPF_CORE_READ(cgroup, root, hierarchy_id) == 0 ? MLH_CGROUP_UNIFIED : 0;
	row->id = id;
	row->parent = parent ? BPF_CORE_READ(parent, kn, id) : 0;
	read_charges(row, cgroup);
	bpf_probe_read_kernel_str(row->name, sizeof(row->name), BPF_CORE_READ(cgroup, kn, name));
	BPF_CORE_READ_STR_INTO(&row->node_name, task, nsproxy, uts_ns, name.nodename);
	bpf_seq_write(seq, row, sizeof(*row));
	return 0;
}

/* Above a cgroup that was visited all have been. */
static __always_inline void write_cgroups(struct seq_file *seq, struct task_struct *task, __u64 pass, bool watched_only)
{
	struct cgroup *cgroup = cgroup_of(task->cgroups);

	for (int depth = 0; cgroup && depth < MLH_CGROUP_DEPTH_MAX; depth++) {
		__u64 id;

		if (!is_first_visit(cgroup, pass, task->pid))
			return;
		id = BPF_CORE_READ(cgroup, kn, id);
		if (!watched_only || bpf_map_lookup_elem(&watched_cgroups, &id))
			write_cgroup(seq, task, cgroup, id);
		cgroup = parent_of(cgroup);
	}
}

#endif
