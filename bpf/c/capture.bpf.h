/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How a stack is told: rows with a struct mlh_capture in a ring, each followed by a copy of the stack, or by the addresses that
 * are found by frame pointers. Whoever includes this sets MLH_RING_BYTES. What does not fit is counted.
 *
 * The macros belong into functions that are not static: these the verifier looks at once, and not once for each way to a call.
 */
#ifndef MLH_CAPTURE_BPF_H
#define MLH_CAPTURE_BPF_H

/* The reader comes by of itself ten times a second, and is woken when this much waits for it. */
#define MLH_RING_WAKE (MLH_RING_BYTES / 8)
#define MLH_RING_WAKE_WINDOW (128 << 10)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MLH_RING_BYTES);
} events SEC(".maps");

/* Records that did not fit the ring. */
__u64 lost SEC(".data.lost") = 0;

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

/* Where functions go on whose return a probe catches, innermost first; 0: no more. */
struct returns {
	__u64 truth[MLH_RETURNS_MAX];
};

/* Where a thread is. */
struct place {
	__u64 ip;
	__u64 sp;
	__u64 bp;
	__u64 caller;	/* for a walk: where the function at hand returns to; 0: the frame at `bp` says so */
	__u64 frame;	/* for a walk: where it begins */
	struct returns returns;
};

/* A return probe has put its own address into the stack; the kernel knows what was there. With few branches, for the verifier. */
__noinline int find_returns(struct returns *to, __u64 sp)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct return_instance *instance = NULL;
	__u32 found = 0;

	if (!to)
		return 0;
	if (bpf_core_field_exists(task->utask))
		instance = BPF_CORE_READ(task, utask, return_instances);
	for (int i = 0; i < MLH_RETURNS_MAX && instance; i++) {
		/* What lies below has been left without a return. Several probes of one function share a place. */
		__u32 is_left = (BPF_CORE_READ(instance, stack) - sp) >> 63;
		__u32 shares = BPF_CORE_READ(instance, chained);

		to->truth[found & (MLH_RETURNS_MAX - 1)] = BPF_CORE_READ(instance, orig_ret_vaddr);
		found += 1 & ~(is_left | shares);
		instance = BPF_CORE_READ(instance, next);
	}
	if (found < MLH_RETURNS_MAX)
		to->truth[found & (MLH_RETURNS_MAX - 1)] = 0;
	return 0;
}

static __always_inline void describe_place(struct mlh_capture *capture, const struct place *at, __u32 length,
					   bool truncated)
{
	__builtin_memcpy(capture->returns, at->returns.truth, sizeof(capture->returns));
	capture->ip = at->ip;
	capture->sp = at->sp;
	capture->bp = at->bp;
	capture->length = length;
	capture->truncated = truncated;
}

#define MLH_STACK_CHUNK 1024

/* Copies as much of the stack as `room` holds, behind a row that is `head` in all else. */
#define COPY_STACK(type, room, head, at, used, wanted)                                                     \
	({                                                                                                 \
		struct {                                                                                   \
			struct type row;                                                                   \
			__u8 bytes[room];                                                                  \
		} *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);                              \
		if (record) {                                                                              \
			struct type *row = &record->row;                                                   \
			__u32 done = 0;                                                                    \
			for (__u32 from = 0; from < (room); from += MLH_STACK_CHUNK) {                     \
				__u32 left = (wanted) - from;                                              \
				__u32 size = left < MLH_STACK_CHUNK ? left : MLH_STACK_CHUNK;              \
				if (from >= (wanted))                                                      \
					break;                                                             \
				barrier_var(size);                                                         \
				if (size > MLH_STACK_CHUNK)                                                \
					break;                                                             \
				if (bpf_probe_read_user(record->bytes + from, size, (void *)((at)->sp + from))) \
					break;                                                             \
				done = from + size;                                                        \
			}                                                                                  \
			*row = *(head);                                                                    \
			row->header.size = sizeof(*record);                                                \
			describe_place(&row->capture, at, done, done < (used));                            \
			bpf_ringbuf_submit(record, wake_up());                                             \
		}                                                                                          \
		record != NULL;                                                                            \
	})

/* Rows have one of three lengths, as a reservation's must be known beforehand. Whether it was told. */
#define TELL_COPY(type, head, at)                                                                          \
	({                                                                                                 \
		__u32 used = stack_used((at)->sp);                                                         \
		__u32 wanted = used < MLH_STACK_MAX ? used : MLH_STACK_MAX;                                \
		bool told;                                                                                 \
		if (wanted <= MLH_STACK_MAX / 8)                                                           \
			told = COPY_STACK(type, MLH_STACK_MAX / 8, head, at, used, wanted);                \
		else if (wanted <= MLH_STACK_MAX / 2)                                                      \
			told = COPY_STACK(type, MLH_STACK_MAX / 2, head, at, used, wanted);                \
		else                                                                                       \
			told = COPY_STACK(type, MLH_STACK_MAX, head, at, used, wanted);                    \
		if (!told)                                                                                 \
			lose();                                                                            \
		told;                                                                                      \
	})

/* What a function that keeps frame pointers has put on the stack, on x86-64 and on arm64. */
struct frame {
	__u64 next;
	__u64 returns_to;
};

/* Follows frame pointers from `bp` on. As many addresses were found. */
static __always_inline __u32 walk_frames(__u64 *to, __u64 bp)
{
	__u32 found = 0;

	for (__u32 i = 0; i < MLH_CHAIN_MAX; i++) {
		struct frame frame;

		if (!bp || bp & 7 || bpf_probe_read_user(&frame, sizeof(frame), (void *)bp) || !frame.returns_to)
			break;
		to[i] = frame.returns_to;
		found = i + 1;
		if (frame.next == bp)
			break;
		bp = frame.next;
	}
	return found;
}

/* Where callers go on, innermost first. Whether it was told. */
#define TELL_CHAIN(type, head, at)                                                                         \
	({                                                                                                 \
		struct {                                                                                   \
			struct type row;                                                                   \
			__u64 caller;                                                                      \
			__u64 others[MLH_CHAIN_MAX];                                                       \
		} *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);                              \
		if (record) {                                                                              \
			struct type *row = &record->row;                                                   \
			__u32 found = walk_frames(record->others, (at)->frame);                            \
			record->caller = (at)->caller;                                                     \
			*row = *(head);                                                                    \
			row->header.size = sizeof(*record);                                                \
			describe_place(&row->capture, at, (found + 1) * sizeof(__u64), found == MLH_CHAIN_MAX); \
			bpf_ringbuf_submit(record, wake_up());                                             \
		} else {                                                                                   \
			lose();                                                                            \
		}                                                                                          \
		record != NULL;                                                                            \
	})

#endif
