// franz-go: produce, consume; classic, KIP-848 and share groups.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func (o options) connection() ([]kgo.Opt, error) {
	settings := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(o["bootstrap"], ",")...),
	}
	if id, given := o["client-id"]; given {
		settings = append(settings, kgo.ClientID(id))
	}
	var mechanism sasl.Mechanism
	switch o["mechanism"] {
	case "PLAIN":
		mechanism = plain.Auth{User: o["username"], Pass: o["password"]}.AsMechanism()
	case "SCRAM-SHA-256":
		mechanism = scram.Auth{User: o["username"], Pass: o["password"]}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		mechanism = scram.Auth{User: o["username"], Pass: o["password"]}.AsSha512Mechanism()
	}
	if mechanism != nil {
		settings = append(settings, kgo.SASL(mechanism))
	}
	if !strings.HasSuffix(o["security"], "ssl") {
		return settings, nil
	}
	pem, err := os.ReadFile(o["ca"])
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(pem)
	if o["cert"] != "" {
		certificate, err := tls.LoadX509KeyPair(o["cert"], o["key"])
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return append(settings, kgo.DialTLSConfig(config)), nil
}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func franzRecords(o options) ([]*kgo.Record, error) {
	lines, err := read(o)
	var records []*kgo.Record
	for _, line := range lines {
		record := &kgo.Record{Topic: o["topic"], Key: line.Key, Value: line.Value}
		if line.Partition != nil {
			record.Partition = *line.Partition
		}
		if line.Timestamp != nil {
			record.Timestamp = time.UnixMilli(*line.Timestamp)
		}
		for _, header := range line.Headers {
			header := kgo.RecordHeader{Key: string(header[0]), Value: header[1]}
			record.Headers = append(record.Headers, header)
		}
		records = append(records, record)
	}
	return records, err
}

