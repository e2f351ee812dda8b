// Leaks in one function, reached through an interface and closures, beside requests that give back what they take: 250
// times a second, from the line `go` to the next line, which it answers with what it has leaked.
package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

const (
	leak    = 20_000
	scratch = 500
)

var (
	kept   = make([][]byte, 0, 100_000)
	sink   []byte
	blocks int
)

//go:noinline
func leakSite(number int) {
	block := make([]byte, leak)
	for at := range block {
		block[at] = byte(number)
	}
	kept = append(kept, block)
	blocks++
}

//go:noinline
func giveBack(size int) {
	sink = make([]byte, size)
	sink = nil
}

//go:noinline
func remember(number int) {
	giveBack(scratch + number%7*50)
	leakSite(number)
}

type handler interface{ handle(number int) }

type search struct{}

func (search) handle(number int) {
	remember(number)
}

type function func(number int)

func (call function) handle(number int) { call(number) }

//go:noinline
func route(handlers []handler, number int) {
	handlers[number%len(handlers)].handle(number)
}

func main() {
	handlers := []handler{
		function(func(number int) { remember(number) }),
		search{},
		function(func(number int) { giveBack(scratch); remember(number) }),
	}
	// its own memory is there before anything is counted
	for at := range kept[:cap(kept)] {
		kept[:cap(kept)][at] = []byte{}
	}
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
			bytes := blocks * leak
			fmt.Printf("{\"sites\":[{\"function\":\"leakSite\",\"allocated\":%d,\"bytes\":%d,\"live\":%d,\"live_bytes\":%d}]}\n",
				blocks, bytes, blocks, bytes)
			<-stop
			return
		case <-tick.C:
			route(handlers, number)
		}
	}
}
