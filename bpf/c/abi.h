/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the kernel's side says to userspace. The one description of it: src/wire.rs mirrors these structs and src/layout.rs
 * has the compiler prove that the mirrors are equal.
 *
 * A pass is a sequence of rows, a ring holds events. Each begins with a header whose size covers the whole row, so that a reader can step over a
 * kind it does not know. Fields lie at their natural alignment and nothing is implicit padding.
 */
#ifndef MLH_ABI_H
#define MLH_ABI_H

enum mlh_kind {
	MLH_KIND_PROCESS = 1,
	MLH_KIND_THREAD = 2,
	MLH_KIND_CGROUP = 3,
	MLH_KIND_OOM_KILL = 4,
	MLH_KIND_CROSSING = 5,
	MLH_KIND_STACK = 6,
	MLH_KIND_MAPPING = 7,
	MLH_KIND_BLOCK = 8,
	MLH_KIND_FORKED = 9,
	MLH_KIND_EXECUTED = 10,
	MLH_KIND_EXITED = 11,
	MLH_KIND_LOADED_CODE = 12,
	MLH_KIND_PYTHON = 13,
	MLH_KIND_CHAIN = 14,
	MLH_KIND_TOUCH = 15,
	MLH_KIND_TOUCH_CHAIN = 16,
	MLH_KIND_WRITE = 17,
	MLH_KIND_WRITE_CHAIN = 18,
	MLH_KIND_BORN = 19,
};

/* How the memory counters of a row were kept and read. */
enum mlh_flag {
	/* struct percpu_counter (6.2 and later): the value lags by up to a batch on each online CPU. */
	MLH_FLAG_PERCPU = 1 << 0,
	/* The per-CPU parts were added in, and none was folded meanwhile: the value is exact. */
	MLH_FLAG_EXACT = 1 << 1,
	/* Threads hold back parts of their own (before 6.2): they stand in the rows, each thread's in its own. */
	MLH_FLAG_CACHED = 1 << 2,
};

/* What a cgroup's row holds. */
enum mlh_cgroup_flag {
	/* In the v2 hierarchy; else in that of v1's memory controller. */
	MLH_CGROUP_UNIFIED = 1 << 0,
	/* The memory controller works here, and its numbers are in the row. */
	MLH_CGROUP_MEMORY = 1 << 1,
	/* `lru` is a sum that each CPU adds to a batch at a time (before 5.13). */
	MLH_CGROUP_BATCHED = 1 << 2,
};

/* Positions in `lru`: the kernel's own order. */
enum mlh_lru {
	MLH_LRU_INACTIVE_ANON,
	MLH_LRU_ACTIVE_ANON,
	MLH_LRU_INACTIVE_FILE,
	MLH_LRU_ACTIVE_FILE,
	MLH_LRU_UNEVICTABLE,
	MLH_LRU_COUNT,
};

enum mlh_limit {
	MLH_COMM_LEN = 16,
	MLH_EXECUTABLE_LEN = 64,
	MLH_CGROUP_NAME_LEN = 256,
	/* 64 characters and a NUL, and what aligns. */
	MLH_NODE_NAME_LEN = 72,
	/* Entries in the map of watched processes. */
	MLH_WATCHED_MAX = 1024,
	/* Entries in the map of watched cgroups. */
	MLH_WATCHED_CGROUPS_MAX = 1024,
	/* On a host with more possible CPUs nothing is summed exactly. */
	MLH_CPUS_MAX = 1024,
	/* Processes whose allocations can be observed at once. */
	MLH_TARGETS_MAX = 1024,
	/* Bytes of a stack that are copied at most. */
	MLH_STACK_MAX = 16384,
	/* Callers that are walked at most. */
	MLH_CHAIN_MAX = 127,
	/* Functions on a stack whose returns probes catch, a power of two. */
	MLH_RETURNS_MAX = 4,
	/* Frames of a Python interpreter that are told at most. */
	MLH_PYTHON_FRAMES_MAX = 64,
};

