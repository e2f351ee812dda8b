/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the allocation probes tell: records in a ring. What does not fit is counted. */
#ifndef MLH_EMIT_BPF_H
#define MLH_EMIT_BPF_H

#define MLH_RING_BYTES (8 << 20)
/* The reader comes by of itself ten times a second, and is woken when this much waits for it. */
#define MLH_RING_WAKE (MLH_RING_BYTES / 8)
#define MLH_RING_WAKE_WINDOW (128 << 10)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MLH_RING_BYTES);
} events SEC(".maps");

/* What becomes of processes has a ring of its own, so that no flood of the rest can take it away. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} turns SEC(".maps");

/* Records that did not fit their ring. */
__u64 lost SEC(".data.lost") = 0;
__u64 lost_turns SEC(".data.lost_turns") = 0;

/* When the next record of a block is due if they come as fast as they may. */
__u64 due_ns SEC(".data.due") = 0;

static __always_inline void lose(void)
{
	__sync_fetch_and_add(&lost, 1);
}

/* To wake somebody costs more than all the rest of a hit. */
static __always_inline __u64 wake_up(void)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	return waiting - MLH_RING_WAKE < MLH_RING_WAKE_WINDOW ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* A token bucket that holds a second's worth. */
static __always_inline bool within_rate(struct mlh_alloc_counters *count, __u64 at_ns)
{
	if (!config.interval_ns)
		return true;
	for (int attempt = 0; attempt < 8; attempt++) {
		__u64 due = *(volatile __u64 *)&due_ns;
		__u64 from = due > at_ns ? due : at_ns;

		if (from - at_ns >= 1000000000)
			break;
		if (__sync_val_compare_and_swap(&due_ns, due, from + config.interval_ns) == due)
			return true;
	}
	COUNT(count, rate_limited);
	return false;
}

/* Of the current process, pages. What is kept per CPU may lag. */
static __always_inline __u64 rss_pages(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct mlh_pages pages = {};
	__s64 sum;

	if (kept_per_cpu()) {
		pages.anon = READ(percpu_of(mm, MM_ANONPAGES), count);
		pages.file = READ(percpu_of(mm, MM_FILEPAGES), count);
		pages.shmem = READ(percpu_of(mm, MM_SHMEMPAGES), count);
	} else {
		read_atomic(&pages, mm);
	}
	sum = pages.anon + pages.file + pages.shmem;
	return sum > 0 ? sum : 0;
}

#define MLH_STACK_CHUNK 1024

/* Rows have one of three lengths, as a reservation's must be known beforehand. */
#define COPY_STACK(room)                                                                                   \
	({                                                                                                 \
		struct {                                                                                   \
			struct mlh_stack row;                                                              \
			__u8 bytes[room];                                                                  \
		} *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);                              \
		if (record) {                                                                              \
			__u32 done = 0;                                                                    \
			for (__u32 at = 0; at < (room); at += MLH_STACK_CHUNK) {                           \
				__u32 left = wanted - at;                                                  \
				__u32 size = left < MLH_STACK_CHUNK ? left : MLH_STACK_CHUNK;              \
				if (at >= wanted)                                                          \
					break;                                                             \
				barrier_var(size);                                                         \
				if (size > MLH_STACK_CHUNK)                                                \
					break;                                                             \
				if (bpf_probe_read_user(record->bytes + at, size, (void *)(sp + at)))      \
					break;                                                             \
				done = at + size;                                                          \
			}                                                                                  \
			row = &record->row;                                                                \
			row->header.size = sizeof(*record);                                                \
			describe_stack(row, regs, hit, site);                                              \
			row->ip = ip;                                                                      \
			row->sp = sp;                                                                      \
			row->length = done;                                                                \
			row->truncated = done < used;                                                      \
			bpf_ringbuf_submit(record, wake_up());                                             \
		}                                                                                          \
		record != NULL;                                                                            \
	})

static __always_inline void describe_stack(struct mlh_stack *row, registers_t *regs, const struct hit *hit,
					   const struct mlh_call_site *site)
{
	row->header.kind = MLH_KIND_STACK;
	row->operation = hit->operation;
	row->reserved = 0;
	row->at_ns = hit->at_ns;
	row->site = *site;
	row->bp = FRAME(regs);
	row->pid = hit->pid;
}

/* Returns whether it was told. */
static __noinline bool tell_stack(registers_t *regs, const struct hit *hit, const struct mlh_call_site *site)
{
	struct mlh_stack *row;
	__u64 ip, sp;
	__u32 used, wanted;
	bool told;

	if (!regs || !hit || !site)
		return false;
	/* Within a function the frame pointer may be in other use: there the unwinder is to begin at the probe itself. */
	ip = POSITION(regs);
	sp = STACK(regs);
	/* the context's fields are to be read as such, and not through a pointer to either of two things */
	barrier_var(ip);
	barrier_var(sp);
	if (!hit->is_inside) {
		ip = hit->caller;
		sp = hit->top;
	}
	used = stack_used(sp);
	wanted = used < MLH_STACK_MAX ? used : MLH_STACK_MAX;
	if (wanted <= MLH_STACK_MAX / 8)
		told = COPY_STACK(MLH_STACK_MAX / 8);
	else if (wanted <= MLH_STACK_MAX / 2)
		told = COPY_STACK(MLH_STACK_MAX / 2);
	else
		told = COPY_STACK(MLH_STACK_MAX);
	if (!told)
		lose();
	return told;
}

static __noinline int tell_block(const struct hit *hit, const struct mlh_block_key *key, const struct mlh_live *block,
				 __u32 operation, bool freed)
{
	struct mlh_block *row;

	if (!hit || !key || !block)
		return 0;
	if (!within_rate(hit->count, hit->at_ns))
		return 0;
	row = bpf_ringbuf_reserve(&events, sizeof(*row), 0);
	if (!row) {
		lose();
		return 0;
	}
	*row = (struct mlh_block){
		.header = {MLH_KIND_BLOCK, sizeof(*row)},
		.operation = operation,
		.freed = freed,
		.at_ns = hit->at_ns,
		.site = {block->ip, key->slot, block->depth},
		.address = key->address,
		.size = block->size,
		.rss_pages = rss_pages(),
		.weight = block->weight,
		.pid = hit->pid,
	};
	bpf_ringbuf_submit(row, wake_up());
	return 0;
}

/* Something that its reader has to act upon: told at once. */
static __always_inline void tell_turn(__u16 kind, __u32 slot, __u32 next, __u32 pid)
{
	struct mlh_turn *row = bpf_ringbuf_reserve(&turns, sizeof(*row), 0);

	if (!row) {
		__sync_fetch_and_add(&lost_turns, 1);
		return;
	}
	*row = (struct mlh_turn){
		.header = {kind, sizeof(*row)},
		.slot = slot,
		.at_ns = bpf_ktime_get_boot_ns(),
		.next = next,
		.pid = pid,
	};
	bpf_ringbuf_submit(row, BPF_RB_FORCE_WAKEUP);
}

#endif
