// SPDX-License-Identifier: Apache-2.0

package expr

// reason is why something has no value.
type reason int64

// The reasons. A failed value has one in the low byte of n, and its place in the bits above.
const (
	isNull reason = iota
	notNumber
	notBool
	notText
	notList
	notJSON
	notIndexed
	noElement
	notCompared
	noResult
	noMatch
	allNull
	tooMuch
	notKnown
	notFixed
)

// reasons are what a user reads.
var reasons = [...]string{
	isNull:      "this is null: there is no such attribute or field",
	notNumber:   "this is not a number",
	notBool:     "this is not a bool",
	notText:     "this is a list or an object, and a string is needed",
	notList:     "this is not a list",
	notJSON:     "this is not JSON",
	notIndexed:  "this has no elements",
	noElement:   "there is no such element",
	notCompared: "lists and objects are not compared",
	noResult:    "this has no result: a division by zero, or a number beyond what is counted with",
	noMatch:     "the pattern does not match",
	allNull:     "all of these are null",
	tooMuch:     "this makes more text or elements than one event may",
	notFixed:    "a pattern, within slashes, has to be written in the configuration, and this one is of the event",
	notKnown:    "this is not known before the agent runs",
}

// fail is the value of what fails there.
func fail(place int64, why reason) value { return value{kind: failed, n: place<<8 | int64(why)} }

// toNumber converts x as HCL does. place is where x stands.
func toNumber(x value, place int64) value {
	switch x.kind {
	case integer, float, failed:
		return x
	case null:
		return fail(place, isNull)
	case text:
		if n, ok := parseNumber(x.s); ok {
			return n
		}
	}
	return fail(place, notNumber)
}

func toBool(x value, place int64) value {
	switch x.kind {
	case boolean, failed:
		return x
	case null:
		return fail(place, isNull)
	case text:
		if b, ok := parseBool(x.s); ok {
			return b
		}
	}
	return fail(place, notBool)
}

func (v *vm) toText(x value, place int64) value {
	switch x.kind {
	case text, failed:
		return x
	case null:
		return fail(place, isNull)
	}
	if !v.room(maxNumber) {
		return fail(place, tooMuch)
	}
	from, ok := len(v.buf), false
	if v.buf, ok = appendText(v.buf, x); !ok {
		return fail(place, notText)
	}
	return v.made(from)
}

func toList(x value, place int64) value {
	switch x.kind {
	case failed, list:
		return x
	case null:
		return fail(place, isNull)
	case raw:
		if x.s[0] == '[' {
			return x
		}
	}
	return fail(place, notList)
}
