// Go that leaks through C: the Go function leakSite keeps what C's malloc gave it. 250 times a second, from the line `go` to
// the next line, which it answers with what it has leaked.
package main

/*
#include <stdlib.h>
#include <string.h>

enum { LEAK = 20000 };

static void *new_buffer(int value)
{
    void *block = malloc(LEAK);

    memset(block, value, LEAK);
    return block;
}
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
	"time"
	"unsafe"
)

var kept = make([]unsafe.Pointer, 0, 100_000)

//go:noinline
func leakSite(number int) {
	kept = append(kept, C.new_buffer(C.int(number)))
}

//go:noinline
func giveBack(number int) {
	C.free(C.new_buffer(C.int(number)))
}

//go:noinline
func remember(number int) {
	leakSite(number)
}

//go:noinline
func route(number int) {
	remember(number)
}

func main() {
	giveBack(1)
	input := bufio.NewScanner(os.Stdin)
	os.Stdout.WriteString("ready\n")
	if !input.Scan() {
		return
	}
	stop := make(chan bool)
	go func() {
		for input.Scan() {
			stop <- true
		}
		close(stop)
	}()
	tick := time.NewTicker(4 * time.Millisecond)
	for number := 0; ; number++ {
		select {
		case <-stop:
			blocks, bytes := len(kept), len(kept)*C.LEAK
			fmt.Printf("{\"sites\":[{\"function\":\"new_buffer\",\"allocated\":%d,\"bytes\":%d,\"live\":%d,\"live_bytes\":%d}]}\n",
				blocks, bytes, blocks, bytes)
			<-stop
			return
		case <-tick.C:
			route(number)
		}
	}
}
