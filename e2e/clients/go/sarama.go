// sarama: produce, consume; classic groups.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

var saramaCodecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

func saramaConfig(o options) *sarama.Config {
	config := sarama.NewConfig()
	if id, given := o["client-id"]; given {
		config.ClientID = id
	}
	return config
}

func saramaProduce(_ context.Context, o options) error {
	config := saramaConfig(o)
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Compression = saramaCodecs[o.get("codec", "none")]
	// sarama limits a batch by the option for a record.
	config.Producer.MaxMessageBytes = o.number("batch-size", 1048576)
	config.Producer.Flush.Frequency = time.Duration(o.number("linger", 5)) * time.Millisecond
	levels := map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
	}
	config.Producer.RequiredAcks = levels[o.get("acks", "all")]
	config.Producer.Return.Successes = true
	// With more than one request in flight a retry changes the order.
	config.Net.MaxOpenRequests = 1
	config.Producer.Idempotent = o["idempotent"] == "true" || o["transactional"] != ""
	config.Producer.Transaction.ID = o["transactional"]
	records, err := saramaRecords(o)
	if err != nil {
		return err
	}
	out, err := open(o)
	if err != nil {
		return err
	}
	producer, err := sarama.NewAsyncProducer(strings.Split(o["bootstrap"], ","), config)
	if err != nil {
		return err
	}
	if producer.IsTransactional() {
		err = saramaTransactions(producer, records, out, o)
	} else {
		err = saramaSend(producer, records, out, o)
	}
	return errors.Join(err, producer.Close())
}

func saramaRecords(o options) ([]*sarama.ProducerMessage, error) {
	lines, err := read(o)
	var records []*sarama.ProducerMessage
	for index, line := range lines {
		record := &sarama.ProducerMessage{Topic: o["topic"], Metadata: index}
		if line.Key != nil {
			record.Key = sarama.ByteEncoder(line.Key)
		}
		if line.Value != nil {
			record.Value = sarama.ByteEncoder(line.Value)
		}
		if line.Partition != nil {
			record.Partition = *line.Partition
		}
		if line.Timestamp != nil {
			record.Timestamp = time.UnixMilli(*line.Timestamp)
		}
		for _, header := range line.Headers {
			header := sarama.RecordHeader{Key: header[0], Value: header[1]}
			record.Headers = append(record.Headers, header)
		}
		records = append(records, record)
	}
	return records, err
}

// saramaSend sends records and waits for their acknowledgements, which it writes if there is an
// output.
func saramaSend(
	producer sarama.AsyncProducer, records []*sarama.ProducerMessage, out *output, o options,
) error {
	sent, failed := 0, error(nil)
	acknowledge := func(record *sarama.ProducerMessage) {
		if out != nil {
			out.write(saramaPlace(record))
		}
	}
	flush := func() error {
		for ; sent > 0; sent-- {
			select {
			case record := <-producer.Successes():
				acknowledge(record)
			case err := <-producer.Errors():
				failed = errors.Join(failed, err)
			}
		}
		return failed
	}
	for index, record := range records {
		if err := o.waitAtGate(index, flush); err != nil {
			return err
		}
		for isQueued := false; !isQueued; {
			select {
			case producer.Input() <- record:
				sent, isQueued = sent+1, true
			case record := <-producer.Successes():
				acknowledge(record)
				sent--
			case err := <-producer.Errors():
				failed = errors.Join(failed, err)
				sent--
			}
		}
		o.pace()
	}
	return flush()
}

func saramaTransactions(
	producer sarama.AsyncProducer, records []*sarama.ProducerMessage, out *output, o options,
) error {
	size, abortEvery := o.number("transaction-size", 10), o.number("abort-every", 0)
	for begin, number := 0, 1; begin < len(records); begin, number = begin+size, number+1 {
		if err := producer.BeginTxn(); err != nil {
			return err
		}
		sent := records[begin:min(begin+size, len(records))]
		if err := saramaSend(producer, sent, nil, o); err != nil {
			return err
		}
		committed := abortEvery == 0 || number%abortEvery != 0
		end := producer.CommitTxn
		if !committed {
			end = producer.AbortTxn
		}
		if err := end(); err != nil {
			return err
		}
		for _, record := range sent {
			line := saramaPlace(record)
			line.Committed = &committed
			out.write(line)
		}
	}
	return nil
}

func saramaPlace(record *sarama.ProducerMessage) acknowledged {
	index, _ := record.Metadata.(int)
	return acknowledged{
		Index:     index,
		Topic:     record.Topic,
		Partition: record.Partition,
		Offset:    record.Offset,
	}
}

func saramaConsume(ctx context.Context, o options) error {
	config := saramaConfig(o)
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	if o["isolation"] == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	out, err := open(o)
	if err != nil {
		return err
	}
	group, err := sarama.NewConsumerGroup(strings.Split(o["bootstrap"], ","), o["group"], config)
	if err != nil {
		return err
	}
	ctx, cancel := o.deadline(ctx)
	defer cancel()
	handler := &saramaHandler{progress: newProgress(o), out: out, stop: cancel}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, strings.Split(o["topics"], ","), handler); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return group.Close()
}

// saramaHandler writes and marks records; marked records are committed before a partition moves.
type saramaHandler struct {
	lock     sync.Mutex
	progress *progress
	out      *output
	stop     context.CancelFunc
}

func (*saramaHandler) Setup(sarama.ConsumerGroupSession) error { return nil }

func (*saramaHandler) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	return nil
}

func (h *saramaHandler) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	for {
		select {
		case <-session.Context().Done():
			return nil
		case message, more := <-claim.Messages():
			if !more {
				return nil
			}
			h.handle(session, message)
		}
	}
}

func (h *saramaHandler) handle(
	session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage,
) {
	// Partitions are read by goroutines of their own; a session that ended must not mark more.
	h.lock.Lock()
	defer h.lock.Unlock()
	if session.Context().Err() != nil {
		return
	}
	wanted, last := h.progress.take(message.Topic, message.Partition, message.Offset)
	if wanted {
		headers := make([][2]octets, 0, len(message.Headers))
		for _, header := range message.Headers {
			headers = append(headers, [2]octets{append(octets{}, header.Key...), header.Value})
		}
		h.out.write(consumed{
			Topic:     message.Topic,
			Partition: message.Partition,
			Offset:    message.Offset,
			Timestamp: message.Timestamp.UnixMilli(),
			Key:       message.Key,
			Value:     message.Value,
			Headers:   headers,
		})
		session.MarkMessage(message, "")
	}
	if last {
		h.stop()
	}
}
