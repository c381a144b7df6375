// sarama: eager rebalances, range.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"clients/member"

	"github.com/IBM/sarama"
)

func main() {
	sarama.Logger = log.New(os.Stderr, "", log.Lmicroseconds)
	member.Main(produce, consume)
}

func produce(a member.Arguments) error {
	config := sarama.NewConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer([]string{a.Bootstrap}, config)
	if err != nil {
		return err
	}
	var messages []*sarama.ProducerMessage
	a.Each(func(partition int32, text []byte) {
		value := sarama.ByteEncoder(text)
		messages = append(messages, &sarama.ProducerMessage{Topic: a.Topic, Partition: partition, Key: value, Value: value})
	})
	return errors.Join(producer.SendMessages(messages), producer.Close())
}

func consume(a member.Arguments) error {
	config := sarama.NewConfig()
	config.ClientID = a.Name
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = time.Second
	config.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	client, err := sarama.NewClient([]string{a.Bootstrap}, config)
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return err
	}
	group, err := sarama.NewConsumerGroupFromClient(a.Group, client)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-member.Stopped()
		cancel()
	}()
	handler := &handler{Arguments: a, admin: admin, progress: member.NewProgress()}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{a.Topic}, handler); err != nil {
			fmt.Fprintln(os.Stderr, "consume:", err)
		}
	}
	if err := group.Close(); err != nil {
		return err
	}
	return client.Close()
}

// handler lives through all sessions of one member. Each partition is read by a goroutine of its own.
type handler struct {
	member.Arguments
	admin    sarama.ClusterAdmin
	progress *member.Progress
	commits  sync.Mutex
}

func (h *handler) Setup(session sarama.ConsumerGroupSession) error {
	h.progress.Assign(session.Claims()[h.Topic])
	return nil
}

// Cleanup comes after all partitions have been let go of, and before the group is joined again.
func (h *handler) Cleanup(session sarama.ConsumerGroupSession) error {
	h.commit(session)
	h.progress.Assign(nil)
	return nil
}

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-session.Context().Done():
			return nil
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			due := h.progress.Record(message.Partition, message.Offset, message.Value)
			session.MarkMessage(message, "")
			if due {
				h.commit(session)
			}
		case <-time.After(100 * time.Millisecond):
			h.commit(session)
		}
	}
}

// commit asks the broker for what is committed, because the library does not tell whether it worked.
func (h *handler) commit(session sarama.ConsumerGroupSession) {
	h.commits.Lock()
	defer h.commits.Unlock()
	pending := h.progress.Pending()
	if len(pending) == 0 {
		return
	}
	session.Commit()
	var partitions []int32
	for partition := range pending {
		partitions = append(partitions, partition)
	}
	answer, err := h.admin.ListConsumerGroupOffsets(h.Group, map[string][]int32{h.Topic: partitions})
	if err != nil {
		fmt.Fprintln(os.Stderr, "committed offsets:", err)
		return
	}
	for partition, offset := range pending {
		if block := answer.GetBlock(h.Topic, partition); block != nil && block.Err == sarama.ErrNoError && block.Offset >= offset {
			h.progress.Committed(partition, offset)
		}
	}
}
