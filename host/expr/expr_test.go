// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	jsonhcl "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// tree parses an expression as it stands in a file.
func tree(t testing.TB, text string) hclsyntax.Expression {
	t.Helper()
	x, diags := hclsyntax.ParseExpression([]byte(text), "x.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%s: %v", text, diags)
	}
	return x
}

// compiled compiles what has no mistake.
func compiled(t testing.TB, text string, want Want) *Program {
	t.Helper()
	p, diags := Compile(tree(t, text), nil, want)
	if diags.HasErrors() {
		t.Fatalf("%s: %v", text, diags)
	}
	return p
}

// refusals are what is wrong with expressions when they are loaded, with where.
var refusals = []struct{ text, want string }{
	{`event.atributes.level == "x"`, `1,6-16 An event has no "atributes". Did you mean "attributes"?`},
	{`event.headers == "x"`, `1,6-14 An event has no "headers". It has attributes, body, json, size and time.`},
	{`event == "x"`, `1,1-6 An event as a whole is no value: name a part of it, such as event.attributes.NAME or event.body.`},
	{`event.attributes == null`, `1,1-17 The attributes as a whole are no value: name one, event.attributes.NAME or event.attributes["NAME"].`},
	{`event.attributes[0] == "x"`, `1,1-20 Attributes have names: write event.attributes["NAME"].`},
	{`event.body.x == "x"`, `1,1-13 A string has no elements.`},
	{`event.attributes.a.b == "x"`, `1,1-21 A string has no elements.`},
	{`batch.size > 5`, `1,1-11 What a batch is as a whole is not known here: say it of each event, with event.….`},
	{`evnt.body == "x"`, `1,1-10 There is no "evnt" here. Did you mean "event"?`},
	{`var.levl == event.body`, `1,4-9 Unsupported attribute: This object does not have an attribute named "levl".`},
	{`event.body == secret.key`, `1,15-25 Secrets, and what is sensitive, are not available for events.`},
	{`event.body == var.token`, `1,15-24 Secrets, and what is sensitive, are not available for events.`},
	{`event.size > 1e400`, `1,14-19 A number here is beyond what is counted with for events: up to 1.8e308.`},
	{`event.body`, `1,1-11 A bool is needed here; this is a string. Compare it: … == "…".`},
	{`event.size`, `1,1-11 A bool is needed here; this is a number.`},
	{`"yes"`, `1,1-6 A bool is needed here; this is a string that is neither "true" nor "false".`},
	{`5`, `1,1-2 A bool is needed here; this is a number.`},
	{`null`, `1,1-5 A bool is needed here; this is null.`},
	{`event.attributes.status == 500`, `1,1-31 A string is never equal to a number. Convert one of them: tonumber(…) == 500, or … == "500".`},
	{`event.size != "5"`, `1,1-18 A number is never equal to a string. Convert one of them: tonumber(…) == 500, or … == "500".`},
	{`event.body == true`, `1,1-19 A string is never equal to a bool. Convert one of them: … == "true".`},
	{`["a"] == [event.body]`, `1,1-22 Lists and objects are not compared for events. Compare their elements, or write contains(list, value).`},
	{`event.size > "big"`, `1,14-19 This must be a number; this is a string that is not a number.`},
	{`event.size > null`, `1,14-18 This must be a number; this is null.`},
	{`event.body == "x" && "no"`, `1,22-26 This must be a bool; this is a string that is neither "true" nor "false".`},
	{`!event.size`, `1,2-12 This must be a bool; this is a number.`},
	{`-(event.size > 5) > 0`, `1,3-17 This must be a number; this is a bool.`},
	{`(event.size > 5 ? 5 : true) == 5`, `1,2-27 The two results are a number and a bool: both must be of one type.`},
	{`contains("abc", event.body)`, `1,10-15 contains takes a list first; for a part of a text write strcontains; this is a string.`},
	{`contains([500, 501], event.attributes.status)`, `1,1-46 None of the list is ever equal to a string, since it has no such element.`},
	{`strcontain(event.body, "x")`, `1,1-11 There is no function "strcontain". Did you mean "strcontains"?`},
	{`timestamp() == event.body`, `1,1-10 There is no function "timestamp". What is read again must come out the same, so that nothing here depends on when it is: event.time is the time of the event, in nanoseconds since 1970.`},
	{`shout(event.body) == "X"`, `1,1-6 The function "shout" is not available for events. There are abs, can,`},
	{`lower(event.body, "x") == "x"`, `1,1-23 lower takes one argument; there are 2 here.`},
	{`contains(["a"]) && event.size > 0`, `1,1-16 contains takes 2 arguments; there are 1 here.`},
	{`max(["a", "b"]...) > event.size`, `1,1-19 A list that is spread over arguments, "...", is not available for events.`},
	{`matches("(", event.body)`, "1,9-12 Not a regular expression (RE2): error parsing regexp: missing closing ): `(`."},
	{`matches(event.body, "x")`, `1,9-19 The pattern of matches comes first, and is a string that is known when the configuration is loaded.`},
	{`regex("(?P<a>.)(.)", event.body).a == "x"`, `1,1-33 Either all groups of the pattern have names or none has.`},
	{`regex("(?P<first>.)", event.body).fist == "x"`, `1,34-39 There is no "fist" in it. Did you mean "first"?`},
	{`[for x in [event.body] : x][0] == "a"`, `1,1-28 A for expression is not available for events. There are literals, templates, event.…, operators, conditionals, indices and functions.`},
	{`event.json.list[*].x[0] == "a"`, `1,1-24 A splat expression is not available for events. There are literals, templates, event.…, operators, conditionals, indices and functions.`},
	{`{ a = event.body }.a == "a"`, `1,1-19 An object made of parts of an event is not available for events. There are literals, templates, event.…, operators, conditionals, indices and functions.`},
	{`"${var.list}${event.body}" == "x"`, `1,4-12 What stands in a template becomes a string; this is a list.`},
	{`var.list == event.body`, `1,1-23 A list is never equal to a string. Convert one of them.`},
	{`event.json[true] == "x"`, `1,11-17 An index is a number or a string; this is bool.`},
	{`event.x == "a" && event.y == "b" && event.size`, `1,6-8 An event has no "x". It has attributes, body, json, size and time. | 1,24-26 An event has no "y". It has attributes, body, json, size and time. | 1,37-47 This must be a bool; this is a number.`},
	{`tobool(event.size)`, `1,1-19 A number cannot be made a bool.`},
	{`coalesce(event.size, event.size > 5) == 5`, `1,22-36 coalesce takes arguments of one type; this is a bool, and before it is a number.`},
}

