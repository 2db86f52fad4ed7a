// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// builtinFunction is what an expression may call.
type builtinFunction struct {
	name, args string // args as the reference shows them
	function.Function
	doc string
}

// functionTable is the reference's, too. All functions are pure: a configuration means the same everywhere and at any time, so that two of them can be
// compared. What differs from machine to machine comes in through variables. The functions of HCL's other languages have the same names and arguments.
var functionTable = []builtinFunction{
	{"abs", "number", stdlib.AbsoluteFunc, "Without its sign."},
	{"base64decode", "string", text(decodeBase64), "The text that is encoded so."},
	{"base64encode", "string", text(encodeBase64), "The text, encoded."},
	{"can", "expression", tryfunc.CanFunc, "Whether it has a value, or is a mistake."},
	{"ceil", "number", stdlib.CeilFunc, "The next whole number above."},
	{"chomp", "string", stdlib.ChompFunc, "Without newlines at its end."},
	{"chunklist", "list, size", stdlib.ChunklistFunc, "Lists of at most `size` elements."},
	{"coalesce", "value…", stdlib.CoalesceFunc, "The first that is not null."},
	{"coalescelist", "list…", stdlib.CoalesceListFunc, "The first that is not empty."},
	{"compact", "list", stdlib.CompactFunc, "Without empty strings."},
	{"concat", "list…", stdlib.ConcatFunc, "One list of all."},
	{"contains", "list, value", stdlib.ContainsFunc, "Whether the value is in it."},
	{"csvdecode", "string", stdlib.CSVDecodeFunc, "A list of objects, by the names in the first line."},
	{"distinct", "list", stdlib.DistinctFunc, "Each value once."},
	{"element", "list, index", stdlib.ElementFunc, "The element, counted round."},
	{"endswith", "string, suffix", question(strings.HasSuffix), "Whether it ends so."},
	{"flatten", "list", stdlib.FlattenFunc, "The elements of the lists in it, of all depths."},
	{"floor", "number", stdlib.FloorFunc, "The next whole number below."},
	{"format", "format, value…", bounded(stdlib.FormatFunc, narrow), "As in `printf`: `format(\"%s-%02d\", \"a\", 7)`."},
	{"formatlist", "format, list…", bounded(stdlib.FormatListFunc, narrow), "The same for each element."},
	{"indent", "spaces, string", bounded(stdlib.IndentFunc, indented), "With so many spaces before each line but the first."},
	{"index", "list, number", stdlib.IndexFunc, "The element; `list[number]` is the same."},
	{"join", "separator, list…", bounded(stdlib.JoinFunc, joined), "One string."},
	{"jsondecode", "string", stdlib.JSONDecodeFunc, "The value that is written so."},
	{"jsonencode", "value", stdlib.JSONEncodeFunc, "JSON."},
	{"keys", "map", stdlib.KeysFunc, "Its keys, sorted."},
	{"length", "value", lengthFunction, "How many elements, or characters of a string."},
	{"log", "number, base", stdlib.LogFunc, "The logarithm."},
	{"lookup", "map, key, default", stdlib.LookupFunc, "The element of that key, or else the default."},
	{"lower", "string", stdlib.LowerFunc, "In lower case."},
	{"matches", "pattern, string", matchesFunction, "Whether the pattern (RE2) matches somewhere in it."},
	{"max", "number…", stdlib.MaxFunc, "The greatest."},
	{"merge", "map…", stdlib.MergeFunc, "One map of all; later ones win."},
	{"min", "number…", stdlib.MinFunc, "The least."},
	{"parseint", "string, base", stdlib.ParseIntFunc, "The whole number that is written so."},
	{"pow", "number, power", stdlib.PowFunc, "The power."},
	{"range", "start, end, step", stdlib.RangeFunc, "A list of numbers; 1024 at most."},
	{"regex", "pattern, string", stdlib.RegexFunc, "The first match (RE2), or its groups."},
	{"regexall", "pattern, string", stdlib.RegexAllFunc, "All matches."},
	{"replace", "string, old, new", bounded(replaceFunction, replaced), "With `new` for each `old`; an `old` within slashes is a pattern."},
	{"reverse", "list", stdlib.ReverseListFunc, "The other way round."},
	{"setintersection", "set…", stdlib.SetIntersectionFunc, "What is in all."},
	{"setproduct", "list…", bounded(stdlib.SetProductFunc, multiplied), "Each combination of one element of each."},
	{"setsubtract", "set, set", stdlib.SetSubtractFunc, "What is in the first alone."},
	{"setunion", "set…", stdlib.SetUnionFunc, "What is in any."},
	{"sha256", "string", text(digest), "The checksum, in hex."},
	{"signum", "number", stdlib.SignumFunc, "-1, 0 or 1."},
	{"slice", "list, start, end", stdlib.SliceFunc, "The elements from `start` to before `end`."},
	{"sort", "list", stdlib.SortFunc, "Strings in order."},
	{"split", "separator, string", stdlib.SplitFunc, "The parts."},
	{"startswith", "string, prefix", question(strings.HasPrefix), "Whether it begins so."},
	{"strcontains", "string, part", question(strings.Contains), "Whether the part is in it."},
	{"strlen", "string", stdlib.StrlenFunc, "How many characters it has."},
	{"substr", "string, offset, length", stdlib.SubstrFunc, "A part of it; a negative offset counts from the end."},
	{"title", "string", stdlib.TitleFunc, "Each word with a capital."},
	{"tobool", "value", stdlib.MakeToFunc(cty.Bool), "As true or false."},
	{"tolist", "value", stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "As a list of one type."},
	{"tomap", "value", stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "As a map of one type."},
	{"tonumber", "value", stdlib.MakeToFunc(cty.Number), "As a number."},
	{"toset", "value", stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "As a set: each value once, in no order."},
	{"tostring", "value", stdlib.MakeToFunc(cty.String), "As text."},
	{"trim", "string, characters", stdlib.TrimFunc, "Without those characters at both ends."},
	{"trimprefix", "string, prefix", stdlib.TrimPrefixFunc, "Without it at the start."},
	{"trimspace", "string", stdlib.TrimSpaceFunc, "Without white space at both ends."},
	{"trimsuffix", "string, suffix", stdlib.TrimSuffixFunc, "Without it at the end."},
	{"try", "expression…", tryfunc.TryFunc, "The first that is no mistake."},
	{"upper", "string", stdlib.UpperFunc, "In upper case."},
	{"values", "map", stdlib.ValuesFunc, "Its values, in the order of its keys."},
	{"zipmap", "keys, values", stdlib.ZipmapFunc, "A map of two lists."},
}

