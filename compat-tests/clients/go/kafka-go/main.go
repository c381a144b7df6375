// segmentio's kafka-go: eager rebalances, by its ConsumerGroup, which its Reader is built on and which tells what is assigned.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"clients/member"

	"github.com/segmentio/kafka-go"
)

var logger = log.New(os.Stderr, "", log.Lmicroseconds)

func main() {
	member.Main(produce, consume)
}

func produce(a member.Arguments) error {
	writer := &kafka.Writer{
		Addr:         kafka.TCP(a.Bootstrap),
		Topic:        a.Topic,
		RequiredAcks: kafka.RequireAll,
		BatchTimeout: 10 * time.Millisecond,
		Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int {
			i, _ := strconv.Atoi(string(message.Key))
			return i % member.Partitions
		}),
		ErrorLogger: logger,
	}
	var messages []kafka.Message
	a.Each(func(_ int32, text []byte) {
		messages = append(messages, kafka.Message{Key: text, Value: text})
	})
	return errors.Join(writer.WriteMessages(context.Background(), messages...), writer.Close())
}

func consume(a member.Arguments) error {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                a.Group,
		Brokers:           []string{a.Bootstrap},
		Topics:            []string{a.Topic},
		Dialer:            &kafka.Dialer{ClientID: a.Name, Timeout: 10 * time.Second},
		SessionTimeout:    6 * time.Second,
		HeartbeatInterval: time.Second,
		RebalanceTimeout:  10 * time.Second,
		JoinGroupBackoff:  time.Second,
		StartOffset:       kafka.FirstOffset,
		Logger:            logger,
		ErrorLogger:       logger,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-member.Stopped()
		cancel()
	}()
	progress := member.NewProgress()
	for {
		generation, err := group.Next(ctx)
		if ctx.Err() != nil {
			return group.Close()
		}
		if err != nil {
			logger.Println("next generation:", err)
			continue
		}
		begin(a, generation, progress)
	}
}

// begin reads each partition in a goroutine of its own until the generation ends; the last to end has committed for all.
func begin(a member.Arguments, generation *kafka.Generation, progress *member.Progress) {
	assignments := generation.Assignments[a.Topic]
	var partitions []int32
	for _, assignment := range assignments {
		partitions = append(partitions, int32(assignment.ID))
	}
	progress.Assign(partitions)
	var running atomic.Int32
	running.Store(int32(len(assignments)))
	for _, assignment := range assignments {
		generation.Start(func(ctx context.Context) {
			read(ctx, a, generation, assignment, progress)
			if running.Add(-1) == 0 {
				progress.Assign(nil)
			}
		})
	}
}

func read(ctx context.Context, a member.Arguments, generation *kafka.Generation, assignment kafka.PartitionAssignment, progress *member.Progress) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:     []string{a.Bootstrap},
		Topic:       a.Topic,
		Partition:   assignment.ID,
		MaxWait:     500 * time.Millisecond,
		ErrorLogger: logger,
	})
	defer reader.Close()
	if err := reader.SetOffset(assignment.Offset); err != nil {
		logger.Println("set offset:", err)
	}
	partition, committed := int32(assignment.ID), assignment.Offset
	position := committed
	for ctx.Err() == nil {
		wait, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		message, err := reader.ReadMessage(wait)
		idle := wait.Err() != nil
		cancel()
		switch {
		case err == nil:
			progress.Record(partition, message.Offset, message.Value)
			position = message.Offset + 1
		case !idle:
			logger.Println("read:", err)
		}
		if (idle && position > committed) || position-committed >= member.Batch {
			committed = commit(generation, a.Topic, partition, position, committed, progress)
		}
	}
	if position > committed {
		commit(generation, a.Topic, partition, position, committed, progress)
	}
}

// commit returns what is committed now.
func commit(generation *kafka.Generation, topic string, partition int32, position, committed int64, progress *member.Progress) int64 {
	err := generation.CommitOffsets(map[string]map[int]int64{topic: {int(partition): position}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "commit:", partition, err)
		return committed
	}
	progress.Committed(partition, position)
	return position
}
