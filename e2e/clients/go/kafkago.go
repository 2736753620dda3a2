// kafka-go: produce, consume; classic groups. It has no idempotent producer and no transactions.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

var kafkaGoCodecs = map[string]kafka.Compression{
	"gzip":   kafka.Gzip,
	"snappy": kafka.Snappy,
	"lz4":    kafka.Lz4,
	"zstd":   kafka.Zstd,
}

// kafkaGoRecord travels with a message that is not acknowledged yet.
type kafkaGoRecord struct {
	index     int
	partition int
}

func kafkaGoProduce(ctx context.Context, o options) error {
	if o["idempotent"] == "true" || o["transactional"] != "" {
		return errors.New("kafka-go has no idempotent producer and no transactions")
	}
	lines, err := read(o)
	if err != nil {
		return err
	}
	out, err := open(o)
	if err != nil {
		return err
	}
	levels := map[string]kafka.RequiredAcks{
		"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll,
	}
	failed := make(chan error, len(lines))
	writer := &kafka.Writer{
		Addr:         kafka.TCP(strings.Split(o["bootstrap"], ",")...),
		Topic:        o["topic"],
		BatchTimeout: time.Duration(o.number("linger", 5)) * time.Millisecond,
		BatchBytes:   int64(o.number("batch-size", 1048576)),
		RequiredAcks: levels[o.get("acks", "all")],
		Compression:  kafkaGoCodecs[o.get("codec", "none")],
		Async:        true,
		Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int {
			return message.WriterData.(kafkaGoRecord).partition
		}),
		Completion: func(messages []kafka.Message, err error) {
			for _, message := range messages {
				if err == nil {
					out.write(kafkaGoPlace(message, o))
				}
				failed <- err
			}
		},
	}
	if id, given := o["client-id"]; given {
		writer.Transport = &kafka.Transport{ClientID: id}
	}
	pending := 0
	flush := func() (err error) {
		for ; pending > 0; pending-- {
			err = errors.Join(err, <-failed)
		}
		return err
	}
	for index, line := range lines {
		if err := o.waitAtGate(index, flush); err != nil {
			return err
		}
		if err := writer.WriteMessages(ctx, kafkaGoMessage(index, line)); err != nil {
			return err
		}
		pending++
		o.pace()
	}
	return errors.Join(writer.Close(), flush())
}

func kafkaGoMessage(index int, line input) kafka.Message {
	message := kafka.Message{Key: line.Key, Value: line.Value}
	record := kafkaGoRecord{index: index}
	if line.Partition != nil {
		record.partition = int(*line.Partition)
	}
	message.WriterData = record
	if line.Timestamp != nil {
		message.Time = time.UnixMilli(*line.Timestamp)
	}
	for _, header := range line.Headers {
		header := kafka.Header{Key: string(header[0]), Value: header[1]}
		message.Headers = append(message.Headers, header)
	}
	return message
}

func kafkaGoPlace(message kafka.Message, o options) acknowledged {
	return acknowledged{
		Index:     message.WriterData.(kafkaGoRecord).index,
		Topic:     o["topic"],
		Partition: int32(message.Partition),
		Offset:    message.Offset,
	}
}

func kafkaGoConsume(ctx context.Context, o options) error {
	out, err := open(o)
	if err != nil {
		return err
	}
	config := kafka.ReaderConfig{
		Brokers:           strings.Split(o["bootstrap"], ","),
		GroupID:           o["group"],
		GroupTopics:       strings.Split(o["topics"], ","),
		StartOffset:       kafka.FirstOffset,
		MaxWait:           50 * time.Millisecond,
		HeartbeatInterval: 500 * time.Millisecond,
	}
	if o["isolation"] == "read_committed" {
		config.IsolationLevel = kafka.ReadCommitted
	}
	if id, given := o["client-id"]; given {
		config.Dialer = &kafka.Dialer{ClientID: id, Timeout: 10 * time.Second}
	}
	reader := kafka.NewReader(config)
	ctx, cancel := o.deadline(ctx)
	defer cancel()
	progress := newProgress(o)
	for last := progress.left == 0; !last; {
		message, err := reader.FetchMessage(ctx)
		if err != nil {
			return fmt.Errorf("%d records did not arrive: %w", progress.left, err)
		}
		out.write(kafkaGoLine(message))
		if err := reader.CommitMessages(ctx, message); err != nil {
			return err
		}
		_, last = progress.take(message.Topic, int32(message.Partition), message.Offset)
	}
	return reader.Close()
}

func kafkaGoLine(message kafka.Message) consumed {
	headers := make([][2]octets, 0, len(message.Headers))
	for _, header := range message.Headers {
		headers = append(headers, [2]octets{append(octets{}, header.Key...), header.Value})
	}
	return consumed{
		Topic:     message.Topic,
		Partition: int32(message.Partition),
		Offset:    message.Offset,
		Timestamp: message.Time.UnixMilli(),
		Key:       message.Key,
		Value:     message.Value,
		Headers:   headers,
	}
}
