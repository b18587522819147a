// Go-pool acquires and releases connections of database/sql's pool, over a driver that does
// nothing, on two processors.
//
// It is the peer that `cargo xtask bench pool` compares Staunch's pool with, and prints the same
// line. Usage: go-pool -tasks N -operations N [-hold] [-waits].
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"flag"
	"fmt"
	"log"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const connections = 10

type trivial struct{}

func (trivial) Open(string) (driver.Conn, error)             { return trivial{}, nil }
func (trivial) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("no statements") }
func (trivial) Close() error                                 { return nil }
func (trivial) Begin() (driver.Tx, error)                    { return nil, errors.New("no transactions") }
func (trivial) Connect(context.Context) (driver.Conn, error) { return trivial{}, nil }
func (trivial) Driver() driver.Driver                        { return trivial{} }

func main() {
	tasks := flag.Int("tasks", 1, "goroutines that acquire and release")
	operations := flag.Int("operations", 1_000_000, "operations of all together")
	hold := flag.Bool("hold", false, "yield once while the connection is held")
	waits := flag.Bool("waits", false, "time each acquire")
	flag.Parse()

	runtime.GOMAXPROCS(2)
	db := sql.OpenDB(trivial{})
	defer db.Close()
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)

	each := *operations / *tasks
	worst := make([]time.Duration, *tasks)
	cpu, begun := cpuTime(), time.Now()
	var done sync.WaitGroup
	for task := 0; task < *tasks; task++ {
		done.Add(1)
		go func(task int) {
			defer done.Done()
			for range make([]struct{}, each) {
				var before time.Time
				if *waits {
					before = time.Now()
				}
				conn, err := db.Conn(context.Background())
				if err != nil {
					log.Fatal(err)
				}
				if *waits {
					worst[task] = max(worst[task], time.Since(before))
				}
				if *hold {
					runtime.Gosched()
				}
				conn.Close()
			}
		}(task)
	}
	done.Wait()
	wall, used := time.Since(begun), cpuTime()-cpu
	var most time.Duration
	for _, wait := range worst {
		most = max(most, wait)
	}
	count := float64(each * *tasks)
	fmt.Printf("{\"ns\":%f,\"cpu_ns\":%f,\"worst_wait_us\":%f}\n",
		float64(wall)/count, float64(used)/count, float64(most)/1e3)
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
