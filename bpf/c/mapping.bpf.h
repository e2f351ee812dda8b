/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Changes of the address space, seen behind the system call: its result is there, and its arguments are still. */
#ifndef MLH_MAPPING_BPF_H
#define MLH_MAPPING_BPF_H

/* System calls return errors as the last so many numbers. */
#define MLH_ERRNO_MAX 4095

/* Advice that gives memory back. */
#define MADV_DONTNEED 4
#define MADV_FREE 8
#define MADV_REMOVE 9
#define MADV_DONTNEED_LOCKED 24

static __always_inline bool gives_back(__u64 advice)
{
	return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE || advice == MADV_DONTNEED_LOCKED;
}

/* Its stack is copied as an allocation's is. */
static __always_inline void copy_stack_of_mapping(struct hit *hit, registers_t *regs, struct mlh_call_site *site)
{
	struct mlh_totals *totals = totals_of(hit->count, site);

	if (totals && is_to_copy(totals) && tell_stack(regs, hit, site))
		totals->copied = 1;
}

static __noinline int mapped(registers_t *regs, struct hit *hit)
{
	struct mlh_call_site site;
	struct mlh_mapping *row;
	struct thread *outer;
	__u64 given[8], result;

	if (!regs || !hit)
		return 0;
	result = RESULT(regs);
	syscall_arguments(regs, given);
	if (result >= -(__u64)MLH_ERRNO_MAX)
		return 0;
	if (hit->shape == MLH_SHAPE_ADVISE && !gives_back(given[2]))
		return 0;
	outer = around(thread_of(hit), hit, regs);
	if (outer) {
		site = outer->site;
	} else {
		hit->caller = caller_of(regs, hit->top);
		find_call_site(&site, hit->slot, hit->caller, hit->top);
		copy_stack_of_mapping(hit, regs, &site);
	}
	row = bpf_ringbuf_reserve(&events, sizeof(*row), 0);
	if (!row) {
		lose();
		return 0;
	}
	*row = (struct mlh_mapping){
		.header = {MLH_KIND_MAPPING, sizeof(*row)},
		.operation = hit->operation,
		.serves = outer != NULL,
		.at_ns = hit->at_ns,
		.site = site,
		.address = given[0],
		.length = given[1],
		.rss_pages = rss_pages(),
		.pid = hit->pid,
	};
	switch (hit->shape) {
	case MLH_SHAPE_MAP:
		row->address = result;
		row->kind = given[2];
		row->flags = given[3];
		break;
	case MLH_SHAPE_REMAP:
		row->new_address = result;
		row->new_length = given[2];
		row->flags = given[3];
		break;
	case MLH_SHAPE_BREAK:
		row->address = result;
		row->length = 0;
		break;
	case MLH_SHAPE_ADVISE:
		row->kind = given[2];
		break;
	}
	bpf_ringbuf_submit(row, wake_up());
	return 0;
}

#endif
