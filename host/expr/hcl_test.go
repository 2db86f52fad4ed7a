// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/spec/event"
)

// The other opinion: HCL's own evaluation, with the same variables and functions.

func ofTexts(f func(a, b string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "a", Type: cty.String}, {Name: "b", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// lengthFunc is Terraform's, which takes strings as well.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if args[0].Type() == cty.String {
			return stdlib.Strlen(args[0])
		}
		return stdlib.Length(args[0])
	},
})

// replaceFunction is Terraform's.
var replaceFunction = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "string", Type: cty.String}, {Name: "old", Type: cty.String}, {Name: "new", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if old := args[1].AsString(); len(old) > 2 && strings.HasPrefix(old, "/") && strings.HasSuffix(old, "/") {
			return stdlib.RegexReplace(args[0], cty.StringVal(old[1:len(old)-1]), args[2])
		}
		return stdlib.Replace(args[0], args[1], args[2])
	},
})

var hclFunctions = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "can": tryfunc.CanFunc, "ceil": stdlib.CeilFunc, "coalesce": stdlib.CoalesceFunc, "contains": stdlib.ContainsFunc,
	"endswith": ofTexts(strings.HasSuffix), "floor": stdlib.FloorFunc, "join": stdlib.JoinFunc, "jsondecode": stdlib.JSONDecodeFunc, "length": lengthFunc,
	"lower": stdlib.LowerFunc, "matches": ofTexts(func(p, s string) bool { return regexp.MustCompile(p).MatchString(s) }), "max": stdlib.MaxFunc,
	"min": stdlib.MinFunc, "regex": stdlib.RegexFunc, "replace": replaceFunction, "split": stdlib.SplitFunc, "startswith": ofTexts(strings.HasPrefix),
	"strcontains": ofTexts(strings.Contains), "strlen": stdlib.StrlenFunc, "substr": stdlib.SubstrFunc, "tobool": stdlib.MakeToFunc(cty.Bool),
	"tonumber": stdlib.MakeToFunc(cty.Number), "tostring": stdlib.MakeToFunc(cty.String), "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
	"trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "try": tryfunc.TryFunc, "upper": stdlib.UpperFunc,
}

// finite is f as we have it: without a sign at 0, and without infinity, with which HCL goes on.
func finite(f function.Function) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			v, err := f.Call(args)
			if err == nil && v.IsKnown() && v.AsBigFloat().IsInf() {
				err = errors.New("not finite")
			}
			if err == nil && v.IsKnown() && v.AsBigFloat().Sign() == 0 {
				v = cty.Zero
			}
			return v, err
		},
	})
}

// noNull makes an error of null beside && and ||, as it is beside every other operator: HCL takes it for false when another operand is true.
func noNull(v cty.Value, diags hcl.Diagnostics) (cty.Value, hcl.Diagnostics) {
	if !v.IsNull() {
		return v, diags
	}
	return cty.UnknownVal(cty.Bool), append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "null"})
}

func TestMain(m *testing.M) {
	for _, op := range []*hclsyntax.Operation{hclsyntax.OpAdd, hclsyntax.OpSubtract, hclsyntax.OpMultiply, hclsyntax.OpDivide, hclsyntax.OpModulo, hclsyntax.OpNegate} {
		op.Impl = finite(op.Impl)
	}
	modulo := hclsyntax.OpModulo.Impl
	hclsyntax.OpModulo.Impl = function.New(&function.Spec{
		Params: modulo.Params(),
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if args[1].RawEquals(cty.Zero) {
				return args[0], errors.New("division by zero") // of which HCL makes the dividend
			}
			return modulo.Call(args)
		},
	})
	for _, op := range []*hclsyntax.Operation{hclsyntax.OpLogicalAnd, hclsyntax.OpLogicalOr} {
		decide := op.ShortCircuit
		op.ShortCircuit = func(a, b cty.Value, aDiags, bDiags hcl.Diagnostics) (cty.Value, hcl.Diagnostics) {
			a, aDiags = noNull(a, aDiags)
			b, bDiags = noNull(b, bDiags)
			return decide(a, b, aDiags, bDiags)
		}
	}
	for _, name := range []string{"abs", "ceil", "floor"} {
		hclFunctions[name] = finite(hclFunctions[name])
	}
	if err := flag.Set("rapid.checks", "2000"); err != nil { // a command line says otherwise
		panic(err)
	}
	os.Exit(m.Run())
}

