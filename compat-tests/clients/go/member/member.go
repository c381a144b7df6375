// Package member is what the Go programs share: the command line, the lines they print, the end of standard input.
package member

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Partitions of the topic: value i goes to partition i mod this.
const Partitions = 6

// Batch is the number of records after which a member commits.
const Batch = 200

// Arguments of both commands.
type Arguments struct {
	Bootstrap, Topic, Group, Name, Protocol, Assignor string
	First, Count                                      int
}

// Main reads the command line and runs one of the commands.
func Main(produce, consume func(Arguments) error) {
	if len(os.Args) < 2 {
		Fail(fmt.Errorf("usage: %s produce|consume --bootstrap HOST:PORT --topic T …", os.Args[0]))
	}
	var a Arguments
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&a.Bootstrap, "bootstrap", "", "HOST:PORT")
	flags.StringVar(&a.Topic, "topic", "", "topic")
	flags.IntVar(&a.First, "first", 0, "produce: the first value")
	flags.IntVar(&a.Count, "count", 0, "produce: how many")
	flags.StringVar(&a.Group, "group", "", "consume: the group")
	flags.StringVar(&a.Name, "name", "", "consume: the client id")
	flags.StringVar(&a.Protocol, "protocol", "classic", "consume: classic or consumer")
	flags.StringVar(&a.Assignor, "assignor", "eager", "consume: eager or cooperative")
	if err := flags.Parse(os.Args[2:]); err != nil {
		Fail(err)
	}
	command := map[string]func(Arguments) error{"produce": produce, "consume": consume}[os.Args[1]]
	if command == nil {
		Fail(fmt.Errorf("no command %q", os.Args[1]))
	}
	if err := command(a); err != nil {
		Fail(err)
	}
	if os.Args[1] == "produce" {
		fmt.Println("produced", a.Count)
	} else {
		fmt.Println("closed")
	}
}

// Fail ends the program.
func Fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Each calls f with every value to produce: its partition and its text.
func (a Arguments) Each(f func(partition int32, text []byte)) {
	for i := a.First; i < a.First+a.Count; i++ {
		f(int32(i%Partitions), []byte(strconv.Itoa(i)))
	}
}

// Stopped is closed once standard input has ended or said stop.
func Stopped() <-chan struct{} {
	stopped := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() && strings.TrimSpace(lines.Text()) != "stop" {
		}
		close(stopped)
	}()
	return stopped
}

// Progress is what this member owns, and what it was given and has not committed yet.
type Progress struct {
	mutex   sync.Mutex
	owned   map[int32]bool
	pending map[int32]int64
	count   int
}

// NewProgress owns nothing.
func NewProgress() *Progress {
	return &Progress{owned: map[int32]bool{}, pending: map[int32]int64{}}
}

// Assign says that it owns exactly these from now on; positions were fetched anew.
func (p *Progress) Assign(partitions []int32) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	clear(p.owned)
	clear(p.pending)
	p.count = 0
	for _, partition := range partitions {
		p.owned[partition] = true
	}
	p.sayOwned()
}

// Add says that it owns these too; the others go on where they are.
func (p *Progress) Add(partitions []int32) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, partition := range partitions {
		p.owned[partition] = true
	}
	p.sayOwned()
}

// Remove says that it does not own these any more.
func (p *Progress) Remove(partitions []int32) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, partition := range partitions {
		delete(p.owned, partition)
		delete(p.pending, partition)
	}
	p.sayOwned()
}

func (p *Progress) sayOwned() {
	var texts []string
	for _, partition := range slices.Sorted(maps.Keys(p.owned)) {
		texts = append(texts, strconv.Itoa(int(partition)))
	}
	fmt.Println("assigned", strings.Join(texts, ","))
}

// Record says that it was given a record. True when it is time to commit.
func (p *Progress) Record(partition int32, offset int64, value []byte) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	fmt.Printf("record %d %d %s\n", partition, offset, value)
	p.pending[partition] = offset + 1
	p.count++
	return p.count >= Batch
}

// Pending are the offsets to commit, by partition.
func (p *Progress) Pending() map[int32]int64 {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return maps.Clone(p.pending)
}

// Committed says that the broker acknowledged this.
func (p *Progress) Committed(partition int32, offset int64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	fmt.Printf("committed %d %d\n", partition, offset)
	if p.pending[partition] == offset {
		delete(p.pending, partition)
	}
	p.count = 0
}
