// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"iter"
	"math"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/apparentlymart/go-textseg/v15/textseg"
)

// maxParams is the most parameters of a function of the table.
const maxParams = 3

// plain is a function whose arguments are all evaluated, converted, and not null.
type plain struct {
	params []typ
	result typ
	run    func(v *vm, a [maxParams]value) value // what it answers as failed has no place yet
}

// functions are those of HCL's standard library and of Terraform that make sense for one event, under their names there.
var functions = map[string]plain{
	"abs":         {[]typ{numberType}, numberType, abs},
	"ceil":        {[]typ{numberType}, numberType, rounding(math.Ceil)},
	"endswith":    {[]typ{stringType, stringType}, boolType, func(_ *vm, a [3]value) value { return truth(strings.HasSuffix(a[0].s, a[1].s)) }},
	"floor":       {[]typ{numberType}, numberType, rounding(math.Floor)},
	"join":        {[]typ{stringType, listType}, stringType, join},
	"length":      {[]typ{anything}, numberType, length},
	"lower":       {[]typ{stringType}, stringType, lower},
	"replace":     {[]typ{stringType, stringType, stringType}, stringType, replace},
	"split":       {[]typ{stringType, stringType}, listType, split},
	"startswith":  {[]typ{stringType, stringType}, boolType, func(_ *vm, a [3]value) value { return truth(strings.HasPrefix(a[0].s, a[1].s)) }},
	"strcontains": {[]typ{stringType, stringType}, boolType, func(_ *vm, a [3]value) value { return truth(strings.Contains(a[0].s, a[1].s)) }},
	"strlen":      {[]typ{stringType}, numberType, func(_ *vm, a [3]value) value { return whole(int64(characters(a[0].s))) }},
	"substr":      {[]typ{stringType, numberType, numberType}, stringType, substr},
	"trim":        {[]typ{stringType, stringType}, stringType, func(_ *vm, a [3]value) value { return textOf(strings.Trim(a[0].s, a[1].s)) }},
	"trimprefix":  {[]typ{stringType, stringType}, stringType, func(_ *vm, a [3]value) value { return textOf(strings.TrimPrefix(a[0].s, a[1].s)) }},
	"trimspace":   {[]typ{stringType}, stringType, func(_ *vm, a [3]value) value { return textOf(strings.TrimSpace(a[0].s)) }},
	"trimsuffix":  {[]typ{stringType, stringType}, stringType, func(_ *vm, a [3]value) value { return textOf(strings.TrimSuffix(a[0].s, a[1].s)) }},
	"upper":       {[]typ{stringType}, stringType, upper},
}

func abs(_ *vm, a [maxParams]value) value {
	if compare(a[0], whole(0)) >= 0 {
		return a[0]
	}
	if n, ok := subtract(whole(0), a[0]); ok {
		return n
	}
	return fail(0, noResult)
}

func rounding(round func(float64) float64) func(*vm, [maxParams]value) value {
	return func(_ *vm, a [maxParams]value) value {
		if a[0].kind == integer {
			return a[0]
		}
		n, _ := number(round(a[0].float64())) // of what is finite
		return n
	}
}

// length is how many elements a list has, or characters a text.
func length(_ *vm, a [maxParams]value) value {
	switch x := a[0]; x.kind {
	case text:
		return whole(int64(characters(x.s)))
	case list, object:
		return whole(int64(len(x.l.elems)))
	case raw:
		n := int64(0)
		if x.s[0] == '[' {
			for range elements(x.s) {
				n++
			}
			return whole(n)
		}
		return whole(fields(x.s))
	case null:
		return fail(0, isNull)
	}
	return fail(0, notList)
}

// characters counts as HCL does: what a person takes for one, which may be several runes.
func characters(s string) (n int) {
	if ascii(s) {
		return len(s) - strings.Count(s, "\r\n")
	}
	n, _ = textseg.TokenCount(bytesOf(s), textseg.ScanGraphemeClusters) // it fails when the scanner does, which never does
	return n
}

// bytesOf is s as bytes, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// elements yields the JSON of each element of an array that was checked.
func elements(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		p := scanner{doc: s}
		p.take('[')
		for p.next() != ']' {
			one, _ := p.value(nil)
			if !yield(one) {
				return
			}
			p.space()
			p.take(',')
		}
	}
}

