// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAKeyIsReadInEachForm(t *testing.T) {
	raw := []byte("0123456789 with a newline here:\n")
	digits, base := hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw)
	plain := bytes.Repeat([]byte{200}, 32)
	for _, c := range []struct {
		says, text string
		file       bool
		want       []byte
	}{
		{"hex", digits, false, raw},
		{"hex in upper case, in a file with a newline", strings.ToUpper(digits) + "\n", true, raw},
		{"base64", base, false, raw},
		{"base64, with a newline", base + "\r\n", true, raw},
		{"bytes that end like a line", string(raw), true, raw},
		{"bytes with a newline", string(plain) + "\n", true, plain},
		{"bytes in a variable", string(plain), false, nil},
		{"nothing", "", true, nil},
		{"hex that is too short", digits[2:], false, nil},
		{"base64 of other bits", base[:42] + "B=", false, nil},
		{"two lines", digits + "\n\n", true, nil},
	} {
		got, err := parseKey([]byte(c.text), c.file)
		if !bytes.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: got %x, %v", c.says, got, err)
		}
	}
}

func TestAKeyIsReadFromWhereItIs(t *testing.T) {
	want := bytes.Repeat([]byte{7}, 32)
	file := filepath.Join(t.TempDir(), "a:b.key")
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PENSTOCK_TEST_KEY", hex.EncodeToString(want))
	for _, from := range []string{"env:PENSTOCK_TEST_KEY", "file:" + file} {
		if got, err := ReadKey(from); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v", from, got, err)
		}
	}
	for from, want := range map[string]string{"": "E5001", "env:": "E5001", "exec:true": "E5001", "env:PENSTOCK_NO_KEY": "E5002", "file:" + file + ".no": "E5002"} {
		_, err := ReadKey(from)
		if bad, ok := errors.AsType[*SecretError](err); !ok || bad.Code() != want {
			t.Errorf("%q: %v", from, err)
		}
	}
}