// loaded is a context as a configuration has it.
func loaded() *hcl.EvalContext {
	return &hcl.EvalContext{
		Variables: map[string]cty.Value{
			"var": cty.ObjectVal(map[string]cty.Value{
				"level": cty.StringVal("error"), "least": cty.NumberIntVal(500), "list": cty.TupleVal([]cty.Value{cty.StringVal("a"), cty.StringVal("error")}),
				"token": cty.StringVal("x").Mark("secret"), "later": cty.UnknownVal(cty.String),
				"names": cty.MapVal(map[string]cty.Value{"error": cty.NumberIntVal(3), "info": cty.NumberIntVal(6)}),
			}),
		},
		Functions: map[string]function.Function{"shout": stdlib.UpperFunc, "concat": stdlib.ConcatFunc},
	}
}

func TestWhatIsWrongIsSaidWhereItIs(t *testing.T) {
	for _, c := range refusals {
		_, diags := Compile(tree(t, c.text), loaded(), Bool)
		var got []string
		for _, d := range diags {
			got = append(got, strings.TrimPrefix(d.Subject.String(), "x.hcl:")+" "+d.Detail)
			if p, ok := hcl.DiagnosticExtra[Problem](d); !ok || p.String() != d.Summary {
				t.Errorf("%s: %q is no problem", c.text, d.Summary)
			}
		}
		if all := strings.Join(got, " | "); all != c.want && !(strings.HasSuffix(c.want, ",") && strings.HasPrefix(all, c.want)) {
			t.Errorf("%s\n got %s\nwant %s", c.text, all, c.want)
		}
	}
}

