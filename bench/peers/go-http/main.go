// Go-http is the server a Go introduction would show: net/http, two handlers, no timeout anywhere.
//
// It is the peer that `cargo xtask bench` compares Staunch with. Usage: go-http ADDRESS.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
)

// Dots is an endless source.
type dots struct{}

func (dots) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '.'
	}
	return len(p), nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go-http ADDRESS (for example 127.0.0.1:8080)")
	}
	hello := []byte("Hello, world!\n")
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(hello)
	})
	http.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
		bytes, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
		if err != nil {
			http.Error(w, "bytes=N", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(bytes, 10))
		io.CopyN(w, dots{}, bytes)
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