struct mlh_header {
	__u16 kind;
	__u16 size; /* of the whole row, bytes; a multiple of 8 */
};

/* Pages. Signed, because a counter that lags may stand below zero. */
struct mlh_pages {
	__s64 anon;
	__s64 file;
	__s64 shmem;
	__s64 swap;
};

/* A process that has memory of its own. */
struct mlh_process {
	struct mlh_header header;
	__u32 flags;
	__u64 start_ns;		/* CLOCK_BOOTTIME, of the thread group leader */
	__u32 host_pid;		/* thread group id in the initial pid namespace */
	__u32 pid;		/* in the reader's pid namespace */
	__u32 own_pid;		/* in the innermost one */
	__u32 parent;		/* in the reader's; 0 if the parent is not there */
	struct mlh_pages base;	/* what the process's counters say */
	struct mlh_pages cached; /* what the task of this row holds back beside them */
	__u64 total_vm;		/* pages */
	__u64 page_tables;	/* bytes */
	__u64 cpu_ns;		/* of the task of this row */
	__u64 ended_cpu_ns;	/* of the threads that have ended */
	__u64 cgroup_id;
	__u64 memory_cgroup_id;	/* 0: the kernel has no memory controller */
	__u64 inode;		/* of the executable; 0: none */
	__u64 exec_id;		/* goes up with each exec */
	__u32 device;		/* of the executable's file system */
	__u32 threads;
	char comm[MLH_COMM_LEN];
	char executable[MLH_EXECUTABLE_LEN]; /* base name, NUL-terminated */
};

/* Any further thread of a process. */
struct mlh_thread {
	struct mlh_header header;
	__u32 host_pid;		/* of the process */
	__u64 start_ns;		/* of the process */
	__u64 cpu_ns;
	/* The process's counters again, now: tells what was handed over since its own row. Zeros: not told. */
	struct mlh_pages base;
	struct mlh_pages cached;
};

/* A cgroup in which processes are, or above such a one. Numbers of pages; all but the names are zeros without MLH_CGROUP_MEMORY. */
struct mlh_cgroup {
	struct mlh_header header;
	__u32 flags;		/* enum mlh_cgroup_flag */
	__u64 id;		/* inode of its directory */
	__u64 parent;		/* 0: this is the root */
	__u64 usage;
	__u64 max;		/* the kernel's largest counter value: unlimited; so are the others */
	__u64 high;
	__u64 swap;		/* v1: memory and swap together */
	__u64 swap_max;		/* v1: of memory and swap together */
	__s64 lru[MLH_LRU_COUNT];
	char name[MLH_CGROUP_NAME_LEN]; /* of its directory, NUL-terminated, cut where it is longer */
	char node_name[MLH_NODE_NAME_LEN]; /* UTS node name of one of the tasks in or below it */
};

/* Something that happened to a process. */
struct mlh_event {
	struct mlh_header header;
	__u32 reserved;
	__u64 at_ns;		/* CLOCK_BOOTTIME */
	struct mlh_process process; /* its pid is 0 where the listener's pid namespace has none for it */
};

/* From userspace: what a pass is to show. */
struct mlh_choice {
	__u64 number;		/* of the pass: each has its own */
	__u32 watched_only;	/* else every process and cgroup */
	__u32 cgroups;		/* else no cgroups at all */
};

/* From userspace: which growth is to be told. */
struct mlh_crossings {
	__u64 threshold;	/* pages */
	__u32 watched_only;	/* else of every process */
	__u32 reserved;
};

/*
 * The cookie of an allocation probe, from the lowest bit: operation 5, shape 4, role 3, three arguments of 3 each (or a register
 * of 4), emulated 1, distance to the return address in words of 8 bytes 10, slot 32.
 */
enum mlh_cookie {
	MLH_COOKIE_SHAPE = 5,
	MLH_COOKIE_ROLE = 9,
	MLH_COOKIE_FIRST = 12,
	MLH_COOKIE_SECOND = 15,
	MLH_COOKIE_THIRD = 18,
	MLH_COOKIE_EMULATED = 21,
	MLH_COOKIE_DISTANCE = 22,
	MLH_COOKIE_SLOT = 32,
};

