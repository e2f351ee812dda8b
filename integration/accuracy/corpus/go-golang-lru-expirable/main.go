// A service that gives each visiting client a small cache of its own, for as long as
// the client is connected.
//
// The pinned golang-lru starts a goroutine for a cache whose entries expire, and has no
// way to end it: the goroutine and the cache it sweeps outlive the client.
package main

import (
	"flag"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
)

type cache interface {
	Get(key string) (string, bool)
	Add(key, value string) bool
}

// plain is the cache without an end of its entries.
type plain struct{ *lru.Cache[string, string] }

type session struct {
	id    int
	cache cache
}

func newSession(id int, safe bool) *session {
	if safe {
		c, err := lru.New[string, string](64)
		if err != nil {
			panic(err)
		}
		return &session{id, plain{c}}
	}
	return &session{id, expirable.NewLRU[string, string](64, nil, time.Hour)}
}

// look answers a question of the client, out of its cache where it was asked before.
func (s *session) look(key string) string {
	if v, ok := s.cache.Get(key); ok {
		return v
	}
	v := fmt.Sprintf("answer to %s for client %d", key, s.id)
	s.cache.Add(key, v)
	return v
}

func main() {
	rate := flag.Float64("rate", 5, "clients a second")
	duration := flag.Float64("duration", 120, "seconds to run")
	safe := flag.Bool("safe", false, "use a cache whose entries do not expire")
	flag.Parse()

	end := time.Now().Add(time.Duration(*duration * float64(time.Second)))
	next := time.Now()
	done := 0
	for time.Now().Before(end) {
		s := newSession(done, *safe)
		for i := 0; i < 800; i++ {
			s.look(fmt.Sprintf("question %d", i%8))
		}
		done++
		next = next.Add(time.Duration(float64(time.Second) / *rate))
		time.Sleep(time.Until(next))
	}
	fmt.Println("done", done)
}
