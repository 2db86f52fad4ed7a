// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// formatVersion is that of the whole directory. A program refuses versions that it does not know.
const formatVersion = 1

// maxMeta bounds what is read of META and CLEAN.
const maxMeta = 4 << 10

// meta is what META says.
type meta struct {
	uuid    [16]byte
	created time.Time
}

func newMeta() meta {
	m := meta{created: time.Now().UTC().Truncate(time.Second)}
	rand.Read(m.uuid[:]) // never fails
	return m
}

// text gives the file: lines for people, and a checksum over them.
func (m meta) text() []byte {
	return sealed(fmt.Sprintf("penstock channel %d\nuuid %s\ncreated %s\n",
		formatVersion, hex.EncodeToString(m.uuid[:]), m.created.Format(time.RFC3339)))
}

// sealed appends a line with the checksum of the lines before it.
func sealed(lines string) []byte {
	return fmt.Appendf(nil, "%scrc %08x\n", lines, checksum([]byte(lines)))
}

// unseal returns the lines that sealed was given.
func unseal(text []byte) (string, error) {
	s := string(text)
	i := strings.LastIndex(s, "crc ")
	if i < 0 || string(sealed(s[:i])) != s {
		return "", errors.New("checksum does not match")
	}
	return s[:i], nil
}

func parseMeta(text []byte) (meta, error) {
	var m meta
	lines, err := unseal(text)
	if err != nil {
		return m, err
	}
	var version int
	var id, created string
	if _, err := fmt.Sscanf(lines, "penstock channel %d\nuuid %s\ncreated %s\n", &version, &id, &created); err != nil {
		return m, err
	}
	if version != formatVersion {
		return m, fmt.Errorf("%w: format %d, this program knows %d", errVersion, version, formatVersion)
	}
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != len(m.uuid) {
		return m, fmt.Errorf("uuid %q is none", id)
	}
	m.uuid = [16]byte(raw)
	m.created, err = time.Parse(time.RFC3339, created)
	return m, err
}

// loadMeta reads META. found is false when there is none.
func loadMeta(f files) (m meta, found bool, err error) {
	text, err := readAll(f, metaFile, maxMeta)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read %s: %w", metaFile, err)
	}
	if m, err = parseMeta(text); errors.Is(err, errVersion) { // which is no damage
		return m, true, fmt.Errorf("%s: %w", metaFile, err)
	}
	if err != nil {
		return m, true, fmt.Errorf("%w: %s: %w", channel.ErrCorrupt, metaFile, err)
	}
	return m, true, nil
}

// cleanMark is what CLEAN says: the last record when the channel was closed in order.
func cleanMark(next uint64, prev uint32) []byte {
	return sealed(fmt.Sprintf("next %d\nprev %08x\n", next, prev))
}

// closedClean says whether the log ends where it was closed in order. Then all of it was flushed, and nothing lies behind.
func closedClean(f files, next uint64, prev uint32) bool {
	text, err := readAll(f, cleanFile, maxMeta)
	return err == nil && string(text) == string(cleanMark(next, prev))
}
