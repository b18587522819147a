// Go-echo is the line echo server a Go introduction would show: a goroutine for each connection,
// a Scanner for its lines, no limit and no deadline anywhere.
//
// It is the peer that `cargo xtask bench` compares Staunch with. Usage: go-echo ADDRESS.
package main

import (
	"bufio"
	"log"
	"net"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go-echo ADDRESS (for example 127.0.0.1:9000)")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		go echo(conn)
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if _, err := conn.Write([]byte("Echo: " + text + "\n")); err != nil {
			return
		}
	}
}
