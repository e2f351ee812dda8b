// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Writes to single addresses of a process. The processor stops at each, and the kernel runs this: it is told with the user's stack.
 * Whoever sets the watches has the kernel take each off its thread after so many writes; so that this counts, `written` returns 1.
 */
#include "vmlinux.h"
#define __VMLINUX_H__
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "registers.bpf.h"
#include "abi.h"

#define READ(from, field) BPF_CORE_READ(from, field)
#define MLH_RING_BYTES (2 << 20)

#include "process.bpf.h"
#include "stack.bpf.h"
#include "capture.bpf.h"
#include "user.bpf.h"
#include "python.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define MLH_CLONE_THREAD 0x00010000

/* Set before loading. */
const volatile struct mlh_watch_config config SEC(".rodata.config") = {};

TELL_ROWS(mlh_write)

SEC("perf_event")
int written(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mlh_write write = {};
	struct place at = {};

	write.at_ns = bpf_ktime_get_boot_ns();
	write.watch = bpf_get_attach_cookie(ctx);
	write.pid = visible_pid(task->group_leader);
	write.thread = visible_thread(task);
	find_place(&at, task);
	find_returns(&at.returns, at.sp);
	tell_python(write.pid, write.pid, write.at_ns);
	if (bpf_map_lookup_elem(&walking, &write.pid)) {
		write.header.kind = MLH_KIND_WRITE_CHAIN;
		tell_chain(&write, &at);
	} else {
		write.header.kind = MLH_KIND_WRITE;
		tell_copy(&write, &at);
	}
	return 1;
}

/* Watches are set thread by thread: whoever sets them is to hear of a new one at once. */
SEC("tp_btf/task_newtask")
int born(__u64 *ctx)
{
	struct task_struct *parent = bpf_get_current_task_btf(), *child = (struct task_struct *)ctx[0];
	struct mlh_born *born;

	if (!(ctx[1] & MLH_CLONE_THREAD) || visible_pid(parent->group_leader) != config.pid)
		return 0;
	born = bpf_ringbuf_reserve(&events, sizeof(*born), 0);
	if (!born) {
		lose();
		return 0;
	}
	born->header.kind = MLH_KIND_BORN;
	born->header.size = sizeof(*born);
	born->thread = visible_thread(child);
	born->at_ns = bpf_ktime_get_boot_ns();
	bpf_ringbuf_submit(born, BPF_RB_FORCE_WAKEUP);
	return 0;
}
