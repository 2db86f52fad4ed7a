// SPDX-License-Identifier: Apache-2.0

// Package client sends events from an application to an agent: to a `source "hop"`, with the protocol of spec/hop.md.
//
//	c, err := client.Open(ctx, client.Config{
//		Addresses: []string{"tls://collector-a:7421", "tls://collector-b:7421"},
//		Cert: "/etc/app/app.pem", Key: "/etc/app/app.key", CA: "/etc/app/ca.pem",
//	})
//	…
//	err = c.Send(ctx, client.Batch{Events: []event.Event{{Time: time.Now().UnixNano(), Body: []byte("hello")}}})
//
// When [Client.Send] has returned nil the events are on the disk of the agent. [Client.Queue] does not wait for that: it gives a [Receipt]. Between the two
// there is a queue in memory, of [Config.Memory] bytes: Queue waits for room in it, and [Client.TryQueue] answers [ErrFull]. What is queued while earlier
// events are on their way goes out together.
//
// A connection that ends is made again, to the next address when it fails again, with pauses that grow and have jitter; so is one that a receiver ends because it has no room, or
// stops. Nothing of that is seen by whoever waits for a Receipt. The log says it, and so does [Client.Stats].
//
// # Twice, or once
//
// Without [Config.Stream] the receiver remembers nothing of the client. What was sent and not answered when a connection ended is sent again: nothing is lost, and events
// may come twice (at least once).
//
// With a Stream, and events that are numbered, the receiver remembers how far it got, on its disk together with the events. After every cut, and after a start of the application,
// [Client.Have] says where to go on, and each event arrives exactly once. That takes two things of the application:
//
//   - The name of the stream and the numbers stay: the event that has a number today has it after a restart too. The line of a file has an offset, the row
//     of a table an ascending key. Something that an application counts as it goes along has no such number after a crash.
//   - All addresses lead to one receiver: its name in two networks, or one behind the other after a failover of its disk. Two agents are two receivers, each of which remembers what it got
//     itself. The client notices a receiver that has less than was acknowledged, and refuses to go on there.
//
// A receiver remembers each stream for weeks, and some thousands of them. Whoever begins a new one for each file or job ends it with [Client.Finish], after it has put on record that all is
// sent, or has removed what was sent: the receiver knows nothing of it afterwards.
//
// Invariants:
//
//   - A batch is all there or not at all, and batches become durable in the order in which they were queued.
//   - No batch is acknowledged before the receiver has said that it is on disk.
//   - [Client.Close] waits for every goroutine. What was not acknowledged then is in doubt, and its Receipts say so.
package client
