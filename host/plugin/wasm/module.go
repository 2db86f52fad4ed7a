// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
	"github.com/penstock-io/penstock/spec/abi"
)

// MaxModule is the largest module in bytes that is looked at.
const MaxModule = modfile.MaxSize

// ErrNoManifest is wrapped when a module has no section abi.ManifestSection.
var ErrNoManifest = errors.New("module has no manifest")

// ManifestOf reads the manifest in module, without compiling or running it. It does not look at anything else.
func ManifestOf(module []byte) (abi.Manifest, error) {
	for s, err := range modfile.Sections(module) {
		if err != nil {
			return abi.Manifest{}, err
		}
		if doc, ok := manifestIn(s); ok {
			return abi.ParseManifest(doc)
		}
	}
	return abi.Manifest{}, fmt.Errorf("%w; write one into it with `penstock plugin pack`", ErrNoManifest)
}

func manifestIn(s modfile.Section) (doc []byte, ok bool) {
	if s.ID != modfile.Custom {
		return nil, false
	}
	r := modfile.Reader{B: s.Body}
	name := r.Bytes()
	return r.B, !r.Bad && string(name) == abi.ManifestSection
}

// Pack returns a copy of module that holds m as its manifest, and no other. The manifest comes last,
// so that the digest of the code before it can be compared between builds.
func Pack(module []byte, m abi.Manifest) ([]byte, error) {
	doc, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	out, err := withoutManifest(module)
	if err != nil {
		return nil, err
	}
	body := modfile.AppendBytes(nil, []byte(abi.ManifestSection))
	return modfile.AppendSection(out, modfile.Custom, append(body, doc...)), nil
}

// withoutManifest returns a copy of module that holds no manifest: the code alone, which is the same whatever is said about it.
func withoutManifest(module []byte) ([]byte, error) {
	out := make([]byte, 0, len(module))
	out = append(out, modfile.Preamble...)
	for s, err := range modfile.Sections(module) {
		if err != nil {
			return nil, err
		}
		if _, is := manifestIn(s); !is {
			out = append(out, s.Raw...)
		}
	}
	return out, nil
}
