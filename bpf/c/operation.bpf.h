/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Allocator operations, from a thread's entry to its return. The outermost one of a thread counts; what it calls in turn does
 * not. An end that never comes (an exception, a longjmp, a stack that is left for good) is found out by what comes after it.
 */
#ifndef MLH_OPERATION_BPF_H
#define MLH_OPERATION_BPF_H

/* What a thread is at. Only the thread itself touches it, and its end takes it away. */
struct thread {
	__u64 top;
	__u64 caller;	/* return address */
	__u64 probe;	/* where it began */
	__u64 since_ns;
	__u64 size;
	__u64 out;
	__u64 old_address;
	struct mlh_live old; /* of a block that is being resized */
	struct mlh_call_site site;
	__u32 slot;
	__u32 weight;
	__u32 operation;
	__u8 shape;
	__u8 is_active;
	__u8 ends_at_site; /* it may be left by an exception */
	__u8 has_old;
	__u8 resizes; /* something that is not NULL */
	__u8 reserved[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct thread);
} threads SEC(".maps");

/* Not on the stack, of which there is little. */
static const struct thread new_thread = {};

/* An operation that calls another one is not far above it in the same stack, and does not take long. */
#define MLH_NESTED_REACH (1 << 20)
#define MLH_NESTED_NS 10000000000ULL

static __always_inline void key_of(struct mlh_block_key *key, __u32 slot, __u64 address)
{
	key->address = address;
	key->slot = slot;
	key->reserved = 0;
}

static __noinline int give_up(struct thread *thread, struct hit *hit)
{
	if (!thread || !hit)
		return 0;
	thread->is_active = false;
	if (thread->slot != hit->slot)
		return 0;
	COUNT(hit->count, abandoned);
	if (thread->has_old) {
		struct mlh_block_key key;

		/* What became of it is not known; it shall not be taken for a leak. */
		key_of(&key, thread->slot, thread->old_address);
		settle(hit, &key, &thread->old, thread->operation);
	}
	return 0;
}

/* On arm64 nobody knows where the function has put its return address, or whether. */
static __always_inline bool has_frame(struct thread *thread __attribute__((unused)))
{
#if PUSHED_BY_CALL
	__u64 caller;

	return !bpf_probe_read_user(&caller, sizeof(caller), (void *)(thread->top - PUSHED_BY_CALL)) &&
	       caller == thread->caller;
#else
	return true;
#endif
}

/* The operation within which this hit is; NULL: there is none. One that is over by now is given up. */
static __always_inline struct thread *around(struct thread *thread, struct hit *hit, registers_t *regs)
{
	if (!thread || !thread->is_active)
		return NULL;
	if (thread->slot != hit->slot || hit->top > thread->top || thread->top - hit->top >= MLH_NESTED_REACH ||
	    hit->at_ns - thread->since_ns >= MLH_NESTED_NS)
		goto over;
	if (thread->top == hit->top && thread->probe == POSITION(regs))
		goto over;
	/*
	 * At the same height it has jumped to another one, which returns in its stead. What may be left by an exception is there
	 * as long as its return address is; others return by way of the kernel, which has put its own in its place.
	 */
	if (thread->ends_at_site && !has_frame(thread))
		goto over;
	return thread;
over:
	give_up(thread, hit);
	return NULL;
}

static __always_inline struct thread *thread_of(struct hit *hit)
{
	return bpf_map_lookup_elem(&threads, &hit->pid_tgid);
}

static __always_inline struct thread *make_thread(struct hit *hit)
{
	bpf_map_update_elem(&threads, &hit->pid_tgid, &new_thread, BPF_NOEXIST);
	return bpf_map_lookup_elem(&threads, &hit->pid_tgid);
}

/* A block has been made. */
static __noinline int allocated(registers_t *regs, struct hit *hit, struct mlh_call_site *site, struct mlh_live *block)
{
	struct mlh_totals *totals;
	struct mlh_block_key key;

	if (!regs || !hit || !site || !block)
		return 0;
	key_of(&key, hit->slot, hit->address);
	totals = enter_block(hit, site, &key, block);
	if (!totals)
		return 0;
	if (is_to_copy(totals) && tell_stack(regs, hit, site))
		totals->copied = 1;
	if (config.emit)
		tell_block(hit, &key, block, block->operation, false);
	return 0;
}

/* Where the product is too large it is the largest number: no allocator grants that. */
static __always_inline __u64 product(__u64 count, __u64 size)
{
	if ((count >> 32 || size >> 32) && size) {
		__u64 most = ~0ULL / size;

		/* the compiler knows a multiplication for this, which the machine has not */
		barrier_var(most);
		if (count > most)
			return ~0ULL;
	}
	return count * size;
}

