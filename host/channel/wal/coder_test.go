// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// TestASealedRecordIsWrittenAsTheSpecificationSays opens one with nothing but the standard library.
func TestASealedRecordIsWrittenAsTheSpecificationSays(t *testing.T) {
	key := testKey(7)
	c := &Channel{pool: event.Heap{}, coder: newCoder(S2, &key)}
	c.coder.uuid = [16]byte{0xaa, 15: 0xbb}
	plain := encodedBatch(t, strings.Repeat("body ", 40))
	b, err := event.Copy(event.Heap{}, plain, event.MaxBatch)
	if err != nil {
		t.Fatal(err)
	}
	x := &tx{c: c, puts: []channel.Put{{Source: "source.a", Batch: b, Changed: event.Cursor{"at": []byte("9")}}}}
	if err := x.build(); err != nil {
		t.Fatal(err)
	}
	h := x.header
	h.put(x.entry)
	id := sha256.Sum256(bytes.Repeat([]byte{7}, 32))
	if x.entry[8] != 1 || !bytes.Equal(x.entry[12:16], id[:4]) || key.ID() != fmt.Sprintf("%x", id[:4]) {
		t.Errorf("codec %d, key %x, of which the name is %s", x.entry[8], x.entry[12:16], key.ID())
	}
	if le := binary.LittleEndian; le.Uint32(x.entry[52:]) != uint32(len(plain)) || int(le.Uint32(x.entry[48:])+le.Uint32(x.entry[56:]))+72 != len(x.entry) {
		t.Errorf("lengths are not those of the record: %x", x.entry[48:60])
	}
	block, err := aes.NewCipher(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	bound := slices.Concat(c.coder.uuid[:], []byte{1, 1}, id[:4], x.entry[52:56])
	body, tlv := x.entry[72:72+h.body], x.entry[72+h.body:]
	packed, err := gcm.Open(nil, body[:12], body[12:], append(slices.Clone(bound), 1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s2.Decode(nil, packed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("the body came back as %q, %v", got, err)
	}
	trailer, err := gcm.Open(nil, tlv[:12], tlv[12:], append(slices.Clone(bound), 2))
	if got, perr := parseChanges(trailer); err != nil || perr != nil || string(got.sources[0].Changed["at"]) != "9" {
		t.Errorf("the trailer came back as %q, %v, %v", trailer, err, perr)
	}
	if bytes.Equal(body[:12], tlv[:12]) {
		t.Error("one nonce was used twice")
	}
	if !x.batch.Numbered() || !bytes.Equal(x.batch.Bytes(), plain) {
		t.Error("what readers at the tail get is not what was put")
	}
}

// encodedBatch is the encoding of events with these bodies.
func encodedBatch(t testing.TB, bodies ...string) []byte {
	t.Helper()
	var w event.Builder
	for _, body := range bodies {
		if err := w.Append(event.Event{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	return slices.Clone(w.Bytes())
}

func TestWhatWouldGrowIsNotCompressed(t *testing.T) {
	noise := sha256.Sum256([]byte("noise"))
	for _, codec := range []Codec{S2, Zstd} {
		c := newCoder(codec, nil)
		for _, s := range []struct {
			body []byte
			want Codec
		}{{noise[:], NoCodec}, {bytes.Repeat(noise[:], 9), codec}, {nil, NoCodec}} {
			h := header{kind: kindPut}
			buf := c.encode(event.Heap{}, &h, s.body, nil)
			if h.codec != s.want || int(h.raw) != len(s.body) || h.raw > 0 && h.body > h.raw {
				t.Errorf("%d bytes: codec %d, %d bytes stored", len(s.body), h.codec, h.body)
			}
			r := record{header: h, data: buf.Frame(headerSize, 0)}
			got, err := c.decode(event.Heap{}, [16]byte{}, &r)
			if h.codec != NoCodec && (err != nil || !bytes.Equal(got.plain, s.body)) {
				t.Errorf("%d bytes came back as %q, %v", len(s.body), got.plain, err)
			}
		}
	}
}

func TestANonceIsNeverUsedTwice(t *testing.T) {
	key := testKey(1)
	seen := map[[nonceSize]byte]bool{}
	for range 3 { // openings
		c := newCoder(NoCodec, &key)
		for _, at := range []uint32{0, 1<<32 - 3} { // as when the counter comes to its end
			c.counter = at
			for range 6 {
				var n [nonceSize]byte
				if c.nonce(n[:]); seen[n] {
					t.Fatalf("%x again", n)
				}
				seen[n] = true
			}
		}
	}
}

func TestAKeyIsNeverPrinted(t *testing.T) {
	k := testKey('K')
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, v := range []any{k, &k, Options{Key: &k, OldKeys: []Key{k}}} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "KKKK") || strings.Contains(got, "4b4b") || strings.Contains(got, "75 75") || strings.Contains(got, "0x4b") {
				t.Errorf("%s of %T prints %s", verb, v, got)
			}
		}
	}
	if _, err := NewKey([]byte("short")); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short key: %v", err)
	}
}

// TestAPackedBodyMakesNobodyAllocateWhatItClaims: a few bytes that say they hold gibibytes.
func TestAPackedBodyMakesNobodyAllocateWhatItClaims(t *testing.T) {
	z := newZipper()
	claims := binary.AppendUvarint(nil, 1<<30)
	huge := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x10, 1, 0, 0} // a frame of 2^28 bytes, and an empty block
	dst := make([]byte, 100)
	for codec, packed := range map[Codec][]byte{S2: append(claims, 0), Zstd: huge} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := z.decompress(codec, dst, packed)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; err == nil || n > 64<<20 {
			t.Errorf("codec %d: %d bytes were allocated; %v", codec, n, err)
		}
	}
}

// meter is memory that fails where too much is asked of it.
type meter struct {
	testing.TB
	most int
}

func (m meter) Get(n int) *event.Buffer {
	if n > m.most {
		m.Fatalf("%d bytes were asked for", n)
	}
	return event.Heap{}.Get(n)
}

func FuzzDecode(f *testing.F) {
	key := testKey(1)
	for _, s := range storages {
		var o Options
		s.apply(&o)
		c := newCoder(s.codec, o.Key)
		h := header{kind: kindPut}
		x := changes{only: "sink.a"}
		buf := c.encode(event.Heap{}, &h, encodedBatch(f, strings.Repeat("body ", 20)), &x)
		f.Add(uint8(h.kind), uint8(h.codec), s.key, h.raw, buf.Bytes()[:h.body], buf.Bytes()[h.body:])
	}
	f.Add(uint8(kindState), uint8(Zstd), false, uint32(1<<30), []byte{0x28, 0xb5, 0x2f, 0xfd}, []byte{})
	f.Fuzz(func(t *testing.T, k, codec uint8, sealed bool, raw uint32, body, tlv []byte) {
		c := newCoder(NoCodec, &key)
		r := record{header: header{kind: kind(k), codec: Codec(codec % 3), raw: raw, body: uint32(len(body)), tlv: uint32(len(tlv))}}
		if sealed {
			r.key = key.id()
		}
		r.data = slices.Concat(make([]byte, headerSize), body, tlv)
		got, err := c.decode(meter{t, maxRecord + len(r.data)}, [16]byte{1}, &r)
		if err != nil {
			if !errors.Is(err, errDecode) {
				t.Fatalf("it is %v", err)
			}
			return
		}
		if kind(k) != kindGap && len(got.plain) != int(raw) {
			t.Fatalf("%d bytes of %d", len(got.plain), raw)
		}
	})
}
