/*
 * A process that writes to one place for the tests, as a line on standard input says. It answers with a line, and ends with its input.
 *
 * `write TIMES`: in the main thread. `start`: begins a thread, which stays. `there TIMES`: in that thread. `read`: by read(2).
 * `threads MANY`: as many begin and end, one after the other, and do nothing. `exit`: ends.
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
#include <unistd.h>

#define PLACE 0x600000000000UL
#define KEEP __attribute__((noinline, noipa))

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

KEEP void inner(volatile unsigned long *at, unsigned long times)
{
	while (times--)
		*at = times;
}

KEEP void outer(volatile unsigned long *at, unsigned long times)
{
	inner(at, times);
	__asm__ volatile("");
}

static int asked[2], done[2];

static void *in_thread(void *unused)
{
	unsigned long times;

	while (read(asked[0], &times, sizeof(times)) == sizeof(times)) {
		outer((void *)PLACE, times);
		if (write(done[1], "d", 1) != 1)
			fail("write");
	}
	return unused;
}

static void *in_vain(void *unused)
{
	return unused;
}

static pthread_t begin(void *(*with)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, with, NULL))
		fail("thread");
	return thread;
}

int main(void)
{
	char line[4096], one;
	unsigned long times;
	int zero = open("/dev/zero", O_RDONLY);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (mmap((void *)PLACE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		fail("mmap");
	if (zero < 0 || pipe(asked) || pipe(done))
		fail("files");
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "write %lu", &times) == 1) {
			outer((void *)PLACE, times);
		} else if (!strcmp(line, "start\n")) {
			begin(in_thread);
		} else if (sscanf(line, "there %lu", &times) == 1) {
			if (write(asked[1], &times, sizeof(times)) != sizeof(times) || read(done[0], &one, 1) != 1)
				fail("thread");
		} else if (!strcmp(line, "read\n")) {
			if (read(zero, (void *)PLACE, 64) != 64)
				fail("read");
		} else if (sscanf(line, "threads %lu", &times) == 1) {
			while (times--)
				pthread_join(begin(in_vain), NULL);
		} else if (!strcmp(line, "exit\n")) {
			return 0;
		} else {
			fail(line);
		}
		puts("done");
	}
	return 0;
}
