// Keeps memory, or lets go of it, as it is told; each time with collections, of which the heap profile needs two.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
)

var kept [][]byte

//go:noinline
func remember() {
	for range [32000]int{} {
		kept = append(kept, make([]byte, 1024))
	}
}

//go:noinline
func churn() {
	for range [100000]int{} {
		lost = make([]byte, 2048)
	}
}

var lost []byte

//go:noinline
func abandon() {
	for range [1000]int{} {
		go func() { select {} }()
	}
}

func main() {
	orders := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for orders.Scan() {
		switch orders.Text() {
		case "keep":
			remember()
		case "churn":
			churn()
		case "abandon":
			abandon()
		default:
			kept = nil
		}
		for range [3]int{} {
			runtime.GC()
		}
		fmt.Println("done")
	}
}
