// SPDX-License-Identifier: Apache-2.0

package guarantee

// faults of a channel that is filled by somebody who resumes in that way.
func (c Channel) faults(replay string) (list []Fault) {
	// Below, who has a cursor begins with an older one after such a crash, or with none, and what was delivered meanwhile is delivered again, as
	// something else: under the offsets of another incarnation, or of another channel.
	cursor := replay == "cursor"
	switch {
	case c.Memory:
		why := "what is in memory is lost when the agent ends"
		if cursor {
			why = "what is in memory is lost when the agent ends, and so is where the source stood"
		}
		list = append(list, Fault{
			Address: c.Address, Argument: "kind", Loses: true, Repeats: cursor,
			Why: why, Remedy: "make it a channel of kind \"wal\"",
		})
	case c.Durability != "fsync":
		list = append(list, Fault{
			Address: c.Address, Argument: "durability", Loses: true, Repeats: cursor,
			Why:    "the newest events of " + c.Address + " may be lost in a power cut, after they were acknowledged",
			Remedy: `set durability = "fsync"`,
		})
	}
	if full, drops := c.onFull(); drops {
		list = append(list, full)
	}
	return list
}

// onFull is what a channel does when there is no room.
func (c Channel) onFull() (f Fault, drops bool) {
	f = Fault{Address: c.Address, Argument: "on_full", Loses: true, Remedy: `set on_full = "block"`}
	switch c.OnFull {
	case "drop_oldest":
		f.Why = c.Address + " drops its oldest events when it is full"
	case "drop_newest":
		f.Why = c.Address + " drops what comes when it is full"
	default:
		return Fault{}, false
	}
	return f, true
}

// deadFaults are those of the channel that keeps what is not taken out of c. To be there, instead of at its destination, counts as delivered; twice, which a
// crash may bring about, is once there, by the identity of the letter. What is kept less safely than the channel itself keeps it is a fault.
func (c Channel) deadFaults(dead *Channel) (list []Fault) {
	if dead == nil {
		return nil
	}
	kept := func(f Fault) Fault {
		f.Repeats, f.Why = false, "of what is rejected: "+f.Why
		return f
	}
	for _, f := range dead.faults("") {
		list = append(list, kept(f))
	}
	return list
}

func (s Sink) faults() (list []Fault) {
	lag := Fault{Address: s.Address, Argument: "on_lag", Loses: true, Remedy: `set on_lag = "hold"`}
	switch s.OnLag {
	case "skip":
		lag.Why = s.Address + " skips events when it is far behind"
		list = append(list, lag)
	case "detach":
		// As a new reader it is another stream to its destination, which may get again what it has, where that is still in the channel.
		lag.Why, lag.Repeats = s.Address+" is detached when it is far behind, and begins anew", true
		list = append(list, lag)
	}
	if s.Group != "" {
		list = append(list, Fault{
			Address: s.Group, Argument: "delivery", Repeats: true,
			Why:    s.Group + " gives another member what this one may hold",
			Remedy: "set delivery = \"exactly_once\" in it",
		})
	}
	if s.Effects != "transactional" && s.Effects != "idempotent" {
		list = append(list, Fault{
			Address: s.Address, Repeats: true,
			Why:    "a batch is delivered again when its answer is lost",
			Remedy: "deliver with a sink whose destination knows what it holds (its plugin claims effects = \"transactional\" or \"idempotent\")",
		})
	}
	return list
}
