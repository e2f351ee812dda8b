// Go that calls C: what C allocates is seen to the byte, whatever goroutine calls. With the argument `churn` it goes
// on until its input ends.
package main

/*
#cgo CFLAGS: -O2 -g -I${SRCDIR}/../../c
#include "truth.h"

enum { BLOCK, ZEROED, SITES };

static struct site sites[SITES] = {
    [BLOCK] = {.function = "keep_block"},
    [ZEROED] = {.function = "keep_zeroed"},
};

SITE_FUNCTION static void *keep_block(size_t size)
{
    void *block = malloc(size);
    took(&sites[BLOCK], size);
    return block;
}

SITE_FUNCTION static void *keep_zeroed(size_t size)
{
    void *block = calloc(1, size);
    took(&sites[ZEROED], size);
    return block;
}

static void drop(void *block, size_t size, int site)
{
    free(block);
    gave(&sites[site], size);
}

static void start_over(void)
{
    for (int i = 0; i < SITES; i++)
        sites[i] = (struct site){.function = sites[i].function};
}

static void told(void)
{
    tell(sites, SITES, "");
}

static void dot(void)
{
    say(".\n", 2);
}
*/
import "C"

import (
	"os"
	"sync"
	"sync/atomic"
)

var ended atomic.Bool

//go:noinline
func deep(level int) int {
	var room [128]int
	room[level%128] = level
	if level == 0 {
		return 0
	}
	return deep(level-1) + room[level%128] - level + 1
}

// Calls C from four goroutines whose stacks grow meanwhile.
func work(rounds int) {
	var workers sync.WaitGroup
	for worker := 0; worker < 4; worker++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for round := 1; round <= rounds && !ended.Load(); round++ {
				size := C.size_t(1 + round%3000)
				block, zeroed := C.keep_block(size), C.keep_zeroed(size)
				if rounds > 5000 || round%5 != 0 {
					C.drop(block, size, C.BLOCK)
					C.drop(zeroed, size, C.ZEROED)
				}
				if round%100 == 0 && deep(100) != 100 {
					panic("a stack is not as it was")
				}
				if rounds > 5000 && round%10000 == 0 {
					C.dot()
				}
			}
		}()
	}
	workers.Wait()
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "churn" {
		go func() {
			for C.line() != 0 {
			}
			ended.Store(true)
		}()
		os.Stdout.WriteString("ready\n")
		work(1 << 40)
		os.Stdout.WriteString("sound\n")
		return
	}
	work(10) // the threads are there
	C.start_over()
	C.ready()
	work(5000)
	C.told()
}
