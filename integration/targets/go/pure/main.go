// Go: its allocator works within memory that it maps for itself, so what can be known is what it has mapped. Keeps
// 96 MiB in pieces of many sizes and 1,000 goroutines. With the argument `churn` it allocates, collects and makes its
// stacks grow, which moves them, until its input ends.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

var (
	kept  [][]byte
	ended atomic.Bool
)

//go:noinline
func keepSlice(size int) []byte {
	slice := make([]byte, size)
	for at := 0; at < size; at += 512 {
		slice[at] = 1
	}
	return slice
}

// Uses a kilobyte of stack a level, and returns what it was given.
//
//go:noinline
func deep(level int) int {
	var room [128]int
	for index := range room {
		room[index] = level
	}
	if level == 0 {
		return room[7]
	}
	return deep(level-1) + room[level%128] - level + 1
}

func churn() {
	var workers sync.WaitGroup
	for worker := 0; worker < 4; worker++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			slots := make([][]byte, 64)
			for round := 1; !ended.Load(); round++ {
				slots[round%64] = keepSlice(1 + round%70000)
				result := make(chan int)
				go func() { result <- deep(200) }()
				if got := <-result; got != 200 {
					panic(fmt.Sprintf("a stack is not as it was: %d", got))
				}
				if round%200 == 0 {
					os.Stdout.WriteString(".\n")
					runtime.GC()
				}
			}
		}()
	}
	workers.Wait()
	os.Stdout.WriteString("sound\n")
}

func main() {
	input := bufio.NewReader(os.Stdin)
	os.Stdout.WriteString("ready\n")
	if len(os.Args) > 1 && os.Args[1] == "churn" {
		go func() {
			for _, err := input.ReadByte(); err == nil; _, err = input.ReadByte() {
			}
			ended.Store(true)
		}()
		churn()
		return
	}
	input.ReadString('\n')
	total, stop := 0, make(chan bool)
	for round := 0; total < 96<<20; round++ {
		size := 1 + round*7919%100000
		kept = append(kept, keepSlice(size))
		total += size
	}
	var deepened sync.WaitGroup
	for range [1000]int{} {
		deepened.Add(1)
		go func() {
			deep(20)
			deepened.Done()
			<-stop
		}()
	}
	deepened.Wait()
	// nothing is mapped behind the truth's back
	runtime.GC()
	debug.SetGCPercent(-1)
	os.Stdout.WriteString("{\"sites\":[]}\n")
	for _, err := input.ReadString('\n'); err == nil; _, err = input.ReadString('\n') {
	}
	runtime.KeepAlive(kept)
}
