/*
 * Allocates and frees as each line says, without stdio, so that every call is its own. Answers each with the blocks that it holds
 * of HIGH bytes and more, and their bytes: as they were asked for or, with USABLE and where no function's entry tells, as
 * they can be used.
 *
 * Sizes are below LOW, or from HIGH on: a block of LOW bytes cannot hold HIGH.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 96, THREADS = 4, ROUNDS = 8, STEPS = 2500 };

struct kept {
	void *block;
	size_t size;
};

static struct kept kept[THREADS][BLOCKS];
static pthread_barrier_t barrier;
static void *volatile unused;
/* The compiler makes a malloc of a realloc of what it knows to be NULL. */
static void *volatile nothing;
static unsigned storms_made;

static void keep(struct kept *to, void *block, size_t size, int at_gate)
{
	if (!block)
		_exit(2);
	to->block = block;
	to->size = size;
#ifdef USABLE
	if (at_gate)
		to->size = malloc_usable_size(block);
#endif
	(void)at_gate;
}

static void drop(struct kept *from)
{
	free(from->block);
	from->block = NULL;
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static size_t some_size(uint64_t *state)
{
	switch (next(state) % 3) {
	case 0:
		return 1 + next(state) % LOW;
	case 1:
		return HIGH + next(state) % HIGH;
	default:
		return HIGH + next(state) % (200 << 10);
	}
}

static void change(struct kept *at, uint64_t *state)
{
	size_t size = some_size(state);

	if (at->block && next(state) % 3) {
		drop(at);
	} else if (at->block) {
		void *moved = realloc(at->block, size);

		keep(at, moved, size, 0);
	} else {
		void *block;

		switch (next(state) % 5) {
		case 0:
			keep(at, calloc(1 + size / 8, 8), (1 + size / 8) * 8, 1);
			break;
		case 1:
			if (posix_memalign(&block, 64, size))
				_exit(3);
			keep(at, block, size, 0);
			break;
		case 2:
			keep(at, realloc(nothing, size), size, 0);
			break;
		default:
			keep(at, malloc(size), size, 1);
		}
	}
}

/* In each round every thread works on what another one did before. */
static void *storm(void *argument)
{
	size_t self = (size_t)argument;
	uint64_t state = 88172645463325252ULL + (uint64_t)self * 1000 + storms_made;

	for (size_t round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < STEPS; i++)
			change(&kept[(self + round) % THREADS][next(&state) % BLOCKS], &state);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void storms(void)
{
	pthread_t threads[THREADS];

	storms_made++;
	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, storm, (void *)i))
			_exit(4);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void *drop_all(void *argument)
{
	(void)argument;
	for (size_t i = 0; i < THREADS; i++)
		for (size_t j = 0; j < BLOCKS; j++)
			drop(&kept[i][j]);
	return NULL;
}

static void pairs(size_t size, int n)
{
	for (int i = 0; i < n; i++) {
		unused = malloc(size);
		free(unused);
	}
}

/* Some of each kind: large, as large again, and mappings of their own. */
__attribute__((noipa)) static void make(void)
{
	for (size_t j = 0; j < BLOCKS; j++) {
		size_t size = (j % 3 == 0 ? 2048 : j % 3 == 1 ? 16384 : 1 << 20);

		size += HIGH;
		keep(&kept[0][j], malloc(size), size, 1);
		keep(&kept[1][j], calloc(size / 8, 8), size / 8 * 8, 1);
		keep(&kept[2][j], malloc(LOW), LOW, 1);
		keep(&kept[3][j], realloc(realloc(nothing, size), 2 * size), 2 * size, 0);
	}
}

static void say(void)
{
	char text[64];
	size_t blocks = 0, bytes = 0;

	for (size_t i = 0; i < THREADS; i++)
		for (size_t j = 0; j < BLOCKS; j++)
			if (kept[i][j].block && kept[i][j].size >= HIGH) {
				blocks++;
				bytes += kept[i][j].size;
			}
	int length = snprintf(text, sizeof text, "%zu %zu\n", blocks, bytes);
	if (write(1, text, length) != length)
		_exit(1);
}

int main(void)
{
	pthread_t other;
	char line[2];

	pthread_barrier_init(&barrier, NULL, THREADS);
	pairs(64, 100);
	pairs(HIGH, 1);
	say();
	while (read(0, line, sizeof line) == sizeof line) {
		switch (*line) {
		case 'p':
			pairs(64, 10000);
			break;
		case 'm':
			make();
			break;
		case 'o':
			unused = malloc((size_t)1 << 47);
			if (unused)
				_exit(5);
			break;
		case 's':
			storms();
			break;
		case 'f':
			drop_all(NULL);
			break;
		case 't':
			if (pthread_create(&other, NULL, drop_all, NULL))
				_exit(4);
			pthread_join(other, NULL);
			break;
		}
		say();
	}
	return 0;
}
