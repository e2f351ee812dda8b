/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A thread's registers at a probe, and how its functions are called: System V on x86-64, AAPCS on arm64. `top` stands for the
 * stack pointer once the function at hand has returned: it tells one call from another.
 */
#ifndef MLH_REGISTERS_BPF_H
#define MLH_REGISTERS_BPF_H

#if defined(__TARGET_ARCH_x86)

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

typedef struct pt_regs registers_t;

#define RESULT(regs) ((regs)->ax)
#define POSITION(regs) ((regs)->ip)
#define STACK(regs) ((regs)->sp)
#define FRAME(regs) ((regs)->bp)
/* The call pushed the return address. */
#define PUSHED_BY_CALL 8

static __always_inline void arguments(const registers_t *regs, __u64 to[8])
{
	to[0] = regs->di;
	to[1] = regs->si;
	to[2] = regs->dx;
	to[3] = regs->cx;
	to[4] = regs->r8;
	to[5] = regs->r9;
	to[6] = to[7] = 0;
}

static __always_inline void syscall_arguments(const registers_t *regs, __u64 to[8])
{
	arguments(regs, to);
	to[3] = regs->r10;
}

/* In the order of `Register` in src/alloc/point.rs. */
static __always_inline __u64 numbered(const registers_t *regs, __u32 number)
{
	__u64 all[16] = {regs->ax, regs->bx, regs->cx, regs->dx, regs->si, regs->di, regs->bp, regs->r8,
			 regs->r9, regs->r10, regs->r11, regs->r12, regs->r13, regs->r14, regs->r15, 0};

	return all[number & 15];
}

/* The return address, as it stands in the stack. */
static __always_inline __u64 caller_of(const registers_t *regs __attribute__((unused)), __u64 top)
{
	__u64 ip = 0;

	bpf_probe_read_user(&ip, sizeof(ip), (void *)(top - PUSHED_BY_CALL));
	return ip;
}

#elif defined(__TARGET_ARCH_arm64)

struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};

struct pt_regs;

typedef struct user_pt_regs registers_t;

#define RESULT(from) ((from)->regs[0])
#define POSITION(from) ((from)->pc)
#define STACK(from) ((from)->sp)
#define FRAME(from) ((from)->regs[29])
#define PUSHED_BY_CALL 0

static __always_inline void arguments(const registers_t *from, __u64 to[8])
{
	to[0] = from->regs[0];
	to[1] = from->regs[1];
	to[2] = from->regs[2];
	to[3] = from->regs[3];
	to[4] = from->regs[4];
	to[5] = from->regs[5];
	to[6] = to[7] = 0;
}

/* The result has taken the first argument's place. */
static __always_inline void syscall_arguments(const registers_t *from, __u64 to[8])
{
	arguments(from, to);
}

/* Only glibc's x86-64 build is probed where registers have to be named. */
static __always_inline __u64 numbered(const registers_t *from __attribute__((unused)), __u32 number __attribute__((unused)))
{
	return 0;
}

/* The link register, as long as the function has called nobody. */
static __always_inline __u64 caller_of(const registers_t *from, __u64 top __attribute__((unused)))
{
	return from->regs[30];
}

#else
#error "no such machine"
#endif

#endif
