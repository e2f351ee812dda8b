/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Of abi.h, which includes it: rows that tell a stack, and what userspace says of them. */
#ifndef MLH_ABI_STACKS_H
#define MLH_ABI_STACKS_H

/*
 * Where a thread is. Behind the row that has it follows its stack: a copy, or the addresses at which its callers go on, of which
 * the first may be 0, for none.
 */
struct mlh_capture {
	__u64 ip;
	__u64 sp;
	__u64 bp;
	__u32 length;		/* of what follows, bytes; the row may be longer */
	__u32 truncated;	/* there was more */
	/* Of functions whose return a probe catches, where they go on in truth, innermost first; 0: no more. */
	__u64 returns[MLH_RETURNS_MAX];
};

/* A stack at a probe: MLH_KIND_STACK has a copy, MLH_KIND_CHAIN addresses. */
struct mlh_stack {
	struct mlh_header header;
	__u8 operation;
	__u8 reserved[3];
	__u64 at_ns;		/* CLOCK_BOOTTIME, as everywhere */
	struct mlh_call_site site;
	struct mlh_capture capture;
	__u32 pid;		/* in the reader's pid namespace, as everywhere */
	__u32 reserved_too;
};

/* A page fault: MLH_KIND_TOUCH has a copy of the stack, MLH_KIND_TOUCH_CHAIN addresses. */
struct mlh_touch {
	struct mlh_header header;
	__u32 pid;		/* 0: the reader's pid namespace has none for it */
	__u64 at_ns;
	__u64 address;
	__u64 weight;		/* faults of this thread since the last that was told of it */
	struct mlh_capture capture;
	__u32 thread;
	__u32 one_of;		/* such faults it was chosen from, by chance; at most 2^32 - 1 */
};

/* A write to an address that is watched: MLH_KIND_WRITE has a copy of the stack, MLH_KIND_WRITE_CHAIN addresses. */
struct mlh_write {
	struct mlh_header header;
	__u32 pid;		/* 0: the reader's pid namespace has none for it */
	__u64 at_ns;
	__u64 watch;		/* which, as userspace numbers them */
	struct mlh_capture capture;
	__u32 thread;
	__u32 reserved;
};

/* A thread of the process begins, on which nothing is watched yet. */
struct mlh_born {
	struct mlh_header header;
	__u32 thread;
	__u64 at_ns;
};

/* From userspace, before loading: whose writes are told. */
struct mlh_watch_config {
	__u32 pid;		/* in the reader's pid namespace */
	__u32 reserved;
};

/* What Python was running, innermost first: told right before the stack of the same process and moment. */
struct mlh_python_frame {
	__u64 code;		/* its code object */
	__u64 instruction;
};

/* `count` frames follow; the row is longer. */
struct mlh_python {
	struct mlh_header header;
	__u32 pid;
	__u64 at_ns;
	__u64 entries;		/* a bit for each frame for which the interpreter was entered from C */
	__u32 count;
	__u32 truncated;	/* there are more */
};

/* How a frame tells that the interpreter was entered for it. */
enum mlh_python_entry {
	MLH_PYTHON_ENTRY_EACH,	/* it always is */
	MLH_PYTHON_ENTRY_FLAG,	/* a byte that is not 0 */
	MLH_PYTHON_ENTRY_SHIM,	/* its caller is a frame that is none, known by its owner */
};

/* From userspace, of one process: where its Python interpreter keeps what is read of it. Addresses, then offsets. */
struct mlh_python_layout {
	__u64 interpreters;	/* points to the newest interpreter */
	__u64 current;		/* points to the thread that runs; with `holder`, to the interpreter that knows it */
	__u32 holder;		/* 0: there is none */
	__u32 interpreter_next;
	__u32 threads;
	__u32 thread_next;
	__u32 thread_id;
	__u32 frame;		/* of a thread; with `is_indirect`, what leads to it */
	__u32 current_frame;
	__u32 caller;
	__u32 code;
	__u32 instruction;
	__u32 entry;
	__u8 entry_kind;	/* enum mlh_python_entry */
	__u8 is_indirect;
	__u8 is_index;		/* an instruction is an index of 4 bytes, and no address */
	__u8 reserved;
};

/* From userspace, before loading: how many page faults are told. */
struct mlh_faults_config {
	__u64 interval_ns;	/* of a thread, one in each, about */
	__u64 all_interval_ns;	/* of all threads together, one in each at most */
};

_Static_assert(sizeof(struct mlh_capture) == 64, "capture");
_Static_assert(sizeof(struct mlh_stack) == 104, "stack");
_Static_assert(sizeof(struct mlh_touch) == 104, "touch");
_Static_assert(sizeof(struct mlh_write) == 96, "write");
_Static_assert(sizeof(struct mlh_born) == 16, "birth");
_Static_assert(sizeof(struct mlh_watch_config) == 8, "configuration of watches");
_Static_assert(sizeof(struct mlh_python_frame) == 16, "frame of Python");
_Static_assert(sizeof(struct mlh_python) == 32, "frames of Python");
_Static_assert(sizeof(struct mlh_python_layout) == 64, "layout of Python");
_Static_assert(sizeof(struct mlh_faults_config) == 16, "configuration of faults");

#endif
