// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// maxPieces bounds how often a delivery looks again at what is held of its range: each time somebody else has just committed a part of it.
const maxPieces = 8

// sink writes each delivery as a transaction.
type sink struct {
	producer
	ledger ledger
	state  string
	id     string // the transactional id
	create bool
	alone  bool // no other connection claims ranges of the stream
	held   sdk.Counter
}

// NewSink makes the sink with transactions.
func NewSink() sdk.Sink { return new(sink) }

type transactConfig struct {
	sinkConfig
	TransactionalID string `json:"transactional_id"`
	StateTopic      string `json:"state_topic"`
	Create          bool   `json:"create"`
}

// Check implements [sdk.Checker].
func (s *sink) Check(o *sdk.Open) error { return s.setup(o, false) }

func (s *sink) setup(o *sdk.Open, read bool) error {
	cfg := transactConfig{sinkConfig: sinkConfig{Compression: "lz4", MaxMessage: defaultMaxMessage}, TransactionalID: "penstock", StateTopic: "penstock_ranges"}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	if err := s.configure(&cfg.sinkConfig, read); err != nil {
		return err
	}
	if err := checkTopic("state_topic", cfg.StateTopic); err != nil {
		return err
	}
	switch {
	case cfg.StateTopic == cfg.Topic:
		return sdk.ConfigError("state_topic", "is %q, which is where the events go", cfg.Topic)
	case cfg.TransactionalID == "":
		return sdk.ConfigError("transactional_id", "is empty, wanted what the transactional ids begin with, such as \"penstock\"")
	}
	s.state, s.create = cfg.StateTopic, cfg.Create
	s.id = cfg.TransactionalID + "-" + o.Stream + "-" + strconv.Itoa(o.Instance.Index)
	return nil
}

// Open implements [sdk.Sink].
func (s *sink) Open(o *sdk.Open) error {
	s.start(o)
	s.held = o.Counter("kafka_held_already")
	if err := s.setup(o, true); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	for incarnation, spans := range s.ledger.held {
		id, err := strconv.ParseUint(incarnation, 16, 64)
		if err != nil {
			return sdk.ConfigError("state_topic", "the topic %q holds the incarnation %q, which is none: %w\nsee who else writes to it", s.state, incarnation, err)
		}
		for _, h := range spans {
			if err := o.Held(id, event.Range{First: h[0], Next: h[1]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// connect opens a client, ends the transaction that one before it has left open, whatever its state, and reads what is held.
func (s *sink) connect() (err error) {
	low := s.ledger.low
	s.ledger = newLedger(s.cluster, s.state, s.open.Stream)
	s.ledger.low, s.ledger.said = low, s.open.Log.Warn
	if err := s.producer.connect(kgo.TransactionalID(s.id), kgo.TransactionTimeout(2*s.cluster.timeout), kgo.FetchIsolationLevel(kgo.ReadUncommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NoResetOffset())); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.drop()
		}
	}()
	if err := s.ledger.check(s.client, s.create); err != nil {
		return err
	}
	ctx, cancel := s.cluster.within()
	defer cancel()
	if _, _, err := s.client.ProducerID(ctx); err != nil {
		return s.explain("end what was left under the transactional id "+s.id, err)
	}
	s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.state: {ledgerPartition: kgo.NoResetOffset().AtStart()}})
	mark, err := s.mark()
	if err != nil {
		return err
	}
	if err := s.ledger.readTo(ctx, s.client, mark.Offset); err != nil {
		return err
	}
	delete(s.ledger.pending, mark.ProducerID)
	if s.alone = s.open.Instance.Count <= 1 && len(s.ledger.pending) == 0; s.alone { // who else may claim something claims it before this opens
		s.client.PauseFetchTopics(s.state)
	}
	return nil
}

// mark writes a record at the end of the ledger, which is taken back, and answers it: all that this connection has ever written stands before it.
func (s *sink) mark() (*kgo.Record, error) {
	if err := s.client.BeginTransaction(); err != nil {
		return nil, s.explain("begin a transaction", err)
	}
	r, err := s.ledger.record(s.open.Instance.Index, "", event.Range{})
	if err != nil {
		return nil, err
	}
	if err := s.send([]*kgo.Record{r}).FirstErr(); err != nil {
		return nil, s.explain(fmt.Sprintf("write to the topic %q", s.state), err)
	}
	return r, s.abort()
}

// abort takes back what was written since the transaction began. Where that does not work the client is closed, and the next one does it.
func (s *sink) abort() error {
	if s.client == nil {
		return nil
	}
	ctx, cancel := s.cluster.within()
	defer cancel()
	if err := s.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		s.drop()
		return s.explain("abort a transaction", err)
	}
	return nil
}

// Close implements [sdk.Closer].
func (s *sink) Close() error {
	s.drop()
	return nil
}

// Prune implements [sdk.Pruner].
func (s *sink) Prune(low event.Offset) error {
	s.ledger.prune(low)
	return nil
}