func TestHCLHasAllFunctionsToCompareWith(t *testing.T) {
	for _, name := range Functions() {
		if _, ok := hclFunctions[name]; !ok {
			t.Errorf("%s is compared with nothing", name)
		}
	}
}

// attributeNames and fieldNames are what generated expressions ask for; not all are there in each event.
var (
	attributeNames = []string{"a", "b", "file.path", "none"}
	fieldNames     = []string{"n", "s", "flag", "none"}
)

// inHCL is ev as a variable of HCL's. What is not there is null.
func inHCL(ev *event.Event) *hcl.EvalContext {
	attributes := map[string]cty.Value{}
	for _, name := range attributeNames {
		attributes[name] = cty.NullVal(cty.String)
		if v, ok := ev.Attribute(name); ok {
			attributes[name] = cty.StringVal(string(v))
		}
	}
	fields, list := map[string]cty.Value{}, make([]cty.Value, 3)
	var body map[string]any
	_ = json.Unmarshal(ev.Body, &body) // what is no JSON is seen to by agree
	for _, name := range fieldNames {
		fields[name] = ofJSON(body[name])
	}
	elems, _ := body["list"].([]any)
	for i := range list {
		list[i] = ofJSON(nil)
		if i < len(elems) {
			list[i] = ofJSON(elems[i])
		}
	}
	fields["list"] = cty.TupleVal(list)
	return &hcl.EvalContext{
		Functions: hclFunctions,
		Variables: map[string]cty.Value{"event": cty.ObjectVal(map[string]cty.Value{
			"attributes": cty.ObjectVal(attributes),
			"body":       cty.StringVal(string(ev.Body)),
			"json":       cty.ObjectVal(fields),
			"size":       cty.NumberIntVal(int64(len(ev.Body))),
			"time":       cty.NumberIntVal(ev.Time),
		})},
	}
}

func ofJSON(v any) cty.Value {
	switch v := v.(type) {
	case string:
		return cty.StringVal(v)
	case float64:
		return cty.NumberFloatVal(v)
	case bool:
		return cty.BoolVal(v)
	}
	return cty.NullVal(cty.String) // of any type: calls with null of no type are unknown to HCL
}

// evaluated is what HCL says of x: ok is false where it has an error, or does not know.
func evaluated(x hclsyntax.Expression, ctx *hcl.EvalContext, want cty.Type) (v cty.Value, ok bool) {
	v, diags := x.Value(ctx)
	if diags.HasErrors() {
		return v, false
	}
	v, err := convert.Convert(v, want)
	return v, err == nil && v.IsKnown() && !v.IsNull()
}

// agree compares both opinions of an expression, for one event. It says whether there were two: what is refused when it is loaded has none.
func agree(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string, ev *event.Event) bool {
	t.Helper()
	x, diags := hclsyntax.ParseExpression([]byte(text), "x.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%s: %v", text, diags)
	}
	ctx, in := inHCL(ev), x
	if !json.Valid(ev.Body) { // where HCL has an error, and no value of a variable
		if in, diags = hclsyntax.ParseExpression([]byte(strings.ReplaceAll(text, "event.json", "jsondecode(event.body)")), "x.hcl", hcl.InitialPos); diags.HasErrors() {
			t.Fatalf("%s: %v", text, diags)
		}
	}
	compared := false
	if p, diags := Compile(x, nil, Bool); !diags.HasErrors() {
		compared = true
		got, err := p.Evaluator().Bool(ev)
		want, ok := evaluated(in, ctx, cty.Bool)
		if (err == nil) != ok || ok && got != want.True() {
			t.Fatalf("%s\nof %s\nis %v, %v\nand for HCL %#v, %v", text, show(ev), got, err, want, ok)
		}
	}
	if p, diags := Compile(x, nil, Text); !diags.HasErrors() {
		compared = true
		got, err := p.Evaluator().Text(ev)
		want, ok := evaluated(in, ctx, cty.String)
		if (err == nil) != ok || ok && got != want.AsString() {
			t.Fatalf("%s\nof %s\nis %q, %v\nand for HCL %#v, %v", text, show(ev), got, err, want, ok)
		}
	}
	return compared
}

