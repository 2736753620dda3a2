package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// idleTimeout is short, so that the tests meet the end of idle connections often.
const idleTimeout = time.Second

// answers counts the responses of /goaway.
var answers atomic.Uint64

type connectionKey struct{}

// login is the state of a connection that its client has authenticated.
type login struct{ user string }

func serve(address string) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Addr:        address,
		Handler:     http.HandlerFunc(answer),
		IdleTimeout: idleTimeout,
		Protocols:   protocols,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 10},
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, new(login))
		},
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return server.Serve(listener)
}

// answer responds with the path and the length of the body; /login with the user of the
// connection, /slow after a pause, and /goaway ends a connection of HTTP/2 now and then. The other
// paths give responses that test the limits of HTTP/1.
func answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/unauthorized" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	count, _ := io.Copy(io.Discard, r.Body)
	switch r.URL.Path {
	case "/goaway":
		if r.ProtoMajor == 2 && answers.Add(1)%50 == 0 {
			// In HTTP/2 this is a GOAWAY.
			w.Header().Set("Connection", "close")
		}
	case "/hints":
		w.Header().Set("Link", "</style.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
	case "/trailers":
		w.Header().Set("Trailer", "X-Sum")
		defer w.Header().Set("X-Sum", "42")
	case "/cut":
		fmt.Fprint(w, "part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "/999":
		w.WriteHeader(999)
	case "/fields":
		for number := range 400 {
			w.Header().Set(fmt.Sprintf("X-Field-%d", number), "a")
		}
	case "/login":
		connection := r.Context().Value(connectionKey{}).(*login)
		if user, found := strings.CutPrefix(r.Header.Get("Authorization"), "NTLM "); found {
			connection.user = user
		}
		if connection.user == "" {
			w.Header().Set("WWW-Authenticate", "NTLM")
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, connection.user)
		return
	case "/slow":
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Fprintf(w, "%s %d", r.URL.Path, count)
}

// relay passes bytes between its clients and a target. At each interval it freezes the connections
// of that moment: they stay open, and nothing passes any more, as on a path that drops everything.
func relay(address, target string, interval time.Duration) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	var lock sync.Mutex
	frozen := make(chan struct{})
	go func() {
		for range time.Tick(interval) {
			lock.Lock()
			close(frozen)
			frozen = make(chan struct{})
			lock.Unlock()
		}
	}()
	fmt.Println("listening")
	for {
		accepted, err := listener.Accept()
		if err != nil {
			return err
		}
		lock.Lock()
		stop := frozen
		lock.Unlock()
		go pass(accepted, target, stop)
	}
}

func pass(accepted net.Conn, target string, frozen <-chan struct{}) {
	dialed, err := net.Dial("tcp", target)
	if err != nil {
		accepted.Close()
		return
	}
	ended := make(chan struct{}, 2)
	for _, ends := range [][2]net.Conn{{accepted, dialed}, {dialed, accepted}} {
		go func() {
			defer func() { ended <- struct{}{} }()
			buffer := make([]byte, 32<<10)
			for {
				count, err := ends[0].Read(buffer)
				select {
				case <-frozen:
					// Reads on, so that the sender sees its bytes acknowledged.
					_, _ = io.Copy(io.Discard, ends[0])
					return
				default:
				}
				if _, failed := ends[1].Write(buffer[:count]); err != nil || failed != nil {
					return
				}
			}
		}()
	}
	<-ended
	select {
	case <-frozen:
		<-ended
	default:
	}
	accepted.Close()
	dialed.Close()
}
