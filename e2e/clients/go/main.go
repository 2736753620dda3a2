// Clients in Go: franz-go, sarama and kafka-go. The contract is in ../README.md; the library is the
// first argument.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type options map[string]string

func parse(arguments []string) (options, error) {
	parsed := options{}
	for at := 0; at < len(arguments); at += 2 {
		name, isOption := strings.CutPrefix(arguments[at], "--")
		if !isOption || at+1 == len(arguments) {
			return nil, fmt.Errorf("expected --name value, not %s", arguments[at])
		}
		parsed[name] = arguments[at+1]
	}
	return parsed, nil
}

func (o options) get(name, otherwise string) string {
	if value, given := o[name]; given {
		return value
	}
	return otherwise
}

func (o options) number(name string, otherwise int) int {
	if value, err := strconv.Atoi(o[name]); err == nil {
		return value
	}
	return otherwise
}

// octets are bytes, base64 in JSON; nil is null, empty is "".
type octets []byte

func (b octets) MarshalJSON() ([]byte, error) {
	if b == nil {
		return []byte("null"), nil
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

func (b *octets) UnmarshalJSON(text []byte) error {
	var encoded *string
	if err := json.Unmarshal(text, &encoded); err != nil || encoded == nil {
		*b = nil
		return err
	}
	decoded, err := base64.StdEncoding.DecodeString(*encoded)
	*b = append(octets{}, decoded...)
	return err
}

type input struct {
	Partition *int32      `json:"partition"`
	Timestamp *int64      `json:"timestamp"`
	Key       octets      `json:"key"`
	Value     octets      `json:"value"`
	Headers   [][2]octets `json:"headers"`
}

type acknowledged struct {
	Index     int    `json:"index"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Committed *bool  `json:"committed,omitempty"`
}

type consumed struct {
	Topic         string      `json:"topic"`
	Partition     int32       `json:"partition"`
	Offset        int64       `json:"offset"`
	Timestamp     int64       `json:"timestamp"`
	Key           octets      `json:"key"`
	Value         octets      `json:"value"`
	Headers       [][2]octets `json:"headers"`
	Codec         string      `json:"codec"`
	DeliveryCount int32       `json:"delivery_count,omitempty"`
	Released      bool        `json:"released,omitempty"`
}

type output struct {
	lock sync.Mutex
	file *os.File
}

func open(o options) (*output, error) {
	path := o.get("output", "-")
	if path == "-" {
		return &output{file: os.Stdout}, nil
	}
	file, err := os.Create(path)
	return &output{file: file}, err
}

func (out *output) write(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	out.lock.Lock()
	defer out.lock.Unlock()
	// One write per line, so that a reader sees complete lines.
	if _, err := out.file.Write(append(text, '\n')); err != nil {
		panic(err)
	}
}

func read(o options) ([]input, error) {
	file, err := os.Open(o["input"])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	var records []input
	for lines.Scan() {
		var line input
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, err
		}
		records = append(records, line)
	}
	return records, lines.Err()
}

// waitAtGate waits before record --gate-at until the file --gate exists; all earlier records are
// sent by then.
func (o options) waitAtGate(index int, flush func() error) error {
	if index != o.number("gate-at", -1) {
		return nil
	}
	if err := flush(); err != nil {
		return err
	}
	for _, err := os.Stat(o["gate"]); err != nil; _, err = os.Stat(o["gate"]) {
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// pace waits between two records.
func (o options) pace() {
	time.Sleep(time.Duration(o.number("pace", 0)) * time.Millisecond)
}

// deadline limits a consumer's run time.
func (o options) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(o.number("limit", 60))*time.Second)
}

// progress counts consumed records up to --count; with --distinct, each record once.
type progress struct {
	lock       sync.Mutex
	left       int
	seen       map[string]bool
	isDistinct bool
}

func newProgress(o options) *progress {
	return &progress{
		left:       o.number("count", 1<<60),
		seen:       map[string]bool{},
		isDistinct: o["distinct"] == "true",
	}
}

// take returns whether a record is still wanted, and whether it is the last one.
func (p *progress) take(topic string, partition int32, offset int64) (wanted, last bool) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.left == 0 {
		return false, true
	}
	place := fmt.Sprint(topic, " ", partition, " ", offset)
	if !p.isDistinct || !p.seen[place] {
		p.left--
	}
	p.seen[place] = true
	return true, p.left == 0
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("expected a client library and a command: produce or consume")
	}
	o, err := parse(arguments[2:])
	if err != nil {
		return err
	}
	command, known := map[string]func(context.Context, options) error{
		"franz-go produce": produce,
		"franz-go consume": consume,
		"sarama produce":   saramaProduce,
		"sarama consume":   saramaConsume,
		"kafka-go produce": kafkaGoProduce,
		"kafka-go consume": kafkaGoConsume,
	}[arguments[0]+" "+arguments[1]]
	if !known {
		return fmt.Errorf("unknown client or command: %v", arguments[:2])
	}
	return command(context.Background(), o)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
