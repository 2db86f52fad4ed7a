// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/penstock-io/penstock/spec/event"
)

// codec packs and unpacks. Both can be used by many goroutines, which wait for each other beyond one at a time; it is made when it is first needed.
var codec = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	// A single segment always has its size in its header: other frames leave it out below 256 bytes.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		panic("BUG: " + err.Error()) // the options are constant
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(event.MaxBatch), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return e, d
})

var errFrame = errors.New("it is no frame of zstd that says its size")

// pack packs a batch into dst, whose memory it uses.
func pack(dst, batch []byte) []byte {
	e, _ := codec()
	return e.EncodeAll(batch, dst[:0])
}

// unpackedSize is how long what is packed will be.
func unpackedSize(packed []byte) (int, error) {
	var h zstd.Header
	if err := h.Decode(packed); err != nil || !h.HasFCS {
		return 0, errors.Join(errFrame, err)
	}
	if h.FrameContentSize > event.MaxBatch {
		return 0, fmt.Errorf("a batch of %d bytes is over the limit of %d", h.FrameContentSize, event.MaxBatch)
	}
	return int(h.FrameContentSize), nil
}

// unzstd unpacks into dst, which has the size of it.
func unzstd(dst, packed []byte) error {
	_, d := codec()
	out, err := d.DecodeAll(packed, dst[:0])
	switch {
	case err != nil:
		return fmt.Errorf("unpack: %w", err)
	case len(out) != len(dst) || len(out) > 0 && &out[0] != &dst[0]:
		return errFrame
	}
	return nil
}
