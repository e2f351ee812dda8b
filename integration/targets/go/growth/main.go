// Grows by some 100 kB a second in small objects, beside garbage, until its input ends.
package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

var kept [][]byte

//go:noinline
func remember(size int) {
	block := make([]byte, size)
	for i := range block {
		block[i] = 1
	}
	kept = append(kept, block)
}

//go:noinline
func garbage() int {
	sum := 0
	for i := 0; i < 400; i++ {
		block := make([]byte, 10240)
		block[i] = 1
		sum += int(block[i])
	}
	return sum
}

func main() {
	go func() {
		for {
			garbage()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	go func() {
		for {
			remember(1024)
			remember(1024)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
}