// Write implements [sdk.Sink].
func (s *sink) Write(r event.Range, b event.Batch, d *sdk.Delivery) error {
	if s.client == nil {
		if err := s.connect(); err != nil {
			return err
		}
	}
	incarnation, ok := s.open.Incarnation(r.First)
	if !ok {
		return &sdk.Error{Code: abi.EINVAL, Err: fmt.Errorf("the range %v belongs to no incarnation that this sink was opened with", r)}
	}
	bad, err := s.writer.encode(b, d)
	if err != nil || bad > 0 {
		return s.reject(bad, err)
	}
	id := fmt.Sprintf("%016x", incarnation.ID)
	for range maxPieces {
		left := s.ledger.left(id, r)
		if len(left) == 0 {
			s.held.Add(1)
			return nil
		}
		done, err := s.try(id, r, left, d)
		if err != nil || done {
			return err
		}
	}
	return sdk.Retry(fmt.Errorf("again and again somebody else has just delivered a part of the range %v\nit is tried again", r), 0)
}

// reject says that nothing was applied, because of events that have been listed.
func (s *sink) reject(n int, err error) error {
	if err != nil {
		return err
	}
	s.rejected.Add(float64(n))
	return sdk.Reject(fmt.Errorf("%d events cannot be written to the topic %q", n, s.writer.topic))
}

// try is one transaction, for what is left of the delivery's range. It is not done where somebody else has just committed a part of that.
func (s *sink) try(id string, r event.Range, left []event.Range, d *sdk.Delivery) (done bool, err error) {
	claimed, err := s.ledger.record(s.open.Instance.Index, id, r)
	if err != nil {
		return false, err
	}
	if err := s.client.BeginTransaction(); err != nil {
		s.drop()
		return false, s.explain("begin a transaction", err)
	}
	all := append(make([]*kgo.Record, 0, len(s.writer.records)+1), claimed)
	for _, l := range left {
		from, _ := slices.BinarySearch(s.writer.offsets, l.First)
		to, _ := slices.BinarySearch(s.writer.offsets, l.Next)
		all = append(all, pointers(s.writer.records[from:to])...)
	}
	other, refused := sort(s.send(all))
	switch {
	case other != nil:
		s.drop() // the next client aborts it
		return false, s.explain(fmt.Sprintf("write to the topic %q", s.writer.topic), other)
	case len(refused) > 0:
		return false, s.refused(all, refused, d)
	}
	free, err := s.await(id, r, left, claimed.Offset)
	if err != nil || !free {
		return false, errors.Join(err, s.abort())
	}
	if err := s.commit(id, r); err != nil {
		return false, err
	}
	s.written.Add(float64(len(all) - 1))
	return true, nil
}

// refused is what becomes of a delivery in which the broker refuses something for what is in it: it comes again in halves, down to the event.
func (s *sink) refused(all []*kgo.Record, refused map[*kgo.Record]bool, d *sdk.Delivery) error {
	if err := s.abort(); err != nil {
		return err
	}
	err := fmt.Errorf("the broker refuses an event of %d for what is in it (larger than max.message.bytes of the topic, no key where it is compacted, or a time that it does not take)", len(all)-1)
	switch {
	case refused[all[0]]:
		return sdk.ConfigError("state_topic", "the topic %q does not take a record of what is delivered: see its settings", s.state)
	case len(s.writer.records) > 1:
		return &sdk.Error{Code: abi.ETOOBIG, Err: err}
	}
	if err := d.Reject(0, err); err != nil {
		return err
	}
	return s.reject(1, nil)
}

// await reads the ledger up to the claim of a range, and on until every earlier claim of a part of it is decided. It says whether what was left is still left.
func (s *sink) await(id string, r event.Range, left []event.Range, at int64) (bool, error) {
	if s.alone {
		return true, nil
	}
	ctx, cancel := s.cluster.within()
	defer cancel()
	if err := s.ledger.readTo(ctx, s.client, at); err != nil {
		return false, err
	}
	for s.ledger.contested(id, r, at) {
		if err := s.ledger.readSome(ctx, s.client); err != nil {
			if ctx.Err() == nil {
				return false, err
			}
			return false, sdk.Retry(fmt.Errorf("another connection of this sink has a part of the range %v, and nobody knows yet whether that is committed: it is waited for", r), 0)
		}
	}
	return slices.Equal(s.ledger.left(id, r), left), nil
}

// commit ends the transaction. When nobody knows whether it was committed, a new client finds out: opening it ends the transaction one way or the other.
func (s *sink) commit(id string, r event.Range) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cluster.timeout)
	defer cancel()
	err := s.client.EndTransaction(ctx, kgo.TryCommit)
	if err == nil {
		s.ledger.add(id, span{r.First, r.Next})
		return nil
	}
	s.drop()
	if problem := s.connect(); problem != nil {
		return problem // and so nobody knows: it comes again, and is looked for then
	}
	if len(s.ledger.left(id, r)) == 0 {
		return nil
	}
	if errors.Is(err, kerr.TransactionAbortable) {
		return sdk.Retry(fmt.Errorf("the brokers have aborted the transaction: %w\nit is tried again", err), 0)
	}
	return s.explain("commit a transaction", err)
}
