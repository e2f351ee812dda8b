/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The tables: blocks that live, and what each call site has allocated and freed. */
#ifndef MLH_LEDGER_BPF_H
#define MLH_LEDGER_BPF_H

/* In targeted mode a map that forgets what was not used for longest; the loader says which, and how large. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 400000);
	__type(key, struct mlh_block_key);
	__type(value, struct mlh_live);
} live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct mlh_call_site);
	__type(value, struct mlh_totals);
} call_sites SEC(".maps");

/* Not on the stack, of which there is little. */
static const struct mlh_totals no_totals = {};

/* Of a call site the stacks of its first hits are copied, since several stacks may share it. */
#define MLH_COPY_FIRST 8
/* Later on two of them are this many of its hits apart. */
#define MLH_COPY_EVERY 64

static __always_inline struct mlh_totals *totals_of(struct mlh_alloc_counters *count, struct mlh_call_site *site)
{
	struct mlh_totals *totals = bpf_map_lookup_elem(&call_sites, site);

	if (totals)
		return totals;
	bpf_map_update_elem(&call_sites, site, &no_totals, BPF_NOEXIST);
	totals = bpf_map_lookup_elem(&call_sites, site);
	if (totals)
		return totals;
	/* The sum of the others; it was made when the process was admitted. */
	COUNT(count, call_sites_full);
	site->ip = 0;
	site->depth = 0;
	return bpf_map_lookup_elem(&call_sites, site);
}

static __always_inline void add_square(__u64 *to, __u64 size)
{
	__u64 square = size >> 32 ? ~0ULL : size * size;

	if (*to > ~0ULL - square)
		*to = ~0ULL;
	else
		__sync_fetch_and_add(to, square);
}

/* A block that the program itself has sampled says for how many it stands: it counts as so many. */
static __always_inline bool is_sampled(const struct mlh_live *block)
{
	return block->weight > 1 && block->operation != MLH_OPERATION_OTEL_ALLOC;
}

static __always_inline void count_allocated(struct mlh_totals *totals, const struct mlh_live *block)
{
	if (is_sampled(block)) {
		__sync_fetch_and_add(&totals->sampled.allocated, 1);
		__sync_fetch_and_add(&totals->sampled.allocated_bytes, block->size);
		add_square(&totals->sampled.allocated_squares, block->size);
	} else {
		__sync_fetch_and_add(&totals->exact.allocated, block->weight);
		__sync_fetch_and_add(&totals->exact.allocated_bytes, block->size * block->weight);
	}
	totals->last_ns = block->born_ns;
}

static __always_inline void count_freed(struct mlh_totals *totals, const struct mlh_live *block)
{
	if (is_sampled(block)) {
		__sync_fetch_and_add(&totals->sampled.freed, 1);
		__sync_fetch_and_add(&totals->sampled.freed_bytes, block->size);
		add_square(&totals->sampled.freed_squares, block->size);
	} else {
		__sync_fetch_and_add(&totals->exact.freed, block->weight);
		__sync_fetch_and_add(&totals->exact.freed_bytes, block->size * block->weight);
	}
}

/* A block that was taken out of the table, and is counted as such, has been freed indeed. */
static __noinline int settle(const struct hit *hit, const struct mlh_block_key *key, const struct mlh_live *block,
			     __u32 operation)
{
	struct mlh_call_site site = {};
	struct mlh_totals *totals;

	if (!hit || !key || !block)
		return 0;
	site.ip = block->ip;
	site.slot = key->slot;
	site.depth = block->depth;
	totals = bpf_map_lookup_elem(&call_sites, &site);
	if (totals)
		count_freed(totals, block);
	if (config.emit)
		tell_block(hit, key, block, operation, true);
	return 0;
}

/* Takes a block out of the table: then true, and `block` is it. */
static __always_inline bool take(const struct mlh_block_key *key, struct mlh_live *block)
{
	struct mlh_live *found = bpf_map_lookup_elem(&live, key);

	if (!found)
		return false;
	*block = *found;
	/* Of two threads that free it, which is the program's error, one has. */
	return bpf_map_delete_elem(&live, key) == 0;
}

/* Returns whether the table had it. */
static __noinline bool free_block(const struct hit *hit, const struct mlh_block_key *key, __u32 operation)
{
	struct mlh_live block;

	if (!hit || !key || !take(key, &block))
		return false;
	COUNT(hit->count, untracked);
	settle(hit, key, &block, operation);
	return true;
}

/* Enters a block into the table: then its call site's totals, else NULL. */
static __always_inline struct mlh_totals *enter_block(struct hit *hit, struct mlh_call_site *site,
						      const struct mlh_block_key *key, struct mlh_live *block)
{
	struct mlh_alloc_counters *count = hit->count;
	struct mlh_totals *totals = totals_of(count, site);
	long refused;

	if (block->size > count->largest)
		count->largest = block->size;
	if (!totals) {
		COUNT(count, table_full);
		return NULL;
	}
	block->ip = site->ip;
	block->depth = site->depth;
	refused = bpf_map_update_elem(&live, key, block, BPF_NOEXIST);
	if (refused == -EEXIST) {
		/* It has been freed where no probe is. */
		free_block(hit, key, MLH_OPERATION_FREE);
		refused = bpf_map_update_elem(&live, key, block, BPF_ANY);
	}
	if (refused) {
		COUNT(count, table_full);
		return NULL;
	}
	COUNT(count, tracked);
	count_allocated(totals, block);
	return totals;
}

/* Whether the stack of this hit of the call site is to be copied. */
static __always_inline bool is_to_copy(struct mlh_totals *totals)
{
	__u64 hits = __sync_fetch_and_add(&totals->hits, 1);

	return !totals->copied || hits < MLH_COPY_FIRST || hits % MLH_COPY_EVERY == MLH_COPY_EVERY - 1;
}

#endif
