// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec is how the bodies of records are compressed. The numbers stand in records, and are for ever.
type Codec uint8

// The codecs. Whatever is asked for, a body that would not become smaller is stored as it is.
const (
	NoCodec Codec = 0
	S2      Codec = 1 // fast
	Zstd    Codec = 2 // small
)

// zstdWindow is how far back a body refers to itself: bodies are hardly larger, and each encoder keeps twice as much.
const zstdWindow = 1 << 20

// zipper compresses and decompresses bodies. It is safe for concurrent use.
type zipper struct {
	pack   func() (*zstd.Encoder, error) // made when it is first needed
	unpack func() (*zstd.Decoder, error)
}

func newZipper() zipper {
	return zipper{
		pack: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(false)) // the record has a checksum
		}),
		unpack: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(maxRecord))
		}),
	}
}

// room is how many bytes compress may need for a body of n bytes.
func (z *zipper) room(codec Codec, n int) int {
	switch codec {
	case S2:
		return s2.MaxEncodedLen(n)
	case Zstd:
		return n // what grows is not wanted, and is put elsewhere
	}
	return 0
}

// compress packs body into dst, which has room for it. ok is false when that made it no smaller.
func (z *zipper) compress(codec Codec, dst, body []byte) (packed []byte, ok bool) {
	switch codec {
	case S2:
		packed = s2.Encode(dst, body)
	case Zstd:
		e, err := z.pack()
		if err != nil {
			panic("BUG: " + err.Error()) // of the options, which are constants
		}
		packed = e.EncodeAll(body, dst[:0])
	default:
		return nil, false
	}
	return packed, len(packed) < len(body)
}

// errUnpacked: what comes out is not as long as the header says.
var errUnpacked = errors.New("length does not match")

// decompress unpacks into dst, all of which it fills, and nothing beyond.
func (z *zipper) decompress(codec Codec, dst, packed []byte) error {
	var got []byte
	switch codec {
	case S2:
		n, err := s2.DecodedLen(packed)
		if err != nil || n != len(dst) {
			return fmt.Errorf("decompress: %w", errors.Join(errUnpacked, err))
		}
		if got, err = s2.Decode(dst, packed); err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
	case Zstd:
		d, err := z.unpack()
		if err != nil {
			panic("BUG: " + err.Error())
		}
		if got, err = d.DecodeAll(packed, dst[:0:len(dst)]); err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
	}
	if len(got) != len(dst) {
		return fmt.Errorf("decompress: %w", errUnpacked)
	}
	return nil
}
