// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestAppendListEncodesWhatAppendEncodes(t *testing.T) {
	var l AttributeList
	if err := errors.Join(l.Add("path", []byte("/a")), l.Add("position", []byte("0"))); err != nil {
		t.Fatal(err)
	}
	var want, got Builder
	for _, value := range []string{"0", "17", "", "18446744073709551615", "9"} {
		e := Event{Time: -5, Body: []byte("body " + value), Attributes: []Attribute{
			{"path", []byte("/a")}, {"position", []byte(value)},
		}}
		l.SetLast([]byte(value))
		if err := errors.Join(want.Append(e), got.AppendList(e.Time, &l, e.Body)); err != nil {
			t.Fatal(err)
		}
	}
	l.Reset()
	if err := errors.Join(want.Append(Event{}), got.AppendList(0, &l, nil)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Fatalf("encoded\n%x\nwant\n%x", got.Bytes(), want.Bytes())
	}
}

func TestAppendListKeepsTheLimits(t *testing.T) {
	w := Builder{Limit: 1000}
	var l AttributeList
	if err := w.AppendList(0, &l, make([]byte, 1000-EventMargin-RecordSize+1)); !errors.Is(err, ErrTooBig) {
		t.Errorf("one byte too many: %v", err)
	}
	if err := w.AppendList(0, &l, make([]byte, 1000-EventMargin-RecordSize)); err != nil {
		t.Errorf("the largest: %v", err)
	}
	if err := w.AppendList(0, &l, make([]byte, 50)); !errors.Is(err, ErrFull) || w.Len() != 1 {
		t.Errorf("no room: %v, %d events", err, w.Len())
	}
	for _, key := range []string{"\xff", ReservedPrefix + "x", strings.Repeat("k", 1<<16)} {
		if err := l.Add(key, nil); !errors.Is(err, ErrEvent) {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
	for range GuestAttributes {
		if err := l.Add("k", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add("k", nil); !errors.Is(err, ErrEvent) {
		t.Errorf("one attribute too many: %v", err)
	}
}
