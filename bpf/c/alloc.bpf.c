// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Probes in the allocators and around the mapping system calls of processes under observation.
 *
 * Programs are thin: `session` and `hit` sort out what a probe's cookie says, operation.bpf.h pairs an operation's beginning with
 * its end, ledger.bpf.h keeps the accounts, emit.bpf.h tells.
 */
#include "vmlinux.h"
#define __VMLINUX_H__
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "registers.bpf.h"
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wsign-compare"
#include <bpf/usdt.bpf.h>
#pragma clang diagnostic pop
#include "abi.h"

#define READ(from, field) BPF_CORE_READ(from, field)

#include "process.bpf.h"
#include "gate.bpf.h"
#include "purse.bpf.h"
#include "hit.bpf.h"
#include "stack.bpf.h"
#include "callsite.bpf.h"
#include "emit.bpf.h"
#include "ledger.bpf.h"
#include "operation.bpf.h"
#include "mapping.bpf.h"
#include "turns.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* From 7.0 on it takes the context. */
extern bool bpf_session_is_return(void) __ksym __weak;
extern bool bpf_session_is_return___since_7_0(void *ctx) __ksym __weak;

static __always_inline bool is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return))
		return bpf_session_is_return();
	return bpf_session_is_return___since_7_0(ctx);
}

/* A probe that is no way back has been reached. Returns whether the way back is wanted. */
static __always_inline bool reached(registers_t *regs)
{
	__u64 cookie = bpf_get_attach_cookie(regs);
	struct mlh_alloc_counters *count = own_counters();
	__u64 pid_tgid = bpf_get_current_pid_tgid(), at_ns = bpf_ktime_get_boot_ns();
	struct mlh_target *target = target_of(pid_tgid, cookie >> MLH_COOKIE_SLOT);
	__u64 trap_ns;
	struct hit hit;
	bool wanted = false;

	if (!count || !target)
		return false;
	if (cookie & (1U << MLH_COOKIE_EMULATED)) {
		COUNT(count, emulated_hits);
		trap_ns = hit_costs.emulated_ns;
	} else {
		COUNT(count, stepped_hits);
		trap_ns = hit_costs.stepped_ns;
	}
	if (is_spent()) {
		pay(count, trap_ns, at_ns);
		return false;
	}
	hit = (struct hit){
		.count = count,
		.at_ns = at_ns,
		.pid_tgid = pid_tgid,
		.top = STACK(regs) + PUSHED_BY_CALL + 8 * part(cookie, MLH_COOKIE_DISTANCE, 10),
		.slot = target->slot,
		.least = target->least,
		.packed = cookie,
		.pid = target->pid,
		.operation = part(cookie, 0, 5),
		.shape = part(cookie, MLH_COOKIE_SHAPE, 4),
		.role = part(cookie, MLH_COOKIE_ROLE, 3),
		.is_inside = part(cookie, MLH_COOKIE_DISTANCE, 10) != 0,
		.walks = target->walks,
	};
	switch (hit.shape) {
	case MLH_SHAPE_SIZE ... MLH_SHAPE_OUT:
		if (hit.role == MLH_ROLE_RETURN_SITE)
			end(regs, &hit);
		else
			wanted = begin(regs, &hit);
		break;
	case MLH_SHAPE_FREE:
	case MLH_SHAPE_GLIBC_FREED:
		freed(regs, &hit);
		break;
	case MLH_SHAPE_GLIBC_MADE:
		made(regs, &hit);
		break;
	case MLH_SHAPE_MAP ... MLH_SHAPE_ADVISE:
		mapped(regs, &hit);
		break;
	case MLH_SHAPE_NOTHING:
		wanted = true;
		break;
	case MLH_SHAPE_LOADED_CODE:
		tell_turn(MLH_KIND_LOADED_CODE, hit.slot, 0, hit.pid);
		break;
	}
	pay(count, trap_ns, at_ns);
	return wanted;
}

