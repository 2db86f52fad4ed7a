// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
)

// KeySize is how many bytes a key has: AES-256.
const KeySize = 32

// Key is what records are sealed with. However it is printed, only its id is seen.
type Key struct{ raw [KeySize]byte }

// NewKey makes a key of its bytes.
func NewKey(raw []byte) (Key, error) {
	if len(raw) != KeySize {
		return Key{}, fmt.Errorf("a key has %d bytes; this has %d", KeySize, len(raw))
	}
	return Key{[KeySize]byte(raw)}, nil
}

// id stands in each record that is sealed with the key: the first bytes of its SHA-256, and never 0, which means no key.
func (k Key) id() uint32 {
	sum := sha256.Sum256(k.raw[:])
	return max(1, binary.LittleEndian.Uint32(sum[:]))
}

// ID is how errors call the key: the first eight hex digits of its SHA-256.
func (k Key) ID() string { return keyName(k.id()) }

func keyName(id uint32) string { return fmt.Sprintf("%x", binary.LittleEndian.AppendUint32(nil, id)) }

// Format prints the id, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key %s", k.ID()) }

func (k Key) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.raw[:])
	if err != nil {
		panic("BUG: " + err.Error()) // of the length, which is right
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return gcm
}

// KeyError says which key is missing. It wraps [channel.ErrKey].
type KeyError struct {
	File   string // within the channel's directory
	Offset int64  // of the record
	Key    string // its id
	Given  []string
}

func (e *KeyError) Error() string {
	given := "no key was given"
	if len(e.Given) > 0 {
		given = "given were " + strings.Join(e.Given, ", ")
	}
	return fmt.Sprintf("%s at byte %d: sealed with key %s, but %s", e.File, e.Offset, e.Key, given)
}

// Unwrap makes it [channel.ErrKey].
func (e *KeyError) Unwrap() error { return channel.ErrKey }

// withKeyHint says what to do when a key is missing.
func withKeyHint(err error) error {
	k, ok := errors.AsType[*KeyError](err)
	if !ok {
		return err
	}
	return fmt.Errorf("%w; nothing was changed, and nothing is damaged: name the secret that holds key %s in the channel's block: "+
		"encryption { key = secret.NAME } to go on writing with it, or encryption { old = [secret.NAME] } to read with it only", err, k.Key)
}
