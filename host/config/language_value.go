// SPDX-License-Identifier: Apache-2.0

package config

// valueBlocks are what gives names to values, in the order in which they are evaluated.
var valueBlocks = []block{
	{
		name: "function", labels: []string{"name"}, doc: "A function, for what would be written several times.",
		args: arguments(
			arg{name: "params", typ: "expression", required: true, doc: "The names of its parameters: `[a, b]`."},
			arg{name: "variadic_param", typ: "expression", doc: "The name of one more, which is the list of all further arguments."},
			arg{name: "result", typ: "expression", required: true, doc: "What it comes to. It speaks of the parameters alone, and may call other functions."},
			arg{name: "description", typ: "string", doc: "One sentence for people."}),
	},
	{
		name: "variable", labels: []string{"name"}, doc: "A value that is given from outside: `var.NAME`.",
		args: arguments(
			arg{name: "type", typ: "type", doc: "`string`, `number`, `integer`, `bool`, `duration`, `size`, `list(T)`, `map(T)`, `object({…})`, or `any`, which it is without."},
			arg{name: "default", typ: "any", doc: "What it is when it is not given. Without a default it must be."},
			arg{name: "sensitive", typ: "bool", def: "false", doc: "It is not shown, and can be given to arguments alone that are not shown either."},
			arg{name: "description", typ: "string", doc: "One sentence for people."}),
		blocks: []block{
			{name: "validation", doc: "What must hold of it. May be repeated.", args: arguments(
				arg{name: "condition", typ: "expression", required: true, doc: "True or false, over `var.NAME`, and over other variables and functions."},
				arg{name: "error_message", typ: "expression", required: true, doc: "What is said when it is false, a sentence."})}},
	},
	{name: "locals", free: true, doc: "Names for values: each `NAME = VALUE` is `local.NAME`. There may be several such blocks; they may speak of variables, secrets and each other."},
}
