package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// report is what a case prints. A failure is a request that a client with care for its connections
// does not get a response to, or one with a status of 500 or above.
type report struct {
	Requests int            `json:"requests"`
	Failures int            `json:"failures"`
	Reasons  map[string]int `json:"reasons"`
	// Answers are descriptions of what came, by the name of the request.
	Answers map[string]string `json:"answers,omitempty"`
	lock    sync.Mutex
}

func (r *report) record(what string, err error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.Requests++
	if err != nil {
		r.Failures++
		r.Reasons[what+": "+err.Error()]++
	}
}

func client(name, target string, duration time.Duration) error {
	parsed, err := url.Parse(target)
	if err != nil {
		return err
	}
	end := time.Now().Add(duration)
	result := &report{Reasons: map[string]int{}}
	switch name {
	case "keepalive":
		inParallel(32, func(int) { keepAlive(parsed.Host, end, result) })
	case "login":
		logins(parsed.Host, result)
	case "streams":
		streams(target+"/slow", 30, end, result)
	case "goaway":
		streams(target+"/goaway", 20, end, result)
	case "dead":
		dead(target, end, result)
	case "messages":
		messages(parsed.Host, result)
	default:
		return fmt.Errorf("%s is not a case", name)
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func inParallel(count int, run func(int)) {
	var group sync.WaitGroup
	for number := range count {
		group.Go(func() { run(number) })
	}
	group.Wait()
}

// --- HTTP/1.1 ---

// connection is one connection that is kept for further requests.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

func dial(host string) (*connection, error) {
	conn, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, nil
}

// isClosed looks at what has come, as clients do before they use a connection again.
func (c *connection) isClosed() bool {
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
	_, err := c.reader.Peek(1)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// send sends a request, and returns the status and the body of its response.
func (c *connection) send(method, path, fields, body string) (int, string, error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if body != "" {
		fields += "content-length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	text := method + " " + path + " HTTP/1.1\r\nhost: service\r\n" + fields + "\r\n" + body
	if _, err := io.WriteString(c, text); err != nil {
		return 0, "", errors.New("not written")
	}
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return 0, "", errors.New("no response")
	}
	defer response.Body.Close()
	answered, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", errors.New("response cut")
	}
	if response.Close {
		c.Close()
	}
	if response.StatusCode >= 500 {
		return 0, "", fmt.Errorf("status %d", response.StatusCode)
	}
	return response.StatusCode, string(answered), nil
}

// keepAlive sends requests at the moment at which servers close idle connections.
func keepAlive(host string, end time.Time, result *report) {
	var kept *connection
	for number := rand.IntN(2); time.Now().Before(end); number++ {
		if kept == nil || kept.isClosed() {
			if kept != nil {
				kept.Close()
			}
			opened, err := dial(host)
			if err != nil {
				result.record("dial", err)
				continue
			}
			kept = opened
		}
		method, body := "GET", ""
		if number%2 == 1 {
			method, body = "POST", "body"
		}
		_, answered, err := kept.send(method, "/", "", body)
		if err == nil && answered != "/ "+strconv.Itoa(len(body)) {
			err = fmt.Errorf("wrong response %q", answered)
		}
		result.record(method, err)
		if err != nil {
			kept.Close()
			kept = nil
		}
		time.Sleep(idleTimeout + time.Duration(rand.IntN(12)-6)*time.Millisecond)
	}
	if kept != nil {
		kept.Close()
	}
}

// logins checks that the login of one connection serves no other.
func logins(host string, result *report) {
	var clients [2]*connection
	for number := range clients {
		opened, err := dial(host)
		if err != nil {
			result.record("dial", err)
			return
		}
		clients[number] = opened
	}
	expect := func(number int, fields, user string) {
		_, answered, err := clients[number].send("GET", "/login", fields, "")
		if err == nil && answered != user {
			err = fmt.Errorf("%q instead of %q", answered, user)
		}
		result.record("login", err)
	}
	for range 10 {
		expect(1, "", "")
		expect(0, "Authorization: NTLM alice\r\n", "alice")
		expect(1, "", "")
		expect(0, "", "alice")
	}
}

// --- HTTP/2 ---

func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{

			SendPingTimeout: time.Second,
			PingTimeout:     time.Second,
		},
	}
}

func request(transport *http.Transport, target, body string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "POST", target, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return errors.New(withoutNumbers(err.Error()))
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return errors.New("response cut")
	}
	if response.StatusCode >= 400 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

// withoutNumbers makes messages that differ in a port or a stream equal.
func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// streams keeps a number of requests in flight on one connection.
func streams(target string, count int, end time.Time, result *report) {
	transport := newTransport()
	defer transport.CloseIdleConnections()
	inParallel(count, func(int) {
		for time.Now().Before(end) {
			result.record("POST", request(transport, target, "body", 10*time.Second))
		}
	})
}

// dead sends one request after the other, each with little time; the path is frozen from outside.
func dead(target string, end time.Time, result *report) {
	transport := newTransport()
	defer transport.CloseIdleConnections()
	for time.Now().Before(end) {
		result.record("POST", request(transport, target+"/", "body", time.Second))
		time.Sleep(50 * time.Millisecond)
	}
}
