// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	// fetchBytes bounds what a broker sends at a time, and fetchPartitionBytes what of one partition; each is held in memory, perhaps ten times as
	// large when it is unpacked.
	fetchBytes, fetchPartitionBytes = 8 << 20, 1 << 20
	// fetchesAhead bounds how many of those wait for the source.
	fetchesAhead = 2
	// maxTopics bounds a list that is asked for as a whole.
	maxTopics = 1000
	// renewDelay after the start, and renewEvery after that, all entries of the cursor are set again, so that a channel does not
	// forget those of partitions into which nobody writes.
	renewDelay, renewEvery = 10 * time.Minute, 24 * time.Hour
)

// Values of start and on_missing.
const (
	oldest = "oldest"
	newest = "newest"
	stop   = "stop"
)

// source reads partitions, each from its position on.
type source struct {
	cluster   cluster
	topics    []string
	start     string
	onMissing string
	isolation kgo.IsolationLevel
	refresh   time.Duration
	group     group
	log       *slog.Logger

	missing, remade  sdk.Counter
	lag, partitioned sdk.Gauge

	client  *kgo.Client // nil: to be opened
	at      map[partition]*position
	known   map[string]bool // topics that have had a position: partitions that they get later are read from their beginning
	moved   map[partition]bool
	page    []*kgo.Record // that were fetched and are not emitted yet
	problem error         // what comes after them
	looked  time.Time     // when it was last asked which partitions there are
	renew   time.Time
	encode  recordReader
	emitted uint64 // batches
}

// New makes the source.
func New() sdk.Source { return new(source) }

type sourceConfig struct {
	clusterConfig
	Topics    []string      `json:"topics"`
	Start     string        `json:"start"`
	OnMissing string        `json:"on_missing"`
	Isolation string        `json:"isolation"`
	Refresh   time.Duration `json:"refresh"`
	Group     string        `json:"group"`
}

// Check implements [sdk.Checker].
func (s *source) Check(o *sdk.Open) error { return s.configure(o, false) }

func (s *source) configure(o *sdk.Open, read bool) error {
	cfg := sourceConfig{Start: oldest, OnMissing: stop, Isolation: "read_committed", Refresh: 30 * time.Second}
	err := o.Config(&cfg)
	if err != nil {
		return err
	}
	if s.cluster, err = cfg.cluster(read); err != nil {
		return err
	}
	switch {
	case len(cfg.Topics) == 0 || len(cfg.Topics) > maxTopics:
		return sdk.ConfigError("topics", "has %d entries, wanted 1 to %d: what to read, such as [\"orders\"]", len(cfg.Topics), maxTopics)
	case cfg.Start != oldest && cfg.Start != newest:
		return sdk.ConfigError("start", `is %q, wanted "oldest" or "newest"`, cfg.Start)
	case !slices.Contains([]string{stop, oldest, newest}, cfg.OnMissing):
		return sdk.ConfigError("on_missing", `is %q, wanted "stop", "oldest" or "newest"`, cfg.OnMissing)
	}
	for i, t := range cfg.Topics {
		if err := checkTopic("topics", t); err != nil {
			return err
		}
		if slices.Contains(cfg.Topics[:i], t) {
			return sdk.ConfigError("topics", "has %q twice", t)
		}
	}
	switch cfg.Isolation {
	case "read_committed":
		s.isolation = kgo.ReadCommitted()
	case "read_uncommitted":
		s.isolation = kgo.ReadUncommitted()
	default:
		return sdk.ConfigError("isolation", `is %q, wanted "read_committed" or "read_uncommitted"`, cfg.Isolation)
	}
	s.topics, s.start, s.onMissing, s.refresh, s.group.name = cfg.Topics, cfg.Start, cfg.OnMissing, cfg.Refresh, cfg.Group
	return nil
}

// Open implements [sdk.Source].
func (s *source) Open(o *sdk.Open) error {
	if err := s.configure(o, true); err != nil {
		return err
	}
	s.log = o.Log
	s.missing, s.remade = o.Counter("kafka_missing_offsets"), o.Counter("kafka_remade_topics")
	s.lag, s.partitioned = o.Gauge("kafka_lag"), o.Gauge("kafka_partitions")
	s.at, s.known, s.moved = map[partition]*position{}, map[string]bool{}, map[partition]bool{}
	for key, value := range o.Cursor {
		at, pos, err := parsePosition(key, value)
		if err != nil {
			return sdk.ConfigError("topics", "cannot go on: %w\ngive the source another name, which begins anew", err)
		}
		s.known[at.topic] = true
		if slices.Contains(s.topics, at.topic) {
			s.at[at] = pos
		}
	}
	s.renew = time.Now().Add(renewDelay)
	return s.connect()
}

// connect opens the client, and has it read every partition from its position on.
func (s *source) connect() error {
	client, err := s.cluster.client(
		kgo.FetchIsolationLevel(s.isolation), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchPartitionBytes), kgo.MaxConcurrentFetches(fetchesAhead),
	)
	if err != nil {
		return err
	}
	s.client, s.page, s.problem = client, nil, nil
	if err := s.discover(true); err != nil {
		s.drop()
		return err
	}
	return nil
}

// Close implements [sdk.Closer].
func (s *source) Close() error {
	if s.client != nil {
		s.group.commit(s.client, s.cluster, true)
	}
	s.drop()
	return nil
}

