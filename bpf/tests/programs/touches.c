/*
 * A process that touches memory for the tests, as a line on standard input says. It answers with a line, and ends with its input.
 *
 * Each verb has a place of its own in the address space, which is new to the process each time:
 * `touch PAGES TIMES`: in the main thread, giving them back in between. `thread PAGES`: in a new one. `many THREADS PAGES`: in so many,
 * one after the other. `read PAGES`: by read(2). `fork PAGES`: in a child, which ends. `crowd THREADS PAGES TIMES`: in so many threads at
 * once, giving them back in between.
 * `malloc BYTES`: a block, which is kept. `gate`: passes the place `gate`, in the middle of a function. `exit`: ends.
 *
 * Built with frame pointers.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define KEEP __attribute__((noinline, noipa))

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static char *map(unsigned long place, unsigned long pages, int protection, int flags, int fd)
{
	char *at = mmap((void *)place, pages * PAGE, protection, flags | MAP_PRIVATE | MAP_FIXED, fd, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	madvise(at, pages * PAGE, MADV_NOHUGEPAGE);
	return at;
}

static char *fresh(unsigned long place, unsigned long pages)
{
	return map(place, pages, PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1);
}

KEEP void inner(char *at, unsigned long pages)
{
	for (unsigned long page = 0; page < pages; page++)
		((volatile char *)at)[page * PAGE] = 1;
}

KEEP void middle(char *at, unsigned long pages)
{
	inner(at, pages);
	__asm__ volatile("");
}

KEEP void outer(char *at, unsigned long pages)
{
	middle(at, pages);
	__asm__ volatile("");
}

static unsigned long thread_pages;

static void *in_thread(void *unused)
{
	outer(fresh(0x200000000000, thread_pages), thread_pages);
	return unused;
}

static void run_thread(unsigned long pages)
{
	pthread_t thread;

	thread_pages = pages;
	if (pthread_create(&thread, NULL, in_thread, NULL) || pthread_join(thread, NULL))
		fail("thread");
}

KEEP void reader(int fd, char *at, unsigned long bytes)
{
	while (bytes) {
		ssize_t got = read(fd, at, bytes);

		if (got <= 0)
			fail("read");
		at += got;
		bytes -= got;
	}
}

struct share {
	char *at;
	unsigned long pages;
	unsigned long times;
};

static void *in_crowd(void *its)
{
	struct share *share = its;

	while (share->times--) {
		outer(share->at, share->pages);
		madvise(share->at, share->pages * PAGE, MADV_DONTNEED);
	}
	return its;
}

static void run_crowd(unsigned long many, unsigned long pages, unsigned long times)
{
	char *at = fresh(0x400000000000, many * pages);
	pthread_t *threads = calloc(many, sizeof(*threads));
	struct share *shares = calloc(many, sizeof(*shares));

	if (!threads || !shares)
		fail("calloc");
	for (unsigned long one = 0; one < many; one++) {
		shares[one] = (struct share){at + one * pages * PAGE, pages, times};
		if (pthread_create(threads + one, NULL, in_crowd, shares + one))
			fail("thread");
	}
	for (unsigned long one = 0; one < many; one++)
		pthread_join(threads[one], NULL);
	free(shares);
	free(threads);
}

static void in_child(unsigned long pages)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (!child) {
		outer(fresh(0x500000000000, pages), pages);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void *volatile kept;

KEEP void wants(unsigned long bytes)
{
	kept = malloc(bytes);
}

KEEP void asks(unsigned long bytes)
{
	wants(bytes);
	__asm__ volatile("");
}

/* In its middle the frame pointer's register holds something else, and the caller's is on the stack. */
void *gated(void *block);
#if defined(__x86_64__)
__asm__(".text\n.globl gated, gate\n.type gated, @function\ngated:\n"
	"push %r12\npush %rbp\npush %rbx\nmov %rdi, %rbp\nmov %rdi, %rax\n"
	"gate: nop\n"
	"pop %rbx\npop %rbp\npop %r12\nret\n.size gated, . - gated\n");
#endif

KEEP void passes(void *block)
{
	kept = gated(block);
}

KEEP void approaches(void *block)
{
	passes(block);
	__asm__ volatile("");
}

int main(void)
{
	char line[4096];
	unsigned long many, pages, times;

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "touch %lu %lu", &pages, &times) == 2) {
			while (times--) {
				char *at = fresh(0x100000000000, pages);

				outer(at, pages);
			}
		} else if (sscanf(line, "thread %lu", &pages) == 1) {
			run_thread(pages);
		} else if (sscanf(line, "many %lu %lu", &times, &pages) == 2) {
			while (times--)
				run_thread(pages);
		} else if (sscanf(line, "read %lu", &pages) == 1) {
			int fd = open("/dev/zero", O_RDONLY);

			reader(fd, fresh(0x300000000000, pages), pages * PAGE);
			close(fd);
		} else if (sscanf(line, "crowd %lu %lu %lu", &many, &pages, &times) == 3) {
			run_crowd(many, pages, times);
		} else if (sscanf(line, "fork %lu", &pages) == 1) {
			in_child(pages);
		} else if (sscanf(line, "malloc %lu", &pages) == 1) {
			asks(pages);
		} else if (!strcmp(line, "gate\n")) {
			static unsigned long chunk[4] = {0, 33};

			approaches(chunk + 2);
		} else if (!strcmp(line, "exit\n")) {
			return 0;
		} else {
			fail(line);
		}
		puts("done");
	}
	return 0;
}