func show(ev *event.Event) string {
	s := fmt.Sprintf("time %d, body %q", ev.Time, ev.Body)
	for _, a := range ev.Attributes {
		s += fmt.Sprintf(", %s = %q", a.Key, a.Value)
	}
	return s
}

// words are texts of events and of expressions: some that are numbers or bools, some that are nearly.
var words = []string{"", "a", "b", "error", "ERROR", "Fatal", " a b ", "a,b,,c", "true", "false", "TRUE", "0", "1", "5", "-5", "+5", "05", "5.", ".5", "0.25", "1e2", "1E2", "e", "-", "0x10", "1_0", "Äöü", "ß", "日本", "a\nb", "a\r\nb", "/var/log/a.log", "aaa"}

func events() *rapid.Generator[*event.Event] {
	return rapid.Custom(func(t *rapid.T) *event.Event {
		ev := &event.Event{Time: rapid.Int64Range(-3, 3).Draw(t, "time")}
		for _, name := range attributeNames[:3] {
			if rapid.IntRange(0, 3).Draw(t, "has "+name) > 0 {
				ev.Attributes = append(ev.Attributes, event.Attribute{Key: name, Value: []byte(rapid.SampledFrom(words).Draw(t, name))})
			}
		}
		ev.Body = []byte(rapid.SampledFrom([]string{
			`{"n":5,"s":"a","flag":true,"list":["a",5,null]}`, `{"n":-0.25,"s":"ERROR","flag":false,"list":[]}`, ` { "s" : "5" , "n" : 1e2 , "n" : 0 } `,
			`{"n":null,"s":"\u00e4\n\"","flag":"true","list":["x"]}`, `{}`, `{"n":1,}`, `plain text`, ``, `{"n":5,"s":"a"`, `{"list":["error","fatal"],"n":"7"}`,
		}).Draw(t, "body"))
		return ev
	})
}

// writer draws expressions, most of which have the type that is asked for. What may be a field of JSON is converted where HCL would look at the types of
// values that are not chosen: spec/expressions.md.
type writer struct{ t *rapid.T }

func (w writer) one(of ...string) string { return rapid.SampledFrom(of).Draw(w.t, "one") }

func (w writer) quoted() string { return fmt.Sprintf("%q", rapid.SampledFrom(words).Draw(w.t, "word")) }

func (w writer) attribute() string {
	return fmt.Sprintf("event.attributes[%q]", rapid.SampledFrom(attributeNames).Draw(w.t, "attribute"))
}

func (w writer) field() string {
	return w.one("event.json.n", "event.json.s", "event.json.flag", "event.json[\"none\"]", "event.json.list[0]", "event.json.list[1]")
}

func (w writer) boolean(n int) string {
	if n == 0 {
		return w.one("true", "false", w.attribute()+" == "+w.quoted(), w.attribute()+" != null", w.field()+" == "+w.quoted(), "event.size > 10", "event.json.flag", "event.json.list[2] == null")
	}
	n--
	switch rapid.IntRange(0, 12).Draw(w.t, "boolean") {
	case 0, 1:
		return "(" + w.boolean(n) + " && " + w.boolean(n) + ")"
	case 2, 3:
		return "(" + w.boolean(n) + " || " + w.boolean(n) + ")"
	case 4:
		return "!" + w.boolean(n)
	case 5:
		return "(" + w.number(n) + w.one(" < ", " <= ", " > ", " >= ", " == ", " != ") + w.number(n) + ")"
	case 6:
		return "(" + w.text(n) + w.one(" == ", " != ") + w.text(n) + ")"
	case 7:
		return "(" + w.boolean(n) + " ? tobool(" + w.boolean(n) + ") : tobool(" + w.boolean(n) + "))"
	case 8:
		return w.one("startswith", "endswith", "strcontains") + "(" + w.text(n) + ", " + w.text(n) + ")"
	case 9:
		return w.one("matches(\"^[a-z]+$\", ", "matches(\"[0-9]\", ", "can(", "tobool(") + w.text(n) + ")"
	case 10:
		return "contains([" + w.quoted() + ", " + w.text(n) + ", 5, null], " + w.one(w.text(n), w.number(n)) + ")"
	case 11:
		return w.one("try", "coalesce") + "(tobool(" + w.boolean(n) + "), tobool(" + w.boolean(n) + "))"
	}
	return w.boolean(n)
}

