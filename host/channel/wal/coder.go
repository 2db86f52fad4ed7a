// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// coder makes of the body and the TLVs of a record what is stored, and the other way round: it compresses the body, then
// seals both apart. A sealed part is [nonce 12][ciphertext][tag 16], AES-256-GCM, over what cannot be moved with it:
//
//	 0  16 bytes  uuid of the channel; zeros in a STATE, which holds the uuid
//	16  u8        kind
//	17  u8        codec
//	18  u32       id of the key
//	22  u32       length of the body before the codec, as the header says
//	26  u8        part: 1 body, 2 TLVs
//
// A nonce is eight random bytes, drawn at the first use and each time the counter comes to its end, and a u32 counter.
// A part that is empty stays empty. It is safe for concurrent use.
type coder struct {
	zipper
	codec Codec
	key   uint32 // of what is written; 0 = it is not sealed
	keys  map[uint32]cipher.AEAD
	uuid  [16]byte // of the channel; zeros while that is not known

	mu      sync.Mutex
	salt    [8]byte
	counter uint32
}

const (
	nonceSize    = 12
	sealOverhead = nonceSize + 16
	associated   = 27
)

// part of a record.
type part uint8

const (
	partBody part = 1
	partTLV  part = 2
)

// newCoder makes a coder that writes with one key, which may be nil, and reads with that and the others.
func newCoder(codec Codec, key *Key, others ...Key) *coder {
	c := &coder{codec: codec, zipper: newZipper(), keys: map[uint32]cipher.AEAD{}}
	for _, k := range others {
		c.keys[k.id()] = k.aead()
	}
	if key != nil {
		c.key = key.id()
		c.keys[c.key] = key.aead()
	}
	return c
}

// coderOf makes the coder of a command: the first key is that which it writes with.
func coderOf(keys []Key) *coder {
	if len(keys) == 0 {
		return newCoder(NoCodec, nil)
	}
	return newCoder(NoCodec, &keys[0], keys...)
}

// plain says whether records are stored as they are.
func (c *coder) plain() bool { return c == nil || c.codec == NoCodec && c.key == 0 }

// nonce fills b with one that was never used.
func (c *coder) nonce(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counter == 0 {
		rand.Read(c.salt[:]) // never fails
	}
	copy(b, c.salt[:])
	binary.LittleEndian.PutUint32(b[len(c.salt):], c.counter)
	c.counter++
}

// associate appends what is bound to a part.
func associate(dst []byte, uuid [16]byte, h *header, p part) []byte {
	if h.kind == kindState {
		uuid = [16]byte{}
	}
	dst = append(dst, uuid[:]...)
	dst = append(dst, byte(h.kind), byte(h.codec))
	dst = binary.LittleEndian.AppendUint32(dst, h.key)
	dst = binary.LittleEndian.AppendUint32(dst, h.raw)
	return append(dst, byte(p))
}

// encode stores a record: the result's bytes are its body and its TLVs, with room for a header before. It sets what the
// header says of them; kind, and of a GAP raw, are already right.
func (c *coder) encode(pool event.Buffers, h *header, body []byte, x *changes) *event.Buffer {
	front, need := 0, 0
	if c.key != 0 {
		front = nonceSize
	}
	if x != nil {
		need = x.size()
	}
	h.key = c.key
	out := pool.Get(max(len(body), c.room(c.codec, len(body))) + need + 2*sealOverhead)
	mem := out.Bytes()
	if h.kind != kindGap { // of which raw says something else
		h.raw = uint32(len(body))
		if packed, ok := c.compress(c.codec, mem[front:], body); ok {
			h.codec, body = c.codec, packed
		}
	}
	n := c.put(mem, h, partBody, body)
	h.body, h.bodyCRC = uint32(n), checksum(mem[:n])
	if x != nil {
		tlv := x.append(mem[n+front : n+front])
		m := c.put(mem[n:], h, partTLV, tlv)
		h.tlv, h.tlvCRC = uint32(m), checksum(mem[n:n+m])
		n += m
	}
	out.Reset(n)
	return out
}

// put stores a part at the beginning of dst, where it may lie already, behind room for its nonce. It returns its length.
func (c *coder) put(dst []byte, h *header, p part, b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case h.key == 0:
		return copy(dst, b)
	}
	c.nonce(dst[:nonceSize])
	aad := associate(make([]byte, 0, associated), c.uuid, h, p)
	return nonceSize + len(c.keys[h.key].Seal(dst[nonceSize:nonceSize], dst[:nonceSize], b, aad))
}

// own stores a record that the channel writes by itself, and takes over the hold on its body.
func (c *coder) own(pool event.Buffers, h *header, body *event.Buffer) *event.Buffer {
	if !c.plain() {
		defer body.Release()
		return c.encode(pool, h, body.Bytes(), nil)
	}
	n := uint32(len(body.Bytes()))
	h.body, h.bodyCRC = n, checksum(body.Bytes())
	if h.kind != kindGap {
		h.raw = n
	}
	return body
}

// content is what is in a record, where that is not what is stored.
type content struct {
	plain, trailer []byte        // body and TLVs
	buf            *event.Buffer // holds them; nil: they are stored as they are
}

// errDecode: the checksums are right, and yet it is not what a channel wrote.
var errDecode = errors.New("record cannot be decoded, though its checksums are right")

// errNobody: the channel's uuid is lost, and with it what sealed records are bound to.
var errNobody = errors.New("META is lost, and no STATE can be read that says the channel's uuid: restore META")

