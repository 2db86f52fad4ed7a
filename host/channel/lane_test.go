// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

// Golden: another build must deal every key to the same lane for ever.
func TestTheLaneOfAKeyNeverChanges(t *testing.T) {
	for key, want := range map[string]uint64{
		"":                      0xefd01f60ba992926,
		"a":                     0x82a2a958a9bece5b,
		"customer-17":           0x6551bef209d8bb69,
		strings.Repeat("k", 50): 0x131d431651104a0c,
	} {
		if got := hashKey([]byte(key)); got != want {
			t.Errorf("%q: %#x, want %#x", key, got, want)
		}
	}
}

func keyed(key string) *event.Event {
	return &event.Event{Attributes: []event.Attribute{{Key: "other", Value: []byte("x")}, {Key: "key", Value: []byte(key)}}}
}

func TestEachKeyIsInOneLaneAndTheLanesAreEven(t *testing.T) {
	const keys = 10_000
	for _, count := range []uint32{1, 2, 3, 4, 7, 16, MaxLanes} {
		for _, form := range []string{"%d", "%06d", "customer-%d", "%d0", "%c"} {
			in := make([]int, count)
			for i := range keys {
				lanes := 0
				for index := range count {
					if (Lane{"key", index, count}).Has(keyed(fmt.Sprintf(form, i+256))) {
						in[index]++
						lanes++
					}
				}
				if lanes != 1 {
					t.Fatalf(form+" is in %d of %d lanes", i, lanes, count)
				}
			}
			for index, n := range in {
				if even := keys / int(count); n < even/2 || n > even*3/2 {
					t.Errorf("%d of %d keys like "+form+" are in lane %d of %d", n, keys, 1, index, count)
				}
			}
		}
	}
}

func TestAnEventWithoutTheAttributeHasTheEmptyKey(t *testing.T) {
	for index := range uint32(4) {
		l := Lane{"key", index, 4}
		if l.Has(&event.Event{}) != l.Has(keyed("")) {
			t.Errorf("lane %d", index)
		}
	}
	if !(Lane{}).Has(keyed("a")) {
		t.Error("no lane has not all")
	}
}

func TestALaneThatThereCannotBeIsRefused(t *testing.T) {
	for _, l := range []Lane{{"", 0, 2}, {"k", 2, 2}, {"k", 0, 0}, {"k", 0, MaxLanes + 1}, {strings.Repeat("k", MaxName+1), 0, 2}} {
		if err := l.Check(); !errors.Is(err, ErrLimit) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, l := range []Lane{{}, {"k", 1, 2}} {
		if err := l.Check(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

func TestPickEndsAtTheFirstEventOfTheLaneThatDoesNotFit(t *testing.T) {
	var w event.Builder
	var mine []event.Offset
	l := Lane{"key", 1, 3}
	for i := range event.Offset(100) {
		e := keyed(fmt.Sprint(i % 20))
		if err := w.Append(*e); err != nil {
			t.Fatal(err)
		}
		if l.Has(e) {
			mine = append(mine, 1000+i)
		}
	}
	b := w.Batch().WithBase(1000)
	room := 3
	got, next := l.Pick(b, event.Range{First: mine[1], Next: 1100}, func(event.Event) bool { room--; return room >= 0 })
	if got.Count() != 3 || !got.Has(mine[1]) || !got.Has(mine[2]) || !got.Has(mine[3]) || next != mine[4] {
		t.Errorf("picked %d, next %d; the lane has %d", got.Count(), next, mine)
	}
	got, next = l.Pick(b, event.Range{First: 1000, Next: 1100}, func(event.Event) bool { return true })
	if int(got.Count()) != len(mine) || next != 1100 {
		t.Errorf("picked %d of %d, next %d", got.Count(), len(mine), next)
	}
}
