// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/spec/event"
)

// What is next is told as "[first,next)#attempt".
func nextOf(l *Ledger, end event.Offset) string {
	r, attempt := l.Next(end)
	return fmt.Sprintf("%v#%d", r, attempt)
}

func TestALedgerSaysWhatIsNext(t *testing.T) {
	for _, c := range []struct {
		says string
		do   func(*Ledger)
		want string
	}{
		{"everything, at first", func(l *Ledger) {}, "[0,100)#1"},
		{"what follows the lease", func(l *Ledger) { l.Lease(span(0, 10)) }, "[10,100)#1"},
		{"what was rolled back, once more", func(l *Ledger) { l.Lease(span(0, 10)); l.Rollback(span(0, 10), 1) }, "[0,10)#2"},
		{"the older of two that were rolled back", func(l *Ledger) {
			l.Lease(span(0, 10))
			l.Lease(span(10, 20))
			l.Lease(span(20, 30))
			l.Rollback(span(20, 30), 1)
			l.Rollback(span(0, 10), 1)
		}, "[0,10)#2"},
		{"neighbours as one", func(l *Ledger) {
			l.Lease(span(0, 10))
			l.Lease(span(10, 20))
			l.Lease(span(20, 30))
			l.Rollback(span(20, 30), 1)
			l.Rollback(span(0, 10), 1)
			l.Rollback(span(10, 20), 1)
		}, "[0,30)#2"},
		{"neighbours apart when one was tried more often", func(l *Ledger) {
			l.Lease(span(0, 20))
			l.Rollback(span(0, 20), 1)
			l.Lease(span(0, 10))
			l.Rollback(span(0, 10), 2)
		}, "[0,10)#3"},
		{"the rest of what was rolled back", func(l *Ledger) {
			l.Lease(span(0, 20))
			l.Rollback(span(0, 20), 1)
			l.Lease(span(0, 5))
		}, "[5,20)#2"},
		{"nothing that is finished", func(l *Ledger) { l.Finish(100, span(0, 10), span(20, 30)) }, "[10,20)#1"},
		{"nothing rolled back that is finished", func(l *Ledger) {
			l.Lease(span(0, 30))
			l.Rollback(span(0, 30), 1)
			l.Finish(100, span(0, 5), span(10, 20))
		}, "[5,10)#2"},
		{"nothing beyond the end", func(l *Ledger) { l.Finish(100, span(90, 200)); l.Lease(span(0, 90)) }, "[0,0)#1"},
	} {
		t.Run(c.says, func(t *testing.T) {
			l := NewLedger(0)
			c.do(l)
			if got := nextOf(l, 100); got != c.want {
				t.Errorf("next is %s, want %s", got, c.want)
			}
		})
	}
}

func TestWhatIsLeasedCannotBeFinished(t *testing.T) {
	l := NewLedger(0)
	l.Lease(span(0, 10))
	if err := l.Finish(100, span(5, 20)); err != nil {
		t.Fatal(err)
	}
	if l.Low() != 0 || l.Waiting(100) != 90 {
		t.Errorf("low %d, waiting %d", l.Low(), l.Waiting(100))
	}
	l.Rollback(span(0, 10), 1)
	if got := nextOf(l, 100); got != "[0,10)#2" {
		t.Errorf("next is %s", got)
	}
}

func TestALedgerLeasesNothingElseThanWhatIsNext(t *testing.T) {
	for _, r := range []event.Range{span(5, 10), span(0, 11)} {
		l := NewLedger(0)
		l.Lease(span(0, 10))
		l.Lease(span(10, 20))
		l.Rollback(span(0, 10), 1)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was leased, and [0,10) is next", r)
				}
			}()
			l.Lease(r)
		}()
	}
}

func TestALedgerBoundsWhatADestinationSays(t *testing.T) {
	l := NewLedger(0)
	var err error
	for i := event.Offset(1); err == nil && i < 3*MaxFinished; i += 2 {
		err = l.Finish(1<<20, span(i, i+1))
	}
	if !errors.Is(err, ErrLimit) || l.Separate() != MaxFinished {
		t.Errorf("%v with %d ranges", err, l.Separate())
	}
}

// Each offset of the model is in one state; attempts counts how often it was rolled back.
type ledgerModel struct {
	held     uint64 // how many D are from a finish
	t        *rapid.T
	l        *Ledger
	end      event.Offset
	state    [universe]byte // ' ' not handed out, 'L' leased, 'B' rolled back, 'D' done, 'G' given up, 'X' leased and given up
	attempts [universe]int
	leases   []returned
}

