/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where a thread's user code is, wherever the kernel has met it. To be included behind capture.bpf.h. */
#ifndef MLH_USER_BPF_H
#define MLH_USER_BPF_H

/* Processes whose frame pointers are followed, by pid in the reader's pid namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MLH_TARGETS_MAX);
	__type(key, __u32);
	__type(value, __u8);
} walking SEC(".maps");

/* The thread's registers in user mode, wherever the fault was. */
static __always_inline void find_place(struct place *at, struct task_struct *task)
{
	registers_t *registers = (registers_t *)bpf_task_pt_regs(task);

	bpf_probe_read_kernel(&at->ip, sizeof(at->ip), &POSITION(registers));
	bpf_probe_read_kernel(&at->sp, sizeof(at->sp), &STACK(registers));
	bpf_probe_read_kernel(&at->bp, sizeof(at->bp), &FRAME(registers));
	at->frame = at->bp;
}

#endif
