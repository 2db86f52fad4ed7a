// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// sdks are the languages with an SDK beside Go, and for each the echo plugin that `make plugins` compiles.
var sdks = []struct{ language, echo string }{
	{"c", "sdk/c"},
	{"rust", "sdk/rust/echo"},
	{"zig", "sdk/zig"},
	{"assemblyscript", "sdk/assemblyscript"},
}

// built is a module that `make plugins` has left in bin/plugins. Without it the test is left out, but for a machine that must have all compilers.
func built(tb testing.TB, name string) []byte {
	tb.Helper()
	code, err := os.ReadFile(filepath.Join("../../../bin/plugins", name+".wasm"))
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		tb.Fatalf("%v: run `make plugins`", err)
	default:
		tb.Skipf("%v: run `make plugins` where its compiler is installed", err)
	}
	return code
}

func forEachSDK(t *testing.T, f func(t *testing.T, p plugin.Plugin)) {
	for _, sdk := range sdks {
		t.Run(sdk.language, func(t *testing.T) { f(t, load(t, built(t, sdk.echo))) })
	}
}

// echo opens the processor of an echo plugin.
func echo(tb testing.TB, p plugin.Plugin, mode string) *processor {
	tb.Helper()
	s := &setup{}
	r := s.request(abi.Processor)
	r.Plugin, r.Config, r.Metrics, r.Buffers = "echo", json.RawMessage(`{"mode":"`+mode+`"}`), nil, &tallied{}
	r.Limits.BatchBytes = event.MaxBatch
	in, err := p.Open(tb.Context(), abi.Processor, r)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := in.Processor.Close(); err != nil {
			tb.Error(err)
		}
	})
	return in.Processor.(*processor)
}

// tallied is a pool that counts the batches for which memory was asked: what the guest emitted, whether the host took it or not.
type tallied struct {
	pool
	n int
}

func (c *tallied) Get(n int) *event.Buffer {
	c.n++
	return c.pool.Get(n)
}

// refused is what the host does about an emission; it stands beside the codes with which a guest refuses.
const refused abi.Code = -1000

// raw hands a guest bytes as they are, also what the host would never hand over, and answers what it emits, or the code with which it refuses.
func (p *processor) raw(tb testing.TB, bytes []byte) ([]byte, abi.Code) {
	tb.Helper()
	ctx := tb.Context()
	view, err := p.arena(ctx, len(bytes))
	if err != nil {
		tb.Fatal(err)
	}
	copy(view, bytes)
	var code abi.Code
	before := p.buffers.(*tallied).n
	p.queue, p.queued, p.given = p.queue[:0], 0, event.Trusted(everything, 0, nil)
	if code, err = p.run(ctx, &p.guest.process, uint64(len(bytes))); err != nil {
		tb.Fatalf("it breaks on %d bytes: %v", len(bytes), err)
	}
	defer p.dropQueue()
	if code < 0 {
		if p.buffers.(*tallied).n != before {
			return nil, refused
		}
		return nil, code
	}
	if len(p.queue) != 1 {
		tb.Fatalf("it emitted %d batches", len(p.queue))
	}
	return append([]byte(nil), p.queue[0].Batch.Bytes()...), code
}

// everything is a batch whose one event has the last number there is, so that any event lies before it.
var everything = func() []byte {
	b := []byte(batch("last"))
	copy(b[event.HeaderSize+20:], "\xff\xff\xff\xff")
	return b
}()

type vector struct {
	File, About string
	Parse       bool
}

func vectors(tb testing.TB) map[vector][]byte {
	tb.Helper()
	const dir = "../../../spec/vectors/"
	list, err := os.ReadFile(dir + "vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(list, &all); err != nil {
		tb.Fatal(err)
	}
	bytes := map[vector][]byte{}
	for _, v := range all {
		if bytes[v], err = os.ReadFile(dir + v.File); err != nil {
			tb.Fatal(err)
		}
	}
	if len(bytes) < 40 {
		tb.Fatalf("only %d vectors", len(bytes))
	}
	return bytes
}

// plain is a batch as a guest emits it: base, flags and checksum are the host's.
func plain(b []byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[6:8], "\x00\x00")
	copy(b[16:20], "\x00\x00\x00\x00")
	event.PutBase(b, 0)
	return b
}

// notAGuests are the batches that a guest takes and the host does not: a guest need not look at the checksum.
var notAGuests = []string{"broken-crc.bin", "broken-crc-field.bin", "broken-crc-without-flag.bin"}

