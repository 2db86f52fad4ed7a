// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// Secret is something that the configuration names and does not hold. Loading reads no secret; [ReadKeys] does.
type Secret struct {
	Name string
	From string    // "env:NAME", "exec:COMMAND", "systemd:NAME", or "file:PATH" with an absolute path
	At   hcl.Range // of the text that says so
	// Refresh is how often it is read again, for those who use it by then; 0: never.
	Refresh time.Duration
}

// RunsProgram says whether a program is run to read it.
func (s Secret) RunsProgram() bool { return strings.HasPrefix(s.From, fromExec+":") }

// Where a secret may come from.
const (
	fromEnv     = "env"
	fromFile    = "file"
	fromExec    = "exec"
	fromSystemd = "systemd"
)

var providers = []string{fromEnv, fromFile, fromExec, fromSystemd}

// secretForms is how a sentence lists them.
const secretForms = `"env:NAME", "file:PATH", "exec:/PATH/TO/PROGRAM ARGUMENTS" or "systemd:NAME"`

// secretTimeout is how long a program may take that is asked for a secret: the agent does not start meanwhile.
const secretTimeout = 10 * time.Second

// minRefresh is how often a secret may be read again: a program runs, and whoever uses it starts again when it has changed.
const minRefresh = time.Second

// maxSecretFile bounds what is read of a file that holds a secret.
const maxSecretFile = 4 << 10

func (l *loader) declareSecrets(c *Config) {
	seen := make(map[string]bool)
	for _, v := range l.blocks["secret"] {
		if seen[v.name()] {
			continue // reported as a name used twice
		}
		seen[v.name()] = true
		from := v.text("from")
		if v.broken || from == "" {
			continue
		}
		s := Secret{Name: v.name(), From: from, At: v.where("from"), Refresh: time.Duration(v.number("refresh"))}
		if s.Refresh > 0 && s.Refresh < minRefresh {
			l.add("E1303", v.where("refresh"), `The argument "refresh" must be %v or more, or "0s".`, minRefresh)
		}
		provider, rest, _ := strings.Cut(from, ":")
		switch {
		case !slices.Contains(providers, provider) || rest == "":
			// Not at the line with the text, which would be shown: it may be the secret itself.
			l.add("E5001", v.at, "A secret comes from %s.", secretForms)
		case provider == fromFile:
			s.From = fromFile + ":" + l.path(rest)
		case provider == fromExec && !strings.HasPrefix(rest, "/"):
			l.add("E5001", v.at, "The program that is asked for a secret is written with its whole path, so that it is always the same: exec:/usr/bin/….")
		case provider == fromSystemd && strings.Contains(rest, "/"):
			l.add("E5001", v.at, "A credential of systemd has a name without slashes, the one in LoadCredential= of the unit.")
		}
		c.Secrets = append(c.Secrets, s)
	}
}

// encryption reads the keys of a channel.
func (l *loader) encryption(v *values) (key string, old []string) {
	e := v.child("encryption")
	if !e.isSet("key") && !e.isSet("old") {
		if e.at != v.at {
			l.add("E1204", e.at, `An encryption block needs the argument "key", to encrypt, or "old", to read what was encrypted before.`)
		}
		return "", nil
	}
	if v.labels[0] != kindDurable {
		l.add("W2004", e.at, "Only a channel of kind %q has a use for encryption: this one keeps nothing on disk.", kindDurable)
		return "", nil
	}
	if e.isSet("key") {
		key, _ = l.reference(e.args["key"].expr, secretReference, slices.Collect(maps.Keys(l.secrets)))
	}
	if expr := e.args["old"].expr; expr != nil {
		items, diags := hcl.ExprList(expr)
		if diags.HasErrors() {
			l.add("E1301", expr.Range(), "The argument \"old\" must be a list of secrets: [secret.NAME].")
			return key, nil
		}
		for _, item := range items {
			if name, ok := l.reference(item, secretReference, slices.Collect(maps.Keys(l.secrets))); ok {
				old = append(old, name)
			}
		}
	}
	return key, old
}

// ReadKeys reads the secrets that channels use as keys: the one moment at which anybody looks at a secret. The result
// holds 32 bytes for each name. Values are in no diagnostic.
func ReadKeys(c *Config) (map[string][]byte, hcl.Diagnostics) {
	used := map[string]bool{}
	for _, ch := range c.Channels {
		for _, name := range append(slices.Clone(ch.OldKeys), ch.Key) {
			used[name] = true
		}
	}
	var f faults
	keys := map[string][]byte{}
	for _, s := range c.Secrets {
		if !used[s.Name] {
			continue
		}
		key, err := ReadKey(s.From)
		if err != nil {
			bad, _ := errors.AsType[*SecretError](err) // it always is
			f.add(bad.code, s.At, "secret.%s: %s", s.Name, stop(bad.text))
			continue
		}
		keys[s.Name] = key
	}
	return keys, f.sorted()
}

