// A Go service: program SHAPE [-rate MB_PER_MIN] [-size MIB] -seed N
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand"
	"os"
	"sync"
	"time"
)

const (
	mib  = 1 << 20
	beat = 50 * time.Millisecond
)

var (
	begin = time.Now()
	dice  *rand.Rand
	rate  float64 // MB a minute
	size  float64 // bytes
	sink  []byte
)

func say(what map[string]any) {
	what["at"] = float64(time.Now().UnixMilli()) / 1000
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func between(low, high float64) float64 { return low + (high-low)*dice.Float64() }

// What a request needs beside comes and goes.
func garbage(count int) {
	for range count {
		sink = make([]byte, 100+dice.Intn(4000))
	}
}

func leak(function string, load bool, keep func() float64) {
	say(map[string]any{"leaks": true, "functions": []string{function}, "mb_per_min": rate})
	owed, sum, told, last := 0.0, 0.0, 0.0, time.Since(begin).Seconds()
	for {
		now := time.Since(begin).Seconds()
		share := 1.0
		if load {
			share += 0.8 * math.Sin(now*2*math.Pi/240)
		}
		owed += rate * mib / 60 * share * (now - last)
		last = now
		for owed > 0 {
			kept := keep()
			owed -= kept
			sum += kept
			if sum >= told+mib {
				told = sum
				say(map[string]any{"leaked": sum})
			}
		}
		garbage(200)
		time.Sleep(beat)
	}
}

type session struct {
	user  string
	state []byte
}

var sessions = map[int]*session{}

//go:noinline
func rememberSession() float64 {
	state := make([]byte, int(between(200, 1500)))
	for i := range state {
		state[i] = 1
	}
	sessions[len(sessions)] = &session{user: fmt.Sprint("user ", len(sessions)), state: state}
	return float64(len(state)) + 120
}

var never = make(chan struct{})

//go:noinline
func serveForEver() float64 {
	go func() {
		state := make([]byte, 1500)
		<-never
		sink = state
	}()
	return 1536 + 2048 + 500
}

var bodies [][]byte

//go:noinline
func keepBody() float64 {
	body := make([]byte, 65536)
	for i := range body {
		body[i] = 1
	}
	bodies = append(bodies, body)
	return 65536
}

func every(step func()) {
	say(map[string]any{"leaks": false})
	for {
		step()
		time.Sleep(beat)
	}
}

func grow(live *[][]byte, due float64) {
	for float64(len(*live))*1024 < due {
		*live = append(*live, make([]byte, 1024))
	}
}

var shapes = map[string]func(){
	"leak-sessions":            func() { leak("main.rememberSession", false, rememberSession) },
	"leak-sessions-under-load": func() { leak("main.rememberSession", true, rememberSession) },
	"leak-goroutines":          func() { leak("main.serveForEver", false, serveForEver) },
	"leak-bodies":              func() { leak("main.keepBody", false, keepBody) },
	"teeth":                    func() { every(func() { garbage(1500) }) },
	// over a live set that grows for three minutes and stops
	"teeth-over-growing-set": func() {
		var live [][]byte
		every(func() {
			garbage(800)
			grow(&live, size*math.Min(1, time.Since(begin).Seconds()/180))
		})
	},
	"cache": func() {
		entries, next, room := map[int][]byte{}, 0, int(size/1100)
		every(func() {
			for range room/90/20 + 1 {
				entries[next] = make([]byte, 1024)
				delete(entries, next-room)
				next++
			}
		})
	},
	// bursts whose buffers are pooled
	"pool": func() {
		pool := sync.Pool{New: func() any { return make([]byte, 65536) }}
		every(func() {
			var taken []any
			if dice.Float64() < 0.05 {
				for range int(size / 65536 * dice.Float64()) {
					taken = append(taken, pool.Get())
				}
			}
			garbage(100)
			for _, buffer := range taken {
				pool.Put(buffer)
			}
		})
	},
}

func main() {
	shape := shapes[os.Args[1]]
	flags := flag.NewFlagSet("program", flag.ExitOnError)
	seed := flags.Int64("seed", 1, "")
	mbPerMin := flags.Float64("rate", 3, "MB a minute")
	mibs := flags.Float64("size", 16, "MiB")
	flags.Parse(os.Args[2:])
	dice = rand.New(rand.NewSource(*seed))
	by := between(0.75, 1.33)
	rate, size = *mbPerMin*by, *mibs*by*mib
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	shape()
}
