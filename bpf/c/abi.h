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

_Static_assert(sizeof(struct mlh_header) == 4, "header");
_Static_assert(sizeof(struct mlh_pages) == 32, "pages");
_Static_assert(sizeof(struct mlh_process) == 248, "process");
_Static_assert(sizeof(struct mlh_thread) == 88, "thread");
_Static_assert(sizeof(struct mlh_cgroup) == 432, "cgroup");
_Static_assert(sizeof(struct mlh_choice) == 16, "choice");
_Static_assert(sizeof(struct mlh_crossings) == 16, "crossings");
_Static_assert(sizeof(struct mlh_event) == 264, "event");

#endif