// fields counts the fields of an object that was checked, each name once.
func fields(s string) int64 {
	names := make(map[string]struct{})
	p := scanner{doc: s}
	p.take('{')
	for p.next() != '}' {
		from := p.at
		p.str()
		names[string(appendUnescaped(nil, p.doc[from+1:p.at-1]))] = struct{}{}
		p.space()
		p.take(':')
		p.value(nil)
		p.space()
		p.take(',')
	}
	return int64(len(names))
}

func lower(v *vm, a [maxParams]value) value { return v.cased(a[0].s, 'A', 'Z', strings.ToLower) }
func upper(v *vm, a [maxParams]value) value { return v.cased(a[0].s, 'a', 'z', strings.ToUpper) }

// cased changes the case of the letters from first to last, which is all there is in most texts; convert does the others.
func (v *vm) cased(s string, first, last byte, convert func(string) string) value {
	at := -1 // of the first to be changed
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			if !v.room(3 * len(s)) {
				return fail(0, tooMuch)
			}
			return textOf(convert(s))
		}
		if at < 0 && c >= first && c <= last {
			at = i
		}
	}
	switch {
	case at < 0:
		return textOf(s)
	case !v.room(len(s)):
		return fail(0, tooMuch)
	}
	from := len(v.buf)
	v.buf = append(v.buf, s...)
	out := v.buf[from:]
	for i := at; i < len(out); i++ {
		if out[i] >= first && out[i] <= last {
			out[i] ^= 'a' - 'A'
		}
	}
	return v.made(from)
}

// replace puts a[2] for each a[1] in a[0]. A pattern is another function, and known before events are.
func replace(v *vm, a [maxParams]value) value {
	if isPattern(a[1].s) {
		return fail(0, notFixed)
	}
	n := strings.Count(a[0].s, a[1].s)
	if n == 0 {
		return a[0]
	}
	if grown := len(a[2].s) - len(a[1].s); grown > 0 && grown > maxText/n || !v.room(len(a[0].s)+n*max(grown, 0)) {
		return fail(0, tooMuch)
	}
	return textOf(strings.ReplaceAll(a[0].s, a[1].s, a[2].s))
}

// split makes a list of what lies between a[0] in a[1].
func split(_ *vm, a [maxParams]value) value {
	n := strings.Count(a[1].s, a[0].s) + 1
	if n > maxElements {
		return fail(0, tooMuch)
	}
	seq := &sequence{elems: make([]value, 0, n)}
	for part := range strings.SplitSeq(a[1].s, a[0].s) {
		seq.elems = append(seq.elems, textOf(part))
	}
	return value{kind: list, l: seq}
}

// join writes the elements of a list, with a[0] between them.
func join(v *vm, a [maxParams]value) value {
	var texts []string
	one := func(e value) value {
		t := v.toText(e, 0)
		if t.kind == failed {
			return t
		}
		if texts = append(texts, t.s); len(texts) > maxElements {
			return fail(0, tooMuch)
		}
		return t
	}
	if a[1].kind == raw {
		for s := range elements(a[1].s) {
			if t := one(v.decoded(s, 0)); t.kind == failed {
				return t
			}
		}
	} else {
		for _, e := range a[1].l.elems {
			if t := one(e); t.kind == failed {
				return t
			}
		}
	}
	from := len(v.buf)
	for i, t := range texts {
		if !v.room(len(t) + len(a[0].s)) {
			return fail(0, tooMuch)
		}
		if i > 0 {
			v.buf = append(v.buf, a[0].s...)
		}
		v.buf = append(v.buf, t...)
	}
	return v.made(from)
}

// substr is a[2] characters of a[0] from a[1] on; −1 is all that are left. A negative beginning counts from the end.
func substr(_ *vm, a [maxParams]value) value {
	if a[1].kind != integer || a[2].kind != integer {
		return fail(0, notNumber)
	}
	s, first, n := a[0].s, a[1].n, a[2].n
	if first < 0 {
		first = max(0, first+int64(characters(s)))
	}
	s = s[skip(s, first):]
	if n < 0 {
		return textOf(s)
	}
	return textOf(s[:skip(s, n)])
}

// skip is how many bytes the first n characters of s take.
func skip(s string, n int64) (bytes int) {
	for ; n > 0 && bytes < len(s); n-- {
		at, _, _ := textseg.ScanGraphemeClusters(bytesOf(s[bytes:]), true) // it never fails
		bytes += at
	}
	return bytes
}
