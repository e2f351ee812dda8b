/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is known of a hit of a probe. */
#ifndef MLH_HIT_BPF_H
#define MLH_HIT_BPF_H

/* Registers aside. */
struct hit {
	struct mlh_alloc_counters *count;
	__u64 at_ns;
	__u64 pid_tgid;
	__u64 top;	/* the stack pointer once the function has returned */
	__u64 caller;	/* where it returns to */
	__u64 address;	/* of the block at hand */
	__u64 least;	/* bytes, below which its probes do not see all */
	__u32 slot;
	__u32 packed;	/* the lower half of the cookie */
	__u32 pid;
	__u32 operation;
	__u8 shape;
	__u8 role;
	__u8 is_inside; /* the function has pushed something by now */
	__u8 walks;	/* by frame pointers */
};

static __always_inline __u32 part(__u32 packed, __u32 from, __u32 bits)
{
	return (packed >> from) & ((1U << bits) - 1);
}

#endif
