// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// needContext is what the needs of a plugin are evaluated in: its config, with null for what is not set.
func needContext(settings map[string]setting, config map[string]any) *hcl.EvalContext {
	object := make(map[string]cty.Value, len(settings))
	for name := range settings {
		object[name] = ctyOf(config[name])
	}
	ctx := (*scope)(nil).context()
	ctx.Variables["config"] = cty.ObjectVal(object)
	return ctx
}

// ctyOf turns what a checker made back into a value.
func ctyOf(v any) cty.Value {
	switch v := v.(type) {
	case string:
		return cty.StringVal(v)
	case bool:
		return cty.BoolVal(v)
	case int64:
		return cty.NumberIntVal(v)
	case json.Number:
		f, _, err := big.ParseFloat(string(v), 10, 512, big.ToNearestEven)
		if err != nil {
			return cty.NullVal(cty.Number)
		}
		return cty.NumberVal(f)
	case []any:
		elems := make([]cty.Value, len(v))
		for i := range v {
			elems[i] = ctyOf(v[i])
		}
		return cty.TupleVal(elems)
	case map[string]any:
		attrs := make(map[string]cty.Value, len(v))
		for k := range v {
			attrs[k] = ctyOf(v[k])
		}
		return cty.ObjectVal(attrs)
	}
	return cty.NullVal(cty.DynamicPseudoType)
}

// ctyOfJSON reads a value from a manifest.
func ctyOfJSON(raw json.RawMessage) (cty.Value, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // 2^53 is not where integers end
	var v any
	if err := d.Decode(&v); err != nil {
		return cty.NilVal, fmt.Errorf("read JSON: %w", err)
	}
	return ctyOf(v), nil
}
