// Answers as Go's own HTTP server gives them: of a known length, in chunks, with trailers, and
// broken off.
package main

import (
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

const piece = 8 << 10

var connections atomic.Int64

// pieces writes as many pieces as it is asked for, each of them at once; their checksum.
func pieces(w http.ResponseWriter, r *http.Request) string {
	count, _ := strconv.Atoi(r.URL.Query().Get("pieces"))
	sum := crc32.NewIEEE()
	for i := range count {
		bytes := make([]byte, piece)
		for at := range bytes {
			bytes[at] = 'a' + byte((i+at)%26)
		}
		sum.Write(bytes)
		w.Write(bytes)
		w.(http.Flusher).Flush()
	}
	return fmt.Sprintf("%08x", sum.Sum32())
}

func main() {
	http.HandleFunc("/connections", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, connections.Load())
	})
	http.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) {
		pieces(w, r)
	})
	// One trailer that is announced, and one that is not.
	http.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		sum := pieces(w, r)
		w.Header().Set("X-Sum", sum)
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	})
	// What came: how many bytes, and the trailer behind them.
	http.HandleFunc("/received", func(w http.ResponseWriter, r *http.Request) {
		length, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d bytes, x-sum %q, %v", length, r.Trailer.Get("X-Sum"), err)
	})
	http.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "and then")
	})
	http.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) {
		pieces(w, r)
		panic(http.ErrAbortHandler)
	})
	server := http.Server{
		Addr:              os.Args[1],
		ReadHeaderTimeout: 10 * time.Second,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		},
	}
	log.Fatal(server.ListenAndServe())
}