/* What is found at a probe. */
enum mlh_shape {
	MLH_SHAPE_SIZE,		/* size */
	MLH_SHAPE_ARRAY,	/* count, size */
	MLH_SHAPE_RESIZE,	/* pointer, size */
	MLH_SHAPE_RESIZE_ARRAY,	/* pointer, count, size */
	MLH_SHAPE_OUT,		/* out, size */
	MLH_SHAPE_FREE,		/* pointer */
	MLH_SHAPE_GLIBC_MADE,
	MLH_SHAPE_GLIBC_FREED,	/* register */
	MLH_SHAPE_MAP,
	MLH_SHAPE_UNMAP,
	MLH_SHAPE_REMAP,
	MLH_SHAPE_BREAK,
	MLH_SHAPE_ADVISE,
	MLH_SHAPE_LOADED_CODE,
	MLH_SHAPE_NOTHING,	/* only to measure what a hit costs */
};

/* When a probe is hit. */
enum mlh_role {
	MLH_ROLE_ENTRY,
	MLH_ROLE_ENTRY_ONLY,
	MLH_ROLE_RETURN_SITE,
	MLH_ROLE_AFTER_SYSCALL,
	MLH_ROLE_REACHED,
};

/* Numbers of operations that the programs themselves name. */
enum mlh_operation {
	MLH_OPERATION_MALLOC = 1,
	MLH_OPERATION_FREE = 10,
	MLH_OPERATION_OTEL_ALLOC = 22,
	MLH_OPERATION_OTEL_FREE = 23,
};

/* Where an operation was called from. `ip` 0: the sum of those that did not fit. */
struct mlh_call_site {
	__u64 ip;
	__u32 slot;
	__u32 depth;		/* bytes of stack in use there, and whatever else tells it from others */
};

#include "abi_stacks.h"

/* A change of the address space, as the system call has it. */
struct mlh_mapping {
	struct mlh_header header;
	__u8 operation;
	__u8 serves;		/* an allocation that is counted by itself */
	__u16 reserved;
	__u64 at_ns;
	struct mlh_call_site site;
	__u64 address;		/* mremap: the old one; brk: the new end */
	__u64 length;
	__u64 new_address;	/* mremap alone */
	__u64 new_length;
	__u32 kind;		/* PROT_*, or MADV_* */
	__u32 flags;
	__u64 rss_pages;
	__u32 pid;
	__u32 reserved_too;
};

/* One allocation or deallocation. */
struct mlh_block {
	struct mlh_header header;
	__u8 operation;
	__u8 freed;
	__u16 reserved;
	__u64 at_ns;
	struct mlh_call_site site;
	__u64 address;
	__u64 size;
	__u64 rss_pages;
	__u32 weight;
	__u32 pid;
};

/* What became of a process, and notices of the dynamic linker. */
struct mlh_turn {
	struct mlh_header header;
	__u32 slot;
	__u64 at_ns;
	__u32 next;		/* the new slot, of an exec */
	__u32 pid;		/* the child's, of a fork */
};

/* Tables: a live block. */
struct mlh_block_key {
	__u64 address;
	__u32 slot;
	__u32 reserved;
};

struct mlh_live {
	__u64 size;
	__u64 born_ns;
	__u64 ip;
	__u32 depth;
	__u32 weight;
	__u32 operation;
	__u32 reserved;
};

/* Tables: what a call site has done. */
struct mlh_sums {
	__u64 allocated;
	__u64 allocated_bytes;
	__u64 allocated_squares; /* of sampled blocks alone; saturating; likewise below */
	__u64 freed;
	__u64 freed_bytes;
	__u64 freed_squares;
};

struct mlh_totals {
	struct mlh_sums exact;
	struct mlh_sums sampled;
	__u64 last_ns;
	__u64 hits;		/* decide when its stack is copied */
	__u64 copied;		/* stacks */
};

