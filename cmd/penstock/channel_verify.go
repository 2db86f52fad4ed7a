// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
)

// verified is what verify answers for one channel.
type verified struct {
	channelDir
	Sound    bool              `json:"sound"`
	UsedBy   string            `json:"used_by,omitempty"` // pid of the agent that has it open
	Segments int               `json:"segments"`
	Records  uint64            `json:"records"`
	Events   uint64            `json:"events"`
	Bytes    int64             `json:"bytes"`
	Gaps     int               `json:"gaps"`           // places where damage was set aside earlier
	Lost     uint64            `json:"lost"`           // events that were there
	Closed   uint64            `json:"closed"`         // records of which the content was not looked at, for want of a key
	Keys     map[string]uint64 `json:"keys,omitempty"` // records by the id of the key that sealed them
	Dropped  []droppedEvents   `json:"dropped"`
	Damage   []damage          `json:"damage"`
	Seconds  float64           `json:"seconds"`
}

// damage is one place that is not as it was written.
type damage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"` // 0 = not known
	Torn   bool   `json:"torn"`   // the end of the log, as a crash leaves it: opening the channel repairs it
	Cause  string `json:"cause"`
}

func newChannelVerifyCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "verify [CHANNEL…]",
		Short: "Read whole channels, and say what is not as it was written",
		Long: `Read whole channels, compare every checksum, and say what is not as it was written: the file, the byte, and why.
Nothing is changed. No key is needed for checksums; with its keys the content of an encrypted channel is checked too. A torn tail, the end of the log that a crash left half-written, is reported and is no damage.
What policies and people have given up is listed as far as the log still has it on record: "penstock status" counts it.

` + channelArgHelp + `

Exit code 5 when the log is damaged before its end.`,
		Example: "  penstock channel verify\n  penstock channel verify main --json\n  penstock channel verify /var/lib/penstock",
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := a.findChannels(args, dataDir)
			if err != nil {
				return err
			}
			return a.verify(cmd, dirs)
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	return withJSON(cmd)
}

func (a *app) verify(cmd *cobra.Command, dirs []channelDir) error {
	list := make([]verified, 0, len(dirs))
	var damaged []string
	for _, dir := range dirs {
		v, err := a.verifyOne(cmd, dir)
		if err != nil {
			return err
		}
		if list = append(list, v); !v.Sound {
			damaged = append(damaged, v.Name)
		}
	}
	show := func(t *terminal) {
		for _, v := range list {
			v.print(t)
		}
	}
	if len(damaged) == 0 {
		return a.answer(cmd, plural(len(list), "channel")+" sound", list, show)
	}
	return &fault{
		err: fmt.Errorf("damaged: %s", strings.Join(damaged, ", ")), exit: exitIntegrity, code: "integrity", result: list,
		hint: "Copy the directory before anything else. What is undamaged can still be read; an agent delivers what comes before the damage and then holds the sinks, rather than skip what is missing. To set the damage aside, stop the agent, then: penstock channel repair " + damagedPath(list),
		at:   firstDamage(list), show: func() { show(a.out) },
	}
}

// damagedPath is the directory of the first damaged channel.
func damagedPath(list []verified) string {
	for _, v := range list {
		if !v.Sound {
			return v.Path
		}
	}
	return ""
}

// firstDamage is the place of the first damage, in the form of all errors.
func firstDamage(list []verified) *config.JSONRange {
	for _, v := range list {
		for _, d := range v.Damage {
			if !d.Torn {
				return &config.JSONRange{
					Filename: filepath.Join(v.Path, d.File),
					Start:    config.JSONPosition{Byte: int(d.Offset)}, End: config.JSONPosition{Byte: int(d.Offset + d.Length)},
				}
			}
		}
	}
	return nil
}

func (a *app) verifyOne(cmd *cobra.Command, dir channelDir) (verified, error) {
	keys, err := a.keys(cmd, dir)
	if err != nil {
		return verified{}, err
	}
	start := time.Now()
	bar := progressBar{to: a.err, what: "reading " + dir.Name, quiet: wantsJSON(cmd)}
	report, err := wal.Verify(dir.Path, bar.draw, keys...)
	bar.clear()
	if err != nil {
		return verified{}, err
	}
	v := verified{
		channelDir: dir, Sound: report.Sound(), UsedBy: report.UsedBy, Segments: report.Segments,
		Records: report.Records, Events: report.Events, Bytes: report.Bytes, Gaps: report.Gaps, Lost: report.Lost, Closed: report.Closed, Keys: report.Keys, Dropped: droppedOf(report.Dropped), Damage: []damage{}, Seconds: time.Since(start).Seconds(),
	}
	for _, d := range report.Damage {
		v.Damage = append(v.Damage, damage{d.File, d.Offset, d.Length, d.Torn, d.Cause.Error()})
	}
	return v, nil
}

func (v verified) print(t *terminal) {
	state := t.paint(green, "sound")
	if !v.Sound {
		state = t.paint(red, "damaged")
	}
	t.printf("%s  %s   %s, %s, %s, %s in %s\n", t.paint(bold, v.Name), state, plural(v.Segments, "segment"), size(uint64(v.Bytes)),
		plural(v.Records, "record"), plural(v.Events, "event"), span(time.Duration(v.Seconds*float64(time.Second))))
	if v.UsedBy != "" {
		t.printf("  in use by the agent with pid %s: what it is just writing may look torn\n", v.UsedBy)
	}
	if v.Gaps > 0 {
		t.printf("  damage was set aside earlier in %s, which held %s\n", plural(v.Gaps, "place"), plural(v.Lost, "event"))
	}
	for _, key := range slices.Sorted(maps.Keys(v.Keys)) {
		t.printf("  encrypted with key %s: %s\n", key, plural(v.Keys[key], "record"))
	}
	if v.Closed > 0 {
		t.printf("  the content of %s was not looked at, for want of a key: see --key\n", plural(v.Closed, "record"))
	}
	printDropped(t, v.Dropped, "")
	for _, d := range v.Damage {
		t.printf("  %s\n", d.text(t, v.Path))
	}
}

func (d damage) text(t *terminal, dir string) string {
	at := fmt.Sprintf("%s at byte %s", filepath.Join(dir, d.File), fmt.Sprint(d.Offset))
	if d.Length > 0 {
		at += ", " + plural(d.Length, "byte")
	}
	if d.Torn {
		return at + ": torn tail, as a crash leaves it (" + d.Cause + "); the next start of the agent cuts it off and keeps the bytes"
	}
	return t.paint(red, at) + ": " + d.Cause
}
