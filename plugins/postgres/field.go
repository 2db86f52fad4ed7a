// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// step goes from a value to one within it: to a member of an object by its name, or of an array by its place.
type step struct {
	name  string
	index int // of an array; -1: by name
}

// maxSteps bounds a path: nobody writes a longer one on purpose.
const maxSteps = 32

// parsePath reads what follows "body": `.user.id`, `["a name"]`, `.items[0]`.
func parsePath(text string) ([]step, error) {
	var path []step
	for rest := text; rest != ""; {
		var s step
		var err error
		switch {
		case rest[0] == '.':
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			s, rest = step{rest[1:end], -1}, rest[end:]
			if s.name == "" {
				err = errors.New("has a dot with no name after it")
			}
		case strings.HasPrefix(rest, `["`):
			quoted, problem := strconv.QuotedPrefix(rest[1:])
			after, ok := strings.CutPrefix(rest[min(1+len(quoted), len(rest)):], "]")
			if problem != nil || !ok {
				return nil, fmt.Errorf(`"body%s" has a [" that no "] ends`, text)
			}
			s = step{index: -1}
			s.name, err = strconv.Unquote(quoted)
			rest = after
		case rest[0] == '[':
			number, after, ok := strings.Cut(rest[1:], "]")
			n, problem := strconv.ParseUint(number, 10, 31)
			if !ok || problem != nil {
				return nil, fmt.Errorf(`"body%s" has a [ that is followed neither by a number nor by a name in quotes, and ]`, text)
			}
			s, rest = step{index: int(n)}, after
		default:
			return nil, fmt.Errorf(`"body%s" is no path: write body.FIELD, body["FIELD"] or body.LIST[0]`, text)
		}
		switch path = append(path, s); {
		case err != nil:
			return nil, fmt.Errorf(`"body%s": %w`, text, err)
		case len(path) > maxSteps:
			return nil, fmt.Errorf(`"body%s" has more than %d steps`, text, maxSteps)
		}
	}
	return path, nil
}

// checkedBody is the body of an event, which is looked at once, however many columns want a field of it.
type checkedBody struct {
	text    []byte
	checked bool
	err     error
}

var errNotJSON = errors.New("the body is not JSON, and the column wants a field of it")

// at is the value at a path, as it stands there; nil: there is none.
func (b *checkedBody) at(path []step) ([]byte, error) {
	if !b.checked {
		b.checked = true
		if !json.Valid(b.text) || !utf8.Valid(b.text) {
			b.err = errNotJSON
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	value := trim(b.text)
	for _, s := range path {
		if value = member(value, s); value == nil {
			return nil, nil
		}
	}
	return value, nil
}

// member is the value of an object or array, which is valid JSON, at a step. Of equal names the last counts, as in jsonb.
func member(value []byte, s step) (found []byte) {
	object := value[0] == '{'
	if !object && value[0] != '[' || object != (s.index < 0) {
		return nil
	}
	rest := trim(value[1:])
	for n := 0; rest[0] != '}' && rest[0] != ']'; n++ {
		same := n == s.index
		if object {
			end := skipValue(rest)
			same = named(rest[:end], s.name)
			rest = trim(trim(rest[end:])[1:]) // the colon
		}
		end := skipValue(rest)
		if same {
			found = rest[:end]
		}
		if rest = trim(rest[end:]); rest[0] == ',' {
			rest = trim(rest[1:])
		}
	}
	return found
}

// named says whether a string in quotes is that name.
func named(quoted []byte, name string) bool {
	if inside := quoted[1 : len(quoted)-1]; string(inside) == name {
		return true
	} else if bytes.IndexByte(inside, '\\') < 0 {
		return false
	}
	text, err := unquote(quoted)
	return err == nil && string(text) == name
}

// unquote is the text of a string.
func unquote(quoted []byte) ([]byte, error) {
	if inside := quoted[1 : len(quoted)-1]; bytes.IndexByte(inside, '\\') < 0 {
		return inside, nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return nil, fmt.Errorf("read a string of the body: %w", err)
	}
	return []byte(s), nil
}

// skipValue is the length of the value at the beginning of b, which is valid JSON.
func skipValue(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of a number or a word that ends what it is in
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// trim leaves out blanks at the beginning.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}
