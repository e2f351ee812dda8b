// SPDX-License-Identifier: Apache-2.0
/*
 * Allocates as it is told, line by line, and nothing else: it keeps its books in static memory and does without stdio, so that a
 * test knows every call. Says `ready` once, and `done` after each line.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT_MAX (1 << 18)
#define THREADS 4

static void *kept[KEPT_MAX];
static size_t kept_count;
static char *mapped;
static size_t mapped_length;
/* More than there is; volatile, as the compiler knows better. */
static volatile size_t huge = PTRDIFF_MAX;

static void say(const char *what)
{
	if (write(1, what, strlen(what)) < 0)
		_exit(1);
}

static void keep(void *block)
{
	if (!block || kept_count == KEPT_MAX)
		_exit(2);
	kept[kept_count++] = block;
}

__attribute__((noipa)) static void allocate(long n, long size)
{
	for (long i = 0; i < n; i++)
		keep(malloc(size));
}

__attribute__((noipa)) static void allocate_elsewhere(long n, long size)
{
	for (long i = 0; i < n; i++)
		keep(malloc(size));
}

/* The same call at another depth of the stack. */
__attribute__((noipa)) static void deeper(long levels, long n, long size)
{
	volatile char room[256];

	room[0] = levels;
	if (levels > 0)
		deeper(levels - 1, n, size);
	else
		allocate(n, size);
	levels = room[0];
}

static void give_back(void)
{
	while (kept_count)
		free(kept[--kept_count]);
}

/* Threads that are there from the start, as making one allocates. */
static pthread_barrier_t begin, end;
static long thread_n, thread_size;

static void *thread(void *number)
{
	(void)number;
	for (;;) {
		pthread_barrier_wait(&begin);
		for (long i = 0; i < thread_n; i++) {
			/* volatile, as the compiler would leave out what nobody looks at */
			void *volatile block = malloc(thread_size);
			void *volatile other = calloc(1, thread_size);

			free(block);
			other = realloc(other, thread_size * 2);
			free(other);
		}
		pthread_barrier_wait(&end);
	}
	return NULL;
}

/* Of sizes that bring the blocks to other places each time. */
static void *churn(void *flag)
{
	unsigned int random = 1;

	while (!*(volatile int *)flag) {
		char *blocks[64];

		for (int i = 0; i < 64; i++) {
			random = random * 1103515245 + 12345;
			blocks[i] = malloc(1100 + random / 65536 % 5000);
			*(volatile char *)blocks[i] = 1;
		}
		for (int i = 0; i < 64; i++)
			free(blocks[i]);
	}
	return NULL;
}

static void many_threads(long n)
{
	for (long i = 0; i < n; i++) {
		pthread_t one;
		int stop = 1;

		if (pthread_create(&one, NULL, churn, &stop))
			_exit(4);
		pthread_join(one, NULL);
	}
}

/*
 * Functions that a test probes besides the C library's, with an exact place for each probe:
 * `outer` calls malloc, and is an allocator's function of its own.
 * `jumps` goes over into malloc, which returns in its stead.
 * `throws` may be left by a longjmp; `throws_returns` is its only return.
 * `wraps` passes on to malloc, whose call returns to `wraps_here`, where nothing is pushed but 8 bytes.
 * `gate_malloc` and `gate_free` have 8 bytes pushed at `gate_made` and `gate_freed`, where glibc's block is in rax, its chunk in rbx.
 */
void *outer(size_t size);
void *jumps(size_t size);
void *throws(size_t size);
void *wraps(size_t size);
void *gate_malloc(size_t size);
void gate_free(void *block);

__asm__(".text\n"
	".globl outer, jumps, throws, throws_returns, wraps, wraps_here, gate_malloc, gate_made, gate_free, gate_freed\n"
	"outer: push %rbx\n call malloc@plt\n pop %rbx\n ret\n"
	"jumps: nop\n jmp malloc@plt\n"
	"throws: push %rbx\n cmp $666, %rdi\n je 1f\n call malloc@plt\n pop %rbx\n"
	"throws_returns: ret\n"
	"1: call leave_by_jump\n"
	"wraps: sub $8, %rsp\n call malloc@plt\n"
	"wraps_here: add $8, %rsp\n ret\n"
	"gate_malloc: push %rbx\n call malloc@plt\n"
	"gate_made: nop\n pop %rbx\n ret\n"
	"gate_free: push %rbx\n lea -16(%rdi), %rbx\n"
	"gate_freed: nop\n call free@plt\n pop %rbx\n ret\n");

static jmp_buf landing;

__attribute__((noreturn, used)) void leave_by_jump(void)
{
	longjmp(landing, 1);
}

/* Leaves `throws` without its return, so often, and allocates deeper in the stack each time. */
static void throw_and_go_on(long n, long size)
{
	for (volatile long i = 0; i < n; i++) {
		if (!setjmp(landing))
			keep(throws(666));
		deeper(4, 1, size);
	}
}

static int stop_churning;
static pthread_t churner;

