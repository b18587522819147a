// Go-http is the server a Go introduction would show: net/http, one handler, no timeout anywhere.
//
// It is the peer that `cargo xtask bench` compares Staunch with. Usage: go-http ADDRESS.
package main

import (
	"log"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go-http ADDRESS (for example 127.0.0.1:8080)")
	}
	hello := []byte("Hello, world!\n")
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(hello)
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
