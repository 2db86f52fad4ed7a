// SPDX-License-Identifier: Apache-2.0

package event

import "testing"

func TestABuiltBatchIsReadBack(t *testing.T) {
	var w Builder
	for i, body := range []string{"a", "", "ccc"} {
		e := Event{Time: int64(i), Body: []byte(body), Attributes: []Attribute{{"k", []byte{byte(i)}}}}
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	b, err := Copy(Heap{}, w.Bytes(), DefaultBatch)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for o, e := range b.WithBase(7).All() {
		v, ok := e.Attribute("k")
		if int(o) != 7+n || e.Time != int64(n) || !ok || v[0] != byte(n) {
			t.Errorf("event %d: offset %d, %+v", n, o, e)
		}
		n++
	}
	if n != 3 || b.Len() != 3 {
		t.Errorf("read %d events, Len %d", n, b.Len())
	}
}