// functions are those of the table, by name.
var functions = functionMap()

func functionMap() map[string]function.Function {
	all := make(map[string]function.Function, len(functionTable))
	for _, f := range functionTable {
		all[f.name] = f.Function
	}
	return all
}

// maxText bounds what one call makes of little: more is no configuration, but a way to take all memory.
const maxText = 1 << 20

var errLong = fmt.Errorf("the result would be longer than %s", formatSize(maxText))

// bounded checks the arguments of a function first. Some are unknown or null: the check is for what is there.
func bounded(f function.Function, check func(args []cty.Value) bool) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(), Type: f.ReturnTypeForValues,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if !check(args) {
				return cty.NilVal, errLong
			}
			return f.Call(args)
		},
	})
}

var verbWidth = regexp.MustCompile(`%[^a-zA-Z%]*[0-9]{5}`)

// narrow says whether no verb of a format is wider than a line of text.
func narrow(args []cty.Value) bool { return !verbWidth.MatchString(stringOf(args[0])) }

func indented(args []cty.Value) bool {
	n, _ := args[0].AsBigFloat().Int64()
	s := stringOf(args[1])
	return n <= maxText && len(s)+int(n)*strings.Count(s, "\n") <= maxText
}

func joined(args []cty.Value) bool {
	n := 0
	for _, list := range args[1:] {
		if list.IsKnown() && !list.IsNull() {
			n += list.LengthInt()
		}
	}
	return n*len(stringOf(args[0])) <= maxText
}

func replaced(args []cty.Value) bool {
	return (len(stringOf(args[0]))+1)*(len(stringOf(args[2]))+1) <= maxText || len(stringOf(args[2])) <= 8*len(stringOf(args[1]))
}

func multiplied(args []cty.Value) bool {
	const most = 10_000 // combinations
	n := 1
	for _, list := range args {
		if list.IsKnown() && !list.IsNull() && n <= most {
			n *= list.LengthInt()
		}
	}
	return n <= most
}

// stringOf is the text of a value that may be anything.
func stringOf(v cty.Value) string {
	v, _ = v.Unmark()
	if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
		return v.AsString()
	}
	return ""
}

// text makes a function of one string to another.
func text(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "string", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(args[0].AsString())
			return cty.StringVal(s), err
		},
	})
}

// question makes a function of two strings to true or false.
func question(f func(a, b string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "string", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// matchesFunction takes the pattern first, as regex does.
var matchesFunction = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "pattern", Type: cty.String}, {Name: "string", Type: cty.String}},
	Type:   function.StaticReturnType(cty.Bool),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		re, err := regexp.Compile(args[0].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		return cty.BoolVal(re.MatchString(args[1].AsString())), nil
	},
})

func encodeBase64(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }

func decodeBase64(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return "", errors.New("it is not text in base64")
	}
	return string(b), nil
}

func digest(s string) (string, error) {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:]), nil
}

// lengthFunction counts the characters of strings, too.
var lengthFunction = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch ty := args[0].Type(); {
		case ty == cty.String:
			return stdlib.Strlen(args[0])
		case ty.IsObjectType(): // which is how a map is written
			return cty.NumberIntVal(int64(len(ty.AttributeTypes()))), nil
		}
		return stdlib.Length(args[0])
	},
})

// replaceFunction takes a pattern within slashes.
var replaceFunction = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "string", Type: cty.String}, {Name: "old", Type: cty.String}, {Name: "new", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		old := args[1].AsString()
		if len(old) > 2 && strings.HasPrefix(old, "/") && strings.HasSuffix(old, "/") {
			return stdlib.RegexReplace(args[0], cty.StringVal(old[1:len(old)-1]), args[2])
		}
		return stdlib.Replace(args[0], args[1], args[2])
	},
})

// sizeOf is roughly how much a value holds.
func sizeOf(v cty.Value) int {
	n := 0
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) { // what it returns is what we return: nothing
		n += 16 + len(stringOf(v))
		return true, nil
	})
	return n
}

// shown writes how a function is called.
func (f builtinFunction) shown() string { return f.name + "(" + f.args + ")" }