func (w writer) number(n int) string {
	if n == 0 {
		return w.one("0", "1", "5", "2.5", "-3", "event.size", "event.time", w.attribute(), "event.json.n", w.field())
	}
	n--
	switch rapid.IntRange(0, 8).Draw(w.t, "number") {
	case 0, 1:
		return "(" + w.number(n) + w.one(" + ", " - ", " * ", " % ") + w.number(n) + ")"
	case 2:
		return "(" + w.number(n) + " / " + w.one("2", "4", "-1", "0", "0.5") + ")"
	case 3:
		return "-" + w.number(n)
	case 4:
		return w.one("abs", "floor", "ceil", "tonumber") + "(" + w.number(n) + ")"
	case 5:
		return w.one("min", "max", "try", "coalesce") + "(tonumber(" + w.number(n) + "), tonumber(" + w.number(n) + "))"
	case 6:
		return w.one("length", "strlen") + "(" + w.text(n) + ")"
	case 7:
		return "(" + w.boolean(n) + " ? tonumber(" + w.number(n) + ") : tonumber(" + w.number(n) + "))"
	}
	return w.number(n)
}

func (w writer) text(n int) string {
	if n == 0 {
		return w.one(w.quoted(), w.attribute(), w.attribute(), "event.body", "event.json.s", w.field())
	}
	n--
	switch rapid.IntRange(0, 10).Draw(w.t, "text") {
	case 0:
		return "\"" + w.one("", "x", "${"+w.number(n)+"}") + "${" + w.text(n) + "}" + w.one("", "-", "%{ if "+w.boolean(n)+" }y%{ else }${"+w.text(n)+"}%{ endif }") + "\""
	case 1, 2:
		return w.one("lower", "upper", "trimspace", "tostring") + "(" + w.text(n) + ")"
	case 3:
		return w.one("trim", "trimprefix", "trimsuffix") + "(" + w.text(n) + ", " + w.quoted() + ")"
	case 4:
		old := w.one(w.quoted(), w.quoted(), `"/[a-c]+/"`, `"/(.)(x*)/"`, `"/^|$/"`, `"/(?P<a>b)|\\b/"`, `"//"`, `"///"`, `"/x/y"`)
		return "replace(" + w.text(n) + ", " + old + ", " + w.one(w.quoted(), `"<$1>"`, `"$${a}$2"`, `"$$"`) + ")"
	case 5:
		return "substr(" + w.text(n) + ", " + w.one("0", "1", "-1", "-2", "7") + ", " + w.one("1", "2", "-1", "9") + ")"
	case 6:
		return "(" + w.boolean(n) + " ? tostring(" + w.text(n) + ") : " + w.one("tostring("+w.text(n)+")", "tostring(null)") + ")"
	case 9:
		return "(" + w.boolean(n) + " ? " + w.quoted() + " : 5)"
	case 7:
		return w.one("try", "coalesce") + "(tostring(" + w.text(n) + "), tostring(" + w.text(n) + "))"
	case 8:
		return w.one("split(\",\", "+w.text(n)+")["+w.one("0", "1", "2")+"]", "join(\"-\", split(\",\", "+w.text(n)+"))", "regex(\"[a-z]+\", "+w.text(n)+")",
			"regex(\"(?P<first>[a-z])(?P<rest>.*)\", "+w.text(n)+").rest", "regex(\"(.)(.)?\", "+w.text(n)+")[1]")
	}
	return w.text(n)
}

// TestItIsWhatHCLSays draws expressions and events, and compares.
func TestItIsWhatHCLSays(t *testing.T) {
	asked, compared := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := writer{t}
		text := ""
		switch rapid.IntRange(0, 2).Draw(t, "type") {
		case 0:
			text = w.boolean(rapid.IntRange(0, 3).Draw(t, "depth"))
		case 1:
			text = w.number(rapid.IntRange(0, 3).Draw(t, "depth"))
		default:
			text = w.text(rapid.IntRange(0, 3).Draw(t, "depth"))
		}
		asked++
		if agree(t, text, events().Draw(t, "event")) {
			compared++
		}
	})
	if compared < asked/2 {
		t.Errorf("only %d of %d expressions could be compared", compared, asked)
	}
}
