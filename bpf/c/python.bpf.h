/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a Python interpreter is running on the current thread: code objects and instructions, read from the process's memory. The
 * names are read later, from outside.
 *
 * To be included behind what defines the ring `events` and `lose()`. tell_python() is called right before a stack is told, with the
 * same `pid` and `at_ns`, by which userspace joins the two; `key` is what userspace entered the layout under. Without a layout in
 * the map it is one look-up.
 */
#ifndef MLH_PYTHON_BPF_H
#define MLH_PYTHON_BPF_H

/* A thread is looked for among so many, unless it is the one that the interpreter itself says is running. */
#define MLH_PYTHON_THREADS 64
/* Frames that are looked at: those included that only mark where the interpreter was entered. */
#define MLH_PYTHON_STEPS (2 * MLH_PYTHON_FRAMES_MAX)
/* Frames by which what runs is told apart. */
#define MLH_PYTHON_MARKED 8
/* The beginning of a frame, with all that is read of it: of a frame object (before 3.11), and of what came after it. */
#define MLH_PYTHON_FRAME_OBJECT 112
#define MLH_PYTHON_FRAME 80
/* Owners from here on have frames that run no code (`enum _frameowner`, 3.12 and later). */
#define MLH_PYTHON_SHIM 3
/* References may carry a tag in their lowest bits (3.14). */
#define MLH_PYTHON_TAG 7ULL

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MLH_TARGETS_MAX);
	__type(key, __u32);
	__type(value, struct mlh_python_layout);
} pythons SEC(".maps");