/* An operation begins. Returns whether its end is of interest. */
static __noinline bool begin(registers_t *regs, struct hit *hit)
{
	struct thread *thread;
	__u64 given[8], size, old = 0, out = 0;
	__u32 first, second, third, weight;
	bool has_old = false, is_passed_over = false;

	if (!regs || !hit)
		return false;
	thread = thread_of(hit);
	if (around(thread, hit, regs))
		return false;
	arguments(regs, given);
	first = part(hit->packed, MLH_COOKIE_FIRST, 3);
	second = part(hit->packed, MLH_COOKIE_SECOND, 3);
	third = part(hit->packed, MLH_COOKIE_THIRD, 3);
	switch (hit->shape) {
	case MLH_SHAPE_SIZE:
		size = given[first];
		break;
	case MLH_SHAPE_ARRAY:
		size = product(given[first], given[second]);
		break;
	case MLH_SHAPE_RESIZE:
		old = given[first];
		size = given[second];
		break;
	case MLH_SHAPE_RESIZE_ARRAY:
		old = given[first];
		size = product(given[second], given[third]);
		break;
	default:
		out = given[first];
		size = given[second];
	}
	weight = admit(hit->count, size, hit->least);
	if (!weight) {
		if (size > hit->count->largest)
			hit->count->largest = size;
		/* The dice are thrown once: what it calls in turn is part of it. malloc calls none that is probed. */
		is_passed_over = !is_too_small(size, hit->least) && hit->operation != MLH_OPERATION_MALLOC;
		if (!old && !is_passed_over)
			return false;
	}
	if (!thread) {
		thread = make_thread(hit);
		if (!thread) {
			COUNT(hit->count, table_full);
			return false;
		}
	}
	if (old) {
		struct mlh_block_key key;

		key_of(&key, hit->slot, old);
		has_old = take(&key, &thread->old);
		/* Now: one that is aside for long shall not be taken for forgotten. */
		if (has_old)
			COUNT(hit->count, untracked);
		if (!weight && !has_old && !is_passed_over)
			return false;
		thread->old_address = old;
	}
	thread->top = hit->top;
	thread->caller = caller_of(regs, hit->top);
	thread->probe = POSITION(regs);
	thread->since_ns = hit->at_ns;
	thread->size = size;
	thread->out = out;
	find_call_site(&thread->site, hit->slot, thread->caller, hit->top);
	thread->slot = hit->slot;
	thread->weight = weight;
	thread->operation = hit->operation;
	thread->shape = hit->shape;
	thread->ends_at_site = hit->role == MLH_ROLE_ENTRY_ONLY;
	thread->has_old = has_old;
	thread->resizes = old != 0;
	thread->is_active = true;
	return true;
}

/* The old block of a `realloc` that came to its end. */
static __always_inline void resized(struct hit *hit, struct thread *thread, bool succeeded)
{
	struct mlh_block_key key;

	if (!thread->has_old) {
		if (succeeded && thread->resizes)
			COUNT(hit->count, unknown_frees);
		return;
	}
	key_of(&key, thread->slot, thread->old_address);
	if (!succeeded && !bpf_map_update_elem(&live, &key, &thread->old, BPF_ANY)) {
		__sync_fetch_and_add(&hit->count->untracked, -1);
		return;
	}
	/* Of one that is still there, and whose room has been taken meanwhile, nothing will be known any more. */
	if (!succeeded)
		COUNT(hit->count, table_full);
	settle(hit, &key, &thread->old, thread->operation);
}

/* An operation ends: the one that this thread is at, or one within it. */
static __noinline int end(registers_t *regs, struct hit *hit)
{
	struct thread *thread;
	struct mlh_live block = {};
	__u64 address;
	bool is_free;

	if (!regs || !hit)
		return 0;
	thread = thread_of(hit);
	if (!thread || !thread->is_active || thread->slot != hit->slot || thread->top != hit->top)
		return 0;
	thread->is_active = false;
	address = RESULT(regs);
	if (thread->shape == MLH_SHAPE_OUT) {
		bool failed = (__u32)address != 0;

		address = 0;
		if (!failed)
			bpf_probe_read_user(&address, sizeof(address), (void *)thread->out);
	}
	is_free = !address && thread->resizes && !thread->size;
	resized(hit, thread, address || is_free);
	if (!address) {
		if (!is_free)
			COUNT(hit->count, failed);
		return 0;
	}
	if (!thread->weight)
		return 0;
	block.size = thread->size;
	block.born_ns = hit->at_ns;
	block.weight = thread->weight;
	block.operation = thread->operation;
	hit->is_inside = false;
	hit->operation = thread->operation;
	hit->caller = thread->caller;
	hit->address = address;
	return allocated(regs, hit, &thread->site, &block);
}

/* A block is about to be freed. */
static __noinline int freed(registers_t *regs, struct hit *hit)
{
	struct mlh_block_key key;
	__u64 address;

	if (!regs || !hit)
		return 0;
	if (hit->shape == MLH_SHAPE_GLIBC_FREED) {
		address = numbered(regs, part(hit->packed, MLH_COOKIE_FIRST, 4)) + 16;
	} else {
		__u64 given[8];

		arguments(regs, given);
		address = given[part(hit->packed, MLH_COOKIE_FIRST, 3)];
		if (!address)
			return 0;
	}
	/* `realloc` frees what it has moved: that is settled as it ends. */
	if (around(thread_of(hit), hit, regs))
		return 0;
	key_of(&key, hit->slot, address);
	if (!free_block(hit, &key, hit->operation))
		COUNT(hit->count, unknown_frees);
	return 0;
}

/* glibc's slow path has made a chunk: what it holds is in the word before the block. */
static __noinline int made(registers_t *regs, struct hit *hit)
{
	struct mlh_call_site site;
	struct mlh_live block = {};
	__u64 address, header;

	if (!regs || !hit)
		return 0;
	address = RESULT(regs);
	if (around(thread_of(hit), hit, regs))
		return 0;
	if (!address) {
		COUNT(hit->count, failed);
		return 0;
	}
	if (bpf_probe_read_user(&header, sizeof(header), (void *)(address - 8)))
		return 0;
	/* Bit 1: the chunk is a mapping of its own, and ends with it; else it lends the next one's first word. */
	block.size = (header & ~7ULL) - (header & 2 ? 16 : 8);
	block.weight = admit(hit->count, block.size, hit->least);
	if (!block.weight) {
		if (block.size > hit->count->largest)
			hit->count->largest = block.size;
		return 0;
	}
	block.born_ns = hit->at_ns;
	block.operation = hit->operation;
	hit->address = address;
	hit->caller = caller_of(regs, hit->top);
	find_call_site(&site, hit->slot, hit->caller, hit->top);
	return allocated(regs, hit, &site, &block);
}

#endif
