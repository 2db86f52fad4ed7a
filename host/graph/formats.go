// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

var dotShapes = map[string]string{"source": "box", "processor": "hexagon", "channel": "cylinder", "route": "diamond", "sink_group": "trapezium", "sink": "box"}

// WriteDot writes the graph in the language of Graphviz.
func (g *Graph) WriteDot(w io.Writer) {
	var out strings.Builder
	fmt.Fprintf(&out, "digraph %s {\n  rankdir = LR\n  node [fontname = \"sans-serif\"]\n", strconv.Quote(g.Agent))
	for _, n := range g.Nodes {
		fmt.Fprintf(&out, "  %s [shape = %s, label = %s]\n", strconv.Quote(n.ID), dotShapes[n.Kind], strconv.Quote(n.Address+"\n"+n.label()))
	}
	for _, e := range g.Edges {
		style := ""
		if e.Case != "" {
			style = fmt.Sprintf(" [label = %s]", strconv.Quote(e.Case))
		}
		if e.Kind == DeadLetters {
			style = " [style = dashed, label = \"dead letters\"]"
		}
		fmt.Fprintf(&out, "  %s -> %s%s\n", strconv.Quote(e.From), strconv.Quote(e.To), style)
	}
	out.WriteString("}\n")
	_, _ = io.WriteString(w, out.String())
}

// label says what a node is, in a few words.
func (n Node) label() string {
	if n.About == "" {
		return n.Of
	}
	return n.Of + ", " + n.About
}

// mermaidShapes are what stands around the text of a node.
var mermaidShapes = map[string][2]string{"source": {"[", "]"}, "processor": {"{{", "}}"}, "channel": {"[(", ")]"}, "route": {"{", "}"}, "sink_group": {"[/", "\\]"}, "sink": {"[", "]"}}

// WriteMermaid writes the graph in the language of Mermaid, which Markdown shows in many places.
func (g *Graph) WriteMermaid(w io.Writer) {
	var out strings.Builder
	out.WriteString("flowchart LR\n")
	ids := make(map[string]string)
	for i, n := range g.Nodes {
		ids[n.ID] = fmt.Sprintf("n%d", i)
		shape := mermaidShapes[n.Kind]
		text := strings.ReplaceAll(n.Address+"<br>"+n.label(), `"`, "#quot;")
		fmt.Fprintf(&out, "  n%d%s\"%s\"%s\n", i, shape[0], text, shape[1])
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Case != "" {
			arrow = "-- " + e.Case + " -->"
		}
		if e.Kind == DeadLetters {
			arrow = "-. dead letters .->"
		}
		fmt.Fprintf(&out, "  %s %s %s\n", ids[e.From], arrow, ids[e.To])
	}
	_, _ = io.WriteString(w, out.String())
}
