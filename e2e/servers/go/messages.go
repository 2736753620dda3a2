package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// exchange is a request as it is written, and its name in the report.
type exchange struct {
	name, request string
	// body is sent only when the server asks for it with 100.
	body int
}

const bodyLength = 5 << 20

func get(path, fields string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: service\r\n" + fields + "\r\n"
}

var exchanges = []exchange{
	{"expect", expect("/"), bodyLength},
	{"expect, refused", expect("/unauthorized"), bodyLength},
	{"hints", get("/hints", ""), 0},
	{"trailers, asked for", get("/trailers", "TE: trailers\r\nConnection: TE\r\n"), 0},
	{"trailers", get("/trailers", ""), 0},
	{"cut", get("/cut", ""), 0},
	{"cut, HTTP/1.0", "GET /cut HTTP/1.0\r\nHost: service\r\n\r\n", 0},
	{"length and chunks", get("/both", ""), 0},
	{"spelling", get("/spelling", ""), 0},
	{"status 999", get("/999", ""), 0},
	{"space before the colon", get("/space", ""), 0},
	{"400 fields", get("/fields", ""), 0},
	{"raw target", get("/raw<>", ""), 0},
}

func expect(path string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: service\r\nExpect: 100-continue\r\n"+
		"Content-Length: %d\r\n\r\n", path, bodyLength)
}

// messages describes what comes in response to requests that test the limits of HTTP/1.
func messages(host string, result *report) {
	result.Answers = map[string]string{}
	for _, one := range exchanges {
		answered, err := one.describe(host)
		result.record(one.name, err)
		result.Answers[one.name] = answered
	}
}

// describe returns the heads of all responses, without what differs from one to the next, and the
// body with its end.
func (e exchange) describe(host string) (string, error) {
	conn, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, e.request); err != nil {
		return "", errors.New("not written")
	}
	reader := bufio.NewReader(conn)
	var described []string
	for {
		head, err := readHead(reader)
		if err != nil {
			return strings.Join(append(described, "no response"), " | "), nil
		}
		described = append(described, describeHead(head))
		if !strings.HasPrefix(head[0], "HTTP/1.1 1") {
			described = append(described, describeBody(head, reader))
			return strings.Join(described, " | "), nil
		}
		if strings.HasPrefix(head[0], "HTTP/1.1 100") {
			if _, err := conn.Write(make([]byte, e.body)); err != nil {
				return "", errors.New("body not written")
			}
		}
	}
}

func readHead(reader *bufio.Reader) ([]string, error) {
	var lines []string
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" && len(lines) > 0 {
			return lines, nil
		}
		lines = append(lines, line)
	}
}

// describeHead leaves out the fields that belong to a connection or a moment.
func describeHead(head []string) string {
	fields := slices.DeleteFunc(slices.Clone(head[1:]), func(line string) bool {
		name, _, _ := strings.Cut(strings.ToLower(line), ":")
		return slices.Contains([]string{"date", "connection", "keep-alive"}, name)
	})
	if len(fields) > 20 {
		return fmt.Sprintf("%s, %d fields", head[0], len(fields))
	}
	slices.Sort(fields)
	return strings.Join(append(head[:1:1], fields...), ", ")
}

// describeBody reads a body as RFC 9112 delimits it, with its trailers and its end.
func describeBody(head []string, reader *bufio.Reader) string {
	text := strings.Join(head, "\r\n") + "\r\n\r\n"
	// A strict parser would not take all heads: only what delimits the body counts.
	lower := strings.ToLower(text)
	delimiter := "HTTP/1.1 200 OK\r\n"
	for _, line := range head[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case name == "transfer-encoding", name == "trailer",
			name == "content-length" && !strings.Contains(lower, "transfer-encoding"):
			delimiter += name + ":" + value + "\r\n"
		}
	}
	joined := io.MultiReader(strings.NewReader(delimiter+"\r\n"), reader)
	response, err := http.ReadResponse(bufio.NewReader(joined), nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(response.Body)
	described := fmt.Sprintf("%q", body)
	for name, values := range response.Trailer {
		described += fmt.Sprintf(" %s: %q", name, values)
	}
	if err != nil {
		described += " cut"
	}
	return described
}
