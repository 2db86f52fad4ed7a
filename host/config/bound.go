// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// tooDeep says that a text cannot be parsed within bounds, and where.
type tooDeep struct {
	at   hcl.Range
	text string
}

// Error gives the text.
func (e *tooDeep) Error() string { return e.text }

// boundSource looks at the tokens of native syntax before it is parsed: the parser recurses for each
// bracket and operator, and numbers such as 1e999999999 take gigabytes to print.
func boundSource(src []byte, filename string) error {
	if len(src) > MaxFileBytes {
		return &tooDeep{fileRange(filename), fmt.Sprintf("is larger than %s", formatSize(MaxFileBytes))}
	}
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // what is wrong here, the parser tells better
	depth, operators := 0, 0
	for _, t := range tokens {
		switch nesting[t.Type] {
		case opens:
			depth++
		case closes:
			depth--
		case operates:
			operators++
		}
		if t.Type == hclsyntax.TokenTemplateControl {
			operators++ // %{ if } nests until its %{ endif }
		}
		switch {
		case depth > maxNesting:
			return &tooDeep{t.Range, fmt.Sprintf("has brackets nested more than %d deep", maxNesting)}
		case operators > maxOperators:
			return &tooDeep{t.Range, fmt.Sprintf("has more than %d operators", maxOperators)}
		case t.Type == hclsyntax.TokenNumberLit && hugeExponent(t.Bytes):
			return &tooDeep{t.Range, "has a number with too large an exponent"}
		}
	}
	return nil
}

const (
	opens = 1 + iota
	closes
	operates
)

var nesting = map[hclsyntax.TokenType]int{
	hclsyntax.TokenOBrace: opens, hclsyntax.TokenOBrack: opens, hclsyntax.TokenOParen: opens,
	hclsyntax.TokenOQuote: opens, hclsyntax.TokenOHeredoc: opens, hclsyntax.TokenTemplateInterp: opens,
	hclsyntax.TokenTemplateControl: opens,
	hclsyntax.TokenCBrace:          closes, hclsyntax.TokenCBrack: closes, hclsyntax.TokenCParen: closes,
	hclsyntax.TokenCQuote: closes, hclsyntax.TokenCHeredoc: closes, hclsyntax.TokenTemplateSeqEnd: closes,
	hclsyntax.TokenStar: operates, hclsyntax.TokenSlash: operates, hclsyntax.TokenPlus: operates,
	hclsyntax.TokenMinus: operates, hclsyntax.TokenPercent: operates, hclsyntax.TokenBang: operates,
	hclsyntax.TokenEqualOp: operates, hclsyntax.TokenNotEqual: operates, hclsyntax.TokenLessThan: operates,
	hclsyntax.TokenLessThanEq: operates, hclsyntax.TokenGreaterThan: operates, hclsyntax.TokenGreaterThanEq: operates,
	hclsyntax.TokenAnd: operates, hclsyntax.TokenOr: operates, hclsyntax.TokenQuestion: operates,
	hclsyntax.TokenDot: operates,
}

// hugeExponent says whether a number has an exponent of more than three digits.
func hugeExponent(number []byte) bool {
	_, exponent, ok := strings.Cut(strings.ToLower(string(number)), "e")
	return ok && len(strings.TrimLeft(exponent, "+-0")) > 3
}

// boundJSON is boundSource for JSON, whose strings hold native syntax. Brackets and operators count
// for each string alone.
func boundJSON(src []byte, filename string) error {
	if len(src) > MaxFileBytes {
		return &tooDeep{fileRange(filename), fmt.Sprintf("is larger than %s", formatSize(MaxFileBytes))}
	}
	depth, inString, within := 0, false, 0
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString, within = !inString, 0
		case inString && strings.IndexByte("([{!-+*/%?<>=&|.", c) >= 0:
			within++
		case !inString && (c == '[' || c == '{'):
			depth++
		case !inString && (c == ']' || c == '}'):
			depth--
		case !inString && (c == 'e' || c == 'E') && hugeExponent(src[i:min(i+8, len(src))]) && i > 0 && src[i-1] >= '0' && src[i-1] <= '9':
			return &tooDeep{byteRange(src, filename, i), "has a number with too large an exponent"}
		}
		if depth > maxNesting || within > maxOperators {
			return &tooDeep{byteRange(src, filename, i), "is nested too deep"}
		}
	}
	return nil
}

// fileRange points at a file as a whole.
func fileRange(filename string) hcl.Range {
	return hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}
}

// byteRange points at one byte of a file.
func byteRange(src []byte, filename string, at int) hcl.Range {
	line := 1 + strings.Count(string(src[:at]), "\n")
	column := at - strings.LastIndexByte(string(src[:at]), '\n')
	start := hcl.Pos{Line: line, Column: column, Byte: at}
	return hcl.Range{Filename: filename, Start: start, End: hcl.Pos{Line: line, Column: column + 1, Byte: at + 1}}
}
