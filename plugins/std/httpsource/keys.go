// SPDX-License-Identifier: Apache-2.0

package httpsource

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// defaultKeys is how many keys are remembered: a retry after half a minute, at some 300 keyed requests a second.
	defaultKeys = 10_000
	// maxKeys keeps the cursor below 2 MiB, at some 40 bytes an entry.
	maxKeys = 50_000
	// keyPrefix begins the entries of the cursor that are keys.
	keyPrefix = "key/"
)

// key is a hash of what a client sent: short, whatever that was.
type key [16]byte

func (k key) entry() string { return keyPrefix + base64.RawURLEncoding.EncodeToString(k[:]) }

// keys are the last so many keys of requests, in the cursor and here.
type keys struct {
	most  int
	known map[key]uint64 // the batch that it came with; 0: of an instance before this one, and so durable
	order []key          // a ring, once it is full: next is the oldest
	next  int
	count uint64 // of all keys ever: the order of entries in the cursor
	value []byte
}

func newKeys(most int) *keys { return &keys{most: most, known: map[key]uint64{}} }

// resume reads what the cursor says.
func (k *keys) resume(cursor event.Cursor) error {
	type entry struct {
		key   key
		count uint64
	}
	var all []entry
	for name, value := range cursor {
		text, ok := strings.CutPrefix(name, keyPrefix)
		hash, err := base64.RawURLEncoding.DecodeString(text)
		count, n := binary.Uvarint(value)
		if !ok || err != nil || len(hash) != len(key{}) || n <= 0 {
			return fmt.Errorf("resume: cursor entry %q is not one of this source", name)
		}
		all = append(all, entry{key(hash), count})
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.count, b.count) })
	for _, e := range all {
		k.known[e.key], k.order, k.count = 0, append(k.order, e.key), e.count
	}
	return nil
}

// of is the key that a client sent, if it did.
func (k *keys) of(header string) (key, bool) {
	if header == "" || k.most == 0 {
		return key{}, false
	}
	sum := sha256.Sum256([]byte(header))
	return key(sum[:]), true
}

// seen says with which batch the key came before.
func (k *keys) seen(key key) (seq uint64, ok bool) {
	seq, ok = k.known[key]
	return seq, ok
}

// remember puts the key into the cursor of the batch that is emitted next, and takes out what is beyond the bound.
func (k *keys) remember(p *sdk.Poll, key key) error {
	for len(k.order) > k.most { // the bound was lowered
		if err := k.forget(p, k.order[0]); err != nil {
			return err
		}
		k.order = k.order[1:]
	}
	k.count++
	k.value = binary.AppendUvarint(k.value[:0], k.count)
	if err := p.SetCursor(key.entry(), k.value); err != nil {
		return err
	}
	if len(k.order) < k.most {
		k.order = append(k.order, key)
		return nil
	}
	err := k.forget(p, k.order[k.next])
	k.order[k.next] = key
	k.next = (k.next + 1) % k.most
	return err
}

func (k *keys) forget(p *sdk.Poll, key key) error {
	delete(k.known, key)
	return p.SetCursor(key.entry(), nil)
}

// sent says with which batch the key went.
func (k *keys) sent(key key, seq uint64) { k.known[key] = seq }