func TestEachSDKReadsAndWritesTheGoldenBatches(t *testing.T) {
	forEachSDK(t, func(t *testing.T, p plugin.Plugin) {
		keep, rebuild := echo(t, p, "keep"), echo(t, p, "rebuild")
		for v, bytes := range vectors(t) {
			for mode, in := range map[string]*processor{"keep": keep, "rebuild": rebuild} {
				got, code := in.raw(t, bytes)
				if err := sameAsVector(v, mode, bytes, got, code); err != nil {
					t.Errorf("%s (%s), mode %s: %v", v.File, v.About, mode, err)
				}
			}
		}
	})
}

// The SDK for Go takes bounds on trust, as the host has checked them: it is given whole batches alone.
func TestGoHandsOnTheGoldenBatches(t *testing.T) {
	code, err := goEcho()
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, code)
	keep, rebuild, half := echo(t, p, "keep"), echo(t, p, "rebuild"), echo(t, p, "half")
	for v, bytes := range vectors(t) {
		if !v.Parse {
			continue
		}
		got, code := keep.raw(t, bytes)
		if err := sameAsVector(v, "keep", bytes, got, code); err != nil {
			t.Errorf("%s (%s), mode keep: %v", v.File, v.About, err)
		}
		if v.File == "valid-reserved-name.bin" || v.File == "valid-attributes-1024.bin" {
			continue // what a plugin must not make
		}
		for mode, in := range map[string]*processor{"rebuild": rebuild, "half": half} {
			want := bytes
			if mode == "half" {
				want = everyOther(t, bytes)
			}
			got, code := in.raw(t, bytes)
			if err := sameAsVector(v, mode, want, got, code); err != nil {
				t.Errorf("%s (%s), mode %s: %v", v.File, v.About, mode, err)
			}
		}
	}
}

// everyOther leaves out the second event, the fourth…
func everyOther(t *testing.T, batch []byte) []byte {
	b, err := event.Parse(batch)
	if err != nil {
		t.Fatal(err)
	}
	w, i := event.Builder{Base: b.Base()}, 0
	for at, e := range b.All() {
		if i%2 == 0 {
			if err := w.AppendAt(at, &e); err != nil {
				t.Fatal(err)
			}
		}
		i++
	}
	return w.Bytes()
}

func sameAsVector(v vector, mode string, golden, got []byte, code abi.Code) error {
	want := abi.EINVAL
	switch {
	case v.File == "valid-reserved-name.bin" || v.File == "valid-attributes-1024.bin": // the host may make these, a plugin only reads them
		if mode == "keep" {
			want = refused
		}
	case v.Parse || slices.Contains(notAGuests, v.File):
		want = abi.OK
	}
	switch {
	case code != want:
		return fmt.Errorf("answered %d, want %d", code, want)
	case want == abi.OK && !bytes.Equal(got, plain(golden)):
		return fmt.Errorf("emitted\n% x, want\n% x", got, plain(golden))
	}
	return nil
}