func produce(ctx context.Context, o options) error {
	settings, err := o.connection()
	if err != nil {
		return err
	}
	settings = append(settings,
		kgo.ProducerBatchCompression(codecs[o.get("codec", "none")]),
		kgo.ProducerLinger(time.Duration(o.number("linger", 5))*time.Millisecond),
		kgo.ProducerBatchMaxBytes(int32(o.number("batch-size", 1_000_000))),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	transactional := o["transactional"] != ""
	if transactional {
		settings = append(settings, kgo.TransactionalID(o["transactional"]))
	} else if o["idempotent"] != "true" {
		levels := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
		settings = append(settings,
			kgo.DisableIdempotentWrite(),
			kgo.RequiredAcks(levels[o.get("acks", "all")]),
			kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	records, err := franzRecords(o)
	if err != nil {
		return err
	}
	out, err := open(o)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return err
	}
	defer client.Close()
	if transactional {
		return transactions(ctx, client, records, out, o)
	}
	failed := make(chan error, len(records))
	for index, record := range records {
		flush := func() error { return client.Flush(ctx) }
		if err := o.waitAtGate(index, flush); err != nil {
			return err
		}
		client.Produce(ctx, record, func(record *kgo.Record, err error) {
			if err == nil {
				out.write(place(index, record))
			}
			failed <- err
		})
		o.pace()
	}
	for range records {
		err = errors.Join(err, <-failed)
	}
	return err
}

func transactions(
	ctx context.Context, client *kgo.Client, records []*kgo.Record, out *output, o options,
) error {
	size, abortEvery := o.number("transaction-size", 10), o.number("abort-every", 0)
	for begin, number := 0, 1; begin < len(records); begin, number = begin+size, number+1 {
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		sent := records[begin:min(begin+size, len(records))]
		if err := client.ProduceSync(ctx, sent...).FirstErr(); err != nil {
			return err
		}
		committed := abortEvery == 0 || number%abortEvery != 0
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(committed)); err != nil {
			return err
		}
		for at, record := range sent {
			line := place(begin+at, record)
			line.Committed = &committed
			out.write(line)
		}
	}
	return nil
}

func place(index int, record *kgo.Record) acknowledged {
	return acknowledged{
		Index:     index,
		Topic:     record.Topic,
		Partition: record.Partition,
		Offset:    record.Offset,
	}
}

func consume(ctx context.Context, o options) error {
	settings, err := o.connection()
	if err != nil {
		return err
	}
	out, err := open(o)
	if err != nil {
		return err
	}
	settings = append(settings, kgo.ConsumeTopics(strings.Split(o["topics"], ",")...),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMaxAge(time.Duration(o.number("metadata-age", 300_000))*time.Millisecond),
		kgo.MetadataMinAge(100*time.Millisecond))
	if o["isolation"] == "read_committed" {
		settings = append(settings, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	ctx, cancel := o.deadline(ctx)
	defer cancel()
	switch {
	case o["protocol"] == "share":
		return share(ctx, settings, out, o)
	case o["group"] == "":
		return group(ctx, settings, out, o)
	case o["protocol"] == "consumer":
		settings = append(settings, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	}
	// Handled records are committed before the partition moves, so that none is read twice.
	commit := func(ctx context.Context, client *kgo.Client, _ map[string][]int32) {
		if err := client.CommitMarkedOffsets(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	settings = append(settings,
		kgo.ConsumerGroup(o["group"]),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Hour),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(commit))
	return group(ctx, settings, out, o)
}

func group(ctx context.Context, settings []kgo.Opt, out *output, o options) error {
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	progress, count := newProgress(o), o.number("count", 1<<60)
	for last := count == 0; !last && ctx.Err() == nil; {
		fetches := client.PollRecords(ctx, min(50, progress.left))
		fetches.EachError(func(topic string, partition int32, err error) {
			fmt.Fprintln(os.Stderr, topic, partition, err)
		})
		fetches.EachRecord(func(record *kgo.Record) {
			out.write(line(record))
			client.MarkCommitRecords(record)
			_, last = progress.take(record.Topic, record.Partition, record.Offset)
		})
		client.AllowRebalance()
	}
	if o["group"] == "" {
		return nil
	}
	return client.CommitMarkedOffsets(context.Background())
}

func share(ctx context.Context, settings []kgo.Opt, out *output, o options) error {
	client, err := kgo.NewClient(append(settings, kgo.ShareGroup(o["group"]))...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := readFromTheBeginning(ctx, o); err != nil {
		return err
	}
	count, releaseEvery := o.number("count", 1<<60), int64(o.number("release-every", 0))
	for accepted := 0; accepted < count && ctx.Err() == nil; {
		client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
			answer := kgo.AckAccept
			again := releaseEvery > 0 && record.Offset%releaseEvery == 0 && record.DeliveryCount() == 1
			if again {
				answer = kgo.AckRelease
			} else {
				accepted++
			}
			written := line(record)
			written.DeliveryCount, written.Released = record.DeliveryCount(), again
			out.write(written)
			record.Ack(answer)
		})
		if err := client.FlushAcks(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Share groups begin at the end of a topic by default (KIP-932); this sets the beginning.
func readFromTheBeginning(ctx context.Context, o options) error {
	settings, err := o.connection()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return err
	}
	defer client.Close()
	earliest := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	earliest.Name, earliest.Value = "share.auto.offset.reset", kmsg.StringPtr("earliest")
	group := kmsg.NewIncrementalAlterConfigsRequestResource()
	group.ResourceType, group.ResourceName = kmsg.ConfigResourceTypeGroupConfig, o["group"]
	group.Configs = append(group.Configs, earliest)
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.Resources = append(request.Resources, group)
	answer, err := request.RequestWith(ctx, client)
	if err == nil && answer.Resources[0].ErrorCode != 0 {
		code := answer.Resources[0].ErrorCode
		err = fmt.Errorf("broker rejected the configuration of group %s: error %d", o["group"], code)
	}
	return err
}

func line(record *kgo.Record) consumed {
	names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}
	headers := make([][2]octets, 0, len(record.Headers))
	for _, header := range record.Headers {
		headers = append(headers, [2]octets{append(octets{}, header.Key...), header.Value})
	}
	return consumed{
		Topic:     record.Topic,
		Partition: record.Partition,
		Offset:    record.Offset,
		Timestamp: record.Timestamp.UnixMilli(),
		Key:       record.Key,
		Value:     record.Value,
		Headers:   headers,
		Codec:     names[record.Attrs.CompressionType()],
	}
}