func (s *source) drop() {
	if s.client != nil {
		s.client.Close()
		s.client, s.page, s.problem = nil, nil, nil
	}
}

// Ack implements [sdk.Acker]: what is durable here may be told to those who look at the group.
func (s *source) Ack(seq uint64, err error) {
	if err == nil {
		s.group.durable(seq)
	}
}

// Idle implements [sdk.Idler].
func (s *source) Idle() error {
	if s.client != nil {
		if err := s.group.commit(s.client, s.cluster, false); err != nil {
			s.log.Warn("the consumer group is not told how far the source is; nothing depends on it", "group", s.group.name, "error", err)
		}
	}
	return nil
}

// Poll implements [sdk.Source].
func (s *source) Poll(p *sdk.Poll) error {
	if s.client == nil {
		if err := s.connect(); err != nil {
			return err
		}
	}
	if len(s.page) == 0 && s.problem != nil {
		err := s.problem
		s.problem = nil
		return s.overcome(err)
	}
	if len(s.page) == 0 && time.Since(s.looked) >= s.refresh {
		if err := s.discover(false); err != nil {
			s.drop()
			return err
		}
	}
	if len(s.page) == 0 && len(s.moved) == 0 {
		s.fetch(p)
	}
	return s.emit(p)
}

// fetch waits for records.
func (s *source) fetch(p *sdk.Poll) {
	ctx, cancel := context.WithTimeout(context.Background(), p.Timeout)
	defer cancel()
	fetches := s.client.PollRecords(ctx, p.MaxEvents)
	lag := int64(0)
	for _, f := range fetches {
		for i := range f.Topics {
			for j := range f.Topics[i].Partitions {
				s.take(&f.Topics[i], &f.Topics[i].Partitions[j])
			}
		}
	}
	for _, pos := range s.at {
		lag += max(0, pos.end-pos.next)
	}
	s.lag.Set(float64(lag))
}

// take looks at what came of one partition. What is wrong is looked into after the records that came before it.
func (s *source) take(t *kgo.FetchTopic, f *kgo.FetchPartition) {
	at := partition{t.Topic, f.Partition}
	pos := s.at[at]
	switch {
	case pos == nil && (f.Err == nil || errors.Is(f.Err, context.DeadlineExceeded) || errors.Is(f.Err, context.Canceled)):
		return // nothing came in time
	case pos == nil:
		s.problem = f.Err
		return
	case f.Err != nil:
		s.problem = &partitionError{at, f.Err}
	}
	pos.end = f.HighWatermark
	if len(f.Records) == 0 {
		return
	}
	if first := f.Records[0].Offset; first > pos.next && f.LogStartOffset > pos.next && s.problem == nil {
		s.problem = &partitionError{at, kerr.OffsetOutOfRange} // deleted since the last fetch
		return
	}
	s.page = append(s.page, f.Records...)
}

// partitionError is what is wrong with one partition.
type partitionError struct {
	partition partition
	err       error
}

func (e *partitionError) Error() string { return fmt.Sprintf("%v: %v", e.partition, e.err) }
func (e *partitionError) Unwrap() error { return e.err }

// overcome goes on after an error of a fetch, if that can be.
func (s *source) overcome(err error) error {
	if loss, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
		s.log.Error("the brokers have lost records that were read already, and others may stand in their place, which are read", "topic", loss.Topic, "partition", loss.Partition,
			"read_to", loss.ConsumedTo, "goes_on_at", loss.ResetTo)
		if pos := s.at[partition{loss.Topic, loss.Partition}]; pos != nil {
			pos.next = loss.ResetTo
		}
		return nil
	}
	s.drop() // whatever it is, it is looked into by opening anew
	if errors.Is(err, kerr.OffsetOutOfRange) || errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.InconsistentTopicID) {
		return nil
	}
	return s.cluster.explain("read", err)
}

// emit appends records, and sets the cursor to what comes after them.
func (s *source) emit(p *sdk.Poll) error {
	n := 0
	var at partition
	var pos *position // of it; records of one partition come together
	for ; n < len(s.page); n++ {
		r := s.page[n]
		if one := (partition{r.Topic, r.Partition}); pos == nil || one != at {
			at, pos = one, nil
		}
		if !r.Attrs.IsControl() {
			err := s.encode.append(p, r)
			if errors.Is(err, sdk.ErrFull) {
				break
			}
			if err != nil {
				if p.Len() > 0 {
					break // what comes before it goes out first
				}
				return &sdk.Error{Code: abi.EINVAL, Err: fmt.Errorf("the record %d of %v has %d bytes: %w\nmake the source's batch larger", r.Offset, at, len(r.Value), err)}
			}
		}
		if pos == nil {
			pos, s.moved[at] = s.at[at], true
		}
		pos.next, pos.epoch = r.Offset+1, r.LeaderEpoch
	}
	s.page = s.page[n:]
	if time.Now().After(s.renew) {
		s.renew = time.Now().Add(renewEvery)
		for at := range s.at {
			s.moved[at] = true
		}
	}
	return s.setCursor(p)
}

// setCursor sets the entries of the partitions that were moved.
func (s *source) setCursor(p *sdk.Poll) error {
	if len(s.moved) == 0 {
		return nil
	}
	s.emitted++
	for at := range s.moved {
		pos := s.at[at]
		if err := p.SetCursor(at.key(), pos.appendTo(nil)); err != nil {
			return err
		}
		s.group.read(s.emitted, at, *pos)
	}
	clear(s.moved)
	return nil
}
