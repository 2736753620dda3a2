// Servers and clients for the tests of HTTP through the sidecar, with Go's own HTTP stack.
//
//	servers serve HOST:PORT                   HTTP/1.1, and HTTP/2 with prior knowledge
//	servers relay HOST:PORT TARGET INTERVAL   passes bytes, and freezes its connections now and then
//	servers client CASE URL SECONDS           sends requests, and prints one line of JSON
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 4 && args[0] == "relay":
		interval, err := time.ParseDuration(args[3])
		if err != nil {
			return err
		}
		return relay(args[1], args[2], interval)
	case len(args) == 4 && args[0] == "client":
		seconds, err := strconv.ParseFloat(args[3], 64)
		if err != nil {
			return err
		}
		return client(args[1], args[2], time.Duration(seconds*float64(time.Second)))
	default:
		return errors.New("usage: servers serve HOST:PORT, servers relay HOST:PORT TARGET INTERVAL, " +
			"or servers client CASE URL SECONDS")
	}
}