// decode returns what is in a record of the channel with that uuid. Its error is errDecode, [channel.ErrKey] or errNobody.
func (c *coder) decode(pool event.Buffers, uuid [16]byte, r *record) (content, error) {
	if c == nil {
		c = newCoder(NoCodec, nil)
	}
	if _, ok := c.keys[r.key]; r.key != 0 && !ok {
		return content{}, channel.ErrKey
	}
	if r.key != 0 && r.kind != kindState && uuid == ([16]byte{}) {
		return content{}, errNobody
	}
	n, m, err := r.lengths()
	if err != nil {
		return content{}, fmt.Errorf("%w: %w", errDecode, err)
	}
	buf := pool.Get(n + m)
	got := content{plain: buf.Bytes()[:n:n], trailer: buf.Bytes()[n:], buf: buf}
	if err = c.body(pool, uuid, r, got.plain); err == nil {
		err = c.open(uuid, &r.header, partTLV, got.trailer, r.storedTLV())
	}
	if err != nil {
		buf.Release()
		return content{}, fmt.Errorf("%w: %w", errDecode, err)
	}
	return got, nil
}

// lengths are those of body and TLVs once they are decoded, checked before anything is allocated.
func (h *header) lengths() (body, tlv int, err error) {
	stored := [2]int{int(h.body), int(h.tlv)}
	for i, n := range stored {
		if h.key != 0 && n > 0 {
			if stored[i] = n - sealOverhead; n <= sealOverhead {
				return 0, 0, errLength
			}
		}
	}
	body, tlv = stored[0], stored[1]
	if h.kind == kindGap { // raw says something else
		if h.codec != NoCodec {
			return 0, 0, errLength
		}
		return body, tlv, nil
	}
	most := event.MaxBatch
	if h.kind == kindState {
		most = maxRecord
	}
	raw := int(h.raw)
	if raw > most || (raw == 0) != (body == 0) || h.codec == NoCodec && raw != body {
		return 0, 0, errLength
	}
	return raw, tlv, nil
}

// body decodes the body into dst, which is as long as it will be.
func (c *coder) body(pool event.Buffers, uuid [16]byte, r *record, dst []byte) error {
	stored := r.storedBody()
	if r.codec == NoCodec || len(dst) == 0 {
		return c.open(uuid, &r.header, partBody, dst, stored)
	}
	if r.key != 0 {
		packed := pool.Get(len(stored) - sealOverhead)
		defer packed.Release()
		if err := c.open(uuid, &r.header, partBody, packed.Bytes(), stored); err != nil {
			return err
		}
		stored = packed.Bytes()
	}
	return c.decompress(r.codec, dst, stored)
}

// open takes the seal off a part, into dst, which is as long as it will be.
func (c *coder) open(uuid [16]byte, h *header, p part, dst, stored []byte) error {
	if h.key == 0 || len(stored) == 0 {
		copy(dst, stored)
		return nil
	}
	aad := associate(make([]byte, 0, associated), uuid, h, p)
	if _, err := c.keys[h.key].Open(dst[:0], stored[:nonceSize], stored[nonceSize:], aad); err != nil {
		return fmt.Errorf("key %s does not open it, so it was changed or comes from another channel: %w", keyName(h.key), err)
	}
	return nil
}

// learn finds out which channel this is, to which all that is sealed is bound: from META, or else from a STATE.
func (c *coder) learn(f files, pool event.Buffers) error {
	if m, found, err := loadMeta(f); err == nil && found {
		c.uuid = m.uuid
		return nil
	}
	names, err := listSegments(f)
	if err != nil || len(c.keys) == 0 {
		return err
	}
	for _, info := range slices.Backward(names) {
		file, err := f.Open(logDir+"/"+info.name, readFile)
		if err != nil {
			return fmt.Errorf("open segment: %w", err)
		}
		s := newScanner(file, segmentIndex(info.name), info.size, pool, c)
		s.step = headStep
		_, rerr := s.next() // what is wrong with it is found in its turn
		c.uuid = s.uuid
		s.release()
		if err := file.Close(); err != nil || rerr == nil {
			return err
		}
	}
	return nil
}

// missing looks at all headers, before anything is changed, for one that names a key which was not given.
func (c *coder) missing(f files, pool event.Buffers) error {
	names, err := listSegments(f)
	if err != nil {
		return err
	}
	for _, info := range names {
		file, err := f.Open(logDir+"/"+info.name, readFile)
		if err != nil {
			return fmt.Errorf("open segment: %w", err)
		}
		s := newScanner(file, segmentIndex(info.name), info.size, pool, c)
		err = s.missingKey()
		s.release()
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// missingKey walks the headers of one segment, around damage.
func (s *scanner) missingKey() error {
	for {
		h, err := s.head()
		_, known := s.coder.keys[h.key]
		switch {
		case err == nil && h.key != 0 && !known:
			return s.coder.keyError(s, h.key)
		case err == nil:
			s.advance(&h)
		case errors.Is(err, io.EOF), !s.resync(func(*header) bool { return true }):
			return nil // what cannot be read is found in its turn
		}
	}
}

// keyError says which key a record needs.
func (c *coder) keyError(s *scanner, id uint32) error {
	e := &KeyError{File: s.name, Offset: s.at, Key: keyName(id)}
	if c != nil {
		for id := range c.keys {
			e.Given = append(e.Given, keyName(id))
		}
	}
	slices.Sort(e.Given)
	return e
}