// randomBatch is any batch that a source may emit, or a processor may be given.
func randomBatch(r *rand.Rand) []byte {
	var w event.Builder
	some := func(most int) []byte { // mostly short
		b := make([]byte, r.IntN(1+r.IntN(1+r.IntN(most))))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for range r.IntN(1 << r.IntN(7)) {
		e := event.Event{Time: int64(r.Uint64()), Body: some(2000)}
		for range r.IntN(1 << r.IntN(5)) {
			e.Attributes = append(e.Attributes, event.Attribute{Key: strings.ToValidUTF8(string(some(60)), "é"), Value: some(300)})
		}
		if err := w.Append(e); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	return append([]byte(nil), w.Bytes()...)
}

// TestEachSDKAgreesWithGo hands random batches over, and some that were broken in a byte or two: a guest refuses what the Go decoder refuses,
// and nothing else.
func TestEachSDKAgreesWithGo(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	forEachSDK(t, func(t *testing.T, p plugin.Plugin) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
		keep, rebuild := echo(t, p, "keep"), echo(t, p, "rebuild")
		for range rounds {
			b := randomBatch(r)
			for range r.IntN(3) {
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			}
			clear(b[6:8]) // no checksum, which a guest need not look at
			clear(b[16:20])
			_, err := event.Parse(b)
			for _, in := range []*processor{keep, rebuild} {
				got, code := in.raw(t, b)
				switch {
				case (err == nil) != (code >= 0) || code == refused:
					t.Fatalf("Go says %v, the guest %d:\n% x", err, code, b)
				case err == nil && !bytes.Equal(got, plain(b)):
					t.Fatalf("emitted\n% x, want\n% x", got, plain(b))
				}
			}
		}
	})
}

// TestEachSDKKnowsUTF8 tries names whose bytes lie at the borders of what UTF-8 allows.
func TestEachSDKKnowsUTF8(t *testing.T) {
	var w event.Builder
	if err := w.Append(event.Event{Attributes: []event.Attribute{{Key: "name"}}}); err != nil {
		t.Fatal(err)
	}
	b := w.Bytes()
	key := b[event.HeaderSize+event.RecordSize+event.AttributeSize:]
	forEachSDK(t, func(t *testing.T, p plugin.Plugin) {
		in := echo(t, p, "rebuild")
		for lead := 0x7f; lead <= 0xff; lead++ {
			for _, second := range []byte{0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0} {
				for _, tail := range []string{"aa", "\x80a", "\x80\x80", "\xbf\xbf", "\x80\xc0"} {
					copy(key, []byte{byte(lead), second})
					copy(key[2:], tail)
					if _, code := in.raw(t, b); (code >= 0) != utf8.Valid(key) || code == refused {
						t.Errorf("% x: %d, and it is UTF-8: %t", key, code, utf8.Valid(key))
					}
				}
			}
		}
	})
}

func TestAProcessorMayLeaveEventsOut(t *testing.T) {
	forEachSDK(t, func(t *testing.T, p plugin.Plugin) {
		in := echo(t, p, "half")
		out, _, err := in.Process(t.Context(), someBatch(t, "a", "b", "c").WithBase(100))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Release()
		var got []string
		for at, e := range out.All() {
			got = append(got, fmt.Sprintf("%d %s", at, e.Body))
		}
		if want := "100 a, 102 c"; strings.Join(got, ", ") != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestEachSDKKeepsTheContract(t *testing.T) {
	forEachSDK(t, func(t *testing.T, p plugin.Plugin) {
		plugintest.Run(t, p,
			plugintest.Case{
				Kind: abi.Source, Name: "echo", Events: 40, BadConfig: `{"count":"many"}`,
				Setup: func(string) (plugintest.Opening, error) { return plugintest.Opening{Config: `{"count": 40}`}, nil },
			},
			plugintest.Case{Kind: abi.Sink, Name: "echo"},
			plugintest.Case{Kind: abi.Processor, Name: "echo", BadConfig: `{"mode":"b\u00e9d\t\ud83d\ude00"}`})
	})
}

func TestAGuestThatPanicsTellsWhyBeforeTheStack(t *testing.T) {
	for echoes, want := range map[string]string{
		"sdk/c":         "penstock_process: wasm error: unreachable at ",                                                      // it only traps
		"sdk/rust/echo": `penstock_process: thread .* panicked at .*asked to break on 3 bytes.*: wasm error: unreachable at `, // Rust before 1.73 says what, then where
		"sdk/zig":       "penstock_process: panic: asked to: .*: wasm error: unreachable at ",
	} {
		t.Run(echoes, func(t *testing.T) {
			in := echo(t, load(t, built(t, echoes)), "panic")
			_, _, err := in.Process(t.Context(), someBatch(t, "a", "bc"))
			if wantError(t, err, abi.Fatal); !regexp.MustCompile(want).MatchString(err.Error()) {
				t.Errorf("error %q, want %q", err, want)
			}
		})
	}
}

// assemble makes a module of WAT, with the assembler that comes with AssemblyScript's compiler.
func assemble(t *testing.T, wat string) []byte {
	t.Helper()
	binaryen, err := filepath.Abs("../../../.ci/node_modules/binaryen/index.js")
	if err == nil {
		_, err = os.Stat(binaryen)
	}
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("%v: npm --prefix .ci ci", err)
	}
	program := `import b from "` + binaryen + `"; import { readFileSync } from "fs"; process.stdout.write(b.parseText(readFileSync(0, "utf8")).emitBinary())`
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", program)
	cmd.Stdin, cmd.Stderr = strings.NewReader(wat), os.Stderr
	code, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestTheSmallestPluginOfTheSpecKeepsTheContract(t *testing.T) {
	text, err := os.ReadFile("../../../spec/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, wat, _ := strings.Cut(string(text), "```wat\n")
	wat, _, found := strings.Cut(wat, "```")
	if !found {
		t.Fatal("spec/abi.md has no plugin in WAT")
	}
	code, err := Pack(assemble(t, wat), abi.Manifest{
		Name: "null", Version: "1.0.0", Plugins: []abi.Plugin{{Kind: abi.Sink, Name: "null", Effects: "idempotent"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	plugintest.Run(t, load(t, code), plugintest.Case{Kind: abi.Sink, Name: "null"})
}
