// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Paint colours a text by what it is: "source", "processor", "channel", "route", "sink_group", "sink", "about", "line".
type Paint func(what, text string) string

// Plain paints nothing.
func Plain(_, text string) string { return text }

// WriteText draws the graph for people, a picture for each channel:
//
//	file      source.shop ─ parse ─┬▶ channel.main ─┬▶ sink.orders   postgres
//	generate  source.load ─────────┘  wal, 8 GiB    └▶ sink.archive  file
func (g *Graph) WriteText(w io.Writer, paint Paint) {
	var out strings.Builder
	first := true
	into := g.ways()
	for _, n := range g.Nodes {
		if n.Kind == "channel" {
			if !first {
				out.WriteByte('\n')
			}
			first = false
			g.picture(n, into[n.ID], paint).write(&out)
		}
	}
	if len(g.Off) > 0 {
		fmt.Fprintf(&out, "\n%s %s\n", paint("about", "Switched off:"), strings.Join(g.Off, ", "))
	}
	_, _ = io.WriteString(w, out.String()) // as with fmt.Fprint to a terminal, there is nobody left to tell
}

// cell is a text with the columns that it takes, which colours do not count for.
type cell struct {
	text  string
	width int
}

func (c *cell) add(paint Paint, what, text string) {
	c.text += paint(what, text)
	c.width += utf8.RuneCountInString(text)
}

// picture is a channel with what fills and what drains it.
type picture struct {
	left, middle, right []cell
	paint               Paint
}

func (g *Graph) picture(ch Node, ways [][]Node, paint Paint) *picture {
	p := &picture{paint: paint}
	widest := 0
	for _, e := range g.Edges {
		if e.Kind == DeadLetters && e.To == ch.ID {
			var c cell
			c.add(paint, "about", "dead letters of ")
			c.add(paint, "channel", e.From)
			c.add(paint, "line", " ")
			p.left = append(p.left, c)
		}
	}
	for _, way := range ways {
		widest = max(widest, utf8.RuneCountInString(way[0].Of))
	}
	for _, way := range ways {
		p.left = append(p.left, sourceCell(way, widest, paint))
	}
	var name, about cell
	name.add(paint, "channel", ch.Address)
	about.add(paint, "about", ch.Of+", "+ch.About)
	p.middle = []cell{name, about}
	for _, e := range g.Edges {
		if e.From == ch.ID && e.Kind == DeadLetters {
			var dead cell
			dead.add(paint, "about", "dead letters to "+e.To)
			p.middle = append(p.middle, dead)
		}
	}
	p.sinks(g, ch)
	return p
}

// ways are those from sources up to each channel, by its id: the source, and the processors behind it.
func (g *Graph) ways() map[string][][]Node {
	nodes, next := make(map[string]Node), make(map[string]string)
	for _, n := range g.Nodes {
		nodes[n.ID] = n
	}
	for _, e := range g.Edges {
		if kind := nodes[e.From].Kind; kind == "source" || kind == "processor" || kind == "sink" { // has one way out
			next[e.From] = e.To
		}
	}
	into := make(map[string][][]Node)
	for _, n := range g.Nodes {
		if n.Kind != "source" && (n.Kind != "sink" || next[n.ID] == "") { // a relay fills a channel too
			continue
		}
		way, id := []Node{n}, next[n.ID]
		for ; nodes[id].Kind == "processor"; id = next[id] {
			way = append(way, nodes[id])
		}
		into[id] = append(into[id], way)
	}
	return into
}

func sourceCell(way []Node, widest int, paint Paint) (c cell) {
	n := way[0]
	c.add(paint, "about", n.Of+strings.Repeat(" ", widest-utf8.RuneCountInString(n.Of)+2))
	c.add(paint, "source", n.Address)
	for _, p := range way[1:] {
		c.add(paint, "line", " ─ ")
		c.add(paint, "processor", strings.TrimPrefix(p.Address, "processor."))
	}
	c.add(paint, "line", " ")
	return c
}

// exit is a sink, with the case of a route and the group by which events get there, or "".
type exit struct {
	Node
	option, group string
	through       []Node // processors, the last one first
}

func (p *picture) sinks(g *Graph, ch Node) {
	exits := g.exits(ch.ID)
	width := 0
	for _, x := range exits {
		width = max(width, x.cell(p.paint).width)
	}
	for _, x := range exits {
		c := x.cell(p.paint)
		c.add(p.paint, "about", strings.Repeat(" ", width-c.width+2)+x.label())
		p.right = append(p.right, c)
	}
}

