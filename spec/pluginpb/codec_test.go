// SPDX-License-Identifier: Apache-2.0

package pluginpb

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// samples are messages with a batch in them, and new ones of their types.
var samples = map[string]struct {
	full carrier
	none func() carrier
}{
	"write":     {&WriteRequest{First: 7, Next: 1 << 40, Batch: bytes.Repeat([]byte("ab"), 40000)}, func() carrier { return new(WriteRequest) }},
	"interrupt": {&WriteRequest{Interrupt: true}, func() carrier { return new(WriteRequest) }},
	"emission": {&Emission{Seq: 3, Batch: []byte("batch"), Changed: []*CursorEntry{{Key: "a", Value: []byte("1")}, {Key: "b"}}, Status: &Status{Code: -1, Message: "x"}},
		func() carrier { return new(Emission) }},
	"process": {&ProcessRequest{Batch: []byte("batch")}, func() carrier { return new(ProcessRequest) }},
	"reply": {&ProcessReply{Credit: 1, Done: true, Batch: []byte("batch"), Rejected: []*Rejection{{Index: 4, Code: -10, Reason: "why"}}},
		func() carrier { return new(ProcessReply) }},
}

// pieces cuts data as frames do.
func pieces(data []byte, n int) (s mem.BufferSlice) {
	for len(data) > 0 {
		k := min(n, len(data))
		s = append(s, mem.SliceBuffer(data[:k]))
		data = data[k:]
	}
	return s
}

func TestAMessageWithABatchIsReadAsTheLibraryReadsIt(t *testing.T) {
	for name, c := range samples {
		data, err := proto.Marshal(c.full)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 7, 16384, 1 << 20} {
			got := c.none()
			_, at := got.batch()
			*at = append(*at, "what was there before"...)
			if err := (Codec{}).Unmarshal(pieces(data, size), got); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if _, want := c.full.batch(); len(*at) == 0 && len(*want) == 0 {
				*at = nil // room that is kept is no batch
			}
			if !proto.Equal(got, c.full) {
				t.Errorf("%s in pieces of %d: %v", name, size, got)
			}
		}
		for cut := 1; cut < min(len(data), 64); cut++ {
			whole := proto.Unmarshal(data[:cut], c.none()) == nil
			if err := (Codec{}).Unmarshal(pieces(data[:cut], 5), c.none()); (err == nil) != whole {
				t.Errorf("%s, cut to %d bytes: %v", name, cut, err)
			}
		}
	}
}

func TestABatchIsReadWithoutMakingRoomForIt(t *testing.T) {
	data, err := proto.Marshal(&ProcessRequest{Batch: make([]byte, 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	s, m := pieces(data, 16384), new(ProcessRequest)
	room := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if err := (Codec{}).Unmarshal(s, m); err != nil {
				b.Fatal(err)
			}
		}
	})
	if n := room.AllocedBytesPerOp(); n > 1<<14 {
		t.Errorf("%d bytes are allocated for a batch of 1 MiB", n)
	}
}

// FuzzUnmarshal holds what is read against what the library reads.
func FuzzUnmarshal(f *testing.F) {
	for _, c := range samples {
		if data, err := proto.Marshal(c.full); err == nil && len(data) < 1000 {
			f.Add(data, uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		for name, c := range samples {
			want, got := c.none(), c.none()
			wantErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, want)
			err := (Codec{}).Unmarshal(pieces(data, int(size)+1), got)
			if err == nil && wantErr == nil && !proto.Equal(got, want) {
				t.Errorf("%s: %v, and the library reads %v", name, got, want)
			}
			if err == nil && wantErr != nil {
				t.Errorf("%s: %v is read, and the library says %v", name, got, wantErr)
			}
		}
	})
}