static void fork_and_free(void)
{
	pid_t child = fork();

	if (!child) {
		give_back();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static int is(const char *line, const char *command)
{
	size_t length = strlen(command);

	return !strncmp(line, command, length) && (line[length] == ' ' || !line[length]);
}

static void obey(const char *line, char **argv)
{
	long number[4] = {0};
	const char *at = line;

	for (int i = 0; i < 4 && (at = strchr(at, ' ')); i++)
		number[i] = strtol(at++, NULL, 10);
	long n = number[0], size = number[1], third = number[2];

	if (is(line, "malloc")) {
		allocate(n, size);
	} else if (is(line, "elsewhere")) {
		allocate_elsewhere(n, size);
	} else if (is(line, "deeper")) {
		deeper(n, size, third);
	} else if (is(line, "depths")) {
		for (long i = 0; i < n; i++)
			deeper(i, 1, size);
	} else if (is(line, "calloc")) {
		for (long i = 0; i < n; i++)
			keep(calloc(size, third));
	} else if (is(line, "realloc")) {
		for (long i = 0; i < n; i++) {
			void *block = malloc(size);
			/* what lies behind makes it move */
			keep(malloc(16));
			keep(realloc(block, third));
		}
	} else if (is(line, "realloc_null")) {
		for (long i = 0; i < n; i++)
			keep(realloc(NULL, size));
	} else if (is(line, "realloc_fails")) {
		for (long i = 0; i < n; i++) {
			void *block = malloc(size);

			if (realloc(block, huge))
				_exit(3);
			keep(block);
		}
	} else if (is(line, "realloc_zero")) {
		for (long i = 0; i < n; i++)
			if (realloc(malloc(size), 0))
				_exit(3);
	} else if (is(line, "reallocarray")) {
		for (long i = 0; i < n; i++) {
			void *block = reallocarray(NULL, size, third);

			if (reallocarray(block, huge, 4))
				_exit(3);
			keep(reallocarray(block, size * 2, third));
		}
	} else if (is(line, "posix_memalign")) {
		for (long i = 0; i < n; i++) {
			void *block;

			if (posix_memalign(&block, size, third) || !posix_memalign(&block + 1 - 1, 3, third))
				_exit(3);
			keep(block);
		}
	} else if (is(line, "aligned_alloc")) {
		for (long i = 0; i < n; i++)
			keep(aligned_alloc(size, third));
	} else if (is(line, "malloc_fails")) {
		for (long i = 0; i < n; i++)
			if (malloc(huge) || calloc(huge, 16))
				_exit(3);
	} else if (is(line, "free_null")) {
		for (long i = 0; i < n; i++)
			free(NULL);
	} else if (is(line, "free")) {
		give_back();
	} else if (is(line, "forget")) {
		kept_count = 0;
	} else if (is(line, "pairs")) {
		for (long i = 0; i < n; i++) {
			void *volatile block = malloc(size);
			free(block);
		}
	} else if (is(line, "outer")) {
		for (long i = 0; i < n; i++)
			keep(outer(size));
	} else if (is(line, "jumps")) {
		for (long i = 0; i < n; i++)
			keep(jumps(size));
	} else if (is(line, "throws")) {
		for (long i = 0; i < n; i++)
			keep(throws(size));
	} else if (is(line, "throw")) {
		throw_and_go_on(n, size);
	} else if (is(line, "wraps")) {
		for (long i = 0; i < n; i++)
			keep(wraps(size));
	} else if (is(line, "gate")) {
		for (long i = 0; i < n; i++)
			keep(gate_malloc(size));
	} else if (is(line, "gate_free")) {
		while (kept_count)
			gate_free(kept[--kept_count]);
	} else if (is(line, "threads")) {
		thread_n = n;
		thread_size = size;
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
	} else if (is(line, "storm")) {
		many_threads(n);
	} else if (is(line, "fork")) {
		for (long i = 0; i < n; i++)
			fork_and_free();
	} else if (is(line, "mmap")) {
		mapped_length = n;
		mapped = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mapped == MAP_FAILED)
			_exit(3);
	} else if (is(line, "mmap_fails")) {
		if (mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
			_exit(3);
	} else if (is(line, "mremap")) {
		mapped = mremap(mapped, mapped_length, n, MREMAP_MAYMOVE);
		mapped_length = n;
	} else if (is(line, "madvise")) {
		madvise(mapped, n, MADV_DONTNEED);
		madvise(mapped, n, MADV_NORMAL);
	} else if (is(line, "munmap")) {
		munmap(mapped + size, n);
	} else if (is(line, "churn")) {
		stop_churning = 0;
		pthread_create(&churner, NULL, churn, &stop_churning);
	} else if (is(line, "still")) {
		stop_churning = 1;
		pthread_join(churner, NULL);
	} else if (is(line, "exec")) {
		execv("/proc/self/exe", argv);
		_exit(3);
	} else if (is(line, "exit")) {
		_exit(0);
	} else {
		_exit(5);
	}
}

int main(int argc, char **argv)
{
	static char line[256];
	size_t length = 0;

	(void)argc;
	pthread_barrier_init(&begin, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (long i = 0; i < THREADS; i++) {
		pthread_t one;

		if (pthread_create(&one, NULL, thread, (void *)i))
			return 4;
	}
	say("ready\n");
	while (read(0, line + length, 1) == 1) {
		if (line[length] != '\n') {
			length = (length + 1) % (sizeof(line) - 1);
			continue;
		}
		line[length] = 0;
		length = 0;
		obey(line, argv);
		say("done\n");
	}
	return 0;
}
