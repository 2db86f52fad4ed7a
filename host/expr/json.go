// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep JSON may nest: deeper is refused like what is no JSON, so that no event exhausts the stack.
const maxDepth = 256

// step is one step from a value of JSON to one within it.
type step struct {
	name  string // of a field
	index int    // of an element
	elem  bool   // it is an element that is meant
}

// pick finds the value at path in doc, and reads all of doc, so that the answer does not depend on where in it a mistake is. Of
// fields of the same name the last counts. there is false when there is no such value, valid when doc is no JSON.
func pick(doc string, path []step) (found string, there, valid bool) {
	p := scanner{doc: doc}
	p.space()
	found, there = p.value(path)
	p.space()
	return found, there, !p.bad && p.at == len(doc)
}

// scanner reads JSON as RFC 8259 has it.
type scanner struct {
	doc   string
	at    int
	depth int
	bad   bool
}

// next returns the byte at which it stands; 0 at the end, where no JSON has one.
func (p *scanner) next() byte {
	if p.at < len(p.doc) {
		return p.doc[p.at]
	}
	return 0
}

func (p *scanner) space() {
	for p.at < len(p.doc) {
		switch p.doc[p.at] {
		case ' ', '\n', '\t', '\r':
			p.at++
		default:
			return
		}
	}
}

// take goes over c and the space behind it, and says whether it was there.
func (p *scanner) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	p.space()
	return true
}

// value reads one value, and returns what path leads to in it.
func (p *scanner) value(path []step) (found string, there bool) {
	from := p.at
	switch c := p.next(); {
	case c == '"':
		p.str()
	case c == '{', c == '[':
		if p.depth++; p.depth > maxDepth {
			p.bad = true
			return "", false
		}
		if c == '{' {
			found, there = p.object(path)
		} else {
			found, there = p.array(path)
		}
		p.depth--
	case c == 't':
		p.word("true")
	case c == 'f':
		p.word("false")
	case c == 'n':
		p.word("null")
	default:
		p.number()
	}
	if len(path) == 0 && !p.bad {
		return p.doc[from:p.at], true
	}
	return found, there
}

func (p *scanner) object(path []step) (found string, there bool) {
	p.take('{')
	for first := true; !p.bad; first = false {
		if first && p.next() == '}' {
			break
		}
		if p.next() != '"' {
			p.bad = true
			break
		}
		from := p.at
		plain := p.str()
		key := p.doc[from:p.at]
		p.space()
		if p.bad || !p.take(':') {
			p.bad = true
			break
		}
		if len(path) > 0 && !path[0].elem && keyIs(key, path[0].name, plain) {
			found, there = p.value(path[1:])
		} else {
			p.value(nil)
		}
		p.space()
		if !p.take(',') {
			break
		}
	}
	p.end('}')
	return found, there
}

func (p *scanner) array(path []step) (found string, there bool) {
	p.take('[')
	for i := 0; !p.bad; i++ {
		if i == 0 && p.next() == ']' {
			break
		}
		if len(path) > 0 && path[0].elem && path[0].index == i {
			found, there = p.value(path[1:])
		} else {
			p.value(nil)
		}
		p.space()
		if !p.take(',') {
			break
		}
	}
	p.end(']')
	return found, there
}

// end takes the last byte of an object or array.
func (p *scanner) end(c byte) {
	if p.next() != c {
		p.bad = true
		return
	}
	p.at++
}

func (p *scanner) word(w string) {
	if !strings.HasPrefix(p.doc[p.at:], w) {
		p.bad = true
		return
	}
	p.at += len(w)
}

// str reads a string, and says whether it stands for itself, without escapes.
func (p *scanner) str() (plain bool) {
	plain = true
	s := p.doc
	for i := p.at + 1; i < len(s); i++ {
		i += ordinary(s[i:])
		if i == len(s) {
			break
		}
		switch c := s[i]; {
		case c == '"':
			p.at = i + 1
			return plain
		case c < ' ':
			p.bad = true
			return plain
		case c == '\\':
			plain = false
			n := escape(s[i:])
			if n == 0 {
				p.bad = true
				return plain
			}
			i += n - 1
		}
	}
	p.bad = true
	return plain
}

// ordinary is how many bytes at the beginning of s a string goes on: without a quote, a backslash or a control character. It looks
// at eight bytes at a time: the high bit of a byte in found is set where the byte is one of those, and below the first such nowhere else.
func ordinary(s string) (n int) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; n+8 <= len(s); n += 8 {
		w := binary.LittleEndian.Uint64(bytesOf(s[n : n+8]))
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		if found := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*' ')&^w) & highs; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(s) && s[n] != '"' && s[n] != '\\' && s[n] >= ' '; n++ {
	}
	return n
}

// escape is the length of the escape at the beginning of s, 0 if it is none.
func escape(s string) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(s) >= 6 && hexDigits(s[2:6]) {
			return 6
		}
	}
	return 0
}

func hexDigits(s string) bool {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case s[i] >= '0' && s[i] <= '9', c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}

func (p *scanner) number() {
	if p.next() == '-' {
		p.at++
	}
	if p.next() == '0' {
		p.at++
	} else {
		p.digits()
	}
	if p.next() == '.' {
		p.at++
		p.digits()
	}
	if p.next()|0x20 == 'e' {
		p.at++
		if c := p.next(); c == '+' || c == '-' {
			p.at++
		}
		p.digits()
	}
}

// digits takes one digit or more.
func (p *scanner) digits() {
	from := p.at
	for c := p.next(); c >= '0' && c <= '9'; c = p.next() {
		p.at++
	}
	if p.at == from {
		p.bad = true
	}
}

// keyIs says whether key, in quotes, is name.
func keyIs(key, name string, plain bool) bool {
	inner := key[1 : len(key)-1]
	if plain {
		return inner == name
	}
	return string(appendUnescaped(nil, inner)) == name
}

// appendUnescaped writes what a string of JSON stands for. Half a surrogate pair is U+FFFD.
func appendUnescaped(b []byte, s string) []byte {
	for len(s) > 0 {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i]...)
		s = s[i:]
		switch s[1] {
		case 'u':
			r := unit(s)
			s = s[6:]
			if utf16.IsSurrogate(r) {
				low := unit(s)
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					s = s[6:]
				}
			}
			b = utf8.AppendRune(b, r)
			continue
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		default:
			b = append(b, s[1])
		}
		s = s[2:]
	}
	return b
}

// unit is the UTF-16 unit of the escape at the beginning of s, or −1.
func unit(s string) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	n, _ := strconv.ParseUint(s[2:6], 16, 16) // four hexadecimal digits always parse
	return rune(n)
}