/* 0: it cannot be read, says the helper: fewer branches are fewer paths for the verifier. */
static __always_inline __u64 python_word(__u64 address)
{
	__u64 word;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

#if defined(__TARGET_ARCH_x86)

/* pthread_self() is the thread pointer. */
static __always_inline bool is_own_id(__u64 id, __u64 pointer)
{
	return id == pointer;
}

static __always_inline __u64 python_thread_pointer(void)
{
	struct task_struct___x86 *task = (void *)bpf_get_current_task();

	return bpf_core_field_exists(task->thread.fsbase) ? BPF_CORE_READ(task, thread.fsbase) : 0;
}

#else

/* pthread_self() lies less than a page below the thread pointer; other threads' lie further away. */
static __always_inline bool is_own_id(__u64 id, __u64 pointer)
{
	return id && pointer - id < 4096;
}

static __always_inline __u64 python_thread_pointer(void)
{
	struct task_struct___arm64 *task = (void *)bpf_get_current_task();

	return bpf_core_field_exists(task->thread.uw.tp_value) ? BPF_CORE_READ(task, thread.uw.tp_value) : 0;
}

#endif

static __always_inline bool is_own_thread(const struct mlh_python_layout *layout, __u64 thread, __u64 pointer)
{
	return is_own_id(python_word(thread + layout->thread_id), pointer);
}

/* The interpreter's state of the current thread; 0: it has none. */
static __always_inline __u64 python_thread(const struct mlh_python_layout *layout)
{
	__u64 pointer = python_thread_pointer(), interpreter, thread;

	if (!pointer)
		return 0;
	thread = python_word(layout->current);
	if (layout->holder && thread)
		thread = python_word(thread + layout->holder);
	if (thread && is_own_thread(layout, thread, pointer))
		return thread;
	interpreter = python_word(layout->interpreters);
	thread = python_word(interpreter + layout->threads);
	for (int i = 0; i < MLH_PYTHON_THREADS; i++) {
		if (!thread) {
			interpreter = python_word(interpreter + layout->interpreter_next);
			thread = python_word(interpreter + layout->threads);
			if (!interpreter || !thread)
				break;
		}
		if (is_own_thread(layout, thread, pointer))
			return thread;
		thread = python_word(thread + layout->thread_next);
	}
	return 0;
}

struct python_frame {
	__u8 bytes[128];
};

/* One read for all fields. What cannot be read is zeros. */
static __always_inline void read_python_frame(struct python_frame *to, const struct mlh_python_layout *layout, __u64 frame)
{
	if (layout->is_index)
		bpf_probe_read_user(to->bytes, MLH_PYTHON_FRAME_OBJECT, (void *)frame);
	else
		bpf_probe_read_user(to->bytes, MLH_PYTHON_FRAME, (void *)frame);
}

static __always_inline __u64 python_field(const struct python_frame *from, __u32 offset)
{
	return *(__u64 *)(from->bytes + (offset & 0x78));
}

static __always_inline __u64 python_code(const struct mlh_python_layout *layout, const struct python_frame *from)
{
	return python_field(from, layout->code) & ~MLH_PYTHON_TAG;
}

static __always_inline __u64 python_instruction(const struct mlh_python_layout *layout, const struct python_frame *from)
{
	__u64 instruction = python_field(from, layout->instruction);

	return layout->is_index ? instruction & 0xffffffff : instruction;
}

struct mlh_python_row {
	struct mlh_python head;
	struct mlh_python_frame frames[MLH_PYTHON_FRAMES_MAX];
};

/* Adds a frame, or the mark of one that runs no code. False: it was the last one. */
static __always_inline bool add_python_frame(struct mlh_python_row *row, const struct mlh_python_layout *layout,
					     const struct python_frame *from)
{
	/* not in a register: the verifier would follow each number by itself */
	__u32 count = *(volatile __u32 *)&row->head.count;
	__u8 mark = from->bytes[layout->entry & 0x7f];
	struct mlh_python_frame *to;

	if (layout->entry_kind == MLH_PYTHON_ENTRY_SHIM && mark >= MLH_PYTHON_SHIM) {
		if (count)
			row->head.entries |= 1ULL << ((count - 1) & 63);
		return true;
	}
	if (count >= MLH_PYTHON_FRAMES_MAX)
		return false;
	to = &row->frames[count];
	to->code = python_code(layout, from);
	to->instruction = python_instruction(layout, from);
	if (!to->code)
		return false;
	if (layout->entry_kind == MLH_PYTHON_ENTRY_EACH || (layout->entry_kind == MLH_PYTHON_ENTRY_FLAG && mark))
		row->head.entries |= 1ULL << (count & 63);
	row->head.count = count + 1;
	return true;
}

/* Innermost frame of the current thread; 0: there is none. */
static __always_inline __u64 python_frame(const struct mlh_python_layout *layout)
{
	__u64 frame = python_thread(layout);

	if (frame)
		frame = python_word(frame + layout->frame);
	if (frame && layout->is_indirect)
		frame = python_word(frame + layout->current_frame);
	return frame;
}

/*
 * Tells apart what Python is running: all of it may run in one and the same frame of C. 0: no Python. As below, no static function.
 */
__noinline __u32 python_mark(__u32 key)
{
	struct mlh_python_layout *layout = bpf_map_lookup_elem(&pythons, &key);
	struct python_frame from = {};
	__u32 mark = 0;
	__u64 frame;

	if (!layout)
		return 0;
	frame = python_frame(layout);
	for (int i = 0; i < MLH_PYTHON_MARKED && frame; i++) {
		read_python_frame(&from, layout, frame);
		mark = mark_with(mark, python_code(layout, &from));
		mark = mark_with(mark, python_instruction(layout, &from));
		frame = python_field(&from, layout->caller);
	}
	return mark;
}

/*
 * Tells what Python is running, if the process of `key` has an interpreter and the current thread is in it. No static function: the
 * verifier looks at it once, and not again from each place that calls it.
 */
__noinline int tell_python(__u32 key, __u32 pid, __u64 at_ns)
{
	struct mlh_python_layout *layout = bpf_map_lookup_elem(&pythons, &key);
	struct python_frame from = {};
	struct mlh_python_row *row;
	__u64 frame;

	if (!layout)
		return 0;
	frame = python_frame(layout);
	if (!frame)
		return 0;
	row = bpf_ringbuf_reserve(&events, sizeof(*row), 0);
	if (!row) {
		lose();
		return 0;
	}
	row->head = (struct mlh_python){
		.header = {MLH_KIND_PYTHON, sizeof(*row)},
		.pid = pid,
		.at_ns = at_ns,
	};
	for (int i = 0; i < MLH_PYTHON_STEPS && frame; i++) {
		read_python_frame(&from, layout, frame);
		if (!add_python_frame(row, layout, &from))
			break;
		frame = python_field(&from, layout->caller);
	}
	row->head.truncated = frame != 0;
	/* the stack that follows wakes the reader */
	bpf_ringbuf_submit(row, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
