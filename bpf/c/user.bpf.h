/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where a thread's user code is, wherever the kernel has met it. To be included behind process.bpf.h and capture.bpf.h. */
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

/* Rows of this type with a stack behind them. Each way to tell one is a program of its own to the verifier. */
#define TELL_ROWS(type)                                                                                    \
	__noinline int tell_copy(const struct type *head, const struct place *at)                          \
	{                                                                                                  \
		if (!head || !at)                                                                          \
			return false;                                                                      \
		return TELL_COPY(type, head, at);                                                          \
	}                                                                                                  \
	__noinline int tell_chain(const struct type *head, const struct place *at)                         \
	{                                                                                                  \
		if (!head || !at)                                                                          \
			return false;                                                                      \
		return TELL_CHAIN(type, head, at);                                                         \
	}

/* Run through once by whoever reads the rows: pids are told as he sees them. */
SEC("iter/task")
int meet(struct bpf_iter__task *ctx)
{
	if (ctx->meta->seq_num == 0)
		meet_reader();
	return 0;
}

#endif
