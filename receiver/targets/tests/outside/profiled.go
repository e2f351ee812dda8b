package main

import (
	"os"
	"runtime/pprof"
)

// A program that can write its heap profile keeps one.
func init() {
	if len(os.Args) > 1 {
		pprof.WriteHeapProfile(os.Stdout)
	}
}
