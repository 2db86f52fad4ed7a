// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"math"
	"math/bits"
	"strconv"
)

// kind is what a value is while an expression runs.
type kind uint8

const (
	failed  kind = iota // n is the place of the reason in Program.failures
	null                //
	boolean             // n is 0 or 1
	integer             // n
	float               // n is the bits of a float64 that is neither infinite nor not a number
	text                // s
	list                // l
	object              // l, with names
	raw                 // s is the JSON of an object or array
)

// value is what a node comes to. It is small enough to travel in registers. s may lie in the event or in the scratch memory of
// the evaluator: it is valid until the next event.
type value struct {
	kind kind
	n    int64
	s    string
	l    *sequence
}

// sequence is the elements of a list, or of an object under their names.
type sequence struct {
	elems []value
	names []string // nil: a list
}

// named returns the element of that name.
func (l *sequence) named(name string) (value, bool) {
	for i, n := range l.names {
		if n == name {
			return l.elems[i], true
		}
	}
	return value{}, false
}

func truth(b bool) value {
	if b {
		return value{kind: boolean, n: 1}
	}
	return value{kind: boolean}
}

func whole(n int64) value    { return value{kind: integer, n: n} }
func textOf(s string) value  { return value{kind: text, s: s} }
func (v value) isTrue() bool { return v.n != 0 }

// number makes a float a value. ok is false for what is no number.
func number(f float64) (v value, ok bool) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return value{}, false
	}
	return value{kind: float, n: int64(math.Float64bits(f + 0))}, true // −0 + 0 is 0
}

func (v value) isNumber() bool { return v.kind == integer || v.kind == float }

// float64 is the number as a float, rounded where it is an integer of more than 53 bits.
func (v value) float64() float64 {
	if v.kind == integer {
		return float64(v.n)
	}
	return math.Float64frombits(uint64(v.n))
}

// compare answers −1, 0 or 1 for two numbers, exactly.
func compare(a, b value) int {
	switch {
	case a.kind == integer && b.kind == integer:
		return order(a.n, b.n)
	case a.kind == integer:
		return -compareFloat(b.float64(), a.n)
	case b.kind == integer:
		return compareFloat(a.float64(), b.n)
	}
	return order(a.float64(), b.float64())
}

func order[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareFloat compares f with n without rounding n.
func compareFloat(f float64, n int64) int {
	const limit = 1 << 63
	switch {
	case f >= limit:
		return 1
	case f < -limit:
		return -1
	}
	whole := math.Trunc(f)
	if c := order(int64(whole), n); c != 0 {
		return c
	}
	return order(f, whole)
}

// equal says whether two values are the same, as == has it: values of different types never are. comparable is false for lists
// and objects, which are compared with null alone.
func equal(a, b value) (same, comparable bool) {
	switch {
	case a.kind == null || b.kind == null:
		return a.kind == b.kind, true
	case a.kind >= list || b.kind >= list:
		return false, a.kind < list || b.kind < list
	case a.isNumber() && b.isNumber():
		return compare(a, b) == 0, true
	case a.kind != b.kind:
		return false, true
	case a.kind == text:
		return a.s == b.s, true
	}
	return a.n == b.n, true
}

// arithmetic is what an operator does with two numbers. ok is false where there is no result.
type arithmetic func(a, b value) (v value, ok bool)

func add(a, b value) (value, bool) {
	if a.kind == integer && b.kind == integer {
		if sum := a.n + b.n; (sum > a.n) == (b.n > 0) {
			return whole(sum), true
		}
	}
	return number(a.float64() + b.float64())
}

func subtract(a, b value) (value, bool) {
	if a.kind == integer && b.kind == integer {
		if diff := a.n - b.n; (diff < a.n) == (b.n > 0) {
			return whole(diff), true
		}
	}
	return number(a.float64() - b.float64())
}

func multiply(a, b value) (value, bool) {
	if a.kind == integer && b.kind == integer {
		hi, lo := bits.Mul64(magnitude(a.n), magnitude(b.n))
		if hi == 0 && lo <= math.MaxInt64 {
			return whole(a.n * b.n), true
		}
	}
	return number(a.float64() * b.float64())
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

func divide(a, b value) (value, bool) {
	if a.kind == integer && b.kind == integer && b.n != 0 && b.n != -1 && a.n%b.n == 0 {
		return whole(a.n / b.n), true
	}
	return number(a.float64() / b.float64()) // by zero: infinite, or no number
}

func modulo(a, b value) (value, bool) {
	switch {
	case a.kind != integer || b.kind != integer:
		return number(math.Mod(a.float64(), b.float64()))
	case b.n == 0:
		return value{}, false
	case b.n == -1:
		return whole(0), true
	}
	return whole(a.n % b.n), true
}

// parseNumber reads a number as HCL does from a string: in decimal, with an exponent or without.
func parseNumber(s string) (v value, ok bool) {
	if n, ok := parseWhole(s); ok {
		return whole(n), true
	}
	if len(s) == 0 || len(s) > maxNumber {
		return value{}, false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '.', c == '+', c == '-', c == 'e', c == 'E':
		default: // hexadecimal, "inf", "1_000": Go would take them
			return value{}, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return value{}, false
	}
	return number(f)
}

// maxNumber is the longest text that is read as a number, in bytes: a float64 written out in full has 330.
const maxNumber = 400

// parseWhole reads an integer that fits; it is what most numbers in events are.
func parseWhole(s string) (n int64, ok bool) {
	digits := s
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > 18 { // 18 nines fit
		return 0, false
	}
	for i := range len(digits) {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if s[0] == '-' {
		n = -n
	}
	return n, true
}

// appendText writes a value as HCL converts it to a string. ok is false for what has no such form.
func appendText(b []byte, v value) (_ []byte, ok bool) {
	switch v.kind {
	case text:
		return append(b, v.s...), true
	case integer:
		return strconv.AppendInt(b, v.n, 10), true
	case float:
		return strconv.AppendFloat(b, v.float64(), 'f', -1, 64), true
	case boolean:
		return strconv.AppendBool(b, v.isTrue()), true
	}
	return b, false
}

// parseBool reads a bool as HCL does from a string.
func parseBool(s string) (v value, ok bool) {
	switch s {
	case "true", "1":
		return truth(true), true
	case "false", "0":
		return truth(false), true
	}
	return value{}, false
}
