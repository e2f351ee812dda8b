/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Processes come under observation, fork, run other programs and end. */
#ifndef MLH_TURNS_BPF_H
#define MLH_TURNS_BPF_H

/* How many programs one process can run under observation: the lowest byte of a slot. */
#define MLH_GENERATIONS 0xff

volatile struct mlh_admission admission SEC(".data.admission") = {};

/* Call sites that do not fit the table have one place for each address space; without it they would be in no sum. */
static __always_inline void make_room_for_rest(__u32 slot)
{
	struct mlh_call_site rest = {0, slot, 0};

	bpf_map_update_elem(&call_sites, &rest, &no_totals, BPF_NOEXIST);
}

/*
 * Takes a process under observation; run a second time, tells whether it has lived to see it. Or says something of one that is
 * observed: it may run another program at any time, and only here that does not get in between.
 */
SEC("iter/task")
int admit_process(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct mlh_target target = {admission.slot, admission.pid, 0, 0}, *known;
	__u32 tgid;

	if (ctx->meta->seq_num == 0)
		meet_reader();
	if (!task || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	if (visible_pid(BPF_CORE_READ(task, group_leader)) != admission.pid || !BPF_CORE_READ(task, signal, live.counter))
		return 0;
	tgid = BPF_CORE_READ(task, tgid);
	if (admission.what == MLH_ADMIT_TAKE) {
		make_room_for_rest(target.slot);
		bpf_map_update_elem(&targets, &tgid, &target, BPF_NOEXIST);
	} else {
		known = bpf_map_lookup_elem(&targets, &tgid);
		if (known && known->slot == target.slot) {
			if (admission.what == MLH_ADMIT_LEAST)
				known->least = admission.value;
			else
				known->walks = admission.value;
		}
	}
	admission.host_pid = tgid;
	return 0;
}

/* A child has a copy of its parent's memory, and is somebody else. One that shares it until it runs another program (vfork) is too. */
SEC("tp_btf/sched_process_fork")
int forked(__u64 *ctx)
{
	struct task_struct *parent = (void *)number_of((void *)ctx[0]), *child = (void *)number_of((void *)ctx[1]);
	__u32 tgid = BPF_CORE_READ(parent, tgid);
	struct mlh_target *target = bpf_map_lookup_elem(&targets, &tgid);

	if (target && (__u32)BPF_CORE_READ(child, tgid) != tgid)
		tell_turn(MLH_KIND_FORKED, target->slot, 0, visible_pid(child));
	return 0;
}

SEC("tp_btf/sched_process_exec")
int executed(__u64 *ctx __attribute__((unused)))
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct mlh_target *target = bpf_map_lookup_elem(&targets, &tgid);
	struct mlh_target next;

	if (!target)
		return 0;
	next = *target;
	if ((next.slot & MLH_GENERATIONS) == MLH_GENERATIONS) {
		if (!bpf_map_delete_elem(&targets, &tgid))
			tell_turn(MLH_KIND_EXITED, next.slot, 0, next.pid);
		return 0;
	}
	next.slot++;
	next.least = 0;
	next.walks = 0;
	make_room_for_rest(next.slot);
	if (!bpf_map_update_elem(&targets, &tgid, &next, BPF_EXIST))
		tell_turn(MLH_KIND_EXECUTED, next.slot - 1, next.slot, next.pid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int exited(__u64 *ctx __attribute__((unused)))
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 tgid = pid_tgid >> 32;
	struct mlh_target *target = bpf_map_lookup_elem(&targets, &tgid);
	struct mlh_target gone;

	if (!target)
		return 0;
	bpf_map_delete_elem(&threads, &pid_tgid);
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	gone = *target;
	/* Of two threads that end last, both may see that none is left. */
	if (!bpf_map_delete_elem(&targets, &tgid))
		tell_turn(MLH_KIND_EXITED, gone.slot, 0, gone.pid);
	return 0;
}

#endif