// exits are the sinks of a channel, in the order of the files.
func (g *Graph) exits(channel string) (all []exit) {
	for _, n := range g.Nodes {
		if n.Kind != "sink" {
			continue
		}
		x, in := exit{Node: n}, g.into(n.ID)
		for p, is := g.processor(in.From); is; p, is = g.processor(in.From) {
			x.through, in = append(x.through, p), g.into(p.ID)
		}
		if strings.HasPrefix(in.From, "sink_group.") {
			x.group = in.From
			in = g.into(in.From)
		}
		if in.Case != "" {
			x.option = strings.TrimPrefix(in.From, "route.") + "." + in.Case
			in = g.into(in.From)
		}
		if in.From == channel {
			all = append(all, x)
		}
	}
	return all
}

// processor is the node of that id, if it is one.
func (g *Graph) processor(id string) (Node, bool) {
	i := slices.IndexFunc(g.Nodes, func(n Node) bool { return n.ID == id && n.Kind == "processor" })
	if i < 0 {
		return Node{}, false
	}
	return g.Nodes[i], true
}

// into is the one edge by which events get to a node.
func (g *Graph) into(id string) Edge {
	i := slices.IndexFunc(g.Edges, func(e Edge) bool { return e.To == id && e.Kind == Events })
	if i < 0 {
		return Edge{}
	}
	return g.Edges[i]
}

func (x exit) cell(paint Paint) (c cell) {
	if x.option != "" {
		c.add(paint, "route", x.option)
		c.add(paint, "line", " ─ ")
	}
	if x.group != "" {
		c.add(paint, "sink_group", x.group)
		c.add(paint, "line", " ─ ")
	}
	for _, p := range slices.Backward(x.through) {
		c.add(paint, "processor", strings.TrimPrefix(p.Address, "processor."))
		c.add(paint, "line", " ─ ")
	}
	c.add(paint, "sink", x.Address)
	return c
}

// write puts the three columns beside each other, each in the middle of the height, with lines between them.
func (p *picture) write(out *strings.Builder) {
	height := max(len(p.left), len(p.right), len(p.middle))
	at := (height - 1) / 2
	if rest := height - at; rest < len(p.middle) { // what is said of the channel stands below its name
		height += len(p.middle) - rest
	}
	left, right := at-(len(p.left)-1)/2, at-(len(p.right)-1)/2
	leftWidth, middleWidth := widest(p.left), widest(p.middle)
	for row := range height {
		var line strings.Builder
		p.side(&line, p.left, row-left, leftWidth)
		line.WriteString(p.paint("line", joint(row, at, left, len(p.left), true)))
		text := pick(p.middle, row-at)
		line.WriteString(text.text)
		fill := " "
		if row == at && len(p.right) > 0 {
			fill = "─"
			line.WriteString(" ")
			text.width++
		}
		line.WriteString(p.paint("line", strings.Repeat(fill, max(0, middleWidth+2-text.width))))
		line.WriteString(p.paint("line", joint(row, at, right, len(p.right), false)))
		line.WriteString(pick(p.right, row-right).text)
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// side writes a source, and the line from it.
func (p *picture) side(line *strings.Builder, cells []cell, i, width int) {
	c, fill := pick(cells, i), "─"
	if c.width == 0 {
		fill = " "
	}
	line.WriteString(c.text + p.paint("line", strings.Repeat(fill, width-c.width+1)))
}

func pick(cells []cell, i int) cell {
	if i < 0 || i >= len(cells) {
		return cell{}
	}
	return cells[i]
}

func widest(cells []cell) (n int) {
	for _, c := range cells {
		n = max(n, c.width)
	}
	return n
}

// joints are the corners of lines by where they go: left 1, right 2, up 4, down 8.
var joints = [16]string{" ", "─", "─", "─", "│", "┘", "└", "┴", "│", "┐", "┌", "┬", "│", "┤", "├", "┼"}

// joint is the part of the line between many and one, in a row: many have it on their left side, or on their right. at is the row of the one, and
// the many stand in n rows from first on. It is three columns wide.
func joint(row, at, first, n int, manyLeft bool) string {
	top, bottom := min(first, at), max(first+n-1, at)
	if n == 0 || row < top || row > bottom {
		return "   "
	}
	const left, right, up, down = 1, 2, 4, 8
	shape := 0
	one, many := row == at, row >= first && row < first+n
	if manyLeft && many || !manyLeft && one {
		shape |= left
	}
	if manyLeft && one || !manyLeft && many {
		shape |= right
	}
	if row > top {
		shape |= up
	}
	if row < bottom {
		shape |= down
	}
	if shape&right != 0 {
		return joints[shape] + "▶ "
	}
	return joints[shape] + "  "
}
