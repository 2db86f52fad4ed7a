// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/penstock-io/penstock/spec/abi"

// Block describes a block of the language, for references and editors.
type Block struct {
	Name      string         `json:"name"`
	Labels    []string       `json:"labels"`
	Doc       string         `json:"doc"`
	Once      bool           `json:"once"` // at most one in its parent
	Free      bool           `json:"free"` // what is in it is not the language's: of a config block, the plugin's
	Arguments []abi.Argument `json:"arguments"`
	Blocks    []Block        `json:"blocks"`
}

// Blocks lists what a pipeline file may hold, as the table has it that it is read with.
func Blocks() []Block { return describe(pipelineLanguage.blocks) }

func describe(blocks []block) []Block {
	all := make([]Block, 0, len(blocks))
	for _, b := range blocks {
		d := Block{Name: b.name, Labels: append([]string{}, b.labels...), Doc: b.doc, Once: b.once, Free: b.free, Arguments: []abi.Argument{}, Blocks: describe(b.blocks)}
		for _, a := range b.args {
			d.Arguments = append(d.Arguments, a.Argument)
		}
		all = append(all, d)
	}
	return all
}