func TestALedgerKeepsEveryOffsetInOneState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &ledgerModel{l: NewLedger(0), end: universe / 2}
		for i := range m.state {
			m.state[i] = ' '
		}
		t.Repeat(map[string]func(*rapid.T){
			"grow":     func(t *rapid.T) { m.end = event.Offset(rapid.IntRange(int(m.end), universe).Draw(t, "end")) },
			"lease":    m.lease,
			"commit":   func(t *rapid.T) { m.finishLease(t, true) },
			"rollback": func(t *rapid.T) { m.finishLease(t, false) },
			"finish":   m.finish,
			"drop":     m.drop,
			"":         m.check,
		})
	})
}

// lease takes a part of what is next, which must be what the model says.
func (m *ledgerModel) lease(t *rapid.T) {
	r, attempt := m.l.Next(m.end)
	want := slices.Index(m.state[:m.end], 'B')
	if want < 0 {
		want = slices.Index(m.state[:m.end], ' ')
	}
	if want < 0 != r.Empty() || want >= 0 && r.First != event.Offset(want) {
		t.Fatalf("next is %v, the model %q has %d", r, m.state, want)
	}
	if r.Empty() {
		t.Skip("nothing is next")
	}
	r.Next = event.Offset(rapid.IntRange(int(r.First)+1, int(r.Next)).Draw(t, "next"))
	was := m.state[r.First]
	for o := r.First; o < r.Next; o++ {
		if m.state[o] != was || m.attempts[o]+1 != attempt {
			t.Fatalf("%v as attempt %d, the model has %q %v", r, attempt, m.state, m.attempts)
		}
		m.state[o] = 'L'
	}
	m.l.Lease(r)
	m.leases = append(m.leases, returned{r, attempt})
}

func (m *ledgerModel) finishLease(t *rapid.T, commit bool) {
	if len(m.leases) == 0 {
		t.Skip("no lease")
	}
	i := rapid.IntRange(0, len(m.leases)-1).Draw(t, "lease")
	lease := m.leases[i]
	m.leases = slices.Delete(m.leases, i, i+1)
	dropped := uint64(0)
	for o := lease.First; o < lease.Next; o++ {
		switch {
		case commit:
			m.state[o] = 'D'
		case m.state[o] == 'X':
			m.state[o] = 'G'
			dropped++
		default:
			m.state[o] = 'B'
			m.attempts[o]++
		}
	}
	if commit {
		m.l.Commit(lease.Range, lease.Range.Len())
	} else if got := m.l.Rollback(lease.Range, lease.attempt); got != dropped {
		t.Fatalf("%d were dropped of %v, want %d", got, lease.Range, dropped)
	}
}

func (m *ledgerModel) drop(t *rapid.T) {
	r := drawRange(t)
	r.Next = min(r.Next, m.end)
	dropped := uint64(0)
	for o := r.First; o < r.Next; o++ {
		switch m.state[o] {
		case 'L':
			m.state[o] = 'X'
		case ' ', 'B':
			m.state[o] = 'G'
			dropped++
		}
	}
	if got := m.l.Drop(r, LostOldest); got != dropped {
		t.Fatalf("%d were dropped of %v, want %d", got, r, dropped)
	}
}

func (m *ledgerModel) finish(t *rapid.T) {
	r := drawRange(t)
	if err := m.l.Finish(m.end, r); err != nil {
		t.Fatal(err)
	}
	for o := r.First; o < min(r.Next, m.end); o++ {
		if s := &m.state[o]; *s == ' ' || *s == 'B' {
			*s = 'D'
			m.held++
		}
	}
}

func (m *ledgerModel) check(t *rapid.T) {
	count := map[byte]uint64{}
	for _, s := range m.state {
		count[s]++
	}
	low := event.Offset(0)
	for low < m.end && (m.state[low] == 'D' || m.state[low] == 'G' || m.state[low] == 'X') {
		low++
	}
	done, leased := count['D']+count['G'], count['L']+count['X']
	if m.l.Low() != low || m.l.Waiting(m.end) != uint64(m.end)-done || m.l.Leased() != leased {
		t.Fatalf("low %d waiting %d leased %d, the model %q has low %d, %d done", m.l.Low(), m.l.Waiting(m.end), m.l.Leased(), m.state, low, done)
	}
	if got, want := m.l.Tally(), (Tally{Committed: count['D'], Held: m.held, Dropped: count['G']}); got != want {
		t.Fatalf("counted %+v, the model %q has %+v", got, m.state, want)
	}
	for r := range m.l.Finished() {
		if r.First <= low {
			t.Fatalf("finished %v at or below the low mark %d", r, low)
		}
	}
}