static __always_inline void returned(registers_t *regs)
{
	__u64 cookie = bpf_get_attach_cookie(regs);
	struct mlh_alloc_counters *count = own_counters();
	__u64 pid_tgid = bpf_get_current_pid_tgid(), at_ns = bpf_ktime_get_boot_ns();
	struct mlh_target *target = target_of(pid_tgid, cookie >> MLH_COOKIE_SLOT);
	struct hit hit;

	if (!count || !target)
		return;
	COUNT(count, returns);
	if (is_spent()) {
		pay(count, hit_costs.returned_ns, at_ns);
		return;
	}
	hit = (struct hit){
		.count = count,
		.at_ns = at_ns,
		.pid_tgid = pid_tgid,
		.top = STACK(regs),
		.slot = target->slot,
		.pid = target->pid,
		.walks = target->walks,
	};
	if (part(cookie, MLH_COOKIE_SHAPE, 4) != MLH_SHAPE_NOTHING)
		end(regs, &hit);
	pay(count, hit_costs.returned_ns, at_ns);
}

/* An entry and its return in one; the return is trapped only where the entry wants it. */
SEC("uprobe.session")
int session(registers_t *regs)
{
	if (is_return(regs)) {
		returned(regs);
		return 0;
	}
	return reached(regs) ? 0 : 1;
}

SEC("uprobe.multi")
int hit_multi(registers_t *regs)
{
	reached(regs);
	return 0;
}

SEC("uretprobe.multi")
int return_multi(registers_t *regs)
{
	returned(regs);
	return 0;
}

SEC("uprobe")
int hit_single(registers_t *regs)
{
	reached(regs);
	return 0;
}

SEC("uretprobe")
int return_single(registers_t *regs)
{
	returned(regs);
	return 0;
}

/* What the program says of itself (OpenTelemetry's memory profiling contract). It has sampled already. */
static __always_inline bool told(struct pt_regs *regs, struct hit *hit, __u32 operation)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 slot = bpf_usdt_cookie(regs);
	struct mlh_target *target = target_of(pid_tgid, slot);
	struct mlh_alloc_counters *count = own_counters();

	if (!count || !target)
		return false;
	COUNT(count, emulated_hits);
	if (is_spent()) {
		pay(count, hit_costs.emulated_ns, bpf_ktime_get_boot_ns());
		return false;
	}
	*hit = (struct hit){
		.count = count,
		.at_ns = bpf_ktime_get_boot_ns(),
		.pid_tgid = pid_tgid,
		.top = STACK((registers_t *)regs),
		.caller = POSITION((registers_t *)regs),
		.slot = slot,
		.pid = target->pid,
		.operation = operation,
		.is_inside = true,
		.walks = target->walks,
	};
	return true;
}

SEC("usdt")
int otel_alloc(struct pt_regs *regs)
{
	struct mlh_live block = {};
	struct mlh_call_site site;
	long address = 0, size = 0, weighted = 0;
	__u64 weight;
	struct hit hit;

	if (!told(regs, &hit, MLH_OPERATION_OTEL_ALLOC))
		return 0;
	if (bpf_usdt_arg(regs, 0, &address) || bpf_usdt_arg(regs, 1, &size) || !address)
		return 0;
	bpf_usdt_arg(regs, 2, &weighted);
	weight = size && (__u64)weighted > (__u64)size ? ((__u64)weighted + (__u64)size / 2) / (__u64)size : 1;
	block.size = size;
	block.born_ns = hit.at_ns;
	block.weight = weight < 0xffffffff ? weight : 0xffffffff;
	block.operation = hit.operation;
	hit.address = address;
	find_call_site(&site, hit.slot, hit.caller, hit.top);
	allocated((registers_t *)regs, &hit, &site, &block);
	pay(hit.count, hit_costs.emulated_ns, hit.at_ns);
	return 0;
}

SEC("usdt")
int otel_free(struct pt_regs *regs)
{
	struct mlh_block_key key;
	long address = 0;
	struct hit hit;

	if (!told(regs, &hit, MLH_OPERATION_OTEL_FREE) || bpf_usdt_arg(regs, 0, &address) || !address)
		return 0;
	key_of(&key, hit.slot, address);
	if (!free_block(&hit, &key, hit.operation))
		COUNT(hit.count, unknown_frees);
	pay(hit.count, hit_costs.emulated_ns, hit.at_ns);
	return 0;
}
