// Says where it keeps an object, where it has lost one of the same size, and where a goroutine that waits has its stack; collects when it
// is told to.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"unsafe"
)

type object struct {
	next *object
	fill [200]byte
}

var kept []*object

var ends = make(chan uintptr)

var lost *object

func address(of *object) uintptr { return uintptr(unsafe.Pointer(of)) }

//go:noinline
func keepAndLose() (keep, lose uintptr) {
	for range [64]int{} {
		kept = append(kept, &object{})
		lost = &object{}
		lose = address(lost)
	}
	lost = nil
	return address(kept[32]), lose
}

func wait() {
	var here [512]byte
	ends <- uintptr(unsafe.Pointer(&here))
	ends <- uintptr(here[0])
}

func main() {
	orders := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	keep, lose := keepAndLose()
	go wait()
	stack := <-ends
	for orders.Scan() {
		if orders.Text() == "where" {
			fmt.Println(keep, lose, stack)
			continue
		}
		runtime.GC()
		fmt.Println("done")
	}
	runtime.KeepAlive(kept)
}