func TestALedgerNeverHasMoreSeparateRangesThanItsBound(t *testing.T) {
	const end = 4 * MaxFinished
	l := NewLedger(0)
	var held []event.Range
	for i := 0; !l.Full(); i++ {
		r, _ := l.Next(end)
		r.Next = r.First + 1
		l.Lease(r)
		if held = append(held, r); i%4 == 1 {
			l.Commit(r, r.Len())
			held = held[:len(held)-1]
		}
	}
	if l.Cover(span(end-2, end-1)) || l.Finish(end, span(end-2, end-1)) == nil {
		t.Error("it took a range that leases which are out may need")
	}
	if before := l.Tally(); l.Pass(span(end-2, end-1)) || l.Tally() != before {
		t.Error("it counts as passed what it could not take")
	}
	for i := 0; i < len(held); i += 2 { // the worst order
		l.Commit(held[i], held[i].Len())
	}
	if n := l.Separate(); n > MaxFinished || n < MaxFinished/4 {
		t.Errorf("%d ranges", n)
	}
	for i := 1; i < len(held); i += 2 {
		l.Commit(held[i], held[i].Len())
	}
	if l.Separate() != 0 || l.Full() || l.Low() != held[len(held)-1].Next {
		t.Errorf("in the end %d ranges, low %d", l.Separate(), l.Low())
	}
}

func TestAtTheBoundTheOnlyLeaseIsTheOneThatMakesRoom(t *testing.T) {
	l := NewLedger(0)
	for i := event.Offset(1); l.Separate() < MaxFinished; i += 2 {
		if !l.Cover(span(i, i+1)) {
			t.Fatal(i)
		}
	}
	r, _ := l.Next(1 << 20)
	if l.Full() || r != span(0, 1) {
		t.Fatalf("full: %v, next %v", l.Full(), r)
	}
	l.Lease(r)
	if !l.Full() || l.Cover(span(1<<19, 1<<19+1)) || !l.Cover(span(4, 5)) {
		t.Error("with that lease out, nothing that is apart may be added")
	}
	l.Commit(r, r.Len())
	if l.Full() || l.Low() != 2 {
		t.Errorf("full: %v, low %d", l.Full(), l.Low())
	}
}

func TestWhatIsCoveredIsNotNextThoughItWasRolledBack(t *testing.T) {
	l := NewLedger(0)
	l.Lease(span(0, 10))
	l.Rollback(span(0, 10), 1)
	l.Cover(span(0, 5))
	if got := nextOf(l, 100); got != "[5,10)#2" {
		t.Errorf("next is %s", got)
	}
}

func TestWhatIsCommittedBehindTheEndOfAReaderDoesNotCountAsWaitingLess(t *testing.T) {
	l := NewLedger(10)
	l.Cover(event.Range{First: 20, Next: 1 << 32}) // an opening skipped it
	for end, want := range map[event.Offset]uint64{5: 0, 10: 0, 15: 5, 20: 10, 1 << 32: 10, 1<<32 + 1: 11} {
		if got := l.Waiting(end); got != want {
			t.Errorf("before %d there wait %d, not %d", end, got, want)
		}
	}
}

func TestWhatIsPickedInTooManyPlacesIsNotAdmitted(t *testing.T) {
	l := NewLedger(0)
	var apart []event.Range
	for i := range event.Offset(MaxFinished + 1) {
		apart = append(apart, event.Range{First: 2*i + 1, Next: 2*i + 2})
	}
	if err := l.Admits(apart[:MaxFinished]...); err != nil {
		t.Error(err)
	}
	if err := l.Admits(apart...); !errors.Is(err, ErrLimit) {
		t.Errorf("%d places: %v", len(apart), err)
	}
}

func TestALedgerWithSharesLeasesNothingThatIsNotThere(t *testing.T) {
	for _, r := range []event.Range{{First: 3, Next: 6}, {First: 1, Next: 3}} { // beyond what was rolled back, and before it
		l := NewLedger(0)
		l.Lease(event.Range{First: 0, Next: 2})
		l.Commit(event.Range{First: 0, Next: 2}, 2)
		given := event.Range{First: 2, Next: 4}
		l.Lease(given)
		l.Assign(given, "sink.a")
		l.Rollback(given, 1)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v is leased", r)
				}
			}()
			l.Lease(r)
		}()
	}
}