// TestWhatIsTheSameForAllEventsIsAConstant has expressions that speak of what the configuration has.
func TestWhatIsTheSameForAllEventsIsAConstant(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
	}{
		{`event.attributes.level == var.level`, "true"},
		{`event.attributes.status >= var.least`, "true"},
		{`contains(concat(var.list, ["b"]), event.attributes.level)`, "true"},
		{`contains(var.list, event.attributes.level) && !startswith("a", "b")`, "true"},
		{`shout(var.level) == upper(event.attributes.level)`, "true"},
		{`var.names[event.attributes.level] < 5`, "true"},
		{`var.names[event.attributes.path] < 5`, "x.hcl:1:1: there is no such element"},
		{`try(var.names[event.attributes.path], 7) < 5`, "false"},
		{`event.attributes.level == var.later`, "x.hcl:1:27: this is not known before the agent runs"},
		{`event.json.http.status == 503 && event.json.user == "müller" && event.json.tags[1] == "b"`, "true"},
		{`event.time > 1699999999999999999 && event.time < 1700000000000000001`, "true"},
		{`event.attributes["file.path"] == "/var/log/shop/orders.log"`, "true"},
		{`event.json.took > 12 && event.json.took < 13 && event.json.took == 12.5`, "true"},
	} {
		p, diags := Compile(tree(t, c.text), loaded(), Bool)
		if diags.HasErrors() {
			t.Errorf("%s: %v", c.text, diags)
			continue
		}
		got, err := p.Evaluator().Bool(usual())
		if s := fmt.Sprint(got); s != c.want && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v, %v", c.text, got, err)
		}
		if _, fixed := p.Constant(); fixed {
			t.Errorf("%s is no constant", c.text)
		}
	}
	for text, want := range map[string]bool{`var.level == "error"`: true, `"false"`: false, `startswith(var.level, "x")`: false, `matches("^e", var.level)`: true, `5 > 4 && lower("A") == "a"`: true} {
		p, diags := Compile(tree(t, text), loaded(), Bool)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", text, diags)
		}
		if got, fixed := p.Constant(); !fixed || got != want {
			t.Errorf("%s: %v, %v", text, got, fixed)
		}
	}
}

func TestWhatTheConfigurationHasMakesAnotherProgram(t *testing.T) {
	for text, want := range map[string]string{
		`event.body == "a" && !(5 > 4)`:                       "",
		`event.attributes.status >= var.least`:                "cty.NumberIntVal(500)\n",
		`contains(concat(["a"], var.list), event.body)`:       "cty.TupleVal([]cty.Value{cty.StringVal(\"a\"), cty.StringVal(\"a\"), cty.StringVal(\"error\")})\n",
		`startswith(var.level, "x") || event.body == "a${5}"`: "cty.StringVal(\"error\")\n",
	} {
		p, diags := Compile(tree(t, text), loaded(), Bool)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		if got := p.Loaded(); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestMentionsTellsWhenAnExpressionIsEvaluated(t *testing.T) {
	for text, want := range map[string]bool{
		`event.body == "x"`: true, `batch.size`: true, `"${event.body}"`: true, `var.event`: false, `"event.body"`: false, `[for event in var.list : event]`: false,
	} {
		if got := Mentions(tree(t, text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// TestJSONConfiguration has expressions as .hcl.json has them: templates in strings.
func TestJSONConfiguration(t *testing.T) {
	file, diags := jsonhcl.Parse([]byte(`{"a": "${event.attributes.level == \"error\" && event.size > var.least - 400}", "b": true, "c": "${event.atributes.x}", "d": "text ${event.size}"}`), "x.hcl.json")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	attrs, _ := file.Body.JustAttributes()
	p, diags := Compile(attrs["a"].Expr, loaded(), Bool)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if got, err := p.Evaluator().Bool(usual()); !got || err != nil {
		t.Errorf("a is %v, %v", got, err)
	}
	p, diags = Compile(attrs["b"].Expr, loaded(), Bool)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if got, fixed := p.Constant(); !got || !fixed {
		t.Errorf("b is %v, %v", got, fixed)
	}
	_, diags = Compile(attrs["c"].Expr, loaded(), Bool)
	if want := `x.hcl.json:1,105-115: Cannot be evaluated; An event has no "atributes". Did you mean "attributes"?`; diags.Error() != want {
		t.Errorf("c: %v, want %v", diags, want)
	}
	p, diags = Compile(attrs["d"].Expr, loaded(), Text)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if got, err := p.Evaluator().Text(usual()); err != nil || got != fmt.Sprintf("text %d", len(usual().Body)) {
		t.Errorf("d is %q, %v", got, err)
	}
}
