// franz-go: all three ways of rebalancing.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"clients/member"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	member.Main(produce, consume)
}

func client(a member.Arguments, options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options,
		kgo.SeedBrokers(a.Bootstrap),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelInfo, func() string {
			return time.Now().Format("15:04:05.000 ")
		})))...)
}

func produce(a member.Arguments) error {
	cl, err := client(a, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var records []*kgo.Record
	a.Each(func(partition int32, text []byte) {
		records = append(records, &kgo.Record{Topic: a.Topic, Partition: partition, Key: text, Value: text})
	})
	return cl.ProduceSync(ctx, records...).FirstErr()
}

func balancing(a member.Arguments) []kgo.Opt {
	switch {
	case a.Protocol == "consumer":
		return []kgo.Opt{kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())}
	case a.Assignor == "cooperative":
		return []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}
	default:
		return []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}
	}
}

func consume(a member.Arguments) error {
	progress := member.NewProgress()
	commit := func(cl *kgo.Client) { commit(cl, a.Topic, progress) }
	cl, err := client(a, append(balancing(a),
		kgo.ClientID(a.Name),
		kgo.ConsumerGroup(a.Group),
		kgo.ConsumeTopics(a.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.RebalanceTimeout(10*time.Second),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			progress.Add(assigned[a.Topic])
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, cl *kgo.Client, revoked map[string][]int32) {
			commit(cl)
			progress.Remove(revoked[a.Topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			progress.Remove(lost[a.Topic])
		}))...)
	if err != nil {
		return err
	}
	for stopped := member.Stopped(); ; {
		select {
		case <-stopped:
			commit(cl)
			cl.CloseAllowingRebalance()
			return nil
		default:
		}
		poll(cl, progress)
		commit(cl)
		cl.AllowRebalance()
	}
}

// poll waits a little, so that the end of standard input is noticed.
func poll(cl *kgo.Client, progress *member.Progress) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	fetches := cl.PollRecords(ctx, member.Batch)
	fetches.EachRecord(func(record *kgo.Record) {
		progress.Record(record.Partition, record.Offset, record.Value)
	})
	fetches.EachError(func(_ string, partition int32, err error) {
		if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "poll:", partition, err)
		}
	})
}

func commit(cl *kgo.Client, topic string, progress *member.Progress) {
	offsets := map[int32]kgo.EpochOffset{}
	for partition, offset := range progress.Pending() {
		offsets[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "commit:", err)
			return
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					fmt.Fprintln(os.Stderr, "commit:", p.Partition, err)
					continue
				}
				progress.Committed(p.Partition, offsets[p.Partition].Offset)
			}
		}
	}
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: offsets}, done)
}