// SecretError says why a secret cannot be used. It does not hold the secret.
type SecretError struct {
	code code
	text string
}

func (e *SecretError) Error() string { return e.text }

// Code is the stable code of the mistake.
func (e *SecretError) Code() string { return string(e.code) }

func noSecret(c code, format string, args ...any) error {
	return &SecretError{c, fmt.Sprintf(format, args...)}
}

// ReadKey reads a key of 32 bytes from where a secret may come from. Its error is a *SecretError.
func ReadKey(from string) ([]byte, error) {
	b, err := fetchSecret(context.Background(), from)
	if err != nil {
		return nil, err
	}
	return parseKey(b, !strings.HasPrefix(from, fromEnv+":"))
}

// fetchSecret gets what a secret is, as it is there. Its error is a *SecretError.
func fetchSecret(ctx context.Context, from string) ([]byte, error) {
	provider, rest, _ := strings.Cut(from, ":")
	switch {
	case rest == "":
	case provider == fromEnv:
		text, ok := os.LookupEnv(rest)
		if !ok {
			return nil, noSecret("E5002", "the environment variable %s is not set", rest)
		}
		return []byte(text), nil
	case provider == fromFile:
		return readSecretFile(rest)
	case provider == fromExec:
		return runForSecret(ctx, rest)
	case provider == fromSystemd:
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, noSecret("E5002", "this process was not started by systemd with credentials: the unit needs LoadCredential=%s:/path, or LoadCredentialEncrypted=", rest)
		}
		return readSecretFile(filepath.Join(dir, rest))
	}
	return nil, noSecret("E5001", "a secret comes from %s", secretForms)
}

// runForSecret asks a program. No shell is between, so that words are parted by spaces, and nothing else is special. What it
// prints beside the secret is not shown: it might hold a part of it.
func runForSecret(ctx context.Context, command string) ([]byte, error) {
	words := strings.Fields(command)
	if len(words) == 0 || !filepath.IsAbs(words[0]) {
		return nil, noSecret("E5001", "a secret comes from %s", secretForms)
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = time.Second // for what it has started, and what holds its output open
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return nil, noSecret("E5002", "%s has not ended within %v", words[0], secretTimeout)
	case err != nil:
		return nil, noSecret("E5002", "%s: %v; run it by hand, as the user and in the environment of the agent, to see what it says", words[0], err)
	case len(out) > maxSecretFile:
		return nil, noSecret("E5002", "%s has printed more than %s", words[0], formatSize(maxSecretFile))
	}
	return out, nil
}

func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, noSecret("E5002", "%v", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, noSecret("E5002", "%v", err)
	case !info.Mode().IsRegular():
		return nil, noSecret("E5002", "it is no regular file")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0:
		return nil, noSecret("E5004", "everybody on this machine may open the file (mode %04o): take that right away with chmod o=, and change the key if somebody may have seen it", info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	if err != nil {
		return nil, noSecret("E5002", "%v", err)
	}
	return b, nil
}

// readSecret reads text from where a secret may come from, without the newline at its end. Its error is a *SecretError.
func readSecret(ctx context.Context, from string) (string, error) {
	b, err := fetchSecret(ctx, from)
	if err != nil {
		return "", err
	}
	text := string(b)
	if !strings.HasPrefix(from, fromEnv+":") {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	}
	switch {
	case text == "":
		return "", noSecret("E5002", "it is empty")
	case !utf8.ValidString(text):
		return "", noSecret("E5002", "it is not text in UTF-8")
	}
	return text, nil
}

// parseKey takes 64 hex digits, 44 characters of base64 or, in a file, 32 bytes as they are. A newline may follow.
func parseKey(b []byte, file bool) ([]byte, error) {
	const size = 32
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case file && len(b) == size:
		return b, nil
	case len(text) == hex.EncodedLen(size):
		if key, err := hex.DecodeString(text); err == nil {
			return key, nil
		}
	case len(text) == base64.StdEncoding.EncodedLen(size):
		if key, err := base64.StdEncoding.Strict().DecodeString(text); err == nil && len(key) == size {
			return key, nil
		}
	case file && len(text) == size:
		return []byte(text), nil
	}
	return nil, noSecret("E5003", "a key is 64 hex digits, 44 characters of base64 or, in a file, 32 bytes; this is something else, of %d characters", len(text))
}