/* Of one CPU, since the programs were loaded. */
struct mlh_alloc_counters {
	__u64 emulated_hits;
	__u64 stepped_hits;
	__u64 returns;
	__u64 handler_ns;
	__u64 tracked;
	__u64 untracked;
	__u64 too_small;
	__u64 sampled_out;
	__u64 failed;
	__u64 unknown_frees;
	__u64 table_full;
	__u64 call_sites_full;
	__u64 abandoned;
	__u64 rate_limited;
	__u64 largest;
	__u64 owed_ns;		/* paid by this CPU's hits, and in no sum yet */
};

/* What a trap costs, nanoseconds. */
struct mlh_hit_costs {
	__u64 emulated_ns;
	__u64 stepped_ns;
	__u64 returned_ns;
};

/* A process under observation, by its thread group id in the initial pid namespace. */
struct mlh_target {
	__u32 slot;
	__u32 pid;
	__u32 least; /* bytes, below which its probes do not see all; 0: they see what the configuration asks for */
	__u32 walks; /* its frame pointers are to be followed, and no stacks copied */
};

/* A caller that only passes on. */
struct mlh_wrapper_key {
	__u64 returns_to;
	__u32 slot;
	__u32 reserved;
};

/* From userspace, before loading: which allocations are tracked and told. */
struct mlh_alloc_config {
	__u64 min_size;
	__u64 large_size;
	__u64 interval_ns;	/* between two records of blocks; 0: no limit */
	__u32 sampling_rate;
	__u32 debug;
	__u32 emit;
	__u32 reserved;
};

/* What is to be done with a process. */
enum mlh_admit {
	MLH_ADMIT_TAKE,		/* take it under observation */
	MLH_ADMIT_LEAST,	/* it is observed already: `value` is `least` of its target */
	MLH_ADMIT_WALKS,	/* likewise `walks` */
};

/* From userspace, for the iterator that finds a process, and what it answers. */
struct mlh_admission {
	__u32 pid;		/* in the reader's pid namespace */
	__u32 slot;
	__u32 host_pid;		/* 0: no such process, or it is ending */
	__u32 what;		/* enum mlh_admit */
	__u32 value;
	__u32 reserved;
};

_Static_assert(sizeof(struct mlh_header) == 4, "header");
_Static_assert(sizeof(struct mlh_pages) == 32, "pages");
_Static_assert(sizeof(struct mlh_process) == 248, "process");
_Static_assert(sizeof(struct mlh_thread) == 88, "thread");
_Static_assert(sizeof(struct mlh_cgroup) == 432, "cgroup");
_Static_assert(sizeof(struct mlh_choice) == 16, "choice");
_Static_assert(sizeof(struct mlh_crossings) == 16, "crossings");
_Static_assert(sizeof(struct mlh_event) == 264, "event");
_Static_assert(sizeof(struct mlh_call_site) == 16, "call site");
_Static_assert(sizeof(struct mlh_mapping) == 88, "mapping");
_Static_assert(sizeof(struct mlh_block) == 64, "block");
_Static_assert(sizeof(struct mlh_turn) == 24, "turn");
_Static_assert(sizeof(struct mlh_block_key) == 16, "block key");
_Static_assert(sizeof(struct mlh_live) == 40, "live");
_Static_assert(sizeof(struct mlh_sums) == 48, "sums");
_Static_assert(sizeof(struct mlh_totals) == 120, "totals");
_Static_assert(sizeof(struct mlh_alloc_counters) == 128, "counters");
_Static_assert(sizeof(struct mlh_hit_costs) == 24, "hit costs");
_Static_assert(sizeof(struct mlh_target) == 16, "target");
_Static_assert(sizeof(struct mlh_wrapper_key) == 16, "wrapper");
_Static_assert(sizeof(struct mlh_alloc_config) == 40, "configuration");
_Static_assert(sizeof(struct mlh_admission) == 24, "admission");

#endif
