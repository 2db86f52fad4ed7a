// SPDX-License-Identifier: Apache-2.0

package pluginpb

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Codec encodes and decodes what gRPC's own codec does, in the same bytes. Only, a batch is copied once when it comes in, out of
// the frames of the connection and into the room that the message already has for it, where the other copies it twice and makes room each
// time. Who uses one message again and again gets a batch without an allocation.
type Codec struct{}

var _ encoding.CodecV2 = Codec{}

// carrier is a message with a batch in it.
type carrier interface {
	proto.Message
	batch() (field protowire.Number, at *[]byte)
}

func (x *WriteRequest) batch() (protowire.Number, *[]byte)   { return 3, &x.Batch }
func (x *Emission) batch() (protowire.Number, *[]byte)       { return 2, &x.Batch }
func (x *ProcessRequest) batch() (protowire.Number, *[]byte) { return 1, &x.Batch }
func (x *ProcessReply) batch() (protowire.Number, *[]byte)   { return 4, &x.Batch }
func (x *Call) batch() (protowire.Number, *[]byte)           { return 5, &x.Data }
func (x *CallReply) batch() (protowire.Number, *[]byte)      { return 3, &x.Data }

// Name implements [encoding.CodecV2].
func (Codec) Name() string { return protocodec.Name }

// Marshal implements [encoding.CodecV2].
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	return encoding.GetCodecV2(protocodec.Name).Marshal(v)
}

// Unmarshal implements [encoding.CodecV2].
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	c, ok := v.(carrier)
	if !ok {
		return encoding.GetCodecV2(protocodec.Name).Unmarshal(data, v)
	}
	if err := unmarshal(data, c); err != nil {
		return fmt.Errorf("decode a message with a batch: %w", err)
	}
	return nil
}

// unmarshal reads a message field by field: the batch into its place, the rest, which is small, as the library does.
func unmarshal(data mem.BufferSlice, c carrier) error {
	field, at := c.batch()
	room := (*at)[:0]
	r := &fields{Reader: data.Reader()}
	defer r.Reader.Close()
	var rest []byte
	for r.Remaining() > 0 {
		number, kind, err := r.tag()
		switch {
		case err != nil:
			return err
		case number == field && kind == protowire.BytesType:
			room, err = r.bytes(room[:0])
		default:
			rest = protowire.AppendTag(rest, number, kind)
			rest, err = r.value(rest, kind)
		}
		if err != nil {
			return err
		}
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(rest, c); err != nil {
		return err
	}
	*at = room
	return nil
}

// fields reads what protobuf wrote.
type fields struct{ *mem.Reader }

var errCut = errors.New("it is cut short, or none")

func (r *fields) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil || shift == 63 && b > 1 {
			return 0, errCut
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errCut
}

func (r *fields) tag() (protowire.Number, protowire.Type, error) {
	v, err := r.varint()
	if err != nil {
		return 0, 0, err
	}
	number, kind := protowire.DecodeTag(v)
	if number < protowire.MinValidNumber {
		return 0, 0, errCut
	}
	return number, kind, nil
}

// bytes appends a value with its length before it, without that length.
func (r *fields) bytes(to []byte) ([]byte, error) {
	n, err := r.varint()
	if err != nil || n > uint64(r.Remaining()) {
		return to, errCut
	}
	return r.exactly(to, int(n))
}

func (r *fields) exactly(to []byte, n int) ([]byte, error) {
	if n > r.Remaining() {
		return to, errCut
	}
	to = slices.Grow(to, n)
	at := len(to)
	to = to[:at+n]
	_, err := io.ReadFull(r, to[at:])
	return to, err
}

// value appends a value as it is.
func (r *fields) value(to []byte, kind protowire.Type) ([]byte, error) {
	switch kind {
	case protowire.VarintType:
		v, err := r.varint()
		return protowire.AppendVarint(to, v), err
	case protowire.Fixed32Type:
		return r.exactly(to, 4)
	case protowire.Fixed64Type:
		return r.exactly(to, 8)
	case protowire.BytesType:
		n, err := r.varint()
		if err != nil || n > uint64(r.Remaining()) {
			return to, errCut
		}
		return r.exactly(protowire.AppendVarint(to, n), int(n))
	}
	return to, errCut // groups, which nobody writes any more
}
