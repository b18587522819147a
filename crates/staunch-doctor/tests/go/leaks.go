// Leaks of every kind, beside a server and workers that do nothing wrong. It writes three dumps of its
// goroutines, a line `--` behind each. With the argument `repaired` nothing leaks.
//
// A comment `rule: NAME` marks the line that starts a goroutine which must be found by that rule.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"sync"
	"time"
)

const perRound = 10

// about is done by goroutines that are about to wait.
var about sync.WaitGroup

func send(repaired bool) {
	room := 0
	if repaired {
		room = 1
	}
	results := make(chan int, room)
	about.Add(1)
	go func() { // rule: chan-send
		about.Done()
		results <- 1
	}()
}

func receive(repaired bool) {
	ctx, cancel := context.WithCancel(context.Background())
	about.Add(1)
	go func() { // rule: chan-receive
		about.Done()
		<-ctx.Done()
	}()
	if repaired {
		cancel()
	}
}

func poll(repaired bool) {
	ticker := time.NewTicker(time.Hour)
	stop := make(chan bool)
	about.Add(1)
	go func() { // rule: select
		about.Done()
		for {
			select {
			case <-ticker.C:
			case <-stop:
				return
			}
		}
	}()
	if repaired {
		close(stop)
	}
}

type bus struct{ events chan int }

func publish(repaired bool) {
	b := &bus{}
	if repaired {
		b.events = make(chan int, 1)
	}
	about.Add(1)
	go func() { // rule: nil-chan
		about.Done()
		b.events <- 1
	}()
}

type store struct {
	mu    sync.Mutex
	items int
}

func (s *store) put() {
	about.Done()
	s.mu.Lock()
	s.items++
	s.mu.Unlock()
}

func lock(repaired bool) {
	s := &store{}
	s.mu.Lock()
	about.Add(1)
	go s.put() // rule: lock
	if repaired {
		s.mu.Unlock()
	}
}

func wait(repaired bool) {
	var group sync.WaitGroup
	group.Add(1)
	about.Add(1)
	go func() { // rule: wait-group
		about.Done()
		group.Wait()
	}()
	if repaired {
		group.Done()
	}
}

func signal(repaired bool) {
	cond := sync.NewCond(&sync.Mutex{})
	ready := false
	about.Add(1)
	go func() { // rule: cond
		cond.L.Lock()
		about.Done()
		for !ready {
			cond.Wait()
		}
		cond.L.Unlock()
	}()
	if repaired {
		cond.L.Lock()
		ready = true
		cond.Signal()
		cond.L.Unlock()
	}
}

func forever(repaired bool) {
	about.Add(1)
	go func() { // rule: select-no-cases
		about.Done()
		if !repaired {
			select {}
		}
	}()
}

// healthy serves HTTP, and has workers that wait for work.
func healthy() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	jobs := make(chan chan int)
	for i := 0; i < 8; i++ {
		go func() {
			for job := range jobs {
				job <- 1
			}
		}()
	}
	go func() {
		for range time.Tick(time.Hour) {
		}
	}()
	go func() { <-context.Background().Done() }()
	handler := func(w http.ResponseWriter, r *http.Request) {
		done := make(chan int)
		jobs <- done
		fmt.Fprintln(w, <-done)
	}
	go http.Serve(listener, http.HandlerFunc(handler))
	return "http://" + listener.Addr().String()
}

func get(url string) {
	response, err := http.Get(url)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
}

func main() {
	repaired := len(os.Args) > 1 && os.Args[1] == "repaired"
	url := healthy()
	leaks := []func(bool){send, receive, poll, publish, lock, wait, signal, forever}
	for round := 0; round < 3; round++ {
		for i := 0; i < perRound; i++ {
			get(url)
			for _, leak := range leaks {
				leak(repaired)
			}
		}
		about.Wait()
		pprof.Lookup("goroutine").WriteTo(os.Stdout, 2)
		fmt.Println("--")
	}
}
